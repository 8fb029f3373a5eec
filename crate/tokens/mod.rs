//! Text to token ids: `tokenizers`, with truncation done here and padding nowhere.
//!
//! The truncation and padding that `tokenizer.json` asks for are ignored, as sentence-transformers does, but for the end that
//! is cut off: the limit is the model's, see [`crate::model`].
//!
//! Of `tokenizers` the steps are used, not the reader of `tokenizer.json` nor the pipeline around the steps. The
//! reader would take any file and links every component there is; the pipeline links a regular-expression engine.
//! `read.rs` makes the parts that are supported, `parts.rs`, and names those that are not.

mod added;
mod beside;
mod charsmap;
mod classes;
mod decode;
mod named;
mod parts;
mod pattern;
mod read;
mod steps;
mod unicode;

use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::byte_level::process_offsets;
use tokenizers::tokenizer::{OffsetType, PreTokenizer as _, TruncationDirection};

use self::added::Added;
pub use self::beside::Beside;
pub use self::classes::Class;
use self::decode::Decoder;
use self::named::Named;
use self::parts::{Model, Normalizer, Piece, Post, PreTokenizer};
use crate::batch::Sequence;
use crate::error::{Error, Result};
use crate::sort::sort_by;

/// Largest accepted text, in bytes of UTF-8.
pub const TEXT_BYTES: usize = 1 << 20;

/// A tokenizer with the model's token limit.
pub struct Tokens {
    added: Added,
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<PreTokenizer>,
    model: Model,
    post: Post,
    /// What makes a text of tokens, or why nothing does.
    decoder: Result<Option<Decoder>>,
    /// See [`Tokens::gives_types`].
    types: Option<bool>,
    named: Named,
    /// Ids of the special tokens that have a name, in order.
    special: Vec<u32>,
    max_tokens: usize,
    cut: TruncationDirection,
}

/// A tokenized text, or pair of texts, as a person would look at it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoding {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Type ids.
    pub type_ids: Vec<u32>,
    /// 1 for the special tokens that were added.
    pub special: Vec<u32>,
    /// Token strings.
    pub tokens: Vec<String>,
    /// Where each token lies in its text, in characters (Unicode code points); special tokens (0, 0).
    pub offsets: Vec<(usize, usize)>,
    /// Which of two texts each token is of; none for special tokens.
    pub sequences: Vec<Option<usize>>,
    /// Which word of its text each token is of, as the tokenizer cut it; none for special tokens.
    pub words: Vec<Option<u32>>,
    /// Whether tokens were cut off.
    pub truncated: bool,
}

/// Which of two texts is cut where they are too long together. One text is cut whatever is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// The longer one, down to the other's length, then both.
    LongestFirst,
    /// The first one.
    OnlyFirst,
    /// The second one.
    OnlySecond,
}

impl Tokens {
    /// Reads `tokenizer.json`. `max_tokens` includes special tokens.
    pub fn new(json: &[u8], max_tokens: usize, beside: &Beside) -> Result<Self> {
        let mut file = read::File::new(json)?;
        let (mut class, config) = (beside.class, &beside.config);
        let pad = file.pad_token().filter(|_| beside.has_class);
        let mut named = Named::read(beside, class, pad.as_deref())?;
        if !beside.names_class && !class.fits(config, &file, &named)? {
            class = Class::File;
            named = Named::read(beside, class, pad.as_deref())?;
        }
        let (mut normalizer, pre_tokenizer, decoder) = match class.steps(config, &file)? {
            Some(steps) => (steps.normalizer, Some(steps.pre_tokenizer), Ok(Some(steps.decoder))),
            None => (file.normalizer()?, file.pre_tokenizer()?, file.decoder()),
        };
        if beside.lowercase {
            let steps = [Some(Normalizer::Lowercase(Lowercase)), normalizer];
            normalizer = Some(Normalizer::Sequence(steps.into_iter().flatten().collect()));
        }
        class.check(&file)?;
        let left = beside.cut_left.map_or_else(|| file.cuts_left(), Ok)?;
        let added = named.added(file.added_tokens.take().unwrap_or_default(), class);
        let made = class.made(config, &named)?;
        made.map_or(Ok(()), |made| file.rebuild(made))?;
        let (has_post, post) = (file.has_post(), file.post());
        let model = file.model()?;
        let added = Added::new(added, &model, normalizer.as_ref(), config.flag_or("split_special_tokens", false)?)?;
        let id = |token: &str| added.id(token).or_else(|| model.token_to_id(token));
        let post = class.post(config, has_post, &named, id)?.map_or(post, Ok)?;
        let special_tokens = special_tokens(&post.frame.single);
        if special_tokens >= max_tokens {
            let reason = format!("it adds {special_tokens} special tokens where the model takes {max_tokens} in all");
            return Err(Error::InvalidTokenizer { reason });
        }
        let mut special: Vec<u32> = named.special().filter_map(id).collect();
        sort_by(&mut special, |a, b| a.cmp(b));
        let types = beside.types.or_else(|| (class != Class::File).then(|| class.gives_types()));
        let cut = if left { TruncationDirection::Left } else { TruncationDirection::Right };
        Ok(Self { added, normalizer, pre_tokenizer, model, post, decoder, types, named, special, max_tokens, cut })
    }

