//! The experts of every token and their weights. Source: "Outrageously Large Neural Networks" (arXiv 1701.06538) §2.1
//! without noise, with the softmax before the choice.

use super::GROUP;
use crate::batch::Batch;
use crate::cpu::Memory;
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows};
use crate::shader::{Const, Grid, Kernel};
use crate::sort::best_first;

/// Which experts the tokens chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routes {
    /// `[tokens, 2 top]`: an expert, its weight, the next expert, its weight.
    pub buf: Buf,
    /// How many there are.
    pub experts: usize,
    /// How many a token chooses.
    pub top: usize,
}

impl Routes {
    /// The expert of a token's choice, of the values of `buf`.
    pub fn expert(&self, values: &[f32], token: usize, choice: usize) -> usize {
        values[token * self.buf.stride + 2 * choice].clamp(0.0, (self.experts - 1) as f32) as usize
    }

    /// The weight of a token's choice.
    pub fn weight(&self, values: &[f32], token: usize, choice: usize) -> f32 {
        values[token * self.buf.stride + 2 * choice + 1]
    }
}

/// See the module.
pub struct Route {
    scores: Buf,
    routes: Routes,
}

impl Program {
    /// scores: `[tokens, experts]` to the `top` of them, with the softmax of their scores among all.
    pub fn route(&mut self, scores: Buf, top: usize) -> Routes {
        let routes = Routes { buf: self.buf(Rows::Tokens, 2 * top), experts: scores.width, top };
        self.push(Route { scores, routes });
        routes
    }
}

impl Op for Route {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "route",
            fragments: vec![fragment!("route.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("EXPERTS", Const::Count(self.routes.experts)),
                ("TOP", Const::Count(self.routes.top)),
                ("STRIDE", Const::Count(self.scores.stride)),
                ("OUT_STRIDE", Const::Count(self.routes.buf.stride)),
            ],
            operands: vec![Operand::Read(self.scores), Operand::Write(self.routes.buf)],
            grid: Grid { rows: Rows::Tokens, per_group: GROUP as u32, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let Routes { buf, experts, top } = self.routes;
        memory.write(buf, |memory, out| {
            let scores = memory.read(self.scores).chunks_exact(self.scores.stride);
            for (out, scores) in out.chunks_exact_mut(buf.stride).zip(scores).take(batch.tokens()) {
                let scores = &scores[..experts];
                let highest = scores.iter().copied().fold(f32::MIN, f32::max);
                let total: f32 = scores.iter().map(|score| (score - highest).exp()).sum();
                let mut order: Vec<usize> = (0..experts).collect();
                // A stable sort: of equal scores the first counts.
                best_first(&mut order, |expert| scores[*expert]);
                out.fill(0.0);
                for (out, expert) in out.chunks_exact_mut(2).zip(&order[..top]) {
                    out.copy_from_slice(&[*expert as f32, (scores[*expert] - highest).exp() / total]);
                }
            }
        });
    }
}
