//! Parameters that a GPU holds in integers of a few bits, as a packed folder has them: kernels multiply by the integers, and a
//! model takes the memory that its file takes.
//!
//! A row of a table, or a panel of a matrix, is a run of words: its blocks of 32 integers, and behind them a word for each of its
//! groups, the scale as a half and above it the zero point. `shaders/lib/integers.wgsl` reads them.

use half::f16;

use crate::layout::{Layout, PANEL, TILE};
use crate::packed::Packing;
use crate::sparsity::Sparsity;
use crate::weights::Weight;

/// Integers of a block.
const BLOCK: usize = 32;

/// How a parameter lies in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integers {
    /// How its tensors are stored; the rows are those of one of them.
    pub packing: Packing,
    /// Of the parameter.
    pub layout: Layout,
}

impl Integers {
    /// How the tensors of a parameter are stored, where they all are in integers of one kind, which kernels can read in fours: what
    /// turns, or has gaps, along the inputs they cannot.
    pub fn packing(weight: &Weight) -> Option<Packing> {
        let packing = weight.parts.first()?.packing?;
        let alike = |other: Packing| Packing { rows: packing.rows, sparsity: packing.sparsity, ..other } == packing;
        let alike = weight.parts.iter().all(|part| part.packing.is_some_and(alike));
        let in_order = match weight.layout {
            Layout::Table { width, .. } => width.is_multiple_of(4),
            Layout::Linear { inputs, .. } => (0..inputs.padded()).all(|i| i < inputs.size() && inputs.place(i) == i),
            _ => false,
        };
        // The reader gives whole rows.
        let packing = Packing { sparsity: Sparsity::None, ..packing };
        (alike && in_order && packing.group.is_multiple_of(4)).then_some(packing)
    }

    /// Runs of the parameter.
    fn runs(&self) -> usize {
        match self.layout {
            Layout::Table { rows, .. } => rows,
            Layout::Linear { outputs, .. } => outputs.padded().next_multiple_of(TILE) / PANEL,
            _ => 0,
        }
    }

    /// Blocks of a run.
    fn blocks(&self) -> usize {
        match self.layout {
            Layout::Linear { inputs, .. } => inputs.padded() * PANEL / BLOCK,
            _ => self.packing.columns.div_ceil(BLOCK),
        }
    }

    /// Groups of a run.
    fn groups(&self) -> usize {
        if self.layout.is_matrix() { PANEL * self.packing.groups() } else { self.packing.groups() }
    }

    /// Words of a run.
    pub fn run(&self) -> usize {
        self.blocks() * self.packing.bits as usize + self.groups()
    }

    /// Words of the parameter.
    pub fn words(&self) -> usize {
        self.runs() * self.run()
    }

    /// The words of whole runs from their integers, 32 a block, and their groups.
    fn pack(&self, integers: &[u8], groups: &[u32]) -> Vec<u32> {
        let mut words = Vec::with_capacity(integers.len() / BLOCK * self.packing.bits as usize + groups.len());
        let (low, extra) = split(self.packing.bits);
        for (integers, groups) in integers.chunks_exact(BLOCK * self.blocks()).zip(groups.chunks_exact(self.groups())) {
            for block in integers.as_chunks::<BLOCK>().0 {
                push_bits(&mut words, block.iter().map(|integer| u32::from(*integer) & ((1 << low) - 1)), low);
                push_bits(&mut words, block.iter().map(|integer| u32::from(*integer) >> low), extra);
            }
            words.extend(groups);
        }
        words
    }

    /// The values of all runs, in their layout.
    pub fn values(&self, integers: &[u8], groups: &[u32]) -> Vec<f32> {
        let columns = self.packing.columns;
        let (step, stride) = if self.layout.is_matrix() { (PANEL, PANEL * columns) } else { (1, columns) };
        let mut values = Vec::with_capacity(self.layout.elements());
        for (integers, groups) in integers.chunks_exact(BLOCK * self.blocks()).zip(groups.chunks_exact(self.groups())) {
            for (at, integer) in integers[..stride].iter().enumerate() {
                let group = groups[at / step / self.packing.group * step + at % step];
                let scale = f16::from_bits(group as u16).to_f32();
                values.push(scale * (f32::from(*integer) - (group >> 16) as f32));
            }
        }
        values
    }
}

/// Bits of an integer that lie together, and those above that lie together.
pub fn split(bits: u32) -> (u32, u32) {
    if bits == 8 { (8, 0) } else { (4, bits - 4) }
}

/// Values of so many bits, which divide 32, side by side.
fn push_bits(words: &mut Vec<u32>, values: impl Iterator<Item = u32>, bits: u32) {
    if bits == 0 {
        return;
    }
    for (index, value) in values.enumerate() {
        let shift = index as u32 * bits % 32;
        match words.last_mut() {
            Some(word) if shift > 0 => *word |= value << shift,
            _ => words.push(value),
        }
    }
}

/// A parameter on its way into words: integers and groups in the order of its runs, zero where no tensor has any.
pub struct Runs {
    form: Integers,
    integers: Vec<u8>,
    groups: Vec<u32>,
}

impl Runs {
    /// Of the whole parameter.
    pub fn all(form: Integers) -> Self {
        Self::new(form, form.runs())
    }

    /// Of so many rows of a table.
    pub fn new(form: Integers, runs: usize) -> Self {
        let (blocks, groups) = (runs * form.blocks(), runs * form.groups());
        Self { form, integers: vec![0; blocks * BLOCK], groups: vec![0; groups] }
    }

    /// Puts rows of a tensor where they belong, from row `first` of these on. `scales` are halves, `zeros` may be empty.
    pub fn place(&mut self, first: usize, integers: &[u8], scales: &[u8], zeros: &[u8]) {
        let Integers { packing, layout } = self.form;
        let (columns, per_row) = (packing.columns, packing.groups());
        let scales = scales.as_chunks().0;
        for (index, integers) in integers.chunks_exact(columns).enumerate() {
            // Where the row begins, and how far its values lie apart.
            let (run, at, step) = match layout {
                Layout::Linear { outputs, .. } => {
                    let row = outputs.place(first + index);
                    (row / PANEL, row % PANEL, PANEL)
                }
                _ => (first + index, 0, 1),
            };
            let own = &mut self.integers[run * self.form.blocks() * BLOCK + at..];
            own.iter_mut().step_by(step).zip(integers).for_each(|(own, integer)| *own = *integer);
            let own = &mut self.groups[run * self.form.groups() + at..];
            for (group, own) in own.iter_mut().step_by(step).take(per_row).enumerate() {
                let from = index * per_row + group;
                let zero = zeros.get(from).copied().unwrap_or(packing.middle());
                *own = u32::from(u16::from_le_bytes(scales[from])) | u32::from(zero) << 16;
            }
        }
    }

    /// Their words.
    pub fn words(&self) -> Vec<u32> {
        self.form.pack(&self.integers, &self.groups)
    }

    /// Their values, as a device without integers would hold them.
    pub fn values(&self) -> Vec<f32> {
        self.form.values(&self.integers, &self.groups)
    }
}
