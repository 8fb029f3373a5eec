//! Files of rows to files of rows and vectors: the same vectors, whatever the shards, and whatever happens on the way.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int64Array, LargeStringArray, ListArray, NullArray, RecordBatch,
    StringArray, StringViewArray,
};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use embedlet::bulk::{Options, Report, Shard, documents, run, stream};
use embedlet::index::Keys;
use embedlet::model::{EmbedOptions, Model};
use embedlet::native::fingerprint;
use embedlet::program::Precision;
use embedlet::tokens::TEXT_BYTES;
use embedlet::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::support::{self, On, Scratch, files, fixtures, load};

/// A folder that is there, and gone in the end.
pub fn scratch(name: &str) -> Scratch {
    let made = Scratch::new(&format!("bulk-{name}"));
    fs::create_dir_all(&made.0).unwrap();
    made
}

fn model() -> Model {
    load(&fixtures().join("models/bert-mean"), On::Cpu, None)
}

/// Some rows without a text, and lengths from none to more than the model reads.
fn text(row: usize) -> Option<String> {
    (!row.is_multiple_of(7)).then(|| format!("boat {row} ").repeat(row % 5))
}

/// Rows of all kinds of columns, from one on.
pub fn rows(first: usize, count: usize) -> RecordBatch {
    let all = first..first + count;
    let kinds: DictionaryArray<Int32Type> = all.clone().map(|row| ["a", "b", "c"].get(row % 4).copied()).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(all.clone().map(|row| row as i64).collect::<Int64Array>())),
        ("text", Arc::new(all.clone().map(text).collect::<StringArray>())),
        ("kind", Arc::new(kinds)),
        ("score", Arc::new(all.map(|row| row as f64 / 8.0).collect::<Float64Array>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

/// Parquet with row groups of so many rows.
pub fn parquet(batch: &RecordBatch, group: usize) -> Vec<u8> {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn options(part_rows: u64) -> Options {
    let (name, fingerprint) = ("tiny".into(), "0f".into());
    Options { name, fingerprint, part_rows, ..Options::default() }
}

fn embed(model: &Model, inputs: &[PathBuf], out: &Scratch, options: &Options) -> Result<Report> {
    run(model, inputs, &out.0, options, &mut |_| Ok(()))
}

fn open(bytes: &[u8]) -> ParquetRecordBatchReaderBuilder<File> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("embedlet-bulk-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    fs::write(&path, bytes).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(path).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap()
}

fn read(bytes: &[u8]) -> Vec<RecordBatch> {
    open(bytes).build().unwrap().map(Result::unwrap).collect()
}

/// The vector of each row; none: it has none.
fn vectors(batch: &RecordBatch) -> Vec<Option<Vec<f32>>> {
    let column = batch.column_by_name("embedding").unwrap().as_fixed_size_list();
    let vector = |row| column.value(row).as_primitive::<Float32Type>().values().to_vec();
    (0..column.len()).map(|row| column.is_valid(row).then(|| vector(row))).collect()
}

/// What the model makes of one text.
fn expected(model: &Model, text: &str, options: &EmbedOptions) -> Vec<f32> {
    pollster::block_on(model.embed(&[text], options).unwrap().run(model)).unwrap().data
}

#[test]
fn vectors_are_those_of_the_model_and_columns_go_through() {
    let (folder, out, model) = (scratch("same-in"), scratch("same-out"), model());
    let all = rows(0, 2500);
    let input = folder.put("rows.parquet", &parquet(&all, 400));
    let mut options = options(1000);
    options.embed = EmbedOptions { dimensions: Some(20), normalize: Some(true), ..EmbedOptions::default() };
    let report = embed(&model, &[input], &out, &options).unwrap();
    let files = files(&out.0);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["rows-00000.parquet", "rows-00001.parquet", "rows-00002.parquet"]);
    assert_eq!((report.parts, report.skipped, report.rows, report.nulls), (3, 0, 2500, 358));
    let mut row = 0;
    for (file, count) in files.values().zip([1200, 1200, 100]) {
        let mut found = 0;
        for batch in read(file) {
            let same = all.slice(row, batch.num_rows());
            for column in 0..4 {
                assert_eq!(batch.column(column), same.column(column));
            }
            for vector in vectors(&batch) {
                assert_eq!(vector, text(row).map(|text| expected(&model, &text, &options.embed)), "row {row}");
                row += 1;
            }
            found += batch.num_rows();
        }
        assert_eq!(found, count);
        let note: Value = serde_json::from_str(&open(file).schema().metadata()["embedlet"]).unwrap();
        assert_eq!((&note["model"], &note["dimensions"]), (&json!("tiny"), &json!(20)));
    }
}

#[test]
fn the_format_changes_nothing() {
    let (folder, model) = (scratch("format-in"), model());
    let all = rows(0, 300);
    let mut arrow = FileWriter::try_new(Vec::new(), &all.schema()).unwrap();
    [(0, 120), (120, 0), (120, 130), (250, 50)]
        .iter()
        .for_each(|(at, rows)| arrow.write(&all.slice(*at, *rows)).unwrap());
    let inputs = [folder.put("a.parquet", &parquet(&all, 150)), folder.put("b.arrow", &arrow.into_inner().unwrap())];
    for keep in [None, Some(vec!["kind".to_owned()])] {
        let out = scratch("format-out");
        embed(&model, &inputs, &out, &Options { keep, ..options(100) }).unwrap();
        let files = files(&out.0);
        let names = ["a-00000", "a-00001", "b-00000", "b-00001", "b-00002"];
        assert!(files.keys().map(|name| name.trim_end_matches(".parquet")).eq(names), "{:?}", files.keys());
        let whole = |from: &str| {
            let parts = files.iter().filter(|(name, _)| name.starts_with(from)).flat_map(|(_, file)| read(file));
            let parts: Vec<RecordBatch> = parts.collect();
            let columns = parts[0].num_columns();
            let rows = parts.iter().flat_map(|part| (0..part.num_rows()).map(|row| part.slice(row, 1)));
            let rows: Vec<_> =
                rows.map(|row| row.columns().iter().map(|column| column.to_data()).collect::<Vec<_>>()).collect();
            (columns, rows)
        };
        assert!(whole("a") == whole("b"));
    }
}

#[test]
fn only_the_columns_that_are_asked_for_are_kept() {
    let (folder, model) = (scratch("keep-in"), model());
    let input = folder.put("rows.parquet", &parquet(&rows(0, 10), 10));
    for (keep, names) in [(vec!["score", "id"], ["id", "score", "embedding"].as_slice()), (vec![], &["embedding"])] {
        let out = scratch("keep-out");
        let keep = Some(keep.into_iter().map(str::to_owned).collect());
        embed(&model, std::slice::from_ref(&input), &out, &Options { keep, ..options(1) }).unwrap();
        let batch = &read(&files(&out.0)["rows-00000.parquet"])[0];
        let schema = batch.schema();
        assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), names);
        assert_eq!(vectors(batch)[1], Some(expected(&model, &text(1).unwrap(), &EmbedOptions::default())));
    }
}

