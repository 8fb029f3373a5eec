//! Heads for tasks against transformers (tests/golden/make_heads.py) and whole calls against the Python libraries' own
//! pipelines (tests/golden/make_tasks.py), on CPU and GPU.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use embedlet::job::Ragged;
use embedlet::model::{Kind, Model};
use embedlet::native;
use embedlet::program::Precision;
use embedlet::task::{
    AnswerOptions, ClassifyOptions, Entity, ExplainOptions, FillOptions, Function, Input, LabelScore, Mask,
    MultiOptions, MultiVectors, Part, RerankOptions, SparseOptions, SparseVector, TagOptions, Task, ZeroShotOptions,
    max_sim,
};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::support::{On, Scratch, fixtures, json, load_for, max_abs};

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
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        if base.join(name).exists() {
            std::fs::copy(base.join(name), folder.join(name)).unwrap();
        }
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
        Task::Tag => run(model, model.tag_logits(&inputs)).into_iter().map(|one| one.logits.concat()).collect(),
        Task::Answer => run(model, model.answer_logits(&inputs)).into_iter().map(|one| one.logits.concat()).collect(),
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
            // A question's tokens, which do not compete, have a million less: all digits of that are not compared.
            let coarse = |values: &[f32]| values.iter().map(|x| if *x < -9e5 { -1.0 } else { *x }).collect::<Vec<_>>();
            for (index, found) in logits(&model, task).iter().enumerate() {
                let Some(expected) = expected.get(&format!("{name}.{index}")) else { continue };
                let (found, expected) = (&coarse(found), &coarse(expected));
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

/// Scores against the Python libraries' own.
const SCORES_MAX: f32 = 1e-4;

fn task_model(name: &str, on: On) -> (Model, Value) {
    let folder = fixtures().join("tasks").join(name);
    // Without a task: the folder says what it is for, unless that is masks.
    let task = name.ends_with("-masks").then_some(Task::Fill);
    (load_for(&folder, on, Some(Precision::F32), task), json(&format!("tasks/{name}.json")))
}

fn parsed<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn close(found: f32, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap() as f32;
    assert!((found - expected).abs() <= SCORES_MAX, "{what}: {found} for {expected}");
}

/// Labels in the order of their scores.
fn same_labels(found: &[LabelScore], labels: &[Value], scores: &[Value], what: &str) {
    assert_eq!(found.len(), labels.len(), "{what}");
    for (found, (label, score)) in found.iter().zip(labels.iter().zip(scores)) {
        assert_eq!(&found.label, label, "{what}");
        close(found.score, score, what);
    }
}

fn column(rows: &Value, key: &str) -> Vec<Value> {
    rows.as_array().unwrap().iter().map(|row| row[key].clone()).collect()
}

#[test]
fn classifies_as_the_pipeline() {
    for on in On::BOTH {
        for name in ["bert-labels", "roberta-multi", "roberta-types", "llama-padded"] {
            let (model, golden) = task_model(name, on);
            let texts: Vec<Input> = parsed::<Vec<String>>(&golden["texts"]).into_iter().map(Input::text).collect();
            let pairs: Vec<(String, String)> = parsed(golden.get("pairs").unwrap_or(&Value::Array(Vec::new())));
            let pairs: Vec<Input> = pairs.into_iter().map(|(text, pair)| Input::pair(text, pair)).collect();
            for (inputs, expected) in [(texts, &golden["scores"]), (pairs, &golden["pair_scores"])] {
                let found = run(&model, model.classify(&inputs, &ClassifyOptions::default()));
                for (index, found) in found.iter().enumerate() {
                    let rows = &expected[index];
                    same_labels(
                        &found.scores,
                        &column(rows, "label"),
                        &column(rows, "score"),
                        &format!("{name} {index}"),
                    );
                }
            }
        }
        let (model, _) = task_model("bert-labels", on);
        let options = ClassifyOptions { labels: Some(vec!["e".into(), "b".into()]), top_k: Some(1), function: None };
        let some = &run(&model, model.classify(&[Input::text("boats")], &options))[0];
        let highest = some.logits[1].max(some.logits[4]);
        let expected = f64::from(highest).exp() / (f64::from(some.logits[1]).exp() + f64::from(some.logits[4]).exp());
        assert!(some.scores.len() == 1 && (some.scores[0].score - expected as f32).abs() < 1e-6);
    }
}

#[test]
fn finds_the_entities_of_the_pipeline() {
    for on in On::BOTH {
        for name in ["bert-entities", "roberta-entities"] {
            let (model, golden) = task_model(name, on);
            let texts: Vec<String> = parsed(&golden["texts"]);
            let same = |found: &[Entity], expected: &Value, what: &str| {
                let expected = expected.as_array().unwrap();
                assert_eq!(found.len(), expected.len(), "{what}: {found:?} for {expected:?}");
                for (found, expected) in found.iter().zip(expected) {
                    let label = expected.get("entity_group").unwrap_or(&expected["entity"]);
                    assert_eq!(
                        (&found.label.as_str().into(), &found.word.as_str().into()),
                        (label, &expected["word"]),
                        "{what}"
                    );
                    assert_eq!(
                        (found.start, found.end),
                        parsed((&json!([expected["start"], expected["end"]])) as &Value)
                    );
                    close(found.score, &expected["score"], what);
                }
            };
            for (how, expected) in golden["entities"].as_object().unwrap() {
                let options = TagOptions { aggregation: parsed(&how.as_str().into()), ..TagOptions::default() };
                for (index, found) in run(&model, model.tag(&texts[..3], &options)).iter().enumerate() {
                    same(found, &expected[index], &format!("{name} {how} {index}"));
                }
            }
            for (how, expected) in golden["windows"].as_object().unwrap() {
                let aggregation = parsed(&how.as_str().into());
                let options = TagOptions { aggregation, stride: Some(5), ..TagOptions::default() };
                same(&run(&model, model.tag(&texts[3..], &options))[0], expected, &format!("{name} {how} windows"));
            }
        }
    }
}

#[test]
fn fills_masks_as_the_pipeline() {
    for on in On::BOTH {
        for name in ["bert-masks", "roberta-masks"] {
            let (model, golden) = task_model(name, on);
            let texts: Vec<Input> = parsed::<Vec<String>>(&golden["texts"]).into_iter().map(Input::text).collect();
            let same = |found: &Mask, expected: &Value, what: &str| {
                for (found, expected) in found.top.iter().zip(expected.as_array().unwrap()) {
                    assert_eq!(
                        json!([found.id, found.token, found.sequence]),
                        json!([expected["token"], expected["token_str"], expected["sequence"]]),
                        "{what}"
                    );
                    close(found.score, &expected["score"], what);
                }
                assert_eq!(found.top.len(), expected.as_array().unwrap().len(), "{what}");
            };
            let found = run(&model, model.fill(&texts, &FillOptions::default()));
            same(&found[0][0], &golden["masks"][0], name);
            assert_eq!(found[1].len(), 2);
            (0..2).for_each(|mask| same(&found[1][mask], &golden["masks"][1][mask], name));
            let options = FillOptions { targets: Some(parsed(&golden["targets"])), ..FillOptions::default() };
            same(&run(&model, model.fill(&texts[..1], &options))[0][0], &golden["among"], name);
            // The pipeline leaves a padding token out of what it writes.
            let pad = if name == "bert-masks" { "[PAD]" } else { "<pad>" };
            let options = FillOptions { targets: Some(vec![pad.into()]), ..FillOptions::default() };
            let padded = run(&model, model.fill(&texts[1..2], &options)).remove(0);
            assert!(
                padded.iter().all(|mask| mask.top[0].token == pad && !mask.top[0].sequence.contains(pad)),
                "{padded:?}"
            );
            let error = model.fill(&[Input::text("no mask")], &FillOptions::default()).err().unwrap();
            assert_eq!(error.code(), "invalid-argument");
        }
    }
}

#[test]
fn scores_new_labels_as_the_pipeline() {
    for on in On::BOTH {
        let (model, golden) = task_model("bert-nli", on);
        let texts: Vec<String> = parsed(&golden["texts"]);
        for (key, template, multi_label) in [("one", "It is about {}.", false), ("each", "This example is {}.", true)] {
            let hypothesis_template = template.to_owned();
            let options = ZeroShotOptions { labels: parsed(&golden["labels"]), hypothesis_template, multi_label };
            for (index, found) in run(&model, model.zero_shot(&texts, &options)).iter().enumerate() {
                let expected = &golden[key][index];
                let (labels, scores) = (expected["labels"].as_array().unwrap(), expected["scores"].as_array().unwrap());
                same_labels(found, labels, scores, &format!("{key} {index}"));
            }
        }
    }
}

#[test]
fn answers_as_the_pipeline() {
    for on in On::BOTH {
        let (model, golden) = task_model("bert-answers", on);
        for case in golden["cases"].as_array().unwrap() {
            let (question, context): (String, String) = (parsed(&case["question"]), parsed(&case["context"]));
            let option = |name: &str| case["options"].get(name).and_then(Value::as_u64).map(|value| value as usize);
            let options = AnswerOptions {
                top_k: option("top_k"),
                max_answer_tokens: option("max_answer_len"),
                stride: Some(option("doc_stride").unwrap_or(8)),
                no_answer: case["options"].get("handle_impossible_answer").is_some(),
            };
            let found = run(&model, model.answer(&[Input::pair(question, context)], &options)).remove(0);
            let expected = case["answers"].as_array().unwrap();
            assert_eq!(found.len(), expected.len(), "{on:?}: {found:?} for {case}");
            for (found, expected) in found.iter().zip(expected) {
                let places = (parsed::<usize>(&expected["start"]), parsed::<usize>(&expected["end"]));
                assert_eq!(
                    (found.answer.as_str(), (found.start, found.end)),
                    (expected["answer"].as_str().unwrap(), places)
                );
                close(found.score, &expected["score"], "answer");
            }
        }
    }
}

#[test]
fn ranks_documents_as_a_cross_encoder() {
    for on in On::BOTH {
        for name in ["roberta-cross", "bert-cross"] {
            let (model, golden) = task_model(name, on);
            let documents: Vec<String> = parsed(&golden["documents"]);
            let query = golden["query"].as_str().unwrap();
            let found = run(&model, model.rerank(query, &documents, &RerankOptions::default()));
            for (found, expected) in found.iter().zip(golden["ranked"].as_array().unwrap()) {
                assert_eq!(found.index, parsed::<usize>(&expected["corpus_id"]), "{name}");
                close(found.score, &expected["score"], name);
            }
            assert_eq!(found.len(), documents.len());
        }
    }
}

#[test]
fn a_cross_encoder_of_one_label_ranks_by_what_sentence_transformers_takes_it_for() {
    let (_, golden) = task_model("bert-cross", On::Cpu);
    let documents: Vec<String> = parsed(&golden["documents"]);
    let query = golden["query"].as_str().unwrap();
    let config = std::fs::read(fixtures().join("tasks/bert-cross/config.json")).unwrap();
    let with = |key: &str, value: Value| {
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config[key] = value;
        let folder = edited("bert-cross", &[("config.json", config)]);
        let model = native::load(&folder.0, On::Cpu.device(), None, None, &mut |_, _| {}).unwrap();
        let ranked = run(&model, model.rerank(query, &documents, &RerankOptions::default()));
        let scores =
            run(&model, model.classify(&[Input::pair(query, &documents[ranked[0].index])], &Default::default()));
        (ranked[0].score, scores[0].scores[0].score, scores[0].logits[0])
    };
    let own = |name: &str| json!({ "activation_fn": name });
    let best = golden["ranked"][0]["score"].clone();
    let (ranked, classified, logit) = with("problem_type", json!("regression"));
    close(ranked, &best, "regression");
    assert_eq!(classified, logit, "the pipeline of transformers leaves it as it is");
    // sentence-transformers imports nobody else's.
    close(with("sentence_transformers", own("my.module.Identity")).0, &best, "own");
    let (ranked, _, logit) = with("sentence_transformers", own("torch.nn.modules.linear.Identity"));
    assert_eq!(ranked, logit);
}

/// A fixture with other files in it.
fn edited(name: &str, files: &[(&str, Value)]) -> Scratch {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to)
            } else {
                std::fs::copy(entry.path(), to).map(drop).unwrap()
            }
        }
    }
    let folder = Scratch::new(&format!("edited-{name}"));
    copy(&fixtures().join("tasks").join(name), &folder.0);
    for (path, value) in files {
        std::fs::write(folder.0.join(path), value.to_string()).unwrap();
    }
    folder
}

