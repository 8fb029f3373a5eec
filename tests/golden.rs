//! Whole models against vectors that sentence-transformers made (tests/golden/make.py), on CPU and GPU.

use std::path::{Path, PathBuf};

use embedlet::gpu::{Gpu, Limits};
use embedlet::model::{Device, EmbedOptions, Embeddings, Kind, Model, Names};
use embedlet::native;
use embedlet::program::Precision;
use embedlet::task::{MultiOptions, Task};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::support::{On, fixtures, json, load, load_for, max_abs, min_cosine, minilm, tensors};

/// Tiny models have activations of unit size; both sides sum a few dozen terms in f32.
const TINY_MAX_ABS: f32 = 1e-5;
/// Of the largest magnitude: the weights of these models are wide, and errors grow from layer to layer.
const ARCHITECTURES_MAX: f32 = 2e-5;
/// The promise for the real model, whose vectors have unit length.
const MAX_ABS: f32 = 1e-4;
const MIN_COSINE: f64 = 0.99999;
/// Weights rounded to f16, arithmetic in f32.
const MIN_COSINE_F16: f64 = 0.9999;
/// The same for tiny models of wide weights, which errors grow in.
const MIN_COSINE_F16_MOVED: f64 = 0.999;
/// Products of integers.
const MIN_COSINE_INT8: f64 = 0.99;
/// The same on a GPU and on the host. Their products are the same to f32 rounding; but where that decides an integer, those of the next
/// layer differ, as they do on one device when one of its weights moves by a bit.
const MIN_COSINE_INT8_SAME: f64 = 0.995;
/// The same of tiny models of random, wide weights, which nothing trained to bear it.
const MIN_COSINE_INT8_TINY: f64 = 0.9;

/// Folders of tests/golden/models.
const MODELS: [&str; 7] =
    ["bert-mean", "bert-odd", "bert-dense", "bert-plain", "bert-pooling", "static-bag", "model2vec"];

