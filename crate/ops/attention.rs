//! `softmax(scale q kᵀ + bias) v` for each head, over the rows that a token may attend to. Source: "Attention
//! Is All You Need" §3.2; the running form is that of FlashAttention. Rotations: RoFormer (arXiv 2104.09864) §3.4.2,
//! where column i turns with column i + head_dim / 2.

use std::ops::Range;

use embedlet_host::{F32x8, add_products_with_eight, fours, products_with_eight, softmax};

use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Form, Op, Operand, Program, Rows, WeightId};
use crate::rotation::Turned;
use crate::shader::{Const, Fragment, Grid, Kernel};
use crate::weights::Axis;

/// Query rows of a workgroup.
pub(super) const QUERIES: usize = 32;
/// Elements of workgroup memory for a tile of keys; values take as many. WebGPU guarantees 16 KiB in all.
pub(super) const TILE_ELEMENTS: usize = 2048;
/// A window that holds every text.
const UNBOUNDED: usize = 1 << 30;
/// Most parts of what a token attends to.
const PARTS: usize = 3;

/// The heads of an attention and what a score depends on beside its query and key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// How many queries.
    pub count: usize,
    /// How many keys and values; `count / kv` queries share one.
    pub kv: usize,
    /// Columns of a head.
    pub dim: usize,
    /// What the product of a query and a key is multiplied by.
    pub scale: f32,
    /// Queries and keys are turned by their positions.
    pub rotations: Option<Rotations>,
    /// Added to a score by the distance of its key: [`Layout::Distances`](crate::weights::Layout::Distances).
    pub distances: Option<(WeightId, usize)>,
    /// Where there is nothing of that kind: a score falls with the distance of its key, by `slopes`.
    pub alibi: bool,
    /// Which rows a token attends to.
    pub sees: Sees,
    /// Of its first range, so many before it.
    pub before: Option<usize>,
    /// Of its first range, so many behind it.
    pub behind: Option<usize>,
}

/// Rotations of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotations {
    /// [`Weight::rotations`](crate::weights::Weight::rotations)
    pub table: WeightId,
    /// The columns that turn, in the order of the checkpoint.
    pub turned: Turned,
    /// Whether values are turned too.
    pub values: bool,
}

/// Which rows a token attends to, of those that the batch offers it. A fragment each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sees {
    /// Its first range, as far as the window goes.
    #[default]
    Text,
    /// The same, and what its second range has in front of that, or all of a second range behind the first.
    Both,
    /// All of its first range where it lies in its own second; the other tokens keep what they have here.
    Leading(Buf),
    /// A part of its first range, block by block.
    Blocks(Blocks),
}

/// Block-sparse attention: to the blocks beside one's own, the first and the last. Tokens of the first and of the last block
/// attend to all. Source: BigBird, arXiv 2007.14062.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Tokens of a block.
    pub size: usize,
    /// How often the first block counts.
    pub first: usize,
    /// Texts of so many tokens and shorter ones are dense.
    pub dense: usize,
}

impl Heads {
    /// Plain heads.
    pub fn new(count: usize, dim: usize) -> Self {
        let scale = 1.0 / (dim as f32).sqrt();
        let (rotations, distances, before, behind) = (None, None, None, None);
        let sees = Sees::Text;
        Self { count, kv: count, dim, scale, rotations, distances, alibi: false, sees, before, behind }
    }

    /// Queries, then keys, then values.
    pub fn qkv(&self) -> usize {
        self.count + 2 * self.kv
    }

    /// Where the columns of `count` heads lie: each head padded to a multiple of four, or each half of it where the
    /// halves are turned against each other.
    pub fn axis(&self, count: usize) -> Axis {
        match self.rotations {
            None => Axis::blocks(count, self.dim),
            Some(Rotations { turned, .. }) => Axis::turned(count, self.dim, turned),
        }
    }

    fn turns_values(&self) -> bool {
        self.rotations.is_some_and(|rotations| rotations.values)
    }

    fn stride(&self) -> usize {
        self.axis(1).padded()
    }

    fn fragment(&self) -> Fragment {
        match self.sees {
            Sees::Text => fragment!("lib/sees_text.wgsl"),
            Sees::Both => fragment!("lib/sees_both.wgsl"),
            Sees::Leading(_) => fragment!("lib/sees_leading.wgsl"),
            Sees::Blocks(_) => fragment!("lib/sees_blocks.wgsl"),
        }
    }