#[test]
fn puts_the_default_prompt_of_a_cross_encoder_in_front_of_the_query() {
    let module = json!([{ "idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer" }]);
    let about = |kind: &str, name: Value| json!({ "model_type": kind, "prompts": { "query": "quiet " }, "default_prompt_name": name });
    let (plain, golden) = task_model("bert-cross", On::Cpu);
    let documents: Vec<String> = parsed(&golden["documents"]);
    let query = golden["query"].as_str().unwrap();
    for (kind, name, prompt) in [("CrossEncoder", json!("query"), "quiet "), ("CrossEncoder", Value::Null, "")] {
        let folder = edited(
            "bert-cross",
            &[("modules.json", module.clone()), ("config_sentence_transformers.json", about(kind, name))],
        );
        let model = load_for(&folder.0, On::Cpu, None, Some(Task::Classify));
        let rank = |model: &Model, query: &str| run(model, model.rerank(query, &documents, &RerankOptions::default()));
        assert_eq!(rank(&model, query), rank(&plain, &format!("{prompt}{query}")));
        assert!(prompt.is_empty() || rank(&model, query) != rank(&plain, query));
        let classify = |model: &Model, query: &str| {
            let inputs = [Input::pair(query, &documents[0]), Input { text: query.into(), pair: None }];
            run(model, model.classify(&inputs, &ClassifyOptions::default()))
        };
        assert_eq!(classify(&model, query), classify(&plain, &format!("{prompt}{query}")));
    }
}

