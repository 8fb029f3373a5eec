//! Runs a program on the GPU. This folder alone names wgpu.
//!
//! Everything is built at load: buffers, pipelines, bind groups. A batch is then one write, one submit of one
//! pass, and one map. Nothing counts as a result unless the map succeeded and the device is still there:
//! after a loss most calls appear to succeed.

#[cfg(not(target_arch = "wasm32"))]
mod bench;
mod check;
mod holding;
mod scan;
mod upload;
#[cfg(target_arch = "wasm32")]
mod web;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

pub use check::{SelfCheck, compare_all};
pub(crate) use scan::ResidentRows;
pub use upload::Upload;

use holding::{Parameter, Variant, Variants};
use upload::Allocated;

use crate::batch::{Batch, frame_words};
use crate::cost::{Cost, SUBMIT_FLOPS, submits};
use crate::error::{Error, Result};
use crate::program::{Buf, Form, Large, Op, Operand, Outcome, Precision, Program, Rows, Slot, TailId};
use crate::shader::{Grid, Kernel};

/// The adapter as people know it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Adapter {
    /// Who made it, where the browser or the driver says so.
    pub vendor: String,
    /// The family of the chip.
    pub architecture: String,
    /// A name for people.
    pub description: String,
    /// Whether the CPU plays the GPU.
    pub software: bool,
}

/// A pipeline that the browser compiled ahead, and its text.
#[cfg(target_arch = "wasm32")]
type Prepared = web::Prepared;
#[cfg(not(target_arch = "wasm32"))]
type Prepared = ();

/// An open device, with the pipelines that were compiled on it. Encoders share it.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    adapter: Adapter,
    /// Why the device is no longer usable.
    lost: Arc<Mutex<Option<String>>>,
    /// The first error since the last look that no scope caught.
    refused: Arc<Mutex<Option<Error>>>,
    /// By WGSL text.
    pipelines: Mutex<HashMap<String, wgpu::ComputePipeline>>,
    /// WGSL texts whose results were compared with the CPU's.
    checked: Mutex<HashSet<String>>,
    /// The device's own, and the caller's.
    limits: Limits,
}

/// What is asked of a device at most, and which kernels it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes of a buffer that a kernel binds.
    pub binding: u64,
    /// Additions and multiplications of a submit of several steps.
    pub submit_flops: f64,
    /// Whether its kernels are those of [`Op::forms`]. Default: where the adapter is hardware.
    pub forms: Option<bool>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { binding: u64::MAX, submit_flops: SUBMIT_FLOPS, forms: None }
    }
}

