//! `embedlet index`: documents into files that a browser searches, a search of them, and how long all that takes.

use std::io::{BufRead, BufReader, Write, stderr, stdin, stdout};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use embedlet::bulk;
use embedlet::index::bench::{self, Mixture};
use embedlet::index::{self, Document, Index, Keys, Lines, Options, Stage};
use embedlet::search::Precision;
use embedlet::task::Task;

use crate::{device, load};

const HELP: &str = "\
Indexes for static hosts: files in a folder that a browser searches without a server.

embedlet index build --model DIR IN… --out FOLDER [options]
    One {\"id\": …, \"text\": …, \"metadata\": {…}} a line; without \"metadata\" all other keys are. \"-\" reads stdin.
    Parquet and Arrow files (.parquet, .arrow, .feather) have a row a document and columns of these names.
    With the feature object-store IN may be URLs, as for embed.
    --out NAME.eidx writes one file, for SearchIndex.open({ storage: file }).
embedlet index search FOLDER --model DIR < queries > hits.jsonl
    One query a line in, one {\"hits\": [{\"id\", \"score\", \"text\", \"metadata\"}, …]} out.
embedlet index bench --rows N --out FOLDER [options]
    Builds an index of vectors that it draws from clusters; what was measured is printed, and the folder stays.

options
    --quiet                 no progress on stderr
    --device auto|gpu|cpu   of the model; it also divides rows into cells

build, bench
    --precision NAME        float32, int8 (default) or binary: how rows are kept
    --cells N|auto          how many cells rows are divided into; 1: none, a search reads everything
    --recall SHARE          of the nearest ten that a search is to find by default (0.95)
    --segment-bytes N       how large files are about (4194304)
    --keep-vectors, --no-vectors
                            keep float32 vectors beside int8 or binary rows, or do not; without either: in a single file alone

build
    --name NAME             names the model, for browsers that name theirs
    --column KEY, --id KEY  where the texts are, and the ids (text, id)
    --vectors KEY           where vectors are, of this model; texts without one are embedded
    --dimensions N          keep the first N columns

search
    --top-k N               documents a query (10)
    --probes N              cells that are read; without it as many as the index says

bench
    --dimensions N          of the vectors (384)
    --centres N             clusters (rows / 1000)
    --spread X              how far rows are from their centre, which has length 1 (1)
    --seed N                other vectors (0)
    --json FILE             what was measured, for machines
";

/// Between two lines of progress.
const PAUSE: Duration = Duration::from_secs(2);

struct Arguments {
    verb: String,
    inputs: Vec<PathBuf>,
    model: PathBuf,
    out: PathBuf,
    device: String,
    quiet: bool,
    keys: Keys,
    options: Options,
    top_k: usize,
    probes: Option<usize>,
    rows: usize,
    centres: Option<usize>,
    spread: f64,
    seed: u64,
    json: Option<PathBuf>,
}

/// Runs it with what is behind `embedlet index`.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let Some(arguments) = parse(arguments)? else {
        return stdout().write_all(HELP.as_bytes()).map_err(|error| error.to_string());
    };
    match arguments.verb.as_str() {
        "build" => build(&arguments),
        "search" => search(&arguments),
        _ => measure(&arguments),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let verb = match arguments.next() {
        Some(verb) if ["build", "search", "bench"].contains(&verb.as_str()) => verb,
        None => return Ok(None),
        Some(help) if ["help", "--help", "-h"].contains(&help.as_str()) => return Ok(None),
        Some(verb) => return Err(format!("there is no \"index {verb}\": try embedlet index --help")),
    };
    let mut parsed = Arguments {
        verb,
        inputs: Vec::new(),
        model: PathBuf::new(),
        out: PathBuf::new(),
        device: "auto".into(),
        quiet: false,
        keys: Keys::default(),
        options: Options::default(),
        top_k: 10,
        probes: None,
        rows: 0,
        centres: None,
        spread: 1.0,
        seed: 0,
        json: None,
    };
    let builds = [
        "--segment-bytes",
        "--precision",
        "--cells",
        "--recall",
        "--keep-vectors",
        "--no-vectors",
        "--out",
        "--dimensions",
    ];
    while let Some(flag) = arguments.next() {
        let known: &[&str] = match parsed.verb.as_str() {
            "build" => &["--name", "--column", "--id", "--vectors", "--model", "--device"],
            "search" => &["--top-k", "--probes", "--model", "--device"],
            _ => &["--rows", "--centres", "--spread", "--seed", "--json", "--device"],
        };
        let is_known = known.contains(&flag.as_str())
            || ["--quiet", "--help", "-h"].contains(&flag.as_str())
            || parsed.verb != "search" && builds.contains(&flag.as_str());
        if flag.starts_with("--") && !is_known {
            return Err(format!("there is no {flag} for index {}: try embedlet index --help", parsed.verb));
        }
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--model" => parsed.model = PathBuf::from(value()?),
            "--out" => parsed.out = PathBuf::from(value()?),
            "--device" => parsed.device = value()?,
            "--quiet" => parsed.quiet = true,
            "--name" => parsed.options.name = Some(value()?),
            "--column" => parsed.keys.text = value()?,
            "--id" => parsed.keys.id = value()?,
            "--vectors" => parsed.keys.vector = Some(value()?),
            "--keep-vectors" => parsed.options.vectors = Some(true),
            "--no-vectors" => parsed.options.vectors = Some(false),
            "--precision" => {
                let name = value()?;
                let unknown = |_| format!("--precision is float32, int8 or binary, not \"{name}\"");
                parsed.options.precision = Precision::parse(&name).map_err(unknown)?;
            }
            "--cells" => {
                let text = value()?;
                parsed.options.cells = if text == "auto" { None } else { Some(number(&flag, &text)?) };
            }
            "--segment-bytes" => parsed.options.segment = number(&flag, &value()?)?,
            "--recall" => parsed.options.recall = number(&flag, &value()?)?,
            "--dimensions" => parsed.options.dimensions = Some(number(&flag, &value()?)?),
            "--top-k" => parsed.top_k = number(&flag, &value()?)?,
            "--probes" => parsed.probes = Some(number(&flag, &value()?)?),
            "--rows" => parsed.rows = number(&flag, &value()?)?,
            "--centres" => parsed.centres = Some(number(&flag, &value()?)?),
            "--spread" => parsed.spread = number(&flag, &value()?)?,
            "--seed" => parsed.seed = number(&flag, &value()?)?,
            "--json" => parsed.json = Some(PathBuf::from(value()?)),
            "--help" | "-h" => return Ok(None),
            _ => parsed.inputs.push(PathBuf::from(flag)),
        }
    }
    parsed.options.single = parsed.out.extension().is_some_and(|ending| ending == "eidx");
    let (verb, missing) = (parsed.verb.as_str(), |path: &Path| path.as_os_str().is_empty());
    match () {
        () if verb != "bench" && missing(&parsed.model) => Err("--model DIR is missing".into()),
        () if verb != "search" && missing(&parsed.out) => Err("--out FOLDER is missing".into()),
        () if verb == "build" && parsed.inputs.is_empty() => {
            Err("there is nothing to read: name a file, or \"-\"".into())
        }
        () if verb == "search" && parsed.inputs.len() != 1 => Err("index search takes one folder".into()),
        () if verb == "bench" && !parsed.inputs.is_empty() => Err("index bench reads nothing".into()),
        () if verb == "bench" && parsed.options.single => Err("index bench builds a folder".into()),
        () => Ok(Some(parsed)),
    }
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} {text} is not a number"))
}

