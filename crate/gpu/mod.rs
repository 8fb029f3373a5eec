//! Runs a program on the GPU. This folder alone names wgpu.
//!
//! Everything is built at load: buffers, pipelines, bind groups. A batch is then one write, one submit of one
//! pass, or several where it is large (`cost.rs`), and one map; only what rows of an activation are read back
//! through is allocated with the batch. Nothing counts as a result unless the map succeeded and the device is
//! still there: after a loss most calls appear to succeed.

#[cfg(not(target_arch = "wasm32"))]
mod bench;
mod check;
mod holding;
mod resident;
mod scan;
mod tune;
mod upload;
#[cfg(target_arch = "wasm32")]
mod web;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

pub use check::{SelfCheck, compare_all};
pub use resident::{Resident, Running};
pub(crate) use scan::ResidentRows;
pub use tune::{Budget, Compared, Tuner, Tuning};
pub use upload::Upload;

use holding::Variant;
#[cfg(target_arch = "wasm32")]
use web::{clock_ms, runtime};

use crate::cost::SUBMIT_FLOPS;
use crate::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::platform::now_ms as clock_ms;
use crate::program::{Form, Op, Operand, Precision, Program};
use crate::shader::Kernel;

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

impl Adapter {
    /// Why a software adapter is not taken, with its name where the browser tells one.
    pub fn no_hardware(&self) -> String {
        let name = [&self.description, &self.architecture].into_iter().find(|name| !name.is_empty());
        format!("the only adapter is software{}", name.map(|name| format!(" ({name})")).unwrap_or_default())
    }
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
    submits: AtomicU64,
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
        let submits = AtomicU64::new(0);
        Ok(Arc::new(Self { device, queue, adapter, lost, refused, pipelines, checked, limits, submits }))
    }

    /// The adapter behind the device.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Whether the device can still be used.
    pub fn alive(&self) -> bool {
        lock(&self.lost).is_none()
    }

    /// Whether it is taken for hardware.
    fn is_hardware(&self) -> bool {
        self.limits.forms.unwrap_or(!self.adapter.software)
    }

    /// The kernels of an operation of a program on this device, for parameters of this precision.
    fn forms(&self, op: &dyn Op, program: &Program, precision: Precision) -> Vec<Form> {
        if precision == Precision::Int8 && program.is_int8(op) {
            return op.int8_forms();
        }
        if !self.is_hardware() {
            return vec![Form::new(op.kernel(), usize::MAX)];
        }
        let mut forms = op.forms();
        forms.retain(|form| !form.many_registers || self.has_many_registers());
        if let Some(last) = forms.last_mut() {
            last.most_rows = usize::MAX;
        }
        forms
    }

    /// Whether an invocation may have some two hundred registers before values go to memory: NVIDIA has 255, AMD 256, and where software is
    /// taken for hardware it is tested.
    fn has_many_registers(&self) -> bool {
        let Adapter { vendor, software, .. } = &self.adapter;
        *software || ["nvidia", "0x10de", "amd", "0x1002"].contains(&vendor.as_str())
    }

    /// Refuses a program of which it cannot multiply all matrices in integers.
    fn takes_int8(&self, program: &Program) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        if !web::has_integer_dots() {
            return Err(Error::NoInt8 { reason: "this browser's WGSL has no packed_4x8_integer_dot_product".into() });
        }
        match program.all_ops().find(|op| program.is_int8(*op) && op.int8_forms().is_empty()) {
            Some(op) => Err(Error::NoInt8 { reason: format!("{} has no kernel for it", op.kernel().name) }),
            None => Ok(()),
        }
    }

    /// How many submits batches have had so far.
    pub fn submits(&self) -> u64 {
        self.submits.load(Ordering::Relaxed)
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
        let module = self.module(kernel.name, text);
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
                // No kernel reads what it has not written.
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
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

    /// The module of a kernel, natively without the checks that wgpu else adds to every loop and index: with them drivers do not unroll
    /// loops, and keep in memory what belongs in registers. Browsers have their own.
    #[expect(
        unsafe_code,
        reason = "wgpu trusts the caller's word that a kernel neither runs on nor reads or writes elsewhere"
    )]
    fn module(&self, name: &str, text: &str) -> wgpu::ShaderModule {
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(name), source };
        // SAFETY: texts are this crate's own, linked from `shaders/` and numbers. Loops end by those and by counts of the frame, and indexes are
        // made of them; of what a model or a text brings, only ids are an index, which the host checks before it writes a frame. Tests run
        // every kernel with the checks of a browser as well.
        unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
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
        self.mapped(buffer, bytes, &mut map(buffer, bytes), None).await
    }

    /// Waits for the map of a buffer, natively after the submit whose result it has (else after all), copies it out and unmaps it.
    async fn mapped(
        &self,
        buffer: &wgpu::Buffer,
        bytes: u64,
        mapped: &mut Mapped,
        submit: Option<wgpu::SubmissionIndex>,
    ) -> Result<Vec<f32>> {
        #[cfg(not(target_arch = "wasm32"))]
        if let Err(error) = self.device.poll(wgpu::PollType::Wait { submission_index: submit, timeout: None }) {
            return Err(Error::DeviceLost { reason: error.to_string() });
        }
        #[cfg(target_arch = "wasm32")]
        let mapped = {
            let _ = submit;
            web::woken(mapped, &self.queue)
        };
        let slice = buffer.slice(..bytes);
        let mapped = mapped.await.map_err(|_| Error::DeviceLost { reason: "the map was dropped".into() })?;
        self.trouble()?;
        mapped.map_err(|error| Error::DeviceLost { reason: error.to_string() })?;
        let range = slice.get_mapped_range().map_err(|error| Error::DeviceLost { reason: error.to_string() })?;
        let values = bytemuck::pod_collect_to_vec::<u8, f32>(&range);
        drop(range);
        buffer.unmap();
        Ok(values)
    }
}

/// Says when a buffer is mapped.
type Mapped = oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>;

/// Maps the first `bytes` of a buffer once what was submitted is done.
fn map(buffer: &wgpu::Buffer, bytes: u64) -> Mapped {
    let (sender, receiver) = oneshot::channel();
    buffer.slice(..bytes).map_async(wgpu::MapMode::Read, move |result| {
        let _ = sender.send(result); // Nobody waits any more: the encoder was dropped.
    });
    receiver
}

/// What stands between the crate and a driver, in a browser.
#[cfg(not(target_arch = "wasm32"))]
fn runtime() -> String {
    String::new()
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
