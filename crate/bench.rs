//! `embedlet bench`: how fast a model runs on this machine, where the time goes, and what share that is of what the device can
//! do. Works and bytes are counted from the kernels' descriptions, times are measured.

use embedlet_host::chains;

use std::fmt::{self, Display, Formatter};
use std::hint::black_box;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Room, Sequence, fitting};
use crate::cost::Cost;
use crate::cpu::Memory;
use crate::error::{Error, Result};
use crate::gpu::{Budget, Compared, Tuner};
use crate::model::{EmbedOptions, Model};
use crate::platform::now_ms;
use crate::program::{Buf, Large, Op, Operand, Precision, Program, Rows, TailId};
use crate::runner::Runner;
use crate::search::bench::{Scan, run as scans};
use crate::shader::Kernel;
use crate::weights::Layout;

/// A turn lasts at least so long: short calls are repeated.
const TURN_MS: f64 = 100.0;
/// How often the steps of a batch are timed.
const PROFILES: usize = 5;
/// Bytes that the host copies: more than caches hold.
const COPY_BYTES: usize = 64 << 20;

/// What a device does at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Peaks {
    /// Additions and multiplications in f32 a second.
    pub flops: f64,
    /// Bytes read and written a second.
    pub bytes: f64,
    /// Seconds from one dispatch to the next that waits for it; 0 on the CPU.
    pub launch: f64,
}

/// What [`run`] found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What it ran on.
    pub device: String,
    /// Threads of the host.
    pub threads: usize,
    /// Milliseconds until the model was loaded.
    pub load: f64,
    /// Milliseconds until the vector of one short text was there.
    pub first: f64,
    /// That vector.
    pub vector: Vec<f32>,
    /// Bytes of the parameters that every batch reads: all but tables.
    pub matrices: f64,
    /// What the device does at most, measured in the same run.
    pub peaks: Peaks,
    /// Cell by cell.
    pub cells: Vec<Cell>,
    /// Searches of a collection, where all was asked for.
    pub scans: Vec<Scan>,
    /// What a browser would measure while nothing is asked, on a GPU where kernels are to be chosen.
    pub tuning: Vec<Tuned>,
}

