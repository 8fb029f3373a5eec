//! Where a text is cut: the patterns that `tokenizer.json` may name, written out, so that no regular-expression
//! engine is linked (half a megabyte) and none can be made to run for minutes by a hostile file.

use tokenizers::Offsets;
use tokenizers::tokenizer::pattern::Pattern as Find;

use super::unicode::{is_letter, is_word};
use crate::error::{Error, Result};

/// The pattern of GPT-2 and RoBERTa.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The patterns of Qwen and of LLaMA 3, which differ in how many digits stay together.
const DIGIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGITS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The pattern of CLIP, where its two special tokens may come first.
const CLIP: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
const CLIP_SPECIAL: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];

/// A pattern whose matches are found without a regular-expression engine.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// This string.
    Text(String),
    /// ` {2,}`.
    Spaces,
    /// `\s+`.
    Blank,
    /// `\s{2,}|[\n\r\t]`.
    Gaps,
    /// GPT-2's words: contractions, letters, numbers and the rest, each with the one space in front of it.
    Gpt2,
    /// [`DIGIT`] or, with three digits, [`DIGITS`].
    Lines {
        /// Digits that stay together.
        digits: usize,
    },
    /// [`CLIP`], with [`CLIP_SPECIAL`] or without.
    Clip {
        /// With them.
        special: bool,
    },
    /// The inverse of `\w+|[^\w\s]+`: a match is what lies between words.
    Words,
}

impl Pattern {
    /// One of the regular expressions that are known by heart.
    pub fn known(what: &str, regex: &str) -> Result<Self> {
        match regex {
            " {2,}" => Ok(Self::Spaces),
            r"\s+" => Ok(Self::Blank),
            r"\s{2,}|[\n\r\t]" => Ok(Self::Gaps),
            GPT2 => Ok(Self::Gpt2),
            DIGIT => Ok(Self::Lines { digits: 1 }),
            DIGITS => Ok(Self::Lines { digits: 3 }),
            CLIP => Ok(Self::Clip { special: false }),
            _ if regex.strip_prefix(r"<\|startoftext\|>|<\|endoftext\|>|") == Some(CLIP) => {
                Ok(Self::Clip { special: true })
            }
            _ => Err(Error::option(format!("tokenizer.json {what} pattern"), regex)),
        }
    }
}

impl Find for &Pattern {
    fn find_matches(&self, text: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let (skip, found) = match self {
                Pattern::Text(pattern) => (rest.find(pattern.as_str()).unwrap_or(rest.len()), pattern.len()),
                Pattern::Spaces => spaces(rest),
                Pattern::Blank => {
                    let skip = run(rest, |c| !c.is_whitespace());
                    (skip, run(rest.get(skip..).unwrap_or_default(), char::is_whitespace))
                }
                Pattern::Gaps => gaps(rest),
                Pattern::Gpt2 => (0, gpt2(rest)),
                Pattern::Lines { digits } => (0, lines(rest, *digits)),
                Pattern::Clip { special } => {
                    let skip = run(rest, char::is_whitespace);
                    (skip, clip(rest.get(skip..).unwrap_or_default(), *special))
                }
                Pattern::Words => match rest.chars().next() {
                    Some(c) if c.is_whitespace() => (0, run(rest, char::is_whitespace)),
                    Some(c) if is_word(c) => (run(rest, is_word), 0),
                    _ => (run(rest, |c| !c.is_whitespace() && !is_word(c)), 0),
                },
            };
            if skip > 0 {
                pieces.push(((at, at + skip), false));
            }
            let end = (at + skip + found).min(text.len());
            if found > 0 && at + skip < end {
                pieces.push(((at + skip, end), true));
            }
            at = end;
        }
        // What the `regex` patterns of `tokenizers` answer for nothing.
        if pieces.is_empty() {
            pieces.push(((0, 0), false));
        }
        Ok(pieces)
    }
}

/// Bytes at the front of a text whose characters satisfy the condition.
fn run(text: &str, within: impl Fn(char) -> bool) -> usize {
    text.find(|c| !within(c)).unwrap_or(text.len())
}