#[test]
fn any_number_of_shards_writes_the_same_files() {
    let (folder, model) = (scratch("shards-in"), model());
    let inputs = [
        folder.put("year=2025/rows.parquet", &parquet(&rows(0, 300), 50)),
        folder.put("year=2026/rows.parquet", &parquet(&rows(300, 120), 50)),
        folder.put("lines.jsonl", b"{\"text\": \"a\"}\n\n{\"text\": \"b\"}\n{\"text\": null, \"n\": 1}\n"),
        folder.put("none.jsonl", b"\n"),
    ];
    let whole = scratch("shards-whole");
    embed(&model, &inputs, &whole, &options(50)).unwrap();
    let whole = files(&whole.0);
    let names = ["lines-00000", "year=2025/rows-00000", "year=2025/rows-00005", "year=2026/rows-00002"];
    assert_eq!(whole.len(), 10);
    assert!(names.iter().all(|name| whole.contains_key(&format!("{name}.parquet"))), "{:?}", whole.keys());
    for count in [2, 3_usize] {
        let out = scratch("shards-out");
        // In any order of the inputs, and of the shards.
        let inputs: Vec<PathBuf> = inputs.iter().rev().cloned().collect();
        for index in (0..count).rev() {
            let shard = Shard::parse(&format!("{index}/{count}")).unwrap();
            let report = embed(&model, &inputs, &out, &Options { shard, ..options(50) }).unwrap();
            assert_eq!(report.parts, (10 - index).div_ceil(count));
        }
        assert!(files(&out.0) == whole, "{count} shards");
    }
    for text in ["3/3", "1", "-1/2", "0/0", "a/b"] {
        assert_eq!(Shard::parse(text).unwrap_err().code(), "invalid-argument", "{text}");
    }
}