/// Locks even where a panic poisoned the lock: the values behind these locks are replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the fastest adapter with all its limits.
    pub async fn open() -> Result<Arc<Self>> {
        Self::open_within(Limits::default()).await
    }

    /// The same, within limits beside the adapter's own.
    #[cfg_attr(
        target_arch = "wasm32",
        expect(
            clippy::arc_with_non_send_sync,
            reason = "a browser's device stays on its thread; natively it is shared"
        )
    )]
    pub async fn open_within(limits: Limits) -> Result<Arc<Self>> {
        #[cfg(target_arch = "wasm32")]
        if !web::has_webgpu() {
            return Err(Error::NoWebgpu);
        }
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::PRIMARY,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let no_adapter = |reason: String| Error::NoAdapter { reason };
        let adapter = instance.request_adapter(&options).await.map_err(|error| no_adapter(error.to_string()))?;
        // The benchmark's clock; in browsers it is too coarse.
        let clock =
            if cfg!(target_arch = "wasm32") { wgpu::Features::empty() } else { wgpu::Features::TIMESTAMP_QUERY };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("embedlet"),
            required_features: adapter.features() & clock,
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let (device, queue) =
            adapter.request_device(&descriptor).await.map_err(|error| no_adapter(error.to_string()))?;
        let lost = Arc::new(Mutex::new(None));
        let refused = Arc::new(Mutex::new(None));
        device.set_device_lost_callback({
            let lost = lost.clone();
            move |reason, message| *lock(&lost) = Some(format!("{reason:?}: {message}"))
        });
        // Without a handler wgpu panics natively and says nothing in a browser.
        device.on_uncaptured_error({
            let refused = refused.clone();
            Arc::new(move |error: wgpu::Error| {
                // What follows from it is another.
                lock(&refused).get_or_insert_with(|| upload::refused(error, "using the device"));
            })
        });
        let adapter = describe(&device, &adapter.get_info());
        let (pipelines, checked) = (Mutex::default(), Mutex::default());
        let own = device.limits();
        let binding = own.max_storage_buffer_binding_size.min(own.max_buffer_size).min(limits.binding);
        let limits = Limits { binding, ..limits };
        Ok(Arc::new(Self { device, queue, adapter, lost, refused, pipelines, checked, limits }))
    }

    /// The adapter behind the device.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Whether the device can still be used.
    pub fn alive(&self) -> bool {
        lock(&self.lost).is_none()
    }

    /// The kernels of an operation on this device.
    fn forms(&self, op: &dyn Op) -> Vec<Form> {
        if self.limits.forms.unwrap_or(!self.adapter.software) {
            return op.forms();
        }
        vec![Form { kernel: op.kernel(), most_rows: usize::MAX }]
    }

    /// The kernel that it runs for a batch.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn kernel(&self, op: &dyn Op, batch: &Batch) -> Kernel {
        let fits = |form: &Form| form.kernel.grid.rows.of(batch) <= form.most_rows;
        self.forms(op).into_iter().find(fits).map_or_else(|| op.kernel(), |form| form.kernel)
    }

    /// Whatever went wrong since the last call: the loss of the device, or a refused call.
    fn trouble(&self) -> Result<()> {
        if let Some(reason) = lock(&self.lost).clone() {
            return Err(Error::DeviceLost { reason });
        }
        match lock(&self.refused).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let size = bytes.max(16).next_multiple_of(4);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Binding 0 is the frame, then the operands.
    fn layout(&self, kernel: &Kernel) -> wgpu::BindGroupLayout {
        let entry = |(binding, read_only)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let entries: Vec<_> = (0..).zip(read_only(kernel)).map(entry).collect();
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries };
        self.device.create_bind_group_layout(&descriptor)
    }

    /// Compiles what is not compiled yet. In a browser this runs beside everything else from the moment of the
    /// call; natively it happens in [`Gpu::pipeline`].
    fn compile<'a, K>(&self, kernels: K) -> impl Future<Output = Result<Vec<Prepared>>> + 'static + use<K>
    where
        K: IntoIterator<Item = &'a Variant>,
    {
        let mut new: Vec<&Variant> = Vec::new();
        for kernel in kernels {
            if !lock(&self.pipelines).contains_key(&kernel.1) && !new.iter().any(|(_, text)| *text == kernel.1) {
                new.push(kernel);
            }
        }
        #[cfg(target_arch = "wasm32")]
        let compiled = web::compile(&self.device, &new);
        #[cfg(not(target_arch = "wasm32"))]
        let compiled = {
            let _ = new;
            std::future::ready(Ok(Vec::new()))
        };
        compiled
    }

    /// The pipeline of a kernel: known, prepared, or compiled now.
    async fn pipeline(&self, kernel: &Kernel, text: &str, prepared: &[Prepared]) -> Result<wgpu::ComputePipeline> {
        if let Some(pipeline) = lock(&self.pipelines).get(text) {
            return Ok(pipeline.clone());
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let module =
            self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source });
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&self.layout(kernel))],
            immediate_size: 0,
        });
        let create = || {
            self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(kernel.name),
                layout: Some(&layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: Default::default(),
                cache: None,
            })
        };
        #[cfg(target_arch = "wasm32")]
        let pipeline = web::with_prepared(&self.device, prepared, text, create);
        #[cfg(not(target_arch = "wasm32"))]
        let pipeline = {
            let _ = prepared;
            create()
        };
        if let Some(error) = scope.pop().await {
            return Err(Error::Shader { kernel: kernel.name.into(), reason: error.to_string() });
        }
        lock(&self.pipelines).insert(text.into(), pipeline.clone());
        Ok(pipeline)
    }

    fn bind(&self, kernel: &Kernel, pipeline: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let resources = buffers.iter().map(|buffer| buffer.as_entire_binding());
        let entries: Vec<_> =
            (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        let layout = pipeline.get_bind_group_layout(0);
        let descriptor = wgpu::BindGroupDescriptor { label: Some(kernel.name), layout: &layout, entries: &entries };
        self.device.create_bind_group(&descriptor)
    }

    /// Maps the first `bytes` of a buffer, copies them out and unmaps it.
    async fn read(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<f32>> {
        let slice = buffer.slice(..bytes);
        let (sender, receiver) = oneshot::channel();
        slice.map_async(wgpu::MapMode::Read, move |result| {
            let _ = sender.send(result); // Nobody waits any more: the encoder was dropped.
        });
        #[cfg(not(target_arch = "wasm32"))]
        if let Err(error) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            return Err(Error::DeviceLost { reason: error.to_string() });
        }
        let mapped = receiver.await.map_err(|_| Error::DeviceLost { reason: "the map was dropped".into() })?;
        self.trouble()?;
        mapped.map_err(|error| Error::DeviceLost { reason: error.to_string() })?;
        let range = slice.get_mapped_range().map_err(|error| Error::DeviceLost { reason: error.to_string() })?;
        let values = bytemuck::pod_collect_to_vec::<u8, f32>(&range);
        drop(range);
        buffer.unmap();
        Ok(values)
    }
}

