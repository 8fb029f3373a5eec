//! Training of heads, against scikit-learn (tests/golden/make_training.py), and what is kept of them.

use std::collections::BTreeMap;

use embedlet::Error;
use embedlet::model::{EmbedOptions, Model};
use embedlet::task::{ClassifyOptions, Example, TrainedHead};
use embedlet::train::{Method, TrainOptions, Trained, Training};
use serde_json::Value;

use crate::support::{On, fixtures, json, load, max_abs, minilm, tensors};

/// Against scikit-learn at its optimum. Coefficients are up to 30 at the weakest regularisation.
const EXACT: f32 = 1e-4;

struct Case {
    classes: Vec<usize>,
    count: usize,
    width: usize,
    vectors: Vec<f32>,
}

impl Case {
    fn read(name: &str, case: &Value, tensors: &std::collections::HashMap<String, Vec<f32>>) -> Self {
        let classes: Vec<usize> = serde_json::from_value(case["classes"].clone()).unwrap();
        let count = classes.iter().max().unwrap() + 1;
        let width = case["width"].as_u64().unwrap() as usize;
        Self { classes, count, width, vectors: tensors[&format!("{name}.vectors")].clone() }
    }

    fn train(&self, options: TrainOptions) -> Trained {
        let mut training = Training::new(self.classes.clone(), self.count, self.width, &options).unwrap();
        assert_eq!(training.finish().unwrap_err().code(), "invalid-argument");
        let mut done = 0;
        while done < training.units() {
            let now = training.step(&self.vectors, self.width);
            assert!(now == done || now == done + 1);
            done = now;
        }
        training.finish().unwrap()
    }
}

fn at(c: f64) -> TrainOptions {
    TrainOptions { regularization: Some(c), ..TrainOptions::default() }
}

fn scores(trained: &Trained, vector: &[f32]) -> Vec<f64> {
    let rows = trained.weight.chunks_exact(vector.len()).zip(&trained.bias);
    let score = |(row, bias): (&[f32], &f32)| {
        row.iter().zip(vector).map(|(a, b)| f64::from(a * b)).sum::<f64>() + f64::from(*bias)
    };
    rows.map(score).collect()
}

fn probabilities(trained: &Trained, vectors: &[f32], width: usize) -> Vec<f32> {
    let softmax = |vector| {
        let powers: Vec<f64> = scores(trained, vector).into_iter().map(f64::exp).collect();
        let total: f64 = powers.iter().sum();
        powers.into_iter().map(move |power| (power / total) as f32)
    };
    vectors.chunks_exact(width).flat_map(softmax).collect()
}

/// Its name, what it is about, the examples, and the reference's numbers.
type Reference = (String, Value, Case, BTreeMap<String, Vec<f32>>);

fn cases() -> Vec<Reference> {
    let (golden, tensors) = (json("training.json"), tensors("training.safetensors"));
    let case = |(name, case): (&String, &Value)| {
        let own = tensors
            .iter()
            .filter_map(|(key, values)| Some((key.strip_prefix(&format!("{name}."))?.to_owned(), values.clone())));
        (name.clone(), case.clone(), Case::read(name, case, &tensors), own.collect())
    };
    let cases: Vec<_> = golden["small"].as_object().unwrap().iter().map(case).collect();
    assert!(cases.len() >= 4);
    cases
}

#[test]
fn logistic_regressions_are_those_of_scikit_learn() {
    for (name, _, case, golden) in cases() {
        for (c, label) in [(0.01, "0.01"), (1.0, "1.0"), (100.0, "100.0")] {
            let trained = case.train(at(c));
            assert_eq!(trained.regularization, Some(c));
            let (mut weight, mut bias) = (trained.weight.clone(), trained.bias.clone());
            if case.count == 2 {
                // There it has one vector, ours is two that are opposite.
                weight = (0..case.width).map(|k| weight[case.width + k] - weight[k]).collect();
                bias = vec![bias[1] - bias[0]];
            }
            let coef = max_abs(&weight, &golden[&format!("{label}.coef")]);
            let intercept = max_abs(&bias, &golden[&format!("{label}.intercept")]);
            let found = probabilities(&trained, &golden["others"], case.width);
            let probability = max_abs(&found, &golden[&format!("{label}.probabilities")]);
            println!("{name} {c}: {coef:e} {intercept:e} {probability:e}");
            assert!(coef <= EXACT && intercept <= EXACT && probability <= EXACT, "{name} {c}");
        }
    }
}

#[test]
fn the_regularisation_chosen_is_that_of_scikit_learn() {
    for (name, expected, case, _) in cases() {
        let trained = case.train(TrainOptions::default());
        let (c, accuracy) = (expected["regularization"].as_f64().unwrap(), expected["accuracy"].as_f64().unwrap());
        assert!(
            (trained.regularization.unwrap() / c - 1.0).abs() < 1e-12,
            "{name}: {:?} for {c}",
            trained.regularization
        );
        assert!((trained.accuracy - accuracy).abs() < 1e-12, "{name}: {} for {accuracy}", trained.accuracy);
        // The same examples give the same bits.
        assert_eq!(case.train(TrainOptions::default()), trained);
    }
}