#[test]
fn refuses_targets_that_the_head_has_no_column_for() {
    let mut tokenizer = json("tasks/bert-masks/tokenizer.json");
    let new = json!({ "id": 400, "content": "[NEW]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false });
    tokenizer["added_tokens"].as_array_mut().unwrap().push(new);
    let folder = edited("bert-masks", &[("tokenizer.json", tokenizer)]);
    let model = load_for(&folder.0, On::Cpu, None, Some(Task::Fill));
    for (targets, ids) in [(Some(vec!["[NEW]".to_owned()]), None), (None, Some(vec![400]))] {
        let options = FillOptions { targets, ids, ..FillOptions::default() };
        let error = model.fill(&[Input::text("a [MASK]")], &options).err().unwrap();
        assert!(error.code() == "invalid-argument" && error.to_string().contains("400"), "{error}");
    }
}

#[test]
fn keeps_as_many_terms_as_a_sparse_encoder_says() {
    let texts = ["the boats sail".to_owned()];
    let about = json!({ "model_type": "SparseEncoder", "max_active_dims": 5 });
    let folder = edited("splade-max", &[("config_sentence_transformers.json", about)]);
    let model = load_for(&folder.0, On::Cpu, None, Some(Task::Sparse));
    let (plain, _) = task_model("splade-max", On::Cpu);
    for (top_k, kept) in [(None, 5), (Some(3), 3), (Some(8), 8)] {
        let found = run(&model, model.embed_sparse(&texts, &SparseOptions { top_k, kind: None }));
        assert_eq!(found, run(&plain, plain.embed_sparse(&texts, &SparseOptions { top_k: Some(kept), kind: None })));
        assert_eq!(found[0].indices.len(), kept);
    }
    let wrong = edited(
        "splade-sum",
        &[("config_sentence_transformers.json", json!({ "model_type": "SparseEncoder", "max_active_dims": 0 }))],
    );
    assert_eq!(
        native::load(&wrong.0, On::Cpu.device(), None, None, &mut |_, _| {}).err().unwrap().code(),
        "invalid-file"
    );
}

#[test]
fn refuses_queries_filled_with_what_is_not_attended_to_where_that_is_another_matter() {
    for (architecture, is_refused) in [("deberta-1", true), ("mamba-1", true), ("bert-1", false)] {
        let config = fixtures().join("architectures").join(architecture).join("config.json");
        let config = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
        let folder = edited("colbert", &[("config.json", config)]);
        let error = native::load(&folder.0, On::Cpu.device(), None, None, &mut |_, _| {}).err();
        let refused = error.filter(|error| error.code() == "unsupported-option").map(|error| error.to_string());
        assert_eq!(refused.is_some_and(|what| what.contains("query_expansion attend")), is_refused, "{architecture}");
    }
}

#[test]
fn reads_a_query_once_as_a_uni_encoder() {
    for on in On::BOTH {
        let (model, golden) = task_model("uni-encoder", on);
        assert_eq!(model.info().task, Task::UniEncoder);
        for case in golden["cases"].as_array().unwrap() {
            let (query, documents): (String, Vec<String>) = (parsed(&case["query"]), parsed(&case["documents"]));
            let rank = |options| run(&model, model.rerank(&query, &documents, &options));
            for (function, key) in [(None, "scores"), (Some(Function::None), "logits")] {
                let found = rank(RerankOptions { function, top_k: None });
                assert!(found.len() == documents.len() && found.is_sorted_by(|a, b| a.score >= b.score));
                let mut scores = vec![f32::NAN; found.len()];
                found.iter().for_each(|ranked| scores[ranked.index] = ranked.score);
                let expected: Vec<f32> = parsed(&case[key]);
                let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                assert!(max_abs(&scores, &expected) <= LOGITS_MAX * largest, "{on:?} {key}: {scores:?} {expected:?}");
            }
            assert_eq!(rank(RerankOptions { top_k: Some(1), function: None }).len(), 1);
        }
        assert_eq!(run(&model, model.rerank("x", &[], &RerankOptions::default())), []);
        // What shares a context cannot be cut in two, because it would be another context.
        let many = model.rerank("x", &vec!["y".to_owned(); 256], &RerankOptions::default());
        assert_eq!(many.err().unwrap().code(), "limit-exceeded");
    }
    let other = fixtures().join("tasks/roberta-cross");
    let error = native::load(&other, On::Cpu.device(), None, Some(Task::UniEncoder), &mut |_, _| {}).err().unwrap();
    assert_eq!(error.code(), "unsupported-option");
}

/// The weights of all terms, by text.
fn same_terms(found: &[SparseVector], expected: &Value, most: f32, what: &str) {
    for (index, found) in found.iter().enumerate() {
        let mut expected: Vec<f32> = parsed(&expected[index]);
        assert!(
            found.weights.is_sorted_by(|a, b| a.abs() >= b.abs()) && found.weights.iter().all(|weight| *weight != 0.0)
        );
        for (id, weight) in found.indices.iter().zip(&found.weights) {
            let expected = std::mem::take(&mut expected[*id as usize]);
            assert!((weight - expected).abs() <= most, "{what} {index}, term {id}: {weight} for {expected}");
        }
        assert!(expected.iter().all(|missed| missed.abs() <= most), "{what} {index}");
    }
    assert_eq!(found.len(), expected.as_array().unwrap().len(), "{what}");
}

#[test]
fn weighs_terms_as_a_sparse_encoder() {
    for on in On::BOTH {
        for name in ["splade-max", "splade-sum"] {
            let (model, golden) = task_model(name, on);
            let texts: Vec<String> = parsed(&golden["texts"]);
            let found = run(&model, model.embed_sparse(&texts, &SparseOptions::default()));
            same_terms(&found, &golden["vectors"], SCORES_MAX, name);
            let few = run(&model, model.embed_sparse(&texts[..1], &SparseOptions { top_k: Some(3), kind: None }));
            assert_eq!(few[0].indices, found[0].indices[..3]);
        }
    }
}

#[test]
fn weighs_queries_and_documents_by_the_routes_of_a_router() {
    let golden = json("tasks/splade-routed.json");
    let texts: Vec<String> = parsed(&golden["texts"]);
    // The encoder in the folder itself, as folders on the hub have it that were plain ones before.
    let router = json("tasks/splade-routed/router_config.json");
    let mut flat = router.clone();
    let types = flat["types"].as_object_mut().unwrap();
    let encoder = types.remove("document_0_MLMTransformer").unwrap();
    types.insert(String::new(), encoder);
    flat["structure"]["document"][0] = json!("");
    let flat = edited("splade-routed", &[("router_config.json", flat)]);
    for file in std::fs::read_dir(flat.0.join("document_0_MLMTransformer")).unwrap().map(Result::unwrap) {
        std::fs::rename(file.path(), flat.0.join(file.file_name())).unwrap();
    }
    // The older name of the file.
    let older = edited("splade-routed", &[("config.json", router.clone())]);
    std::fs::remove_file(older.0.join("router_config.json")).unwrap();
    let embed = |model: &Model, kind| {
        let call = model.embed_sparse(&texts, &SparseOptions { top_k: None, kind });
        call.map(|call| pollster::block_on(call.run(model)).unwrap())
    };
    for on in On::BOTH {
        for folder in [&fixtures().join("tasks/splade-routed"), &flat.0, &older.0] {
            let model = load_for(folder, on, Some(Precision::F32), None);
            for (kind, key) in
                [(Some(Kind::Query), "queries"), (Some(Kind::Document), "documents"), (None, "documents")]
            {
                let found = embed(&model, kind).unwrap();
                same_terms(&found, &golden[key], 1e-5, &format!("{on:?} {key}"));
                assert!(!found[1].truncated && found[2].truncated);
            }
        }
    }
    type Change = fn(&mut Value);
    let changed = |change: Change| {
        let mut router = router.clone();
        change(&mut router);
        let folder = edited("splade-routed", &[("router_config.json", router)]);
        native::load(&folder.0, On::Cpu.device(), None, None, &mut |_, _| {})
    };
    // An encoder finds terms in an empty text too.
    let query = changed(|router| router["parameters"]["default_route"] = json!("query")).unwrap();
    let terms = |kind| embed(&query, kind).unwrap()[1].indices.len();
    assert!(terms(None) == 0 && terms(Some(Kind::Document)) > 0);
    let none = changed(|router| router["parameters"] = json!({ "allow_empty_key": false })).unwrap();
    assert_eq!(embed(&none, None).unwrap_err().code(), "invalid-argument");
    // Where the table's tokenizer has no limit, that of the encoder holds for its batches.
    let endless = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1e30 });
    let folder = edited("splade-routed", &[("query_0_SparseStaticEmbedding/tokenizer_config.json", endless)]);
    let model = load_for(&folder.0, On::Cpu, None, None);
    let options = SparseOptions { kind: Some(Kind::Query), ..SparseOptions::default() };
    let call = model.embed_sparse(&["boat ".repeat(3000), "boat".into()], &options).unwrap();
    let found = pollster::block_on(call.run(&model)).unwrap();
    assert!(found[0].truncated && !found[1].truncated && found[0].indices == found[1].indices);
    let refused: [(&str, &str, Change); 8] = [
        ("a hundred modules", "unsupported-option", |router| {
            router["structure"]["document"] = vec!["document_0_MLMTransformer"; 100].into()
        }),
        ("routes by modality", "unsupported-option", |router| {
            router["parameters"]["route_mappings"] = json!({ "(None, 'text')": "query" })
        }),
        ("another route", "unsupported-option", |router| router["parameters"]["default_route"] = json!("image")),
        ("the first route", "unsupported-option", |router| router["parameters"] = json!({})),
        ("two encoders", "unsupported-option", |router| {
            router["structure"]["query"] = router["structure"]["document"].clone()
        }),
        ("an unknown module", "unsupported-option", |router| {
            router["types"]["document_1_SpladePooling"] = json!("x.CSR")
        }),
        ("a route outside", "unsupported-option", |router| router["structure"]["query"] = json!(["../x"])),
        ("no structure", "unsupported-option", |router| drop(router.as_object_mut().unwrap().remove("structure"))),
    ];
    for (name, code, change) in refused {
        let error = changed(change).err().unwrap_or_else(|| panic!("{name} loaded"));
        assert_eq!(error.code(), code, "{name}: {error}");
    }
    for (path, value) in [
        ("query_0_SparseStaticEmbedding/config.json", json!({ "path": "idf.json" })),
        ("config_sentence_transformers.json", json!({ "model_type": "SentenceTransformer" })),
    ] {
        let folder = edited("splade-routed", &[(path, value)]);
        let error = native::load(&folder.0, On::Cpu.device(), None, None, &mut |_, _| {}).err().unwrap();
        assert_eq!(error.code(), "unsupported-option", "{path}: {error}");
    }
    let folder = edited("splade-routed", &[]);
    std::fs::remove_file(folder.0.join("query_0_SparseStaticEmbedding/tokenizer.json")).unwrap();
    let error = native::load(&folder.0, On::Cpu.device(), None, None, &mut |_, _| {}).err().unwrap();
    assert_eq!(error.code(), "missing-file", "{error}");
    assert!(error.to_string().contains("query_0_SparseStaticEmbedding/tokenizer.json"), "{error}");
}

