//! What of a packed matrix is in its file, where much of it is zeros: pruned heads are blocks of rows or of columns, and 2:4 sparse layers
//! have two values in every four columns. The rest is zero, exactly.

use std::ops::Range;

use serde_json::Value;

/// Which values of a matrix are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sparsity {
    /// All.
    #[default]
    None,
    /// Two of every four columns of a row.
    TwoOfFour,
    /// Those in these blocks of rows and of columns.
    Blocks {
        /// Rows that are stored.
        rows: Blocks,
        /// Columns that are stored.
        columns: Blocks,
    },
}

/// Neighbouring rows, or columns, that are stored or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Rows, or columns, of a block.
    pub size: usize,
    /// A bit for each block that is stored.
    pub kept: u64,
}

/// Most blocks.
pub const BLOCKS: usize = 64;

impl Blocks {
    /// Whether a row, or column, is stored.
    pub fn has(&self, index: usize) -> bool {
        self.kept.checked_shr((index / self.size) as u32).is_some_and(|blocks| blocks & 1 == 1)
    }

    /// How many of the first `count` are stored.
    fn of(&self, count: usize) -> usize {
        (0..count).filter(|index| self.has(*index)).count()
    }

    /// `{ "size": 32, "kept": [0, 2] }`, of `count` rows or columns.
    fn parse(entry: &Value, count: usize) -> Option<Self> {
        let size = usize::try_from(entry.get("size")?.as_u64()?).ok()?;
        let kept = entry.get("kept")?.as_array()?;
        let most = count.checked_div(size).map(|whole| whole + usize::from(!count.is_multiple_of(size)))?;
        if most > BLOCKS || kept.is_empty() || kept.len() > most {
            return None;
        }
        let block = |block: &Value| block.as_u64().filter(|block| *block < most as u64);
        let kept = kept.iter().try_fold(0u64, |kept, number| Some(kept | 1 << block(number)?))?;
        Some(Self { size, kept })
    }
}

impl Sparsity {
    /// What `stored` of a tensor's entry says of a matrix of this shape.
    pub(crate) fn parse(entry: Option<&Value>, rows: usize, columns: usize) -> Option<Self> {
        match entry {
            None => Some(Self::None),
            Some(Value::String(text)) => (text == "2:4" && columns.is_multiple_of(4)).then_some(Self::TwoOfFour),
            Some(entry) => Some(Self::Blocks {
                rows: Blocks::parse(entry.get("rows")?, rows)?,
                columns: Blocks::parse(entry.get("columns")?, columns)?,
            }),
        }
    }

    /// How many of the rows are stored.
    pub fn rows(&self, rows: usize) -> usize {
        if let Self::Blocks { rows: blocks, .. } = self { blocks.of(rows) } else { rows }
    }

    /// Bits of a row of so many columns.
    pub fn row_bits(&self, columns: usize, bits: usize) -> usize {
        match self {
            Self::None => columns * bits,
            // Two integers, and the two places that they have.
            Self::TwoOfFour => columns / 4 * (2 * bits + 4),
            Self::Blocks { columns: blocks, .. } => blocks.of(columns) * bits,
        }
    }

    /// The next neighbouring rows that are stored, of the rows in `range`; none at its end.
    pub fn next_rows(&self, range: Range<usize>) -> Range<usize> {
        let Self::Blocks { rows, .. } = self else { return range };
        let start = range.clone().find(|row| rows.has(*row)).unwrap_or(range.end);
        let end = (start..range.end).find(|row| !rows.has(*row)).unwrap_or(range.end);
        start..end
    }

    /// Whether a row is stored.
    pub fn has_row(&self, row: usize) -> bool {
        if let Self::Blocks { rows, .. } = self { rows.has(row) } else { true }
    }

    /// Whether a column is stored.
    pub fn has_column(&self, column: usize) -> bool {
        if let Self::Blocks { columns, .. } = self { columns.has(column) } else { true }
    }
}
