//! The command line: bulk work over the same crate that runs in the browser, JSON lines in and out.

mod arguments;
#[path = "bulk/command.rs"]
mod bulk;
#[path = "index/command.rs"]
mod index;

use std::io::{BufRead, BufWriter, Write, stderr, stdin, stdout};
use std::ops::Not;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use arguments::{Arguments, HELP, Verb, parse};
use embedlet::bench;
use embedlet::chunk::{Chunk, ChunkPooling};
use embedlet::gpu::{Gpu, Limits};
use embedlet::job::Call;
use embedlet::model::{Device, Model};
use embedlet::native;
use embedlet::pack;
use embedlet::program::Precision;
use embedlet::task::{ExplainOptions, Input, Task, ZeroShotOptions};

/// Lines tokenized and sorted by length at once.
const CHUNK: usize = 1024;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nothing is left to do where stderr is closed too.
            let _ = writeln!(stderr(), "embedlet: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let given = std::env::args_os().skip(1).map(|argument| {
        argument.into_string().map_err(|argument| format!("\"{}\" is not UTF-8", argument.to_string_lossy()))
    });
    let given = given.collect::<Result<Vec<_>, _>>()?;
    if given.first().is_some_and(|verb| verb == "index") {
        return index::run(given.into_iter().skip(1));
    }
    let Some(arguments) = parse(given.into_iter())? else {
        return stdout().write_all(HELP.as_bytes()).map_err(|error| error.to_string());
    };
    if arguments.verb == Verb::Bench {
        return measure(&arguments);
    }
    if arguments.verb == Verb::Pack {
        return make_small(&arguments);
    }
    if arguments.ipc || !arguments.files.is_empty() {
        return bulk::embed(&arguments);
    }
    let model = load(&arguments.model, &arguments.device, arguments.precision, arguments.task)?;
    if arguments.verb == Verb::Info {
        let info = serde_json::to_string_pretty(&model.info()).map_err(|error| error.to_string())?;
        return writeln!(stdout(), "{info}").map_err(|error| error.to_string());
    }
    let mut lines = stdin().lock().lines();
    let mut out = BufWriter::new(stdout().lock());
    let mut done = 0;
    loop {
        let mut inputs = Vec::with_capacity(CHUNK);
        for line in lines.by_ref().take(CHUNK) {
            let at = done + inputs.len() + 1;
            let line = line.map_err(|error| format!("line {at}: {error}"))?;
            inputs.push(Line::read(&line).map_err(|error| format!("line {at}: {error}"))?);
        }
        if inputs.is_empty() {
            return Ok(());
        }
        let results = answer(&model, &arguments, &inputs);
        let results = results.map_err(|error| format!("lines {} to {}: {error}", done + 1, done + inputs.len()))?;
        for line in results {
            writeln!(out, "{line}").map_err(|error| error.to_string())?;
        }
        out.flush().map_err(|error| error.to_string())?;
        done += inputs.len();
        if !arguments.quiet {
            // Progress is a courtesy: a closed stderr is no reason to stop.
            let _ = writeln!(stderr(), "{done} lines");
        }
    }
}

/// Measures the model, and prints what was found.
fn measure(arguments: &Arguments) -> Result<(), String> {
    if let Some(threads) = arguments.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build_global().map_err(|error| error.to_string())?;
    }
    let start = Instant::now();
    let limits = Limits { forms: arguments.forms, ..Limits::default() };
    let model = load_within(limits, &arguments.model, &arguments.device, arguments.precision, arguments.task)?;
    let loaded = 1e3 * start.elapsed().as_secs_f64();
    let report = bench::run(&model, loaded, arguments.only.as_deref(), arguments.rounds);
    let report = report.map_err(|error| error.to_string())?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, print(&report)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    writeln!(stdout(), "{report}").map_err(|error| error.to_string())
}

