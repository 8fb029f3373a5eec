//! Token ids against the Python `tokenizers`, and files that must be refused.

use embedlet::Error;
use embedlet::folder::Folder;
use embedlet::tokens::{Beside, Class, TEXT_BYTES, Tokens, Truncation};
use serde_json::{Value, json};

use crate::support::{fixtures, json as fixture, minilm};

/// More than any text of the fixtures has.
const UNCUT: usize = 1 << 20;
/// The tokenizers of tests/golden/make_tokenizers.py.
const KINDS: [&str; 8] = ["roberta", "modern", "xlmr", "deberta", "llama", "pieces", "clip", "clip5"];

fn minilm_tokens(max_tokens: usize, cut_left: bool) -> Tokens {
    let json = std::fs::read(minilm().join("tokenizer.json")).unwrap();
    Tokens::new(&json, max_tokens, &Beside { cut_left: Some(cut_left), ..Beside::default() }).unwrap()
}

fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(fixtures().join(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers<T: TryFrom<u64>>(value: &Value) -> Vec<T> {
    let number = |value: &Value| T::try_from(value.as_u64().unwrap()).ok().unwrap();
    value.as_array().unwrap().iter().map(number).collect()
}

fn flat(pairs: &[(usize, usize)]) -> Vec<usize> {
    pairs.iter().flat_map(|(start, end)| [*start, *end]).collect()
}

#[test]
fn minilm_ids() {
    let tokens = minilm_tokens(UNCUT, false);
    let lines = lines("tokens.jsonl");
    assert_eq!(lines.len(), 3927);
    for line in lines {
        let text = line["text"].as_str().unwrap();
        assert_eq!(tokens.encode(text).unwrap().ids, numbers::<u32>(&line["ids"]), "{text:?}");
    }
}

#[test]
fn minilm_offsets() {
    let tokens = minilm_tokens(UNCUT, false);
    for case in fixture("minilm_offsets.json")["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let found = tokens.encode(text).unwrap();
        let offsets: Vec<usize> = case["offsets"].as_array().unwrap().iter().flat_map(numbers).collect();
        assert_eq!(found.ids, numbers::<u32>(&case["ids"]), "{text:?}");
        assert_eq!(json!(found.tokens), case["tokens"], "{text:?}");
        assert_eq!(flat(&found.offsets), offsets, "{text:?}");
        assert!(found.type_ids.iter().all(|id| *id == 0));
        let inner = found.ids.len() - 2;
        assert_eq!(found.special, [vec![1], vec![0; inner], vec![1]].concat());
        assert!(!found.truncated);
    }
}

#[test]
fn kinds() {
    let load = |kind: &&'static str| {
        let path = fixtures().join(format!("tokenizers/{kind}.json"));
        (*kind, Tokens::new(&std::fs::read(path).unwrap(), UNCUT, &Beside::default()).unwrap())
    };
    let all: Vec<_> = KINDS.iter().map(load).collect();
    let lines = lines("tokenizers/expected.jsonl");
    assert!(lines.len() > 150);
    for line in lines {
        let text = line["text"].as_str().unwrap();
        for (kind, tokens) in &all {
            let (found, expected) = (tokens.encode(text).unwrap(), &line[kind]);
            assert_eq!(found.ids, numbers::<u32>(&expected["ids"]), "{kind}: {text:?}");
            assert_eq!(found.type_ids, numbers::<u32>(&expected["type_ids"]), "{kind}: {text:?}");
            assert_eq!(flat(&found.offsets), numbers::<usize>(&expected["offsets"]), "{kind}: {text:?}");
        }
    }
}

#[test]
fn other_files_have_a_say() {
    let path = fixtures().join("models/bert-mean/tokenizer.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = "one two three four five six seven";
    let ids = |file: &Value, max_tokens, text: &str, beside: Beside| {
        Tokens::new(&serde_json::to_vec(file).unwrap(), max_tokens, &beside).unwrap().encode(text).unwrap().ids
    };
    let whole = ids(&file, UNCUT, text, Beside::default());
    // Of tokenizer.json's own truncation the direction counts, where tokenizer_config.json names none.
    file["truncation"] = json!({"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    let front = [&whole[..5], &whole[whole.len() - 1..]].concat();
    let back = [&whole[..1], &whole[whole.len() - 5..]].concat();
    assert_eq!(ids(&file, 6, text, Beside::default()), back);
    assert_eq!(ids(&file, 6, text, Beside { cut_left: Some(false), ..Beside::default() }), front);
    file["truncation"] = json!({"direction": "Up"});
    let refused = Tokens::new(&serde_json::to_vec(&file).unwrap(), 6, &Beside::default());
    assert_eq!(refused.err().unwrap().code(), "unsupported-option");
}

/// The classes of transformers, which take from `tokenizer.json` what they want, and special tokens that other files name.
#[test]
fn classes_make_what_is_not_in_the_file() {
    let lines = lines("tokenizers/classes.jsonl");
    assert!(lines.len() > 40);
    for line in lines {
        let name = line["name"].as_str().unwrap();
        let path = fixtures().join(format!("tokenizers/{}.json", line["file"].as_str().unwrap()));
        let (json, mut folder) = (std::fs::read(path).unwrap(), Folder::new());
        folder.put("tokenizer.json", Some(json.clone())).unwrap();
        for (path, file) in line["files"].as_object().unwrap() {
            folder.put(path, Some(serde_json::to_vec(file).unwrap())).unwrap();
        }
        let tokens = Tokens::new(&json, UNCUT, &folder.beside_tokenizer(false).unwrap()).unwrap();
        assert_eq!(json!(tokens.gives_types().unwrap_or(false)), line["types"], "{name}");
        let rows = line["texts"].as_array().unwrap();
        let text = |row: &Value| row[0].as_str().unwrap().to_owned();
        for (row, next) in rows.iter().zip(rows.iter().cycle().skip(1)) {
            let (text, pair) = (text(row), text(next));
            let found = tokens.encode(&text).unwrap();
            assert_eq!(found.ids, numbers::<u32>(&row[2]), "{name}: {text:?}");
            assert_eq!(flat(&found.offsets), numbers::<usize>(&row[3]), "{name}: {text:?}");
            assert_eq!(json!(tokens.prompt_tokens(&text).unwrap()), row[1], "{name}: {text:?}");
            let found = tokens.encode_pair(&text, &pair, Truncation::LongestFirst).unwrap();
            assert_eq!(found.ids, numbers::<u32>(&row[4]), "{name}: {text:?} and {pair:?}");
            assert_eq!(found.type_ids, numbers::<u32>(&row[5]), "{name}: {text:?} and {pair:?}");
        }
    }
}

/// A folder with this `tokenizer_config.json`, of BERT's class unless it says another, and the small tokenizer.
fn classed(mut config: Value, changes: Value) -> Result<Tokens, Error> {
    let mut folder = Folder::new();
    let json = serde_json::to_vec(&small(changes)).unwrap();
    if config.get("tokenizer_class").is_none() {
        config["tokenizer_class"] = "BertTokenizer".into();
    }
    let files = [("config.json", json!({"model_type": "bert"})), ("tokenizer_config.json", config)];
    for (path, file) in files {
        folder.put(path, Some(serde_json::to_vec(&file).unwrap())).unwrap();
    }
    folder.put("tokenizer.json", Some(json.clone())).unwrap();
    Tokens::new(&json, 8, &folder.beside_tokenizer(false)?)
}

/// To the classes of transformers, but not where the file is read alone.
#[test]
fn what_fills_texts_is_special() {
    let any = classed(json!({"tokenizer_class": "PreTrainedTokenizerFast"}), json!({})).unwrap();
    assert_eq!(any.encode("a[PAD]").unwrap().ids, [0, 3, 7, 1]);
    let named = json!({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": null});
    assert_eq!(classed(named, json!({})).unwrap().encode("a[PAD]").unwrap().ids, [0, 2, 1]);
    assert_eq!(ids(json!({}), "a[PAD]"), [0, 2, 1]);
}

/// As many as a file has room for, in no more than its length times a little.
#[test]
fn hundreds_of_thousands_of_special_tokens() {
    let names = |from: usize| (from..from + 200_000).map(|at| format!("<{at}>")).collect::<Vec<_>>();
    let decoder: serde_json::Map<String, Value> =
        names(0).into_iter().enumerate().map(|(at, name)| (at.to_string(), json!({ "content": name }))).collect();
    let mut config = json!({ "additional_special_tokens": names(100_000), "added_tokens_decoder": decoder });
    for name in names(300_000) {
        config[format!("{name}_token")] = name.as_str().into();
    }
    let tokens = classed(config, json!({})).unwrap();
    assert_eq!(tokens.encode("<7><299999>").unwrap().ids.len(), 4);
    assert_eq!(tokens.prompt_tokens("<7>").unwrap(), 2);
}

#[test]
fn classes_refuse_what_they_cannot_read() {
    let code = |config, changes| classed(config, changes).err().map(|error| error.code());
    assert_eq!(code(json!({}), json!({})), None);
    let unnamed = json!({"tokenizer_class": ""});
    for model in [json!({"vocab": {"a": 0}, "merges": []}), json!({"vocab": [["a", 0.0]], "unk_id": 0})] {
        let other = json!({"model": model, "added_tokens": []});
        assert_eq!(code(json!({}), other.clone()), Some("unsupported-option"));
        // The type of the model alone does not say that the tokenizer is BERT's.
        assert_eq!(code(unnamed.clone(), other), None);
    }
    for class in ["XLMRobertaTokenizer", "RobertaTokenizer", "LlamaTokenizerFast"] {
        assert_eq!(code(json!({"tokenizer_class": class}), json!({})), Some("unsupported-option"), "{class}");
    }
    let roformer = json!({"tokenizer_class": "RoFormerTokenizer"});
    let words = |word: &str| json!({"vocab": {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "北": 3, word: 4}, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9});
    let code_of = |word| code(roformer.clone(), json!({"added_tokens": [], "model": words(word)}));
    assert_eq!((code_of("北京"), code_of("##京")), (Some("unsupported-option"), None));
    let xlmr = json!({"tokenizer_class": "XLMRobertaTokenizer"});
    // What it takes for unknown is a place in the vocabulary, which may not be there.
    let short = json!({"added_tokens": [], "model": {"vocab": [["a", 0.0]], "unk_id": 0}});
    assert_eq!(code(xlmr, short), Some("invalid-tokenizer"));
    for config in [
        json!({"do_lower_case": 1}),
        json!({"tokenizer_class": 1}),
        json!({"added_tokens_decoder": []}),
        json!({"split_special_tokens": "no"}),
    ] {
        assert_eq!(code(config.clone(), json!({})), Some("invalid-file"), "{config}");
    }
    for config in [
        json!({"cls_token": 1}),
        json!({"extra_special_tokens": "a"}),
        json!({"additional_special_tokens": [{}]}),
        json!({"added_tokens_decoder": {"x": {"content": "a"}}}),
        json!({"added_tokens_decoder": {"1": "a"}}),
    ] {
        assert_eq!(code(config.clone(), json!({})), Some("unsupported-option"), "{config}");
    }
}

#[test]
fn truncation() {
    let text = "one two three four five six seven eight nine ten";
    let whole = minilm_tokens(12, false).encode(text).unwrap();
    assert_eq!((whole.ids.len(), whole.truncated), (12, false));
    for max_tokens in 3..12 {
        let room = max_tokens - 2;
        for cut_left in [false, true] {
            let cut = minilm_tokens(max_tokens, cut_left).encode(text).unwrap();
            let from = if cut_left { 11 - room } else { 1 };
            assert!(cut.truncated);
            assert_eq!(cut.ids, [&[101], &whole.ids[from..from + room], &[102]].concat());
            assert_eq!(cut.tokens[1..=room], whole.tokens[from..from + room]);
            assert_eq!(cut.offsets[1..=room], whole.offsets[from..from + room]);
            assert_eq!((cut.offsets[0], cut.offsets[room + 1]), ((0, 0), (0, 0)));
            assert_eq!(
                (cut.special.len(), cut.special.iter().sum::<u32>(), cut.type_ids.len()),
                (max_tokens, 2, max_tokens)
            );
        }
    }
    // Cut inside a word.
    let cut = minilm_tokens(4, false).encode("embeddings").unwrap();
    assert_eq!(cut.tokens, ["[CLS]", "em", "##bed", "[SEP]"]);

    let none = minilm_tokens(3, false).encode("").unwrap();
    assert_eq!((none.ids, none.truncated), (vec![101, 102], false));
    let json = std::fs::read(minilm().join("tokenizer.json")).unwrap();
    for max_tokens in 0..3 {
        assert_eq!(Tokens::new(&json, max_tokens, &Beside::default()).err().unwrap().code(), "invalid-tokenizer");
    }
}

#[test]
fn prompts() {
    let tokens = |class| {
        let json = std::fs::read(minilm().join("tokenizer.json")).unwrap();
        Tokens::new(&json, 256, &Beside { class, names_class: true, ..Beside::default() }).unwrap()
    };
    let named = tokens(Class::Bert);
    assert_eq!(named.prompt_tokens("query: ").unwrap(), 3);
    assert_eq!(named.prompt_tokens("").unwrap(), 1);
    assert_eq!(named.prompt_tokens("query: [MASK]").unwrap(), 4);
    // The file alone names no special token, and then the last one counts.
    assert_eq!(tokens(Class::File).prompt_tokens("query: ").unwrap(), 4);
}

#[test]
fn long_text() {
    let tokens = minilm_tokens(256, false);
    assert_eq!(tokens.encode(&"a ".repeat(TEXT_BYTES / 2)).unwrap().ids.len(), 256);
    let error = tokens.encode(&"a".repeat(TEXT_BYTES + 1)).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { found: 1_048_577, limit: 1_048_576, .. }), "{error}");
}

/// A small tokenizer, some of it replaced.
fn small(changes: Value) -> Value {
    let mut file = json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 50_000_000}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [added(0, "[CLS]"), added(1, "[SEP]"), added(6, "[NEW]")],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": template(json!([special("[CLS]"), text("A"), special("[SEP]")]), json!({
            "[CLS]": {"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]},
            "[SEP]": {"id": "[SEP]", "ids": [1], "tokens": ["[SEP]"]},
        })),
        "decoder": {"type": "NotLookedAt"},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "a": 3, "##b": 4, "ab": 5},
        },
    });
    for (key, value) in changes.as_object().unwrap() {
        file[key] = value.clone();
    }
    file
}