/// For each binding, whether its buffer is only read.
fn read_only(kernel: &Kernel) -> impl Iterator<Item = bool> {
    let written = |operand: &Operand| matches!(operand, Operand::Write(_) | Operand::Output);
    std::iter::once(true).chain(kernel.operands.iter().map(move |operand| !written(operand)))
}

fn describe(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Adapter {
    #[cfg(target_arch = "wasm32")]
    let (vendor, architecture) = web::adapter_names(device);
    #[cfg(not(target_arch = "wasm32"))]
    let (vendor, architecture) = {
        let _ = device;
        (format!("{:#06x}", info.vendor), info.backend.to_string())
    };
    let names = format!("{vendor} {architecture} {}", info.name).to_lowercase();
    let known = ["swiftshader", "llvmpipe", "lavapipe", "basic render"];
    let software = info.device_type == wgpu::DeviceType::Cpu || known.iter().any(|name| names.contains(name));
    Adapter { vendor, architecture, description: info.name.clone(), software }
}

/// Rows in whole tiles, so that kernels may read past the batch.
fn whole_tiles(rows: usize) -> u64 {
    rows.next_multiple_of(64) as u64
}

/// A kernel with everything that it binds.
struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    grid: Grid,
}

impl Dispatch {
    fn run(&self, pass: &mut wgpu::ComputePass, batch: &Batch) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(
            (self.grid.rows.of(batch) as u32).div_ceil(self.grid.per_group),
            self.grid.y,
            self.grid.z,
        );
    }
}

/// An operation: its forms, each for so many rows at most and with a dispatch for each piece of its large parameter.
struct Step(Vec<(usize, Vec<Dispatch>)>);

impl Step {
    fn run(&self, pass: &mut wgpu::ComputePass, batch: &Batch) {
        let fits = |(most_rows, dispatches): &&(usize, Vec<Dispatch>)| {
            dispatches.first().is_none_or(|dispatch| dispatch.grid.rows.of(batch) <= *most_rows)
        };
        let form = self.0.iter().find(fits);
        form.into_iter().flat_map(|(_, dispatches)| dispatches).for_each(|dispatch| dispatch.run(pass, batch));
    }