#[test]
fn a_run_that_was_ended_goes_on_where_it_was() {
    let (folder, whole, out, model) = (scratch("on-in"), scratch("on-whole"), scratch("on-out"), model());
    let inputs = [folder.put("rows.parquet", &parquet(&rows(0, 400), 100))];
    embed(&model, &inputs, &whole, &options(100)).unwrap();
    let whole = files(&whole.0);
    let stopped = run(&model, &inputs, &out.0, &options(100), &mut |progress| match progress.rows {
        0..=200 => Ok(()),
        _ => Err(Error::argument("stopped")),
    });
    assert_eq!(stopped.unwrap_err().to_string(), "stopped");
    // Whole files, and nothing else.
    let found = files(&out.0);
    assert!(found.len() == 2 && found.iter().all(|(name, bytes)| whole[name] == *bytes), "{:?}", found.keys());
    // What a kill leaves, and a copy that was cut off.
    let half = &whole["rows-00002.parquet"][..500];
    fs::write(out.0.join(".rows-00002.parquet.77-88"), half).unwrap();
    fs::write(out.0.join("rows-00003.parquet"), half).unwrap();
    let report = embed(&model, &inputs, &out, &options(100)).unwrap();
    assert_eq!((report.parts, report.skipped, report.rows), (2, 2, 200));
    assert!(files(&out.0) == whole);
    assert_eq!(embed(&model, &inputs, &out, &options(100)).unwrap().skipped, 4);
    // What was made otherwise is not touched.
    let mut other = options(100);
    other.embed.prompt = Some("query: ".into());
    let error = embed(&model, &inputs, &out, &other).unwrap_err();
    assert!(error.code() == "invalid-argument" && error.to_string().contains("another options, prompt"), "{error}");
    let error = embed(&model, &inputs, &out, &options(200)).unwrap_err();
    assert!(error.to_string().contains("another rows"), "{error}");
    let rounded = load(&fixtures().join("models/bert-mean"), On::Cpu, Some(Precision::Int8));
    let error = embed(&rounded, &inputs, &out, &options(100)).unwrap_err();
    assert!(error.to_string().contains("another precision"), "{error}");
    fs::write(out.0.join("rows-00000.parquet"), parquet(&rows(0, 5), 5)).unwrap();
    let error = embed(&model, &inputs, &out, &options(100)).unwrap_err();
    assert!(error.to_string().contains("something else"), "{error}");
    fs::remove_file(out.0.join("rows-00000.parquet")).unwrap();
    // Nor is the result of an input that has changed taken for that of the new one.
    folder.put("rows.parquet", &parquet(&rows(1, 400), 100));
    let error = embed(&model, &inputs, &out, &options(100)).unwrap_err();
    assert!(error.to_string().contains("another input"), "{error}");
    assert_eq!(files(&out.0).len(), 3);
}

