//! `y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`, row by row, or `y = x / sqrt(mean(x²) + eps) * weight`,
//! and what is added to it. Sources: `torch.nn.LayerNorm`, `torch.nn.RMSNorm`, `NoNorm` of transformers.

use embedlet_host::{add_scaled, layer_norm, rms_norm, zip};

use super::FEW_ROWS;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Form, Op, Operand, Program, WeightId};
use crate::shader::{Const, Fragment, Grid, Kernel};

/// Rows of a workgroup of `layer_norm.wgsl`.
const GROUP_ROWS: usize = 4;

/// Parameters of a layer normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// `weight`: `[width]`
    pub gain: WeightId,
    /// `bias`: `[width]`
    pub bias: WeightId,
    /// Added to the variance.
    pub eps: f32,
    /// The formula.
    pub kind: NormKind,
}

/// The formula of a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `LayerNorm`
    Layer,
    /// `RMSNorm`: without the mean.
    Rms,
    /// `RMSNorm` whose gain is one more than its weight, as in Gemma.
    OnePlusRms,
    /// `weight * x + bias`: no normalisation, but in the place of one.
    Affine,
}

impl Norm {
    /// The fragments that make it of a row that a workgroup holds.
    pub(super) fn fragments(&self) -> Vec<Fragment> {
        match self.kind {
            NormKind::Affine => vec![fragment!("lib/affine.wgsl")],
            _ => vec![fragment!("lib/layer_norm.wgsl"), fragment!("lib/reduce.wgsl")],
        }
    }

    /// What they want to know.
    pub(super) fn consts(&self) -> [(&'static str, Const); 3] {
        [
            ("EPS", Const::Number(self.eps)),
            ("RMS", Const::Flag(self.kind != NormKind::Layer)),
            ("GAIN", Const::Number(self.kind.gain())),
        ]
    }

    /// What `lib/normed_rows.wgsl` wants to know for `rows` rows and a workgroup of so many invocations, which have `at_once` rows, with the weight,
    /// the bias and the result at these bindings.
    fn rows_consts(
        &self,
        rows: usize,
        invocations: usize,
        at_once: usize,
        [gain, bias, out]: [usize; 3],
    ) -> [(&'static str, Const); 10] {
        let [eps, rms, plus] = self.consts();
        [
            ("GAIN_BINDING", Const::Count(gain)),
            ("BIAS_BINDING", Const::Count(bias)),
            ("NORMED_BINDING", Const::Count(out)),
            ("NORMED_ROWS", Const::Count(rows)),
            ("INVOCATIONS", Const::Count(invocations)),
            ("TEAM", Const::Count(invocations / at_once)),
            ("AFFINE", Const::Flag(self.kind == NormKind::Affine)),
            eps,
            rms,
            plus,
        ]
    }
}

impl NormKind {
    /// What the weight is added to.
    pub(super) fn gain(self) -> f32 {
        if self == Self::OnePlusRms { 1.0 } else { 0.0 }
    }
}

/// What a step makes that does nothing but normalise: `out` of `x`, both `[rows, width]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normed {
    /// What is normalised.
    pub x: Buf,
    /// What comes out.
    pub out: Buf,
    /// How.
    pub norm: Norm,
}

impl Normed {
    /// The same with a kernel that reads `out` through `lib/plain_rows.wgsl`, a workgroup of so many invocations at most `rows` rows: it reads `x`
    /// and makes `out` too.
    pub(super) fn fused(self, name: &'static str, mut kernel: Kernel, invocations: usize, rows: usize) -> Form {
        let Self { x, out, norm } = self;
        kernel.name = name;
        for operand in &mut kernel.operands {
            if *operand == Operand::Read(out) {
                *operand = Operand::Read(x);
            }
        }
        let next = kernel.operands.len() + 1;
        kernel.operands.extend([Operand::Weight(norm.gain), Operand::Weight(norm.bias), Operand::Write(out)]);
        kernel.consts.extend(norm.rows_consts(rows, invocations, 16, [next, next + 1, next + 2]));
        for fragment in &mut kernel.fragments {
            if *fragment == fragment!("lib/plain_rows.wgsl") {
                *fragment = fragment!("lib/normed_rows.wgsl");
            }
        }
        Form { makes: Some(out), ..Form::new(kernel, FEW_ROWS) }
    }
}

/// See the module.
pub struct LayerNorm {
    x: Buf,
    out: Buf,
    norm: Norm,
    residual: Option<Buf>,
}

impl Program {
    /// x: `[rows, width]` to `[rows, width]`
    pub fn layer_norm(&mut self, x: Buf, norm: Norm) -> Buf {
        self.layer_norm_onto(x, norm, None)
    }