    /// How many it takes, whatever the form.
    fn dispatches(&self) -> usize {
        self.0.first().map_or(0, |(_, dispatches)| dispatches.len())
    }
}

/// Runs steps in their order.
fn run<'a>(encoder: &mut wgpu::CommandEncoder, steps: impl IntoIterator<Item = &'a Step>, batch: &Batch) {
    let mut pass = encoder.begin_compute_pass(&Default::default());
    steps.into_iter().for_each(|step| step.run(&mut pass, batch));
}

/// Bytes of a slot for batches of so many tokens: whole tiles, so that kernels may read past the batch.
fn slot_bytes(program: &Program, slot: Slot, tokens: usize) -> u64 {
    let rows = match slot.rows {
        Rows::Tokens => tokens,
        Rows::Fixed(rows) => rows,
        Rows::Texts | Rows::Picks => program.most(slot.rows),
    };
    whole_tiles(rows) * slot.stride as u64 * 4
}

/// The memory of batches of at most so many tokens.
struct Activations {
    tokens: usize,
    slots: Vec<wgpu::Buffer>,
    frame: wgpu::Buffer,
    output: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Activations {
    fn new(gpu: &Gpu, program: &Program, tokens: usize) -> Self {
        use wgpu::BufferUsages as Usage;
        let usage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
        let slot = |slot: Slot| gpu.buffer("activation", slot_bytes(program, slot, tokens), usage);
        let vectors = 4 * program.most(Rows::Texts) as u64 * program.vectors().width as u64;
        Self {
            tokens,
            slots: program.plan().slots.into_iter().map(slot).collect(),
            frame: gpu.buffer("frame", 4 * frame_words(tokens) as u64, Usage::STORAGE | Usage::COPY_DST),
            output: gpu.buffer("vectors", vectors, Usage::STORAGE | Usage::COPY_SRC),
            staging: gpu.buffer("readback", vectors, Usage::MAP_READ | Usage::COPY_DST),
        }
    }
}

impl Drop for Activations {
    fn drop(&mut self) {
        // In a browser memory would wait for the garbage collector.
        self.slots.iter().chain([&self.frame, &self.output, &self.staging]).for_each(wgpu::Buffer::destroy);
    }
}

/// A program that lives on the GPU and waits for batches.
pub struct Resident {
    gpu: Arc<Gpu>,
    precision: Precision,
    self_check: SelfCheck,
    steps: Vec<Step>,
    /// Of each step.
    costs: Vec<Cost>,
    program: Arc<Program>,
    activations: Activations,
    /// The slot of each activation.
    slot_of: Vec<usize>,
    weights: Vec<Parameter>,
}

impl Resident {
    /// Binds everything and runs the set-up.
    fn bind(
        gpu: Arc<Gpu>,
        program: Arc<Program>,
        allocated: Allocated,
        activations: Activations,
        self_check: SelfCheck,
    ) -> Self {
        let plan = program.plan();
        let Activations { slots, frame, output, .. } = &activations;
        let mut pipelines = allocated.pipelines.into_iter();
        let mut steps: Vec<Step> = Vec::with_capacity(allocated.kernels.len());
        let costs = program.all_ops().map(|op| Cost::of(&op.kernel(), &program)).collect();
        for forms in &allocated.kernels {
            let mut bind = |(piece, (kernel, _)): (usize, &Variant)| {
                let operand = |operand: &Operand| match operand {
                    Operand::Read(buf) | Operand::Write(buf) => &slots[plan.slot_of[buf.id]],
                    Operand::Weight(id) => &allocated.weights[id.0].pieces[0],
                    Operand::Large(Large { weight, .. }) => &allocated.weights[weight.0].pieces[piece],
                    Operand::Output => output,
                };
                let bound: Vec<_> = std::iter::once(frame).chain(kernel.operands.iter().map(operand)).collect();
                let pipeline = pipelines.next()?;
                let group = gpu.bind(kernel, &pipeline, &bound);
                Some(Dispatch { pipeline, group, grid: kernel.grid })
            };
            let form = |Variants { most_rows, pieces }: &Variants| {
                (*most_rows, pieces.iter().enumerate().filter_map(&mut bind).collect())
            };
            steps.push(Step(forms.iter().map(form).collect()));
        }
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        run(&mut encoder, &steps[..program.setup.len()], &Batch::default());
        gpu.queue.submit([encoder.finish()]);
        let (precision, weights, slot_of) = (allocated.precision, allocated.weights, plan.slot_of);
        Self { gpu, precision, self_check, steps, costs, program, activations, slot_of, weights }
    }

