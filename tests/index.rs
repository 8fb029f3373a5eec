//! Static indexes: the files by hand against the documentation, searches against a scan of everything, inputs that are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::OnceLock;

use embedlet::Error;
use embedlet::bulk;
use embedlet::index::bench::{self, Mixture};
use embedlet::index::{self, Document, Index, Keys, Lines, MOST_BYTES, Options, Report, Stage};
use embedlet::model::{Device, EmbedOptions, Kind, Model};
use embedlet::search::{Precision, Shape, Similarity};
use pollster::block_on;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{On, Scratch, files, fixtures, gpu, load, run};

fn model() -> Model {
    load(&fixtures().join("models/static-bag"), On::Cpu, None)
}

fn options() -> Options {
    Options { name: Some("static-bag".into()), cells: Some(12), segment: 4096, ..Options::default() }
}

/// The committed documents.
fn golden() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| std::fs::read_to_string(fixtures().join("index/documents.jsonl")).unwrap())
}

fn lines(text: &str, vector: Option<&str>) -> Lines<Cursor<Vec<u8>>> {
    let keys = Keys { vector: vector.map(str::to_owned), ..Keys::default() };
    Lines::new(Cursor::new(text.as_bytes().to_vec()), "in.jsonl", keys)
}

type Batches<'a> = Box<dyn Iterator<Item = embedlet::Result<Vec<Document>>> + 'a>;

fn build<'a>(
    model: &Model,
    documents: impl Iterator<Item = embedlet::Result<Vec<Document>>> + 'a,
    out: &Path,
    options: &Options,
) -> embedlet::Result<Report> {
    index::build(model, Box::new(documents) as Batches, out, options, &mut |_, _, _| ControlFlow::Continue(()))
}

fn word(bytes: &[u8], index: usize) -> u32 {
    u32::from_le_bytes(bytes[4 * index..4 * index + 4].try_into().unwrap())
}

/// Header and body of a file, and the checksum of the header.
fn framed(file: &[u8]) -> (Value, &[u8], u32) {
    assert_eq!((&file[..4], word(file, 1)), (&b"eidx"[..], 1));
    let end = 20 + word(file, 2) as usize;
    (serde_json::from_slice(&file[20..end]).unwrap(), &file[end..], word(file, 3))
}

/// The parts of a file, in this order and without gaps.
fn parts<'a>(file: &'a [u8], names: &[&str]) -> (Value, Vec<&'a [u8]>) {
    let (header, mut body, _) = framed(file);
    let mut found = Vec::new();
    for name in names {
        let (part, rest) = body.split_at(header["parts"][name][0].as_u64().unwrap() as usize);
        found.push(part);
        body = rest;
    }
    assert!(body.is_empty());
    (header, found)
}

const PARTS: [&str; 6] = ["entries", "records", "places", "rows", "texts", "vectors"];

/// What the rows of a segment stand for, scaled to unit length.
fn decoded(rows: &[u8], dimensions: usize) -> Vec<Vec<f64>> {
    let row = |row: &[u8]| {
        let scale = f64::from(f32::from_le_bytes(row[dimensions..].try_into().unwrap()));
        row[..dimensions].iter().map(|code| f64::from(*code as i8) * scale).collect()
    };
    rows.chunks_exact(dimensions + 4).map(row).collect()
}

fn documents(made: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for (_, file) in made.iter().filter(|(name, _)| name.starts_with("segment-")) {
        let (_, parts) = parts(file, &PARTS);
        let entries: Vec<(String, Value)> = serde_json::from_slice(parts[0]).unwrap();
        entries.into_iter().for_each(|(id, _)| assert!(ids.insert(id)));
    }
    ids
}

#[test]
fn a_file_may_begin_with_a_byte_order_mark() {
    let mut batches = lines("\u{feff}{\"id\": \"a\", \"text\": \"b\"}\n", None);
    assert_eq!(batches.next().unwrap().unwrap()[0].text, "b");
}

