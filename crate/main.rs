//! The command line: bulk embedding over the same crate that runs in the browser.

use std::io::{BufRead, BufWriter, Write, stderr, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use embedlet::gpu::Gpu;
use embedlet::model::{Device, EmbedOptions, Kind, Model, Names};
use embedlet::native;
use embedlet::program::Precision;

const HELP: &str = "\
Text encoders on your own GPU.

embedlet embed --model DIR [options] < in.jsonl > out.jsonl
    One {\"text\": …} or bare line in, one {\"embedding\": […], \"tokens\": n} out, in order.
embedlet info --model DIR [options]
    What is known of the model, as JSON.

options
    --device auto|gpu|cpu   auto takes a GPU unless there is none, or only a software one
    --precision auto|f32|f16
                            how matrices are stored on the device; auto: as in the checkpoint
    --pooling NAMES         cls, max, mean, mean_sqrt_len_tokens, weightedmean or lasttoken; several with commas;
                            none: {\"embedding\": [[…], …]}, the last hidden state of every token
    --normalize, --no-normalize
                            scale vectors to unit length, or do not; without either: as the model says
    --dimensions N          keep the first N columns
    --prompt TEXT, --prompt-name NAME, --query, --document
                            what is put in front of each text
    --quiet                 no progress on stderr
";

/// Lines tokenized and sorted by length at once.
const CHUNK: usize = 1024;

struct Arguments {
    verb: String,
    model: PathBuf,
    device: String,
    precision: Option<Precision>,
    quiet: bool,
    options: EmbedOptions,
}

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
    let Some(arguments) = parse(std::env::args().skip(1))? else {
        return stdout().write_all(HELP.as_bytes()).map_err(|error| error.to_string());
    };
    let model = load(&arguments)?;
    match arguments.verb.as_str() {
        "info" => {
            let info = serde_json::to_string_pretty(&model.info()).map_err(|error| error.to_string())?;
            writeln!(stdout(), "{info}").map_err(|error| error.to_string())
        }
        _ => embed(&model, &arguments),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let verb = match arguments.next().as_deref() {
        None | Some("help" | "--help" | "-h") => return Ok(None),
        Some(verb @ ("embed" | "info")) => verb.to_owned(),
        Some(other) => return Err(format!("there is no \"{other}\": try embedlet --help")),
    };
    let mut model = None;
    let (mut device, mut precision, mut quiet) = ("auto".to_owned(), None, false);
    let mut options = EmbedOptions::default();
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--model" => model = Some(PathBuf::from(value()?)),
            "--device" => {
                device = value()?;
                if !["auto", "gpu", "cpu"].contains(&device.as_str()) {
                    return Err(format!("--device is auto, gpu or cpu, not \"{device}\""));
                }
            }
            "--precision" => {
                precision = match value()?.as_str() {
                    "auto" => None,
                    "f32" => Some(Precision::F32),
                    "f16" => Some(Precision::F16),
                    other => return Err(format!("--precision is auto, f32 or f16, not \"{other}\"")),
                }
            }
            "--pooling" => match value()?.as_str() {
                "none" => options.tokens = true,
                names => options.pooling = Some(Names::Several(names.split(',').map(str::to_owned).collect())),
            },
            "--normalize" => options.normalize = Some(true),
            "--no-normalize" => options.normalize = Some(false),
            "--dimensions" => {
                let text = value()?;
                options.dimensions = Some(text.parse().map_err(|_| format!("--dimensions {text} is not a number"))?);
            }
            "--prompt" => options.prompt = Some(value()?),
            "--prompt-name" => options.prompt_name = Some(value()?),
            "--query" => options.kind = Some(Kind::Query),
            "--document" => options.kind = Some(Kind::Document),
            "--quiet" => quiet = true,
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("there is no {flag}: try embedlet --help")),
        }
    }
    let model = model.ok_or("--model DIR is missing")?;
    Ok(Some(Arguments { verb, model, device, precision, quiet, options }))
}

/// The device asked for. `auto` prefers a real GPU; a kernel that fails its self-check sends it to the CPU.
fn load(arguments: &Arguments) -> Result<Model, String> {
    let load = |device| native::load(&arguments.model, device, arguments.precision, &mut |_, _| {});
    let cpu = |reason: String| load(Device::Cpu(Some(reason))).map_err(|error| error.to_string());
    match (arguments.device.as_str(), pollster::block_on(Gpu::open())) {
        ("cpu", _) => load(Device::Cpu(None)).map_err(|error| error.to_string()),
        ("gpu", gpu) => gpu.and_then(|gpu| load(Device::Gpu(gpu))).map_err(|error| error.to_string()),
        (_, Err(error)) => cpu(error.to_string()),
        (_, Ok(gpu)) if gpu.adapter().software => {
            cpu(format!("the only adapter is software ({})", gpu.adapter().description))
        }
        (_, Ok(gpu)) => match load(Device::Gpu(gpu)) {
            Err(error) if error.code() == "self-check-failed" => cpu(error.to_string()),
            loaded => loaded.map_err(|error| error.to_string()),
        },
    }
}

/// A line of input: JSON where it is an object or a string, else the text itself.
fn text(line: &str) -> Result<String, String> {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(serde_json::Value::Object(object)) => {
            let text = object.get("text").and_then(serde_json::Value::as_str);
            text.map(str::to_owned).ok_or_else(|| "an object without a \"text\" string".to_owned())
        }
        Ok(serde_json::Value::String(text)) => Ok(text),
        _ => Ok(line.to_owned()),
    }
}

fn embed(model: &Model, arguments: &Arguments) -> Result<(), String> {
    let mut lines = stdin().lock().lines();
    let mut out = BufWriter::new(stdout().lock());
    let mut done = 0;
    loop {
        let mut texts = Vec::with_capacity(CHUNK);
        for line in lines.by_ref().take(CHUNK) {
            let at = done + texts.len() + 1;
            let line = line.map_err(|error| format!("line {at}: {error}"))?;
            texts.push(text(&line).map_err(|error| format!("line {at}: {error}"))?);
        }
        if texts.is_empty() {
            return Ok(());
        }
        let result = pollster::block_on(model.embed(&texts, &arguments.options));
        let result = result.map_err(|error| format!("lines {} to {}: {error}", done + 1, done + texts.len()))?;
        let mut rows = result.data.chunks_exact(result.dimensions);
        for tokens in &result.tokens {
            let embedding = match arguments.options.tokens {
                true => serde_json::json!(rows.by_ref().take(*tokens as usize).collect::<Vec<_>>()),
                false => serde_json::json!(rows.next()),
            };
            let line = serde_json::json!({ "embedding": embedding, "tokens": tokens });
            writeln!(out, "{line}").map_err(|error| error.to_string())?;
        }
        out.flush().map_err(|error| error.to_string())?;
        done += texts.len();
        if !arguments.quiet {
            // Progress is a courtesy: a closed stderr is no reason to stop.
            let _ = writeln!(stderr(), "{done} texts");
        }
    }
}