/// The binary, killed once it has written a file.
#[test]
fn a_kill_leaves_whole_files() {
    let (folder, out) = (scratch("kill-in"), scratch("kill-out"));
    let input = folder.put("rows.parquet", &parquet(&rows(0, 4000), 100));
    let model = fixtures().join("models/bert-mean");
    let start = || {
        let arguments = ["embed", "--device", "cpu", "--part-rows", "100", "--keep", "id", "--model"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_embedlet"));
        command.args(arguments).arg(&model).arg("--out").arg(&out.0).arg(&input).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut child = start();
    while !out.0.join("rows-00001.parquet").exists() {
        assert!(child.try_wait().unwrap().is_none_or(|status| status.success()));
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let whole = |(name, bytes): (&String, &Vec<u8>)| name.starts_with('.') || read(bytes)[0].num_rows() == 100;
    assert!(files(&out.0).iter().all(whole));
    let output = start().wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = files(&out.0);
    assert!(files.len() == 40 && files.iter().all(|file| !file.0.starts_with('.') && whole(file)));
}

#[test]
fn texts_may_be_stored_in_every_way() {
    let (folder, out, model) = (scratch("texts-in"), scratch("texts-out"), model());
    let texts = [Some("boats"), None, Some(""), Some("boats"), Some("crème")];
    let repeated: DictionaryArray<Int32Type> = texts.into_iter().collect();
    let empty = DictionaryArray::<Int32Type>::from_iter([None::<&str>; 5]);
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("large", Arc::new(LargeStringArray::from_iter(texts)), true),
        ("view", Arc::new(StringViewArray::from_iter(texts)), true),
        ("repeated", Arc::new(repeated), true),
        ("empty", Arc::new(empty), false),
        ("null", Arc::new(NullArray::new(5)), false),
    ];
    let expected = texts.map(|text| text.map(|text| expected(&model, text, &EmbedOptions::default())));
    for (name, column, has) in columns {
        let batch = RecordBatch::try_from_iter_with_nullable([("text", column.clone(), true)]).unwrap();
        let input = folder.put(&format!("{name}.parquet"), &parquet(&batch, 5));
        embed(&model, &[input], &out, &options(1)).unwrap();
        let batch = &read(&files(&out.0)[&format!("{name}-00000.parquet")])[0];
        assert_eq!(vectors(batch), if has { expected.to_vec() } else { vec![None; 5] }, "{name}");
        assert_eq!(batch.column(0), &column, "{name}");
    }
}

/// Files that pyarrow wrote: zstd, dictionaries, lists, structs, times.
#[test]
fn reads_what_python_writes() {
    let (out, model) = (scratch("python-out"), model());
    for (input, column) in [("rows.parquet", "text"), ("rows.parquet", "long"), ("rows.arrow", "text")] {
        let input = fixtures().join(input);
        let options = Options { column: column.into(), part_rows: 20, ..options(20) };
        let report = embed(&model, std::slice::from_ref(&input), &out, &options).unwrap();
        assert_eq!((report.parts, report.rows, report.nulls), (2, 35, 5));
        let files = files(&out.0);
        let batch = &read(&files["rows-00000.parquet"])[0];
        let boat = Some(expected(&model, "a small boat", &EmbedOptions::default()));
        assert_eq!((&vectors(batch)[0], &vectors(batch)[2], &vectors(batch)[4]), (&boat, &None, &boat));
        files.keys().for_each(|name| fs::remove_file(out.0.join(name)).unwrap());
    }
}

#[test]
fn lines_of_json_have_columns() {
    let (folder, out, model) = (scratch("lines-in"), scratch("lines-out"), model());
    let big = i64::MAX;
    let lines = format!(
        "\u{feff}{{\"id\": \"a\", \"text\": \"boats\", \"n\": 1, \"x\": 1, \"m\": 1, \"tags\": [\"k\"]}}\r\n\
         \n\
         {{\"text\": null, \"id\": \"b\", \"n\": {big}, \"x\": 0.5, \"m\": \"s\", \"flag\": true, \"nothing\": null}}\n\
         {{\"id\": \"c\", \"x\": null}}"
    );
    let input = folder.put("lines.ndjson", lines.as_bytes());
    let report = embed(&model, &[input], &out, &options(2)).unwrap();
    assert_eq!((report.parts, report.rows, report.nulls), (2, 3, 2));
    let files = files(&out.0);
    let (first, last) = (&read(&files["lines-00000.parquet"])[0], &read(&files["lines-00001.parquet"])[0]);
    assert_eq!(first.schema().fields(), last.schema().fields());
    let names = ["id", "text", "n", "x", "m", "tags", "flag", "nothing", "embedding"];
    assert!(first.schema().fields().iter().map(|field| field.name()).eq(names));
    let strings = |name: &str| first[name].as_string::<i32>().iter().collect::<Vec<_>>();
    assert_eq!(strings("id"), [Some("a"), Some("b")]);
    assert_eq!(strings("m"), [Some("1"), Some("\"s\"")]);
    assert_eq!(strings("tags"), [Some("[\"k\"]"), None]);
    assert_eq!(strings("nothing"), [None, None]);
    assert_eq!(first["n"].as_primitive::<Int64Type>().values(), &[1, big]);
    assert_eq!(first["x"].as_primitive::<arrow_array::types::Float64Type>().values(), &[1.0, 0.5]);
    assert!(first["flag"].as_boolean().is_null(0) && first["flag"].as_boolean().value(1));
    assert_eq!(vectors(first), [Some(expected(&model, "boats", &EmbedOptions::default())), None]);
    for (text, reason) in [
        ("{\"text\": \"a\"}\n{\"text\": 7}", "line 2"),
        ("{\"text\": \"a\"}\n\n[1]", "line 3"),
        ("{\"text\": \"a\", \"text\": \"b\"}", "twice"),
        ("{\"words\": \"a\"}", "words"),
        ("{\"text\": \"\u{0}\"", "line 1"),
        ("plain", "line 1"),
    ] {
        let input = folder.put("wrong.jsonl", text.as_bytes());
        let error = embed(&model, &[input], &out, &options(2)).unwrap_err();
        assert!(error.code() == "invalid-file", "{error}");
        assert!(error.to_string().contains(reason) && error.to_string().contains("wrong.jsonl"), "{error}");
    }
}

#[test]
fn says_what_is_wrong_with_a_file() {
    let (folder, out, model) = (scratch("wrong-in"), scratch("wrong-out"), model());
    let all = rows(0, 10);
    let good = folder.put("good.parquet", &parquet(&all, 10));
    let twice = RecordBatch::try_new(
        Arc::new(arrow_schema::Schema::new([all.schema().field(1).clone(), all.schema().field(1).clone()].to_vec())),
        vec![all.column(1).clone(), all.column(1).clone()],
    );
    let with = |name: &str, bytes: &[u8]| vec![good.clone(), folder.put(name, bytes)];
    let column = |column: &str| Options { column: column.into(), ..options(1) };
    let keep = Options { keep: Some(vec!["url".into()]), ..options(1) };
    let strict = EmbedOptions { overflow: embedlet::chunk::Overflow::Error, ..EmbedOptions::default() };
    let strict = Options { embed: strict, ..options(1) };
    let apart = Options { embed: EmbedOptions { tokens: true, ..EmbedOptions::default() }, ..options(1) };
    let words = ["a".to_owned(), "b".to_owned(), "word ".repeat(60)];
    let words = Arc::new(StringArray::from(words.to_vec())) as ArrayRef;
    let words = RecordBatch::try_from_iter([("text", words)]).unwrap();
    let large =
        Arc::new(StringArray::from(vec![None, Some("a".to_owned()), Some("a".repeat(TEXT_BYTES + 1))])) as ArrayRef;
    let large = RecordBatch::try_from_iter([("text", large)]).unwrap();
    let cases: Vec<(Vec<PathBuf>, Options, &[&str])> = vec![
        (vec![good.clone()], column("body"), &["good.parquet", "body", "id, text, kind, score"]),
        (vec![good.clone()], column("score"), &["good.parquet", "score", "Float64", "cast"]),
        (vec![good.clone()], keep, &["good.parquet", "url"]),
        (vec![good.clone()], apart, &["pooling"]),
        (vec![folder.0.join("absent.parquet")], options(1), &["absent.parquet"]),
        (vec![good.clone(), good.clone()], options(1), &["good.parquet", "same files"]),
        (with("good.jsonl", b"{\"text\": \"a\"}"), options(1), &["good.jsonl", "same files"]),
        (with("table.csv", b"text\na\n"), options(1), &["table.csv", ".jsonl"]),
        (with("empty.parquet", b""), options(1), &["empty.parquet"]),
        (with("other.parquet", b"<html>not found</html>"), options(1), &["other.parquet"]),
        (with("other.arrow", &[7; 100]), options(1), &["other.arrow", "--ipc"]),
        (with("short.arrow", b"ARROW1"), options(1), &["short.arrow", "short"]),
        (with("twice.parquet", &parquet(&twice.unwrap(), 10)), options(1), &["twice.parquet", "two columns"]),
        (with("long.parquet", &parquet(&words, 3)), strict.clone(), &["long.parquet", "row 2", "tokens"]),
        (with("large.parquet", &parquet(&large, 3)), strict, &["large.parquet", "row 2", "bytes"]),
    ];
    for (inputs, options, reasons) in cases {
        let error = embed(&model, &inputs, &out, &options).unwrap_err().to_string();
        assert!(reasons.iter().all(|reason| error.contains(reason)), "{reasons:?}: {error}");
    }
    // Its own results are not embedded once more by mistake.
    let all = Options { part_rows: 1, ..options(1) };
    files(&out.0).keys().for_each(|name| fs::remove_file(out.0.join(name)).unwrap());
    embed(&model, &[good], &out, &all).unwrap();
    let error = embed(&model, &[out.0.join("good-00000.parquet")], &out, &all).unwrap_err().to_string();
    assert!(error.contains("\"embedding\" already"), "{error}");
}

/// Whatever bytes are changed, it is an error of the file or nothing, and never a panic.
#[test]
fn damaged_files_are_errors() {
    let (folder, out) = (scratch("damage-in"), scratch("damage-out"));
    let batch = rows(0, 24);
    let mut arrow = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    arrow.write(&batch).unwrap();
    let arrow = arrow.into_inner().unwrap();
    let model = model();
    let mut state = 1u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let python = fs::read(fixtures().join("rows.parquet")).unwrap();
    let mut refused = 0;
    for (name, bytes) in [("a.parquet", &parquet(&batch, 8)), ("b.parquet", &python), ("c.arrow", &arrow)] {
        for round in 0..200 {
            let mut bytes = bytes.clone();
            match round % 4 {
                0 => bytes.truncate(random(bytes.len())),
                1 => bytes.extend(vec![0; random(40)]),
                _ => {}
            }
            for _ in 0..random(4) {
                // Most often in the footer, where the numbers are.
                let from = if round % 3 == 0 { 0 } else { bytes.len() / 2 };
                if from < bytes.len() {
                    let place = from + random(bytes.len() - from);
                    bytes[place] = random(256) as u8;
                }
            }
            let input = folder.put(name, &bytes);
            let result = embed(&model, &[input], &out, &options(1));
            if let Err(error) = result {
                assert!(["invalid-file", "limit-exceeded"].contains(&error.code()), "{error}");
                assert!(error.to_string().contains(name), "{error}");
                refused += 1;
            }
            let _ = fs::remove_dir_all(&out.0);
        }
    }
    assert!(refused > 200, "{refused}");
}

/// Gives a few bytes at a time, as a pipe may.
struct Drops(Cursor<Vec<u8>>);

impl Read for Drops {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let few = bytes.len().min(97);
        self.0.read(&mut bytes[..few])
    }
}

#[test]
fn streams_go_through_batch_by_batch() {
    let model = model();
    let batches = [rows(0, 1500), rows(1500, 0), rows(1500, 20)];
    let mut input = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| input.write(batch).unwrap());
    let input = input.into_inner().unwrap();
    let mut output = Vec::new();
    let drops = Drops(Cursor::new(input.clone()));
    let report = stream(&model, drops, &mut output, &options(1), &mut |_| Ok(())).unwrap();
    assert_eq!((report.rows, report.nulls), (1520, 218));
    let reader = StreamReader::try_new(Cursor::new(output), None).unwrap();
    assert!(reader.schema().metadata()["embedlet"].contains("\"tiny\""));
    let mut row = 0;
    for batch in reader.map(Result::unwrap) {
        assert_eq!(batch["id"].as_primitive::<Int64Type>().value(0), row as i64);
        for vector in vectors(&batch) {
            assert_eq!(vector.is_some(), text(row).is_some());
            row += 1;
        }
    }
    assert_eq!(row, 1520);
    for (bytes, reason) in [(&input[..200], "schema"), (&input[..input.len() - 300], "End of Stream"), (b"", "schema")]
    {
        let error = stream(&model, bytes, Vec::new(), &options(1), &mut |_| Ok(())).unwrap_err();
        assert!(error.code() == "invalid-file" && error.to_string().contains("the stream"), "{reason}: {error}");
    }
}

