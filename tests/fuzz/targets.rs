//! What is fuzzed: each takes any bytes and must come back, with a result or a typed error, in a second and in little memory.
//! `cargo xtask fuzz` runs them under libFuzzer; tests/faults.rs runs them over the seeds in `corpus/`.
#![allow(dead_code, missing_docs)]

use std::sync::LazyLock;

use embedlet::config::Config;
use embedlet::folder::Folder;
use embedlet::model::{Device, EmbedOptions, Loader};
use embedlet::packed::{FILE, Packed};
use embedlet::tokens::{Beside, Tokens};

/// Stands between two files in one input.
const BETWEEN: u8 = 0xff;

const CONFIG: &[u8] = include_bytes!("../golden/architectures/bert-1/config.json");
const TOKENIZER: &[u8] = include_bytes!("../golden/architectures/bert-1/tokenizer.json");
const WEIGHTS: &[u8] = include_bytes!("../golden/architectures/bert-1/model.safetensors");

/// A `config.json`, to the description of an encoder.
pub fn config(data: &[u8]) {
    if let Ok(config) = Config::parse("config.json", data) {
        let _ = embedlet::arch::spec(&config);
    }
    let _ =
        folder(&[("config.json", data)]).map(|folder| Loader::new(&folder, Device::Cpu(None), None, None).map(|_| ()));
}

/// A `tokenizer.json` and a text.
pub fn tokenizer(data: &[u8]) {
    let (json, text) = halves(data);
    if let Ok(tokens) = Tokens::new(json, 64, &Beside::default()) {
        let text = String::from_utf8_lossy(text);
        if let Ok(encoding) = tokens.encode(&text) {
            assert!(encoding.ids.len() <= 64, "the limit does not hold");
            assert_eq!(encoding.ids.len(), encoding.offsets.len());
            // Offsets count characters.
            assert!(encoding.offsets.iter().all(|(start, end)| start <= end && *end <= text.chars().count()));
        }
    }
}

/// What stands beside `config.json` in a folder, a file after another in this order; one of no bytes is not there.
const FILES: [&str; 10] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "router_config.json",
    "artifact.metadata",
    "tokenizer.json",
];

/// A folder's small files, to a plan and the tokens of a text.
pub fn beside(data: &[u8]) {
    let given = FILES.into_iter().zip(data.split(|byte| *byte == BETWEEN)).filter(|(_, bytes)| !bytes.is_empty());
    let files: Vec<(&str, &[u8])> = given.chain([("config.json", CONFIG)]).collect();
    let Ok(folder) = folder(&files) else { return };
    let _ = Loader::new(&folder, Device::Cpu(None), None, None);
    let tokens = || Tokens::new(folder.tokenizer()?, 64, &folder.beside_tokenizer(false)?);
    if let Ok(tokens) = tokens() {
        let _ = tokens.encode("A [MASK] text, <s> it is.");
        let _ = tokens.prompt_tokens("A query: ");
    }
}

/// A `model.safetensors` in chunks of odd sizes, to a vector.
pub fn weights(data: &[u8]) {
    load(&[("config.json", CONFIG)], data);
}

/// An `embedlet.json`, alone and beside weights.
pub fn packed(data: &[u8]) {
    let (json, weights) = halves(data);
    let _ = Packed::parse(json);
    load(&[("config.json", CONFIG), (FILE, json)], if weights.is_empty() { WEIGHTS } else { weights });
}

fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == BETWEEN) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

fn folder(files: &[(&str, &[u8])]) -> embedlet::Result<Folder> {
    let mut folder = Folder::new();
    loop {
        let wanted = folder.wanted()?;
        if wanted.is_empty() {
            return Ok(folder);
        }
        for path in wanted {
            // Routes have their own.
            let below = |end: &str| path.ends_with(end) && path.contains('_');
            let usual = [("tokenizer.json", TOKENIZER), ("config.json", CONFIG)];
            let known = files.iter().chain(&usual[..1]).find(|(name, _)| *name == path);
            let known = known.or_else(|| usual.iter().find(|(name, _)| below(&format!("/{name}"))));
            folder.put(&path, known.map(|(_, bytes)| bytes.to_vec()))?;
        }
    }
}

fn load(files: &[(&str, &[u8])], weights: &[u8]) {
    static TEXTS: LazyLock<Vec<&str>> = LazyLock::new(|| vec!["a text", "and another"]);
    let run = || -> embedlet::Result<()> {
        let mut loader = Loader::new(&folder(files)?, Device::Cpu(None), None, None)?;
        for path in loader.files().to_vec() {
            loader.begin(&path, None, false)?;
            for chunk in weights.chunks(977) {
                loader.push(&path, chunk)?;
            }
            loader.end(&path)?;
        }
        let model = pollster::block_on(loader.finish())?;
        pollster::block_on(model.embed(&TEXTS, &EmbedOptions::default())?.run(&model))?;
        Ok(())
    };
    let _ = run();
}