/// Two kernels of a product compared, in the order in which that was done.
#[derive(Debug, Clone, Serialize)]
pub struct Tuned {
    /// Columns in and out.
    pub shape: String,
    /// Rows of the product.
    pub rows: usize,
    /// Both by their names, with milliseconds of a dispatch. The first is the one for fewer rows.
    pub ms: [(&'static str, f64); 2],
    /// The one that is taken for as many rows from now on.
    pub chosen: &'static str,
}

/// Some texts and how long they took.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// Its name in `web/cells.json`.
    pub name: String,
    /// How many texts.
    pub texts: usize,
    /// Tokens of all of them, special tokens included.
    pub tokens: usize,
    /// Milliseconds of a call, tokenizer included, round by round.
    pub samples: Vec<f64>,
    /// Tokens of the batch whose kernels are below.
    pub batch: usize,
    /// Where the time of that batch goes, the longest first; empty where the device has no clock.
    pub kernels: Vec<Kernels>,
}

/// Steps of one kernel on operands of one shape.
#[derive(Debug, Clone, Serialize)]
pub struct Kernels {
    /// The kernel, and its columns in and out.
    pub name: String,
    /// How many there are.
    pub launches: usize,
    /// Milliseconds of all of them.
    pub ms: f64,
    /// Additions and multiplications of all of them; 0 where they are not counted.
    pub flops: f64,
    /// The least bytes that all of them can move: every operand once.
    pub bytes: f64,
}

/// What is in `web/cells.json`.
#[derive(Deserialize)]
struct Given {
    name: String,
    texts: usize,
    words: usize,
    more: usize,
}

/// The cells with their texts: words of the demo page's sample one after another, `more` of them each time.
fn cells() -> Vec<(String, Vec<String>)> {
    #[derive(Deserialize)]
    struct Passage {
        text: String,
    }
    let passages: Vec<Passage> = serde_json::from_str(include_str!("../web/sample.json")).unwrap_or_default();
    let given: Vec<Given> = serde_json::from_str(include_str!("../web/cells.json")).unwrap_or_default();
    let words: Vec<&str> = passages.iter().flat_map(|passage| passage.text.split_whitespace()).collect();
    let texts = |cell: &Given| {
        let mut from = 0;
        let text = |index| {
            let count = cell.words + index * cell.more;
            from += count;
            words[from - count..from].join(" ")
        };
        (0..cell.texts).map(text).collect()
    };
    given.iter().map(|cell| (cell.name.clone(), texts(cell))).collect()
}

/// Measures the cells that `only` names, or all, `rounds` times each. The model took `load` milliseconds and has done nothing.
pub fn run(model: &Model, load: f64, only: Option<&[String]>, rounds: usize) -> Result<Report> {
    let mut cells = cells();
    let short = cells.first().map_or_else(Vec::new, |(_, texts)| texts.clone());
    if let Some(only) = only {
        let names: Vec<String> = only.iter().map(|name| name.replace('-', " ")).collect();
        if let Some(unknown) = names.iter().find(|name| !cells.iter().any(|cell| cell.0 == **name)) {
            return Err(Error::argument(format!("there is no cell called {unknown}")));
        }
        cells.retain(|(name, _)| names.contains(name));
    }
    let start = now_ms();
    let vector = embed(model, &short)?;
    let first = load + now_ms() - start;
    let info = model.info();
    let peaks = match &model.runner {
        Runner::Gpu(resident) => pollster::block_on(resident.gpu().peaks())?,
        Runner::Cpu(..) => host_peaks(),
    };
    let (program, precision) = (&model.parts.program, stored(model));
    let of_batch = |weight: &&crate::weights::Weight| !matches!(weight.layout, Layout::Table { .. });
    Ok(Report {
        device: info.adapter.map_or_else(|| "CPU".into(), |adapter| adapter.description),
        threads: rayon::current_num_threads(),
        load,
        first,
        vector,
        matrices: program.weights.iter().filter(of_batch).map(|weight| weight.bytes(precision) as f64).sum(),
        peaks,
        cells: cells.into_iter().map(|(name, texts)| measure(model, name, &texts, rounds)).collect::<Result<_>>()?,
        scans: if only.is_none() { scans(model)? } else { Vec::new() },
        tuning: tune(model)?,
    })
}

/// Lets the model choose its kernels, for which there is time here.
fn tune(model: &Model) -> Result<Vec<Tuned>> {
    let Some(resident) = model.resident() else { return Ok(Vec::new()) };
    let Some(mut tuner) = Tuner::new(resident, Budget::NONE) else { return Ok(Vec::new()) };
    while pollster::block_on(tuner.slice(resident))? {}
    let told = |compared: &Compared| {
        let Compared { step, forms: [form, other], rows, ms } = *compared;
        let forms = resident.forms(step);
        let chosen = resident.kernel(step, &Batch::of_rows(&[0, rows], 0));
        let named = |kernel: &Kernel| kernel.name;
        Some(Tuned {
            shape: columns(forms.get(form)?),
            rows,
            ms: [(named(forms.get(form)?), ms[0]), (named(forms.get(other)?), ms[1])],
            chosen: named(&chosen?),
        })
    };
    Ok(tuner.compared().iter().filter_map(told).collect())
}

fn embed(model: &Model, texts: &[String]) -> Result<Vec<f32>> {
    Ok(pollster::block_on(model.embed(texts, &EmbedOptions::default())?.run(model))?.data)
}

/// How the matrices lie where they are computed with.
fn stored(model: &Model) -> Precision {
    match &model.runner {
        Runner::Gpu(resident) => resident.precision(),
        Runner::Cpu(memory, _) => memory.borrow().precision(),
    }
}

fn measure(model: &Model, name: String, texts: &[String], rounds: usize) -> Result<Cell> {
    // Once without a clock: caches fill, and batches find their size.
    embed(model, texts)?;
    let mut samples = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let (start, mut calls) = (now_ms(), 0.0);
        while calls < 1.0 || now_ms() - start < TURN_MS {
            embed(model, texts)?;
            calls += 1.0;
        }
        samples.push((now_ms() - start) / calls);
    }
    let encodings = texts.iter().map(|text| model.tokenize(text)).collect::<Result<Vec<_>>>()?;
    let sequences: Vec<Sequence> = encodings.iter().map(Sequence::from).collect();
    let tokens = sequences.iter().map(|sequence| sequence.ids.len()).sum();
    // One batch of as many of them as may be in one.
    let (program, tail) = (&model.parts.program, model.parts.vectors());
    let most = |rows| program.most(rows);
    let room = Room { tokens: model.parts.budget, texts: most(Rows::Texts), picks: most(Rows::Picks) };
    let count = fitting(&sequences, room).min(sequences.len());
    let pooling = model.pooling(&EmbedOptions::default())?;
    let batch = Batch::pack(&sequences[..count], &model.parts.spec.tables, &pooling);
    let kernels = profile(model, tail, &batch)?;
    Ok(Cell { name, texts: texts.len(), tokens, samples, batch: batch.tokens(), kernels })
}