/// Bytes before the first two spaces, and how many spaces there are.
fn spaces(text: &str) -> (usize, usize) {
    let skip = text.find("  ").unwrap_or(text.len());
    (skip, run(text.get(skip..).unwrap_or_default(), |c| c == ' '))
}

/// Bytes before the first blanks that are several or no space, and how many they are.
fn gaps(text: &str) -> (usize, usize) {
    let mut skip = 0;
    while let Some(rest) = text.get(skip..).filter(|rest| !rest.is_empty()) {
        skip += run(rest, |c| !c.is_whitespace());
        let rest = text.get(skip..).unwrap_or_default();
        let blank = run(rest, char::is_whitespace);
        let several = rest.get(..blank).unwrap_or_default().chars().nth(1).is_some();
        if several || rest.starts_with(['\n', '\r', '\t']) {
            return (skip, blank);
        }
        skip += blank;
    }
    (text.len(), 0)
}

const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

/// Bytes of the first match of [`CLIP`], which matches at every position but at blanks.
fn clip(text: &str, special: bool) -> usize {
    let special = CLIP_SPECIAL.iter().filter(|_| special);
    if let Some(found) = special.chain(&CONTRACTIONS).find(|c| text.starts_with(**c)) {
        return found.len();
    }
    match text.chars().next() {
        Some(c) if is_letter(c) => run(text, is_letter),
        Some(c) if c.is_numeric() => c.len_utf8(),
        _ => run(text, |c| !c.is_whitespace() && !is_letter(c) && !c.is_numeric()),
    }
}

/// Bytes of the first match of [`GPT2`], which matches at every position.
fn gpt2(text: &str) -> usize {
    if let Some(found) = CONTRACTIONS.iter().find(|c| text.starts_with(**c)) {
        return found.len();
    }
    let word = text.strip_prefix(' ').unwrap_or(text);
    let space = text.len() - word.len();
    match word.chars().next() {
        Some(c) if is_letter(c) => space + run(word, is_letter),
        Some(c) if c.is_numeric() => space + run(word, char::is_numeric),
        Some(c) if !c.is_whitespace() => space + run(word, |c| !c.is_whitespace() && !is_letter(c) && !c.is_numeric()),
        _ => blanks(text),
    }
}

/// Bytes of `\s+(?!\S)|\s+`: the last blank before a word belongs to the word.
fn blanks(text: &str) -> usize {
    let blank = run(text, char::is_whitespace);
    let last = text.get(..blank).and_then(|blank| blank.chars().next_back()).map_or(0, char::len_utf8);
    if blank < text.len() && last < blank { blank - last } else { blank }
}

