//! Rotary positions: which columns of a head turn against each other, and by what angles. Source: RoFormer (arXiv
//! 2104.09864) §3.4.2.

use crate::error::Result;
use crate::program::WeightId;
use crate::weights::Sink;

/// Which columns turn against each other. Kernels turn the halves of a head; columns that pair otherwise are laid so
/// when the weights are read, which no product of queries and keys can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// Column i with column i + columns / 2, as GPT-NeoX does.
    Halves,
    /// Column 2i with column 2i + 1, as RoFormer does.
    Neighbours,
}

/// The columns of a head that are turned: the leading ones, in pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    /// How many, an even number. Those behind them stay as they are.
    pub columns: usize,
    /// Which with which.
    pub pairs: Pairs,
}

impl Turned {
    /// Every column of a head.
    pub fn all(columns: usize) -> Self {
        Self { columns, pairs: Pairs::Halves }
    }

    /// Which half of a head of `len` columns (an even number) a column lies in, and where.
    pub fn place(self, column: usize, len: usize) -> (usize, usize) {
        let (pairs, resting) = (self.columns / 2, (len - self.columns) / 2);
        match column.checked_sub(self.columns) {
            Some(behind) => (behind / resting, pairs + behind % resting),
            None if self.pairs == Pairs::Halves => (column / pairs, column % pairs),
            None => (column % 2, column / 2),
        }
    }
}

/// How queries and keys are turned by their positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// Columns of a head.
    pub head_dim: usize,
    /// Inverse frequencies, one a pair of columns that turns.
    pub frequencies: Vec<f32>,
    /// Which columns make a pair.
    pub pairs: Pairs,
    /// What cosines and sines are multiplied by.
    pub scale: f32,
    /// Texts of more tokens than this are turned by these frequencies.
    pub beyond: Option<(usize, Vec<f32>)>,
    /// Whether texts that are longer than `max_position_embeddings` would be turned otherwise.
    pub dynamic: bool,
    /// Tensors of which a checkpoint may have one, with other frequencies.
    pub tensors: &'static [&'static str],
}

impl Rotation {
    /// Turns every column.
    pub fn new(frequencies: Vec<f32>) -> Self {
        let head_dim = 2 * frequencies.len();
        Self { head_dim, frequencies, pairs: Pairs::Halves, scale: 1.0, beyond: None, dynamic: false, tensors: &[] }
    }

    /// The columns that are turned.
    pub fn turned(&self) -> Turned {
        Turned { columns: 2 * self.frequencies.len(), pairs: self.pairs }
    }

    /// Most tokens of a text that the first frequencies turn, where there are others.
    pub fn short(&self) -> Option<usize> {
        self.beyond.as_ref().map(|(most, _)| *most)
    }

    /// Rows of the table for texts of up to `positions` tokens. Long texts have rows of their own, behind the others.
    pub fn rows(&self, positions: usize) -> usize {
        match self.beyond {
            Some((most, _)) if positions > most => most + positions,
            _ => positions,
        }
    }

    /// Columns of the table: cosines, then sines, each half padded to a multiple of four.
    pub fn width(&self) -> usize {
        2 * (self.head_dim / 2).next_multiple_of(4)
    }

    /// Computes the table.
    pub fn write(&self, id: WeightId, rows: usize, sink: &mut dyn Sink) -> Result<()> {
        let width = self.width();
        // Some rows at a time: a long table need not be whole in memory.
        for first in (0..rows).step_by(256) {
            let count = (rows - first).min(256);
            let mut values = vec![0.0; count * width];
            for (index, row) in values.chunks_exact_mut(width).enumerate() {
                self.fill(first + index, row);
            }
            sink.write(id, first * width, &values)?;
        }
        Ok(())
    }

    fn fill(&self, row: usize, values: &mut [f32]) {
        let (position, frequencies) = match &self.beyond {
            Some((most, frequencies)) if row >= *most => (row - most, frequencies),
            _ => (row, &self.frequencies),
        };
        let (cos, sin) = values.split_at_mut(values.len() / 2);
        cos[..self.head_dim / 2].fill(1.0);
        for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(frequencies) {
            // The angle is rounded to f32 as in transformers; its cosine is not approximated any further.
            let angle = f64::from(position as f32 * frequency);
            (*cos, *sin) = (angle.cos() as f32 * self.scale, angle.sin() as f32 * self.scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_lie_half_a_head_apart() {
        for turned in [
            Turned::all(8),
            Turned { columns: 8, pairs: Pairs::Neighbours },
            Turned { columns: 4, pairs: Pairs::Halves },
            Turned { columns: 4, pairs: Pairs::Neighbours },
        ] {
            let mut places: Vec<_> = (0..8).map(|column| turned.place(column, 8)).collect();
            let partner = |column: usize| match turned.pairs {
                Pairs::Halves => (column + turned.columns / 2) % turned.columns,
                Pairs::Neighbours => column ^ 1,
            };
            for column in 0..turned.columns {
                let ((half, at), (other, there)) = (places[column], places[partner(column)]);
                assert!(half != other && at == there && at < turned.columns / 2, "{turned:?}, column {column}");
            }
            places.sort();
            assert_eq!(
                places,
                [0, 1].map(|half| (0..4).map(move |at| (half, at))).into_iter().flatten().collect::<Vec<_>>()
            );
        }
    }
}
