//! The recorded program: a flat list of operations over numbered buffers.
//!
//! It is recorded once at load and knows neither the texts nor the device. What changes from batch to
//! batch (how many tokens, where each text starts) comes in through the [`Batch`]; the GPU gets it as one
//! small buffer, the frame. So nothing is built per batch: no bind group, no pipeline, no allocation.
//!
//! The trunk, an encoder, is shared by what can be asked of a model: every vector, score or state is a [`Tail`] that
//! leaves the trunk somewhere and has a few steps of its own.

use crate::batch::{Batch, MAX_PICKS, MAX_TEXTS};
use crate::cpu::Memory;
use crate::integers::Integers;
use crate::ops::Normed;
use crate::shader::{Fragment, Kernel};
use crate::weights::Weight;

/// Most bytes of an activation that has a row a text, or a row a picked token.
const ROWS_BYTES: usize = 32 << 20;

/// Which count a buffer has rows for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// One row a token of the packed batch.
    Tokens,
    /// One row a text of the packed batch.
    Texts,
    /// One row a token that the batch picks.
    Picks,
    /// So many, whatever the batch: what depends on parameters alone.
    Fixed(usize),
}

impl Rows {
    /// Its number in `shaders/lib/frame.wgsl`.
    pub fn kind(self) -> usize {
        match self {
            Self::Tokens => 0,
            Self::Texts => 1,
            Self::Picks => 2,
            Self::Fixed(_) => 3,
        }
    }

    /// How many there are whatever the batch, else 0.
    pub fn fixed(self) -> usize {
        if let Self::Fixed(rows) = self { rows } else { 0 }
    }