fn added(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
}

fn special(id: &str) -> Value {
    json!({"SpecialToken": {"id": id, "type_id": 0}})
}

fn text(id: &str) -> Value {
    json!({"Sequence": {"id": id, "type_id": 0}})
}

fn template(single: Value, specials: Value) -> Value {
    json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": specials})
}

fn new(file: &Value) -> Result<Tokens, Error> {
    Tokens::new(&serde_json::to_vec(file).unwrap(), 8, &Beside::default())
}

fn ids(changes: Value, text: &str) -> Vec<u32> {
    new(&small(changes)).unwrap().encode(text).unwrap().ids
}

#[test]
fn small_files() {
    assert_eq!(ids(json!({}), "AB abb[NEW]x"), [0, 5, 5, 4, 6, 2, 1]);
    let nothing = json!({"added_tokens": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null});
    assert_eq!(ids(nothing.clone(), "ab"), [5]);
    assert_eq!(ids(nothing.clone(), "ab ab"), [2]);
    assert_eq!(ids(nothing, ""), [0; 0]);
    let steps =
        |n: usize| json!({"normalizer": {"type": "Sequence", "normalizers": vec![json!({"type": "Lowercase"}); n]}});
    assert_eq!(ids(steps(15), "AB"), [0, 5, 1]);
    assert_eq!(new(&small(steps(16))).err().unwrap().code(), "limit-exceeded");

    let json = serde_json::to_vec(&small(json!({"normalizer": null}))).unwrap();
    assert_eq!(Tokens::new(&json, 8, &Beside::default()).unwrap().encode("AB").unwrap().ids, [0, 2, 1]);
    assert_eq!(
        Tokens::new(&json, 8, &Beside { lowercase: true, ..Beside::default() }).unwrap().encode("AB").unwrap().ids,
        [0, 5, 1]
    );
}