#[test]
fn files_of_rows_and_vectors_have_the_index_of_their_texts() {
    let (scratch, model) = (Scratch::new("index-rows"), model());
    let input = fixtures().join("index/documents.jsonl");
    let written = scratch.0.join("rows");
    bulk::run(&model, &[input], &written, &bulk::Options::default(), &mut |_| Ok(())).unwrap();
    let found = std::fs::read_dir(&written).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(found.len(), 1);
    let keys = Keys { vector: Some("embedding".into()), ..Keys::default() };
    let out = scratch.0.join("index");
    build(&model, bulk::documents(&found[0], keys).unwrap(), &out, &options()).unwrap();
    let segments = |folder: &Path| {
        let files = files(folder).into_iter().filter(|(name, _)| name.starts_with("segment-"));
        let number = |name: &str| name.split('-').nth(2).unwrap().parse::<u32>().unwrap();
        files.map(|(name, file)| (number(&name), file)).collect::<BTreeMap<_, _>>()
    };
    let (made, expected) = (segments(&out), segments(&fixtures().join("index/notes")));
    assert_eq!(made.len(), expected.len());
    for (made, expected) in made.values().zip(expected.values()) {
        let (made, expected) = (parts(made, &PARTS).1, parts(expected, &PARTS).1);
        // The records say that vectors came with the documents.
        for (part, name) in PARTS.iter().enumerate().filter(|(_, name)| **name != "records") {
            assert!(made[part] == expected[part], "{name}");
        }
    }
}