#[test]
fn makes_a_vector_a_token_as_a_multi_vector_encoder() {
    for on in On::BOTH {
        for name in ["colbert", "colbert-min", "colbert-stanford"] {
            let (model, golden) = task_model(name, on);
            assert_eq!(model.info().task, Task::Multi);
            let texts: Vec<String> = parsed(&golden["texts"]);
            let vectors = |kind, pool_factor| {
                run(&model, model.embed_multi(&texts, &MultiOptions { kind: Some(kind), pool_factor }))
            };
            let (queries, documents) = (vectors(Kind::Query, None), vectors(Kind::Document, None));
            for (found, key) in [(&queries, "queries"), (&documents, "documents")] {
                for (index, found) in found.iter().enumerate() {
                    let expected: Vec<Vec<f32>> = parsed(&golden[key][index]);
                    assert_eq!(found.rows().count(), expected.len(), "{name} {key} {index}");
                    assert!(max_abs(&found.data, &expected.concat()) <= SCORES_MAX, "{name} {key} {index}");
                }
            }
            for (documents, key) in [(documents, "scores"), (vectors(Kind::Document, Some(2)), "pooled_scores")] {
                let all = compared(&model, &queries, &documents).data;
                for (i, query) in queries.iter().enumerate() {
                    for (j, document) in documents.iter().enumerate() {
                        let expected = golden[key][i][j].as_f64().unwrap() as f32;
                        let found = max_sim(query, document).unwrap();
                        let on_device = all[j * queries.len() + i];
                        assert!(
                            (found - expected).abs() <= 10.0 * SCORES_MAX && (found - on_device).abs() <= 1e-5 * found,
                            "{name} {key} {i} {j}: {found} and {on_device} for {expected}"
                        );
                    }
                }
            }
            for (query, expected) in texts.iter().zip(golden["scores"].as_array().unwrap()) {
                let found = run(&model, model.rerank(query, &texts, &RerankOptions::default()));
                assert!(found.len() == texts.len() && found.is_sorted_by(|a, b| a.score >= b.score));
                for ranked in found {
                    let expected = expected[ranked.index].as_f64().unwrap() as f32;
                    assert!((ranked.score - expected).abs() <= 10.0 * SCORES_MAX, "{name}: {ranked:?} for {expected}");
                }
            }
        }
    }
}