    /// Tokenizes a text, cut to the limit.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        self.encode_cut(text, self.max_tokens, false)
    }

    /// Tokenizes a text, cut to `max_tokens` in all; `left` cuts its front off, whatever `tokenizer_config.json` says.
    pub fn encode_cut(&self, text: &str, max_tokens: usize, left: bool) -> Result<Encoding> {
        let frame = &self.post.frame.single;
        let room = max_tokens.saturating_sub(special_tokens(frame));
        // One more than there is room for tells that something was cut off.
        let limit = if left { usize::MAX } else { room.saturating_add(1) };
        let mut encoding = self.tokenize(text, limit)?;
        let truncated = cut_to(&mut encoding, room, if left { TruncationDirection::Left } else { self.cut });
        Ok(framed(frame, [&encoding], truncated))
    }

    /// Tokenizes a text behind a prompt, cut to `max_tokens` in all. Offsets are in the text; what is of the prompt has (0, 0).
    pub fn encode_behind(&self, prompt: &str, text: &str, max_tokens: usize) -> Result<Encoding> {
        if prompt.is_empty() {
            return self.encode_cut(text, max_tokens, false);
        }
        let mut encoding = self.encode_cut(&format!("{prompt}{text}"), max_tokens, false)?;
        let behind = prompt.chars().count();
        for (start, end) in &mut encoding.offsets {
            (*start, *end) = (start.saturating_sub(behind), end.saturating_sub(behind));
        }
        Ok(encoding)
    }

    /// Tokenizes two texts as one input, cut to the limit.
    pub fn encode_pair(&self, first: &str, second: &str, truncation: Truncation) -> Result<Encoding> {
        let frame = self.pair_frame()?;
        let room = self.max_tokens.saturating_sub(special_tokens(frame));
        // How long both are decides what stays of each.
        let (mut first, mut second) = (self.tokenize(first, usize::MAX)?, self.tokenize(second, usize::MAX)?);
        let [keep_first, keep_second] = lengths(first.len(), second.len(), room, truncation)?;
        let cut_first = cut_to(&mut first, keep_first, self.cut);
        let truncated = cut_to(&mut second, keep_second, self.cut) || cut_first;
        Ok(framed(frame, [&first, &second], truncated))
    }

    /// Tokenizes a long text in windows of the limit, each of which repeats `stride` tokens of the one before; with a
    /// `first` text before each of them. A text that fits is one window. Without a `stride` it is the `usual` one, at most
    /// half of what a window has room for.
    pub fn encode_windows(
        &self,
        first: Option<&str>,
        text: &str,
        stride: Option<usize>,
        usual: usize,
    ) -> Result<Vec<Encoding>> {
        let frame = if first.is_some() { self.pair_frame()? } else { &self.post.frame.single };
        let first = first.map(|first| self.tokenize(first, self.max_tokens)).transpose()?;
        let taken = special_tokens(frame) + first.as_ref().map_or(0, tokenizers::Encoding::len);
        let room = self.max_tokens.saturating_sub(taken);
        let stride = stride.unwrap_or(usual.min(room / 2));
        if stride >= room {
            let reason = format!("a stride of {stride} tokens leaves nothing of the {room} that a window has room for");
            return Err(Error::argument(reason));
        }
        let mut whole = self.tokenize(text, usize::MAX)?;
        whole.truncate(room, stride, TruncationDirection::Right);
        let rest = whole.take_overflowing();
        let windows = std::iter::once(&whole).chain(&rest);
        let several = !rest.is_empty();
        Ok(windows
            .map(|window| match &first {
                Some(first) => framed(frame, [first, window], several),
                None => framed(frame, [window], several),
            })
            .collect())
    }

    fn pair_frame(&self) -> Result<&[Piece]> {
        let pair = self.post.frame.pair.as_deref();
        pair.ok_or_else(|| Error::option("tokenizer.json post_processor", "none for two texts"))
    }

    /// The tokens of a text: `limit` of them at least where there are as many, words behind them are not looked at.
    fn tokenize(&self, text: &str, limit: usize) -> Result<tokenizers::Encoding> {
        if text.len() > TEXT_BYTES {
            let (found, limit) = (text.len() as u64, TEXT_BYTES as u64);
            return Err(Error::LimitExceeded { what: "bytes of a text".into(), found, limit });
        }
        self.run(text, limit).map_err(invalid)
    }

    fn run(&self, text: &str, limit: usize) -> tokenizers::Result<tokenizers::Encoding> {
        let mut pieces = self.added.extract(text, self.normalizer.as_ref())?;
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize_with_limit(|word| self.model.tokenize(word.get()), limit, self.cut)?;
        let mut encoding = pieces.into_encoding(None, 0, OffsetType::Char)?;
        if let Some(prefix_space) = self.post.trim {
            process_offsets(&mut encoding, prefix_space);
        }
        // Of bytes that are tokens, and of ends of words that are not in the text, some lie behind its end.
        let length = text.chars().count();
        for (start, end) in encoding.get_offsets_mut() {
            *start = (*start).min(length);
            *end = (*end).clamp(*start, length);
        }
        Ok(encoding)
    }

    /// Tokens that a prompt takes at the front of a text, special tokens in front of it included: what it has
    /// alone, less the last where that is a special token with a name.
    pub fn prompt_tokens(&self, prompt: &str) -> Result<usize> {
        let encoding = self.encode(prompt)?;
        let closed = encoding.ids.last().is_some_and(|last| self.special.binary_search(last).is_ok());
        Ok(encoding.ids.len() - usize::from(closed))
    }

    /// Adds no special tokens to a text.
    pub fn bare(&mut self) {
        self.post.frame.single.retain(|piece| matches!(piece, Piece::Text { .. }));
    }

    /// Gives every token the first type.
    pub fn without_types(&mut self) {
        let frame = &mut self.post.frame;
        for piece in frame.single.iter_mut().chain(frame.pair.iter_mut().flatten()) {
            match piece {
                Piece::Special(special) => special.type_id = 0,
                Piece::Text { type_id, .. } => *type_id = 0,
            }
        }
    }

    /// Texts that begin with one of these prompts begin with its token, where the vocabulary has one for the prompt or for
    /// its first word.
    pub fn keep_whole<'a>(&mut self, prompts: impl Iterator<Item = &'a str>) -> Result<()> {
        for prompt in prompts {
            let first = prompt.split_whitespace().next();
            let token = [Some(prompt), first].into_iter().flatten().find_map(|token| Some((token, self.id(token)?)));
            if let Some((token, id)) = token.filter(|(token, _)| !token.is_empty())
                && !self.encode(token)?.of_text().eq([id])
            {
                self.added.keep_whole(token, id)?;
            }
        }
        Ok(())
    }

    /// The id of a token, by its string in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.added.id(token).or_else(|| self.model.token_to_id(token))
    }

    /// The string of an id in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.added.content(id).map(str::to_owned).or_else(|| self.model.id_to_token(id))
    }

    /// The id that stands for what the vocabulary does not have.
    pub fn unknown(&self) -> Option<u32> {
        self.model.unknown()
    }

    /// Whether a model takes the token types of texts, none where the files do not tell: as the encoder's own tokenizer gives them. Where it
    /// takes none, they are zero.
    pub fn gives_types(&self) -> Option<bool> {
        self.types
    }

    /// The special token of this name, such as `mask_token`, as the folder's files or the tokenizer's class name it.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.named.get(name)
    }

    /// Ids that mean something whatever the texts are: of added tokens, and of what the vocabulary does not have.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn always(&self) -> impl Iterator<Item = u32> {
        self.added.ids().chain(self.unknown())
    }

    /// Whether tokens that continue a word are marked as such.
    pub fn marks_continuations(&self) -> bool {
        self.model.marks_continuations()
    }

    /// One more than the highest id.
    pub fn vocab(&self) -> usize {
        self.added.highest().map_or(0, |id| id as usize + 1).max(self.model.vocab_size() as usize)
    }

    /// The text that these tokens make, as the `decoder` of `tokenizer.json` puts it. Ids that are not in the vocabulary
    /// make nothing.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let ids = ids.iter().filter(|id| !(skip_special_tokens && self.added.special(**id)));
        self.spell(ids.filter_map(|id| self.token(*id)).collect())
    }

    /// The same for token strings.
    pub fn spell(&self, tokens: Vec<String>) -> Result<String> {
        match self.decoder.as_ref().map_err(Clone::clone)? {
            Some(decoder) => Ok(decoder.decode(tokens).map_err(invalid)?.concat()),
            None => Ok(tokens.join(" ")),
        }
    }
}