#[test]
fn vectors_that_the_folder_cuts_are_those_of_the_index() {
    let scratch = Scratch::new("index-cut");
    for (name, bytes) in files(&fixtures().join("models/static-bag")) {
        scratch.put(&format!("model/{name}"), &bytes);
    }
    scratch.put("model/config_sentence_transformers.json", br#"{"truncate_dim": 7}"#);
    let model = load(&scratch.0.join("model"), On::Cpu, None);
    let (input, written) = (fixtures().join("index/documents.jsonl"), scratch.0.join("rows"));
    bulk::run(&model, &[input], &written, &bulk::Options::default(), &mut |_| Ok(())).unwrap();
    let keys = Keys { vector: Some("embedding".into()), ..Keys::default() };
    let documents = bulk::documents(&written.join("documents-00000.parquet"), keys).unwrap();
    build(&model, documents, &scratch.0.join("index"), &options()).unwrap();
    let index = Index::open(&scratch.0.join("index")).unwrap();
    assert_eq!((index.made().dimensions, index.documents()), (7, 240));
    index.made().check(&model).unwrap();
}

#[test]
fn the_committed_index_is_written_again_to_the_byte() {
    let scratch = Scratch::new("index-golden");
    let report = build(&model(), lines(golden(), None), &scratch.0, &options()).unwrap();
    let (found, expected) = (files(&scratch.0), files(&fixtures().join("index/notes")));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(found == expected);
    assert_eq!((report.documents, report.truncated), (240, 0));
    assert_eq!(report.bytes, found.values().map(|file| file.len() as u64).sum::<u64>());
    assert!(report.segments > 5 && report.query_bytes < report.bytes as f64);
}

#[test]
fn files_are_what_the_documentation_says() {
    let (model, made) = (model(), files(&fixtures().join("index/notes")));
    let (manifest, body, _) = framed(&made["manifest-1"]);
    assert!(body.is_empty());
    let info = model.info();
    let dimensions = info.dimensions;
    let expected = json!({
        "model": "static-bag", "architecture": info.architecture, "dimensions": dimensions, "rowBytes": dimensions + 4,
        "vectors": false, "similarity": "cosine", "precision": "int8", "prompts": info.prompts,
        "probe": manifest["made"]["probe"],
    });
    assert_eq!(manifest["made"], expected);
    assert_eq!(manifest["made"]["probe"].as_array().unwrap().len(), dimensions);
    assert_eq!(
        (&manifest["kind"], &manifest["generation"], &manifest["next"]),
        (&json!("manifest"), &json!(1), &json!(null))
    );
    let given: BTreeMap<String, Value> = golden()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["id"].as_str().unwrap().to_owned(), line))
        .collect();

    let mut vectors = Vec::new();
    for (index, segment) in manifest["segments"].as_array().unwrap().iter().enumerate() {
        let name = segment["name"].as_str().unwrap();
        let file = &made[name];
        let (header, found) = parts(file, &PARTS);
        let checksum = word(file, 3);
        assert_eq!(name, format!("segment-1-{index}-{checksum:x}"));
        let sha256: String = Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect();
        let count = header["documents"].as_u64().unwrap() as usize;
        let expected = json!({
            "name": name, "bytes": file.len(), "checksum": checksum, "documents": count, "removed": null, "sha256": sha256,
        });
        assert_eq!(*segment, expected);
        assert_eq!((&header["kind"], &header["passages"]), (&json!("segment"), &json!(count)));
        let entries: Vec<(String, Value)> = serde_json::from_slice(found[0]).unwrap();
        assert_eq!(
            (found[1].len(), found[2].len(), found[3].len()),
            (24 * count, 12 * count, (dimensions + 4) * count)
        );
        let mut texts = found[4];
        let mut own = Vec::new();
        for (row, (id, metadata)) in entries.iter().enumerate() {
            let line = &given[id];
            let (text, rest) = texts.split_at(word(found[1], 6 * row) as usize);
            texts = rest;
            let text = std::str::from_utf8(text).unwrap();
            assert_eq!(line["text"], text);
            assert_eq!(*metadata, json!({ "topic": line["topic"], "number": line["number"] }));
            let record: Vec<u32> = (2..6).map(|at| word(found[1], 6 * row + at)).collect();
            assert_eq!(record, [0, 0, 1, 0]);
            let place: Vec<u32> = (0..3).map(|at| word(found[2], 3 * row + at)).collect();
            assert_eq!(place, [0, text.encode_utf16().count() as u32, 0]);
            own.push(text.to_owned());
        }
        assert!(texts.is_empty() && found[5].is_empty());
        let embed = EmbedOptions { kind: Some(Kind::Document), ..EmbedOptions::default() };
        let embedded = block_on(model.embed(&own, &embed).unwrap().run(&model)).unwrap();
        let shape = Shape::new(dimensions, Precision::Int8, Similarity::Cosine).unwrap();
        assert!(found[3] == shape.encode(&embedded.data).unwrap());
        vectors.push(decoded(found[3], dimensions));
    }
    assert_eq!(documents(&made), given.into_keys().collect());

    let cells = &manifest["cells"];
    let name = cells["name"].as_str().unwrap();
    let (header, found) = parts(&made[name], &["centroids", "segments", "rows"]);
    let count = cells["count"].as_u64().unwrap() as usize;
    assert_eq!(name, format!("cells-1-{:x}", word(&made[name], 3)));
    assert_eq!(cells["bytes"], made[name].len());
    let sha256: String = Sha256::digest(&made[name]).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(cells["sha256"], sha256);
    assert_eq!(
        (&header["kind"], &header["count"], &header["dimensions"]),
        (&json!("cells"), &json!(count), &json!(dimensions))
    );
    assert_eq!((found[0].len(), found[1].len(), found[2].len()), (4 * count * dimensions, 4 * count, 4 * count));
    assert_eq!(made.len(), vectors.len() + 2);
    // Cells cover the segments, in their order, and their centroids are the means of their rows.
    let mut rows: Vec<_> = vectors.iter().map(|rows| rows.iter()).collect();
    for cell in 0..count {
        let (segment, size) = (word(found[1], cell) as usize, word(found[2], cell) as usize);
        let own: Vec<&Vec<f64>> = rows[segment].by_ref().take(size).collect();
        assert!(size > 0 && own.len() == size);
        assert!(cell == 0 || segment >= word(found[1], cell - 1) as usize);
        let mean: Vec<f64> = (0..dimensions).map(|at| own.iter().map(|row| row[at]).sum::<f64>()).collect();
        let length = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
        for (at, mean) in mean.iter().enumerate() {
            let centroid = f32::from_bits(word(found[0], cell * dimensions + at));
            assert!((f64::from(centroid) - mean / length).abs() < 1e-6);
        }
    }
    assert!(rows.into_iter().all(|mut rows| rows.next().is_none()));
}