#[test]
fn centroids_score_by_cosines() {
    for (name, _, case, golden) in cases() {
        let trained = case.train(TrainOptions { method: Method::Centroids, ..TrainOptions::default() });
        let vectors = golden["others"].chunks_exact(case.width);
        let found: Vec<f32> = vectors.flat_map(|vector| scores(&trained, vector)).map(|x| (x * 0.05) as f32).collect();
        assert!(max_abs(&found, &golden["cosines"]) < 1e-6, "{name}");
        assert!(trained.regularization.is_none() && trained.accuracy > 0.5 && trained.accuracy < 1.0);
    }
}

#[test]
fn trainings_that_cannot_be_are_refused() {
    let code = |classes: &[usize], count, width, options: &TrainOptions| {
        Training::new(classes.to_vec(), count, width, options).err().map(|error| error.code())
    };
    let fine = TrainOptions::default();
    assert_eq!(code(&[0, 1, 1, 0], 2, 3, &fine), None);
    for (classes, count) in [(&[][..], 0), (&[0, 0], 1), (&[0, 0, 1], 2), (&[0, 0, 1, 1], 3)] {
        assert_eq!(code(classes, count, 3, &fine), Some("invalid-argument"));
    }
    for options in [
        at(0.0),
        at(-1.0),
        at(f64::NAN),
        at(1e300),
        TrainOptions { folds: Some(1), ..fine },
        TrainOptions { method: Method::Centroids, ..at(1.0) },
    ] {
        assert_eq!(code(&[0, 1, 1, 0], 2, 3, &options), Some("invalid-argument"), "{options:?}");
    }
    let many: Vec<usize> = (0..10_000).map(|row| row % 100).collect();
    assert_eq!(code(&many, 100, 1024, &fine), Some("limit-exceeded"));
}

fn examples(pairs: &[(&str, &str)]) -> Vec<Example> {
    pairs.iter().map(|(label, text)| Example { text: (*text).into(), label: (*label).into() }).collect()
}

fn train(model: &Model, examples: &[Example], options: &TrainOptions, embed: &EmbedOptions) -> TrainedHead {
    pollster::block_on(model.train_head(examples, options, embed).unwrap().run(model)).unwrap()
}

fn best(model: &Model, head: &TrainedHead, texts: &[String]) -> Vec<String> {
    let call = model.classify_by(head.clone(), texts, &ClassifyOptions::default()).unwrap();
    let all = pollster::block_on(call.run(model)).unwrap();
    all.into_iter().map(|one| one.scores[0].label.clone()).collect()
}

/// The texts of [`topics`] of make_training.py: eight a topic to train on, forty to be classified.
fn topics() -> (Vec<Example>, Vec<Example>) {
    let sentences: BTreeMap<String, Vec<String>> = serde_json::from_value(json("topics.json")).unwrap();
    let (mut examples, mut others) = (Vec::new(), Vec::new());
    for (label, own) in sentences {
        let pair = |a: usize, b: usize| Example { text: format!("{} {}", own[a], own[b]), label: label.clone() };
        examples.extend((0..16).step_by(2).map(|i| pair(i, i + 1)));
        others.extend(
            [1, 3]
                .into_iter()
                .flat_map(|step| (0..20).map(move |i| (16 + i, 16 + (i + step) % 20)))
                .map(|(a, b)| pair(a, b)),
        );
    }
    (examples, others)
}

#[test]
fn minilm_with_a_trained_head_is_as_good_as_scikit_learn() {
    let model = load(&minilm(), On::Cpu, None);
    let (examples, others) = topics();
    let golden = &json("training.json")["topics"];
    assert_eq!((examples.len(), others.len()), (80, 400));
    let texts: Vec<String> = others.iter().map(|other| other.text.clone()).collect();
    let accuracy = |head: &TrainedHead| {
        let found = best(&model, head, &texts);
        found.iter().zip(&others).filter(|(found, other)| **found == other.label).count() as f64 / texts.len() as f64
    };
    let head = train(&model, &examples, &TrainOptions::default(), &EmbedOptions::default());
    assert!((head.about.regularization.unwrap() / golden["regularization"].as_f64().unwrap() - 1.0).abs() < 1e-12);
    assert!((head.about.accuracy - golden["accuracy"].as_f64().unwrap()).abs() < 1e-12);
    let (found, one) = (accuracy(&head), accuracy(&train(&model, &examples, &at(1.0), &EmbedOptions::default())));
    println!("cross-validated {found}, C = 1 {one}; scikit-learn {golden}");
    for (found, expected) in
        [(found, "score"), (one, "score_at_one"), (one, "score_by_default"), (found, "score_by_default")]
    {
        assert!((found - golden[expected].as_f64().unwrap()).abs() <= 0.01, "{expected}: {found}");
    }
    let options = TrainOptions { method: Method::Centroids, ..TrainOptions::default() };
    assert!(accuracy(&train(&model, &examples, &options, &EmbedOptions::default())) > 0.75);
}

