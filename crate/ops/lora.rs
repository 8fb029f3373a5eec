//! `out = epilogue(y + scale t B)`, where the batch chooses the adapter to which t and B belong, or none. Source: LoRA
//! (arXiv 2106.09685) §4.1, where t = x A, or a row of A where x is one-hot.

use super::{Epilogue, GROUP};
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};
use crate::weights::PANEL;

/// The adapters of an encoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adapters {
    /// How many.
    pub count: usize,
    /// Columns of A.
    pub rank: usize,
    /// What their products are multiplied by.
    pub scale: f32,
}

impl Adapters {
    /// Columns of one in memory.
    fn stride(&self) -> usize {
        self.rank.next_multiple_of(4)
    }
}

/// Where t comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// `[tokens, count, rank]`
    Rows(Buf),
    /// `[count, rows, rank]`
    Table {
        /// The tables of all adapters.
        table: WeightId,
        /// Rows of each.
        rows: usize,
        /// Whether the token's id names the row. Else its type does.
        ids: bool,
    },
}

/// See the module.
pub struct Lora {
    y: Buf,
    down: Down,
    up: WeightId,
    adapters: Adapters,
    epilogue: Epilogue,
    out: Buf,
}

impl Program {
    /// y: `[tokens, width]`, up: [`Layout::LowRank`](crate::weights::Layout::LowRank) of its columns, to `[tokens, width]`
    pub fn lora(&mut self, y: Buf, down: Down, up: WeightId, adapters: Adapters, epilogue: Epilogue) -> Buf {
        let out = self.buf(Rows::Tokens, y.width);
        self.push(Lora { y, down, up, adapters, epilogue, out });
        out
    }
}

impl Op for Lora {
    fn kernel(&self) -> Kernel {
        let mut consts = vec![
            ("GROUP", Const::Count(GROUP)),
            ("N4", Const::Count(self.out.stride / 4)),
            ("ADAPTERS", Const::Count(self.adapters.count)),
            ("RANK4", Const::Count(self.adapters.stride() / 4)),
            ("SCALE", Const::Number(self.adapters.scale)),
        ];
        let (down, fragment) = match self.down {
            Down::Rows(rows) => (Operand::Read(rows), fragment!("lib/lora_rows.wgsl")),
            Down::Table { table, rows, ids } => {
                consts.extend([("TABLE_ROWS", Const::Count(rows)), ("IDS", Const::Flag(ids))]);
                (Operand::Weight(table), fragment!("lib/lora_table.wgsl"))
            }
        };
        let mut operands = vec![Operand::Read(self.y), Operand::Weight(self.up), down, Operand::Write(self.out)];
        operands.extend(self.epilogue.other().map(Operand::Read));
        Kernel {
            name: "lora",
            fragments: vec![fragment!("lora.wgsl"), fragment, self.epilogue.fragment()],
            consts,
            operands,
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (width, stride) = (self.out.stride, self.adapters.stride());
        let all = self.adapters.count * stride;
        let adapter = batch.pooling.adapter.map(|adapter| adapter as usize);
        let adapter = adapter.filter(|adapter| *adapter < self.adapters.count);
        memory.write(self.out, |memory, out| {
            for_row_blocks(&mut out[..batch.tokens() * width], width, 16, |first, rows| {
                rows.copy_from_slice(&memory.read(self.y)[first * width..][..rows.len()]);
                for (row, token) in rows.chunks_exact_mut(width).zip(first..) {
                    let Some(adapter) = adapter else { break };
                    let t = match self.down {
                        Down::Rows(down) => &memory.read(down)[token * all + adapter * stride..][..stride],
                        Down::Table { table, rows, ids } => {
                            let id = if ids { batch.ids[token] } else { batch.type_ids[token] } as usize;
                            &memory.weight(table)[(adapter * rows + id) * stride..][..stride]
                        }
                    };
                    let panels = memory.weight(self.up).chunks_exact(all * PANEL);
                    for (columns, panel) in row.chunks_mut(PANEL).zip(panels) {
                        let mut sums = [0.0; PANEL];
                        for (t, up) in t.iter().zip(panel[adapter * stride * PANEL..].as_chunks::<PANEL>().0) {
                            sums.iter_mut().zip(up).for_each(|(sum, up)| *sum += t * up);
                        }
                        columns.iter_mut().zip(sums).for_each(|(y, sum)| *y += self.adapters.scale * sum);
                    }
                }
                self.epilogue.apply(rows, first, width, memory);
            });
        });
    }
}