    /// The rows that a token attends to, in the order of the kernel.
    fn seen(&self, batch: &Batch, token: usize) -> [Seen; PARTS] {
        let range = |from: &[u32], until: &[u32]| from[token] as usize..until[token] as usize;
        let (text, also) = (range(&batch.from, &batch.until), range(&batch.also_from, &batch.also_until));
        let near = text.start.max(token.saturating_sub(self.before.unwrap_or(UNBOUNDED)));
        let near = near..text.end.min(token + self.behind.unwrap_or(UNBOUNDED) + 1);
        let once = |rows: Range<usize>| Seen { rows, gap: 0, repeats: 1 };
        match self.sees {
            Sees::Text => [once(near), once(0..0), once(0..0)],
            Sees::Both => {
                let gap = text.start.saturating_sub(also.end);
                let until = if also.start < text.end { also.end.min(near.start) } else { also.end };
                [once(near), Seen { gap, ..once(also.start..until) }, once(0..0)]
            }
            Sees::Leading(_) => {
                let leads = also.contains(&token);
                [once(if leads { text } else { 0..0 }), once(0..0), once(0..0)]
            }
            Sees::Blocks(blocks) => blocks.seen(text, token),
        }
    }
}

/// Rows that a token attends to.
#[derive(Debug, Clone)]
struct Seen {
    rows: Range<usize>,
    /// How far they stand in front of where distances have them.
    gap: usize,
    /// How often they count.
    repeats: usize,
}

impl Blocks {
    fn seen(self, text: Range<usize>, token: usize) -> [Seen; PARTS] {
        let (block, blocks) = ((token - text.start) / self.size, text.len().div_ceil(self.size));
        let seen = |rows: Range<usize>, repeats| Seen { rows, gap: 0, repeats };
        if text.len() <= self.dense || block == 0 || block + 1 == blocks {
            return [seen(text, 1), seen(0..0, 1), seen(0..0, 1)];
        }
        let first = |block: usize| text.start + block * self.size;
        let near = first(block - 1)..first(block + 2).min(text.end);
        let last = first(blocks - 1).max(near.end)..text.end;
        match block {
            // The first block is one of those around.
            1 => [seen(near.start..first(1), self.first), seen(first(1)..near.end, 1), seen(last, 1)],
            _ => [seen(near, 1), seen(text.start..first(1), self.first), seen(last, 1)],
        }
    }
}

/// See the module.
pub struct Attention {
    qkv: Buf,
    heads: Heads,
    out: Buf,
}

impl Program {
    /// qkv: `[tokens, heads.qkv()]`, queries then keys then values as [`Heads::axis`] says, to `[tokens, heads.count]`.
    pub fn attention(&mut self, qkv: Buf, heads: Heads) -> Buf {
        let out = self.buf(Rows::Tokens, heads.axis(heads.count).padded());
        self.push(Attention { qkv, heads, out });
        out
    }
}

impl Attention {
    fn kernel_of(&self, name: &'static str, fragment: Fragment, most_keys: usize) -> Kernel {
        let stride = self.heads.stride();
        let mut kernel = Kernel {
            name,
            fragments: vec![fragment, self.heads.fragment()],
            consts: vec![
                ("GROUP", Const::Count(QUERIES)),
                ("KEYS", Const::Count((TILE_ELEMENTS / stride).clamp(1, most_keys))),
                ("HEADS", Const::Count(self.heads.count)),
                ("KV_HEADS", Const::Count(self.heads.kv)),
                ("HEAD4", Const::Count(stride / 4)),
                ("SCALE", Const::Number(self.heads.scale)),
                ("TURNED_VALUES", Const::Flag(self.heads.turns_values())),
                ("BEFORE", Const::Count(self.heads.before.unwrap_or(UNBOUNDED))),
                ("BEHIND", Const::Count(self.heads.behind.unwrap_or(UNBOUNDED))),
            ],
            operands: vec![Operand::Read(self.qkv), Operand::Write(self.out)],
            grid: Grid { rows: Rows::Tokens, per_group: QUERIES as u32, y: self.heads.count as u32, z: 1 },
        };
        let operand = |kernel: &mut Kernel, name, operand| {
            kernel.operands.push(operand);
            kernel.consts.push((name, Const::Count(kernel.operands.len())));
        };
        match self.heads.sees {
            Sees::Text | Sees::Both => {}
            Sees::Leading(rest) => operand(&mut kernel, "REST_BINDING", Operand::Read(rest)),
            Sees::Blocks(Blocks { size, first, dense }) => kernel.consts.extend([
                ("BLOCK", Const::Count(size)),
                ("FIRST", Const::Number(first as f32)),
                ("DENSE", Const::Count(dense)),
            ]),
        }
        match self.heads.rotations {
            None => kernel.fragments.push(fragment!("lib/no_rotation.wgsl")),
            Some(rotations) => {
                kernel.fragments.push(fragment!("lib/rotation.wgsl"));
                operand(&mut kernel, "ROTATIONS_BINDING", Operand::Weight(rotations.table));
            }
        }
        match self.heads.distances {
            None if self.heads.alibi => {
                kernel.fragments.push(fragment!("lib/alibi.wgsl"));
                kernel.consts.push(("SLOPES", Const::Numbers(slopes(self.heads.count))));
            }
            None => kernel.fragments.push(fragment!("lib/no_bias.wgsl")),
            Some((bias, most)) => {
                kernel.fragments.push(fragment!("lib/distance.wgsl"));
                kernel.consts.push(("MOST", Const::Count(most)));
                operand(&mut kernel, "DISTANCE_BINDING", Operand::Weight(bias));
            }
        }
        kernel
    }
}