#[test]
fn rows_are_documents() {
    let (folder, out, model) = (scratch("documents-in"), scratch("documents-out"), model());
    let lines = "{\"id\": 7, \"text\": \"boats\", \"year\": 1999}\n{\"id\": 8, \"text\": \"lights\"}\n";
    let input = folder.put("lines.jsonl", lines.as_bytes());
    embed(&model, &[input], &out, &options(1)).unwrap();
    let columns = |vector: Option<&str>| Keys { vector: vector.map(str::to_owned), ..Default::default() };
    let read =
        |path: &Path, columns| documents(path, columns).unwrap().collect::<Result<Vec<_>>>().map(|all| all.concat());
    let found = read(&out.0.join("lines-00000.parquet"), columns(Some("embedding"))).unwrap();
    assert_eq!((found.len(), found[0].id.as_str(), found[0].text.as_str()), (1, "7", "boats"));
    assert_eq!(found[0].metadata, json!({ "year": 1999 }).as_object().cloned());
    assert_eq!(found[0].vector, Some(expected(&model, "boats", &EmbedOptions::default())));
    let found = read(&out.0.join("lines-00001.parquet"), columns(None)).unwrap();
    assert_eq!((&found[0].metadata, &found[0].vector), (&None, &None));
    // Every type that a file of Python's has, as JSON.
    let all = fixtures().join("rows.parquet");
    let by_when = Keys { text: "when".into(), ..Default::default() };
    assert!(read(&all, by_when).unwrap_err().to_string().contains("not text"));
    assert!(read(&all, columns(None)).unwrap_err().to_string().contains("row 2"));
    let two = documents(&all, Keys { vector: Some("tags".into()), ..Default::default() }).unwrap().next();
    assert!(two.unwrap().unwrap_err().to_string().contains("lists of floats"));
    let some = folder.put(
        "metadata.jsonl",
        b"{\"id\": \"x\", \"text\": \"t\", \"metadata\": {\"a\": [1, null]}, \"other\": 1}\n{\"id\": \"y\", \"text\": \"t\"}",
    );
    let found = read(&some, columns(None)).unwrap();
    assert_eq!(found[0].metadata, json!({ "a": [1, null] }).as_object().cloned());
    assert_eq!(found[1].metadata, None);
    assert!(found[1].place.ends_with("metadata.jsonl, row 1"));
}

