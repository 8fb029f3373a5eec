//! Token ids to packed batches: the tokens of several texts one after another, with no padding anywhere.
//!
//! What a token may attend to are two ranges of rows: its text, which a layer may limit to a window, and what it sees
//! beside that, so texts of any length share a batch, and texts share a context, without a mask.

use std::ops::Range;

use crate::error::{Error, Result};

/// Most texts of one batch; with the token budget it sizes the buffers that have a row a text.
pub const MAX_TEXTS: usize = 256;
/// Most picked tokens of one batch.
pub const MAX_PICKS: usize = 256;

/// A tokenized text, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sequence {
    /// Rows of the token table.
    pub ids: Vec<u32>,
    /// Rows of the type table.
    pub type_ids: Vec<u32>,
    /// First token that pooling counts (past the prompt where the model's pooling leaves it out).
    pub pool_from: u32,
    /// First token of each branch; none: a plain text. What stands in front of the first is the trunk. The tokens of a branch
    /// see those of the trunk and their own, and their positions go on behind the trunk's; the trunk sees everything.
    /// Trunk and branches are a text each of the batch. Source: arrow attention, arXiv 2106.01263.
    pub branches: Vec<u32>,
    /// Leading tokens that are attended to, by all; none: every one is.
    pub attended: Option<u32>,
    /// Tokens of which a tail that asks for picks wants the rows.
    pub picks: Vec<u32>,
    /// Whether tokens of the text were cut off.
    pub truncated: bool,
}

impl Sequence {
    /// A plain text.
    pub fn new(ids: Vec<u32>, type_ids: Vec<u32>) -> Self {
        Self { ids, type_ids, ..Self::default() }
    }

    /// How many texts of a batch it is.
    pub fn texts(&self) -> usize {
        1 + self.branches.len()
    }

    /// How many positions it has: those of the trunk and of the longest branch.
    fn reach(&self) -> usize {
        let mut lengths = self.parts().map(|part| part.len());
        lengths.next().unwrap_or(0) + lengths.max().unwrap_or(0)
    }

    /// Its tokens text by text: the trunk, then the branches.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let ends = self.branches.iter().map(|start| *start as usize).chain([self.ids.len()]);
        ends.scan(0, |start, end| Some(std::mem::replace(start, end)..end))
    }

    /// Whether pooling has no token to count: the text is all prompt.
    pub fn pools_nothing(&self) -> bool {
        self.pool_from as usize >= self.ids.len()
    }
}

/// A packed batch. All lists up to `starts` have one value a token, or none where the rows are no tokens.
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// First of the rows that the token attends to whatever its window: the leading rows of its own text, or other texts, in
    /// front of its own, where they count as standing right in front of it, or behind it.
    pub also_from: Vec<u32>,
    /// One past the last of these rows; not above `also_from` where there are none.
    pub also_until: Vec<u32>,
    /// First row of each text, and one past the last row of the last.
    pub starts: Vec<u32>,
    /// By text: the first of its tokens that pooling counts.
    pub pool_from: Vec<u32>,
    /// Rows of the picked tokens.
    pub picks: Vec<u32>,
    /// How the vectors are made.
    pub pooling: PoolingParams,
}

/// What may change from call to call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PoolingParams {
    /// Poolings whose results are concatenated, as [`crate::head::Pooling`] numbers them; at most six.
    pub modes: Vec<u32>,
    /// Columns of the result.
    pub dimensions: u32,
    /// Leading columns whose L2 norm becomes one before the cut to `dimensions`; 0 leaves lengths alone.
    pub norm_dimensions: u32,
    /// What attention scores are divided by; none: 1.
    pub temperature: Option<f32>,
    /// The adapter in use, of those that the encoder has; none: the plain encoder.
    pub adapter: Option<u32>,
}