/// Packs the model, and prints what came out.
fn make_small(arguments: &Arguments) -> Result<(), String> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<_, String>(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
    };
    let options = pack::Options {
        dtype: arguments.dtype,
        agreement: arguments.agreement,
        calibration: arguments.calibration.as_ref().map(read).transpose()?,
        prune_vocab: arguments.prune_vocab.as_ref().map(read).transpose()?,
        task: arguments.task,
        source: arguments.source.clone().map(|name| (name, arguments.revision.clone())),
    };
    let mut say = |what: &str| {
        if !arguments.quiet {
            // As above.
            let _ = writeln!(stderr(), "{what}");
        }
    };
    let report = pack::pack(&arguments.model, &arguments.out, &options, &mut say).map_err(|error| error.to_string())?;
    let report = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
    writeln!(stdout(), "{report}").map_err(|error| error.to_string())
}

/// The device asked for. `auto` prefers a real GPU.
fn device(name: &str) -> Result<Device, String> {
    device_within(name, Limits::default())
}

fn device_within(name: &str, limits: Limits) -> Result<Device, String> {
    if name == "cpu" {
        return Ok(Device::Cpu(None));
    }
    Ok(match (name, pollster::block_on(Gpu::open_within(limits))) {
        ("gpu", gpu) => Device::Gpu(gpu.map_err(|error| error.to_string())?),
        (_, Err(error)) => Device::Cpu(Some(error.to_string())),
        (_, Ok(gpu)) if gpu.adapter().software => Device::Cpu(Some(gpu.adapter().no_hardware())),
        (_, Ok(gpu)) => Device::Gpu(gpu),
    })
}

/// A model on the device asked for. With `auto` a kernel that fails its self-check sends it to the CPU.
fn load(model: &Path, name: &str, precision: Option<Precision>, task: Option<Task>) -> Result<Model, String> {
    load_within(Limits::default(), model, name, precision, task)
}

fn load_within(
    limits: Limits,
    model: &Path,
    name: &str,
    precision: Option<Precision>,
    task: Option<Task>,
) -> Result<Model, String> {
    let load = |device| native::load(model, device, precision, task, &mut |_, _| {});
    let device = match name {
        "auto" if precision == Some(Precision::Int8) => {
            Device::Cpu(Some("device auto leaves precision int8 to the CPU".into()))
        }
        _ => device_within(name, limits)?,
    };
    let loaded = match load(device) {
        Err(error) if name == "auto" && error.is_of_gpu() => load(Device::Cpu(Some(error.to_string()))),
        loaded => loaded,
    };
    loaded.map_err(|error| error.to_string())
}

/// A line of input: JSON where it is an object or a string, else the text itself, unless it begins as an object does.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "query", alias = "question")]
    text: String,
    #[serde(alias = "context", alias = "against")]
    pair: Option<String>,
    documents: Option<Vec<String>>,
}

impl Line {
    fn read(line: &str) -> Result<Self, String> {
        let bare = |text| Ok(Self { text, pair: None, documents: None });
        match serde_json::from_str::<Value>(line) {
            Ok(object @ Value::Object(_)) => {
                serde_json::from_value(object).map_err(|error| format!("not an object with a \"text\": {error}"))
            }
            Ok(Value::String(text)) => bare(text),
            // Half an object, or one with half a character, as other languages write them, is nobody's text.
            Err(error) if line.trim_start().starts_with("{\"") => {
                Err(format!("not the JSON that it looks like: {error}; text is put as a JSON string"))
            }
            _ => bare(line.to_owned()),
        }
    }

    fn input(&self) -> Input {
        Input { text: self.text.clone(), pair: self.pair.clone() }
    }
}

#[derive(Serialize)]
struct Embedding<E> {
    embedding: E,
    tokens: u32,
    #[serde(skip_serializing_if = "Not::not")]
    truncated: bool,
}

#[derive(Serialize)]
struct Chunks<C> {
    chunks: Vec<C>,
}

#[derive(Serialize)]
struct EmbeddedChunk<'a> {
    #[serde(flatten)]
    chunk: &'a Chunk,
    embedding: &'a [f32],
}

