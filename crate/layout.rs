//! How parameters lie on the device, and where each element of a checkpoint's tensor goes.

pub use embedlet_host::PANEL;

use crate::rotation::Turned;

/// Matrices are padded to whole tiles of this many output columns.
pub const TILE: usize = 64;

/// One dimension of a matrix: `blocks` runs of `len` values, each run padded to `stride`.
///
/// A plain dimension is one run. Attention heads are one run each, so that a head of 9 columns starts at
/// a multiple of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Runs.
    pub blocks: usize,
    /// Values of a run.
    pub len: usize,
    /// Elements from one run to the next, a multiple of four.
    pub stride: usize,
    /// How values lie in their runs.
    pub order: Order,
    /// Runs are of so many kinds, one of each side by side in the checkpoint; those of a kind lie together.
    pub kinds: usize,
}

/// How values lie in the runs of an [`Axis`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As in the checkpoint.
    Plain,
    /// Two runs take turns, four elements of this one (0 or 1) and four of the other: the halves of a gated product, the
    /// activated half first.
    Gated(usize),
    /// A run is a head of which columns turn against each other: these lie half a run apart. Each half is padded to a
    /// multiple of four.
    Turned(Turned),
}

impl Axis {
    /// One run.
    pub fn plain(len: usize) -> Self {
        Self::blocks(1, len)
    }

    /// `blocks` runs of `len` values.
    pub fn blocks(blocks: usize, len: usize) -> Self {
        Self { blocks, len, stride: len.next_multiple_of(4), order: Order::Plain, kinds: 1 }
    }

    /// Heads of `len` columns, an even number, of which some turn against each other.
    pub fn turned(heads: usize, len: usize, turned: Turned) -> Self {
        let stride = 2 * (len / 2).next_multiple_of(4);
        Self { blocks: heads, len, stride, order: Order::Turned(turned), kinds: 1 }
    }

    /// The same runs, which the checkpoint keeps in turn: one of each of `kinds`, then the next of each.
    pub fn interleaved(self, kinds: usize) -> Self {
        Self { kinds, ..self }
    }

    /// The halves of a gated product, `len` values each, of which half `activated` (0 or 1) is activated.
    pub fn gated(len: usize, activated: usize) -> Self {
        Self { order: Order::Gated(activated), ..Self::blocks(2, len) }
    }

    /// Values in the checkpoint.
    pub fn size(&self) -> usize {
        self.blocks * self.len
    }

    /// Elements on the device.
    pub fn padded(&self) -> usize {
        self.blocks * self.stride
    }

    /// Where value `index` of the checkpoint lies.
    pub fn place(&self, index: usize) -> usize {
        let (run, index) = (index / self.len, index % self.len);
        let block = run % self.kinds * (self.blocks / self.kinds) + run / self.kinds;
        match self.order {
            Order::Plain => block * self.stride + index,
            Order::Gated(activated) => index / 4 * 8 + 4 * usize::from(block != activated) + index % 4,
            Order::Turned(turned) => {
                let (half, index) = turned.place(index, self.len);
                block * self.stride + half * self.stride / 2 + index
            }
        }
    }
}

