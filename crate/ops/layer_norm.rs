//! `y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`, row by row. Source: `torch.nn.LayerNorm`.

use super::GROUP;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};

/// Parameters of a layer normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// `weight`: `[width]`
    pub gain: WeightId,
    /// `bias`: `[width]`
    pub bias: WeightId,
    /// Added to the variance.
    pub eps: f32,
}

/// See the module.
pub struct LayerNorm {
    x: Buf,
    out: Buf,
    norm: Norm,
}

impl Program {
    /// x: `[tokens, width]` to `[tokens, width]`
    pub fn layer_norm(&mut self, x: Buf, norm: Norm) -> Buf {
        let out = self.buf(x.rows, x.width);
        self.push(LayerNorm { x, out, norm });
        out
    }
}

impl Op for LayerNorm {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "layer_norm",
            fragments: vec![
                fragment!("layer_norm.wgsl"),
                fragment!("lib/layer_norm.wgsl"),
                fragment!("lib/reduce.wgsl"),
            ],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("WIDTH", Const::Count(self.x.width)),
                ("EPS", Const::Number(self.norm.eps)),
            ],
            operands: vec![
                Operand::Read(self.x),
                Operand::Write(self.out),
                Operand::Weight(self.norm.gain),
                Operand::Weight(self.norm.bias),
            ],
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let stride = self.x.stride;
        memory.write(self.out, |memory, out| {
            let (x, gain, bias) = (memory.read(self.x), memory.weight(self.norm.gain), memory.weight(self.norm.bias));
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, 16, |first, rows| {
                rows.copy_from_slice(&x[first * stride..][..rows.len()]);
                for row in rows.chunks_exact_mut(stride) {
                    normalize(row, self.x.width, gain, bias, self.norm.eps);
                }
            });
        });
    }
}

/// Normalises the first `width` columns of a row in place.
pub(super) fn normalize(row: &mut [f32], width: usize, gain: &[f32], bias: &[f32], eps: f32) {
    let row = &mut row[..width];
    let mean = sum(row.iter().copied()) / width as f32;
    let variance = sum(row.iter().map(|x| (x - mean) * (x - mean))) / width as f32;
    let scale = 1.0 / (variance + eps).sqrt();
    for ((x, gain), bias) in row.iter_mut().zip(gain).zip(bias) {
        *x = (*x - mean) * scale * gain + bias;
    }
}

/// A sum in eight lanes: vectorises, and rounds less than one running sum.
fn sum(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; 8];
    for (index, value) in values.enumerate() {
        lanes[index % 8] += value;
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_torch() {
        // torch.nn.functional.layer_norm(torch.tensor([1., 2, 4]), [3], tensor([1., 2, .5]), tensor([0., 1, -1]), 1e-5)
        let mut row = [1.0, 2.0, 4.0, 0.0];
        normalize(&mut row, 3, &[1.0, 2.0, 0.5, 0.0], &[0.0, 1.0, -1.0, 0.0], 1e-5);
        let expected = [-1.069_042_4, 0.465_478_84, -0.331_848_5, 0.0];
        for (found, expected) in row.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{row:?}");
        }
    }
}
