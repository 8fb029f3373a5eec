//! Tensor names to parameters of a program.

use crate::ops::{Epilogue, Norm, NormKind, Rotations};
use crate::program::{Buf, Program, WeightId};
use crate::rotation::Rotation;
use crate::weights::{Axis, Layout, Part, Rounding, Weight};

/// Declares parameters by their names in the checkpoint, and records what has no choices.
pub struct Declare<'a> {
    /// Where to.
    pub program: &'a mut Program,
    /// The file that holds the encoder's weights.
    pub file: &'a str,
    /// Of every normalisation.
    pub eps: f32,
    /// The formula of every normalisation.
    pub norm_kind: NormKind,
    /// Whether normalisations have a bias.
    pub norm_bias: bool,
}

impl Declare<'_> {
    /// Rows of a tensor, `field` of the module `name`.
    pub fn part(&self, name: &str, field: &str, at: usize, rows: usize) -> Part {
        Part::rows(self.file, format!("{name}.{field}"), at, rows)
    }

    /// A lookup table.
    pub fn table(&mut self, name: &str, rows: usize, width: usize) -> WeightId {
        let parts = vec![self.part(name, "weight", 0, rows)];
        self.program.weight(Weight::new(Layout::Table { rows, width }, parts, Rounding::Allowed))
    }

    /// A product whose output columns are those of several tensors, each with its rows, one after another, and its
    /// bias, which is zero where the checkpoint has none.
    pub fn linear(
        &mut self,
        tensors: &[(String, usize)],
        inputs: Axis,
        outputs: Axis,
        bias: bool,
    ) -> (WeightId, WeightId) {
        let parts = |field| {
            let mut at = 0;
            let part = |(name, rows): &(String, usize)| {
                at += rows;
                self.part(name, field, at - rows, *rows)
            };
            tensors.iter().map(part).collect::<Vec<_>>()
        };
        let weight = Weight::new(Layout::Linear { inputs, outputs }, parts("weight"), Rounding::Allowed);
        let bias = if bias { parts("bias") } else { Vec::new() };
        let bias = Weight::new(Layout::Vector { axis: outputs }, bias, Rounding::Never);
        (self.program.weight(weight), self.program.weight(bias))
    }

    /// A table of rotations for texts of up to `positions` tokens.
    pub fn rotations(&mut self, positions: usize, rotation: &Rotation) -> Rotations {
        let part = |name: &&str| Part::whole(self.file, *name, rotation.frequencies.len());
        let parts = rotation.tensors.iter().map(part).collect();
        let table = self.program.weight(Weight { parts, ..Weight::rotations(positions, rotation.clone()) });
        Rotations { table, turned: rotation.turned(), values: false }
    }

    /// A bias or a norm.
    pub fn vector(&mut self, name: &str, field: &str, axis: Axis) -> WeightId {
        let parts = vec![self.part(name, field, 0, axis.size())];
        self.program.weight(Weight::new(Layout::Vector { axis }, parts, Rounding::Never))
    }

    /// The parameters of a normalisation of `width` columns.
    pub fn norm_weights(&mut self, name: &str, width: usize) -> Norm {
        let axis = Axis::plain(width);
        let gain = self.vector(name, "weight", axis);
        let bias = match self.norm_bias {
            true => self.vector(name, "bias", axis),
            false => self.program.weight(Weight::new(Layout::Vector { axis }, Vec::new(), Rounding::Never)),
        };
        Norm { gain, bias, eps: self.eps, kind: self.norm_kind }
    }

    /// x, normalised.
    pub fn norm(&mut self, x: Buf, name: &str) -> Buf {
        let norm = self.norm_weights(name, x.width);
        self.program.layer_norm(x, norm)
    }

    /// x and the product of `part`, which is normalised before where it has a norm of its own.
    pub fn add(&mut self, x: Buf, part: Buf, weight: WeightId, bias: WeightId, norm: Option<String>) -> Buf {
        let Some(name) = norm else {
            return self.program.linear(part, weight, bias, x.width, Epilogue::Residual(x));
        };
        let added = self.program.linear(part, weight, bias, x.width, Epilogue::None);
        let norm = self.norm_weights(&name, x.width);
        self.program.layer_norm_onto(added, norm, Some(x))
    }
}