/// Old files do not name the kind of model, and have merges in one string.
#[test]
fn old_models() {
    let mut file = small(json!({}));
    file["model"].as_object_mut().unwrap().remove("type");
    assert_eq!(new(&file).unwrap().encode("ab").unwrap().ids, [0, 5, 1]);
    let vocab = json!({"[CLS]": 0, "[SEP]": 1, "a": 2, "b": 3, "ab": 4, "aba": 5});
    for merges in [json!(["#version: 0.2", "a b", "ab a"]), json!([["a", "b"], ["ab", "a"]])] {
        let bpe = json!({"model": {"vocab": vocab, "merges": merges, "dropout": null}});
        assert_eq!(ids(bpe, "ababax")[..4], [0, 4, 5, 1]);
    }
    let scores = json!([["[CLS]", 0], ["[SEP]", 0], ["a", -1.5], ["b", -2.0], ["ab", -2], ["<unk>", 0.0]]);
    assert_eq!(ids(json!({"model": {"vocab": scores, "unk_id": 5}}), "aabz"), [0, 2, 4, 5, 1]);
}

#[test]
fn unknown_components() {
    let cases = [
        (json!({"normalizer": {"type": "Lowercasee"}}), "tokenizer.json normalizer", "Lowercasee"),
        (json!({"normalizer": {"lowercase": true}}), "tokenizer.json normalizer", "a component without a type"),
        (json!({"normalizer": "Lowercase"}), "tokenizer.json normalizer", "a component without a type"),
        (
            json!({"normalizer": {"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""}}),
            "tokenizer.json normalizer pattern",
            "(a*)*b",
        ),
        (
            json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "FixedLength", "length": 0}]}}),
            "tokenizer.json pre_tokenizer",
            "FixedLength",
        ),
        (json!({"post_processor": {"type": "\u{7}\nNew"}}), "tokenizer.json post_processor", "New"),
        (json!({"model": {"type": "WordLevel", "vocab": {}, "unk_token": "a"}}), "tokenizer.json model", "WordLevel"),
        (json!({"model": {"vocab": {}, "unk_token": "a"}}), "tokenizer.json model", "WordLevel"),
        (json!({"model": {"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.1}}), "tokenizer.json dropout", "0.1"),
        (json!({"version": "2.0"}), "tokenizer.json version", "2.0"),
    ];
    for (changes, option, value) in cases {
        let expected = Error::UnsupportedOption { option: option.into(), value: value.into() };
        assert_eq!(new(&small(changes)).err(), Some(expected));
    }
}

#[test]
fn hostile_files() {
    let specials = json!({"[CLS]": {"id": "[CLS]", "ids": [0, 1], "tokens": ["[CLS]"]}, "far": {"ids": [4294967296u64], "tokens": [""]}});
    let post = |single: Value| json!({"post_processor": template(single, specials.clone())});
    let charsmap = |text: &str| json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": text}});
    let bpe = |vocab: Value, merges: Value, prefix: Value| json!({"added_tokens": [], "model": {"type": "BPE", "vocab": vocab, "merges": merges, "continuing_subword_prefix": prefix}});
    let wordpiece = |vocab: Value| {
        let settings = json!({"type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9});
        json!({"added_tokens": [], "model": settings})
    };
    let bert = json!({"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]});
    let cases = [
        post(json!([special("[SEP]"), text("A")])),
        post(json!([special("[CLS]"), text("A")])),
        post(json!([special("far"), text("A")])),
        post(json!([text("B")])),
        post(json!([text("A"), text("A")])),
        post(json!([])),
        post(json!([{"Else": {}}])),
        json!({"post_processor": {"type": "Sequence", "processors": [bert, bert]}}),
        json!({"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", -1], "cls": ["[CLS]", 0]}}),
        json!({"post_processor": {"type": "RobertaProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]}}),
        charsmap(""),
        charsmap("!"),
        charsmap("AAA="),
        charsmap("AAAAAA=="),
        charsmap("/////w=="),
        charsmap("BAAAAP////8="),
        json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": null}}),
        json!({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "a"}}),
        json!({"normalizer": {"type": "Sequence"}}),
        json!({"normalizer": {"type": "BertNormalizer", "clean_text": 1}}),
        json!({"pre_tokenizer": {"type": "Metaspace", "replacement": "", "prepend_scheme": "always"}}),
        json!({"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "add_prefix_space": false}}),
        json!({"pre_tokenizer": {"type": "Punctuation", "behavior": "Else"}}),
        bpe(json!({"a": 0, "b": 1, "ab": 2}), json!([["a", "b"]]), json!("####")),
        bpe(json!({"a": 0, "b": 1}), json!([["a", "b"]]), Value::Null),
        bpe(json!({"a": 0, "é": 1, "#": 2}), json!([["a", "é"]]), json!("#")),
        bpe(json!({"ab": 0}), json!([["a", "b"]]), Value::Null),
        bpe(json!({"a": 0}), json!(["a"]), Value::Null),
        bpe(json!({"a": 0}), json!(["a a a"]), Value::Null),
        bpe(json!({"a": 0}), json!([["a", "a", "a"]]), Value::Null),
        bpe(json!([["a", 0.0]]), json!([]), Value::Null),
        json!({"model": {"type": "BPE", "vocab": {}}}),
        wordpiece(json!({})),
        wordpiece(json!({"a": 0})),
        wordpiece(json!({"[UNK]": 4294967296u64})),
        wordpiece(json!({"[UNK]": -1})),
        json!({"model": {"type": "Unigram", "vocab": [], "unk_id": 0}}),
        json!({"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 1}}),
        json!({"added_tokens": [added(3, "[CLS]")]}),
        json!({"added_tokens": [added(7, "[NEW]")]}),
        json!({"added_tokens": [added(6, "[NEW]"), added(7, "[NEW]")]}),
        json!({"added_tokens": [{"id": 6}]}),
        json!({"model": null}),
    ];
    for changes in cases {
        let error = new(&small(changes.clone())).err();
        assert_eq!(error.map(|error| error.code()), Some("invalid-tokenizer"), "{changes}");
    }
    for json in ["", "{", "[]", "null", "{\"model\":{\"vocab\":{\"a\":0,\"a\""] {
        assert_eq!(Tokens::new(json.as_bytes(), 8, &Beside::default()).err().unwrap().code(), "invalid-tokenizer");
    }
    let deep = format!("{{\"normalizer\":{}", "{\"type\":\"Sequence\",\"normalizers\":[".repeat(10_000));
    assert_eq!(Tokens::new(deep.as_bytes(), 8, &Beside::default()).err().unwrap().code(), "invalid-tokenizer");
}

/// What cannot be seen in the file is an error when it happens.
#[test]
fn hostile_texts() {
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let grown = new(&small(json!({"normalizer": {"type": "Sequence", "normalizers": vec![double; 15]}}))).unwrap();
    assert_eq!(grown.encode("b").unwrap().ids, [0, 2, 1]);
    assert_eq!(grown.encode(&"a".repeat(1 << 10)).unwrap_err().code(), "invalid-tokenizer");
    let blind = new(&small(json!({"added_tokens": [], "model": {"type": "Unigram", "vocab": [["a", 0.0]]}}))).unwrap();
    assert_eq!(blind.encode("a").unwrap().ids, [0, 0, 1]);
    assert_eq!(blind.encode("b").unwrap_err().code(), "invalid-tokenizer");

    // Added tokens that fight for the same blanks.
    let blank = |id, content: &str| {
        let mut token = added(id, content);
        (token["lstrip"], token["rstrip"]) = (json!(true), json!(true));
        token
    };
    let tokens = new(&small(json!({"added_tokens": [blank(6, "x"), blank(7, " "), blank(8, "  ")]}))).unwrap();
    for text in ["x    x", "   ", "x ", " x", "xx  x x   é  ", "\u{3000}x\u{3000}\u{3000} x"] {
        tokens.encode(text).unwrap();
    }
}

#[test]
fn strips_no_more_than_there_is() {
    let decoded = |start: u32, stop: u32| {
        let strip = json!({"type": "Strip", "content": "a", "start": start, "stop": stop});
        new(&small(json!({"decoder": strip})))
            .unwrap()
            .spell(["a", "ab", "aabaa", ""].map(str::to_owned).into())
            .unwrap()
    };
    assert_eq!(decoded(1, 0), "babaa");
    assert_eq!(decoded(1, 1), "baba");
    assert_eq!(decoded(9, u32::MAX), "bb");
}

#[test]
fn numbers_have_limits() {
    for (key, value) in [("id", 3_000_000_000_u32), ("id", u32::MAX), ("chars", 1001)] {
        let mut file = small(json!({}));
        match key {
            "id" => file["model"]["vocab"]["far"] = json!(value),
            _ => file["model"]["max_input_chars_per_word"] = json!(value),
        }
        assert_eq!(new(&file).err().map(|error| error.code()), Some("limit-exceeded"), "{key} {value}");
    }
    let mut file = small(json!({}));
    file["model"]["max_input_chars_per_word"] = json!(1000);
    assert!(new(&file).is_ok());
}