    /// x and residual: `[rows, width]` to `[rows, width]`, the residual and the normalised x.
    pub fn layer_norm_onto(&mut self, x: Buf, norm: Norm, residual: Option<Buf>) -> Buf {
        let out = self.buf(x.rows, x.width);
        self.push(LayerNorm { x, out, norm, residual });
        out
    }
}

impl Op for LayerNorm {
    fn kernel(&self) -> Kernel {
        let mut consts = vec![
            ("WIDTH", Const::Count(self.x.width)),
            ("K4", Const::Count(self.x.stride / 4)),
            ("ROWS", Const::Count(self.x.rows.kind())),
            ("FIXED_ROWS", Const::Count(self.x.rows.fixed())),
            ("RESIDUAL", Const::Flag(self.residual.is_some())),
        ];
        consts.extend(self.norm.rows_consts(GROUP_ROWS, 64, GROUP_ROWS, [3, 4, 2]));
        Kernel {
            name: "layer_norm",
            fragments: vec![fragment!("layer_norm.wgsl"), fragment!("lib/normed_rows.wgsl")],
            consts,
            operands: vec![
                Operand::Read(self.x),
                Operand::Write(self.out),
                Operand::Weight(self.norm.gain),
                Operand::Weight(self.norm.bias),
                // Bound all the same where there is none, and not read.
                Operand::Read(self.residual.unwrap_or(self.x)),
            ],
            grid: Grid { rows: self.x.rows, per_group: GROUP_ROWS as u32, y: 1, z: 1 },
        }
    }

    fn normed(&self) -> Option<Normed> {
        let Self { x, out, norm, residual } = *self;
        (residual.is_none() && norm.kind != NormKind::Affine).then_some(Normed { x, out, norm })
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let stride = self.x.stride;
        memory.write(self.out, |memory, out| {
            let x = memory.read(self.x);
            for_row_blocks(&mut out[..self.x.rows.of(batch) * stride], stride, 16, |first, rows| {
                rows.copy_from_slice(&x[first * stride..][..rows.len()]);
                for row in rows.chunks_exact_mut(stride) {
                    self.norm.apply(&mut row[..self.x.width], memory);
                }
                if let Some(residual) = self.residual {
                    let residual = &memory.read(residual)[first * stride..][..rows.len()];
                    add_scaled(rows, 1.0, residual);
                }
            });
        });
    }
}

impl Norm {
    /// Normalises a row in place.
    pub(super) fn apply(&self, row: &mut [f32], memory: &Memory) {
        normalize(row, memory.weight(self.gain), memory.weight(self.bias), self.eps, self.kind);
    }
}

fn normalize(row: &mut [f32], gain: &[f32], bias: &[f32], eps: f32, kind: NormKind) {
    match kind {
        NormKind::Layer => layer_norm(row, gain, bias, eps),
        NormKind::Rms | NormKind::OnePlusRms => rms_norm(row, gain, kind.gain(), bias, eps),
        NormKind::Affine => {
            zip(row, gain, |x, gain| x * gain);
            add_scaled(row, 1.0, bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_torch() {
        // torch.nn.functional.layer_norm(torch.tensor([1., 2, 4]), [3], tensor([1., 2, .5]), tensor([0., 1, -1]), 1e-5)
        // torch.nn.functional.rms_norm of the same, without bias
        for (kind, bias, expected) in [
            (NormKind::Layer, [0.0, 1.0, -1.0], [-1.069_042_4, 0.465_478_84, -0.331_848_5]),
            (NormKind::Rms, [0.0; 3], [0.377_964_1, 1.511_856_4, 0.755_928_2]),
            (NormKind::Affine, [0.0, 1.0, -1.0], [1.0, 5.0, 1.0]),
            (NormKind::OnePlusRms, [0.0; 3], [0.755_928_2, 2.267_784_6, 2.267_784_6]),
        ] {
            let mut row = [1.0, 2.0, 4.0];
            normalize(&mut row, &[1.0, 2.0, 0.5], &bias, 1e-5, kind);
            for (found, expected) in row.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{row:?}");
            }
        }
    }
}