impl Op for Attention {
    fn kernel(&self) -> Kernel {
        self.kernel_of("attention", fragment!("attention.wgsl"), 32)
    }

    fn forms(&self) -> Vec<Form> {
        let streams = self.kernel_of("attention_streams", fragment!("attention_streams.wgsl"), 64);
        vec![Form::new(streams, usize::MAX)]
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (width, head, heads) = (self.out.stride, self.heads.stride(), self.heads);
        let token_width = heads.qkv() * head;
        let turned_width = (heads.qkv() - if heads.turns_values() { 0 } else { heads.kv }) * head;
        // Keys are turned once, not once a query.
        let turned = heads.rotations.map(|rotations| {
            let (mut qkv, rotations) = (memory.read(self.qkv).to_vec(), memory.weight(rotations.table));
            for_row_blocks(&mut qkv[..batch.tokens() * token_width], token_width, 16, |first, rows| {
                for (index, row) in rows.chunks_exact_mut(token_width).enumerate() {
                    let (cos, sin) =
                        rotations[batch.positions[first + index] as usize * head..][..head].split_at(head / 2);
                    row[..turned_width].chunks_exact_mut(head).for_each(|head| turn(head, cos, sin));
                }
            });
            qkv
        });
        memory.write(self.out, |memory, out| {
            let host = Host {
                heads,
                batch,
                qkv: turned.as_deref().unwrap_or_else(|| memory.read(self.qkv)),
                bias: heads.distances.map(|(bias, most)| (memory.weight(bias), most as i64)),
                slopes: if heads.alibi && heads.distances.is_none() { slopes(heads.count) } else { Vec::new() },
            };
            let (keys, values) = (host.keys(), host.values());
            for_row_blocks(&mut out[..batch.tokens() * width], width, LANES, |first, rows| {
                let seen: Vec<_> = (first..first + rows.len() / width).map(|token| heads.seen(batch, token)).collect();
                if let Some(parts) = parts(&seen) {
                    for index in 0..heads.count {
                        host.attend(index, first, &seen, &parts, &keys, &values, rows);
                    }
                }
                if let Sees::Leading(rest) = heads.sees {
                    for (index, seen) in seen.iter().enumerate().filter(|(_, seen)| seen[0].rows.is_empty()) {
                        debug_assert!(seen[1..].iter().all(|seen| seen.rows.is_empty()));
                        let rest = &memory.read(rest)[(first + index) * width..][..width];
                        rows[index * width..][..width].copy_from_slice(rest);
                    }
                }
            });
        });
    }
}

/// Queries of a tile.
const LANES: usize = 8;

/// What the rows of each part lie between, whichever query sees them; none where no query sees anything.
fn parts(seen: &[[Seen; PARTS]]) -> Option<[Range<usize>; PARTS]> {
    let parts = std::array::from_fn(|part| {
        let some = || seen.iter().map(|seen| &seen[part].rows).filter(|rows| !rows.is_empty());
        some().map(|rows| rows.start).min().unwrap_or(0)..some().map(|rows| rows.end).max().unwrap_or(0)
    });
    parts.iter().any(|rows: &Range<usize>| !rows.is_empty()).then_some(parts)
}

/// Attention on the host. Eight queries at a time are the columns of a product whose rows are keys, then of one whose rows are
/// the columns of the values, so that scores and their softmax have a lane a query. Keys that another of the eight sees
/// count nothing, exactly, so that the bits of a row do not depend on the rows beside it.
struct Host<'a> {
    heads: Heads,
    batch: &'a Batch,
    qkv: &'a [f32],
    bias: Option<(&'a [f32], i64)>,
    slopes: Vec<f32>,
}