/// How a parameter lies on the device. What no tensor fills is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A bias or a norm: f32, padded like the columns it is added to.
    Vector {
        /// Its values.
        axis: Axis,
    },
    /// Rows to look up: `[rows, stride]`.
    Table {
        /// Rows, one a token id, position or type.
        rows: usize,
        /// Columns.
        width: usize,
    },
    /// A row a position, `[rows, 2 pairs]`: the sines of its angles and then the cosines, as checkpoints have them. On the
    /// device the cosines come first. Each half is padded to a multiple of four.
    Rotations {
        /// Positions.
        rows: usize,
        /// Angles of each.
        pairs: usize,
    },
    /// Cosine and sine of every part of every turn of up to `most` parts: those of m of n parts are pair `n (n - 1) / 2 + m`.
    Turns {
        /// Most parts.
        most: usize,
    },
    /// A row for each distance from `-most` to `most`, `[2 most + 1, heads]`, from one row a bucket of distances.
    Distances {
        /// Distances beyond it are in the last buckets.
        most: usize,
        /// Rows of the tensor.
        buckets: usize,
        /// Columns.
        heads: usize,
    },
    /// `weight` of a PyTorch `Conv1d`, `[outputs, inputs, taps]`, stored as that of a linear whose inputs are those of each
    /// tap in turn.
    Conv {
        /// Input columns.
        inputs: Axis,
        /// Neighbouring rows that an output sees.
        taps: usize,
        /// Output columns.
        outputs: Axis,
    },
    /// `weight` of a PyTorch `Linear`, `[outputs, inputs]`, stored in panels `[outputs / 8][inputs][8]`,
    /// so that eight output columns and then the next input are side by side, whatever the tile of a kernel.
    Linear {
        /// Input columns.
        inputs: Axis,
        /// Output columns.
        outputs: Axis,
    },
    /// The same of a matrix whose last inputs are in a tensor of their own, which has a row an input and follows the rows of
    /// the first.
    Joined {
        /// Inputs of the first tensor.
        first: usize,
        /// Input columns.
        inputs: usize,
        /// Output columns.
        outputs: usize,
    },
    /// The same of a matrix that is zero but for blocks along its diagonal: `[groups, inputs / groups, outputs / groups]`.
    Grouped {
        /// Blocks, a divisor of both.
        groups: usize,
        /// Input columns.
        inputs: usize,
        /// Output columns.
        outputs: usize,
    },
    /// The matrices of several experts, one below the other, each stored as that of a linear.
    Experts {
        /// How many.
        count: usize,
        /// Input columns of each.
        inputs: usize,
        /// Output columns of each.
        outputs: usize,
        /// Whether a row of the tensor has the weights of one input, not of one output.
        by_input: bool,
    },
    /// The low-rank matrices of several adapters, one below the other: as that of a linear whose inputs are the ranks of each
    /// adapter in turn.
    LowRank {
        /// A run an adapter.
        ranks: Axis,
        /// Columns of what is adapted.
        columns: Axis,
        /// Whether a row of the tensor has the weights of one rank, not of one column.
        by_rank: bool,
    },
    /// `weight` of a `Conv1d` with as many groups as channels, `[channels, 1, size]`, stored tap by tap.
    Filters {
        /// Columns.
        channels: usize,
        /// Taps.
        size: usize,
    },
}

impl Layout {
    /// Elements on the device, padding included.
    pub fn elements(&self) -> usize {
        match self {
            Self::Vector { axis } => axis.padded(),
            Self::Table { rows, width } => rows * width.next_multiple_of(4),
            Self::Rotations { rows, pairs } => rows * 2 * pairs.next_multiple_of(4),
            Self::Turns { most } => (most * (most + 1)).next_multiple_of(4),
            Self::Distances { most, heads, .. } => ((2 * most + 1) * heads).next_multiple_of(4),
            Self::Conv { inputs, taps, outputs } => taps * inputs.padded() * outputs.padded().next_multiple_of(TILE),
            Self::Linear { inputs, outputs } => inputs.padded() * outputs.padded().next_multiple_of(TILE),
            Self::Grouped { inputs, outputs, .. } | Self::Joined { inputs, outputs, .. } => {
                Self::whole(*inputs, *outputs).elements()
            }
            Self::Experts { count, inputs, outputs, .. } => count * Self::whole(*inputs, *outputs).elements(),
            Self::LowRank { ranks, columns, .. } => Self::Linear { inputs: *ranks, outputs: *columns }.elements(),
            Self::Filters { channels, size } => size * channels.next_multiple_of(4),
        }
    }

