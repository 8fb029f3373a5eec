//! A program that lives on a GPU: its buffers, its steps, and the batches that it is handed.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::check::SelfCheck;
use super::holding::{Parameter, Variant, Variants};
use super::tune::{Site, sites};
use super::upload::Allocated;
use super::{Gpu, Mapped, map};
use crate::batch::{Batch, frame_words};
use crate::cost::{Cost, submits};
use crate::error::Result;
use crate::program::{Buf, Large, Operand, Outcome, Precision, Program, Rows, Slot, TailId};
use crate::shader::Grid;

/// Rows in whole tiles, so that kernels may read past the batch.
pub(super) fn whole_tiles(rows: usize) -> u64 {
    rows.next_multiple_of(128) as u64
}

/// A kernel with everything that it binds.
pub(super) struct Dispatch {
    pub pipeline: wgpu::ComputePipeline,
    pub group: wgpu::BindGroup,
    pub grid: Grid,
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

/// A form of an operation, see [`Form`](crate::program::Form), with a dispatch for each piece of its large parameter.
pub(super) struct Bound {
    pub most_rows: Cell<usize>,
    pub most_tokens: usize,
    pub makes: Option<Buf>,
    pub dispatches: Vec<Dispatch>,
}

impl Bound {
    pub fn run(&self, pass: &mut wgpu::ComputePass, batch: &Batch) {
        self.dispatches.iter().for_each(|dispatch| dispatch.run(pass, batch));
    }

    pub fn fits(&self, batch: &Batch) -> bool {
        batch.tokens() <= self.most_tokens
            && self.dispatches.first().is_none_or(|dispatch| dispatch.grid.rows.of(batch) <= self.most_rows.get())
    }
}

/// An operation in its forms.
pub(super) struct Step(pub Vec<Bound>);

impl Step {
    pub fn run(&self, pass: &mut wgpu::ComputePass, batch: &Batch) {
        if let Some(form) = self.form(batch) {
            form.run(pass, batch);
        }
    }

    /// The form that a batch takes.
    pub fn form(&self, batch: &Batch) -> Option<&Bound> {
        self.0.iter().find(|form| form.fits(batch))
    }
}

/// Runs steps in their order.
pub(super) fn run<'a>(encoder: &mut wgpu::CommandEncoder, steps: impl IntoIterator<Item = &'a Step>, batch: &Batch) {
    let mut pass = encoder.begin_compute_pass(&Default::default());
    steps.into_iter().for_each(|step| step.run(&mut pass, batch));
}

/// Bytes of a slot for batches of so many tokens: whole tiles, so that kernels may read past the batch.
pub(super) fn slot_bytes(program: &Program, slot: Slot, tokens: usize) -> u64 {
    let rows = match slot.rows {
        Rows::Tokens => tokens,
        Rows::Fixed(rows) => rows,
        Rows::Texts | Rows::Picks => program.most(slot.rows),
    };
    whole_tiles(rows) * slot.stride as u64 * 4
}

/// The memory of batches of at most so many tokens.
pub(super) struct Activations {
    tokens: usize,
    slots: Vec<wgpu::Buffer>,
    pub frame: wgpu::Buffer,
    pub output: wgpu::Buffer,
    /// What vectors are read back through: those that no batch has, and bytes of each.
    staging: RefCell<Vec<wgpu::Buffer>>,
    staging_bytes: u64,
}

impl Activations {
    pub fn new(gpu: &Gpu, program: &Program, tokens: usize) -> Self {
        use wgpu::BufferUsages as Usage;
        let usage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
        let slot = |slot: Slot| gpu.buffer("activation", slot_bytes(program, slot, tokens), usage);
        let vectors = 4 * program.most(Rows::Texts) as u64 * program.vectors().width as u64;
        Self {
            tokens,
            slots: program.plan().slots.into_iter().map(slot).collect(),
            frame: gpu.buffer("frame", 4 * frame_words(tokens) as u64, Usage::STORAGE | Usage::COPY_DST),
            output: gpu.buffer("vectors", vectors, Usage::STORAGE | Usage::COPY_SRC),
            // One for the batch that runs, and one for the next.
            staging: RefCell::new([(); 2].map(|()| gpu.buffer("readback", vectors, STAGING)).into()),
            staging_bytes: vectors,
        }
    }
}

/// A buffer that the host reads.
pub(super) const STAGING: wgpu::BufferUsages = wgpu::BufferUsages::MAP_READ.union(wgpu::BufferUsages::COPY_DST);

/// A batch that the device has, and whose result nobody has read yet.
pub struct Running {
    /// Where the result comes. Destroyed with this, unless it is kept for others.
    staging: wgpu::Buffer,
    kept: bool,
    bytes: u64,
    mapped: Mapped,
    submit: Option<wgpu::SubmissionIndex>,
    /// Of which activation it has rows; else it has vectors.
    rows: Option<Buf>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.kept {
            self.staging.destroy();
        }
    }
}

impl Drop for Activations {
    fn drop(&mut self) {
        // In a browser memory would wait for the garbage collector.
        self.slots.iter().chain([&self.frame, &self.output]).for_each(wgpu::Buffer::destroy);
        self.staging.borrow().iter().for_each(wgpu::Buffer::destroy);
    }
}

