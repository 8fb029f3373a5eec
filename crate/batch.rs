//! Token ids to packed batches: the tokens of several texts one after another, with no padding anywhere.
//!
//! What a token may attend to is a range of rows, so texts of any length share a batch, and a sliding
//! window is only another range.

use std::ops::Range;

use crate::error::{Error, Result};

/// Most texts of one batch; with the token budget it sizes the buffers that have a row a text.
pub const MAX_TEXTS: usize = 256;

/// A tokenized text, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sequence {
    /// Rows of the token table.
    pub ids: Vec<u32>,
    /// Rows of the type table.
    pub type_ids: Vec<u32>,
    /// First token that pooling counts (past the prompt where the model's pooling leaves it out).
    pub pool_from: u32,
}

impl Sequence {
    /// Whether pooling has no token to count: the text is all prompt.
    pub fn pools_nothing(&self) -> bool {
        self.pool_from as usize >= self.ids.len()
    }
}

/// A packed batch. All lists but the last three have one value a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Rows of the token table.
    pub ids: Vec<u32>,
    /// Rows of the position table.
    pub positions: Vec<u32>,
    /// Rows of the type table.
    pub type_ids: Vec<u32>,
    /// First row that the token attends to. Never falls from one row to the next.
    pub from: Vec<u32>,
    /// One past the last row that the token attends to. Never falls from one row to the next.
    pub until: Vec<u32>,
    /// First row of each text, and one past the last row of the last.
    pub starts: Vec<u32>,
    /// By text: the first of its tokens that pooling counts.
    pub pool_from: Vec<u32>,
    /// How the vectors are made.
    pub pooling: PoolingParams,
}

/// What may change from call to call in the pooled vectors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolingParams {
    /// Poolings whose results are concatenated, as [`crate::head::Pooling`] numbers them; at most six.
    pub modes: Vec<u32>,
    /// Columns of the result.
    pub dimensions: u32,
    /// Leading columns whose L2 norm becomes one before the cut to `dimensions`; 0 leaves lengths alone.
    pub norm_dimensions: u32,
}

/// Largest ids that the model has rows for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tables {
    /// Rows of the token table.
    pub vocab: usize,
    /// Rows of the type table; 0 where there is none and types mean nothing.
    pub types: usize,
    /// Rows of the task table, of which the first is used.
    pub tasks: usize,
    /// Tokens that the position table can number.
    pub positions: usize,
    /// Row of the first position.
    pub first_position: u32,
    /// A token that is not numbered: it has the row before the first position wherever it stands.
    pub unnumbered: Option<u32>,
    /// Texts of more tokens than this are numbered from behind it: their rotations are others.
    pub short: Option<usize>,
}

impl Tables {
    /// Row of the position table for each token.
    fn number<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        let behind = self.short.filter(|short| ids.len() > *short).unwrap_or_default();
        let mut next = self.first_position + behind as u32;
        ids.iter().map(move |id| {
            if Some(*id) == self.unnumbered {
                return self.first_position.saturating_sub(1);
            }
            next += 1;
            next - 1
        })
    }

    /// Refuses a sequence that would read past a table. A shader would silently read something else.
    pub fn check(&self, sequence: &Sequence) -> Result<()> {
        if let Some(&id) = sequence.ids.iter().find(|&&id| id as usize >= self.vocab) {
            return Err(Error::TokenOutOfRange { id, vocab: self.vocab });
        }
        if let Some(&id) = sequence.type_ids.iter().find(|&&id| self.types > 0 && id as usize >= self.types) {
            return Err(Error::option("tokenizer.json token type", id));
        }
        if sequence.ids.is_empty() || sequence.ids.len() > self.positions {
            let reason = format!("a text has {} tokens, the model takes 1 to {}", sequence.ids.len(), self.positions);
            return Err(Error::argument(reason));
        }
        Ok(())
    }
}