    /// Where an element lies; `row` and `col` are those of the checkpoint, `col` is 0 for vectors. Rows of
    /// [`Layout::Distances`] are distances, counted from `-most`.
    pub fn place(&self, row: usize, col: usize) -> usize {
        match self {
            Self::Vector { axis } => axis.place(row),
            Self::Table { width, .. } => row * width.next_multiple_of(4) + col,
            Self::Rotations { pairs, .. } => {
                let half = pairs.next_multiple_of(4);
                2 * row * half + if col < *pairs { half + col } else { col - pairs }
            }
            Self::Turns { .. } => 2 * row + col,
            Self::Distances { heads, .. } => row * heads + col,
            Self::Conv { inputs, taps, outputs } => {
                let row = outputs.place(row);
                let col = col % taps * inputs.padded() + inputs.place(col / taps);
                (row / PANEL * taps * inputs.padded() + col) * PANEL + row % PANEL
            }
            Self::Linear { inputs, outputs } => {
                let (row, col) = (outputs.place(row), inputs.place(col));
                (row / PANEL * inputs.padded() + col) * PANEL + row % PANEL
            }
            Self::Joined { first, inputs, outputs } => {
                let (row, col) = if row < *outputs { (row, col) } else { (col, first + row - outputs) };
                Self::whole(*inputs, *outputs).place(row, col)
            }
            Self::Grouped { groups, inputs, outputs } => {
                // Row after row of the blocks, whose rows are inputs.
                let group = row / (inputs / groups);
                Self::whole(*inputs, *outputs).place(group * (outputs / groups) + col, row)
            }
            Self::Experts { inputs, outputs, by_input, .. } => {
                let whole = Self::whole(*inputs, *outputs);
                let rows = if *by_input { inputs } else { outputs };
                let (expert, row) = (row / rows, row % rows);
                let (row, col) = if *by_input { (col, row) } else { (row, col) };
                expert * whole.elements() + whole.place(row, col)
            }
            Self::LowRank { ranks, columns, by_rank } => {
                let whole = Self::Linear { inputs: *ranks, outputs: *columns };
                let (adapter, column) = (row / columns.size(), row % columns.size());
                if *by_rank { whole.place(col, row) } else { whole.place(column, adapter * ranks.len + col) }
            }
            Self::Filters { channels, .. } => col * channels.next_multiple_of(4) + row,
        }
    }

    /// Whether it is in panels, `[outputs / 8][inputs][8]`, of what products multiply by.
    pub fn is_matrix(&self) -> bool {
        self.inputs() > 0
    }

    /// Elements of a column of a matrix, padding included; 0 of what is none.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Linear { inputs, .. } => inputs.padded(),
            Self::Conv { inputs, taps, .. } => taps * inputs.padded(),
            Self::Joined { inputs, .. } | Self::Grouped { inputs, .. } | Self::Experts { inputs, .. } => {
                inputs.next_multiple_of(4)
            }
            _ => 0,
        }
    }

    /// The smallest pieces that a device may hold apart: rows of a table, tiles of a matrix's columns.
    pub(crate) fn units(&self) -> usize {
        match self {
            Self::Linear { outputs, .. } => outputs.padded().div_ceil(TILE),
            _ => self.size().0,
        }
    }

    /// Whether the elements of every row lie as far from its first one as those of any other.
    pub(crate) fn has_rows_alike(&self) -> bool {
        !matches!(self, Self::Grouped { .. } | Self::Joined { .. })
    }

    /// A matrix without blocks or heads.
    fn whole(inputs: usize, outputs: usize) -> Self {
        Self::Linear { inputs: Axis::plain(inputs), outputs: Axis::plain(outputs) }
    }

    /// Rows and columns of what it is made of, as [`Layout::place`] counts them.
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Vector { axis } => (axis.size(), 1),
            Self::Table { rows, width } => (*rows, *width),
            Self::Rotations { rows, pairs } => (*rows, 2 * pairs),
            Self::Turns { most } => (most * (most + 1) / 2, 2),
            Self::Distances { most, heads, .. } => (2 * most + 1, *heads),
            Self::Conv { inputs, taps, outputs } => (outputs.size(), inputs.size() * taps),
            Self::Linear { inputs, outputs } => (outputs.size(), inputs.size()),
            Self::Joined { inputs, outputs, .. } => (*outputs, *inputs),
            Self::Grouped { groups, inputs, outputs } => (*inputs, outputs / groups),
            Self::Experts { count, inputs, outputs, by_input: true } => (count * inputs, *outputs),
            Self::Experts { count, inputs, outputs, by_input: false } => (count * outputs, *inputs),
            Self::LowRank { ranks, columns, by_rank: true } => (ranks.size(), columns.size()),
            Self::LowRank { ranks, columns, by_rank: false } => (ranks.blocks * columns.size(), ranks.len),
            Self::Filters { channels, size } => (*channels, *size),
        }
    }

    /// Shape that `rows` of this parameter from row `at` have in the checkpoint.
    pub(crate) fn shape(&self, at: usize, rows: usize) -> Vec<usize> {
        match self {
            Self::Joined { outputs, .. } if at > 0 => vec![rows, *outputs],
            Self::Joined { first, .. } => vec![rows, *first],
            Self::Vector { .. } => vec![rows],
            Self::Table { width, .. } => vec![rows, *width],
            Self::Rotations { pairs, .. } => vec![rows, 2 * pairs],
            Self::Turns { .. } => vec![rows, 2],
            Self::Distances { buckets, heads, .. } => vec![*buckets, *heads],
            Self::Conv { inputs, taps, .. } => vec![rows, inputs.size(), *taps],
            Self::Linear { inputs, .. } => vec![rows, inputs.size()],
            Self::Grouped { groups, inputs, outputs } => vec![*groups, inputs / groups, outputs / groups],
            Self::Experts { .. } | Self::LowRank { .. } => vec![rows, self.size().1],
            Self::Filters { size, .. } => vec![rows, 1, *size],
        }
    }
}

