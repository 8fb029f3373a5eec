//! Damaged and hostile model folders: a typed error in under a second, and the next load works.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use embedlet::error::Result;
use embedlet::folder::Folder;
use embedlet::model::{EmbedOptions, Loader, Model};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{On, fixtures};

const WEIGHTS: &str = "model.safetensors";

type Files = BTreeMap<String, Vec<u8>>;

/// A model folder in memory, to be damaged.
fn files(model: &str) -> Files {
    fn collect(root: &Path, dir: &Path, files: &mut Files) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let root = fixtures().join("models").join(model);
    let mut files = Files::new();
    collect(&root, &root, &mut files);
    files
}

fn load(files: &Files, on: On, chunk: usize, sha256: Option<&str>) -> Result<Model> {
    let mut folder = Folder::new();
    loop {
        let wanted = folder.wanted()?;
        if wanted.is_empty() {
            break;
        }
        for path in wanted {
            folder.put(&path, files.get(&path).cloned())?;
        }
    }
    let mut loader = Loader::new(&folder, on.device(), None, None)?;
    // Several files a chunk each in turn, as a browser gives them.
    let paths = loader.files().to_vec();
    paths.iter().try_for_each(|path| loader.begin(path, sha256, false))?;
    let mut open: Vec<_> = paths.iter().map(|path| (path, files[path].chunks(chunk))).collect();
    while !open.is_empty() {
        let mut going_on = Vec::new();
        for (path, mut chunks) in open {
            match chunks.next() {
                Some(chunk) => {
                    loader.push(path, chunk)?;
                    going_on.push((path, chunks));
                }
                None => loader.end(path)?,
            }
        }
        open = going_on;
    }
    pollster::block_on(loader.finish())
}

fn embed(model: &Model, text: &str) -> Result<Vec<f32>> {
    pollster::block_on(model.embed(&[text], &EmbedOptions::default())?.run(model)).map(|result| result.data)
}

fn edit(files: &mut Files, path: &str, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&files[path]).unwrap();
    change(&mut value);
    files.insert(path.into(), serde_json::to_vec(&value).unwrap());
}

/// Changes the header of the weights, whose length may change with it.
fn edit_header(files: &mut Files, change: impl FnOnce(&mut Value)) {
    edit_header_text(files, |text| {
        let mut header = serde_json::from_str(&text).unwrap();
        change(&mut header);
        header.to_string()
    });
}