/// Largest ids that the model has rows for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tables {
    /// Rows of the token table.
    pub vocab: usize,
    /// Rows of the type table; 0 where there is none and types mean nothing.
    pub types: usize,
    /// Whether the encoder's own tokenizer gives no types: they are zero where a folder does not name another.
    pub untyped: bool,
    /// Rows of the task table, of which the first is used.
    pub tasks: usize,
    /// Tokens that the position table can number.
    pub positions: usize,
    /// Whether no text can have more tokens, be there a table of positions or not.
    pub limited: bool,
    /// Row of the first position.
    pub first_position: u32,
    /// A token that is not numbered: it has the row before the first position wherever it stands.
    pub unnumbered: Option<u32>,
    /// The tokens that see all of their text and are seen by all of it, whatever the window.
    pub leading: Leading,
    /// The token behind a question. Tokens are then of the first type up to it and of the second behind, whatever they are
    /// given as.
    pub question_end: Option<u32>,
    /// Texts of more tokens than this are numbered from behind it: their rotations are others.
    pub short: Option<usize>,
    /// Texts have no special tokens, so that they may have no token at all.
    pub bare: bool,
}

/// Tokens at the front of a text that windows do not concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leading {
    /// None.
    #[default]
    None,
    /// The first.
    First,
    /// Those in front of the first token of this id: a question.
    Before(u32),
}

impl Leading {
    /// How many tokens lead.
    fn count(self, ids: &[u32]) -> u32 {
        match self {
            Self::None => 0,
            Self::First => 1,
            Self::Before(separator) => ids.iter().take_while(|id| **id != separator).count() as u32,
        }
    }
}

impl Tables {
    /// Row of the position table for each token, where the first is `next`, which becomes that of the token behind them.
    fn number<'a>(&'a self, ids: &'a [u32], next: &'a mut u32) -> impl Iterator<Item = u32> + 'a {
        ids.iter().map(move |id| {
            if Some(*id) == self.unnumbered {
                return self.first_position.saturating_sub(1);
            }
            *next += 1;
            *next - 1
        })
    }

    /// How many tokens the question in front of a text has, with what stands behind it; the first token of any text counts.
    pub fn question(&self, ids: &[u32]) -> Option<usize> {
        self.question_end.map(|end| 1 + ids.iter().position(|id| *id == end).unwrap_or(0))
    }

    /// Refuses a sequence that would read past a table. A shader would silently read something else.
    pub fn check(&self, sequence: &Sequence) -> Result<()> {
        if let Some(&id) = sequence.ids.iter().find(|&&id| id as usize >= self.vocab) {
            return Err(Error::TokenOutOfRange { id, vocab: self.vocab });
        }
        if let Some(&id) = sequence.type_ids.iter().find(|&&id| self.types > 0 && id as usize >= self.types) {
            return Err(Error::option("tokenizer.json token type", id));
        }
        if !self.bare && sequence.parts().any(|part| part.is_empty()) {
            return Err(Error::argument("a sequence has an empty text"));
        }
        // A token has no third range.
        if self.leading != Leading::None && !sequence.branches.is_empty() {
            return Err(Error::argument("texts with leading tokens share no context"));
        }
        if sequence.reach() > self.positions {
            let (found, most) = (sequence.reach(), self.positions);
            return Err(Error::argument(format!("a text has {found} tokens, the model takes 1 to {most}")));
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
            let first_row = batch.ids.len() as u32;
            batch.picks.extend(sequence.picks.iter().map(|pick| first_row + pick));
            batch.ids.extend(&sequence.ids);
            match tables.question(&sequence.ids) {
                None => batch.type_ids.extend(&sequence.type_ids),
                Some(question) => {
                    let kind = |index| u32::from(index >= question && tables.types > 1);
                    batch.type_ids.extend((0..sequence.ids.len()).map(kind));
                }
            }
            let behind = tables.short.filter(|short| sequence.reach() > *short).unwrap_or_default();
            let mut first_position = tables.first_position + behind as u32;
            let mut trunk = None;
            for part in sequence.parts() {
                let (start, rows) = (batch.from.len() as u32, part.len());
                let until = start + rows as u32;
                let mut next = first_position;
                let ids = &sequence.ids[part];
                batch.positions.extend(tables.number(ids, &mut next));
                let own = match sequence.branches.is_empty() {
                    true => (start, start + tables.leading.count(ids)),
                    false => (until, first_row + sequence.ids.len() as u32),
                };
                let (also_from, also_until) = trunk.unwrap_or(own);
                for (list, bound) in [
                    (&mut batch.from, start),
                    (
                        &mut batch.until,
                        start + sequence.attended.map_or(rows, |seen| (seen as usize).clamp(1, rows)) as u32,
                    ),
                    (&mut batch.also_from, also_from),
                    (&mut batch.also_until, also_until),
                ] {
                    list.extend(std::iter::repeat_n(bound, rows));
                }
                batch.starts.push(until);
                if trunk.is_none() {
                    batch.pool_from.push(sequence.pool_from);
                    (trunk, first_position) = (Some((start, until)), next);
                } else {
                    batch.pool_from.push(0);
                }
            }
        }
        batch
    }

    /// Rows that are no tokens, of texts that begin at `starts`, of which the last is the end; `columns` are wanted of the result.
    pub fn of_rows(starts: &[usize], columns: usize) -> Self {
        let starts: Vec<u32> = starts.iter().map(|start| (start - starts[0]) as u32).collect();
        let texts = starts.len() - 1;
        let pooling = PoolingParams { dimensions: columns as u32, ..PoolingParams::default() };
        Self { ids: vec![0; starts[texts] as usize], pool_from: vec![0; texts], starts, pooling, ..Self::default() }
    }

    /// Rows of the packed matrices.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.pool_from.len()
    }

    /// What attention scores are multiplied by.
    pub fn sharpness(&self) -> f32 {
        self.pooling.temperature.map_or(1.0, |temperature| 1.0 / temperature)
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
        frame[11] = self.picks.len() as u32;
        frame[12] = self.sharpness().to_bits();
        frame[13] = self.pooling.adapter.unwrap_or(u32::MAX);
        let tokens = [&self.ids, &self.positions, &self.type_ids, &self.from, &self.until];
        let beside = [&self.also_from, &self.also_until];
        for (index, list) in tokens.into_iter().chain(beside).enumerate() {
            frame.extend(list);
            frame.resize(FRAME_HEADER + (index + 1) * self.tokens(), 0);
        }
        for list in [&self.starts, &self.pool_from, &self.picks] {
            frame.extend(list);
        }
        frame
    }
}