/// The bucket of a distance (of a key from its query). Source: `relative_position_bucket` of T5 and MPNet, both ways.
pub fn distance_bucket(distance: i32, buckets: usize, most: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let steps = distance.unsigned_abs() as usize;
    let bucket = if steps < exact {
        steps
    } else {
        let scale = (steps as f32 / exact as f32).ln() / (most as f32 / exact as f32).ln();
        (exact + (scale * (half - exact) as f32) as usize).min(half - 1)
    };
    if distance > 0 { half + bucket } else { bucket }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::Pairs;

    #[test]
    fn rows_that_are_said_to_be_alike_are() {
        let (plain, heads) = (Axis::plain(10), Axis::turned(3, 6, Turned { columns: 4, pairs: Pairs::Neighbours }));
        let layouts = [
            Layout::Vector { axis: heads },
            Layout::Table { rows: 5, width: 7 },
            Layout::Rotations { rows: 5, pairs: 3 },
            Layout::Turns { most: 4 },
            Layout::Distances { most: 4, buckets: 3, heads: 2 },
            Layout::Conv { inputs: heads, taps: 3, outputs: plain },
            Layout::Linear { inputs: heads, outputs: Axis::gated(9, 1) },
            Layout::Linear { inputs: plain, outputs: Axis::blocks(6, 5).interleaved(3) },
            Layout::Experts { count: 3, inputs: 6, outputs: 10, by_input: true },
            Layout::Experts { count: 3, inputs: 6, outputs: 10, by_input: false },
            Layout::LowRank { ranks: Axis::blocks(2, 3), columns: plain, by_rank: true },
            Layout::LowRank { ranks: Axis::blocks(2, 3), columns: plain, by_rank: false },
            Layout::Filters { channels: 5, size: 3 },
            Layout::Joined { first: 4, inputs: 6, outputs: 5 },
            Layout::Grouped { groups: 2, inputs: 6, outputs: 10 },
        ];
        for layout in layouts {
            let (rows, columns) = layout.size();
            let offset = |row, column| layout.place(row, column).wrapping_sub(layout.place(row, 0));
            let alike = (0..rows).all(|row| (0..columns).all(|column| offset(row, column) == offset(0, column)));
            assert!(alike || !layout.has_rows_alike(), "{layout:?}");
        }
    }
}
