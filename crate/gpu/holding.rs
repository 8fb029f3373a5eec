//! How the parameters of a program lie on a device: whole or in pieces, as values or as integers; and the kernels that follow
//! from it.

use crate::error::{Error, Result};
use crate::program::{Buf, Form, Large, Operand, Precision, WeightId};
use crate::shader::{Held, Kernel, Piece};
use crate::weights::Weight;

/// A kernel with its text for what it is bound to.
pub type Variant = (Kernel, String);

/// A kernel for each piece of what it reads, and of their form the rest.
pub struct Variants {
    pub most_rows: usize,
    pub most_tokens: usize,
    pub makes: Option<Buf>,
    pub pieces: Vec<Variant>,
}

/// How parameters lie on a device.
pub struct Holding<'a> {
    pub weights: &'a [Weight],
    /// Which of them may be in pieces.
    pub large: &'a [bool],
    pub precision: Precision,
    /// Most bytes of a buffer.
    pub limit: u64,
}

impl Holding<'_> {
    /// The pieces of a parameter, and bytes of each but the last.
    pub fn pieces(&self, id: WeightId) -> Result<(Vec<Piece>, u64)> {
        let weight = &self.weights[id.0];
        let bytes = weight.bytes(self.precision);
        if bytes <= self.limit {
            return Ok((vec![Piece::WHOLE], bytes.max(1)));
        }
        let units = weight.layout.units().max(1);
        let unit = bytes / units as u64;
        let count = (self.limit / unit.max(1)) as usize;
        if !self.large[id.0] || count == 0 {
            return Err(too_large(bytes, self.limit));
        }
        let piece = |first: usize| Piece { first, count: count.min(units - first) };
        Ok(((0..units).step_by(count).map(piece).collect(), unit * count as u64))
    }

    /// The kernels of a form.
    pub fn variants(&self, form: Form) -> Result<Variants> {
        let Form { kernel, most_rows, most_tokens, makes, many_registers: _ } = form;
        let stored = |id: WeightId| self.weights[id.0].stored(self.precision);
        let halves = kernel.operands.iter().filter_map(Operand::weight).any(|id| stored(id) == Precision::F16);
        let whole = Held { halves, ..Held::VALUES };
        let Some((Large { weight: id, .. }, _)) = kernel.large() else {
            let text = kernel.wgsl(&whole);
            return Ok(Variants { most_rows, most_tokens, makes, pieces: vec![(kernel, text)] });
        };
        let weight = &self.weights[id.0];
        let integers = weight.held.filter(|_| stored(id) == Precision::Packed);
        let (pieces, _) = self.pieces(id)?;
        let variant = |piece: Piece| {
            let mut kernel = kernel.clone();
            if weight.layout.is_matrix() {
                // A step may take fewer columns than there are.
                kernel.grid.y = (piece.count as u32).min(kernel.grid.y.saturating_sub(piece.first as u32));
            }
            let text = kernel.wgsl(&Held { integers, piece, ..whole });
            (kernel, text)
        };
        Ok(Variants { most_rows, most_tokens, makes, pieces: pieces.into_iter().map(variant).collect() })
    }
}

pub fn too_large(found: u64, limit: u64) -> Error {
    Error::LimitExceeded { what: "bytes of one buffer on this GPU".into(), found, limit }
}

/// A parameter in its buffers, of which each but the last has so many bytes.
pub struct Parameter {
    pub pieces: Vec<wgpu::Buffer>,
    pub bytes: u64,
}