/// Where the time of a batch goes: of every step the median of its times.
fn profile(model: &Model, tail: TailId, batch: &Batch) -> Result<Vec<Kernels>> {
    let program = &model.parts.program;
    let steps = match model.resident() {
        Some(resident) => resident.running(tail, batch),
        None => program.step_indices(tail).collect(),
    };
    let ops: Vec<&dyn Op> = program.all_ops().collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); steps.len()];
    for _ in 0..PROFILES {
        let round = match &model.runner {
            Runner::Gpu(resident) => pollster::block_on(resident.times(tail, batch))?,
            Runner::Cpu(memory, _) => Some(host_times(&mut memory.borrow_mut(), program, tail, batch)?),
        };
        let Some(round) = round else { return Ok(Vec::new()) };
        times.iter_mut().zip(round).for_each(|(times, time)| times.push(time));
    }
    let mut all: Vec<Kernels> = Vec::new();
    for (index, times) in steps.into_iter().zip(&times) {
        let of_device = model.resident().and_then(|resident| resident.kernel(index, batch));
        let kernel = of_device.unwrap_or_else(|| ops[index].kernel());
        let (name, ms) = (named(&kernel), median(times));
        let flops = Cost::of(&kernel, program).flops(batch);
        let bytes = bytes_of(&kernel, program, stored(model), batch);
        match all.iter_mut().find(|known| known.name == name) {
            Some(known) => {
                known.launches += 1;
                known.ms += ms;
                known.flops += flops;
                known.bytes += bytes;
            }
            None => all.push(Kernels { name, launches: 1, ms, flops, bytes }),
        }
    }
    all.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(all)
}

/// Milliseconds of every step on the host.
fn host_times(memory: &mut Memory, program: &Program, tail: TailId, batch: &Batch) -> Result<Vec<f64>> {
    memory.reserve(batch, "measuring")?;
    let mut time = |op: &dyn Op| {
        let start = now_ms();
        op.run(batch, memory);
        now_ms() - start
    };
    Ok(program.steps(tail).map(&mut time).collect())
}

/// A kernel and the columns that it reads and writes.
fn named(kernel: &Kernel) -> String {
    format!("{} {}", kernel.name, columns(kernel))
}

/// The columns that it reads and writes.
fn columns(kernel: &Kernel) -> String {
    let columns = |found: fn(&Operand) -> Option<&Buf>| kernel.operands.iter().find_map(found).map(|buf| buf.width);
    let reads = columns(|operand| if let Operand::Read(buf) = operand { Some(buf) } else { None });
    let writes = columns(|operand| if let Operand::Write(buf) = operand { Some(buf) } else { None });
    let column = |count: Option<usize>| count.map_or_else(String::new, |count| count.to_string());
    format!("{} → {}", column(reads), column(writes))
}

/// The least bytes that a step moves: every operand once, of tables the rows of the batch.
fn bytes_of(kernel: &Kernel, program: &Program, precision: Precision, batch: &Batch) -> f64 {
    let bytes = |(index, operand): (usize, &Operand)| match operand {
        // What is bound twice is read once.
        _ if kernel.operands[..index].contains(operand) => 0.0,
        Operand::Read(buf) | Operand::Write(buf) => (4 * buf.rows.of(batch) * buf.stride) as f64,
        Operand::Output => 4.0 * batch.texts() as f64 * f64::from(batch.pooling.dimensions),
        Operand::Weight(id) | Operand::Large(Large { weight: id, .. }) => {
            let weight = &program.weights[id.0];
            let bytes = weight.bytes(precision) as f64;
            match weight.layout {
                Layout::Table { rows, .. } => bytes * (batch.tokens() as f64 / rows as f64).min(1.0),
                _ => bytes,
            }
        }
    };
    kernel.operands.iter().enumerate().map(bytes).sum()
}

/// What the host does at most on all of its threads.
fn host_peaks() -> Peaks {
    const LOOPS: usize = 1 << 20;
    let threads = rayon::current_num_threads();
    let mut operations = 0;
    let seconds = best(|| {
        operations = (0..threads).into_par_iter().map(|_| black_box(chains(black_box(LOOPS))).1).sum();
    });
    let flops = operations as f64 / seconds;
    let (source, mut copy) = (vec![1.0f32; COPY_BYTES / 4], vec![0.0f32; COPY_BYTES / 4]);
    let block = COPY_BYTES / 4 / threads;
    let copied = best(|| {
        copy.par_chunks_mut(block).zip(source.par_chunks(block)).for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&copy);
    });
    Peaks { flops, bytes: 2.0 * COPY_BYTES as f64 / copied, launch: 0.0 }
}