impl Batch {
    /// Packs these sequences in this order.
    pub fn pack<'a>(
        sequences: impl IntoIterator<Item = &'a Sequence>,
        tables: &Tables,
        pooling: &PoolingParams,
    ) -> Self {
        let mut batch = Self { starts: vec![0], pooling: pooling.clone(), ..Self::default() };
        for sequence in sequences {
            let (start, length) = (batch.ids.len() as u32, sequence.ids.len() as u32);
            batch.ids.extend(&sequence.ids);
            batch.type_ids.extend(&sequence.type_ids);
            batch.positions.extend(tables.number(&sequence.ids));
            batch.from.extend((0..length).map(|_| start));
            batch.until.extend((0..length).map(|_| start + length));
            batch.starts.push(start + length);
            batch.pool_from.push(sequence.pool_from);
        }
        batch
    }

    /// Rows of the packed matrices.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.pool_from.len()
    }

    /// Rows of a text.
    pub fn text(&self, index: usize) -> Range<usize> {
        self.starts[index] as usize..self.starts[index + 1] as usize
    }

    /// The batch as kernels read it; `shaders/lib/frame.wgsl` is the other side of this.
    pub fn frame(&self) -> Vec<u32> {
        let mut frame = vec![0; FRAME_HEADER];
        frame[0] = self.tokens() as u32;
        frame[1] = self.texts() as u32;
        frame[2] = self.pooling.dimensions;
        frame[3] = self.pooling.norm_dimensions;
        frame[4] = self.pooling.modes.len() as u32;
        for (word, mode) in frame[5..].iter_mut().zip(&self.pooling.modes) {
            *word = *mode;
        }
        for list in [&self.ids, &self.positions, &self.type_ids, &self.from, &self.until, &self.starts, &self.pool_from]
        {
            frame.extend(list);
        }
        frame
    }
}

/// Words of the frame before its lists.
const FRAME_HEADER: usize = 16;

/// Words of the largest frame for this many tokens.
pub fn frame_words(tokens: usize) -> usize {
    FRAME_HEADER + 5 * tokens + 2 * MAX_TEXTS + 1
}

/// How many of the sequences at the front, by their lengths, fit in a batch of `budget` tokens. At least one.
pub fn fitting(lengths: impl IntoIterator<Item = usize>, budget: usize) -> usize {
    let mut tokens = 0;
    let fits = |length: &usize| {
        tokens += length;
        tokens <= budget
    };
    lengths.into_iter().take(MAX_TEXTS).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(length: u32) -> Sequence {
        Sequence { ids: (0..length).collect(), type_ids: vec![0; length as usize], pool_from: 0 }
    }

    const TABLES: Tables =
        Tables { vocab: 50, types: 2, tasks: 0, positions: 40, first_position: 2, unnumbered: None, short: None };

    #[test]
    fn packs_without_padding() {
        let (a, b) = (sequence(3), sequence(2));
        let batch = Batch::pack([&a, &b], &TABLES, &PoolingParams::default());
        assert_eq!(batch.ids, [0, 1, 2, 0, 1]);
        assert_eq!(batch.positions, [2, 3, 4, 2, 3]);
        assert_eq!(batch.from, [0, 0, 0, 3, 3]);
        assert_eq!(batch.until, [3, 3, 3, 5, 5]);
        assert_eq!(batch.starts, [0, 3, 5]);
        assert_eq!((batch.text(1), batch.texts(), batch.tokens()), (3..5, 2, 5));
        assert!(batch.from.is_sorted() && batch.until.is_sorted());
        assert!(batch.frame().len() <= frame_words(5));
    }

    #[test]
    fn a_padding_token_in_the_text_is_not_numbered() {
        let sequence = Sequence { ids: vec![5, 1, 6, 1, 1, 7], type_ids: vec![0; 6], pool_from: 0 };
        let tables = Tables { unnumbered: Some(1), ..TABLES };
        let batch = Batch::pack([&sequence, &sequence], &tables, &PoolingParams::default());
        // create_position_ids_from_input_ids of transformers, padding_idx 1.
        assert_eq!(batch.positions, [2, 1, 3, 1, 1, 4, 2, 1, 3, 1, 1, 4]);
    }

    #[test]
    fn refuses_what_the_tables_lack() {
        assert_eq!(TABLES.check(&sequence(40)), Ok(()));
        assert_eq!(TABLES.check(&sequence(41)).unwrap_err().code(), "invalid-argument");
        assert_eq!(TABLES.check(&sequence(0)).unwrap_err().code(), "invalid-argument");
        let far = Sequence { ids: vec![50], type_ids: vec![0], pool_from: 0 };
        assert_eq!(TABLES.check(&far).unwrap_err().code(), "token-out-of-range");
        let typed = Sequence { ids: vec![1], type_ids: vec![2], pool_from: 0 };
        assert_eq!(TABLES.check(&typed).unwrap_err().code(), "unsupported-option");
    }

    #[test]
    fn fills_the_budget() {
        assert_eq!(fitting([5, 5, 5], 10), 2);
        assert_eq!(fitting([50], 10), 1);
        assert_eq!(fitting(vec![1; 1000], 4096), MAX_TEXTS);
    }
}
