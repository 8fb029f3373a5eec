//! Columns of several matrices side by side, each from some rows away within its text. Source: `torch.cat` on the last
//! dimension, of parts that `torch.nn.functional.pad` may have shifted.

use super::GROUP;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows};
use crate::shader::{Const, Grid, Kernel};

/// Two or three matrices, and how many rows behind its own each token takes its columns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// On the left.
    pub a: (Buf, i32),
    /// Beside it.
    pub b: (Buf, i32),
    /// On the right, where there is a third.
    pub c: Option<(Buf, i32)>,
}

impl Parts {
    /// Two matrices, row by row.
    pub fn pair(a: Buf, b: Buf) -> Self {
        Self { a: (a, 0), b: (b, 0), c: None }
    }
}

/// See the module.
pub struct Join {
    parts: Parts,
    out: Buf,
}

impl Program {
    /// Each `[tokens, width]`, to `[tokens, strides]`: the columns that pad a part stay where they are.
    pub fn join(&mut self, parts: Parts) -> Buf {
        let width = parts.a.0.stride + parts.b.0.stride + parts.c.map_or(0, |(c, _)| c.stride);
        let out = self.buf(Rows::Tokens, width);
        self.push(Join { parts, out });
        out
    }
}

impl Op for Join {
    fn kernel(&self) -> Kernel {
        let Parts { a, b, c } = self.parts;
        Kernel {
            name: "join",
            fragments: vec![fragment!("join.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("A4", Const::Count(a.0.stride / 4)),
                ("B4", Const::Count(b.0.stride / 4)),
                ("C4", Const::Count(c.map_or(0, |(c, _)| c.stride / 4))),
                ("A_AWAY", Const::Signed(a.1)),
                ("B_AWAY", Const::Signed(b.1)),
                ("C_AWAY", Const::Signed(c.map_or(0, |(_, away)| away))),
            ],
            operands: vec![
                Operand::Write(self.out),
                Operand::Read(a.0),
                Operand::Read(b.0),
                // Bound all the same where there is none, and not read.
                Operand::Read(c.unwrap_or(a).0),
            ],
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let Parts { a, b, c } = self.parts;
        let stride = self.out.stride;
        memory.write(self.out, |memory, out| {
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, 16, |first, rows| {
                for (index, mut row) in rows.chunks_exact_mut(stride).enumerate() {
                    let token = first + index;
                    let text = i64::from(batch.from[token])..i64::from(batch.until[token]);
                    for (part, away) in [a, b].into_iter().chain(c) {
                        let (own, rest) = row.split_at_mut(part.stride);
                        row = rest;
                        let from = token as i64 + i64::from(away);
                        match text.contains(&from) {
                            true => {
                                own.copy_from_slice(&memory.read(part)[from as usize * part.stride..][..part.stride])
                            }
                            false => own.fill(0.0),
                        }
                    }
                }
            });
        });
    }
}