#[test]
fn reads_what_pylate_saves() {
    // Before it said what it is, by its keys: the same.
    let mut about = json("tasks/pylate/config_sentence_transformers.json");
    about.as_object_mut().unwrap().remove("model_type");
    let older = edited("pylate", &[("config_sentence_transformers.json", about)]);
    let golden = json("tasks/pylate.json");
    let load = |on| {
        let (model, _) = task_model("pylate", on);
        assert_eq!(model.info().task, Task::Multi);
        [model, load_for(&older.0, on, Some(Precision::F32), Some(Task::Multi))]
    };
    for model in On::BOTH.into_iter().flat_map(load) {
        for (kind, texts, vectors) in
            [(Kind::Query, "queries", "query_vectors"), (Kind::Document, "documents", "document_vectors")]
        {
            let texts: Vec<String> = parsed(&golden[texts]);
            let options = MultiOptions { kind: Some(kind), pool_factor: None };
            let found = run(&model, model.embed_multi(&texts, &options));
            let expected: Vec<Vec<Vec<f32>>> = parsed(&golden[vectors]);
            assert_eq!(found.len(), expected.len());
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert_eq!(found.rows().count(), expected.len(), "{vectors} {index}");
                assert!(max_abs(&found.data, &expected.concat()) <= SCORES_MAX, "{vectors} {index}");
            }
        }
    }
}