/// Recall as the manifest states it, measured with every row that is there as a query.
#[test]
fn recall_is_true_when_it_is_measured_again() {
    let folder = fixtures().join("index/notes");
    let index = Index::open(&folder).unwrap();
    let cells = index.named_cells().unwrap();
    let dimensions = index.made().dimensions;
    let mut queries: Vec<(String, Vec<f32>)> = Vec::new();
    for (_, file) in files(&folder).iter().filter(|(name, _)| name.starts_with("segment-")) {
        let (_, parts) = parts(file, &PARTS);
        let entries: Vec<(String, Value)> = serde_json::from_slice(parts[0]).unwrap();
        // As they are decoded in f32.
        let row = |row: &[u8]| {
            let scale = f32::from_le_bytes(row[dimensions..].try_into().unwrap());
            row[..dimensions].iter().map(|code| f32::from(*code as i8) * scale).collect()
        };
        let rows = parts[3].chunks_exact(dimensions + 4).map(row);
        queries.extend(entries.into_iter().map(|(id, _)| id).zip(rows));
    }
    let nearest = |(id, query): &(String, Vec<f32>), probes: usize| -> Vec<String> {
        let hits = index.search(query, 11, Some(probes)).unwrap();
        hits.into_iter().map(|hit| hit.id).filter(|found| found != id).take(10).collect()
    };
    let exact: Vec<Vec<String>> = queries.iter().map(|query| nearest(query, cells.count)).collect();
    assert_eq!(cells.recall.last(), Some(&(cells.count, 1.0)));
    assert!(cells.recall.len() > 4 && cells.recall[0].1 < 0.9);
    for (probes, recall) in &cells.recall {
        let found = queries.iter().zip(&exact).map(|(query, exact)| {
            let found = nearest(query, *probes);
            exact.iter().filter(|id| found.contains(id)).count()
        });
        let share = found.sum::<usize>() as f64 / (10 * queries.len()) as f64;
        assert!((share - recall).abs() < 1e-12, "{probes}: {share} where {recall} is stated");
    }
    let least = cells.recall.iter().find(|(_, recall)| *recall >= 0.95).unwrap();
    assert_eq!(cells.probes, least.0);
}

/// The files and the report of an index of drawn vectors.
fn drawn(name: &str, threads: usize, device: &Device) -> (BTreeMap<String, Vec<u8>>, Report) {
    let scratch = Scratch::new(&format!("index-drawn-{name}"));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let mixture = Mixture { rows: 3000, dimensions: 13, centres: 20, spread: 0.5, seed: 1 };
    let options = Options { segment: 8192, ..Options::default() };
    let go_on = &mut |_, _, _| ControlFlow::Continue(());
    let made = pool.install(|| bench::run(mixture, device, &scratch.0, &options, go_on)).unwrap();
    (files(&scratch.0), made.report)
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let (one, report) = drawn("one", 1, &Device::Cpu(None));
    assert!(report.cells.is_some_and(|cells| cells.count > 10));
    assert!(one == drawn("three", 3, &Device::Cpu(None)).0);
}