/// A program that lives on the GPU and waits for batches.
pub struct Resident {
    pub(super) gpu: Arc<Gpu>,
    precision: Precision,
    self_check: SelfCheck,
    pub(super) steps: Vec<Step>,
    /// Of each step.
    pub(super) costs: Vec<Cost>,
    /// Steps that have a choice.
    pub(super) sites: Vec<Site>,
    pub(super) program: Arc<Program>,
    pub(super) activations: Activations,
    /// The slot of each activation.
    slot_of: Vec<usize>,
    weights: Vec<Parameter>,
}

impl Resident {
    /// Binds everything and runs the set-up.
    pub(super) fn bind(
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
            let form = |form: &Variants| {
                let Variants { most_rows, most_tokens, makes, .. } = *form;
                let dispatches = form.pieces.iter().enumerate().filter_map(&mut bind).collect();
                Bound { most_rows: Cell::new(most_rows), most_tokens, makes, dispatches }
            };
            steps.push(Step(forms.iter().map(form).collect()));
        }
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        run(&mut encoder, &steps[..program.setup.len()], &Batch::default());
        gpu.queue.submit([encoder.finish()]);
        let sites = sites(&gpu, &allocated.kernels);
        let (precision, weights, slot_of) = (allocated.precision, allocated.weights, plan.slot_of);
        Self { gpu, precision, self_check, steps, costs, sites, program, activations, slot_of, weights }
    }

    /// The device that it lives on.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Gives an activation that no step writes its values.
    pub fn set(&self, buf: Buf, values: &[f32]) {
        self.gpu.queue.write_buffer(&self.activations.slots[self.slot_of[buf.id]], 0, bytemuck::cast_slice(values));
    }

    /// Dispatches of a batch of so many tokens.
    pub fn dispatches(&self, tail: TailId, tokens: usize) -> usize {
        let batch = Batch::of_rows(&[0, tokens], 0);
        let dispatches = |step: &usize| self.steps[*step].form(&batch).map_or(0, |form| form.dispatches.len());
        self.running(tail, &batch).iter().map(dispatches).sum()
    }

    /// The steps that lead to a tail's result for a batch, by their places in [`Program::all_ops`]: all but those whose result the step behind
    /// makes too.
    pub fn running(&self, tail: TailId, batch: &Batch) -> Vec<usize> {
        let mut steps = Vec::new();
        for step in self.program.step_indices(tail) {
            if self.steps[step].form(batch).is_some_and(|form| form.makes.is_some()) {
                steps.pop();
            }
            steps.push(step);
        }
        steps
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

    /// Hands the steps that lead to a tail's result over to the device.
    pub fn start(&self, tail: TailId, batch: &Batch) -> Result<Running> {
        self.gpu.trouble()?;
        let (from, bytes, rows) = match self.program.tails[tail.0].result {
            Outcome::Vectors(_) => {
                (&self.activations.output, 4 * batch.texts() as u64 * u64::from(batch.pooling.dimensions), None)
            }
            Outcome::Rows(buf) => {
                let bytes = 4 * (buf.rows.of(batch) * buf.stride) as u64;
                (&self.activations.slots[self.slot_of[buf.id]], bytes, Some(buf))
            }
        };
        let Activations { staging, staging_bytes, .. } = &self.activations;
        let staging = match rows {
            // Rows of an activation are as large as that, and few ask for them.
            Some(_) => self.gpu.buffer("rows", bytes, STAGING),
            None => {
                let free = staging.borrow_mut().pop();
                free.unwrap_or_else(|| self.gpu.buffer("readback", *staging_bytes, STAGING))
            }
        };
        self.gpu.queue.write_buffer(&self.activations.frame, 0, bytemuck::cast_slice(&batch.frame()));
        let steps = self.running(tail, batch);
        let flops: Vec<f64> = steps.iter().map(|index| self.costs[*index].flops(batch)).collect();
        let mut submit = None;
        for part in submits(&flops, self.gpu.limits.submit_flops) {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            run(&mut encoder, steps[part.clone()].iter().map(|index| &self.steps[*index]), batch);
            if part.end == steps.len() {
                encoder.copy_buffer_to_buffer(from, 0, &staging, 0, bytes);
            }
            submit = Some(self.gpu.queue.submit([encoder.finish()]));
            self.gpu.submits.fetch_add(1, Ordering::Relaxed);
        }
        let mapped = map(&staging, bytes);
        Ok(Running { staging, kept: false, bytes, mapped, submit, rows })
    }

    /// Waits for the result of a batch, `[rows, width]`.
    pub async fn finish(&self, mut running: Running) -> Result<Vec<f32>> {
        let Running { staging, bytes, mapped, submit, .. } = &mut running;
        let values = self.gpu.mapped(staging, *bytes, mapped, submit.take()).await?;
        if let Some(buf) = running.rows {
            return Ok(buf.unpadded(&values));
        }
        self.activations.staging.borrow_mut().push(running.staging.clone());
        running.kept = true;
        Ok(values)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // In a browser memory would wait for the garbage collector.
        self.weights.iter().flat_map(|weight| &weight.pieces).for_each(wgpu::Buffer::destroy);
    }
}