/// Whether something was cut off.
fn cut_to(encoding: &mut tokenizers::Encoding, room: usize, end: TruncationDirection) -> bool {
    let truncated = encoding.len() > room;
    if truncated {
        encoding.truncate(room, 0, end);
    }
    truncated
}

fn special_tokens(frame: &[Piece]) -> usize {
    frame.iter().filter(|piece| matches!(piece, Piece::Special(_))).count()
}

/// How many tokens of two texts stay where there is room for so many. Source: `truncate_encodings` of `tokenizers`.
fn lengths(first: usize, second: usize, room: usize, truncation: Truncation) -> Result<[usize; 2]> {
    if first + second <= room {
        return Ok([first, second]);
    }
    let only = |kept: usize| {
        let left = room.checked_sub(kept).filter(|left| *left > 0);
        left.ok_or_else(|| Error::argument("the text that is not to be cut leaves no room for the other"))
    };
    Ok(match truncation {
        Truncation::OnlyFirst => [only(second)?, second],
        Truncation::OnlySecond => [first, only(first)?],
        Truncation::LongestFirst => {
            let shorter = first.min(second);
            let [short, long] = match 2 * shorter <= room {
                true => [shorter, room - shorter],
                false => [room / 2, room / 2 + room % 2],
            };
            if first > second { [long, short] } else { [short, long] }
        }
    })
}

