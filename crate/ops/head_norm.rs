//! `RMSNorm` of every query and key head, before they are turned. Source: "Query-Key Normalization" (arXiv
//! 2010.04245) in the form of `transformers.models.qwen3`.

use super::{GROUP, Heads, NormKind};
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};

/// See the module.
pub struct HeadNorm {
    qkv: Buf,
    heads: Heads,
    query: WeightId,
    key: WeightId,
    eps: f32,
    kind: NormKind,
    out: Buf,
}

impl Program {
    /// qkv: `[tokens, heads.qkv()]` to the same; `gains`: those of one query and of one key, as [`Heads::axis`]
    /// says. There is no mean, whatever the `kind`.
    pub fn head_norm(&mut self, qkv: Buf, heads: Heads, gains: [WeightId; 2], eps: f32, kind: NormKind) -> Buf {
        let [query, key] = gains;
        let out = self.buf(Rows::Tokens, qkv.width);
        self.push(HeadNorm { qkv, heads, query, key, eps, kind, out });
        out
    }
}

impl Op for HeadNorm {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "head_norm",
            fragments: vec![fragment!("head_norm.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("HEADS", Const::Count(self.heads.count)),
                ("KV_HEADS", Const::Count(self.heads.kv)),
                ("HEAD", Const::Count(self.heads.dim)),
                ("HEAD4", Const::Count(self.heads.axis(1).padded() / 4)),
                ("EPS", Const::Number(self.eps)),
                ("GAIN", Const::Number(self.kind.gain())),
            ],
            operands: vec![
                Operand::Read(self.qkv),
                Operand::Write(self.out),
                Operand::Weight(self.query),
                Operand::Weight(self.key),
            ],
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (stride, head) = (self.out.stride, self.heads.axis(1).padded());
        memory.write(self.out, |memory, out| {
            let (x, query, key) = (memory.read(self.qkv), memory.weight(self.query), memory.weight(self.key));
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, 16, |first, rows| {
                rows.copy_from_slice(&x[first * stride..][..rows.len()]);
                for row in rows.chunks_exact_mut(stride) {
                    for (part, head) in row.chunks_exact_mut(head).enumerate() {
                        let gain = match part {
                            part if part < self.heads.count => query,
                            part if part < self.heads.count + self.heads.kv => key,
                            _ => break,
                        };
                        let squares: f32 = head.iter().map(|x| x * x).sum();
                        let scale = 1.0 / (squares / self.heads.dim as f32 + self.eps).sqrt();
                        head.iter_mut().zip(gain).for_each(|(x, gain)| *x *= scale * (self.kind.gain() + gain));
                    }
                }
            });
        });
    }
}