fn build(arguments: &Arguments) -> Result<(), String> {
    let Arguments { inputs, keys, options, out, .. } = arguments;
    let open = |path: &PathBuf| -> Result<Box<dyn Iterator<Item = embedlet::Result<Vec<Document>>>>, String> {
        let name = path.display().to_string();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if let Some("parquet" | "arrow" | "feather") = ending {
            return Ok(Box::new(bulk::documents(path, keys.clone()).map_err(|error| error.to_string())?));
        }
        let from: Box<dyn BufRead> = match name.as_str() {
            "-" => Box::new(stdin().lock()),
            _ => Box::new(BufReader::new(bulk::open(path).map_err(|error| error.to_string())?)),
        };
        Ok(Box::new(Lines::new(from, name, keys.clone())))
    };
    // All are opened first, so that a name that is wrong is known before hours of work.
    let inputs = bulk::expand(inputs).map_err(|error| error.to_string())?;
    let documents = inputs.iter().map(open).collect::<Result<Vec<_>, String>>()?.into_iter().flatten();
    let model = load(&arguments.model, &arguments.device, None, Some(Task::Embed))?;
    let report = index::build(&model, documents, out, options, &mut progress(arguments.quiet));
    print(&report.map_err(|error| error.to_string())?)
}

fn search(arguments: &Arguments) -> Result<(), String> {
    let text = |error: embedlet::Error| error.to_string();
    let index = Index::open(&arguments.inputs[0]).map_err(text)?;
    let model = load(&arguments.model, &arguments.device, None, Some(Task::Embed))?;
    index.made().check(&model).map_err(text)?;
    for line in stdin().lock().lines() {
        let query = index.made().query(&model, &line.map_err(|error| error.to_string())?).map_err(text)?;
        let hits = index.search(&query, arguments.top_k, arguments.probes).map_err(text)?;
        print(&serde_json::json!({ "hits": hits }))?;
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    let Arguments { rows, seed, spread, options, out, .. } = arguments;
    let centres = arguments.centres.unwrap_or((rows / 1000).max(1));
    let dimensions = options.dimensions.unwrap_or(384);
    let mixture = Mixture { rows: *rows, dimensions, centres, spread: *spread, seed: *seed };
    let measured = bench::run(mixture, &device(&arguments.device)?, out, options, &mut progress(arguments.quiet));
    let measured = measured.map_err(|error| error.to_string())?;
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string(&measured).map_err(|error| error.to_string())?;
        std::fs::write(path, json).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    writeln!(stdout(), "{measured}").map_err(|error| error.to_string())
}

fn print(value: &impl serde::Serialize) -> Result<(), String> {
    let line = serde_json::to_string(value).map_err(|error| error.to_string())?;
    writeln!(stdout(), "{line}").map_err(|error| error.to_string())
}

/// Says on stderr what is being done, now and then.
fn progress(quiet: bool) -> impl FnMut(Stage, u64, u64) -> ControlFlow<()> {
    let mut last: Option<(Stage, Instant, Instant)> = None;
    move |stage, done, total| {
        let now = Instant::now();
        let (since, said) = match last {
            Some((before, since, said)) if before == stage => (since, Some(said)),
            _ => (now, None),
        };
        if quiet || said.is_some_and(|said| now - said < PAUSE) {
            return ControlFlow::Continue(());
        }
        last = Some((stage, since, now));
        let name = format!("{stage:?}").to_lowercase();
        let rate = done as f64 / (now - since).as_secs_f64().max(1e-3);
        // A courtesy: a closed stderr is no reason to stop.
        let _ = match (stage, total) {
            (Stage::Read, _) => writeln!(stderr(), "{name}: {done} documents, {rate:.0} a second"),
            (_, total) if done > 0 => {
                let left = total.saturating_sub(done) as f64 / rate;
                writeln!(stderr(), "{name}: {done} of {total}, {left:.0} s to go")
            }
            _ => writeln!(stderr(), "{name}: {done} of {total}"),
        };
        ControlFlow::Continue(())
    }
}