/// The same where it need not be JSON any more.
fn edit_header_text(files: &mut Files, change: impl FnOnce(String) -> String) {
    let bytes = &files[WEIGHTS];
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = change(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
    let changed = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    files.insert(WEIGHTS.into(), changed);
}

/// An entry of a tensor without elements.
fn empty(name: &str, shape: &Value) -> String {
    format!(
        "{},",
        json!({ name: { "dtype": "F32", "shape": shape, "data_offsets": [0, 0] } })
            .to_string()
            .trim_matches(['{', '}'])
            .to_owned()
            + "}"
    )
}

const NORM: &str = "embeddings.LayerNorm.weight";

#[test]
fn damage_is_a_typed_error() {
    type Damage = fn(&mut Files);
    let cases: Vec<(&str, &str, Damage)> = vec![
        ("no config", "missing-file", |f| drop(f.remove("config.json"))),
        ("no tokenizer", "missing-file", |f| drop(f.remove("tokenizer.json"))),
        ("no pooling", "missing-file", |f| drop(f.remove("1_Pooling/config.json"))),
        ("a page for a config", "html-instead-of-file", |f| {
            drop(f.insert("config.json".into(), b"<!DOCTYPE html>".into()))
        }),
        ("a page for weights", "html-instead-of-file", |f| {
            drop(f.insert(WEIGHTS.into(), b"\n<html><body>Not found".into()))
        }),
        ("config cut off", "invalid-file", |f| f.get_mut("config.json").unwrap().truncate(20)),
        ("config is a list", "invalid-file", |f| drop(f.insert("config.json".into(), b"[]".into()))),
        ("weights empty", "truncated-file", |f| f.get_mut(WEIGHTS).unwrap().clear()),
        ("weights cut in the header", "truncated-file", |f| f.get_mut(WEIGHTS).unwrap().truncate(100)),
        ("weights cut in the data", "truncated-file", |f| {
            let w = f.get_mut(WEIGHTS).unwrap();
            w.truncate(w.len() - 1)
        }),
        ("weights with a tail", "truncated-file", |f| f.get_mut(WEIGHTS).unwrap().push(0)),
        ("weights are noise", "invalid-file", |f| drop(f.insert(WEIGHTS.into(), vec![0xab; 4096]))),
        ("header is not JSON", "invalid-file", |f| f.get_mut(WEIGHTS).unwrap()[9] = b'!'),
        ("a tensor is missing", "missing-tensor", |f| {
            edit_header(f, |h| {
                let t = h[NORM].take();
                h.as_object_mut().unwrap().remove(NORM);
                h["other"] = t;
            })
        }),
        ("a tensor has another shape", "wrong-shape", |f| edit_header(f, |h| h[NORM]["shape"] = json!([4, 8]))),
        ("a tensor without rows", "wrong-shape", |f| {
            edit_header(f, |h| {
                let at = h[NORM]["data_offsets"][0].clone();
                h["other"] = h[NORM].take();
                h[NORM] = json!({ "dtype": "F32", "shape": [0, 32], "data_offsets": [at, at] });
            })
        }),
        ("a tensor that is there twice", "invalid-file", |f| {
            edit_header_text(f, |text| {
                let entry = serde_json::from_str::<Value>(&text).unwrap()[NORM].to_string();
                text.replacen('{', &format!("{{\"{NORM}\":{entry},"), 1)
            })
        }),
        ("a setting that is there twice", "invalid-file", |f| {
            let text = String::from_utf8(f["config.json"].clone()).unwrap();
            drop(f.insert("config.json".into(), text.replacen('{', "{\"hidden_size\": 32,", 1).into()))
        }),
        ("a header that begins with a blank", "invalid-file", |f| edit_header_text(f, |text| format!(" {text}"))),
        ("a tensor of ten thousand dimensions", "limit-exceeded", |f| {
            edit_header_text(f, |text| text.replacen('{', &format!("{{{}", empty("x", &json!(vec![0; 10_000]))), 1))
        }),
        ("many tensors", "limit-exceeded", |f| {
            let many: String = (0..5000).map(|index| empty(&format!("x{index}"), &json!([0]))).collect();
            edit_header_text(f, |text| text.replacen('{', &format!("{{{many}"), 1))
        }),
        ("a shape past all memory", "invalid-file", |f| edit_header(f, |h| h[NORM]["shape"] = json!([u64::MAX, 2]))),
        ("a tensor before the file", "invalid-file", |f| edit_header(f, |h| h[NORM]["data_offsets"][0] = json!(-1))),
        ("tensors that overlap", "invalid-file", |f| edit_header(f, |h| h[NORM]["data_offsets"] = json!([0, 128]))),
        ("metadata without an end", "invalid-file", |f| {
            edit_header_text(f, |text| text.replacen('{', &format!("{{\"__metadata__\":{}", "[".repeat(100_000)), 1))
        }),
        ("a header of four gigabytes", "invalid-file", |f| f.get_mut(WEIGHTS).unwrap()[4] = 1),
        ("a tensor is integer", "unsupported-dtype", |f| edit_header(f, |h| h[NORM]["dtype"] = json!("I32"))),
        ("an unknown architecture", "unsupported-architecture", |f| {
            edit(f, "config.json", |c| c["model_type"] = json!("perceiver"))
        }),
        ("no architecture", "unsupported-architecture", |f| {
            edit(f, "config.json", |c| drop(c.as_object_mut().unwrap().remove("model_type")))
        }),
        ("hidden_size of a billion", "limit-exceeded", |f| {
            edit(f, "config.json", |c| c["hidden_size"] = json!(1_000_000_000))
        }),
        ("vocab_size of 2^63", "limit-exceeded", |f| edit(f, "config.json", |c| c["vocab_size"] = json!(1u64 << 63))),
        ("no token types", "wrong-shape", |f| edit(f, "config.json", |c| c["type_vocab_size"] = json!(0))),
        ("hidden_size of another model", "wrong-shape", |f| edit(f, "config.json", |c| c["hidden_size"] = json!(64))),
        ("heads that do not divide", "unsupported-option", |f| {
            edit(f, "config.json", |c| c["num_attention_heads"] = json!(5))
        }),
        ("an unknown activation", "unsupported-option", |f| {
            edit(f, "config.json", |c| c["hidden_act"] = json!("mish"))
        }),
        ("relative positions", "unsupported-option", |f| {
            edit(f, "config.json", |c| c["position_embedding_type"] = json!("relative_key"))
        }),
        ("a decoder", "unsupported-option", |f| edit(f, "config.json", |c| c["is_decoder"] = json!(true))),
        ("an eps of zero", "invalid-file", |f| edit(f, "config.json", |c| c["layer_norm_eps"] = json!(0.0))),
        ("an unknown module", "unsupported-option", |f| edit(f, "modules.json", |m| m[1]["type"] = json!("x.CNN"))),
        ("an unknown pooling", "unsupported-option", |f| {
            drop(f.insert("1_Pooling/config.json".into(), br#"{"pooling_mode": "attention"}"#.into()))
        }),
        ("a limit with no room", "invalid-tokenizer", |f| {
            edit(f, "sentence_bert_config.json", |c| c["max_seq_length"] = json!(2))
        }),
    ];
    let text = "a small text";
    for on in On::BOTH {
        let expected = embed(&load(&files("bert-mean"), on, 4096, None).unwrap(), text).unwrap();
        for (name, code, damage) in &cases {
            let mut damaged = files("bert-mean");
            damage(&mut damaged);
            let start = Instant::now();
            let error = load(&damaged, on, 4096, None).err().unwrap_or_else(|| panic!("{name} loaded"));
            assert_eq!(error.code(), *code, "{name}: {error}");
            assert!(start.elapsed() < Duration::from_secs(1), "{name} took {:?}", start.elapsed());
            assert!(error.to_string().len() < 2000, "{name} floods the log");
        }
        let again = embed(&load(&files("bert-mean"), on, 4096, None).unwrap(), text).unwrap();
        assert_eq!(again, expected, "the load after the faults differs");
    }
}

#[path = "fuzz/targets.rs"]
mod targets;

/// Every seed of the fuzzers, and each of them cut, doubled and with bytes changed.
#[test]
fn seeds_of_the_fuzzers_come_back() {
    type Target = fn(&[u8]);
    let all: [(&str, Target); 5] = [
        ("config", targets::config),
        ("tokenizer", targets::tokenizer),
        ("weights", targets::weights),
        ("packed", targets::packed),
        ("beside", targets::beside),
    ];
    for (name, target) in all {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
        let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let bytes = std::fs::read(&seed).unwrap();
            let mut variants =
                vec![bytes.clone(), bytes[..bytes.len() / 2].to_vec(), [&bytes[..], &bytes[..]].concat()];
            for nth in 1..8 {
                let mut changed = bytes.clone();
                let at = bytes.len() * nth / 8;
                changed[at] = changed[at].wrapping_add(1);
                variants.push(changed);
            }
            for variant in variants {
                let start = Instant::now();
                target(&variant);
                assert!(start.elapsed() < Duration::from_secs(1), "{} took {:?}", seed.display(), start.elapsed());
            }
        }
    }
}

/// What is odd and harmless: names that mean something elsewhere, and data that does not begin at a multiple of four.
#[test]
fn odd_headers_load() {
    let expected = embed(&load(&files("bert-mean"), On::Cpu, 4096, None).unwrap(), "a text").unwrap();
    for name in ["__proto__", "constructor", "<img src=x onerror=alert(1)>"] {
        let mut odd = files("bert-mean");
        edit_header_text(&mut odd, |text| {
            let text = text.trim_end().replacen('{', &format!("{{{}", empty(name, &json!([0, u64::MAX / 2]))), 1);
            let padding = if text.len() % 2 == 0 { " " } else { "" };
            format!("{text}{padding}")
        });
        for on in On::BOTH {
            let found = embed(&load(&odd, on, 4096, None).unwrap(), "a text").unwrap();
            assert!(crate::support::max_abs(&found, &expected) < 1e-5, "{name} on {on:?}");
        }
    }
}

/// As sentence-transformers gives them.
#[test]
fn zeros_of_any_length_are_zeros() {
    let mut zeros = files("bert-mean");
    let bytes = zeros.get_mut(WEIGHTS).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].fill(0);
    for on in On::BOTH {
        let model = load(&zeros, on, 4096, None).unwrap();
        assert!(model.info().normalized);
        assert_eq!(embed(&model, "a text"), Ok(vec![0.0; 32]), "{on:?}");
    }
}

#[test]
fn hashes_are_checked() {
    let files = files("bert-mean");
    let hex: String = Sha256::digest(&files[WEIGHTS]).iter().map(|byte| format!("{byte:02X}")).collect();
    assert!(load(&files, On::Cpu, 1000, Some(&hex)).is_ok());
    let wrong = hex.replace('A', "B");
    assert_eq!(load(&files, On::Cpu, 1000, Some(&wrong)).err().unwrap().code(), "wrong-hash");
    assert_eq!(load(&files, On::Cpu, 1000, Some("12")).err().unwrap().code(), "invalid-argument");
}

#[test]
fn a_token_past_the_vocabulary_is_refused() {
    let mut files = files("bert-mean");
    edit(&mut files, "tokenizer.json", |t| t["model"]["vocab"]["a"] = json!(5000));
    for on in On::BOTH {
        let model = load(&files, on, 4096, None).unwrap();
        assert_eq!(embed(&model, "a").unwrap_err().code(), "token-out-of-range");
        assert!(embed(&model, "b").is_ok(), "the model is unusable after the error");
    }
}

#[test]
fn chunks_of_any_size_give_the_same_model() {
    for name in ["bert-odd", "bert-dense", "bert-plain"] {
        let files = files(name);
        let whole = embed(&load(&files, On::Cpu, 1 << 20, None).unwrap(), "chunks").unwrap();
        for chunk in [1, 3, 7, 1021] {
            assert_eq!(
                embed(&load(&files, On::Cpu, chunk, None).unwrap(), "chunks").unwrap(),
                whole,
                "{name}, {chunk}"
            );
        }
    }
}

#[test]
fn arguments_are_checked() {
    let model = load(&files("bert-mean"), On::Cpu, 4096, None).unwrap();
    for options in [
        json!({ "dimensions": 0 }),
        json!({ "dimensions": 33 }),
        json!({ "pooling": "median" }),
        json!({ "pooling": [] }),
        json!({ "pooling": ["cls", "cls"] }),
        json!({ "promptName": "absent" }),
        json!({ "layers": 0 }),
        json!({ "layers": 3 }),
        json!({ "attentionTemperature": 0.0 }),
    ] {
        let parsed: EmbedOptions = serde_json::from_value(options.clone()).unwrap();
        let error = model.embed(&["a"], &parsed).err().unwrap();
        assert_eq!(error.code(), "invalid-argument", "{options}");
    }
    assert!(serde_json::from_value::<EmbedOptions>(json!({ "dimension": 8 })).is_err(), "unknown options are refused");
    let long = "a ".repeat(600_000);
    assert_eq!(embed(&model, &long).unwrap_err().code(), "limit-exceeded");
    let nothing: [&str; 0] = [];
    let call = model.embed(&nothing, &EmbedOptions::default()).unwrap();
    assert!(pollster::block_on(call.run(&model)).unwrap().data.is_empty());
}

const INDEX: &str = "model.safetensors.index.json";

/// Cuts the weights in two, with an index, and puts a prefix in front of every name.
fn shard(files: &mut Files, prefix: &str) {
    let bytes = files.remove(WEIGHTS).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for (number, name) in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].iter().enumerate() {
        let own = whole.tensors().into_iter().enumerate().filter(|(index, _)| index % 2 == number);
        let own: Vec<_> = own.map(|(_, (tensor, view))| (format!("{prefix}{tensor}"), view)).collect();
        map.extend(own.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
        files.insert((*name).into(), safetensors::serialize(own, None).unwrap());
    }
    let index = json!({ "metadata": { "total_size": bytes.len() }, "weight_map": map });
    files.insert(INDEX.into(), serde_json::to_vec(&index).unwrap());
}

#[test]
fn a_checkpoint_in_several_files_is_the_same_model() {
    for on in On::BOTH {
        let whole = embed(&load(&files("bert-odd"), on, 4096, None).unwrap(), "shards").unwrap();
        for prefix in ["", "bert."] {
            let mut sharded = files("bert-odd");
            shard(&mut sharded, prefix);
            assert_eq!(embed(&load(&sharded, on, 1021, None).unwrap(), "shards").unwrap(), whole, "{prefix}");
        }
    }
}

#[test]
fn a_damaged_index_is_a_typed_error() {
    let name = "embeddings.LayerNorm.bias";
    type Damage = fn(&mut Value);
    let cases: [(&str, &str, Damage); 8] = [
        ("no map", "invalid-file", |index| drop(index.as_object_mut().unwrap().remove("weight_map"))),
        ("no file", "invalid-file", |index| index["weight_map"]["embeddings.LayerNorm.bias"] = json!(1)),
        ("outside", "unsupported-option", |index| index["weight_map"]["x"] = json!("../model.safetensors")),
        ("absolute", "unsupported-option", |index| index["weight_map"]["x"] = json!("/etc/model.safetensors")),
        ("elsewhere", "unsupported-option", |index| index["weight_map"]["x"] = json!("https://a/b.safetensors")),
        ("no weights", "unsupported-option", |index| index["weight_map"]["x"] = json!("pytorch_model.bin")),
        ("many files", "limit-exceeded", |index| {
            (0..300).for_each(|n| index["weight_map"][n.to_string()] = json!(format!("{n}.safetensors")))
        }),
        ("a tensor less", "missing-tensor", |index| {
            drop(index["weight_map"].as_object_mut().unwrap().remove("embeddings.LayerNorm.bias"))
        }),
    ];
    for (case, code, damage) in cases {
        let mut damaged = files("bert-odd");
        shard(&mut damaged, "");
        edit(&mut damaged, INDEX, damage);
        let error = load(&damaged, On::Cpu, 4096, None).err().unwrap_or_else(|| panic!("{case} loaded"));
        assert_eq!(error.code(), code, "{case}: {error}");
    }
    // The index says one file, the tensor is in the other.
    let mut wrong = files("bert-odd");
    shard(&mut wrong, "");
    edit(&mut wrong, INDEX, |index| {
        let file = &mut index["weight_map"][name];
        *file = json!(
            file.as_str().unwrap().replace("00001-", "0000X-").replace("00002-", "00001-").replace("0000X-", "00002-")
        );
    });
    assert_eq!(load(&wrong, On::Cpu, 4096, None).err().unwrap().code(), "missing-tensor");
}

/// The weights of a table of embeddings, of these names and shapes, all zero.
fn tables(shapes: &[(&str, &[usize])]) -> Vec<u8> {
    let zeros = vec![0; 1 << 16];
    let view = |shape: &[usize]| {
        let bytes = &zeros[..4 * shape.iter().product::<usize>()];
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).unwrap()
    };
    safetensors::serialize(shapes.iter().map(|(name, shape)| (*name, view(shape))), None).unwrap()
}