    /// How many a batch has.
    pub fn of(self, batch: &Batch) -> usize {
        match self {
            Self::Tokens => batch.tokens(),
            Self::Texts => batch.texts(),
            Self::Fixed(rows) => rows,
            Self::Picks => batch.picks.len(),
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

/// Rows of `width` values, each followed by the zeros that a [`Buf`] has.
pub fn padded(values: &[f32], width: usize) -> Vec<f32> {
    let mut rows = Vec::new();
    for row in values.chunks_exact(width.max(1)) {
        rows.extend_from_slice(row);
        rows.resize(rows.len().next_multiple_of(4), 0.0);
    }
    rows
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
    /// A parameter that a device may hold in integers, or in pieces.
    Large(Large),
    /// The vectors that are read back.
    Output,
}

/// A matrix that is multiplied by, or a table that is looked up, with the WGSL that reads it. One an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Large {
    /// The parameter.
    pub weight: WeightId,
    /// Reads values.
    pub values: Fragment,
    /// Reads integers.
    pub integers: Fragment,
}

impl Operand {
    /// The parameter that it is.
    pub fn weight(&self) -> Option<WeightId> {
        match self {
            Self::Weight(weight) | Self::Large(Large { weight, .. }) => Some(*weight),
            Self::Read(_) | Self::Write(_) | Self::Output => None,
        }
    }
}

/// A kernel, and for how many rows at most it is the one to take.
pub struct Form {
    /// See [`Op::kernel`].
    pub kernel: Kernel,
    /// Of what its grid counts.
    pub most_rows: usize,
    /// Tokens of a batch beyond which it cannot be taken.
    pub most_tokens: usize,
    /// What it makes beside the operation's result. The step before makes nothing else, and is left out.
    pub makes: Option<Buf>,
    /// Whether an invocation has more values than most GPUs have registers: it is left out where they are not known to have them.
    pub many_registers: bool,
}

impl Form {
    /// Of an operation's result alone, for any number of tokens.
    pub fn new(kernel: Kernel, most_rows: usize) -> Self {
        Self { kernel, most_rows, most_tokens: usize::MAX, makes: None, many_registers: false }
    }
}

/// One step, written twice: for the GPU and, as reference and fallback, for the CPU.
pub trait Op: Send + Sync {
    /// The kernel: source, constants, operands in binding order, and the grid.
    fn kernel(&self) -> Kernel;
    /// What hardware takes in its place, where that is another: kernels with the same parameters, the one for the fewest rows first. The last
    /// that a device takes is for any number.
    fn forms(&self) -> Vec<Form> {
        vec![Form::new(self.kernel(), usize::MAX)]
    }
    /// The same for a matrix in [`Precision::Int8`], whatever the device; none: there are no such kernels.
    fn int8_forms(&self) -> Vec<Form> {
        Vec::new()
    }
    /// What it makes, where it does nothing but normalise.
    fn normed(&self) -> Option<Normed> {
        None
    }
    /// The same mathematics on the host.
    fn run(&self, batch: &Batch, memory: &mut Memory);
}

/// The steps of a model and the buffers between them.
#[derive(Default)]
pub struct Program {
    /// Steps that run once, when the parameters are there: those on [`Rows::Fixed`].
    pub setup: Vec<Box<dyn Op>>,
    /// The trunk, in order of execution.
    pub ops: Vec<Box<dyn Op>>,
    /// What can be asked of it.
    pub tails: Vec<Tail>,
    /// Activations by [`Buf::id`].
    pub bufs: Vec<Buf>,
    /// Parameters by [`WeightId`].
    pub weights: Vec<Weight>,
    /// The vectors that come out of the tail that is being recorded.
    pub output: Output,
    /// What the last step normalised, in a tail that has none yet the trunk's.
    normed: Option<Normed>,
}

/// A way out of the trunk.
pub struct Tail {
    /// Steps of the trunk that run before.
    pub after: usize,
    /// In order of execution.
    pub ops: Vec<Box<dyn Op>>,
    /// What is read back.
    pub result: Outcome,
}

/// A tail by its index into [`Program::tails`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailId(pub usize);

/// What a tail gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The vectors that its last step writes to [`Operand::Output`], as the batch's pooling asks, a row a text.
    Vectors(Output),
    /// The rows of an activation.
    Rows(Buf),
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
            Rows::Tokens | Rows::Texts | Rows::Picks => {
                self.normed = op.normed();
                self.ops.push(Box::new(op));
            }
        }
    }

    /// How an activation was normalised, where the last step did that and no more.
    pub(crate) fn normed(&self, x: Buf) -> Option<Normed> {
        self.normed.filter(|normed| normed.out == x)
    }

    /// Begins a tail that leaves the trunk here: what is pushed from now on is the tail's. Returns the trunk.
    pub fn begin_tail(&mut self) -> Vec<Box<dyn Op>> {
        self.output = Output::default();
        std::mem::take(&mut self.ops)
    }

    /// Ends a tail. `rows` are read back; where there are none, the vectors.
    pub fn end_tail(&mut self, trunk: Vec<Box<dyn Op>>, rows: Option<Buf>) -> TailId {
        let ops = std::mem::replace(&mut self.ops, trunk);
        self.normed = self.ops.last().and_then(|op| op.normed());
        let result = rows.map_or(Outcome::Vectors(self.output), Outcome::Rows);
        self.tails.push(Tail { after: self.ops.len(), ops, result });
        TailId(self.tails.len() - 1)
    }

    /// The steps that lead to a tail's result.
    pub fn steps(&self, tail: TailId) -> impl Iterator<Item = &dyn Op> {
        let tail = &self.tails[tail.0];
        self.ops[..tail.after].iter().chain(&tail.ops).map(Box::as_ref)
    }

    /// The same by their places in [`Program::all_ops`].
    pub fn step_indices(&self, tail: TailId) -> impl Iterator<Item = usize> + use<> {
        let before: usize = self.tails[..tail.0].iter().map(|tail| tail.ops.len()).sum();
        let trunk = self.setup.len();
        let first = trunk + self.ops.len() + before;
        let Tail { after, ops, .. } = &self.tails[tail.0];
        (trunk..trunk + after).chain(first..first + ops.len())
    }

    /// Every step: those of the set-up, the trunk's, then those of each tail.
    pub fn all_ops(&self) -> impl Iterator<Item = &dyn Op> {
        let tails = self.tails.iter().flat_map(|tail| &tail.ops);
        self.setup.iter().chain(&self.ops).chain(tails).map(Box::as_ref)
    }

    /// The step that makes an activation, by its place in [`Program::all_ops`].
    pub fn maker(&self, buf: Buf) -> Option<usize> {
        self.all_ops().position(|op| op.kernel().operands.contains(&Operand::Write(buf)))
    }

    /// What its vectors can be, whatever the tail.
    pub fn vectors(&self) -> Output {
        let vectors = self.tails.iter().find_map(|tail| match tail.result {
            Outcome::Vectors(output) => Some(output),
            Outcome::Rows(_) => None,
        });
        vectors.unwrap_or(self.output)
    }

    /// Most rows of a kind in a batch, of which the caller bounds the tokens. Rows of the vocabulary's width are bounded so
    /// that they fit the guaranteed size of a buffer with room to spare.
    pub fn most(&self, rows: Rows) -> usize {
        let most = match rows {
            Rows::Tokens | Rows::Fixed(_) => return usize::MAX,
            Rows::Texts => MAX_TEXTS,
            Rows::Picks => MAX_PICKS,
        };
        let vectors = (rows == Rows::Texts).then(|| self.vectors().width);
        let widest = self.bufs.iter().filter(|buf| buf.rows == rows).map(|buf| buf.stride).chain(vectors).max();
        widest.map_or(most, |widest| (ROWS_BYTES / (4 * widest.max(1))).clamp(1, most))
    }

    /// Whether a step multiplies by a matrix in [`Precision::Int8`] where that is asked for.
    pub fn is_int8(&self, op: &dyn Op) -> bool {
        let int8 = |id: WeightId| self.weights[id.0].stored(Precision::Int8) == Precision::Int8;
        op.kernel().operands.iter().filter_map(Operand::weight).any(int8)
    }

    /// For every parameter, whether all steps take it as [`Operand::Large`].
    pub fn large(&self) -> Vec<bool> {
        let (mut large, mut whole) = (vec![false; self.weights.len()], vec![false; self.weights.len()]);
        for operand in self.all_ops().flat_map(|op| op.kernel().operands) {
            match operand {
                Operand::Large(Large { weight, .. }) => large[weight.0] = true,
                Operand::Weight(weight) => whole[weight.0] = true,
                Operand::Read(_) | Operand::Write(_) | Operand::Output => {}
            }
        }
        large.into_iter().zip(whole).map(|(large, whole)| large && !whole).collect()
    }

    /// Lets a GPU hold in integers what comes in integers, once it is known what does.
    pub fn hold_integers(&mut self) {
        let large = self.large();
        for (weight, _) in self.weights.iter_mut().zip(large).filter(|(_, large)| *large) {
            weight.held = Integers::packing(weight);
        }
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
        let activations = |ops: &[Box<dyn Op>]| ops.iter().map(|op| activations(op.as_ref())).collect::<Vec<_>>();
        let tails: Vec<Vec<Vec<Buf>>> = self.tails.iter().map(|tail| activations(&tail.ops)).collect();
        let used = |tail: usize, id: usize| {
            let result = matches!(self.tails[tail].result, Outcome::Rows(buf) if buf.id == id);
            result || tails[tail].iter().flatten().any(|buf| buf.id == id)
        };
        let mut slots = Slots { slots: Vec::new(), free: Vec::new(), slot_of: vec![usize::MAX; self.bufs.len()] };
        let trunk = [activations(&self.setup), activations(&self.ops)].concat();
        let begins = |tail: usize| self.setup.len() + self.tails[tail].after;
        // A tail reads what the trunk left where the tail begins.
        let last_use = |id: usize| {
            let own = trunk.iter().rposition(|bufs| bufs.iter().any(|buf| buf.id == id));
            let leaves =
                (0..self.tails.len()).filter(|tail| used(*tail, id)).map(|tail| begins(tail).saturating_sub(1));
            own.into_iter().chain(leaves).max()
        };
        for (step, bufs) in trunk.iter().enumerate() {
            slots.step(bufs, |id| last_use(id) == Some(step));
        }
        // The trunk does not go on behind a tail, so that only what the tail reads is still taken.
        for (index, steps) in tails.iter().enumerate() {
            slots.free.fill(true);
            for buf in &self.bufs {
                if slots.slot_of[buf.id] != usize::MAX && used(index, buf.id) {
                    slots.free[slots.slot_of[buf.id]] = false;
                }
            }
            for (step, bufs) in steps.iter().enumerate() {
                let later = |id: usize| steps[step + 1..].iter().flatten().any(|buf| buf.id == id);
                let result = |id: usize| matches!(self.tails[index].result, Outcome::Rows(buf) if buf.id == id);
                slots.step(bufs, |id| !later(id) && !result(id));
            }
        }
        Plan { slots: slots.slots, slot_of: slots.slot_of }
    }
}