#[test]
fn columns_of_metadata_and_vectors_may_have_nulls() {
    let folder = scratch("nulls");
    let read = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let columns = columns.into_iter().map(|(name, column)| (name, column, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let keys = Keys { vector: Some("v".into()), ..Keys::default() };
        let found = documents(&folder.put(name, &parquet(&batch, 10)), keys).unwrap();
        found.collect::<Result<Vec<_>>>().map(|all| all.concat())
    };
    let strings = |texts: [Option<&str>; 2]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let rows = |vectors: ArrayRef| {
        let (ids, texts) = (strings([Some("a"), Some("b")]), strings([Some("boats"), Some("lights")]));
        let (metadata, others) = (strings([Some("{\"n\": 1}"), None]), strings([Some("x"), Some("y")]));
        vec![("id", ids), ("text", texts), ("metadata", metadata), ("other", others), ("v", vectors)]
    };
    let double = ListArray::from_iter_primitive::<Float64Type, _, _>([Some([Some(0.5), Some(2.0)]), None]);
    let found = read("double.parquet", rows(Arc::new(double))).unwrap();
    assert_eq!(found[0].metadata, json!({ "n": 1 }).as_object().cloned());
    assert_eq!((&found[1].metadata, &found[0].vector, &found[1].vector), (&None, &Some(vec![0.5, 2.0]), &None));
    let holes =
        ListArray::from_iter_primitive::<Float32Type, _, _>([Some([Some(0.5), Some(2.0)]), Some([Some(1.0), None])]);
    let error = read("holes.parquet", rows(Arc::new(holes))).unwrap_err();
    assert!(error.code() == "invalid-file" && error.to_string().contains("row 1"), "{error}");
}

#[test]
fn documents_come_in_small_batches_however_large_those_of_the_file_are() {
    let folder = scratch("batches");
    let ids = (0..2500).collect::<Int64Array>();
    let texts = Arc::new(StringArray::from(vec!["boats"; 2500])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("text", texts)]).unwrap();
    let mut arrow = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    arrow.write(&batch).unwrap();
    let input = folder.put("large.arrow", &arrow.into_inner().unwrap());
    let found = documents(&input, Keys::default()).unwrap().collect::<Result<Vec<_>>>().unwrap();
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1024, 1024, 452]);
    let last = &found[2][451];
    assert!(last.id == "2499" && last.place.ends_with("row 2499"), "{last:?}");
}

