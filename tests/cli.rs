//! The binary: lines in, lines out, in order.

use std::process::Command;

use serde_json::Value;

use crate::support::{fixtures, json, max_abs, run, tensors};

fn embed(model: &str, extra: &[&str], input: &str) -> Vec<Value> {
    let folder = fixtures().join("models").join(model);
    let output = run(&[&["embed", "--model", folder.to_str().unwrap()], extra].concat(), input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    value["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn embeds_lines_in_order() {
    let golden = json("models/bert-mean.json");
    let expected = &tensors("models/bert-mean.expected.safetensors")["default"];
    let texts = golden["texts"].as_array().unwrap();
    let input: String = texts.iter().map(|text| format!("{}\n", serde_json::json!({ "text": text }))).collect();
    for device in ["cpu", "gpu", "auto"] {
        let lines = embed("bert-mean", &["--device", device], &input);
        assert_eq!(lines.len(), texts.len());
        let found: Vec<f32> = lines.iter().flat_map(floats).collect();
        assert!(max_abs(&found, expected) <= 1e-5, "{device}");
        let tokens: Vec<&Value> = lines.iter().map(|line| &line["tokens"]).collect();
        let default = &golden["cases"].as_array().unwrap()[0];
        assert_eq!(default["name"], "default");
        assert_eq!(tokens, default["tokens"].as_array().unwrap().iter().collect::<Vec<_>>(), "{device}");
    }
}

#[test]
fn takes_bare_lines_and_options() {
    let input = "a bare line\n{\"text\": \"a bare line\"}\n\"a bare line\"\n";
    let lines = embed("bert-mean", &["--device", "cpu", "--quiet"], input);
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line == &lines[0]));
    let cut = embed("bert-mean", &["--device", "cpu", "--dimensions", "5", "--normalize"], "x\n");
    let cut = floats(&cut[0]);
    assert_eq!(cut.len(), 5);
    assert!((cut.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    let two = embed("bert-mean", &["--device", "cpu", "--pooling", "cls,mean", "--no-normalize"], "x\n");
    assert_eq!(floats(&two[0]).len(), 64);
}

/// What is counted of a model is exact; what is timed is only there.
#[test]
fn bench_counts_the_work_of_every_kernel() {
    let folder = fixtures().join("models/bert-mean");
    let file = std::env::temp_dir().join(format!("embedlet-bench-{}.json", std::process::id()));
    for device in ["cpu", "gpu"] {
        let arguments = ["bench", "--rounds", "1", "--only", "one-short", "--device", device, "--model"];
        let output = run(&[&arguments[..], &[folder.to_str().unwrap(), "--json", file.to_str().unwrap()]].concat(), "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert!(report["peaks"]["flops"].as_f64().unwrap() > 0.0 && report["peaks"]["bytes"].as_f64().unwrap() > 0.0);
        let cell = &report["cells"][0];
        assert_eq!((&cell["name"], &cell["texts"]), (&Value::from("one short"), &Value::from(1)));
        assert!(cell["samples"][0].as_f64().unwrap() > 0.0);
        let tokens = cell["tokens"].as_f64().unwrap();
        let kernels = cell["kernels"].as_array().unwrap();
        let kernel = |name: &str| kernels.iter().find(|kernel| kernel["name"] == name).unwrap();
        let steps: u64 = kernels.iter().map(|kernel| kernel["launches"].as_u64().unwrap()).sum();
        let layers = kernel("attention 96 → 32")["launches"].as_u64().unwrap();
        assert_eq!(steps, 7 * layers + 2);
        let counted = |name: &str, count: &str| kernel(name)[count].as_f64().unwrap();
        assert_eq!(counted("linear 32 → 96", "flops"), layers as f64 * 2.0 * tokens * 32.0 * 96.0);
        assert_eq!(counted("attention 96 → 32", "flops"), layers as f64 * 4.0 * tokens * tokens * 32.0);
        assert_eq!(counted("layer_norm 32 → 32", "bytes"), layers as f64 * 2.0 * 4.0 * 32.0 * (2.0 * tokens + 2.0));
    }
    let arguments =
        ["bench", "--rounds", "1", "--only", "one-short", "--device", "gpu", "--kernels", "hardware", "--model"];
    let output = run(&[&arguments[..], &[folder.to_str().unwrap(), "--json", file.to_str().unwrap()]].concat(), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let tuned = report["tuning"].as_array().unwrap();
    assert!(tuned.iter().any(|tuned| tuned["shape"] == "32 → 96"), "{tuned:?}");
    for tuned in tuned {
        let forms = ["linear_split_normed", "linear_split", "linear_tiled", "linear_tiled_large"];
        let form = |name: &Value| forms.iter().position(|form| name == form).unwrap();
        assert!(form(&tuned["ms"][0][0]) < form(&tuned["ms"][1][0]), "{tuned}");
        form(&tuned["chosen"]);
    }
    std::fs::remove_file(file).unwrap();
    let unknown = run(&["bench", "--only", "none", "--device", "cpu", "--model", folder.to_str().unwrap()], "");
    assert!(!unknown.status.success());
}

#[test]
fn a_line_that_begins_as_an_object_is_one() {
    let folder = fixtures().join("models/bert-mean");
    let embed = |line: &str| run(&["embed", "--device", "cpu", "--model", folder.to_str().unwrap()], line);
    for line in [r#"{"text": "hello \ud83d"}"#, r#"{"text": "hello""#] {
        let output = embed(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty() && said.contains("not the JSON"), "{said}");
    }
    for line in ["{hello}", r#""{\"text\"""#, "[1, 2"] {
        assert!(embed(line).status.success(), "{line}");
    }
}

/// The objects of other verbs, which scripts rely on.
#[test]
fn every_verb_has_its_shape() {
    let apart = ["embed", "--overflow", "chunk", "--chunk-pooling", "none", "--size", "12"];
    let cases: [(&[&str], &str, &str, &str); 13] = [
        (&apart, "bert-labels", &"x ".repeat(15), "chunks 2 text start end tokens embedding 24"),
        (
            &["chunk", "--size", "12", "--by", "sentences"],
            "bert-labels",
            &"x ".repeat(15),
            "chunks 2 text start end tokens",
        ),
        (&["explain"], "bert-labels", r#"{"text": "a", "against": "b"}"#, "score, parts 1 text start end score"),
        (&["explain", "--label", "b", "--unit", "word"], "bert-labels", "boats", "score, label, parts 1 text score"),
        (&["classify"], "bert-labels", r#"{"text": "a", "pair": "b"}"#, "logits 5, scores 5 label score"),
        (&["tag", "--logits"], "bert-entities", "boats", "logits 3 5"),
        (&["tag", "--aggregation", "none"], "bert-entities", "boats", "entities label score word start end"),
        (&["fill", "--top-k", "2"], "bert-masks", "a [MASK]", "masks 1 position top 2 id token score sequence"),
        (&["rerank"], "bert-cross", r#"{"query": "a", "documents": ["b", "c"]}"#, "results 2 index score"),
        (&["zero-shot", "--labels", "a,b"], "bert-nli", "boats", "scores 2 label score"),
        (&["sparse", "--top-k", "3"], "splade-max", "boats", "indices 3, weights 3, tokens 3"),
        (&["multi", "--query"], "colbert", "boats", "embedding 16 12, tokens"),
        (&["embed", "--layers", "1"], "bert-labels", "boats", "embedding 24, tokens"),
    ];
    for (verb, model, line, shape) in cases {
        let folder = fixtures().join("tasks").join(model);
        let arguments = [verb, &["--model", folder.to_str().unwrap(), "--device", "cpu", "--quiet"]].concat();
        let output = run(&arguments, format!("{line}\n"));
        assert!(output.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        for part in shape.split(", ") {
            let mut at = &found;
            for word in part.split(' ') {
                match word.parse::<usize>() {
                    Ok(length) => {
                        assert_eq!(at.as_array().unwrap().len(), length, "{verb:?} {part}: {found}");
                        at = &at[0];
                    }
                    Err(_) if at.is_array() => {
                        at = &at[0];
                        assert!(!at[word].is_null(), "{verb:?} {part}: {found}");
                    }
                    Err(_) => {
                        assert!(!at[word].is_null(), "{verb:?} {part}: {found}");
                        at = if at[word].is_array() { &at[word] } else { at };
                    }
                }
            }
        }
    }
}

#[test]
fn refuses_what_it_does_not_know() {
    let model = fixtures().join("models/bert-mean");
    let model = model.to_str().unwrap();
    let cases: [(&[&str], &str); 11] = [
        (&["chunk", "--model", model, "--device", "cpu", "--by", "pages"], "pages"),
        (&["embed", "--model", model, "--device", "cpu", "--size", "9"], "overflow"),
        (&["tag", "--model", model, "--pooling", "mean"], "--pooling"),
        (&["embed"], "--model"),
        (&["embed", "--model", "/does/not/exist"], "config.json"),
        (&["embed", "--model", model, "--device", "tpu"], "tpu"),
        (&["embed", "--model", model, "--pooling", "median", "--device", "cpu"], "median"),
        (&["embed", "--model", model, "--dimensions", "many"], "many"),
        (&["embed", "--model", model, "--colour"], "--colour"),
        (&["embed", "--model", model, "--dimensions"], "needs a value"),
        (&["dance"], "dance"),
    ];
    for (arguments, named) in cases {
        let output = run(arguments, "x\n");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(named), "{arguments:?}: {message}");
    }
    let output = run(&["embed", "--model", model, "--device", "cpu"], "fine\n{\"no\": \"text\"}\n");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2"));
}

#[cfg(unix)]
#[test]
fn refuses_arguments_that_are_not_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let wrong = std::ffi::OsStr::from_bytes(b"model-\xff");
    for verb in ["embed", "index"] {
        let output = Command::new(env!("CARGO_BIN_EXE_embedlet")).arg(verb).arg(wrong).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.starts_with("embedlet: \"model-") && message.contains("not UTF-8"), "{message}");
    }
}

#[test]
fn tells_what_it_knows() {
    let model = fixtures().join("models/bert-mean");
    let output = run(&["info", "--model", model.to_str().unwrap(), "--device", "gpu"], "");
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&info["architecture"], &info["maxTokens"], &info["device"]),
        (&"bert".into(), &24.into(), &"gpu".into())
    );
    assert_eq!(info["selfCheck"]["passed"], true);
    // Two layers of seven, and one dispatch before and behind.
    assert_eq!(info["dispatches"], 16);
}
