//! Runs a program on the host, operation after operation.
//!
//! In the browser this is the path for machines without a usable GPU (wasm SIMD, one thread); natively it
//! is the reference that kernels are compared with, and it uses all cores.

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::program::{Buf, Outcome, Plan, Precision, Program, Slot, TailId, WeightId};
use crate::weights::Sink;

/// Activations, parameters and the output of a program on the host.
pub struct Memory {
    plan: Plan,
    slots: Vec<Vec<f32>>,
    weights: Vec<Vec<f32>>,
    rounded: Vec<bool>,
    output: Vec<f32>,
}

impl Memory {
    /// Memory for this program, parameters zero. Where `precision` is f16, matrices and tables are rounded
    /// as a GPU would round them.
    pub fn new(program: &Program, precision: Precision) -> Result<Self> {
        let plan = program.plan();
        let mut weights = Vec::with_capacity(program.weights.len());
        let mut rounded = Vec::with_capacity(program.weights.len());
        for weight in &program.weights {
            weights.push(zeros(weight.layout.elements(), "loading the weights")?);
            rounded.push(weight.stored(precision) == Precision::F16);
        }
        Ok(Self { slots: vec![Vec::new(); plan.slots.len()], plan, weights, rounded, output: Vec::new() })
    }

    /// Memory in which every activation has its own place and nothing is allocated yet, for running single
    /// operations on given values.
    pub fn scratch(program: &Program) -> Self {
        let slots = program.bufs.iter().map(|buf| Slot { rows: buf.rows, stride: buf.stride }).collect();
        Self {
            plan: Plan { slots, slot_of: (0..program.bufs.len()).collect() },
            slots: vec![Vec::new(); program.bufs.len()],
            weights: vec![Vec::new(); program.weights.len()],
            rounded: vec![false; program.weights.len()],
            output: Vec::new(),
        }
    }

    /// Gives an activation its values.
    pub fn set(&mut self, buf: Buf, values: Vec<f32>) {
        self.slots[self.plan.slot_of[buf.id]] = values;
    }

    /// Gives a parameter its values, rounded as a device would store them.
    pub fn set_weight(&mut self, id: WeightId, values: Vec<f32>, stored: Precision) {
        self.weights[id.0] = vec![0.0; values.len()];
        self.rounded[id.0] = stored == Precision::F16;
        self.load(id, 0, &values);
    }

    /// The vectors that the last operation wrote.
    pub fn take_output(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.output)
    }

    /// Runs the set-up, once every parameter has its values.
    pub fn setup(&mut self, program: &Program) -> Result<()> {
        let nothing = Batch::default();
        self.reserve(&nothing, "loading the weights")?;
        program.setup.iter().for_each(|op| op.run(&nothing, self));
        Ok(())
    }

    /// Runs the operations that lead to a tail's result and returns that, `[rows, width]`.
    pub fn run(&mut self, program: &Program, tail: TailId, batch: &Batch) -> Result<Vec<f32>> {
        self.reserve(batch, "embedding")?;
        for op in program.steps(tail) {
            op.run(batch, self);
        }
        match program.tails[tail.0].result {
            Outcome::Vectors(_) => Ok(self.take_output()),
            Outcome::Rows(buf) => Ok(buf.unpadded(&self.read(buf)[..buf.rows.of(batch) * buf.stride])),
        }
    }

    /// Makes the activations as large as a batch needs them.
    pub(crate) fn reserve(&mut self, batch: &Batch, doing: &str) -> Result<()> {
        for (slot, shape) in self.slots.iter_mut().zip(&self.plan.slots) {
            let (needed, present) = (shape.rows.of(batch) * shape.stride, slot.len());
            if needed > present {
                slot.try_reserve_exact(needed - present).map_err(|_| out_of_memory(doing))?;
                slot.resize(needed, 0.0);
            }
        }
        Ok(())
    }

    /// An activation, `[rows, stride]`; rows past the batch hold anything.
    pub fn read(&self, buf: Buf) -> &[f32] {
        &self.slots[self.plan.slot_of[buf.id]]
    }

    /// A parameter as its [`Layout`](crate::weights::Layout) says.
    pub fn weight(&self, id: WeightId) -> &[f32] {
        &self.weights[id.0]
    }

    /// Lets `fill` write an activation while it reads others.
    pub fn write(&mut self, buf: Buf, fill: impl FnOnce(&Self, &mut [f32])) {
        let slot = self.plan.slot_of[buf.id];
        let mut values = std::mem::take(&mut self.slots[slot]);
        fill(self, &mut values);
        self.slots[slot] = values;
    }

    /// Lets `fill` write the vectors while it reads activations.
    pub fn write_output(&mut self, elements: usize, fill: impl FnOnce(&Self, &mut [f32])) {
        let mut values = vec![0.0; elements];
        fill(self, &mut values);
        self.output = values;
    }
}

impl Memory {
    /// Stores `values` from element `at` of a parameter.
    pub fn load(&mut self, weight: WeightId, at: usize, values: &[f32]) {
        let into = &mut self.weights[weight.0][at..at + values.len()];
        if self.rounded[weight.0] {
            let pairs = into.iter_mut().zip(values);
            pairs.for_each(|(into, value)| *into = half::f16::from_f32(*value).to_f32());
        } else {
            into.copy_from_slice(values);
        }
    }
}

impl Sink for Memory {
    fn start(&mut self, _stored: safetensors::Dtype) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, weight: WeightId, at: usize, values: &[f32]) -> Result<()> {
        self.load(weight, at, values);
        Ok(())
    }
}

fn zeros(elements: usize, doing: &str) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(elements).map_err(|_| out_of_memory(doing))?;
    values.resize(elements, 0.0);
    Ok(values)
}

fn out_of_memory(doing: &str) -> Error {
    Error::OutOfMemory { doing: doing.into() }
}

/// Calls `work(first_row, rows)` for blocks of whole rows of `out`, on all cores where there are threads.
pub fn for_row_blocks<T: Send>(out: &mut [T], stride: usize, block: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let size = block * stride;
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        out.par_chunks_mut(size).enumerate().for_each(|(index, rows)| work(index * block, rows));
    }
    #[cfg(target_arch = "wasm32")]
    for (index, rows) in out.chunks_mut(size).enumerate() {
        work(index * block, rows);
    }
}
