//! `y[t, h] = Σ_j softmax(scores[t, h])[j] x[t + j - size / 2, h]` for every head h, zero past the ends of a text. Source:
//! dynamic convolutions, arXiv 1901.10430, whose filters each token brings for itself.

use embedlet_host::{F32x8, add_scaled, map};

use super::GROUP;
use super::depthwise::Taps;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows};
use crate::shader::{Const, Grid, Kernel};

/// See the module.
pub struct DynamicConvolution {
    x: Buf,
    scores: Buf,
    heads: usize,
    size: usize,
    out: Buf,
}

impl Program {
    /// x: `[tokens, heads]`, each head padded to a multiple of four, scores: `[tokens, heads · size]` of an odd `size`, to
    /// a matrix like x.
    pub fn dynamic_convolution(&mut self, x: Buf, scores: Buf, heads: usize, size: usize) -> Buf {
        let out = self.buf(Rows::Tokens, x.width);
        self.push(DynamicConvolution { x, scores, heads, size, out });
        out
    }
}

impl Op for DynamicConvolution {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "dynamic_convolution",
            fragments: vec![fragment!("dynamic_convolution.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("HEADS", Const::Count(self.heads)),
                ("HEAD4", Const::Count(self.x.stride / self.heads / 4)),
                ("SIZE", Const::Count(self.size)),
                ("SCORES", Const::Count(self.scores.stride)),
            ],
            operands: vec![Operand::Read(self.x), Operand::Read(self.scores), Operand::Write(self.out)],
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (stride, head) = (self.x.stride, self.x.stride / self.heads);
        memory.write(self.out, |memory, out| {
            let (x, scores) = (memory.read(self.x), memory.read(self.scores));
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, 16, |first, rows| {
                let mut filter = Vec::new();
                for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
                    let token = first + index;
                    row.fill(0.0);
                    let scores = scores[token * self.scores.stride..].chunks_exact(self.size);
                    for (index, (row, scores)) in row.chunks_exact_mut(head).zip(scores).enumerate() {
                        let highest = scores.iter().copied().fold(f32::MIN, f32::max);
                        filter.clear();
                        filter.extend(scores);
                        map(&mut filter, |score| (score - F32x8::splat(highest)).exp());
                        let total: f32 = filter.iter().sum();
                        for (tap, from) in Taps::around(self.size).rows(batch, token) {
                            add_scaled(row, filter[tap] / total, &x[from * stride + index * head..]);
                        }
                    }
                }
            });
        });
    }
}
