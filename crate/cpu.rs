//! Runs a program on the host, operation after operation.
//!
//! In the browser this is the path for machines without a usable GPU (wasm SIMD, one thread, or several where a page may share
//! memory); natively it is the reference that kernels are compared with, and it uses all cores.

use std::sync::Arc;

use embedlet_host::{Int8Matrix, Matrix, extend_with_zeros};
use rayon::prelude::*;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::program::{Buf, Outcome, Plan, Precision, Program, Rows, Slot, TailId, WeightId};
use crate::weights::{Layout, Sink, Weight};

/// Activations, parameters and the output of a program on the host.
pub struct Memory {
    plan: Arc<Plan>,
    slots: Vec<Vec<f32>>,
    output: Vec<f32>,
    parameters: Arc<Parameters>,
    /// The slots of batches that ran beside this one's.
    beside: Vec<Vec<Vec<f32>>>,
}

/// What all batches read.
#[derive(Clone)]
struct Parameters {
    stored: Vec<Stored>,
    /// How many values each has.
    elements: Vec<usize>,
    precision: Precision,
}

/// A parameter.
#[derive(Clone)]
enum Stored {
    /// Values, which may be those that halves can have.
    Floats { values: Vec<f32>, halves: bool },
    /// A matrix of so many inputs, once it is there.
    Int8 { matrix: Int8Matrix, inputs: usize },
}

impl Memory {
    /// Memory for this program: nothing is allocated for what a configuration says alone. What is not written of a parameter is zero.
    /// Where `precision` is f16, matrices and tables are rounded as a GPU would round them; where it is int8, matrices become
    /// integers.
    pub fn new(program: &Program, precision: Precision) -> Self {
        let plan = program.plan();
        let stored = |weight: &Weight| match weight.stored(precision) {
            Precision::Int8 => Stored::Int8 { matrix: Int8Matrix::default(), inputs: weight.layout.inputs() },
            stored => Stored::Floats { values: Vec::new(), halves: stored == Precision::F16 },
        };
        let stored = program.weights.iter().map(stored).collect();
        let elements = program.weights.iter().map(|weight| weight.layout.elements()).collect();
        Self::of(plan, Parameters { stored, elements, precision })
    }

    fn of(plan: Plan, parameters: Parameters) -> Self {
        let slots = vec![Vec::new(); plan.slots.len()];
        let (plan, parameters) = (Arc::new(plan), Arc::new(parameters));
        Self { plan, slots, output: Vec::new(), parameters, beside: Vec::new() }
    }

    /// Memory in which every activation has its own place and nothing is allocated yet, for running single
    /// operations on given values.
    pub fn scratch(program: &Program) -> Self {
        let slots = program.bufs.iter().map(|buf| Slot { rows: buf.rows, stride: buf.stride }).collect();
        let stored = program.weights.iter().map(|_| Stored::Floats { values: Vec::new(), halves: false }).collect();
        let elements = vec![0; program.weights.len()];
        let plan = Plan { slots, slot_of: (0..program.bufs.len()).collect() };
        Self::of(plan, Parameters { stored, elements, precision: Precision::F32 })
    }

