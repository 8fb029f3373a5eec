//! `y[t, c] = activation(b[c] + Σ_j filter[c, j] x[row(t, j), c])`, zero past the ends of a text. Source: `torch.nn.Conv1d`
//! with as many groups as channels.

use super::GROUP;
use super::linear::{Activation, Epilogue};
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};

/// The rows that the taps of a filter lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taps {
    /// How many.
    pub size: usize,
    /// Rows from the token to the first tap.
    pub first: i32,
    /// Rows from a tap to the next, 1 or -1.
    pub step: i32,
}

impl Taps {
    /// As many on either side of the token, where `size` is odd.
    pub fn around(size: usize) -> Self {
        Self { size, first: -(size as i32 / 2), step: 1 }
    }

    /// Up to the token, or down to it where the text is read from its end.
    pub fn causal(size: usize, backward: bool) -> Self {
        let step = if backward { -1 } else { 1 };
        Self { size, first: step * (1 - size as i32), step }
    }

    /// The taps that lie in the text of `token`, each with its row.
    pub(super) fn rows(self, batch: &Batch, token: usize) -> impl Iterator<Item = (usize, usize)> {
        let text = i64::from(batch.from[token])..i64::from(batch.until[token]);
        let row = move |tap: usize| token as i64 + i64::from(self.first) + i64::from(self.step) * tap as i64;
        (0..self.size)
            .map(move |tap| (tap, row(tap)))
            .filter(move |(_, row)| text.contains(row))
            .map(|(tap, row)| (tap, row as usize))
    }
}

/// See the module.
pub struct Depthwise {
    x: Buf,
    filters: WeightId,
    taps: Taps,
    bias: Option<WeightId>,
    activation: Option<Activation>,
    out: Buf,
}

impl Program {
    /// The first `width` columns of x: `[tokens, …]`, filters: [`Layout::Filters`](crate::layout::Layout::Filters),
    /// bias: `[width]`, to `[tokens, width]`
    pub fn depthwise(
        &mut self,
        x: Buf,
        width: usize,
        filters: WeightId,
        taps: Taps,
        bias: Option<WeightId>,
        activation: Option<Activation>,
    ) -> Buf {
        let out = self.buf(Rows::Tokens, width);
        self.push(Depthwise { x, filters, taps, bias, activation, out });
        out
    }
}

impl Op for Depthwise {
    fn kernel(&self) -> Kernel {
        let epilogue = self.activation.map_or(Epilogue::None, Epilogue::Activation);
        Kernel {
            name: "depthwise",
            fragments: vec![fragment!("depthwise.wgsl"), epilogue.fragment()],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("TAPS", Const::Count(self.taps.size)),
                ("FIRST", Const::Signed(self.taps.first)),
                ("STEP", Const::Signed(self.taps.step)),
                ("BIAS", Const::Flag(self.bias.is_some())),
                ("X4", Const::Count(self.x.stride / 4)),
                ("STRIDE4", Const::Count(self.out.stride / 4)),
            ],
            operands: vec![
                Operand::Read(self.x),
                Operand::Weight(self.filters),
                Operand::Write(self.out),
                // Bound all the same where there is none, and not read.
                Operand::Weight(self.bias.unwrap_or(self.filters)),
            ],
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (wide, stride) = (self.x.stride, self.out.stride);
        memory.write(self.out, |memory, out| {
            let (x, filters) = (memory.read(self.x), memory.weight(self.filters));
            let bias = self.bias.map(|bias| memory.weight(bias));
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, 16, |first, rows| {
                for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
                    match bias {
                        Some(bias) => row.copy_from_slice(bias),
                        None => row.fill(0.0),
                    }
                    for (tap, from) in self.taps.rows(batch, first + index) {
                        let (x, filter) = (&x[from * wide..][..stride], &filters[tap * stride..][..stride]);
                        row.iter_mut().zip(x).zip(filter).for_each(|((y, x), filter)| *y += filter * x);
                    }
                }
                if let Some(activation) = self.activation {
                    activation.apply(rows);
                }
            });
        });
    }
}