#[test]
fn a_damaged_table_of_embeddings_is_a_typed_error() {
    let cases: [(&str, Vec<u8>); 7] = [
        ("missing-tensor", tables(&[("weight", &[400, 8])])),
        ("wrong-shape", tables(&[("embeddings", &[400])])),
        ("unsupported-option", tables(&[("embeddings", &[400, 8]), ("mapping", &[400])])),
        ("unsupported-option", tables(&[("embeddings", &[400, 8]), ("weights", &[400])])),
        ("truncated-file", Vec::new()),
        ("truncated-file", tables(&[("embeddings", &[400, 8])])[..40].to_vec()),
        ("html-instead-of-file", b"<!DOCTYPE html>".to_vec()),
    ];
    for (code, weights) in cases {
        let mut damaged = files("model2vec");
        damaged.insert(WEIGHTS.into(), weights);
        let error = load(&damaged, On::Cpu, 7, None).err().unwrap_or_else(|| panic!("{code} loaded"));
        assert_eq!(error.code(), code, "{error}");
    }
    let mut cut = files("model2vec");
    edit(&mut cut, "tokenizer.json", |t| {
        t["truncation"] = json!({ "max_length": 8, "strategy": "LongestFirst", "stride": 0 })
    });
    // As tokenizers does, which sentence-transformers leaves that to.
    let model = load(&cut, On::Cpu, 4096, None).unwrap();
    assert_eq!(model.tokenize(&"boat ".repeat(50)).unwrap().ids.len(), 8);
    let small = files("model2vec");
    for on in On::BOTH {
        let nothing = embed(&load(&small, on, 4096, None).unwrap(), "").unwrap();
        assert_eq!(nothing, [0.0; 8], "a text without tokens");
    }
    let hex: String = Sha256::digest(&small[WEIGHTS]).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(load(&small, On::Gpu, 3, Some(&hex)).is_ok(), "in small chunks, with its hash");
    assert_eq!(load(&small, On::Cpu, 4096, Some(&hex.replace('a', "b"))).err().unwrap().code(), "wrong-hash");
}