#[test]
fn a_gpu_divides_rows_as_well() {
    let gpu = Device::Gpu(gpu());
    let (files, report) = drawn("gpu", 2, &gpu);
    assert!(files == drawn("gpu-again", 2, &gpu).0);
    // Other roundings, and perhaps other cells.
    let [found, wanted] = [report, drawn("cpu", 2, &Device::Cpu(None)).1].map(|report| report.cells.unwrap());
    assert!(found.count.abs_diff(wanted.count) <= 1);
    for ((probes, found), (_, wanted)) in found.recall.iter().zip(&wanted.recall) {
        assert!((found - wanted).abs() < 0.05, "{probes}: {found} where the host has {wanted}");
    }
}

#[test]
fn every_precision_and_similarity_finds_what_all_rows_have() {
    let plain = fixtures().join("models/static-bag");
    let dot = Scratch::new("index-dot-model");
    std::fs::create_dir_all(dot.0.join("0_StaticEmbedding")).unwrap();
    for path in ["modules.json", "0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json"] {
        std::fs::copy(plain.join(path), dot.0.join(path)).unwrap();
    }
    std::fs::write(dot.0.join("config_sentence_transformers.json"), r#"{"similarity_fn_name": "dot"}"#).unwrap();
    for (folder, similarity) in [(&plain, "cosine"), (&dot.0, "dot")] {
        let model = load(folder, On::Cpu, None);
        for precision in [Precision::Float32, Precision::Int8, Precision::Binary] {
            let scratch = Scratch::new(&format!("index-{similarity}-{}", precision.name()));
            let options = Options { precision, vectors: Some(precision == Precision::Binary), ..options() };
            let report = build(&model, lines(golden(), None), &scratch.0, &options).unwrap();
            let index = Index::open(&scratch.0).unwrap();
            assert_eq!((index.made().similarity.as_str(), index.documents()), (similarity, 240));
            let made = files(&scratch.0);
            assert_eq!(documents(&made).len(), 240);
            // The same scan over everything that an index without cells has.
            let whole = Scratch::new(&format!("index-{similarity}-{}-whole", precision.name()));
            build(&model, lines(golden(), None), &whole.0, &Options { cells: Some(1), ..options }).unwrap();
            let whole = Index::open(&whole.0).unwrap();
            assert!(whole.named_cells().is_none());
            for text in ["How long does dough rest?", "a contract", "tickets to the sea"] {
                let query = index.made().query(&model, text).unwrap();
                let scores = |index: &Index, probes| -> Vec<f32> {
                    index.search(&query, 10, probes).unwrap().iter().map(|hit| hit.score).collect()
                };
                let exact = scores(&whole, None);
                assert_eq!(exact.len(), 10);
                assert_eq!(scores(&index, Some(usize::MAX)), exact);
                let some = scores(&index, Some(1));
                assert!(some.len() <= 10 && some.iter().zip(&exact).all(|(some, exact)| some <= exact));
            }
            let cells = report.cells.unwrap();
            assert!(cells.recall.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        }
    }
}

#[test]
fn small_inputs_are_indexes_too() {
    let model = model();
    for (count, cells) in [(0, None), (0, Some(4)), (1, None), (1, Some(4)), (3, Some(2)), (3, Some(100))] {
        let scratch = Scratch::new(&format!("index-small-{count}-{cells:?}"));
        let text: String = golden().lines().take(count).map(|line| format!("\n{line}\n")).collect();
        let report = build(&model, lines(&text, None), &scratch.0, &Options { cells, ..options() }).unwrap();
        assert_eq!(report.documents, count as u64);
        let index = Index::open(&scratch.0).unwrap();
        let query = index.made().query(&model, "salt").unwrap();
        assert_eq!(index.search(&query, 10, Some(usize::MAX)).unwrap().len(), count);
        assert_eq!(index.made().check(&model).map_err(|error| error.code()), Ok(()));
        let other = load(&fixtures().join("models/bert-mean"), On::Cpu, None);
        assert_eq!(index.made().check(&other).map_err(|error| error.code()), Err("invalid-argument"));
    }
}

/// Texts that fill segments, and rows that nothing tells apart.
#[test]
fn no_segment_is_above_eight_megabytes() {
    let text = "salt ".repeat(380_000);
    let dimensions = model().info().dimensions;
    let document = |index: usize| Document {
        id: index.to_string(),
        text: text.clone(),
        vector: Some((0..dimensions).map(|at| if at == index % 2 { 1.0 } else { 0.0 }).collect()),
        ..Document::default()
    };
    for cells in [None, Some(1), Some(2)] {
        let scratch = Scratch::new(&format!("index-large-{cells:?}"));
        let batches = (0..3).map(|batch| Ok((4 * batch..4 * batch + 4).map(document).collect()));
        let report = build(&model(), batches, &scratch.0, &Options { cells, ..Options::default() }).unwrap();
        let made = files(&scratch.0);
        assert!(made.values().all(|file| file.len() as u64 <= MOST_BYTES));
        assert_eq!(documents(&made).len(), 12);
        assert!(report.segments >= 3 && report.cells.is_some() == (cells != Some(1)));
    }
    let scratch = Scratch::new("index-too-large");
    let large = Document { text: text.clone() + &" ".repeat(400_000), place: "there".into(), ..document(0) };
    let error = build(&model(), [Ok(vec![large])].into_iter(), &scratch.0, &Options::default()).unwrap_err();
    assert!(error.code() == "limit-exceeded" && error.to_string().contains("there"), "{error}");
}

#[test]
fn one_file_is_what_an_export_is() {
    let scratch = Scratch::new("index-single");
    std::fs::create_dir(&scratch.0).unwrap();
    let out = scratch.0.join("notes.eidx");
    let text = format!("{}\n{}", golden(), r#"{"id": 7, "v": [1,0,0,0,0,0,0,0,0,0,1]}"#);
    let options = Options { cells: None, single: true, ..options() };
    let report = build(&model(), lines(&text, Some("v")), &out, &options).unwrap();
    let file = std::fs::read(&out).unwrap();
    assert_eq!(report.bytes, file.len() as u64);
    let (header, mut body, _) = framed(&file);
    assert_eq!(header["kind"], "index");
    let mut inside = BTreeMap::new();
    let listed: Vec<(String, usize)> = serde_json::from_value(header["files"].clone()).unwrap();
    for (name, bytes) in &listed {
        inside.insert(name.clone(), body[..*bytes].to_vec());
        body = &body[*bytes..];
    }
    assert!(body.is_empty() && listed.last().unwrap().0 == "manifest-1");
    assert_eq!(documents(&inside).len(), 241);
    let (manifest, _, _) = framed(&inside["manifest-1"]);
    assert!(manifest.get("cells").is_none() && manifest["made"]["vectors"] == true);
    let (name, last) = listed.iter().rev().nth(1).map(|(name, _)| (name, &inside[name])).unwrap();
    let (header, found) = parts(last, &PARTS);
    let count = header["documents"].as_u64().unwrap() as usize;
    assert_eq!(found[5].len(), 4 * 11 * count, "{name}");
    // The one that brought its vector: no text, flag 1, and the vector as it was.
    assert_eq!((word(found[1], 6 * (count - 1)), word(found[1], 6 * count - 1)), (0, 1));
    let given: Vec<f32> = (11 * (count - 1)..11 * count).map(|at| f32::from_bits(word(found[5], at))).collect();
    assert_eq!(given, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(build(&model(), lines("", None), &out, &options).unwrap_err().code(), "invalid-argument");
}

#[test]
fn documents_that_cannot_be_meant_are_named() {
    let model = model();
    let nested = format!("{}{}", "[".repeat(17), "]".repeat(17));
    let cases = [
        ("no JSON", "{", "invalid-argument"),
        ("no object", "[1]", "invalid-argument"),
        ("a byte order mark", "\u{feff}{\"id\": \"b\", \"text\": \"b\"}", "invalid-argument"),
        ("no id", r#"{"text": "a"}"#, "invalid-argument"),
        ("an id of another kind", r#"{"id": 1.5, "text": "a"}"#, "invalid-argument"),
        ("no text", r#"{"id": "b"}"#, "invalid-argument"),
        ("a text of another kind", r#"{"id": "b", "text": 7}"#, "invalid-argument"),
        ("half a pair", r#"{"id": "b", "text": "\ud800"}"#, "invalid-argument"),
        ("an id that is there", r#"{"id": "a", "text": "b"}"#, "invalid-argument"),
        ("metadata of another kind", r#"{"id": "b", "text": "b", "metadata": 7}"#, "invalid-argument"),
        ("deep metadata", &format!(r#"{{"id": "b", "text": "b", "deep": {nested}}}"#), "limit-exceeded"),
        ("large metadata", &format!(r#"{{"id": "b", "text": "b", "x": "{}"}}"#, "x".repeat(8192)), "limit-exceeded"),
        (
            "a text that the model does not read",
            &format!(r#"{{"id": "b", "text": "{}"}}"#, "x".repeat((1 << 20) + 1)),
            "limit-exceeded",
        ),
        ("a long id", &format!(r#"{{"id": "{}", "text": "b"}}"#, "x".repeat(1025)), "limit-exceeded"),
        ("a short vector", r#"{"id": "b", "text": "b", "v": [1, 2]}"#, "invalid-argument"),
        ("a vector with a hole", r#"{"id": "b", "text": "b", "v": [1,0,0,0,0,0,0,0,0,0,null]}"#, "invalid-argument"),
        ("no vector", r#"{"id": "b", "text": "b", "v": {}}"#, "invalid-argument"),
        ("a vector past f32", r#"{"id": "b", "text": "b", "v": [1,0,0,0,0,0,0,0,0,0,1e99]}"#, "invalid-argument"),
    ];
    for (what, line, code) in cases {
        let scratch = Scratch::new("index-refused");
        std::fs::create_dir(&scratch.0).unwrap();
        let out = scratch.0.join("notes");
        let text = format!("{}\n\n{line}\n", r#"{"id": "a", "text": "a", "v": null}"#);
        let error = build(&model, lines(&text, Some("v")), &out, &options()).expect_err(what);
        assert_eq!(error.code(), code, "{what}: {error}");
        assert!(error.to_string().contains("in.jsonl, line 3"), "{what}: {error}");
        assert!(files(&scratch.0).is_empty(), "{what}");
    }
    let vector = Some(vec![f32::NAN; 11]);
    let document = Document { id: "n".into(), vector, place: "row 9".into(), ..Document::default() };
    let scratch = Scratch::new("index-nan");
    let error = build(&model, [Ok(vec![document])].into_iter(), &scratch.0, &options()).unwrap_err();
    assert!(error.to_string().contains("row 9") && !scratch.0.exists(), "{error}");
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let scratch = Scratch::new("index-options");
    let wrong = [
        Options { recall: 0.0, ..options() },
        Options { recall: 1.1, ..options() },
        Options { recall: f64::NAN, ..options() },
        Options { cells: Some(0), ..options() },
        Options { segment: 1, ..options() },
        Options { single: true, ..options() },
        Options { precision: Precision::Float32, vectors: Some(true), ..options() },
        Options { dimensions: Some(0), ..options() },
        Options { dimensions: Some(12), ..options() },
    ];
    for options in wrong {
        let error = build(&model(), lines(golden(), None), &scratch.0, &options).unwrap_err();
        assert_eq!(error.code(), "invalid-argument", "{options:?}: {error}");
    }
    let many = Options { cells: Some(2_000_000), ..options() };
    assert_eq!(build(&model(), lines(golden(), None), &scratch.0, &many).unwrap_err().code(), "limit-exceeded");
    assert!(!scratch.0.exists());
    std::fs::create_dir(&scratch.0).unwrap();
    let taken = scratch.0.join("taken");
    std::fs::write(&taken, "mine").unwrap();
    for out in [&scratch.0, &taken] {
        assert_eq!(build(&model(), lines(golden(), None), out, &options()).unwrap_err().code(), "invalid-argument");
    }
    assert_eq!(std::fs::read_to_string(taken).unwrap(), "mine");
}

#[test]
fn what_is_broken_off_leaves_nothing() {
    for stage in [Stage::Read, Stage::Cluster, Stage::Assign, Stage::Write, Stage::Measure] {
        let scratch = Scratch::new("index-aborted");
        std::fs::create_dir(&scratch.0).unwrap();
        let progress = &mut |now, _, _| if now == stage { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let documents = lines(golden(), None);
        let built = index::build(&model(), documents, &scratch.0.join("notes"), &options(), progress);
        assert_eq!(built, Err(Error::Aborted));
        assert!(files(&scratch.0).is_empty(), "{stage:?}");
    }
}

#[test]
fn a_damaged_file_is_named() {
    let query = vec![1.0; 11];
    let whole = files(&fixtures().join("index/notes"));
    for (name, file) in &whole {
        for at in [0, 17, 40, file.len() - 1] {
            let scratch = Scratch::new("index-damaged");
            std::fs::create_dir(&scratch.0).unwrap();
            for (name, file) in &whole {
                std::fs::write(scratch.0.join(name), file).unwrap();
            }
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            std::fs::write(scratch.0.join(name), damaged).unwrap();
            let found = Index::open(&scratch.0).and_then(|index| index.search(&query, 10, Some(usize::MAX)));
            let error = found.expect_err(name);
            assert!(["wrong-hash", "invalid-file"].contains(&error.code()), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

fn command(arguments: &[&str], input: &str) -> (bool, String) {
    let output = run(&[&["index"], arguments].concat(), input);
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_command_line_builds_searches_and_measures() {
    let scratch = Scratch::new("index-command");
    std::fs::create_dir(&scratch.0).unwrap();
    let (model, input) = (fixtures().join("models/static-bag"), fixtures().join("index/documents.jsonl"));
    let [model, input] = [&model, &input].map(|path| path.to_str().unwrap());
    let out = scratch.0.join("notes");
    let out = out.to_str().unwrap();
    let tuned = ["--name", "static-bag", "--cells", "12", "--segment-bytes", "4096"];
    let built = ["build", "--model", model, "--device", "cpu", input, "--out", out];
    let (done, text) = command(&[&built[..], &tuned].concat(), "");
    assert!(done, "{text}");
    assert!(files(Path::new(out)) == files(&fixtures().join("index/notes")));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["documents"], 240);
    let (done, text) = command(
        &["search", out, "--model", model, "--device", "cpu", "--top-k", "3", "--probes", "12"],
        "My sauce splits every time I add the cream.\nsalt\n",
    );
    assert!(done, "{text}");
    let hits: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(hits.len(), 2);
    assert!(hits.iter().all(|hits| hits["hits"].as_array().unwrap().len() == 3));
    assert!(hits[0]["hits"].as_array().unwrap().iter().any(|hit| hit["id"] == "cooking-1"), "{}", hits[0]);
    let (done, text) = command(&[&built[..], &tuned].concat(), "");
    assert!(!done && text.contains("is there already"), "{text}");

    let drawn = scratch.0.join("drawn");
    let json = scratch.0.join("drawn.json");
    let (done, text) = command(
        &[
            "bench",
            "--rows",
            "2000",
            "--dimensions",
            "16",
            "--cells",
            "8",
            "--out",
            drawn.to_str().unwrap(),
            "--json",
            json.to_str().unwrap(),
        ],
        "",
    );
    assert!(done && text.contains("2000 rows × 16"), "{text}");
    let measured: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(measured["report"]["documents"], 2000);
    for wrong in [&["make"][..], &["build"], &["bench", "--probes", "1"], &["search", "--model", model]] {
        assert!(!command(wrong, "").0, "{wrong:?}");
    }
}