    /// All activations, slot by slot, for who runs several batches in turn.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn activations(&mut self) -> &mut Vec<Vec<f32>> {
        &mut self.slots
    }

    /// Gives an activation its values.
    pub fn set(&mut self, buf: Buf, values: Vec<f32>) {
        self.slots[self.plan.slot_of[buf.id]] = values;
    }

    /// Gives a parameter of this layout its values, rounded as a device would store them.
    pub fn set_weight(&mut self, id: WeightId, values: Vec<f32>, stored: Precision, layout: Layout) {
        self.parameters().stored[id.0] = match stored {
            Precision::Int8 => Stored::Int8 { matrix: Int8Matrix::default(), inputs: layout.inputs() },
            _ => Stored::Floats { values: Vec::new(), halves: stored == Precision::F16 },
        };
        self.load(id, 0, &values);
    }

    /// The parameters, to change them. No other batch has them by now, so there is nothing to copy.
    fn parameters(&mut self) -> &mut Parameters {
        Arc::make_mut(&mut self.parameters)
    }

    /// The vectors that the last operation wrote.
    pub fn take_output(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.output)
    }

    /// Runs the set-up, once every parameter has its values.
    pub fn setup(&mut self, program: &Program) -> Result<()> {
        let Parameters { stored, elements, .. } = self.parameters();
        for (stored, elements) in stored.iter_mut().zip(elements) {
            if let Stored::Floats { values, .. } = stored {
                extend_with_zeros(values, *elements).map_err(|_| out_of_memory("loading the weights"))?;
            }
        }
        self.beside.clear();
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

    /// Runs several batches side by side: threads have one each, and take part in those of others when they have none.
    pub fn run_all(&mut self, program: &Program, tail: TailId, batches: &[Batch]) -> Result<Vec<Vec<f32>>> {
        let mut others: Vec<Self> = batches.iter().skip(1).map(|_| self.another()).collect();
        let mut memories: Vec<&mut Self> = std::iter::once(&mut *self).chain(&mut others).collect();
        let run = |(memory, batch): (&mut &mut Self, &Batch)| memory.run(program, tail, batch);
        let results = if THREADS && batches.len() > 1 {
            memories.par_iter_mut().zip(batches).map(run).collect()
        } else {
            memories.iter_mut().zip(batches).map(run).collect()
        };
        self.beside.extend(others.into_iter().map(|memory| memory.slots));
        results
    }

    /// Activations of another batch, with what the set-up has made, over the same parameters.
    fn another(&mut self) -> Self {
        let of_setup = |(slot, values): (&Slot, &Vec<f32>)| match slot.rows {
            Rows::Fixed(_) => values.clone(),
            Rows::Tokens | Rows::Texts | Rows::Picks => Vec::new(),
        };
        let kept = self.beside.pop();
        let slots = kept.unwrap_or_else(|| self.plan.slots.iter().zip(&self.slots).map(of_setup).collect());
        let (plan, parameters) = (self.plan.clone(), self.parameters.clone());
        Self { plan, slots, output: Vec::new(), parameters, beside: Vec::new() }
    }

    /// Makes the activations as large as a batch needs them.
    pub(crate) fn reserve(&mut self, batch: &Batch, doing: &str) -> Result<()> {
        for (slot, shape) in self.slots.iter_mut().zip(&self.plan.slots) {
            extend_with_zeros(slot, shape.rows.of(batch) * shape.stride).map_err(|_| out_of_memory(doing))?;
        }
        Ok(())
    }

    /// An activation, `[rows, stride]`; rows past the batch hold anything.
    pub fn read(&self, buf: Buf) -> &[f32] {
        &self.slots[self.plan.slot_of[buf.id]]
    }

    /// A parameter as its [`Layout`] says. Of a matrix that is stored in integers there is nothing to see:
    /// products ask for a `matrix`.
    pub fn weight(&self, id: WeightId) -> &[f32] {
        match &self.parameters.stored[id.0] {
            Stored::Floats { values, .. } => values,
            Stored::Int8 { .. } => &[],
        }
    }

    /// A matrix, or one of `count` that lie below one another.
    pub(crate) fn matrix(&self, id: WeightId, index: usize, count: usize) -> Matrix<'_> {
        match &self.parameters.stored[id.0] {
            Stored::Floats { values, .. } => {
                let size = values.len() / count;
                Matrix::F32(&values[index * size..(index + 1) * size])
            }
            Stored::Int8 { matrix, .. } => Matrix::Int8(matrix.part(index, count)),
        }
    }

    /// How its matrices lie: halves are only values that f32 holds here.
    pub fn precision(&self) -> Precision {
        if self.parameters.precision == Precision::Int8 { Precision::Int8 } else { Precision::F32 }
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
        match &mut self.parameters().stored[weight.0] {
            Stored::Floats { values: all, halves: false } => put(all, at, values),
            Stored::Floats { values: all, halves: true } => {
                let rounded: Vec<f32> = values.iter().map(|value| half::f16::from_f32(*value).to_f32()).collect();
                put(all, at, &rounded);
            }
            // Matrices come whole.
            Stored::Int8 { matrix, inputs } => *matrix = Int8Matrix::quantize(values, *inputs),
        }
    }
}

impl Sink for Memory {
    fn start(&mut self, _stored: safetensors::Dtype) -> Result<()> {
        // For every file: what has come of others stays where it is.
        let Parameters { stored, elements, .. } = self.parameters();
        for (stored, elements) in stored.iter_mut().zip(elements) {
            if let Stored::Floats { values, .. } = stored {
                values
                    .try_reserve_exact(elements.saturating_sub(values.len()))
                    .map_err(|_| out_of_memory("loading the weights"))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, weight: WeightId, at: usize, values: &[f32]) -> Result<()> {
        self.load(weight, at, values);
        Ok(())
    }
}

/// Writes values from element `at` on. What comes in order, as most does, needs no zeros before.
fn put(all: &mut Vec<f32>, at: usize, values: &[f32]) {
    all.resize(all.len().max(at), 0.0);
    let (over, behind) = values.split_at(values.len().min(all.len() - at));
    all[at..at + over.len()].copy_from_slice(over);
    all.extend_from_slice(behind);
}

fn out_of_memory(doing: &str) -> Error {
    Error::OutOfMemory { doing: doing.into() }
}

/// Whether there can be several threads: natively, and in the build of wasm whose memory is shared. What is written for them is left
/// out of the other build.
pub const THREADS: bool = cfg!(any(not(target_arch = "wasm32"), target_feature = "atomics"));

/// How many there are.
pub fn threads() -> usize {
    if THREADS { rayon::current_num_threads() } else { 1 }
}

/// Calls `work(first_row, rows)` for blocks of whole rows of `out`, on all cores where there are threads.
pub fn for_row_blocks<T: Send>(out: &mut [T], stride: usize, block: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let size = block * stride;
    if THREADS {
        out.par_chunks_mut(size).enumerate().for_each(|(index, rows)| work(index * block, rows));
    } else {
        out.chunks_mut(size).enumerate().for_each(|(index, rows)| work(index * block, rows));
    }
}