/// Texts between the special tokens of a frame.
fn framed<'a>(frame: &[Piece], texts: impl IntoIterator<Item = &'a tokenizers::Encoding>, truncated: bool) -> Encoding {
    let texts: Vec<_> = texts.into_iter().collect();
    let mut framed = Encoding { truncated, ..Encoding::default() };
    for piece in frame {
        match piece {
            Piece::Special(special) => {
                framed.ids.push(special.id);
                framed.type_ids.push(special.type_id);
                framed.special.push(1);
                framed.tokens.push(special.token.clone());
                framed.offsets.push((0, 0));
                framed.sequences.push(None);
                framed.words.push(None);
            }
            Piece::Text { sequence, type_id } => {
                let text = texts[*sequence];
                framed.ids.extend(text.get_ids());
                framed.type_ids.extend(std::iter::repeat_n(*type_id, text.len()));
                framed.special.extend(std::iter::repeat_n(0, text.len()));
                framed.tokens.extend_from_slice(text.get_tokens());
                framed.offsets.extend(text.get_offsets());
                framed.sequences.extend(std::iter::repeat_n(Some(*sequence), text.len()));
                framed.words.extend(text.get_word_ids());
            }
        }
    }
    framed
}

impl Encoding {
    /// The ids without the special tokens that were added.
    pub fn of_text(&self) -> impl Iterator<Item = u32> {
        self.ids.iter().zip(&self.special).filter(|(_, special)| **special == 0).map(|(id, _)| *id)
    }
}

impl From<&Encoding> for Sequence {
    fn from(encoding: &Encoding) -> Self {
        Self { truncated: encoding.truncated, ..Self::new(encoding.ids.clone(), encoding.type_ids.clone()) }
    }
}

fn invalid(error: tokenizers::Error) -> Error {
    refused(error.to_string())
}

fn refused(reason: impl AsRef<str>) -> Error {
    Error::InvalidTokenizer { reason: crate::error::printable(reason.as_ref()) }
}
