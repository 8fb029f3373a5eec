//! The weight of every term of the vocabulary for a text: `max over tokens of ln(1 + relu(x Wᵀ + b))`, or the sum. Source:
//! SPLADE (arXiv 2107.05720, 2109.10086); two logarithms: arXiv 2504.14839.

use embedlet_host::product;

use super::GROUP;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};
use crate::weights::PANEL;

/// How token scores become term weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexical {
    /// The sum over tokens; else the maximum.
    pub sum: bool,
    /// How often the logarithm is taken: 1 or 2.
    pub logs: usize,
}

/// See the module.
pub struct LexicalPool {
    x: Buf,
    weight: WeightId,
    bias: WeightId,
    lexical: Lexical,
    out: Buf,
}

impl Program {
    /// x: `[tokens, inputs]`, weight: [`Layout::Linear`](crate::weights::Layout::Linear) of `vocab` outputs, bias: `[vocab]`
    /// to `[texts, vocab]`
    pub fn lexical_pool(&mut self, x: Buf, weight: WeightId, bias: WeightId, vocab: usize, lexical: Lexical) -> Buf {
        let out = self.buf(Rows::Texts, vocab);
        self.push(LexicalPool { x, weight, bias, lexical, out });
        out
    }
}

impl Op for LexicalPool {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "lexical_pool",
            fragments: vec![fragment!("lexical_pool.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("K4", Const::Count(self.x.stride / 4)),
                ("N4", Const::Count(self.out.stride / 4)),
                ("SUM", Const::Flag(self.lexical.sum)),
                ("LOGS", Const::Count(self.lexical.logs)),
            ],
            operands: vec![
                Operand::Read(self.x),
                Operand::Weight(self.weight),
                Operand::Weight(self.bias),
                Operand::Write(self.out),
            ],
            grid: Grid { rows: Rows::Texts, per_group: 1, y: self.out.stride.div_ceil(PANEL * GROUP) as u32, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (inputs, width) = (self.x.stride, self.out.stride);
        let logarithm = |x: f32| (0..self.lexical.logs).fold(x, |x, _| x.ln_1p());
        memory.write(self.out, |memory, out| {
            let (x, bias) = (memory.read(self.x), memory.weight(self.bias));
            let weight = memory.matrix(self.weight, 0, 1);
            for_row_blocks(&mut out[..batch.texts() * width], width, 1, |text, pooled| {
                pooled.fill(0.0);
                // Four rows at a time keep the scores in a cache.
                let mut scores = vec![0.0; 4 * width];
                let rows = batch.text(text);
                for first in rows.clone().step_by(4) {
                    let count = (rows.end - first).min(4);
                    let scores = &mut scores[..count * width];
                    product(&x[first * inputs..][..count * inputs], inputs, weight, bias, scores, width);
                    for scores in scores.chunks_exact(width) {
                        for (pooled, score) in pooled.iter_mut().zip(scores) {
                            let score = score.max(0.0);
                            *pooled = if self.lexical.sum { *pooled + logarithm(score) } else { pooled.max(score) };
                        }
                    }
                }
                if !self.lexical.sum {
                    pooled.iter_mut().for_each(|pooled| *pooled = logarithm(*pooled));
                }
            });
        });
    }
}
