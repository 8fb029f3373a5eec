//! `softmax(q kᵀ / √head_dim) v` for each head, over the rows that a token may attend to. Source: "Attention Is
//! All You Need" §3.2; the running form is that of FlashAttention.

use super::linear::exp;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows};
use crate::shader::{Const, Grid, Kernel};

/// Query rows of a workgroup.
const QUERIES: usize = 32;
/// Elements of workgroup memory for a tile of keys; values take as many. WebGPU guarantees 16 KiB in all.
const TILE_ELEMENTS: usize = 2048;

/// See the module.
pub struct Attention {
    qkv: Buf,
    heads: usize,
    /// Columns of a head in memory, a multiple of four.
    head_stride: usize,
    scale: f32,
    out: Buf,
}

impl Program {
    /// qkv: `[tokens, 3 · heads · head_stride]`, queries then keys then values, to `[tokens, heads · head_stride]`.
    /// Heads of `head_dim` columns are padded with zeros to `head_stride`, a multiple of four.
    pub fn attention(&mut self, qkv: Buf, heads: usize, head_dim: usize) -> Buf {
        let head_stride = head_dim.next_multiple_of(4);
        let out = self.buf(Rows::Tokens, heads * head_stride);
        let scale = 1.0 / (head_dim as f32).sqrt();
        self.push(Attention { qkv, heads, head_stride, scale, out });
        out
    }
}

impl Op for Attention {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "attention",
            fragments: vec![fragment!("attention.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(QUERIES)),
                ("KEYS", Const::Count((TILE_ELEMENTS / self.head_stride).clamp(1, 32))),
                ("HEADS", Const::Count(self.heads)),
                ("HEAD4", Const::Count(self.head_stride / 4)),
                ("SCALE", Const::Number(self.scale)),
            ],
            operands: vec![Operand::Read(self.qkv), Operand::Write(self.out)],
            grid: Grid { rows: Rows::Tokens, per_group: QUERIES as u32, y: self.heads as u32 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (width, head) = (self.out.stride, self.head_stride);
        memory.write(self.out, |memory, out| {
            let qkv = memory.read(self.qkv);
            let part =
                |row: usize, part: usize, index: usize| &qkv[row * 3 * width + part * width + index * head..][..head];
            for_row_blocks(&mut out[..batch.tokens() * width], width, 16, |first, rows| {
                let mut scores = Vec::new();
                for (index, row) in rows.chunks_exact_mut(width).enumerate() {
                    let token = first + index;
                    let range = batch.from[token] as usize..batch.until[token] as usize;
                    for (index, out) in row.chunks_exact_mut(head).enumerate() {
                        let q = part(token, 0, index);
                        scores.clear();
                        scores.extend(range.clone().map(|key| self.scale * dot(q, part(key, 1, index))));
                        let highest = scores.iter().copied().fold(f32::MIN, f32::max);
                        scores.iter_mut().for_each(|score| *score = exp(*score - highest));
                        let total: f32 = scores.iter().sum();
                        out.fill(0.0);
                        for (key, weight) in range.clone().zip(&scores) {
                            let weight = weight / total;
                            out.iter_mut().zip(part(key, 2, index)).for_each(|(out, value)| *out += weight * value);
                        }
                    }
                }
            });
        });
    }
}

/// Strides are multiples of four, so four lanes of sums lose nothing and vectorise.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 4];
    for (a, b) in a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0) {
        for lane in 0..4 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}