/// What is not of tokens is left out, as the conversion of sentence-transformers does.
#[test]
fn projects_tokens_as_a_sentence_transformer_projects_texts() {
    let module =
        |(kind, path): &(&str, &str)| json!({ "type": format!("sentence_transformers.models.{kind}"), "path": path });
    let modules = |all: &[(&str, &str)]| ("modules.json", all.iter().map(module).collect::<Value>());
    let (transformer, dense, normalize) = (("Transformer", ""), ("Dense", "1_Dense"), ("Normalize", "2_Normalize"));
    let about = |kind: &str| {
        let mut about = json("tasks/colbert-min/config_sentence_transformers.json");
        about["model_type"] = json!(kind);
        ("config_sentence_transformers.json", about)
    };
    let mut of_texts = json("tasks/colbert-min/1_Dense/config.json");
    of_texts["module_input_name"] = json!("sentence_embedding");
    of_texts["module_output_name"] = json!("sentence_embedding");
    let folder = edited(
        "colbert-min",
        &[
            about("SentenceTransformer"),
            modules(&[transformer, ("Pooling", "1_Pooling"), dense, normalize]),
            ("1_Dense/config.json", of_texts),
        ],
    );
    let model = load_for(&folder.0, On::Cpu, Some(Precision::F32), Some(Task::Multi));
    let (native, golden) = task_model("colbert-min", On::Cpu);
    let texts: Vec<String> = parsed(&golden["texts"]);
    for kind in [Kind::Query, Kind::Document] {
        let vectors = |model: &Model| {
            run(model, model.embed_multi(&texts, &MultiOptions { kind: Some(kind), pool_factor: None }))
        };
        assert_eq!(vectors(&model), vectors(&native));
    }
    // Where nothing projects tokens, sentence-transformers draws random numbers.
    let folders = [
        edited("colbert-min", &[about("SentenceTransformer"), modules(&[transformer, normalize])]),
        edited("colbert-min", &[about("CrossEncoder"), modules(&[transformer])]),
        edited("splade-max", &[]),
        edited("bert-answers", &[]),
    ];
    for folder in &folders {
        let error = native::load(&folder.0, On::Cpu.device(), None, Some(Task::Multi), &mut |_, _| {}).err().unwrap();
        assert!(error.code() == "unsupported-option" && error.to_string().contains("projection"), "{error}");
    }
}