impl Host<'_> {
    /// Columns of a token.
    fn width(&self) -> usize {
        self.heads.qkv() * self.heads.stride()
    }

    /// `[kv][tokens / 4][head][4]`
    fn keys(&self) -> Vec<[f32; 4]> {
        let head = self.heads.stride();
        let size = self.batch.tokens().div_ceil(4) * head;
        let mut packed = vec![[0.0; 4]; self.heads.kv * size];
        let qkv = &self.qkv[..self.batch.tokens() * self.width()];
        for_row_blocks(&mut packed, size, 1, |index, packed| {
            let first = (self.heads.count + index) * head;
            fours(qkv, self.width(), first..first + head, packed);
        });
        packed
    }

    /// `[kv][head / 4][tokens][4]`
    fn values(&self) -> Vec<[f32; 4]> {
        let (head, tokens) = (self.heads.stride(), self.batch.tokens());
        let mut packed = vec![[0.0; 4]; self.heads.kv * head / 4 * tokens];
        for_row_blocks(&mut packed, head / 4 * tokens, 1, |index, packed| {
            let first = (self.heads.count + self.heads.kv + index) * head / 4;
            for (four, packed) in packed.chunks_exact_mut(tokens).enumerate() {
                for (packed, qkv) in packed.iter_mut().zip(self.qkv.chunks_exact(self.width())) {
                    *packed = qkv.as_chunks().0[first + four];
                }
            }
        });
        packed
    }

    /// One head of the rows from `first`, of which each sees what `seen` says.
    #[allow(clippy::too_many_arguments)]
    fn attend(
        &self,
        index: usize,
        first: usize,
        seen: &[[Seen; PARTS]],
        parts: &[Range<usize>; PARTS],
        keys: &[[f32; 4]],
        values: &[[f32; 4]],
        out: &mut [f32],
    ) {
        let (heads, tokens) = (self.heads, self.batch.tokens());
        let (head, kv, width) = (heads.stride(), index / (heads.count / heads.kv), out.len() / seen.len());
        let mut queries = vec![[0.0; LANES]; head];
        for lane in 0..seen.len() {
            let query = &self.qkv[(first + lane) * self.width() + index * head..][..head];
            queries.iter_mut().zip(query).for_each(|(queries, query)| queries[lane] = heads.scale * query);
        }
        let keys = &keys[kv * tokens.div_ceil(4) * head..][..tokens.div_ceil(4) * head];
        let mut scores = vec![[0.0; LANES]; parts.iter().map(ExactSizeIterator::len).sum()];
        let mut unused = scores.as_mut_slice();
        for (part, rows) in parts.iter().enumerate() {
            let own = unused.split_off_mut(..rows.len()).unwrap_or_default();
            let keys = &keys[rows.start / 4 * head..rows.end.div_ceil(4) * head];
            products_with_eight(keys, head, &queries, rows.start % 4, own);
            for (lane, seen) in seen.iter().enumerate() {
                self.adjust(index, first + lane, &seen[part], rows, own.iter_mut().map(|score| &mut score[lane]));
            }
        }
        let totals = softmax(&mut scores, self.batch.sharpness());
        let values = &values[kv * head / 4 * tokens..][..head / 4 * tokens];
        let (mut sums, mut weights) = (vec![[F32x8::splat(0.0); 4]; head / 4], scores.as_slice());
        for rows in parts {
            let (own, rest) = weights.split_at(rows.len());
            add_products_with_eight(values, tokens, rows.clone(), own, &mut sums);
            weights = rest;
        }
        for (column, sums) in sums.as_flattened().iter().map(|sums| sums.to_array()).enumerate() {
            for (lane, out) in out.chunks_exact_mut(width).enumerate() {
                out[index * head + column] = sums[lane] / totals[lane];
            }
        }
    }

    /// What the `scores` of a query with the keys in `rows` have beside the product; those that it does not see count nothing.
    fn adjust<'s>(
        &self,
        index: usize,
        token: usize,
        seen: &Seen,
        rows: &Range<usize>,
        scores: impl Iterator<Item = &'s mut f32>,
    ) {
        if *rows == seen.rows && seen.repeats == 1 && self.bias.is_none() && self.slopes.is_empty() {
            return;
        }
        // A key that counts n times has n times the exponential, whatever scores are multiplied by.
        let more = (seen.repeats as f32).ln() / self.batch.sharpness();
        for (key, score) in rows.clone().zip(scores) {
            if !seen.rows.contains(&key) {
                *score = f32::NEG_INFINITY;
                continue;
            }
            *score += more;
            let distance = (key + seen.gap) as i64 - token as i64;
            if let Some((bias, most)) = self.bias {
                *score += bias[(distance.clamp(-most, most) + most) as usize * self.heads.count + index];
            } else if let Some(slope) = self.slopes.get(index) {
                *score -= slope * distance.unsigned_abs() as f32;
            }
        }
    }
}

/// What the scores of each head lose a row of distance: powers of `2^(-8/heads)`. Where their number is no power of two,
/// those of the power below it, then every second of the power above. Source: ALiBi (arXiv 2108.12409) §3.
pub fn slopes(heads: usize) -> Vec<f32> {
    let geometric = |count: usize| (1..=count).map(move |head| (-8.0 * head as f64 / count as f64).exp2() as f32);
    let whole = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    geometric(whole).chain(geometric(2 * whole).step_by(2)).take(heads).collect()
}

/// Turns the first half of a head against the second.
fn turn(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (a, b) = head.split_at_mut(head.len() / 2);
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}