/// A line of output for each line of input.
fn answer(model: &Model, arguments: &Arguments, lines: &[Line]) -> Result<Vec<String>, embedlet::Error> {
    let inputs: Vec<Input> = lines.iter().map(Line::input).collect();
    let texts: Vec<String> = lines.iter().map(|line| line.text.clone()).collect();
    match arguments.verb {
        Verb::Info | Verb::Bench | Verb::Pack => Ok(Vec::new()),
        Verb::Embed => {
            let result = pollster::block_on(model.embed(&texts, &arguments.embed)?.run(model))?;
            let mut rows = result.data.chunks_exact(result.dimensions);
            if arguments.embed.chunk_pooling == Some(ChunkPooling::None) {
                let line = |chunks: &Vec<Chunk>| {
                    let chunks = chunks.iter().zip(rows.by_ref());
                    let chunks = chunks.map(|(chunk, embedding)| EmbeddedChunk { chunk, embedding });
                    print(&Chunks { chunks: chunks.collect() })
                };
                return Ok(result.chunks.iter().map(line).collect());
            }
            let line = |(&tokens, &truncated): (&u32, &bool)| match arguments.embed.tokens {
                true => {
                    let embedding: Vec<_> = rows.by_ref().take(tokens as usize).collect();
                    print(&Embedding { embedding, tokens, truncated })
                }
                false => print(&Embedding { embedding: rows.next(), tokens, truncated }),
            };
            Ok(result.tokens.iter().zip(&result.truncated).map(line).collect())
        }
        Verb::Chunk => {
            let chunks = |text: &String| model.chunk(text, &arguments.embed);
            texts.iter().map(|text| Ok(print(&Chunks { chunks: chunks(text)? }))).collect()
        }
        Verb::Explain => {
            let explain = |line: &Line| {
                let options = ExplainOptions { against: line.pair.clone(), ..arguments.explain.clone() };
                Ok(print(&pollster::block_on(model.explain(&line.text, &options)?.run(model))?))
            };
            lines.iter().map(explain).collect()
        }
        Verb::Classify => each(model, model.classify(&inputs, &arguments.classify)?),
        Verb::Tag if arguments.logits => each(model, model.tag_logits(&inputs)?),
        Verb::Tag => {
            let entities = pollster::block_on(model.tag(&texts, &arguments.tag)?.run(model))?;
            Ok(entities.iter().map(|entities| print(&serde_json::json!({ "entities": entities }))).collect())
        }
        Verb::Answer if arguments.logits => each(model, model.answer_logits(&inputs)?),
        Verb::Answer => {
            let answers = pollster::block_on(model.answer(&inputs, &arguments.answer)?.run(model))?;
            Ok(answers.iter().map(|answers| print(&serde_json::json!({ "answers": answers }))).collect())
        }
        Verb::Fill => {
            let masks = pollster::block_on(model.fill(&inputs, &arguments.fill)?.run(model))?;
            Ok(masks.iter().map(|masks| print(&serde_json::json!({ "masks": masks }))).collect())
        }
        Verb::Rerank => {
            let rerank = |line: &Line| {
                let without = || embedlet::Error::argument("a line to rerank has no \"documents\"");
                let documents = line.documents.as_deref().ok_or_else(without)?;
                let ranked = model.rerank(&line.text, documents, &arguments.rerank)?;
                let ranked = pollster::block_on(ranked.run(model))?;
                Ok(print(&serde_json::json!({ "results": ranked })))
            };
            lines.iter().map(rerank).collect()
        }
        Verb::ZeroShot => {
            let options = ZeroShotOptions {
                labels: arguments.classify.labels.clone().unwrap_or_default(),
                hypothesis_template: arguments.template.clone(),
                multi_label: arguments.multi_label,
            };
            let scores = pollster::block_on(model.zero_shot(&texts, &options)?.run(model))?;
            Ok(scores.iter().map(|scores| print(&serde_json::json!({ "scores": scores }))).collect())
        }
        Verb::Sparse => each(model, model.embed_sparse(&texts, &arguments.sparse)?),
        Verb::Multi => {
            let vectors = pollster::block_on(model.embed_multi(&texts, &arguments.multi)?.run(model))?;
            let line = |vectors: &embedlet::task::MultiVectors| {
                let embedding: Vec<_> = vectors.rows().collect();
                print(&Embedding { embedding, tokens: vectors.tokens, truncated: vectors.truncated })
            };
            Ok(vectors.iter().map(line).collect())
        }
    }
}

/// Runs a call that has a result for every line.
fn each<T: Serialize>(model: &Model, call: Call<Vec<T>>) -> Result<Vec<String>, embedlet::Error> {
    Ok(pollster::block_on(call.run(model))?.iter().map(print).collect())
}

/// One line of JSON. Numbers and strings can always be written.
fn print<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
