//! Kernels chosen by measuring them: whatever is chosen, vectors have the same bits. What is fastest here is never asked.

use std::collections::BTreeMap;

use embedlet::bench::{self, Kernels};
use embedlet::gpu::{Budget, Resident, Tuner, Tuning};
use embedlet::model::{EmbedOptions, Model};
use embedlet::program::Precision;

use crate::support::{On, fixtures, load};

type Entries = BTreeMap<String, Vec<u32>>;

/// Tunes a model as long as there is something to do, and gives what is chosen.
fn tune(resident: &Resident, budget: Budget) -> Entries {
    if let Some(mut tuner) = Tuner::new(resident, budget) {
        while pollster::block_on(tuner.slice(resident)).unwrap() {}
    }
    entries(&resident.tuning())
}

fn entries(tuning: &Tuning) -> Entries {
    let text = tuning.clone().keep(Tuning::default());
    let entry = |line: &str| {
        let (key, rows) = line.split_once(' ').unwrap();
        (key.to_owned(), rows.split(' ').map(|rows| rows.parse().unwrap()).collect())
    };
    text.lines().map(entry).collect()
}

fn taking(model: &Model, entries: &Entries) -> Entries {
    let line = |(key, rows): (&String, &Vec<u32>)| {
        let rows: Vec<String> = rows.iter().map(u32::to_string).collect();
        format!("{key} {}\n", rows.join(" "))
    };
    let resident = model.resident().unwrap();
    resident.tune(&Tuning::read(&entries.iter().map(line).collect::<String>()));
    self::entries(&resident.tuning())
}

/// The bits of the vectors of one text, and of as many as make batches of several hundred tokens.
fn bits(model: &Model) -> Vec<u32> {
    let texts: Vec<String> = (0..40).map(|i| format!("{} is text {i} of some", "many words ".repeat(i % 13))).collect();
    let embed = |texts: &[String]| {
        let call = model.embed(texts, &EmbedOptions::default()).unwrap();
        pollster::block_on(call.run(model)).unwrap().data
    };
    [embed(&texts[..1]), embed(&texts)].concat().into_iter().map(f32::to_bits).collect()
}

#[test]
fn whatever_is_chosen_the_bits_are_the_same() {
    same_bits(None, &["linear_split", "linear_tiled", "linear_tiled_large"]);
    same_bits(Some(Precision::Int8), &["linear_int8_split", "linear_int8"]);
}

/// Of a product that has these kernels and, in f32 behind a norm, one more in front of them.
fn same_bits(precision: Option<Precision>, forms: &[&str]) {
    let model = load(&fixtures().join("models/bert-mean"), On::Hardware, precision);
    let before = bits(&model);
    assert_eq!(taking(&model, &Entries::new()), Entries::new());
    // A budget that lets every product be compared: those of queries, keys and values, behind attention, and the two of a block. In f32
    // there is one more kernel of one behind a norm, and the first layer's queries are behind none.
    let chosen = tune(model.resident().unwrap(), Budget::NONE);
    let having = |count: usize| chosen.values().filter(|rows| rows.len() + 1 == count).count();
    let expected = if precision.is_none() { [3, 2, 5] } else { [4, 0, 4] };
    assert_eq!([having(forms.len()), having(forms.len() + 1), chosen.len()], expected);
    assert_eq!(bits(&model), before);
    assert!(Tuner::new(model.resident().unwrap(), Budget::default()).is_none(), "everything is chosen");

    let next = load(&fixtures().join("models/bert-mean"), On::Hardware, precision);
    assert_eq!(taking(&next, &chosen), chosen);
    assert!(Tuner::new(next.resident().unwrap(), Budget::default()).is_none(), "everything was chosen before");
    for (index, taken) in forms.iter().enumerate() {
        // None of the forms in front of it, and the one behind a norm, for any rows, and it for all.
        let edges: Vec<u32> = (0..forms.len()).map(|edge| if edge > index { u32::MAX } else { 0 }).collect();
        let forced =
            chosen.iter().map(|(key, rows)| (key.clone(), edges[edges.len() - rows.len()..].to_vec())).collect();
        assert_eq!(taking(&next, &forced), forced);
        assert_eq!(bits(&next), before, "{taken} everywhere");
        let report = bench::run(&next, 0.0, Some(&["one short".into()]), 1).unwrap();
        let kernels = &report.cells[0].kernels;
        let is = |name: &str, kernels: &Kernels| kernels.name.split(' ').next() == Some(name);
        assert!(kernels.is_empty() || kernels.iter().any(|kernels| is(taken, kernels)));
        assert!(!kernels.iter().any(|kernels| forms.iter().any(|form| form != taken && is(form, kernels))));
    }
    let normed = chosen.iter().map(|(key, rows)| (key.clone(), vec![u32::MAX; rows.len()])).collect();
    assert_eq!(taking(&next, &normed), normed);
    assert_eq!(bits(&next), before, "the norm everywhere");
}

#[test]
fn a_budget_that_is_spent_ends_it() {
    let model = load(&fixtures().join("models/bert-mean"), On::Hardware, None);
    let resident = model.resident().unwrap();
    let before = bits(&model);
    assert_eq!(tune(resident, Budget { all: 0.0, ..Budget::default() }), Entries::new());
    let all = tune(resident, Budget::NONE);
    assert!(!all.is_empty());
    assert_eq!(bits(&model), before);
    // What was chosen is not measured again.
    assert_eq!(tune(resident, Budget { all: 0.0, ..Budget::default() }), all);
}

#[test]
fn what_is_no_tuning_of_these_kernels_changes_nothing() {
    let model = load(&fixtures().join("models/bert-mean"), On::Hardware, None);
    let before = bits(&model);
    let chosen = tune(model.resident().unwrap(), Budget::NONE);
    let model = load(&fixtures().join("models/bert-mean"), On::Hardware, None);
    let unknown = |rows: &[u32]| chosen.keys().map(|key| (format!("{key}0"), rows.to_vec())).collect::<Entries>();
    let known = |rows: &[u32]| chosen.keys().map(|key| (key.clone(), rows.to_vec())).collect::<Entries>();
    for entries in [unknown(&[0]), unknown(&[0, 0]), known(&[]), known(&[0, 0, 0, 0])] {
        assert_eq!(taking(&model, &entries), Entries::new());
    }
    for text in ["", "a", "a b", "\u{0}", "{\"a\":[1]}"] {
        model.resident().unwrap().tune(&Tuning::read(text));
        assert_eq!(entries(&model.resident().unwrap().tuning()), Entries::new(), "{text}");
    }
    assert_eq!(bits(&model), before);
    assert!(Tuner::new(model.resident().unwrap(), Budget::default()).is_some(), "nothing is chosen");
}

#[test]
fn software_tunes_nothing() {
    let model = load(&fixtures().join("models/bert-mean"), On::Gpu, Some(Precision::Int8));
    assert!(Tuner::new(model.resident().unwrap(), Budget::default()).is_none());
    let model = load(&fixtures().join("models/bert-mean"), On::Gpu, None);
    assert!(Tuner::new(model.resident().unwrap(), Budget::default()).is_none());
    let of_hardware = load(&fixtures().join("models/bert-mean"), On::Hardware, None);
    let chosen = tune(of_hardware.resident().unwrap(), Budget::NONE);
    assert_eq!(taking(&model, &chosen), Entries::new());
    assert!(load(&fixtures().join("models/bert-mean"), On::Cpu, None).resident().is_none());
}