/// What an operation reads and writes, whatever its form.
fn activations(op: &dyn Op) -> Vec<Buf> {
    let mut bufs = op.kernel().activations();
    for form in op.forms() {
        if form.makes.is_some() {
            bufs.extend(form.kernel.activations());
        }
    }
    bufs
}

/// Slots while they are given out.
struct Slots {
    slots: Vec<Slot>,
    free: Vec<bool>,
    slot_of: Vec<usize>,
}

impl Slots {
    /// Gives the activations of a step their slots, and takes back those that end with it.
    fn step(&mut self, bufs: &[Buf], ends: impl Fn(usize) -> bool) {
        for buf in bufs {
            if self.slot_of[buf.id] != usize::MAX {
                continue;
            }
            let fits = |slot: &usize| self.free[*slot] && self.slots[*slot].rows == buf.rows;
            // The tightest slot that is wide enough, else the widest that can be widened.
            let chosen = (0..self.slots.len()).filter(fits).min_by_key(|&slot| {
                let width = self.slots[slot].stride;
                if width >= buf.stride { (0, width) } else { (1, usize::MAX - width) }
            });
            let slot = chosen.unwrap_or_else(|| {
                self.slots.push(Slot { rows: buf.rows, stride: 0 });
                self.free.push(true);
                self.slots.len() - 1
            });
            self.slots[slot].stride = self.slots[slot].stride.max(buf.stride);
            self.free[slot] = false;
            self.slot_of[buf.id] = slot;
        }
        for buf in bufs.iter().filter(|buf| ends(buf.id)) {
            self.free[self.slot_of[buf.id]] = true;
        }
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
    /// Matrices of one byte a value; what they multiply is rounded as much. On a GPU for operations with [`Op::int8_forms`] alone.
    Int8,
    /// Matrices and tables in the integers that a packed folder has, where kernels read those; else as f32. On a GPU only, and only
    /// where no other was asked for.
    Packed,
}

impl Precision {
    /// Those that can be asked for.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Int8];

    /// As options and results write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Packed => "packed",
        }
    }

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }
}