/// Words of the frame before its lists.
const FRAME_HEADER: usize = 16;

/// Words of the largest frame for this many tokens.
pub fn frame_words(tokens: usize) -> usize {
    FRAME_HEADER + 7 * tokens + 2 * MAX_TEXTS + 1 + MAX_PICKS
}

/// Most rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Tokens.
    pub tokens: usize,
    /// Texts.
    pub texts: usize,
    /// Picked tokens.
    pub picks: usize,
}

/// How many of the sequences at the front fit in a batch. At least one.
pub fn fitting<'a>(sequences: impl IntoIterator<Item = &'a Sequence>, room: Room) -> usize {
    let (mut tokens, mut texts, mut picks) = (0, 0, 0);
    let fits = |sequence: &&Sequence| {
        tokens += sequence.ids.len();
        texts += sequence.texts();
        picks += sequence.picks.len();
        tokens <= room.tokens && texts <= room.texts && picks <= room.picks
    };
    sequences.into_iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(length: u32) -> Sequence {
        Sequence::new((0..length).collect(), vec![0; length as usize])
    }

    const TABLES: Tables = Tables {
        vocab: 50,
        types: 2,
        untyped: false,
        tasks: 0,
        positions: 40,
        limited: false,
        first_position: 2,
        unnumbered: None,
        leading: Leading::None,
        question_end: None,
        short: None,
        bare: false,
    };

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
        let sequence = Sequence::new(vec![5, 1, 6, 1, 1, 7], vec![0; 6]);
        let tables = Tables { unnumbered: Some(1), ..TABLES };
        let batch = Batch::pack([&sequence, &sequence], &tables, &PoolingParams::default());
        // create_position_ids_from_input_ids of transformers, padding_idx 1.
        assert_eq!(batch.positions, [2, 1, 3, 1, 1, 4, 2, 1, 3, 1, 1, 4]);
    }

    #[test]
    fn branches_and_the_trunk_see_each_other() {
        let sequence = Sequence { branches: vec![3, 5], pool_from: 1, ..sequence(6) };
        let batch = Batch::pack([&super::tests::sequence(2), &sequence], &TABLES, &PoolingParams::default());
        assert_eq!(batch.positions[2..], [2, 3, 4, 5, 6, 5]);
        assert_eq!(batch.from[2..], [2, 2, 2, 5, 5, 7]);
        assert_eq!(batch.until[2..], [5, 5, 5, 7, 7, 8]);
        assert_eq!(batch.also_from, [0, 0, 5, 5, 5, 2, 2, 2]);
        assert_eq!(batch.also_until, [0, 0, 8, 8, 8, 5, 5, 5]);
        assert_eq!((&batch.starts[..], &batch.pool_from[..]), (&[0, 2, 5, 7, 8][..], &[0, 1, 0, 0][..]));
        assert!(batch.frame().len() <= frame_words(8));
        let long = Sequence { branches: vec![1, 2], ..super::tests::sequence(45) };
        assert_eq!(TABLES.check(&long).unwrap_err().code(), "invalid-argument");
        for branches in [vec![0], vec![5, 5], vec![7, 5], vec![45]] {
            let wrong = Sequence { branches, ..super::tests::sequence(45) };
            assert_eq!(TABLES.check(&wrong).unwrap_err().code(), "invalid-argument");
        }
    }

    #[test]
    fn leading_tokens_are_counted() {
        for (leading, count) in
            [(Leading::None, 0), (Leading::First, 1), (Leading::Before(3), 3), (Leading::Before(9), 5)]
        {
            let tables = Tables { leading, ..TABLES };
            let batch = Batch::pack([&sequence(2), &sequence(5)], &tables, &PoolingParams::default());
            assert_eq!(batch.also_from[2..], [2; 5]);
            assert_eq!(batch.also_until[2..], [2 + count; 5]);
        }
    }

    #[test]
    fn refuses_what_the_tables_lack() {
        assert_eq!(TABLES.check(&sequence(40)), Ok(()));
        assert_eq!(TABLES.check(&sequence(41)).unwrap_err().code(), "invalid-argument");
        assert_eq!(TABLES.check(&sequence(0)).unwrap_err().code(), "invalid-argument");
        let far = Sequence::new(vec![50], vec![0]);
        assert_eq!(TABLES.check(&far).unwrap_err().code(), "token-out-of-range");
        let typed = Sequence::new(vec![1], vec![2]);
        assert_eq!(TABLES.check(&typed).unwrap_err().code(), "unsupported-option");
    }

    #[test]
    fn fills_the_budget() {
        let room = Room { tokens: 10, texts: MAX_TEXTS, picks: 3 };
        let fit = |lengths: &[u32]| fitting(&lengths.iter().map(|n| sequence(*n)).collect::<Vec<_>>(), room);
        assert_eq!(fit(&[5, 5, 5]), 2);
        assert_eq!(fit(&[50]), 1);
        assert_eq!(fitting(&vec![sequence(1); 1000], Room { tokens: 4096, ..room }), MAX_TEXTS);
        let picked = Sequence { picks: vec![0, 1], ..sequence(2) };
        assert_eq!(fitting(&[picked.clone(), picked], room), 1);
    }

    #[test]
    fn picks_are_rows_of_the_batch() {
        let (a, b) = (sequence(3), Sequence { picks: vec![1, 3], attended: Some(2), ..sequence(4) });
        let batch = Batch::pack([&a, &b], &TABLES, &PoolingParams::default());
        assert_eq!((&batch.picks[..], &batch.until[..]), (&[4, 6][..], &[3, 3, 3, 5, 5, 5, 5][..]));
        assert!(batch.frame().ends_with(&[4, 6]) && batch.frame()[11] == 2);
    }
}