#[test]
fn a_fingerprint_is_of_what_is_loaded() {
    let copy = scratch("fingerprint");
    let model = fixtures().join("models/bert-mean");
    for entry in fs::read_dir(&model).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        match entry.is_dir() {
            true => fs::read_dir(&entry).unwrap().map(|inner| inner.unwrap().path()).for_each(|inner| {
                let inner_name = inner.file_name().unwrap().to_str().unwrap();
                copy.put(&format!("{name}/{inner_name}"), &fs::read(&inner).unwrap());
            }),
            false => _ = copy.put(&name, &fs::read(&entry).unwrap()),
        }
    }
    let own = fingerprint(&model, None).unwrap();
    assert_eq!(own.len(), 64);
    copy.put("README.md", b"changes nothing");
    assert_eq!(fingerprint(&copy.0, None).unwrap(), own);
    let mut weights = fs::read(copy.0.join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    copy.put("model.safetensors", &weights);
    assert_ne!(fingerprint(&copy.0, None).unwrap(), own);
}

/// What the command line refuses, and its stream.
#[test]
fn the_command_line_takes_files_or_a_stream() {
    let model = fixtures().join("models/bert-mean");
    let call = |arguments: &[&str], input: &[u8]| {
        support::run(&[&["embed", "--device", "cpu", "--model", model.to_str().unwrap()], arguments].concat(), input)
    };
    for (arguments, reason) in [
        (&["a.parquet"][..], "--out"),
        (&["--ipc", "--out", "x"], "--ipc"),
        (&["--ipc", "--shard", "0/2"], "--shard"),
        (&["--ipc", "--part-rows", "9"], "--part-rows"),
        (&["--out", "x"], "no files"),
        (&["--column", "body"], "no files"),
        (&["a.parquet", "--out", "x", "--shard", "2/2"], "shard"),
        (&["does-not-exist.parquet", "--out", "x"], "does-not-exist.parquet"),
    ] {
        let output = call(arguments, b"");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(reason), "{arguments:?}: {message}");
    }
    let mut input = StreamWriter::try_new(Vec::new(), &rows(0, 3).schema()).unwrap();
    input.write(&rows(0, 3)).unwrap();
    let output = call(&["--ipc", "--keep", "id"], &input.into_inner().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut reader = StreamReader::try_new(Cursor::new(output.stdout), None).unwrap();
    let note: Value = serde_json::from_str(&reader.schema().metadata()["embedlet"]).unwrap();
    assert_eq!(note["model"], "bert-mean");
    assert_eq!(note["fingerprint"].as_str(), Some(fingerprint(&model, None).unwrap().as_str()));
    let batch = reader.next().unwrap().unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (3, 2));
    assert_eq!(vectors(&batch)[2], Some(expected(&self::model(), &text(2).unwrap(), &EmbedOptions::default())));
}
