//! `norm(scale token_table[id] + type_table[type] + position_table[position] + task_table[0])`, the input of an encoder.
//! Only the tokens are always there, and their rows may come from an earlier step. Or every row of a table, for what is
//! computed of them once.

use embedlet_host::{F32x8, add_scaled, zip};

use super::GROUP;
use super::layer_norm::Norm;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Large, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};

/// The tables that are looked up, all of one width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmbedTables {
    /// The tokens' own rows.
    pub own: Own,
    /// What they are multiplied by.
    pub scale: f32,
    /// Whether masks count as tokens that were dropped.
    pub dropout: Option<Dropout>,
    /// `[positions, width]`
    pub positions: Option<WeightId>,
    /// `[types, width]`
    pub types: Option<WeightId>,
    /// `[tasks, width]`, of which the first row is taken.
    pub tasks: Option<WeightId>,
}

/// Inference as if masks were dropout: their rows are zero, and what a text has too few of them, in comparison with training,
/// scales the others. Source: `EsmEmbeddings` of transformers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Id of the mask.
    pub mask: u32,
    /// The share of tokens that were masked in training.
    pub trained: f32,
}

/// Where the tokens' own rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// `[vocab, width]`
    Table(WeightId),
    /// `[tokens, width]`
    Rows(Buf),
}

impl EmbedTables {
    /// The rows of this table as they are.
    pub fn of(tokens: WeightId) -> Self {
        Self { own: Own::Table(tokens), scale: 1.0, dropout: None, positions: None, types: None, tasks: None }
    }
}

/// See the module.
pub struct Embed {
    tables: EmbedTables,
    norm: Option<Norm>,
    out: Buf,
}

impl Program {
    /// The batch's ids to `[tokens, width]`
    pub fn embed(&mut self, tables: EmbedTables, width: usize, norm: Option<Norm>) -> Buf {
        let out = self.buf(Rows::Tokens, width);
        self.push(Embed { tables, norm, out });
        out
    }

    /// Every row of a table to `[rows, width]`, a step of the set-up.
    pub fn embed_rows(&mut self, table: WeightId, rows: usize, width: usize, norm: Option<Norm>) -> Buf {
        let tables = EmbedTables::of(table);
        let out = self.buf(Rows::Fixed(rows), width);
        self.push(Embed { tables, norm, out });
        out
    }
}

impl Op for Embed {
    fn kernel(&self) -> Kernel {
        let (own, fragment) = match self.tables.own {
            Own::Table(weight) => {
                let (values, integers) = (fragment!("lib/own_table.wgsl"), fragment!("lib/own_integers.wgsl"));
                (Operand::Large(Large { weight, values, integers }), fragment!("lib/own_piece.wgsl"))
            }
            Own::Rows(rows) => (Operand::Read(rows), fragment!("lib/own_rows.wgsl")),
        };
        // A table that is absent is bound all the same, and not read.
        let table = |id: Option<WeightId>| id.map_or(own, Operand::Weight);
        let mut kernel = Kernel {
            name: "embed",
            fragments: vec![fragment!("embed.wgsl"), fragment],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("WIDTH", Const::Count(self.out.width)),
                ("SCALE", Const::Number(self.tables.scale)),
                ("IDS", Const::Flag(self.out.rows == Rows::Tokens)),
                ("POSITIONS", Const::Flag(self.tables.positions.is_some())),
                ("TYPES", Const::Flag(self.tables.types.is_some())),
                ("TASKS", Const::Flag(self.tables.tasks.is_some())),
            ],
            operands: vec![
                own,
                table(self.tables.positions),
                table(self.tables.types),
                table(self.tables.tasks),
                Operand::Write(self.out),
            ],
            grid: Grid { rows: self.out.rows, per_group: 1, y: 1, z: 1 },
        };
        match self.tables.dropout {
            None => kernel.fragments.push(fragment!("lib/no_dropout.wgsl")),
            Some(Dropout { mask, trained }) => {
                kernel.fragments.push(fragment!("lib/dropout.wgsl"));
                kernel.consts.extend([("MASK", Const::Count(mask as usize)), ("TRAINED", Const::Number(trained))]);
            }
        }
        match self.norm {
            None => kernel.fragments.push(fragment!("lib/no_norm.wgsl")),
            Some(norm) => {
                kernel.fragments.extend(norm.fragments());
                kernel.consts.extend(norm.consts());
                kernel.operands.extend([Operand::Weight(norm.gain), Operand::Weight(norm.bias)]);
            }
        }
        let sum = fragment!("lib/reduce.wgsl");
        if self.tables.dropout.is_some() && !kernel.fragments.contains(&sum) {
            kernel.fragments.push(sum);
        }
        kernel
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (width, stride) = (self.out.width, self.out.stride);
        memory.write(self.out, |memory, out| {
            let row_of = |id: WeightId, row: u32| &memory.weight(id)[row as usize * stride..][..stride];
            for_row_blocks(&mut out[..self.out.rows.of(batch) * stride], stride, 16, |first, rows| {
                for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
                    let token = first + index;
                    let own = match self.tables.own {
                        Own::Table(table) if self.out.rows == Rows::Tokens => row_of(table, batch.ids[token]),
                        Own::Table(table) => row_of(table, token as u32),
                        Own::Rows(rows) => &memory.read(rows)[token * stride..][..stride],
                    };
                    let scale =
                        self.tables.scale * self.tables.dropout.map_or(1.0, |dropout| dropout.scale(batch, token));
                    zip(row, own, |_, own| F32x8::splat(scale) * own);
                    let added = [
                        self.tables.types.map(|table| row_of(table, batch.type_ids[token])),
                        self.tables.positions.map(|table| row_of(table, batch.positions[token])),
                        self.tables.tasks.map(|table| row_of(table, 0)),
                    ];
                    for added in added.into_iter().flatten() {
                        add_scaled(row, 1.0, added);
                    }
                    if let Some(norm) = self.norm {
                        norm.apply(&mut row[..width], memory);
                    }
                }
            });
        });
    }
}

impl Dropout {
    /// What a token's own row is multiplied by.
    fn scale(&self, batch: &Batch, token: usize) -> f32 {
        let text = &batch.ids[batch.from[token] as usize..batch.until[token] as usize];
        let masks = text.iter().filter(|id| **id == self.mask).count();
        match batch.ids[token] == self.mask {
            true => 0.0,
            false => (1.0 - self.trained) / (1.0 - masks as f32 / text.len() as f32),
        }
    }
}
