//! `layer_norm(token_table[id] + type_table[type] + position_table[position])`, the input of BERT-type encoders.

use super::GROUP;
use super::layer_norm::{Norm, normalize};
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};

/// The tables that are looked up, all of one width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedTables {
    /// `[vocab, width]`
    pub tokens: WeightId,
    /// `[positions, width]`
    pub positions: WeightId,
    /// `[types, width]`
    pub types: WeightId,
}

/// See the module.
pub struct Embed {
    tables: EmbedTables,
    norm: Norm,
    out: Buf,
}

impl Program {
    /// The batch's ids to `[tokens, width]`
    pub fn embed(&mut self, tables: EmbedTables, width: usize, norm: Norm) -> Buf {
        let out = self.buf(Rows::Tokens, width);
        self.push(Embed { tables, norm, out });
        out
    }
}

impl Op for Embed {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "embed",
            fragments: vec![fragment!("embed.wgsl"), fragment!("lib/layer_norm.wgsl"), fragment!("lib/reduce.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("WIDTH", Const::Count(self.out.width)),
                ("EPS", Const::Number(self.norm.eps)),
            ],
            operands: vec![
                Operand::Weight(self.tables.tokens),
                Operand::Weight(self.tables.positions),
                Operand::Weight(self.tables.types),
                Operand::Write(self.out),
                Operand::Weight(self.norm.gain),
                Operand::Weight(self.norm.bias),
            ],
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (width, stride) = (self.out.width, self.out.stride);
        memory.write(self.out, |memory, out| {
            let table = |id: WeightId, row: u32| &memory.weight(id)[row as usize * stride..][..stride];
            let (gain, bias) = (memory.weight(self.norm.gain), memory.weight(self.norm.bias));
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, 16, |first, rows| {
                for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
                    let token = table(self.tables.tokens, batch.ids[first + index]);
                    let kind = table(self.tables.types, batch.type_ids[first + index]);
                    let position = table(self.tables.positions, batch.positions[first + index]);
                    for (column, out) in row.iter_mut().enumerate() {
                        *out = token[column] + kind[column] + position[column];
                    }
                    normalize(row, width, gain, bias, self.norm.eps);
                }
            });
        });
    }
}