    /// The device that it lives on.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Gives an activation that no step writes its values.
    pub fn set(&self, buf: Buf, values: &[f32]) {
        self.gpu.queue.write_buffer(&self.activations.slots[self.slot_of[buf.id]], 0, bytemuck::cast_slice(values));
    }

    /// Dispatches of a batch.
    pub fn dispatches(&self, tail: TailId) -> usize {
        self.program.step_indices(tail).map(|index| self.steps[index].dispatches()).sum()
    }

    /// Most tokens of a batch.
    pub fn tokens(&self) -> usize {
        self.activations.tokens
    }

    /// How its matrices are stored.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// How far its kernels were from the CPU's results.
    pub fn self_check(&self) -> SelfCheck {
        self.self_check
    }

    /// Runs the steps that lead to a tail's result and returns that, `[rows, width]`.
    pub async fn run(&self, tail: TailId, batch: &Batch) -> Result<Vec<f32>> {
        match self.program.tails[tail.0].result {
            Outcome::Vectors(_) => {
                let bytes = 4 * batch.texts() as u64 * u64::from(batch.pooling.dimensions);
                let Activations { output, staging, .. } = &self.activations;
                self.submit(tail, batch, output, staging, bytes).await
            }
            Outcome::Rows(buf) => {
                let bytes = 4 * (buf.rows.of(batch) * buf.stride) as u64;
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                // Made for the call: it is as large as an activation, and few ask for one.
                let staging = self.gpu.buffer("rows", bytes, usage);
                let rows = &self.activations.slots[self.slot_of[buf.id]];
                let values = self.submit(tail, batch, rows, &staging, bytes).await;
                staging.destroy();
                Ok(buf.unpadded(&values?))
            }
        }
    }

    /// Runs a batch and reads the first bytes of a buffer back through another.
    async fn submit(
        &self,
        tail: TailId,
        batch: &Batch,
        from: &wgpu::Buffer,
        staging: &wgpu::Buffer,
        bytes: u64,
    ) -> Result<Vec<f32>> {
        self.gpu.trouble()?;
        self.gpu.queue.write_buffer(&self.activations.frame, 0, bytemuck::cast_slice(&batch.frame()));
        let steps: Vec<usize> = self.program.step_indices(tail).collect();
        let flops: Vec<f64> = steps.iter().map(|index| self.costs[*index].flops(batch)).collect();
        for part in submits(&flops, self.gpu.limits.submit_flops) {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            run(&mut encoder, steps[part.clone()].iter().map(|index| &self.steps[*index]), batch);
            if part.end == steps.len() {
                encoder.copy_buffer_to_buffer(from, 0, staging, 0, bytes);
            }
            self.gpu.queue.submit([encoder.finish()]);
        }
        self.gpu.read(staging, bytes).await
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // In a browser memory would wait for the garbage collector.
        self.weights.iter().flat_map(|weight| &weight.pieces).for_each(wgpu::Buffer::destroy);
    }
}
