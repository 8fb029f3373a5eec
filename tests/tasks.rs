//! Heads for tasks against transformers (tests/golden/make_heads.py) and whole calls against the Python libraries' own
//! pipelines (tests/golden/make_tasks.py), on CPU and GPU.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use embedlet::model::Model;
use embedlet::native;
use embedlet::program::Precision;
use embedlet::task::{ClassifyOptions, FillOptions, Input, Task};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::support::{On, fixtures, json, max_abs};

/// Of the largest magnitude: the bar of the states, doubled for the head on top.
const LOGITS_MAX: f32 = 4e-5;

fn floats(tensor: &TensorView) -> Vec<f32> {
    tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The encoder of architectures/ and the heads of heads/ as one checkpoint, and the logits expected of it.
fn joined(kind: &str, target: &Path) -> (PathBuf, HashMap<String, Vec<f32>>) {
    let base = fixtures().join(format!("architectures/{kind}-1"));
    let folder = target.join(kind);
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(base.join(name), folder.join(name)).unwrap();
    }
    let (encoder, heads) = (
        std::fs::read(base.join("model.safetensors")).unwrap(),
        std::fs::read(fixtures().join(format!("heads/{kind}.safetensors"))).unwrap(),
    );
    let (_, metadata) = SafeTensors::read_metadata(&heads).unwrap();
    let prefix = &metadata.metadata().as_ref().unwrap()["prefix"];
    let (encoder, heads) = (SafeTensors::deserialize(&encoder).unwrap(), SafeTensors::deserialize(&heads).unwrap());
    let mut tensors: Vec<(String, TensorView)> =
        encoder.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect();
    let mut expected = HashMap::new();
    for (name, tensor) in heads.iter() {
        match name.split_once('/').unwrap() {
            ("head", name) => tensors.push((name.to_owned(), tensor)),
            (_, name) => {
                assert_eq!(tensor.dtype(), Dtype::F32);
                expected.insert(name.to_owned(), floats(&tensor));
            }
        }
    }
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    (folder, expected)
}

fn inputs() -> Vec<Input> {
    serde_json::from_value::<Vec<(String, Option<String>)>>(json("heads/inputs.json")["inputs"].clone())
        .unwrap()
        .into_iter()
        .map(|(text, pair)| Input { text, pair })
        .collect()
}

fn run<T>(model: &Model, call: embedlet::Result<embedlet::job::Call<T>>) -> T {
    pollster::block_on(call.unwrap().run(model)).unwrap()
}

/// The logits of each input; for masks their logarithms of probabilities.
fn logits(model: &Model, task: Task) -> Vec<Vec<f32>> {
    let inputs = inputs();
    match task {
        Task::Classify => {
            let all = run(model, model.classify(&inputs, &ClassifyOptions::default()));
            all.into_iter().map(|one| one.logits).collect()
        }
        Task::Tag => run(model, model.tag_logits(&inputs)).into_iter().map(|rows| rows.concat()).collect(),
        Task::Answer => run(model, model.answer_logits(&inputs)).into_iter().map(|both| both.concat()).collect(),
        _ => {
            let mask = model.info().mask_token.unwrap();
            let masked: Vec<String> = serde_json::from_value(json("heads/inputs.json")["masked"].clone()).unwrap();
            let masked: Vec<Input> = masked.iter().map(|text| Input::text(text.replace("{}", &mask))).collect();
            let options = FillOptions { top_k: Some(usize::MAX), ..FillOptions::default() };
            let scores = |mask: embedlet::task::Mask| {
                assert!(mask.top.is_sorted_by(|a, b| a.score >= b.score));
                let mut top = mask.top;
                top.sort_by_key(|candidate| candidate.id);
                top.into_iter().map(|candidate| candidate.score.ln()).collect::<Vec<_>>()
            };
            run(model, model.fill(&masked, &options))
                .into_iter()
                .map(|masks| masks.into_iter().flat_map(scores).collect())
                .collect()
        }
    }
}

fn log_softmax(logits: &[f32], rows: usize) -> Vec<f32> {
    let row = |row: &[f32]| {
        let highest = row.iter().copied().fold(f32::MIN, f32::max);
        let total: f64 = row.iter().map(|x| f64::from(x - highest).exp()).sum();
        row.iter().map(|x| (f64::from(x - highest) - total.ln()) as f32).collect::<Vec<_>>()
    };
    logits.chunks_exact(logits.len() / rows).flat_map(row).collect()
}

fn check_heads(on: On) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("heads-{on:?}"));
    let files = std::fs::read_dir(fixtures().join("heads")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut kinds: Vec<String> =
        files.filter_map(|name| Some(name.to_str()?.strip_suffix(".safetensors")?.to_owned())).collect();
    kinds.sort();
    assert!(kinds.len() >= 30);
    let mut failures = Vec::new();
    for kind in kinds {
        let (folder, expected) = joined(&kind, &target);
        for (task, name) in
            [(Task::Classify, "classify"), (Task::Tag, "tag"), (Task::Answer, "answer"), (Task::Fill, "fill")]
        {
            if !expected.contains_key(&format!("{name}.1")) {
                continue;
            }
            let loaded = native::load(&folder, on.device(), Some(Precision::F32), Some(task), &mut |_, _| {});
            let model = match loaded {
                Ok(model) => model,
                Err(error) => {
                    failures.push(format!("{kind} {name}: {error}"));
                    continue;
                }
            };
            for (index, found) in logits(&model, task).iter().enumerate() {
                let Some(expected) = expected.get(&format!("{name}.{index}")) else { continue };
                let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                let expected = match task {
                    // The masks of an input are its index and one more.
                    Task::Fill => log_softmax(expected, index + 1),
                    _ => expected.clone(),
                };
                let error = if found.len() == expected.len() { max_abs(found, &expected) / largest } else { f32::NAN };
                if error.is_nan() || error > LOGITS_MAX {
                    failures.push(format!("{kind} {name} {index}: {error:e}, {} for {}", found.len(), expected.len()));
                }
            }
        }
    }
    assert!(failures.is_empty(), "on {on:?}:\n{}", failures.join("\n"));
}

#[test]
fn heads_on_the_cpu() {
    check_heads(On::Cpu);
}

#[test]
fn heads_on_the_gpu() {
    check_heads(On::Gpu);
}