#[test]
fn damaged_metadata_of_colbert_is_a_typed_error() {
    let metadata = || json("tasks/colbert-stanford/artifact.metadata");
    for (key, value, code) in [
        ("dim", json!(16), "wrong-shape"),
        ("query_maxlen", json!("16"), "invalid-file"),
        ("doc_maxlen", json!(0), "invalid-file"),
        ("mask_punctuation", json!(1), "invalid-file"),
        ("query_token_id", json!(5), "invalid-file"),
    ] {
        let mut metadata = metadata();
        metadata[key] = value;
        let folder = edited("colbert-stanford", &[("artifact.metadata", metadata)]);
        let error = native::load(&folder.0, On::Cpu.device(), None, None, &mut |_, _| {}).err().unwrap();
        assert_eq!(error.code(), code, "{key}: {error}");
    }
    // As many tokens as no position is there for, and without markers the usual ones.
    let texts = ["x".to_owned()];
    let vectors = |metadata: Value| {
        let folder = edited("colbert-stanford", &[("artifact.metadata", metadata)]);
        let model = load_for(&folder.0, On::Cpu, None, None);
        let call = model.embed_multi(&texts, &MultiOptions { kind: Some(Kind::Query), pool_factor: None });
        call.and_then(|call| pollster::block_on(call.run(&model)))
    };
    let mut long = metadata();
    long["query_maxlen"] = json!(41);
    assert_eq!(vectors(long).unwrap_err().code(), "invalid-argument");
    let mut bare = metadata();
    bare.as_object_mut().unwrap().retain(|key, _| key == "dim" || key == "query_maxlen");
    assert_eq!(vectors(bare).unwrap(), vectors(metadata()).unwrap());
}

/// Every document with every query, on the model's device.
fn compared(model: &Model, queries: &[MultiVectors], documents: &[MultiVectors]) -> Ragged {
    let texts = || queries.iter().chain(documents);
    let counts: Vec<u32> = texts().map(|text| text.rows().count() as u32).collect();
    let data = texts().flat_map(|text| text.data.clone()).collect();
    run(model, model.max_sim(Ragged::new(data, queries[0].dimensions, &counts).unwrap(), queries.len()))
}

/// Texts of one vector each, more than a batch has rows: dot products.
#[test]
fn compares_single_vectors_on_the_device() {
    let rows = |count: usize, seed: usize| -> Vec<MultiVectors> {
        let value = |index: usize| ((index * 2_654_435_761 + seed) % 1009) as f32 / 504.0 - 1.0;
        let vector = |text: usize| (0..13).map(|index| value(13 * text + index)).collect();
        let text = |text: usize| MultiVectors { data: vector(text), dimensions: 13, ..MultiVectors::default() };
        (0..count).map(text).collect()
    };
    let (queries, documents) = (rows(1500, 1), rows(3001, 2));
    for on in On::BOTH {
        let (model, _) = task_model("colbert", on);
        let found = compared(&model, &queries, &documents);
        assert_eq!((found.width, found.data.len()), (1500, 1500 * 3001));
        for (document, found) in documents.iter().zip(found.data.chunks_exact(1500)).step_by(7) {
            for (query, found) in queries.iter().zip(found).step_by(13) {
                let expected: f32 = query.data.iter().zip(&document.data).map(|(a, b)| a * b).sum();
                assert!((found - expected).abs() < 1e-4, "{found}, expected {expected}");
            }
        }
    }
}

/// More documents than a batch holds, some without a vector, and a query without.
#[test]
fn compares_many_documents_on_the_device() {
    let random = |count: usize, seed: usize, most: usize| {
        let value = |index: usize| ((index * 2_654_435_761 + seed) % 1009) as f32 / 504.0 - 1.0;
        let vectors = |text: usize| MultiVectors {
            data: (0..text * 7 % most * 13).map(|index| value(index + 31 * text)).collect(),
            dimensions: 13,
            ..MultiVectors::default()
        };
        (0..count).map(vectors).collect::<Vec<_>>()
    };
    let (queries, documents) = (random(4, 1, 40), random(600, 2, 90));
    for on in On::BOTH {
        let (model, _) = task_model("colbert", on);
        let found = compared(&model, &queries, &documents);
        let expected = documents.iter().flat_map(|one| queries.iter().map(|query| max_sim(query, one).unwrap()));
        let expected: Vec<f32> = expected.collect();
        assert!(
            found.width == 4 && max_abs(&found.data, &expected) < 5e-4 && expected.iter().any(|score| *score > 40.0)
        );
        assert!(compared(&model, &queries, &[]).data.is_empty());
        for queries in [0, 3] {
            let texts = Ragged::new(vec![0.0; 26], 13, &[1, 1]).unwrap();
            assert_eq!(model.max_sim(texts, queries).err().unwrap().code(), "invalid-argument");
        }
    }
    for (numbers, width, counts) in [(6, 2, &[1, 1][..]), (6, 0, &[]), (0, 3, &[u32::MAX, u32::MAX, 2])] {
        assert_eq!(Ragged::new(vec![0.0; numbers], width, counts).unwrap_err().code(), "invalid-argument");
    }
}

