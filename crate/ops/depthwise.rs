//! `y[t, c] = Σ_j filter[c, j] x[t + j - size / 2, c]`, zero past the ends of a text. Source: `torch.nn.Conv1d` with as many
//! groups as channels, padded to keep the length.

use super::GROUP;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};

/// See the module.
pub struct Depthwise {
    x: Buf,
    filters: WeightId,
    size: usize,
    out: Buf,
}

impl Program {
    /// x: `[tokens, width]`, filters: [`Layout::Filters`](crate::weights::Layout::Filters) of an odd `size`, to
    /// `[tokens, width]`
    pub fn depthwise(&mut self, x: Buf, filters: WeightId, size: usize) -> Buf {
        let out = self.buf(Rows::Tokens, x.width);
        self.push(Depthwise { x, filters, size, out });
        out
    }
}

impl Op for Depthwise {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "depthwise",
            fragments: vec![fragment!("depthwise.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("SIZE", Const::Count(self.size)),
                ("STRIDE4", Const::Count(self.x.stride / 4)),
            ],
            operands: vec![Operand::Read(self.x), Operand::Weight(self.filters), Operand::Write(self.out)],
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let stride = self.x.stride;
        memory.write(self.out, |memory, out| {
            let (x, filters) = (memory.read(self.x), memory.weight(self.filters));
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, 16, |first, rows| {
                for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
                    row.fill(0.0);
                    for (tap, from) in taps(batch, first + index, self.size) {
                        let (x, filter) = (&x[from * stride..][..stride], &filters[tap * stride..][..stride]);
                        row.iter_mut().zip(x).zip(filter).for_each(|((y, x), filter)| *y += filter * x);
                    }
                }
            });
        });
    }
}

/// The taps of a filter of `size` that lie in the text of `token`, each with its row.
pub(super) fn taps(batch: &Batch, token: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let text = batch.from[token] as usize..batch.until[token] as usize;
    let row = move |tap: usize| (token + tap).checked_sub(size / 2).filter(|row| text.contains(row));
    (0..size).filter_map(move |tap| row(tap).map(|row| (tap, row)))
}
