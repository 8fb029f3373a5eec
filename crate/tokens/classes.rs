//! The classes of tokenizers of transformers 5, by their names in `tokenizer_config.json` and `config.json`. Most take no more from
//! `tokenizer.json` than the vocabulary, the merges and the added tokens, and make the rest themselves, by options of
//! `tokenizer_config.json`: here is what each of them makes. Source: `models/*/tokenization_*.py`, `models/auto/tokenization_auto.py`.

use serde_json::Value;
use tokenizers::SplitDelimiterBehavior;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::normalizers::{BertNormalizer, Lowercase, NFC, NFKD, Strip, StripAccents};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

use super::decode::Decoder;
use super::named::{KEYS, Named};
use super::parts::{Frame, Normalizer, Post, PreTokenizer, Special};
use super::pattern::Pattern;
use super::read::{File, Made};
use crate::arch;
use crate::config::{Config, limit};
use crate::error::{Error, Result};

/// Those that list token types among a model's inputs.
const TYPES: [&str; 12] = [
    "Bert",
    "ConvBert",
    "DPRContextEncoder",
    "DPRQuestionEncoder",
    "Deberta",
    "DebertaV2",
    "Electra",
    "FNet",
    "LayoutLM",
    "Lxmert",
    "MobileBert",
    "SqueezeBert",
];

/// Whether a class gives token types.
pub(super) fn give_types(class: &str) -> bool {
    TYPES.contains(&short(class))
}

/// A class by its name without what all of them end with.
fn short(class: &str) -> &str {
    let class = class.strip_suffix("Fast").unwrap_or(class);
    class.strip_suffix("Tokenizer").unwrap_or(class)
}

/// What makes the tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "they are named as transformers names them")]
pub enum Class {
    /// `tokenizer.json` alone.
    #[default]
    File,
    Albert,
    Bert,
    BigBird,
    Camembert,
    Clip,
    /// The file's, between the special tokens of BERT's class.
    ConvBert,
    Deberta,
    DebertaV2,
    /// BERT's, which lowercases whatever it is told.
    Dpr,
    /// The file's, with the special tokens of ALBERT's class.
    FNet,
    Gemma,
    Gpt2,
    GptNeoX,
    Llama,
    MpNet,
    Qwen2,
    Roberta,
    /// The file's, of which it cuts Chinese into words by a dictionary of its own.
    RoFormer,
    T5,
    XlmRoberta,
}

/// What is around a model.
pub(super) struct Steps {
    pub normalizer: Option<Normalizer>,
    pub pre_tokenizer: PreTokenizer,
    pub decoder: Decoder,
}