/// Bytes of the first match of [`DIGIT`] or [`DIGITS`], which match at every position.
fn lines(text: &str, digits: usize) -> usize {
    let contractions = ["s", "t", "re", "ve", "m", "ll", "d"];
    if let Some(rest) = text.strip_prefix('\'') {
        // A long s is an s where case does not count.
        let lower = |c: char| if c == 'ſ' { 's' } else { c.to_ascii_lowercase() };
        let starts = |with: &&&str| {
            let mut rest = rest.chars().map(lower);
            with.chars().all(|c| rest.next() == Some(c))
        };
        if let Some(found) = contractions.iter().find(starts) {
            return 1 + rest.chars().take(found.len()).map(char::len_utf8).sum::<usize>();
        }
    }
    let Some(first) = text.chars().next() else { return 0 };
    let behind = text.get(first.len_utf8()..).unwrap_or_default();
    if is_letter(first) {
        return run(text, is_letter);
    }
    if first.is_numeric() {
        return text.chars().take(digits).take_while(|c| c.is_numeric()).map(char::len_utf8).sum();
    }
    if !matches!(first, '\r' | '\n') && behind.starts_with(is_letter) {
        return first.len_utf8() + run(behind, is_letter);
    }
    let other = |c: char| !c.is_whitespace() && !is_letter(c) && !c.is_numeric();
    let sign = text.strip_prefix(' ').unwrap_or(text);
    if sign.starts_with(other) {
        let signs = text.len() - sign.len() + run(sign, other);
        return signs + run(text.get(signs..).unwrap_or_default(), |c| matches!(c, '\r' | '\n'));
    }
    let blank = text.get(..run(text, char::is_whitespace)).unwrap_or_default();
    blank.rfind(['\r', '\n']).map_or_else(|| blanks(text), |at| at + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn cut(pattern: &Pattern, text: &str) -> Vec<(String, bool)> {
        let pieces = pattern.find_matches(text).unwrap();
        pieces.into_iter().map(|((a, b), found)| (text[a..b].to_owned(), found)).collect()
    }

    fn texts(pattern: &Pattern, text: &str) -> Vec<String> {
        cut(pattern, text).into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn gpt2_words() {
        let words = texts(&Pattern::Gpt2, "I'll go,  you're 3½ years\n\n old's  \t'x '");
        assert_eq!(
            words,
            [
                "I", "'ll", " go", ",", " ", " you", "'re", " 3½", " years", "\n\n", " old", "'s", "  ", "\t", "'",
                "x", " '"
            ]
        );
        assert_eq!(texts(&Pattern::Gpt2, "a  "), ["a", "  "]);
        assert_eq!(texts(&Pattern::Gpt2, "e\u{301}\u{3000}é"), ["e", "\u{301}", "\u{3000}", "é"]);
    }

    #[test]
    fn lines_of_qwen_and_llama() {
        // tokenizers.pre_tokenizers.Split(Regex(…), "isolated").pre_tokenize_str
        let one = Pattern::Lines { digits: 1 };
        assert_eq!(
            texts(&one, "I'LL go,  you'Re 3½45 years\n\n old's  \t'x '"),
            [
                "I", "'LL", " go", ",", " ", " you", "'Re", " ", "3", "½", "4", "5", " years", "\n\n", " old", "'s",
                "  ", "\t", "'x", " '"
            ]
        );
        assert_eq!(
            texts(&one, "a ſ'ſa b'S\r\n\r\n  x \n  y  "),
            ["a", " ſ", "'ſ", "a", " b", "'S", "\r\n\r\n", " ", " x", " \n", " ", " y", "  "]
        );
        let three = Pattern::Lines { digits: 3 };
        assert_eq!(
            texts(&three, "!?\n\n..x #tag  (a) 3½45678 1,000 \u{3000}é e\u{301}z\r\n "),
            [
                "!?\n\n",
                "..",
                "x",
                " #",
                "tag",
                " ",
                " (",
                "a",
                ")",
                " ",
                "3½4",
                "567",
                "8",
                " ",
                "1",
                ",",
                "000",
                " ",
                "\u{3000}é",
                " e",
                "\u{301}z",
                "\r\n",
                " "
            ]
        );
        assert_eq!(texts(&three, "  \n \n  \t end   "), ["  \n \n", "  \t", " end", "   "]);
    }

    #[test]
    fn others() {
        let pieces = |v: &[(&str, bool)]| v.iter().map(|(t, m)| ((*t).to_owned(), *m)).collect::<Vec<_>>();
        assert_eq!(
            cut(&Pattern::Spaces, "a b   c  "),
            pieces(&[("a b", false), ("   ", true), ("c", false), ("  ", true)])
        );
        assert_eq!(cut(&Pattern::Text("aa".into()), "aaab"), pieces(&[("aa", true), ("ab", false)]));
        assert_eq!(cut(&Pattern::Blank, " a\t\nb"), pieces(&[(" ", true), ("a", false), ("\t\n", true), ("b", false)]));
        assert_eq!(
            cut(&Pattern::Gaps, "a b\nc \td\u{3000}e  "),
            pieces(&[("a b", false), ("\n", true), ("c", false), (" \t", true), ("d\u{3000}e", false), ("  ", true)])
        );
        assert_eq!(
            cut(&Pattern::Words, "h\u{e9}\u{301}_1!? x"),
            pieces(&[("h\u{e9}\u{301}_1", false), ("!?", false), (" ", true), ("x", false)])
        );
        assert_eq!(cut(&Pattern::Words, ""), pieces(&[("", false)]));
    }
}