const FEW: [(&str, &str); 6] = [
    ("sea", "the small boat went out to sea"),
    ("sea", "the fish came back to the harbour"),
    ("sea", "boats and the harbour"),
    ("land", "the museum opens at nine"),
    ("land", "the old man counted the birds"),
    ("land", "the museum is in the town"),
];

#[test]
fn a_head_survives_being_saved() {
    for on in On::BOTH {
        let model = load(&fixtures().join("models/bert-mean"), on, None);
        let texts: Vec<String> = FEW.iter().map(|(_, text)| (*text).to_owned()).collect();
        let embed = EmbedOptions { prompt: Some("topic: ".into()), dimensions: Some(20), ..EmbedOptions::default() };
        let head = train(&model, &examples(&FEW), &at(100.0), &embed);
        assert_eq!(best(&model, &head, &texts), FEW.map(|(label, _)| label));
        assert_eq!(head.about.labels, ["land", "sea"]);
        let bytes = head.save().unwrap();
        assert_eq!(bytes, train(&model, &examples(&FEW), &at(100.0), &embed).save().unwrap());
        // Any reader of safetensors can have it.
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("weight").unwrap().shape(), [2, 20]);
        let again = pollster::block_on(model.load_head(&bytes).unwrap().run(&model)).unwrap();
        assert_eq!(again, head);
    }
}

#[test]
fn a_head_belongs_to_its_model() {
    let model = load(&fixtures().join("models/bert-mean"), On::Cpu, None);
    let head = train(&model, &examples(&FEW), &at(1.0), &EmbedOptions::default());
    let bytes = head.save().unwrap();
    // As wide, and other weights.
    let pooled = load(&fixtures().join("models/bert-pooling"), On::Cpu, None);
    let error = match pooled.load_head(&bytes) {
        Ok(call) => pollster::block_on(call.run(&pooled)).unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("another model"), "{error}");
    let odd = load(&fixtures().join("models/bert-odd"), On::Cpu, None);
    assert!(odd.load_head(&bytes).err().unwrap().to_string().contains("dimensions"));
    assert!(odd.classify_by(head, &[], &ClassifyOptions::default()).is_err());
}

/// The file with its header changed.
fn edited(bytes: &[u8], change: impl Fn(String) -> String) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = change(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()
}

#[test]
fn damaged_heads_are_refused() {
    let model = load(&fixtures().join("models/bert-mean"), On::Cpu, None);
    let bytes = train(&model, &examples(&FEW), &at(1.0), &EmbedOptions::default()).save().unwrap();
    let refused = |bytes: &[u8]| match model.load_head(bytes) {
        Ok(call) => pollster::block_on(call.run(&model)).err(),
        Err(error) => Some(error),
    };
    assert_eq!(refused(&bytes), None);
    for length in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(refused(&bytes[..length]), Some(Error::InvalidFile { .. } | Error::TruncatedFile { .. })));
    }
    let edits: [(&str, &str); 9] = [
        ("embedlet_head", "someone_else"),
        (r#"\"version\":1"#, r#"\"version\":2"#),
        (r#"[\"land\",\"sea\"]"#, r#"[\"land\"]"#),
        (r#"[\"land\",\"sea\"]"#, r#"[\"land\",\"sea\",\"air\"]"#),
        (r#""shape":[2,32]"#, r#""shape":[32,2]"#),
        (r#""dtype":"F32","shape":[2]"#, r#""dtype":"I32","shape":[2]"#),
        ("\"probe\"", "\"prose\""),
        (r#"\"tokens\":false"#, r#"\"tokens\":true"#),
        (r#"\"promptName\":null"#, r#"\"promptName\":\"x\""#),
    ];
    for (from, to) in edits {
        let file = edited(&bytes, |header| {
            assert!(header.contains(from), "{from} in {header}");
            header.replace(from, to)
        });
        let error = refused(&file).unwrap_or_else(|| panic!("{to}"));
        assert!(["invalid-file", "invalid-argument"].contains(&error.code()), "{to}: {error}");
    }
    let mut file = bytes.clone();
    let end = file.len();
    file[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(refused(&file).unwrap().code(), "invalid-file");
    file.extend_from_slice(&[0; 4]);
    assert_eq!(refused(&file).unwrap().code(), "truncated-file");
    // A header that declares more than it has.
    file[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(refused(&file).unwrap().code(), "invalid-file");
}
