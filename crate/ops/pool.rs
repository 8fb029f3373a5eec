//! One vector a text: the poolings of sentence-transformers, concatenated. Source: its `Pooling` module.

use embedlet_host::{F32x8, add_scaled, map, zip};

use super::normalize::cut;
use super::{FEW_ROWS, GROUP, Normed};
use crate::batch::Batch;
use crate::cpu::Memory;
use crate::fragment;
use crate::head::Pooling;
use crate::program::{Buf, Form, Op, Operand, Output, Program, Rows};
use crate::shader::{Const, Grid, Kernel};

/// Rows that are summed before they are added to others: one sum of thousands of rows loses what a row has to add.
const RUN: usize = 64;

/// See the module.
pub struct Pool {
    x: Buf,
    /// What `x` is, where the step before makes nothing else.
    normed: Option<Normed>,
    /// Most poolings that can be asked for.
    modes: usize,
    /// Where projections follow; else the vectors themselves are written, normalised and cut.
    out: Option<Buf>,
}

impl Program {
    /// x: `[tokens, width]` to `[texts, modes · width]`
    pub fn pool(&mut self, x: Buf, modes: usize) -> Buf {
        let out = self.buf(Rows::Texts, modes * x.width);
        self.output.modes = modes;
        self.push(Pool { x, normed: self.normed(x), modes, out: Some(out) });
        out
    }

    /// x: `[tokens, width]` to the vectors that are read back, as the batch's pooling asks
    pub fn pool_and_normalize(&mut self, x: Buf) {
        self.output = Output { width: Pooling::COUNT * x.width, modes: Pooling::COUNT };
        self.push(Pool { x, normed: self.normed(x), modes: Pooling::COUNT, out: None });
    }
}

impl Op for Pool {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "pool",
            fragments: vec![
                fragment!("pool.wgsl"),
                fragment!("lib/plain_rows.wgsl"),
                fragment!("lib/normalize.wgsl"),
                fragment!("lib/reduce.wgsl"),
            ],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("WIDTH", Const::Count(self.x.width)),
                ("K4", Const::Count(self.x.stride / 4)),
                ("MODES", Const::Count(self.modes)),
                ("RUN", Const::Count(RUN)),
                ("LAST", Const::Flag(self.out.is_none())),
                ("OUT_STRIDE", Const::Count(self.out.map_or(0, |out| out.stride))),
            ],
            operands: vec![Operand::Read(self.x), self.out.map_or(Operand::Output, Operand::Write)],
            grid: Grid { rows: Rows::Texts, per_group: 1, y: 1, z: 1 },
        }
    }

    fn forms(&self) -> Vec<Form> {
        let mut forms = vec![Form::new(self.kernel(), usize::MAX)];
        if let Some(normed) = self.normed {
            // A workgroup looks at all rows of its text, and has room for so many.
            let form = normed.fused("pool_normed", self.kernel(), GROUP, FEW_ROWS);
            forms.insert(0, Form { most_rows: usize::MAX, most_tokens: FEW_ROWS, ..form });
        }
        forms
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let width = self.x.width;
        let pooled = |x: &[f32], text: usize, out: &mut [f32]| {
            for (mode, out) in batch.pooling.modes.iter().take(self.modes).zip(out.chunks_exact_mut(width)) {
                pool(*mode, batch, text, x, self.x.stride, out);
            }
        };
        let columns = batch.pooling.modes.len().min(self.modes) * width;
        match self.out {
            Some(out) => memory.write(out, |memory, rows| {
                for (text, row) in rows.chunks_exact_mut(out.stride).take(batch.texts()).enumerate() {
                    row.fill(0.0);
                    pooled(memory.read(self.x), text, &mut row[..columns]);
                }
            }),
            None => {
                let dimensions = batch.pooling.dimensions as usize;
                memory.write_output(batch.texts() * dimensions, |memory, rows| {
                    let mut vector = vec![0.0; columns];
                    for (text, row) in rows.chunks_exact_mut(dimensions).enumerate() {
                        pooled(memory.read(self.x), text, &mut vector);
                        cut(&vector, &batch.pooling, row);
                    }
                });
            }
        }
    }
}

/// See `shaders/pool.wgsl` for a text that has nothing to pool.
fn pool(mode: u32, batch: &Batch, text: usize, x: &[f32], stride: usize, out: &mut [f32]) {
    let (rows, width) = (batch.text(text), out.len());
    let counted = rows.start + batch.pool_from[text] as usize..rows.end;
    let row = |row: usize| &x[row * stride..][..width];
    out.fill(0.0);
    if mode == Pooling::Cls as u32 {
        return out.copy_from_slice(row(if counted.is_empty() { rows.start } else { counted.start }));
    }
    if counted.is_empty() {
        return;
    }
    if mode == Pooling::LastToken as u32 {
        return out.copy_from_slice(row(rows.end - 1));
    }
    if mode == Pooling::Max as u32 {
        out.fill(f32::MIN);
        for index in counted {
            zip(out, row(index), F32x8::max);
        }
        return;
    }
    let weighted = mode == Pooling::WeightedMean as u32;
    let mut part = vec![0.0; width];
    for first in counted.clone().step_by(RUN) {
        part.fill(0.0);
        for index in first..counted.end.min(first + RUN) {
            let weight = if weighted { (index - rows.start + 1) as f32 } else { 1.0 };
            add_scaled(&mut part, weight, row(index));
        }
        add_scaled(out, 1.0, &part);
    }
    let up_to = |row: usize| (row - rows.start) * (row - rows.start + 1) / 2;
    let total = if weighted { up_to(counted.end) - up_to(counted.start) } else { counted.len() } as f32;
    let divisor = F32x8::splat(if mode == Pooling::MeanSqrtLen as u32 { total.sqrt() } else { total });
    map(out, |sum| sum / divisor);
}