impl Class {
    /// The class that transformers would take for a folder with this `tokenizer_config.json` and `config.json`, and its name where it
    /// is they that name it.
    pub(super) fn of<'a>(
        tokenizer_config: &'a Config,
        config: &'a Config,
        tokenizer: &[u8],
    ) -> Result<(Self, Option<&'a str>)> {
        let model_type = config.text_or("model_type", "")?;
        let (of_model, overrules) = arch::tokenizer(model_type);
        let has_code = |map: &Value| map.is_array() || map.get("AutoTokenizer").is_some_and(|class| !class.is_null());
        let overrules = overrules && !tokenizer_config.get("auto_map").is_some_and(has_code);
        let named = tokenizer_config.text_or("tokenizer_class", config.text_or("tokenizer_class", "")?)?;
        if named.is_empty() || overrules {
            return Ok((of_model, None));
        }
        let class = match short(named) {
            "Albert" => Self::Albert,
            "Bert" | "DistilBert" | "Electra" | "LayoutLM" | "Lxmert" | "MobileBert" | "SqueezeBert" => Self::Bert,
            // The fast ones are the file's, unless the model's type has no class: then they count as the others.
            "DPRContextEncoder" | "DPRQuestionEncoder" if named.ends_with("Fast") && of_model != Self::File => {
                Self::ConvBert
            }
            "DPRContextEncoder" | "DPRQuestionEncoder" => Self::Dpr,
            "BigBird" => Self::BigBird,
            "Camembert" => Self::Camembert,
            "CLIP" => Self::Clip,
            "ConvBert" => Self::ConvBert,
            "Deberta" => Self::Deberta,
            "DebertaV2" => Self::DebertaV2,
            "FNet" => Self::FNet,
            "Gemma" => Self::Gemma,
            "GPT2" => Self::Gpt2,
            "GPTNeoX" => Self::GptNeoX,
            // Those of later models are named so too.
            "Llama" if tokenizer.windows(11).any(|bytes| bytes == b"\"ByteLevel\"") => Self::File,
            "Llama" | "Phi3" => Self::Llama,
            "MPNet" => Self::MpNet,
            "Qwen2" => Self::Qwen2,
            "Bart" | "LED" | "Longformer" | "Mvp" | "Roberta" => Self::Roberta,
            "RoFormer" => Self::RoFormer,
            "T5" => Self::T5,
            "XLMRoberta" => Self::XlmRoberta,
            _ => Self::File,
        };
        Ok((class, Some(named)))
    }

    /// Whether no more is taken from `tokenizer.json` than the vocabulary, the added tokens and, in some, the post-processor.
    pub(super) fn rebuilds(self) -> bool {
        !matches!(self, Self::File | Self::ConvBert | Self::FNet | Self::RoFormer)
    }

    /// Whether it lists token types among a model's inputs, where the model's type alone names it.
    pub(super) fn gives_types(self) -> bool {
        matches!(self, Self::Bert | Self::Deberta | Self::DebertaV2 | Self::FNet)
    }

    /// Refuses a vocabulary that it cuts texts for by what is not in the folder.
    pub(super) fn check(self, file: &File) -> Result<()> {
        match self == Self::RoFormer && file.has_chinese_words() {
            true => {
                Err(Error::option("tokenizer_class", "RoFormerTokenizer for Chinese, which cuts words by a dictionary"))
            }
            false => Ok(()),
        }
    }

    /// The special tokens that it has where nothing else is named: begin, end, unknown, separator, padding, class, mask.
    pub(super) fn tokens(self) -> &'static str {
        match self {
            Self::File | Self::RoFormer => "",
            Self::Bert | Self::ConvBert | Self::Dpr => "- - [UNK] [SEP] [PAD] [CLS] [MASK]",
            Self::MpNet => "<s> </s> [UNK] </s> <pad> <s> <mask>",
            Self::Roberta | Self::XlmRoberta | Self::Camembert => "<s> </s> <unk> </s> <pad> <s> <mask>",
            Self::Deberta | Self::DebertaV2 => "[CLS] [SEP] [UNK] [SEP] [PAD] [CLS] [MASK]",
            Self::Albert | Self::FNet => "[CLS] [SEP] <unk> [SEP] <pad> [CLS] [MASK]",
            Self::BigBird => "<s> </s> <unk> [SEP] <pad> [CLS] [MASK]",
            Self::T5 => "- </s> <unk> - <pad>",
            Self::Llama => "<s> </s> <unk>",
            Self::Gemma => "<bos> <eos> <unk> - <pad> - <mask>",
            Self::Gpt2 => "<|endoftext|> <|endoftext|> <|endoftext|>",
            Self::GptNeoX => "<|endoftext|> <|endoftext|> <|endoftext|> - <|padding|>",
            Self::Qwen2 => "- <|endoftext|> <|endoftext|> - <|endoftext|>",
            Self::Clip => "<|startoftext|> <|endoftext|> <|endoftext|> - <|endoftext|>",
        }
    }

    /// Whether the token for masks takes the blanks in front of it, where nothing says more of it than its name.
    pub(super) fn strips_mask(self) -> bool {
        matches!(self, Self::MpNet | Self::BigBird | Self::Camembert)
    }

    /// Other special tokens that it has where none are named.
    pub(super) fn extra(self, options: &Config) -> Result<Vec<String>> {
        Ok(match self {
            Self::Camembert => ["<s>", "</s>", "<unk>"].map(|token| format!("{token}NOTUSED")).into(),
            Self::T5 => {
                let count = options.index_or("extra_ids", 100, limit::VOCAB)?;
                (0..count).map(|id| format!("<extra_id_{id}>")).collect()
            }
            _ => Vec::new(),
        })
    }

    /// What it makes of the vocabulary.
    pub(super) fn made(self, options: &Config, named: &Named) -> Result<Option<Made>> {
        let unk = || named.get("unk_token").map(str::to_owned);
        let bpe = |unk, bytes, suffix| Made::Bpe { unk, bytes, suffix };
        let unigram = |unk, scored, or| Made::Unigram { unk, scored, or };
        Ok(Some(match self {
            Self::File | Self::ConvBert | Self::FNet | Self::RoFormer => return Ok(None),
            Self::Bert | Self::Dpr | Self::MpNet => Made::WordPiece { unk: unk().unwrap_or_default() },
            Self::Deberta | Self::Gpt2 | Self::GptNeoX | Self::Qwen2 | Self::Roberta => bpe(None, false, ""),
            Self::Clip => bpe(unk(), false, "</w>"),
            Self::Gemma => bpe(unk(), true, ""),
            Self::Llama => bpe(None, true, ""),
            Self::Albert => unigram(None, false, 1),
            Self::T5 => unigram(None, false, 2),
            Self::XlmRoberta => unigram(None, false, 3),
            Self::Camembert => unigram(unk(), true, 0),
            Self::BigBird => unigram(unk(), false, 100),
            Self::DebertaV2 => unigram(unk(), false, options.index_or("unk_id", 1, usize::MAX)?),
        }))
    }

    /// What it puts around the model.
    pub(super) fn steps(self, options: &Config, file: &File) -> Result<Option<Steps>> {
        // Null is false to Python.
        let flag = |key, default| options.flag_or(key, default && !options.has(key));
        let bytes = |normalizer| {
            let pre_tokenizer = PreTokenizer::Bytes { prefix_space: flag("add_prefix_space", false)?, words: true };
            Ok(Steps { normalizer, pre_tokenizer, decoder: Decoder::Bytes })
        };
        let prefix = |or| match flag("add_prefix_space", true) {
            Ok(true) => Ok(PrependScheme::Always),
            Ok(false) => Ok(or),
            Err(error) => Err(error),
        };
        let spaced = |normalizer| {
            let scheme = if self == Self::T5 { PrependScheme::Always } else { prefix(PrependScheme::Never)? };
            let marked = Metaspace::new('▁', scheme, true);
            let words = [PreTokenizer::WhitespaceSplit(WhitespaceSplit), PreTokenizer::Metaspace(marked.clone())];
            let pre_tokenizer = PreTokenizer::Sequence(words.into());
            Ok(Steps { normalizer, pre_tokenizer, decoder: Decoder::Metaspace(marked) })
        };
        let steps = match self {
            Self::File | Self::ConvBert | Self::FNet | Self::RoFormer => return Ok(None),
            Self::Bert | Self::Dpr | Self::MpNet => {
                let accents = options.get("strip_accents").map(|_| flag("strip_accents", false)).transpose()?;
                let lowercase = flag("do_lower_case", true)? || self == Self::Dpr;
                let chinese = flag("tokenize_chinese_chars", true)?;
                Ok(Steps {
                    normalizer: Some(Normalizer::Bert(BertNormalizer::new(true, chinese, accents, lowercase))),
                    pre_tokenizer: PreTokenizer::Bert(BertPreTokenizer),
                    decoder: Decoder::WordPiece(WordPieceDecoder::new("##".into(), true)),
                })
            }
            Self::Deberta | Self::Gpt2 | Self::Roberta => bytes(None),
            Self::GptNeoX => bytes(Some(Normalizer::Nfc(NFC))),
            Self::Qwen2 => {
                let lines = isolated(Pattern::Lines { digits: 1 }, SplitDelimiterBehavior::Isolated, false);
                let bytes = PreTokenizer::Bytes { prefix_space: flag("add_prefix_space", false)?, words: false };
                Ok(Steps {
                    normalizer: Some(Normalizer::Nfc(NFC)),
                    pre_tokenizer: PreTokenizer::Sequence(vec![lines, bytes]),
                    decoder: Decoder::Bytes,
                })
            }
            Self::Clip => {
                let blanks = replace(Pattern::Blank, " ");
                let steps = vec![Normalizer::Nfc(NFC), blanks, Normalizer::Lowercase(Lowercase)];
                let words = isolated(Pattern::Clip { special: true }, SplitDelimiterBehavior::Removed, true);
                let bytes = PreTokenizer::Bytes { prefix_space: false, words: true };
                Ok(Steps {
                    normalizer: Some(Normalizer::Sequence(steps)),
                    pre_tokenizer: PreTokenizer::Sequence(vec![words, bytes]),
                    decoder: Decoder::Bytes,
                })
            }
            Self::Gemma => {
                let words = Pattern::Text(" ".into());
                Ok(Steps {
                    normalizer: Some(replace(words.clone(), "▁")),
                    pre_tokenizer: isolated(words, SplitDelimiterBehavior::MergedWithPrevious, false),
                    decoder: Decoder::Sequence(spelled()),
                })
            }
            Self::Llama => {
                let prefixed = options.flag_or("add_prefix_space", true)?;
                let scheme = match (prefixed, flag("legacy", false)?) {
                    (false, _) => PrependScheme::Never,
                    (true, true) => PrependScheme::Always,
                    (true, false) => PrependScheme::First,
                };
                let mut decoders = spelled();
                if prefixed {
                    decoders.push(Decoder::Strip { content: ' ', start: 1, stop: 0 });
                }
                Ok(Steps {
                    normalizer: None,
                    pre_tokenizer: PreTokenizer::Metaspace(Metaspace::new('▁', scheme, false)),
                    decoder: Decoder::Sequence(decoders),
                })
            }
            Self::Camembert | Self::T5 | Self::XlmRoberta => spaced(file.charsmap()?),
            Self::Albert => {
                let quotes = |pattern: &str| replace(Pattern::Text(pattern.into()), "\"");
                let mut steps = vec![quotes("``"), quotes("''")];
                if !flag("keep_accents", false)? {
                    steps.extend([Normalizer::Nfkd(NFKD), Normalizer::StripAccents(StripAccents)]);
                }
                if flag("do_lower_case", true)? {
                    steps.push(Normalizer::Lowercase(Lowercase));
                }
                steps.extend(file.charsmap()?);
                spaced(Some(Normalizer::Sequence(steps)))
            }
            Self::BigBird => {
                let marked = Metaspace::new('▁', prefix(PrependScheme::Never)?, true);
                Ok(Steps {
                    normalizer: Some(replace(Pattern::Spaces, "▁")),
                    pre_tokenizer: PreTokenizer::Metaspace(marked.clone()),
                    decoder: Decoder::Metaspace(marked),
                })
            }
            Self::DebertaV2 => {
                let mut steps = Vec::new();
                if flag("do_lower_case", false)? {
                    steps.push(Normalizer::Lowercase(Lowercase));
                }
                let blanks = replace(Pattern::Gaps, " ");
                steps.extend([blanks, Normalizer::Nfc(NFC), Normalizer::Strip(Strip::new(false, true))]);
                let mut words = Vec::new();
                if flag("split_by_punct", false)? {
                    words.push(PreTokenizer::Punctuation(Punctuation::new(SplitDelimiterBehavior::Isolated)));
                }
                let marked = Metaspace::new('▁', prefix(PrependScheme::First)?, true);
                words.push(PreTokenizer::Metaspace(marked.clone()));
                Ok(Steps {
                    normalizer: Some(Normalizer::Sequence(steps)),
                    pre_tokenizer: PreTokenizer::Sequence(words),
                    decoder: Decoder::Metaspace(marked),
                })
            }
        };
        steps.map(Some)
    }

    /// Whether a file has what it makes a tokenizer of: its kind of model, and the special tokens that it has where none are named.
    pub(super) fn fits(self, options: &Config, file: &File, named: &Named) -> Result<bool> {
        let is_kind = self.made(options, named)?.is_none_or(|made| made.kind() == file.kind());
        let has = |(key, usual)| key == "mask_token" || named.get(key) != Some(usual) || file.has(usual);
        Ok(is_kind && KEYS.into_iter().zip(self.tokens().split(' ')).all(has))
    }

    /// The special tokens that it puts around texts, where it does not leave that to the file, which may have a post-processor.
    pub(super) fn post(
        self,
        options: &Config,
        has_post: bool,
        named: &Named,
        id: impl Fn(&str) -> Option<u32>,
    ) -> Result<Option<Post>> {
        let (front, behind, twice, second, trim) = match self {
            // The file's comes first here.
            Self::Albert if has_post => return Ok(None),
            Self::Albert | Self::Bert | Self::BigBird | Self::ConvBert | Self::DebertaV2 | Self::Dpr => {
                ("cls_token", "sep_token", false, 1, None)
            }
            Self::Deberta => ("cls_token", "sep_token", true, 0, None),
            Self::MpNet => ("cls_token", "sep_token", true, 0, Some(false)),
            Self::Roberta => {
                let trims = options.flag_or("trim_offsets", true)?;
                ("cls_token", "sep_token", true, 0, trims.then_some(options.flag_or("add_prefix_space", false)?))
            }
            Self::Camembert | Self::Clip | Self::XlmRoberta => ("bos_token", "eos_token", true, 0, None),
            Self::T5 => ("", "eos_token", false, 0, None),
            Self::GptNeoX => ("", "", false, 1, None),
            Self::File | Self::FNet | Self::Gemma | Self::Gpt2 | Self::Llama | Self::Qwen2 | Self::RoFormer => {
                return Ok(None);
            }
        };
        let special = |key| {
            let token = named.get(key)?;
            Some(Special { id: id(token)?, type_id: 0, token: token.to_owned() })
        };
        Ok(Some(Post { trim, frame: Frame::between(special(front), special(behind), twice, second) }))
    }
}

fn replace(pattern: Pattern, content: &str) -> Normalizer {
    Normalizer::Replace { pattern, content: content.into() }
}

fn isolated(pattern: Pattern, behavior: SplitDelimiterBehavior, invert: bool) -> PreTokenizer {
    PreTokenizer::Split { pattern, behavior, invert }
}

/// Marked blanks and bytes to text.
fn spelled() -> Vec<Decoder> {
    let blanks = Decoder::Replace { pattern: Pattern::Text("▁".into()), content: " ".into() };
    vec![blanks, Decoder::ByteFallback(ByteFallback::new()), Decoder::Fuse]
}