fn embed(model: &Model, texts: &[String], options: &EmbedOptions) -> Embeddings {
    pollster::block_on(model.embed(texts, options).unwrap().run(model)).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The folder of a case: the model's own, or a copy with some files replaced.
fn folder(model: &str, case: &Value, target: &Path) -> PathBuf {
    let original = fixtures().join("models").join(model);
    let Some(files) = case["files"].as_object().filter(|files| !files.is_empty()) else { return original };
    let copy = target.join(format!("{model}-{}", case["name"].as_str().unwrap()));
    copy_folder(&original, &copy);
    for (path, content) in files {
        std::fs::create_dir_all(copy.join(path).parent().unwrap()).unwrap();
        std::fs::write(copy.join(path), serde_json::to_vec(content).unwrap()).unwrap();
    }
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn check_tiny(model: &str, on: On) {
    let golden = json(&format!("models/{model}.json"));
    let expected = tensors(&format!("models/{model}.expected.safetensors"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut failures = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let texts = strings(if case["texts"].is_null() { &golden["texts"] } else { &case["texts"] });
        let options: EmbedOptions = serde_json::from_value(case["options"].clone()).unwrap();
        let encoder = load(&folder(model, case, &target.join(format!("{on:?}"))), on, None);
        let found = embed(&encoder, &texts, &options);
        assert_eq!(found.dimensions as u64, case["dimensions"].as_u64().unwrap(), "{model} {name}");
        let tokens: Vec<u64> = found.tokens.iter().map(|&tokens| tokens.into()).collect();
        let expected_tokens: Vec<u64> =
            case["tokens"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        let error = max_abs(&found.data, &expected[name]);
        if tokens != expected_tokens || error.is_nan() || error > TINY_MAX_ABS {
            failures.push(format!("{name}: max abs {error:e}, tokens {tokens:?} for {expected_tokens:?}"));
        }
    }
    assert!(failures.is_empty(), "{model} on {on:?}:\n{}", failures.join("\n"));
}

#[test]
fn tiny_models_on_the_cpu() {
    MODELS.iter().for_each(|model| check_tiny(model, On::Cpu));
}

#[test]
fn tiny_models_on_the_gpu() {
    MODELS.iter().for_each(|model| check_tiny(model, On::Gpu));
}

#[test]
fn tiny_models_in_the_forms_of_hardware() {
    MODELS.iter().for_each(|model| check_tiny(model, On::Hardware));
}

/// The last hidden state of every token, against transformers, for the folders of tests/golden/architectures.
fn check_architectures(on: On, is_wanted: impl Fn(&str) -> bool) {
    let texts = strings(&json("architectures/texts.json"));
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(fixtures().join("architectures")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() >= 22);
    let mut failures = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        if !is_wanted(name) {
            continue;
        }
        let expected = tensors(&format!("architectures/{name}.safetensors"));
        let model = load(&folder, on, Some(Precision::F32));
        let options = EmbedOptions { tokens: true, ..EmbedOptions::default() };
        let found = embed(&model, &texts, &options);
        let alone = embed(&model, &texts[3..4], &options).data;
        let before: u32 = found.tokens[..3].iter().sum();
        if alone != found.data[before as usize * found.dimensions..][..alone.len()] {
            failures.push(format!("{name}: a text alone has other bits"));
        }
        let mut compare = |found: &Embeddings, of: &str| {
            let mut rest = found.data.as_slice();
            for (index, tokens) in found.tokens.iter().enumerate() {
                let (own, next) = rest.split_at(*tokens as usize * found.dimensions);
                rest = next;
                let expected = &expected[&format!("{index}{of}")];
                let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                let error = if own.len() == expected.len() { max_abs(own, expected) / largest } else { f32::INFINITY };
                if error.is_nan() || error > ARCHITECTURES_MAX {
                    failures.push(format!("{name}{of}, text {index}: {error:e}"));
                }
            }
        };
        compare(&found, "");
        let (adapters, own) = (model.info().lora_adaptations, expected.contains_key("0/vector"));
        assert_eq!(expected.len(), texts.len() * (1 + adapters.len() + usize::from(own)), "{name}");
        if own {
            // A row a text.
            let found = embed(&model, &texts, &EmbedOptions::default());
            compare(&Embeddings { tokens: vec![1; texts.len()], ..found }, "/vector");
        }
        for task in adapters {
            let of = format!("/{task}");
            compare(&embed(&model, &texts, &EmbedOptions { task: Some(task), ..options.clone() }), &of);
        }
    }
    assert!(failures.is_empty(), "on {on:?}:\n{}", failures.join("\n"));
}

/// A folder like bert-1 of which the ids are a thousand times as large, so that its table is too.
fn with_a_large_table(to: &Path) {
    const TIMES: usize = 1000;
    let from = fixtures().join("architectures/bert-1");
    let read = |name: &str| serde_json::from_slice::<Value>(&std::fs::read(from.join(name)).unwrap()).unwrap();
    let write = |name: &str, value: &Value| std::fs::write(to.join(name), value.to_string()).unwrap();
    std::fs::create_dir_all(to).unwrap();
    let times = |id: &mut Value| *id = (id.as_u64().unwrap() * TIMES as u64).into();
    let (mut config, mut tokenizer) = (read("config.json"), read("tokenizer.json"));
    times(&mut config["vocab_size"]);
    tokenizer["model"]["vocab"].as_object_mut().unwrap().values_mut().for_each(times);
    tokenizer["added_tokens"].as_array_mut().unwrap().iter_mut().for_each(|token| times(&mut token["id"]));
    let special = tokenizer["post_processor"]["special_tokens"].as_object_mut().unwrap();
    special.values_mut().for_each(|token| times(&mut token["ids"][0]));
    write("config.json", &config);
    write("tokenizer.json", &tokenizer);
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut owned: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, tensor) in file.iter() {
        let (mut shape, mut data) = (tensor.shape().to_vec(), tensor.data().to_vec());
        if name.ends_with("word_embeddings.weight") {
            let row = data.len() / shape[0];
            let mut rows = vec![0; data.len() * TIMES];
            for (row, own) in rows.chunks_exact_mut(row * TIMES).zip(data.chunks_exact(row)) {
                row[..own.len()].copy_from_slice(own);
            }
            (shape[0], data) = (shape[0] * TIMES, rows);
        }
        owned.push((name.to_owned(), tensor.dtype(), shape, data));
    }
    let views = owned.iter().map(|(name, dtype, shape, data)| {
        (name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    std::fs::write(to.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn the_limit_of_sentence_transformers_replaces_that_of_the_tokenizer() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("limits");
    // The tokenizer says 36, and there are 44 positions.
    for (length, expected) in [(json!(24), 24), (json!(40), 40), (json!(100), 44), (Value::Null, 36)] {
        let files = json!({ "sentence_bert_config.json": { "max_seq_length": length } });
        let case = json!({ "name": format!("limit-{length}"), "files": files });
        let model = load(&folder("bert-mean", &case, &target), On::Cpu, None);
        assert_eq!(model.info().max_tokens, expected, "{length}");
        assert_eq!(model.tokenize(&"boat ".repeat(50)).unwrap().ids.len(), expected, "{length}");
    }
}

#[test]
fn where_positions_are_rotations_the_limit_of_sentence_transformers_is_the_only_one() {
    let module = |index: usize, path: &str, kind: &str| {
        let kind = format!("sentence_transformers.models.{kind}");
        json!({ "idx": index, "name": index.to_string(), "path": path, "type": kind })
    };
    let modules = json!([module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")]);
    let dynamic = json!({ "rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0 });
    for (name, rope, beyond) in [
        ("qwen3-1", Value::Null, true),
        ("qwen3-1", dynamic, false),
        ("modernbert-1", Value::Null, true),
        ("roformer-1", Value::Null, false),
    ] {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("beyond-{name}-{}", rope.is_null()));
        let _ = std::fs::remove_dir_all(&target);
        copy_folder(&fixtures().join("architectures").join(name), &target);
        let mut config: Value = serde_json::from_slice(&std::fs::read(target.join("config.json")).unwrap()).unwrap();
        let positions = config["max_position_embeddings"].as_u64().unwrap() as usize;
        if !rope.is_null() {
            config["rope_parameters"] = rope;
        }
        std::fs::create_dir_all(target.join("1_Pooling")).unwrap();
        for (path, value) in [
            ("config.json", &config),
            ("modules.json", &modules),
            ("1_Pooling/config.json", &json!({ "pooling_mode_mean_tokens": true })),
            ("sentence_bert_config.json", &json!({ "max_seq_length": positions + 50 })),
        ] {
            std::fs::write(target.join(path), value.to_string()).unwrap();
        }
        let model = load(&target, On::Cpu, None);
        assert_eq!(model.info().max_tokens, positions + if beyond { 50 } else { 0 }, "{name}");
        let long = embed(&model, &["boat ".repeat(2000)], &EmbedOptions::default());
        assert_eq!(long.tokens[0] as usize, model.info().max_tokens, "{name}");
        // A length of documents alone goes no further either.
        let modules = json!([module(0, "", "Transformer"), module(1, "", "Normalize")]);
        let sentence = json!({ "model_type": "MultiVectorEncoder", "document_length": positions + 50 });
        for (path, value) in [("modules.json", modules), ("config_sentence_transformers.json", sentence)] {
            std::fs::write(target.join(path), value.to_string()).unwrap();
        }
        let model = load_for(&target, On::Cpu, None, None);
        let options = MultiOptions { kind: Some(Kind::Document), ..MultiOptions::default() };
        let rows = model.embed_multi(&["boat ".repeat(2000)], &options).map(|call| {
            let vectors = pollster::block_on(call.run(&model)).unwrap();
            vectors[0].rows().count()
        });
        let expected = if beyond { Ok(positions + 50) } else { Err("invalid-argument") };
        assert_eq!(rows.map_err(|error| error.code()), expected, "{name}");
    }
}

#[test]
fn thousands_of_tokens_are_pooled_as_exactly_as_few() {
    for on in On::BOTH {
        let model = load(&fixtures().join("models/static-bag"), on, None);
        let text = ["the boat and the sea, ".repeat(1500)];
        let rows = embed(&model, &text, &EmbedOptions { tokens: true, ..EmbedOptions::default() });
        let width = rows.dimensions;
        assert!(rows.data.len() > 6000 * width);
        for (pooling, power, ends) in
            [("mean", 0.0, 1.0), ("mean_sqrt_len_tokens", 0.0, 0.5), ("weightedmean", 1.0, 1.0)]
        {
            let pooling = Some(Names::One(pooling.into()));
            let options = EmbedOptions { pooling, normalize: Some(false), ..EmbedOptions::default() };
            let found = embed(&model, &text, &options).data;
            let (mut sums, mut total) = (vec![0.0; width], 0.0);
            for (at, row) in rows.data.chunks_exact(width).enumerate() {
                let weight = ((at + 1) as f64).powf(power);
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * f64::from(*x));
                total += weight;
            }
            let expected: Vec<f32> = sums.iter().map(|sum| (sum / f64::powf(total, ends)) as f32).collect();
            let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            assert!(max_abs(&found, &expected) < 1e-6 * largest, "{:?}", options.pooling);
        }
    }
}

#[test]
fn says_how_many_columns_a_vector_has() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuts");
    for (cut, expected) in [(json!(20), 20), (json!(100), 32), (Value::Null, 32)] {
        let files = json!({ "config_sentence_transformers.json": { "truncate_dim": cut } });
        let case = json!({ "name": format!("cut-{cut}"), "files": files });
        let model = load(&folder("bert-mean", &case, &target), On::Cpu, None);
        let columns = |dimensions| {
            embed(&model, &["boats".to_owned()], &EmbedOptions { dimensions, ..EmbedOptions::default() }).data.len()
        };
        assert_eq!((model.info().dimensions, columns(None), columns(Some(32))), (expected, expected, 32), "{cut}");
    }
}

#[test]
fn tables_larger_than_a_binding_are_in_pieces() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("large-table");
    with_a_large_table(&folder);
    let texts = strings(&json("architectures/texts.json"));
    let expected =
        embed(&load(&fixtures().join("architectures/bert-1"), On::Cpu, None), &texts, &EmbedOptions::default());
    // 400,000 rows of 24 columns: 38 MB in f32, 19 MB in f16.
    let small = pollster::block_on(Gpu::open_within(Limits { binding: 12 << 20, ..Limits::default() })).unwrap();
    for (precision, pieces) in [(Precision::F32, 4), (Precision::F16, 2)] {
        let device = Device::Gpu(small.clone());
        let model = native::load(&folder, device, Some(precision), Some(Task::Embed), &mut |_, _| {}).unwrap();
        assert_eq!(model.info().dispatches, 7 * 2 + 2 + pieces - 1);
        let found = embed(&model, &texts, &EmbedOptions::default());
        let error = max_abs(&found.data, &expected.data);
        assert!(error < 1e-5, "{precision:?}: {error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_batch_in_many_submits_has_the_same_bits() {
    let folder = fixtures().join("architectures/bert-1");
    let texts = strings(&json("architectures/texts.json"));
    let vectors = |submit_flops| {
        let gpu = pollster::block_on(Gpu::open_within(Limits { submit_flops, ..Limits::default() })).unwrap();
        let model = native::load(&folder, Device::Gpu(gpu.clone()), None, Some(Task::Embed), &mut |_, _| {}).unwrap();
        let before = gpu.submits();
        (embed(&model, &texts, &EmbedOptions::default()), gpu.submits() - before)
    };
    let (whole, batches) = vectors(f64::INFINITY);
    let (few, many) = (vectors(1e6), vectors(0.0));
    assert!(few.0 == whole && many.0 == whole);
    assert!(batches < few.1 && few.1 < many.1, "{batches}, {}, {}", few.1, many.1);
}

#[test]
fn says_what_the_rows_of_tokens_are_of() {
    let model = load(&fixtures().join("architectures/bert-1"), On::Cpu, None);
    let texts = strings(&json("architectures/texts.json"));
    let prompt = "the ship: ";
    let options = EmbedOptions { tokens: true, prompt: Some(prompt.into()), ..EmbedOptions::default() };
    let found = embed(&model, &texts, &options);
    assert_eq!(found.encodings.len(), texts.len());
    for (index, (text, encoding)) in texts.iter().zip(&found.encodings).enumerate() {
        let whole = model.tokenize(&format!("{prompt}{text}")).unwrap();
        assert_eq!((&encoding.ids, &encoding.tokens), (&whole.ids, &whole.tokens));
        assert_eq!((encoding.ids.len() as u32, encoding.truncated), (found.tokens[index], found.truncated[index]));
        for (own, whole) in encoding.offsets.iter().zip(&whole.offsets) {
            // Ten characters of the prompt are before the text.
            assert_eq!(own, &if whole.0 < 10 { (0, 0) } else { (whole.0 - 10, whole.1 - 10) });
        }
    }
    assert!(embed(&model, &texts, &EmbedOptions::default()).encodings.is_empty());
}

#[test]
fn an_adapter_that_is_not_there_is_named() {
    for (folder, known) in [("jina-lora-2", r#"["separation", "classification"]"#), ("bert-1", "[]")] {
        let model = load(&fixtures().join("architectures").join(folder), On::Cpu, None);
        let options = EmbedOptions { task: Some("clustering".into()), ..EmbedOptions::default() };
        let error = model.embed(&["x"], &options).err().unwrap();
        assert!(error.code() == "invalid-argument" && error.to_string().contains(known), "{error}");
    }
}

/// The table in README.md, from the fixtures. `EMBEDLET_WRITE_README=1 cargo test` writes it.
#[test]
fn the_readme_lists_what_the_fixtures_prove() {
    let mut sizes = std::collections::BTreeMap::<String, usize>::new();
    for folder in ["models", "architectures"] {
        for entry in std::fs::read_dir(fixtures().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // A table of embeddings has no configuration of its own.
            if fixtures().join(folder).join(&name).join("config.json").is_file() {
                let config = json(&format!("{folder}/{name}/config.json"));
                *sizes.entry(config["model_type"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    let rows: String = sizes.iter().map(|(name, count)| format!("| `{name}` | {count} |\n")).collect();
    let table = format!("| `model_type` | fixtures |\n|---|---|\n{rows}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (start, end) = ("<!-- what the fixtures prove -->\n", "<!-- end -->");
    let (before, rest) = readme.split_once(start).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    if std::env::var("EMBEDLET_WRITE_README").is_ok() {
        std::fs::write(&path, format!("{before}{start}{table}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(found, table, "EMBEDLET_WRITE_README=1 cargo test the_readme writes it");
}

/// Matrices and tables in halves, and matrices in integers: mean-pooled vectors of every fixture, whose weights, halves
/// themselves, are moved off them.
#[test]
fn rounded_weights_are_close_whatever_the_architecture() {
    let texts = strings(&json("architectures/texts.json"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moved");
    let options = EmbedOptions { pooling: Some(Names::One("mean".into())), ..EmbedOptions::default() };
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(fixtures().join("architectures")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let copy = target.join(&name);
        copy_folder(&folder, &copy);
        rewrite(&copy, |_, value| value * 1.0003);
        let vectors = |precision| embed(&load(&copy, On::Cpu, Some(precision)), &texts, &options);
        let whole = vectors(Precision::F32);
        for (precision, least) in [(Precision::F16, MIN_COSINE_F16_MOVED), (Precision::Int8, MIN_COSINE_INT8_TINY)] {
            let rounded = vectors(precision);
            let cosine = min_cosine(&rounded.data, &whole.data, whole.dimensions);
            let same = rounded.data == whole.data;
            if cosine.is_nan() || cosine < least || same {
                failures.push(format!("{name}, {precision:?}: {cosine}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// On a GPU too, for models of every kind of linear layers; what multiplies by a matrix and has no kernel for it is named.
#[test]
fn int8_on_a_gpu_is_that_of_the_host_or_refused() {
    let texts = strings(&json("architectures/texts.json"));
    for name in ["bert-1", "deberta-1", "gte-1", "jina-lora-1", "mamba-1", "modernbert-1", "t5-1"] {
        let folder = fixtures().join("architectures").join(name);
        let [expected, found] =
            On::BOTH.map(|on| embed(&load(&folder, on, Some(Precision::Int8)), &texts, &EmbedOptions::default()));
        let cosine = min_cosine(&found.data, &expected.data, found.dimensions);
        eprintln!("{name} in int8 on the GPU and the host: min cosine {cosine}");
        assert!(cosine >= MIN_COSINE_INT8_TINY, "{name}: {cosine}");
    }
    for (name, task, operation) in [
        ("architectures/deberta-v2-2", Task::Embed, "conv"),
        ("architectures/nomic-moe-1", Task::Embed, "experts"),
        ("tasks/bert-masks", Task::Sparse, "lexical_pool"),
    ] {
        let device = On::Gpu.device();
        let error = native::load(&fixtures().join(name), device, Some(Precision::Int8), Some(task), &mut |_, _| {})
            .err()
            .unwrap();
        assert_eq!(error.code(), "unsupported-option", "{error}");
        assert!(error.to_string().contains(operation), "{error}");
    }
}

/// Gives the tensors of a folder, which are halves, these values in f32.
fn rewrite(folder: &Path, value: impl Fn(&str, f32) -> f32) {
    let path = folder.join("model.safetensors");
    let file = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let changed: Vec<(String, Vec<u8>, Vec<usize>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            assert_eq!(tensor.dtype(), safetensors::Dtype::F16, "{name}");
            let halves = tensor.data().chunks_exact(2).map(|half| half::f16::from_le_bytes(half.try_into().unwrap()));
            let bytes = halves.flat_map(|half| value(name, half.to_f32()).to_le_bytes()).collect();
            (name.to_owned(), bytes, tensor.shape().to_vec())
        })
        .collect();
    let views = changed.iter().map(|(name, bytes, shape)| {
        (name.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn architectures_on_the_cpu() {
    check_architectures(On::Cpu, |_| true);
}

#[test]
fn architectures_on_the_gpu() {
    check_architectures(On::Gpu, |_| true);
}

/// Those that attend to windows, to blocks and to leading tokens; all of them where all is asked for.
#[test]
fn architectures_in_the_forms_of_hardware() {
    let all = std::env::var_os("EMBEDLET_TEST_ALL").is_some();
    check_architectures(On::Hardware, |name| all || ["modernbert-1", "big_bird-1", "longformer-1"].contains(&name));
}

/// Half the temperature is twice the queries.
#[test]
fn temperature_divides_attention_scores() {
    let texts = strings(&json("architectures/texts.json"));
    let (folder, twice) =
        (fixtures().join("architectures/bert-1"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("twice"));
    copy_folder(&folder, &twice);
    rewrite(&twice, |name, value| if name.contains("self.query") { 2.0 * value } else { value });
    for on in On::BOTH {
        let half = EmbedOptions { attention_temperature: Some(0.5), ..EmbedOptions::default() };
        let found = embed(&load(&folder, on, None), &texts, &half).data;
        let expected = embed(&load(&twice, on, None), &texts, &EmbedOptions::default()).data;
        let plain = embed(&load(&folder, on, None), &texts, &EmbedOptions::default()).data;
        assert!(max_abs(&found, &expected) <= TINY_MAX_ABS && max_abs(&found, &plain) > 1e-3, "{on:?}");
    }
}

fn minilm_texts() -> Vec<String> {
    let texts = json("texts.json");
    texts["texts"].as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
}

/// A software GPU takes minutes for all texts: there it is every eighth, and those around the limit, unless
/// `EMBEDLET_TEST_ALL` asks for all. The host takes all of them always.
fn minilm_share(on: On) -> (Vec<String>, Vec<f32>) {
    let (texts, expected) = (minilm_texts(), &tensors("minilm.safetensors")["embeddings"]);
    assert!(texts.len() >= 150);
    let all = on == On::Cpu || std::env::var_os("EMBEDLET_TEST_ALL").is_some();
    let chosen = (0..texts.len()).filter(|index| all || index % 8 == 0 || *index + 7 >= texts.len());
    chosen.map(|index| (texts[index].clone(), expected[384 * index..][..384].to_vec())).fold(
        (Vec::new(), Vec::new()),
        |(mut texts, mut vectors), (text, vector)| {
            texts.push(text);
            vectors.extend(vector);
            (texts, vectors)
        },
    )
}

fn check_minilm(on: On) {
    let (texts, expected) = minilm_share(on);
    let model = load(&minilm(), on, None);
    let found = embed(&model, &texts, &EmbedOptions::default());
    let cosine = min_cosine(&found.data, &expected, 384);
    let error = max_abs(&found.data, &expected);
    eprintln!("MiniLM f32 on {on:?}: min cosine {cosine}, max abs {error:e}");
    assert!(cosine >= MIN_COSINE && error <= MAX_ABS, "min cosine {cosine}, max abs {error:e}");
    check_company(&model, &texts, &found.data, on);
}

/// The vectors of texts have the same bits in whatever batch.
fn check_company(model: &Model, texts: &[String], found: &[f32], on: On) {
    let options = EmbedOptions::default();
    // A rerun gives the same bits; so does another order, another packing, and every text alone. Long texts cost
    // the most on a software GPU, so some of every kind, and of each length around the limit, must do.
    let some: Vec<usize> = (0..texts.len()).filter(|index| index % 7 == 0 || *index + 7 >= texts.len()).collect();
    let row = |vectors: &[f32], index: usize| vectors[384 * index..][..384].to_vec();
    let reversed: Vec<String> = some.iter().rev().map(|index| texts[*index].clone()).collect();
    let first = embed(model, &reversed, &options).data;
    assert!(first == embed(model, &reversed, &options).data, "a rerun changed bits on {on:?}");
    for (position, &index) in some.iter().rev().enumerate() {
        assert!(row(&first, position) == row(found, index), "another packing changed text {index} on {on:?}");
    }
    for &index in some.iter().step_by(4) {
        let alone = embed(model, &texts[index..=index], &options).data;
        assert!(alone == row(found, index), "text {index} alone changed bits on {on:?}");
    }
}

#[test]
fn minilm_cpu() {
    check_minilm(On::Cpu);
}

#[test]
fn minilm_gpu() {
    check_minilm(On::Gpu);
}

#[test]
fn minilm_in_the_forms_of_hardware() {
    check_minilm(On::Hardware);
}

#[test]
fn minilm_f16_weights() {
    for on in On::BOTH {
        let (texts, expected) = minilm_share(on);
        let model = load(&minilm(), on, Some(Precision::F16));
        let found = embed(&model, &texts, &EmbedOptions::default());
        let cosine = min_cosine(&found.data, &expected, 384);
        eprintln!("MiniLM f16 weights on {on:?}: min cosine {cosine}");
        assert!(cosine >= MIN_COSINE_F16, "{on:?}: {cosine}");
    }
}

#[test]
fn minilm_int8() {
    let (texts, expected) = minilm_share(On::Cpu);
    let model = load(&minilm(), On::Cpu, Some(Precision::Int8));
    let found = embed(&model, &texts, &EmbedOptions::default());
    let cosine = min_cosine(&found.data, &expected, 384);
    eprintln!("MiniLM in int8: min cosine {cosine}");
    assert!(cosine >= MIN_COSINE_INT8, "{cosine}");
    assert_eq!(model.info().precision, "int8");
    for index in (0..texts.len()).step_by(9) {
        let alone = embed(&model, &texts[index..=index], &EmbedOptions::default());
        assert_eq!(alone.data, found.data[index * 384..(index + 1) * 384], "text {index} alone changed bits");
    }
}

#[test]
fn minilm_int8_gpu() {
    let (texts, expected) = minilm_share(On::Gpu);
    let [host, model] = On::BOTH.map(|on| load(&minilm(), on, Some(Precision::Int8)));
    let [of_host, found] = [&host, &model].map(|model| embed(model, &texts, &EmbedOptions::default()).data);
    let (cosine, same) = (min_cosine(&found, &expected, 384), min_cosine(&found, &of_host, 384));
    let error = max_abs(&found, &of_host);
    eprintln!("MiniLM in int8 on the GPU: min cosine {cosine}, to the host's {same}, max abs {error:e}");
    assert!(cosine >= MIN_COSINE_INT8 && same >= MIN_COSINE_INT8_SAME, "{cosine}, {same}, {error:e}");
    assert_eq!(model.info().precision, "int8");
    assert_eq!(model.info().weight_bytes, host.info().weight_bytes);
    check_company(&model, &texts, &found, On::Gpu);
}