#[test]
fn explains_as_leaving_out_does() {
    for on in On::BOTH {
        for (index, case) in json("tasks/explain.json")["cases"].as_array().unwrap().iter().enumerate() {
            let model = load_for(&fixtures().join(case["folder"].as_str().unwrap()), on, Some(Precision::F32), None);
            let text = case["text"].as_str().unwrap();
            let options = ["against", "label", "method", "unit"].map(|key| (key.to_owned(), case[key].clone()));
            let options: ExplainOptions = parsed(&Value::Object(options.into_iter().collect()));
            let found = run(&model, model.explain(text, &options));
            let what = format!("{on:?}, case {index}");
            close(found.score, &case["score"], &what);
            assert_eq!(json!(found.label), case["explained"], "{what}");
            let expected = case["parts"].as_array().unwrap();
            let places = |part: &Part| json!([part.start, part.end]);
            let found_places: Vec<Value> = found.parts.iter().map(places).collect();
            let expected_places: Vec<Value> = expected.iter().map(|part| json!([part[0], part[1]])).collect();
            assert_eq!(found_places, expected_places, "{what}");
            for (found, expected) in found.parts.iter().zip(expected) {
                close(found.score, &expected[2], &what);
                let slice: String = text.chars().skip(found.start).take(found.end - found.start).collect();
                assert_eq!(found.text, slice, "{what}");
            }
            assert_eq!(found.truncated, found.parts.last().unwrap().end < text.trim_end().chars().count(), "{what}");
        }
    }
}

#[test]
fn explanations_have_limits() {
    let (labels, _) = task_model("bert-labels", On::Cpu);
    let explain =
        |model: &Model, text: &str, options: Value| model.explain(text, &parsed(&options)).err().unwrap().code();
    for wrong in [
        json!({"against": "a", "label": "b"}),
        json!({"label": "z"}),
        json!({"method": "maxsim"}),
        json!({"kind": "query"}),
    ] {
        assert_eq!(explain(&labels, "x", wrong.clone()), "invalid-argument", "{wrong}");
    }
    let vectors = load_for(&fixtures().join("models/bert-mean"), On::Cpu, None, None);
    assert_eq!(explain(&vectors, "x", json!({})), "no-head");
    // A model that reads 8192 tokens, of which each but the last would be left out once.
    let long = load_for(&fixtures().join("architectures/t5-1"), On::Cpu, None, None);
    assert_eq!(explain(&long, &"x ".repeat(1100), json!({"against": "x"})), "limit-exceeded");
    // Nothing but a prompt is no part, and an empty text has none.
    let nothing = run(&vectors, vectors.explain("", &parsed(&json!({"against": "x", "kind": "query"}))));
    assert!(nothing.parts.is_empty() && nothing.score > -1.0 && nothing.score < 1.0);
    let options = json!({"against": "the boats", "kind": "query", "unit": "word"});
    let found = run(&vectors, vectors.explain("the boats sail", &parsed(&options)));
    assert_eq!(found.parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>(), ["the", "boats", "sail"]);
    // The prompts are those of a query and a document.
    let embed = |text: &str, prompt: &str| {
        let options = embedlet::model::EmbedOptions { prompt: Some(prompt.into()), ..Default::default() };
        run(&vectors, vectors.embed(&[text], &options)).data
    };
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let document = embed("the boats", "passage: ");
    let whole = dot(&embed("the boats sail", "query: "), &document);
    assert!((found.score - whole).abs() < 1e-6);
    let without = dot(&embed("the boats", "query: "), &document);
    assert!((found.parts[2].score - (whole - without)).abs() < 1e-6);
}

#[test]
fn a_missing_head_is_named() {
    let folder = fixtures().join("models/bert-plain");
    let load = |task| native::load(&folder, On::Cpu.device(), None, task, &mut |_, _| {});
    let model = load(None).unwrap();
    assert_eq!(model.info().task, Task::Embed);
    assert_eq!(model.tag(&["x".to_owned()], &TagOptions::default()).err().unwrap().code(), "no-head");
    let error = load(Some(Task::Classify)).err().unwrap();
    assert!(error.code() == "missing-tensor" && error.to_string().contains("pooler.dense.weight"), "{error}");
    let (model, _) = task_model("bert-labels", On::Cpu);
    let unknown = ClassifyOptions { labels: Some(vec!["z".into()]), ..ClassifyOptions::default() };
    assert_eq!(model.classify(&[Input::text("x")], &unknown).err().unwrap().code(), "invalid-argument");
    let rerank = model.rerank("x", &["y".to_owned()], &RerankOptions::default());
    assert_eq!(rerank.err().unwrap().code(), "invalid-argument");
    // Vectors are those of the encoder.
    let call = model.embed(&["x"], &Default::default()).unwrap();
    assert_eq!(pollster::block_on(call.run(&model)).unwrap().dimensions, 24);
}