/// Seconds at best: of many short runs one is left alone by the rest of the machine.
fn best(mut work: impl FnMut()) -> f64 {
    let mut seconds = || {
        let start = now_ms();
        work();
        (now_ms() - start) / 1e3
    };
    (0..30).map(|_| seconds()).fold(f64::INFINITY, f64::min)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Peaks { flops, bytes, launch } = self.peaks;
        let Self { device, threads, load, first, .. } = self;
        writeln!(f, "{device}, {threads} host threads; loaded in {load:.0} ms, first vector after {first:.0} ms")?;
        writeln!(f, "at most: {:.1} GFLOP/s, {:.1} GB/s, {:.1} µs a dispatch", flops / 1e9, bytes / 1e9, launch * 1e6)?;
        let mut rows =
            vec![["", "texts", "tokens", "ms", "lowest", "highest", "texts/s", "tokens/s"].map(String::from)];
        for Cell { name, texts, tokens, samples, .. } in &self.cells {
            let ms = median(samples);
            let lowest = samples.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = samples.iter().copied().fold(0.0, f64::max);
            let rates = [texts, tokens].map(|count| format!("{:.1}", 1e3 * *count as f64 / ms));
            let [texts, tokens] = [texts, tokens].map(usize::to_string);
            let [ms, lowest, highest] = [ms, lowest, highest].map(|ms| format!("{ms:.2}"));
            let [texts_rate, tokens_rate] = rates;
            rows.push([name.clone(), texts, tokens, ms, lowest, highest, texts_rate, tokens_rate]);
        }
        writeln!(f, "\n{}", table(&rows))?;
        for cell in self.cells.iter().filter(|cell| !cell.kernels.is_empty()) {
            let total: f64 = cell.kernels.iter().map(|kernels| kernels.ms).sum();
            let launches: usize = cell.kernels.iter().map(|kernels| kernels.launches).sum();
            let floor = 1e3 * (self.matrices / bytes + launches as f64 * launch);
            writeln!(
                f,
                "{}: a batch of {} tokens, {total:.2} ms in {launches} steps; reading the matrices and starting the steps \
                 would take {floor:.2} ms\n",
                cell.name, cell.batch
            )?;
            let mut rows =
                vec![["", "steps", "ms", "share", "GFLOP/s", "of peak", "GB/s", "of peak"].map(String::from)];
            for Kernels { name, launches, ms, flops: done, bytes: moved } in &cell.kernels {
                let [flop_rate, byte_rate] = [done, moved].map(|count| 1e3 * count / ms);
                let share = |part: f64| format!("{:.0} %", 100.0 * part);
                let giga = |rate: f64| format!("{:.1}", rate / 1e9);
                let (computes, of_flops) = match *done > 0.0 {
                    true => (giga(flop_rate), share(flop_rate / flops)),
                    false => Default::default(),
                };
                let (launches, moves, of_bytes) = (launches.to_string(), giga(byte_rate), share(byte_rate / bytes));
                let (ms, part) = (format!("{ms:.3}"), share(ms / total));
                rows.push([name.clone(), launches, ms, part, computes, of_flops, moves, of_bytes]);
            }
            writeln!(f, "{}", table(&rows))?;
        }
        let mut rows = vec![["search", "rows", "MB", "ms", "GB/s", "of peak"].map(String::from)];
        for Scan { precision, rows: count, bytes: read, ms } in &self.scans {
            let rate = 1e3 * read / ms;
            let [megabytes, ms, rate, share] = [read / 1e6, *ms, rate / 1e9, 100.0 * rate / bytes];
            let [megabytes, ms, rate] = [format!("{megabytes:.1}"), format!("{ms:.2}"), format!("{rate:.1}")];
            rows.push([(*precision).into(), count.to_string(), megabytes, ms, rate, format!("{share:.0} %")]);
        }
        if rows.len() > 1 {
            writeln!(f, "{}", table(&rows))?;
        }
        let mut rows = vec![["product", "rows", "fewer rows", "ms", "more rows", "ms", "chosen"].map(String::from)];
        for Tuned { shape, rows: count, ms, chosen } in &self.tuning {
            let [(fewer, fewer_ms), (more, more_ms)] = *ms;
            let [fewer_ms, more_ms] = [fewer_ms, more_ms].map(|ms| format!("{ms:.4}"));
            let (shape, chosen) = (shape.clone(), chosen.to_string());
            rows.push([shape, count.to_string(), fewer.into(), fewer_ms, more.into(), more_ms, chosen]);
        }
        if rows.len() > 1 { writeln!(f, "{}", table(&rows)) } else { Ok(()) }
    }
}

/// Rows as a Markdown table whose columns line up; the first row is the head.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(text, width)| format!(" {text:<width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = widths.map(|width| format!("{}|", "-".repeat(width + 2))).concat();
    let (head, rest) = rows.split_at(rows.len().min(1));
    let lines = |rows: &[[String; N]]| rows.iter().map(line).collect::<String>();
    format!("{}|{rule}\n{}", lines(head), lines(rest))
}
