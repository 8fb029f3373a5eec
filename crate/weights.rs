//! Parameters: which checkpoint tensors make each one, and the [`Sink`] that takes its values.

use embedlet_host::Int8Matrix;
use safetensors::tensor::Dtype;

use crate::computed::Computed;
use crate::error::{Error, Result};
use crate::integers::Integers;
pub use crate::layout::{Axis, Layout, Order, PANEL, TILE};
use crate::packed::Packing;
use crate::program::{Precision, WeightId};
use crate::rotation::Rotation;

/// Whether a smaller storage type may be used where the caller asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Large matrices and tables of the encoder.
    Allowed,
    /// Biases, norms, and the small projections behind the pooling.
    Never,
}

/// A parameter on the device and the tensors it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// How it lies there.
    pub layout: Layout,
    /// The tensors, each with the first row it fills. None: the parameter is zero (an absent bias), or computed.
    pub parts: Vec<Part>,
    /// Computed instead of read. Then `parts` are the names under which a checkpoint may have the frequencies of a rotation.
    pub computed: Option<Computed>,
    /// Whether it may be stored in less than f32.
    pub rounding: Rounding,
    /// How a GPU holds it with [`Precision::Packed`], see [`Program::hold_integers`](crate::program::Program::hold_integers).
    pub held: Option<Packing>,
}

impl Weight {
    /// Made of these tensors.
    pub fn new(layout: Layout, parts: Vec<Part>, rounding: Rounding) -> Self {
        Self { layout, parts, computed: None, rounding, held: None }
    }

    /// The angles of texts of up to `positions` tokens.
    pub fn rotations(positions: usize, rotation: Rotation) -> Self {
        let layout = Layout::Rotations { rows: rotation.rows(positions), pairs: rotation.head_dim / 2 };
        Self::computed(layout, Computed::Rotations(rotation))
    }

    /// A vector of these values.
    pub fn values(values: Vec<f32>) -> Self {
        Self::computed(Layout::Vector { axis: Axis::plain(values.len()) }, Computed::Values(values))
    }

    /// Made of no tensor.
    pub fn computed(layout: Layout, computed: Computed) -> Self {
        Self { computed: Some(computed), ..Self::new(layout, Vec::new(), Rounding::Never) }
    }

    /// Shape of the tensor of a part.
    pub(crate) fn shape(&self, part: &Part) -> Vec<usize> {
        if self.computed.is_some() { vec![part.rows] } else { self.layout.shape(part.at, part.rows) }
    }

    /// Writes what is computed and not read.
    pub(crate) fn compute(&self, id: WeightId, sink: &mut dyn Sink) -> Result<()> {
        self.computed.as_ref().map_or(Ok(()), |computed| computed.write(self.layout, id, sink))
    }

    /// The type that a device of this precision stores it in.
    pub fn stored(&self, precision: Precision) -> Precision {
        let vector = matches!(self.layout, Layout::Vector { .. } | Layout::Distances { .. } | Layout::Filters { .. });
        match precision {
            Precision::Packed if self.held.is_some() => Precision::Packed,
            Precision::Packed => Precision::F32,
            _ if vector || self.rounding == Rounding::Never => Precision::F32,
            Precision::Int8 if !self.layout.is_matrix() => Precision::F32,
            _ => precision,
        }
    }

    /// How it lies on a device that holds it in integers.
    pub fn integers(&self) -> Option<Integers> {
        self.held.map(|packing| Integers { packing, layout: self.layout })
    }

    /// Bytes on a device of this precision.
    pub fn bytes(&self, precision: Precision) -> u64 {
        let elements = self.layout.elements() as u64;
        match self.stored(precision) {
            Precision::F32 => 4 * elements,
            Precision::F16 => 2 * elements,
            Precision::Int8 => Int8Matrix::size(self.layout.elements(), self.layout.inputs()) as u64,
            Precision::Packed => self.integers().map_or(0, |integers| 4 * integers.words() as u64),
        }
    }
}

/// A checkpoint tensor that fills some rows of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// File inside the model folder.
    pub file: String,
    /// Tensor name without the checkpoint's prefix; one that begins with `/` is not below a prefix.
    pub name: String,
    /// First row it fills.
    pub at: usize,
    /// Rows it fills.
    pub rows: usize,
    /// How it is stored, where that is in integers of a few bits.
    pub packing: Option<Packing>,
}

impl Part {
    /// All rows of a parameter.
    pub fn whole(file: impl Into<String>, name: impl Into<String>, rows: usize) -> Self {
        Self::rows(file, name, 0, rows)
    }

    /// Rows of a parameter from `at` on.
    pub fn rows(file: impl Into<String>, name: impl Into<String>, at: usize, rows: usize) -> Self {
        Self { file: file.into(), name: name.into(), at, rows, packing: None }
    }

    /// The name in a checkpoint that puts `prefix` in front of the encoder's names.
    pub(crate) fn full_name(&self, prefix: &str) -> String {
        match self.name.strip_prefix('/') {
            Some(name) => name.to_owned(),
            None => format!("{prefix}{}", self.name),
        }
    }
}

/// Takes finished values on behalf of a device.
pub trait Sink {
    /// A file's header is read and checked; `stored` is the type of most of its wanted bytes. Values follow.
    fn start(&mut self, stored: Dtype) -> Result<()>;
    /// Stores `values` from element `at` of a parameter. Both count elements and are multiples of four.
    fn write(&mut self, weight: WeightId, at: usize, values: &[f32]) -> Result<()>;
    /// How it takes a parameter that comes in integers; none: as values, like every other.
    fn integers(&self, _weight: WeightId) -> Option<Integers> {
        None
    }
    /// Stores `words` from word `at` of a parameter that it takes in integers.
    fn write_integers(&mut self, _weight: WeightId, _at: usize, _words: &[u32]) -> Result<()> {
        Err(Error::argument("this device takes values"))
    }
}
