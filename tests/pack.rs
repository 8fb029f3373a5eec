//! Packing: small folders that give nearly the vectors of the original, and are refused where they were damaged.

use std::path::{Path, PathBuf};

use embedlet::Error;
use embedlet::model::{EmbedOptions, Info, Model};
use embedlet::native;
use embedlet::pack::{Dtype, Options, Report, pack};
use embedlet::program::Precision;
use serde_json::{Value, json};

use crate::support::{On, Scratch, files, fixtures, json, load, max_abs, min_cosine, minilm};

fn options(dtype: Dtype) -> Options {
    Options { dtype, agreement: 0.97, calibration: None, prune_vocab: None, task: None, source: None }
}

fn packed(from: &Path, dtype: Dtype, name: &str) -> (Scratch, Report) {
    let to = Scratch::new(name);
    let report = pack(from, &to.0, &options(dtype), &mut |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"));
    (to, report)
}

fn embed(model: &Model, texts: &[&str]) -> Vec<f32> {
    pollster::block_on(model.embed(texts, &EmbedOptions::default()).unwrap().run(model)).unwrap().data
}

const TEXTS: [&str; 3] = ["a short text", "Another one, which is somewhat longer than the first!", "x"];

/// The folders of tiny models of every architecture.
fn architectures() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(fixtures().join("architectures")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders
        .extend(["bert-dense", "bert-odd", "model2vec", "static-bag"].map(|name| fixtures().join("models").join(name)));
    folders.sort();
    folders
}

#[test]
fn every_architecture_packs_and_loads_again() {
    let mut in_integers = 0;
    for folder in architectures() {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let original = load(&folder, On::Cpu, Some(Precision::F32));
        let (expected, width) = (embed(&original, &TEXTS), original.info().dimensions);
        for (dtype, least) in [(Dtype::Q8, 0.95), (Dtype::Q4, 0.5)] {
            let (to, report) = packed(&folder, dtype, &format!("{name}-{}", dtype.name()));
            assert!(report.loss.cosine_min > least - 0.1, "{name} {}: {:?}", dtype.name(), report.loss);
            // Weights of these models are wide: what little is off grows from layer to layer. Loading compares the folder's own
            // vectors with those of the device.
            let on_cpu = embed(&load(&to.0, On::Cpu, None), &TEXTS);
            let cosine = min_cosine(&on_cpu, &expected, width);
            assert!(cosine > least, "{name} {}: {cosine}", dtype.name());
            // There kernels read the integers, where they can.
            let model = load(&to.0, On::Gpu, None);
            in_integers += usize::from(model.info().precision == "packed");
            let cosine = min_cosine(&embed(&model, &TEXTS), &on_cpu, width);
            assert!(cosine > 0.99999, "{name} {} on the GPU: {cosine}", dtype.name());
        }
    }
    assert!(in_integers > 40, "only {in_integers} folders are in integers on a GPU");
}

#[test]
fn what_is_packed_is_integers_beside_their_scales() {
    let (to, report) = packed(&fixtures().join("architectures/bert-1"), Dtype::Q4, "format");
    let about: Value = serde_json::from_slice(&std::fs::read(to.0.join("embedlet.json")).unwrap()).unwrap();
    assert_eq!((&about["embedlet"], &about["dtype"]), (&1.into(), &"q4".into()));
    let written = |key: &str| about["loss"][key].as_f64().unwrap();
    assert!((written("top10Agreement") - report.loss.top10_agreement).abs() < 1e-12);
    assert!((written("cosineMin") - report.loss.cosine_min).abs() < 1e-12 && written("texts") == 122.0);
    let bytes = std::fs::read(to.0.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors = about["tensors"].as_object().unwrap();
    assert!(!tensors.is_empty());
    for (name, entry) in tensors {
        let size = |key: &str| entry[key].as_u64().unwrap() as usize;
        let (rows, columns) =
            (entry["shape"][0].as_u64().unwrap() as usize, entry["shape"][1].as_u64().unwrap() as usize);
        let groups = columns.div_ceil(size("group"));
        let shape = |name: &str| (file.tensor(name).unwrap().dtype(), file.tensor(name).unwrap().shape().to_vec());
        let of_bits = (columns * size("bits")).div_ceil(8);
        assert_eq!(shape(name), (safetensors::Dtype::U8, vec![rows, of_bits]));
        assert_eq!(shape(&format!("{name}.scales")), (safetensors::Dtype::F16, vec![rows, groups]));
        let zeros = file.tensor(&format!("{name}.zeros"));
        assert_eq!(zeros.is_ok(), entry["zeros"].as_bool().unwrap());
    }
    // Every other tensor is as it was, or in halves.
    let original = std::fs::read(fixtures().join("architectures/bert-1/model.safetensors")).unwrap();
    let original = safetensors::SafeTensors::deserialize(&original).unwrap();
    for name in file.names().into_iter().filter(|name| original.names().contains(name) && !tensors.contains_key(*name))
    {
        assert_eq!(file.tensor(name).unwrap().shape(), original.tensor(name).unwrap().shape(), "{name}");
    }
    assert!(report.left_out.iter().all(|name| file.tensor(name).is_err()));
}

#[test]
fn vectors_that_the_folder_cuts_are_measured_as_they_are() {
    let from = Scratch::new("cut-from");
    for (name, bytes) in files(&fixtures().join("models/bert-mean")) {
        from.put(&name, &bytes);
    }
    from.put("config_sentence_transformers.json", json!({ "truncate_dim": 20 }).to_string().as_bytes());
    let (to, report) = packed(&from.0, Dtype::Q8, "cut-to");
    let about: Value = serde_json::from_slice(&std::fs::read(to.0.join("embedlet.json")).unwrap()).unwrap();
    let golden = about["golden"].as_array().unwrap();
    assert!(golden.len() == 3 && golden.iter().all(|golden| golden["vector"].as_array().unwrap().len() == 20));
    let texts: Vec<&str> = golden.iter().map(|golden| golden["text"].as_str().unwrap()).collect();
    let (expected, found) = [&from.0, &to.0].map(|folder| embed(&load(folder, On::Cpu, None), &texts)).into();
    assert!(min_cosine(&found, &expected, 20) > 0.99 && report.loss.cosine_min > 0.99, "{:?}", report.loss);
}

#[test]
fn what_was_packed_earlier_is_read() {
    let folder = fixtures().join("packed/modernbert-q4");
    let [on_cpu, on_gpu] = On::BOTH.map(|on| load(&folder, on, None));
    assert_eq!(on_gpu.info().precision, "packed");
    assert!(min_cosine(&embed(&on_gpu, &TEXTS), &embed(&on_cpu, &TEXTS), 24) > 0.99999);
}

#[test]
fn packing_again_gives_the_same_bytes() {
    let folder = fixtures().join("architectures/bert-1");
    let ((a, _), (b, _)) = (packed(&folder, Dtype::Q6, "same-a"), packed(&folder, Dtype::Q6, "same-b"));
    for file in ["model.safetensors", "embedlet.json"] {
        assert!(std::fs::read(a.0.join(file)).unwrap() == std::fs::read(b.0.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn auto_takes_the_smallest_that_is_near_enough() {
    let folder = fixtures().join("architectures/bert-1");
    let run = |agreement: f64| {
        let to = Scratch::new(&format!("auto-{agreement}"));
        pack(&folder, &to.0, &Options { agreement, ..options(Dtype::Auto) }, &mut |_| {}).unwrap()
    };
    assert_eq!(run(0.0).dtype, Dtype::Q4);
    assert_eq!(run(1.1).dtype, Dtype::F16);
    let between = run(0.9);
    assert!(between.loss.top10_agreement >= 0.9, "{between:?}");
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let folder = fixtures().join("architectures/bert-1");
    let (to, _) = packed(&folder, Dtype::Q8, "refused");
    let refused = |from: &Path, to: &Path, options: &Options| pack(from, to, options, &mut |_| {}).unwrap_err().code();
    let elsewhere = Scratch::new("refused-elsewhere");
    assert_eq!(refused(&folder, &to.0, &options(Dtype::Q8)), "invalid-argument", "it is not empty");
    assert_eq!(refused(&to.0, &elsewhere.0, &options(Dtype::Q8)), "invalid-argument", "it is packed");
    let few = Options { calibration: Some(vec!["a text".into(); 20]), ..options(Dtype::Q8) };
    assert_eq!(refused(&folder, &elsewhere.0, &few), "invalid-argument", "too few texts");
}

/// WordPiece, BPE and Unigram: the texts that were pruned for keep their vectors, others can still be read.
#[test]
fn a_pruned_vocabulary_gives_the_same_vectors_for_its_texts() {
    let corpus: Vec<String> =
        ["the cat sat on the mat", "a dog ran", "Rust is fast!", "naïve café"].map(str::to_owned).into();
    let texts: Vec<&str> = corpus.iter().map(String::as_str).collect();
    for name in ["bert-1", "roberta-1", "qwen3-1", "xlm-roberta-1", "t5-1", "mpnet-1"] {
        let folder = fixtures().join("architectures").join(name);
        let to = Scratch::new(&format!("pruned-{name}"));
        let options = Options { prune_vocab: Some(corpus.clone()), ..options(Dtype::F16) };
        let report = pack(&folder, &to.0, &options, &mut |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"));
        let pruned = report.pruned.unwrap();
        assert!(pruned.tokens < pruned.tokens_before, "{name}: {pruned:?}");
        let (original, small) = (load(&folder, On::Cpu, None), load(&to.0, On::Cpu, None));
        let (expected, found) = (embed(&original, &texts), embed(&small, &texts));
        assert!(min_cosine(&found, &expected, original.info().dimensions) > 0.999, "{name}");
        for text in &texts {
            assert_eq!(original.tokenize(text).unwrap().tokens, small.tokenize(text).unwrap().tokens, "{name}");
        }
        // Never seen before: spelled out of what is left.
        assert!(embed(&small, &["zygote quartz"]).iter().all(|value| value.is_finite()));
    }
}

/// Copies a folder, of whose weights those are zero that `is_zero` says, by the name of their tensor, row and column.
fn with_zeros(from: &Path, to: &Path, is_zero: impl Fn(&str, usize, usize) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let path = to.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    for (name, entry) in header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__") {
        let numbers = |key: &str| -> Vec<usize> { serde_json::from_value(entry[key].clone()).unwrap() };
        let (shape, place) = (numbers("shape"), numbers("data_offsets"));
        let columns = shape[shape.len() - 1];
        let size = (place[1] - place[0]) / shape.iter().product::<usize>();
        let values = bytes[start + place[0]..start + place[1]].chunks_exact_mut(size).enumerate();
        values.filter(|(at, _)| is_zero(name, at / columns, at % columns)).for_each(|(_, value)| value.fill(0));
    }
    std::fs::write(&path, bytes).unwrap();
}

/// Heads that were pruned, and layers of which two in four weights are zero, take no room, and stay exactly zero.
#[test]
fn what_is_zero_is_not_stored() {
    let original = fixtures().join("models/bert-plain");
    let sparse = Scratch::new("sparse");
    with_zeros(&original, &sparse.0, |name, row, column| match name {
        _ if name.ends_with("layer.0.attention.self.value.weight") => row < 16,
        _ if name.ends_with("layer.0.attention.output.dense.weight") => column < 16,
        _ if name.ends_with("layer.1.intermediate.dense.weight") => (row + column / 4 + column) % 2 == 0,
        _ => false,
    });
    let model = load(&sparse.0, On::Cpu, Some(Precision::F32));
    let (expected, width) = (embed(&model, &TEXTS), model.info().dimensions);
    for (dtype, least) in [(Dtype::Q8, 0.99), (Dtype::Q4, 0.8)] {
        let (whole, _) = packed(&original, dtype, "whole");
        let (to, _) = packed(&sparse.0, dtype, &format!("sparse-{}", dtype.name()));
        let about: Value = serde_json::from_slice(&std::fs::read(to.0.join("embedlet.json")).unwrap()).unwrap();
        let stored: Vec<String> = about["tensors"]
            .as_object()
            .unwrap()
            .iter()
            .filter_map(|(name, entry)| Some(format!("{name}: {}", entry.get("stored")?)))
            .collect();
        assert_eq!(stored.len(), 3, "{stored:?}");
        let size = |folder: &Path| std::fs::metadata(folder.join("model.safetensors")).unwrap().len();
        assert!(size(&to.0) < size(&whole.0), "{} is not less than {}", size(&to.0), size(&whole.0));
        let on_cpu = embed(&load(&to.0, On::Cpu, None), &TEXTS);
        let cosine = min_cosine(&on_cpu, &expected, width);
        assert!(cosine > least, "{dtype:?}: {cosine}");
        let on_gpu = embed(&load(&to.0, On::Gpu, None), &TEXTS);
        let cosine = min_cosine(&on_gpu, &on_cpu, width);
        assert!(cosine > 0.99999, "{dtype:?} on the GPU: {cosine}");
    }
}

/// Loads a packed folder with one of its files changed.
fn damaged(folder: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<Info, Error> {
    let path = folder.join(file);
    let before = std::fs::read(&path).unwrap();
    let mut bytes = before.clone();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    let loaded = native::load(folder, On::Cpu.device(), None, None, &mut |_, _| {}).map(|model| model.info());
    std::fs::write(&path, before).unwrap();
    loaded
}

#[test]
fn every_byte_is_known() {
    let (to, _) = packed(&fixtures().join("architectures/bert-1"), Dtype::Q4, "damaged");
    let size = std::fs::metadata(to.0.join("model.safetensors")).unwrap().len() as usize;
    for at in [9, size / 3, size / 2, size - 1] {
        let found = damaged(&to.0, "model.safetensors", |bytes| bytes[at] ^= 0x10).unwrap_err().code();
        assert!(["wrong-hash", "invalid-file", "missing-tensor", "wrong-shape"].contains(&found), "{at}: {found}");
    }
    for file in ["config.json", "tokenizer.json"] {
        let found = damaged(&to.0, file, |bytes| bytes.push(b' ')).unwrap_err();
        assert_eq!(found.code(), "wrong-hash", "{file}");
    }
    let edit = |change: &dyn Fn(&mut Value)| {
        damaged(&to.0, "embedlet.json", |bytes| {
            let mut about = serde_json::from_slice(bytes).unwrap();
            change(&mut about);
            *bytes = serde_json::to_vec(&about).unwrap();
        })
        .map_err(|error| error.code())
        .map(|_| ())
    };
    assert_eq!(edit(&|_| {}), Ok(()));
    let table = "embeddings.word_embeddings.weight";
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Change, &str); 7] = [
        (&|about| about["golden"][0]["vector"][0] = 3.into(), "self-check-failed"),
        (&|about| about["golden"][0]["text"] = "something else".into(), "self-check-failed"),
        (&|about| about["golden"][0]["vector"] = serde_json::json!([1]), "invalid-file"),
        (&|about| drop(about["tensors"].as_object_mut().unwrap().remove(table)), "unsupported-dtype"),
        (&|about| about["tensors"][table]["bits"] = 8.into(), "wrong-shape"),
        (&|about| about["tensors"][table]["shape"][0] = 7.into(), "wrong-shape"),
        (&|about| drop(about["files"].as_object_mut().unwrap().remove("config.json")), "missing-file"),
    ];
    for (index, (change, code)) in cases.into_iter().enumerate() {
        assert_eq!(edit(change), Err(code), "case {index}");
    }
    // What was damaged left nothing behind.
    assert_eq!(edit(&|_| {}), Ok(()));
}

/// The bars for the real model, rounded by the texts of the demo page: over the half of them that took no part and, lower, over the
/// texts of its golden vectors, which are of scripts and signs that none of these has.
#[test]
fn minilm_packed() {
    let texts = json("texts.json");
    let texts: Vec<&str> =
        texts["texts"].as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap()).collect();
    let short: Vec<&str> = texts.into_iter().filter(|text| text.len() < 400).collect();
    let expected = embed(&load(&minilm(), On::Cpu, None), &short);
    for (dtype, megabytes, least, odd) in [(Dtype::Q8, 23.5, 0.995, 0.995), (Dtype::Q4, 14.0, 0.95, 0.9)] {
        let (to, report) = packed(&minilm(), dtype, &format!("minilm-{}", dtype.name()));
        let cosine = min_cosine(&embed(&load(&to.0, On::Cpu, None), &short), &expected, 384);
        eprintln!("MiniLM in {}: {report:?}, min cosine over odd texts {cosine}", dtype.name());
        assert!(report.bytes as f64 <= megabytes * 1e6 && cosine >= odd && report.loss.cosine_min >= least);
        assert!(report.loss.top10_agreement >= if dtype == Dtype::Q8 { 0.97 } else { 0.9 });
        // What the file takes, a GPU takes.
        let [held, floats] = [None, Some(Precision::F32)].map(|precision| load(&to.0, On::Gpu, precision));
        assert_eq!([&held, &floats].map(|model| model.info().precision), ["packed", "f32"]);
        assert!(held.info().weight_bytes < report.bytes + (1 << 20) && floats.info().weight_bytes > 90_000_000);
        let (found, expected) = (embed(&held, &TEXTS), embed(&floats, &TEXTS));
        assert!(max_abs(&found, &expected) < 1e-6, "{}", max_abs(&found, &expected));
    }
}
