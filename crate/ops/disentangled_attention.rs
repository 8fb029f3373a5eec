//! `softmax(scale (q kᵀ + q Kᵀ + Q kᵀ)) v` for each head, where Q and K are the query and the key of the distance between
//! the two tokens. Source: DeBERTa (arXiv 2006.03654) §3.1; the rest is as in [`Attention`](super::Attention).

use embedlet_host::{F32x8, add_scaled, dot, map};

use super::attention::{Heads, QUERIES, TILE_ELEMENTS};
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};

/// The queries and keys of positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RelativePositions {
    /// Queries, then keys, of `heads` heads each: a row for each bucket of positions.
    pub rows: Buf,
    /// The bucket of each distance (of a query from its key) from `-most` to `most`: a vector.
    pub buckets: WeightId,
    /// Farther is as far.
    pub most: usize,
    /// Whether keys of distances count.
    pub content_to_position: bool,
    /// Whether queries of distances count.
    pub position_to_content: bool,
}

/// See the module.
pub struct DisentangledAttention {
    qkv: Buf,
    heads: Heads,
    positions: RelativePositions,
    out: Buf,
}

impl Program {
    /// qkv: `[tokens, heads.qkv()]`, queries then keys then values, to `[tokens, heads.count]`. The heads are plain but for
    /// their scale.
    pub fn disentangled_attention(&mut self, qkv: Buf, heads: Heads, positions: RelativePositions) -> Buf {
        let out = self.buf(Rows::Tokens, heads.axis(heads.count).padded());
        self.push(DisentangledAttention { qkv, heads, positions, out });
        out
    }
}

impl Op for DisentangledAttention {
    fn kernel(&self) -> Kernel {
        let (heads, positions, stride) = (self.heads, self.positions, self.heads.axis(1).padded());
        Kernel {
            name: "disentangled_attention",
            fragments: vec![fragment!("disentangled_attention.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(QUERIES)),
                ("KEYS", Const::Count((TILE_ELEMENTS / stride).clamp(1, 32))),
                ("HEADS", Const::Count(heads.count)),
                ("HEAD4", Const::Count(stride / 4)),
                ("SCALE", Const::Number(heads.scale)),
                ("MOST", Const::Count(positions.most)),
                ("C2P", Const::Flag(positions.content_to_position)),
                ("P2C", Const::Flag(positions.position_to_content)),
            ],
            operands: vec![
                Operand::Read(self.qkv),
                Operand::Write(self.out),
                Operand::Read(positions.rows),
                Operand::Weight(positions.buckets),
            ],
            grid: Grid { rows: Rows::Tokens, per_group: QUERIES as u32, y: heads.count as u32, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (heads, positions, width) = (self.heads, self.positions, self.out.stride);
        let head = heads.axis(1).padded();
        memory.write(self.out, |memory, out| {
            let (qkv, rows) = (memory.read(self.qkv), memory.read(positions.rows));
            let buckets = memory.weight(positions.buckets);
            let part = |row: usize, part: usize, index: usize| &qkv[(row * 3 + part) * width + index * head..][..head];
            let of_bucket =
                |row: usize, part: usize, index: usize| &rows[(row * 2 + part) * width + index * head..][..head];
            for_row_blocks(&mut out[..batch.tokens() * width], width, 16, |first, rows| {
                let mut scores = Vec::new();
                for (index, row) in rows.chunks_exact_mut(width).enumerate() {
                    let token = first + index;
                    let seen = batch.from[token] as usize..batch.until[token] as usize;
                    for (index, out) in row.chunks_exact_mut(head).enumerate() {
                        let q = part(token, 0, index);
                        scores.clear();
                        scores.extend(seen.clone().map(|key| {
                            let k = part(key, 1, index);
                            let distance = (token + positions.most).saturating_sub(key).min(2 * positions.most);
                            let bucket = buckets[distance] as usize;
                            let mut score = dot(q, k);
                            if positions.content_to_position {
                                score += dot(q, of_bucket(bucket, 1, index));
                            }
                            if positions.position_to_content {
                                score += dot(of_bucket(bucket, 0, index), k);
                            }
                            heads.scale * score
                        }));
                        mix(&mut scores, batch.sharpness(), seen.clone().map(|key| part(key, 2, index)), out);
                    }
                }
            });
        });
    }
}

/// The sum of the values by the softmax of their scores, each of which is multiplied by `sharpness`.
fn mix<'a>(scores: &mut [f32], sharpness: f32, values: impl Iterator<Item = &'a [f32]>, out: &mut [f32]) {
    let highest = scores.iter().copied().fold(f32::MIN, f32::max);
    map(scores, |score| ((score - F32x8::splat(highest)) * F32x8::splat(sharpness)).exp());
    let total: f32 = scores.iter().sum();
    out.fill(0.0);
    for (value, score) in values.zip(scores) {
        add_scaled(out, *score / total, value);
    }
}
