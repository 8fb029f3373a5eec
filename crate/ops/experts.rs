//! Products of rows with the matrices of the experts that their tokens chose. Source: "Outrageously Large Neural Networks"
//! (arXiv 1701.06538) §2.

use embedlet_host::product;

use super::{Activation, Routes};
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};
use crate::weights::{PANEL, TILE};

/// Tokens of a workgroup, and of a block of work on the host.
const TOKENS: usize = 128;

/// See the module.
pub struct Experts {
    x: Buf,
    routes: Routes,
    chosen: bool,
    weight: WeightId,
    width: usize,
    activation: Option<Activation>,
    out: Buf,
}

impl Program {
    /// x: `[tokens, inputs]`, or `[tokens, top, inputs]` where it is itself of chosen experts; weight:
    /// [`Layout::Experts`](crate::weights::Layout::Experts) of `width` outputs, to `[tokens, top, width]`
    pub fn experts(
        &mut self,
        x: Buf,
        chosen: bool,
        routes: Routes,
        weight: WeightId,
        width: usize,
        activation: Option<Activation>,
    ) -> Buf {
        let out = self.buf(Rows::Tokens, routes.top * width.next_multiple_of(4));
        self.push(Experts { x, routes, chosen, weight, width, activation, out });
        out
    }
}

impl Experts {
    /// Columns of a row of x.
    fn inputs(&self) -> usize {
        if self.chosen { self.x.stride / self.routes.top } else { self.x.stride }
    }

    /// Panels of the matrix of one expert.
    fn panels(&self) -> usize {
        self.width.next_multiple_of(TILE) / PANEL
    }
}

impl Op for Experts {
    fn kernel(&self) -> Kernel {
        let epilogue = match self.activation {
            None => fragment!("epilogue/none.wgsl"),
            Some(activation) => activation.fragment(),
        };
        Kernel {
            name: "experts",
            fragments: vec![fragment!("experts.wgsl"), epilogue],
            consts: vec![
                ("TOKENS", Const::Count(TOKENS)),
                ("K4", Const::Count(self.inputs() / 4)),
                ("N4", Const::Count(self.width.div_ceil(4))),
                ("EXPERTS", Const::Count(self.routes.experts)),
                ("TOP", Const::Count(self.routes.top)),
                ("ROUTES_STRIDE", Const::Count(self.routes.buf.stride)),
                ("PANELS", Const::Count(self.panels())),
                ("CHOSEN", Const::Flag(self.chosen)),
            ],
            operands: vec![
                Operand::Read(self.x),
                Operand::Read(self.routes.buf),
                Operand::Weight(self.weight),
                Operand::Write(self.out),
            ],
            grid: Grid {
                rows: Rows::Tokens,
                per_group: TOKENS as u32,
                y: (self.routes.experts * self.panels() * PANEL / TILE) as u32,
                z: 1,
            },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (top, inputs, stride) = (self.routes.top, self.inputs(), self.out.stride);
        let (width, experts) = (stride / top, self.routes.experts);
        memory.write(self.out, |memory, out| {
            let (x, routes) = (memory.read(self.x), memory.read(self.routes.buf));
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, TOKENS, |first, rows| {
                for expert in 0..experts {
                    let chose = |choice: &usize| self.routes.expert(routes, choice / top, choice % top) == expert;
                    let choices = first * top..first * top + rows.len() / width;
                    let choices: Vec<usize> = choices.filter(chose).collect();
                    let row = |choice: &usize| {
                        let row = if self.chosen { *choice } else { choice / top };
                        &x[row * inputs..][..inputs]
                    };
                    let gathered: Vec<f32> = choices.iter().flat_map(row).copied().collect();
                    let mut made = vec![0.0; choices.len() * width];
                    let weight = memory.matrix(self.weight, expert, experts);
                    product(&gathered, inputs, weight, &[], &mut made, width);
                    if let Some(activation) = self.activation {
                        activation.apply(&mut made);
                    }
                    for (choice, made) in choices.iter().zip(made.chunks_exact(width)) {
                        rows[(choice - first * top) * width..][..width].copy_from_slice(made);
                    }
                }
            });
        });
    }
}
