//! The recorded program: a flat list of operations over numbered buffers.
//!
//! It is recorded once at load and knows neither the texts nor the device. What changes from batch to
//! batch (how many tokens, where each text starts) comes in through the [`Batch`]; the GPU gets it as one
//! small buffer, the frame. So nothing is built per batch: no bind group, no pipeline, no allocation.

use crate::batch::Batch;
use crate::cpu::Memory;
use crate::shader::Kernel;
use crate::weights::Weight;

/// Which count a buffer has rows for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// One row a token of the packed batch.
    Tokens,
    /// One row a text of the packed batch.
    Texts,
    /// So many, whatever the batch: what depends on parameters alone.
    Fixed(usize),
}

impl Rows {
    /// How many a batch has.
    pub fn of(self, batch: &Batch) -> usize {
        match self {
            Self::Tokens => batch.tokens(),
            Self::Texts => batch.texts(),
            Self::Fixed(rows) => rows,
        }
    }
}

/// A matrix that operations read and write, `[rows, width]`.
///
/// Rows are `stride` elements apart; the columns from `width` to `stride` are zero, so that kernels
/// can move four columns at a time whatever the model's width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buf {
    /// Index into [`Program::bufs`].
    pub id: usize,
    /// What a row stands for.
    pub rows: Rows,
    /// Columns that carry values.
    pub width: usize,
    /// Columns in memory, a multiple of four.
    pub stride: usize,
}

impl Buf {
    /// Values of whole rows without the columns that only pad.
    pub fn unpadded(&self, values: &[f32]) -> Vec<f32> {
        values.chunks_exact(self.stride).flat_map(|row| &row[..self.width]).copied().collect()
    }
}

/// A parameter of the model on the device, by its index into [`Program::weights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightId(pub usize);

/// What an operation binds on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// An activation that is read.
    Read(Buf),
    /// The activation that is written.
    Write(Buf),
    /// A parameter.
    Weight(WeightId),
    /// The vectors that are read back.
    Output,
}

/// One step, written twice: for the GPU and, as reference and fallback, for the CPU.
pub trait Op: Send + Sync {
    /// The kernel: source, constants, operands in binding order, and the grid.
    fn kernel(&self) -> Kernel;
    /// The same mathematics on the host.
    fn run(&self, batch: &Batch, memory: &mut Memory);
}

/// The steps of a model and the buffers between them.
#[derive(Default)]
pub struct Program {
    /// Steps that run once, when the parameters are there: those on [`Rows::Fixed`].
    pub setup: Vec<Box<dyn Op>>,
    /// In order of execution.
    pub ops: Vec<Box<dyn Op>>,
    /// Activations by [`Buf::id`].
    pub bufs: Vec<Buf>,
    /// Parameters by [`WeightId`].
    pub weights: Vec<Weight>,
    /// The vectors that come out.
    pub output: Output,
    /// The last hidden state, which can be read back too: nothing takes its memory.
    pub states: Option<Buf>,
}

/// What a program's vectors can be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Most columns.
    pub width: usize,
    /// Most poolings that can be concatenated.
    pub modes: usize,
}

impl Program {
    /// A new activation of `width` columns.
    pub fn buf(&mut self, rows: Rows, width: usize) -> Buf {
        let buf = Buf { id: self.bufs.len(), rows, width, stride: width.next_multiple_of(4) };
        self.bufs.push(buf);
        buf
    }

    /// Declares a parameter; its values arrive later. One that was declared before is shared.
    pub fn weight(&mut self, weight: Weight) -> WeightId {
        if !(weight.parts.is_empty() && weight.computed.is_none())
            && let Some(index) = self.weights.iter().position(|known| *known == weight)
        {
            return WeightId(index);
        }
        self.weights.push(weight);
        WeightId(self.weights.len() - 1)
    }

    /// Appends a step; one on [`Rows::Fixed`] to the set-up.
    pub fn push(&mut self, op: impl Op + 'static) {
        match op.kernel().grid.rows {
            Rows::Fixed(_) => self.setup.push(Box::new(op)),
            Rows::Tokens | Rows::Texts => self.ops.push(Box::new(op)),
        }
    }

    /// Every step, those of the set-up first.
    pub fn all_ops(&self) -> impl Iterator<Item = &dyn Op> {
        self.setup.iter().chain(&self.ops).map(Box::as_ref)
    }

    /// Bytes of all parameters as the device holds them.
    pub fn weight_bytes(&self, precision: Precision) -> u64 {
        self.weights.iter().map(|weight| weight.bytes(precision)).sum()
    }

    /// Shares memory between activations whose lives do not overlap.
    ///
    /// An output never takes the slot of an input of the same step: WebGPU forbids binding one buffer both
    /// for reading and for writing, even in disjoint parts. No step of a batch takes the memory of what the set-up left,
    /// because none has as many rows.
    pub fn plan(&self) -> Plan {
        let uses: Vec<Vec<Buf>> = self.all_ops().map(|op| op.kernel().activations()).collect();
        let last_use = |id: usize| uses.iter().rposition(|bufs| bufs.iter().any(|buf| buf.id == id));
        let mut slots: Vec<Slot> = Vec::new();
        let mut free: Vec<bool> = Vec::new();
        let mut slot_of = vec![usize::MAX; self.bufs.len()];
        for (step, bufs) in uses.iter().enumerate() {
            for buf in bufs.iter().filter(|buf| slot_of[buf.id] == usize::MAX).copied().collect::<Vec<_>>() {
                let fits = |slot: &usize| free[*slot] && slots[*slot].rows == buf.rows;
                // The tightest slot that is wide enough, else the widest that can be widened.
                let chosen = (0..slots.len()).filter(fits).min_by_key(|&slot| {
                    let width = slots[slot].stride;
                    if width >= buf.stride { (0, width) } else { (1, usize::MAX - width) }
                });
                let slot = chosen.unwrap_or_else(|| {
                    slots.push(Slot { rows: buf.rows, stride: 0 });
                    free.push(true);
                    slots.len() - 1
                });
                slots[slot].stride = slots[slot].stride.max(buf.stride);
                free[slot] = false;
                slot_of[buf.id] = slot;
            }
            for buf in bufs {
                if last_use(buf.id) == Some(step) && self.states != Some(*buf) {
                    free[slot_of[buf.id]] = true;
                }
            }
        }
        Plan { slots, slot_of }
    }
}

/// Memory that several activations take in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// What its rows stand for.
    pub rows: Rows,
    /// Elements of a row: the widest stride of its activations.
    pub stride: usize,
}

/// Which activation lives in which slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The memory to allocate.
    pub slots: Vec<Slot>,
    /// Slot by [`Buf::id`].
    pub slot_of: Vec<usize>,
}

impl Plan {
    /// Bytes that a row of a batch takes in all slots.
    pub fn row_bytes(&self) -> usize {
        let of_a_batch = self.slots.iter().filter(|slot| !matches!(slot.rows, Rows::Fixed(_)));
        of_a_batch.map(|slot| 4 * slot.stride).sum()
    }
}

/// How the device stores matrices and tables. Vectors (biases, norms) and all arithmetic are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Four bytes a value.
    F32,
    /// Two bytes a value.
    F16,
}
