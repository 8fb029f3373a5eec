//! Makes a model folder small: its matrices and tables in integers of a few bits, everything else as it was. What comes out is
//! still a Hugging Face folder; docs/format.md describes it.

mod checkpoint;
mod loss;
mod rounding;
mod sparsity;
mod vocabulary;

use std::cell::RefMut;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use safetensors::Dtype as TensorType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::batch::Batch;
use crate::cpu::Memory;
use crate::error::{Error, Result};
use crate::folder::{Folder, INDEX};
use crate::model::{Device, EmbedOptions, Embeddings, Model};
use crate::native;
use crate::packed::{FILE, Golden, Packing, SCALES, Sum, VERSION, ZEROS};
use crate::program::{Buf, Large, Op, Operand, Precision, Rows, WeightId};
use crate::reader::place;
use crate::runner::Runner;
use crate::sparsity::Sparsity;
use crate::task::Task;
use crate::weights::{Layout, Part, Rounding, Weight};

use checkpoint::{Checkpoint, Stored};
pub use loss::Loss;
use rounding::{Inputs, Metric, Rounded, round};
pub use vocabulary::Pruned;

/// Texts that calibrate and measure where there is no file of such: those of the demo page, in English.
const SAMPLE: &str = include_str!("../../web/sample.json");
/// Most texts that calibrate, and most that measure.
const TEXTS: usize = 2000;
/// Least elements of a tensor that is worth scales.
const LEAST: usize = 1024;
/// Tokens of a batch of the calibration.
const TOKENS: usize = 1024;
/// Most tokens of the calibration.
const MOST_TOKENS: usize = 16_384;
/// Texts whose vectors the folder must give wherever it is loaded: words, other scripts and signs, and a longer one.
const GOLDEN: [&str; 3] = [
    "Where can I see the northern lights?",
    "Crème brûlée for 2: 東京, Москва & naïve café - 12.5 %!",
    "A bicycle chain that skips under load is usually worn. Measure it over twelve links, and replace it before it wears the \
     sprockets, which cost more than the chain does.",
];

/// How small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Halves.
    F16,
    /// Eight bits a value.
    Q8,
    /// Six bits a value of a matrix, five of the token table.
    Q6,
    /// Five bits a value of a matrix, four of the token table: a matrix is met by every token in every layer, a row of the table
    /// once, and that is what it costs.
    Q4,
    /// The smallest that keeps [`Options::agreement`].
    Auto,
}

/// What to make, and of what.
#[derive(Debug, Clone)]
pub struct Options {
    /// How small.
    pub dtype: Dtype,
    /// For [`Dtype::Auto`]: the least share of each text's ten nearest others that stay among the ten.
    pub agreement: f64,
    /// Texts like those that the model will read. Every other one calibrates; the rest measure.
    pub calibration: Option<Vec<String>>,
    /// Texts whose tokens are kept, where others are to go.
    pub prune_vocab: Option<Vec<String>>,
    /// What the model is loaded for, if not what its folder says: tensors of other heads are left out.
    pub task: Option<Task>,
    /// Where the model comes from, for people: a name and perhaps a revision.
    pub source: Option<(String, Option<String>)>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How small; never [`Dtype::Auto`].
    pub dtype: Dtype,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the weights before, in the files that were packed.
    pub bytes_before: u64,
    /// What it cost.
    pub loss: Loss,
    /// Tensors of the checkpoint that nothing here uses and that were left out.
    pub left_out: Vec<String>,
    /// What became of the vocabulary, where it was pruned.
    pub pruned: Option<Pruned>,
}

/// Packs the model in `from` into `to`, which must be empty or not there. `say` gets what is being done.
pub fn pack(from: &Path, to: &Path, options: &Options, say: &mut dyn FnMut(&str)) -> Result<Report> {
    if std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::argument(format!("{} is not empty", to.display())));
    }
    let (calibrating, measuring) = texts(options.calibration.as_deref())?;
    let load = |dir: &Path| native::load(dir, Device::Cpu(None), Some(Precision::F32), options.task, &mut |_, _| {});
    let size = |path: &String| std::fs::metadata(from.join(path)).map_or(0, |metadata| metadata.len());
    let bytes_before = weight_files(&native::folder(from)?)?.iter().map(size).sum();
    say("vectors of the original");
    let expected = embed(&load(from)?, &measuring)?;
    let scratch = Scratch::new();
    let (from, pruned) = match &options.prune_vocab {
        None => (from, None),
        Some(texts) => {
            say("the vocabulary");
            (scratch.0.as_path(), Some(vocabulary::prune(from, &scratch.0, texts, options.task)?))
        }
    };
    let candidates = match options.dtype {
        Dtype::Auto => vec![Dtype::Q4, Dtype::Q6, Dtype::Q8, Dtype::F16],
        dtype => vec![dtype],
    };
    let mut last = None;
    for dtype in candidates {
        // Rounding changes the parameters of the model it works on, so that each has its own.
        let model = load(from)?;
        let mut packer = Packer::new(from, &model, dtype)?;
        if dtype != Dtype::F16 {
            packer.round_tables(say)?;
            packer.round_matrices(&calibrating, say)?;
        }
        // What is measured is what was written, read again.
        packer.write(to, options, None)?;
        say("vectors of what was packed");
        let packed = load(to)?;
        let found = embed(&packed, &measuring)?;
        let loss = Loss::new(&found.data, &expected.data, found.dimensions);
        let golden = GOLDEN.map(str::to_owned);
        let vectors = embed(&packed, &golden)?;
        let golden = golden.into_iter().zip(vectors.data.chunks_exact(vectors.dimensions).map(<[f32]>::to_vec));
        let golden = golden.map(|(text, vector)| Golden { text, vector }).collect();
        let bytes = packer.write(to, options, Some((loss, golden)))?;
        let left_out = packer.left_out();
        let report = Report { dtype, bytes, bytes_before, loss, left_out, pruned };
        if options.dtype != Dtype::Auto || loss.top10_agreement >= options.agreement {
            return Ok(report);
        }
        say(&format!("{} keeps {:.3} of the ten nearest, fewer than asked for", dtype.name(), loss.top10_agreement));
        last = Some(report);
    }
    last.ok_or_else(|| Error::argument("there is nothing to try"))
}

/// A folder that is gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("embedlet-pruned-{}-{count}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is there only where something was pruned.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Texts that calibrate, and texts that measure.
fn texts(given: Option<&[String]>) -> Result<(Vec<String>, Vec<String>)> {
    let sample = || -> Result<Vec<String>> {
        let sample: Vec<BTreeMap<String, String>> =
            serde_json::from_str(SAMPLE).map_err(|error| Error::file("sample.json", error))?;
        Ok(sample.into_iter().flat_map(|passage| passage.into_values().rev()).collect())
    };
    let all = given.map_or_else(sample, |texts| Ok(texts.to_vec()))?;
    let half = |odd: usize| -> Vec<String> { all.iter().skip(odd).step_by(2).take(TEXTS).cloned().collect() };
    let (calibrating, measuring) = (half(0), half(1));
    match measuring.len() < 12 {
        true => Err(Error::argument("the calibration needs at least 24 texts: half of them measure ten neighbours")),
        false => Ok((calibrating, measuring)),
    }
}

fn embed(model: &Model, texts: &[String]) -> Result<Embeddings> {
    pollster::block_on(model.embed(texts, &EmbedOptions::default())?.run(model))
}

impl Dtype {
    /// As options and files write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q6 => "q6",
            Self::Q4 => "q4",
            Self::Auto => "auto",
        }
    }

    /// Bits, columns of a group, and whether there are zero points.
    fn scheme(self, kind: Kind) -> (u32, usize, bool) {
        match (self, kind) {
            (Self::Q4, Kind::Matrix) => (5, 128, false),
            (Self::Q4, Kind::Tokens) => (4, 64, true),
            (Self::Q4, Kind::Table) => (5, 128, false),
            (Self::Q6, Kind::Matrix) => (6, 64, false),
            (Self::Q6, Kind::Tokens) => (5, 64, true),
            _ => (8, 384, false),
        }
    }
}

/// What a tensor is to the encoder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Matrix,
    /// The table of the tokens, the largest.
    Tokens,
    /// Another table.
    Table,
}

/// A model being packed.
struct Packer<'a> {
    from: &'a Path,
    model: &'a Model,
    dtype: Dtype,
    folder: Folder,
    checkpoint: Checkpoint,
    /// Of each parameter that is in the checkpoint, its parts with their names.
    parts: Vec<Vec<(Part, String)>>,
    rounded: BTreeMap<String, (Packing, Rounded)>,
}

impl<'a> Packer<'a> {
    fn new(from: &'a Path, model: &'a Model, dtype: Dtype) -> Result<Self> {
        let folder = native::folder(from)?;
        if folder.packed()?.is_some() {
            return Err(Error::argument("the model is packed already: pack the original"));
        }
        let files = weight_files(&folder)?;
        let checkpoint = Checkpoint::read(from, &files)?;
        let weights = &model.parts.program.weights;
        let of_files = |weight: &Weight| -> Vec<Part> {
            weight.parts.iter().filter(|part| files.contains(&part.file)).cloned().collect()
        };
        let parts: Vec<Vec<Part>> = weights.iter().map(of_files).collect();
        let prefix = checkpoint::prefix_of(model.parts.spec.prefixes, parts.iter().flatten(), &checkpoint);
        let named = |part: Part| Some((part.full_name(prefix), part)).filter(|(name, _)| checkpoint.has(name));
        let named = |part: Part| named(part).map(|(name, part)| (part, name));
        let parts = parts.into_iter().map(|parts| parts.into_iter().filter_map(named).collect()).collect();
        Ok(Self { from, model, dtype, folder, checkpoint, parts, rounded: BTreeMap::new() })
    }

    /// The packing of a tensor; none where it is no matrix or too small to be worth scales.
    fn packing(&self, name: &str, kind: Kind) -> Option<Packing> {
        let [rows, columns] = self.checkpoint.shape(name)? else { return None };
        let (rows, columns) = (*rows, *columns);
        let (bits, group, zeros) = self.dtype.scheme(kind);
        let sparsity = match kind {
            Kind::Matrix => sparsity::of(&self.checkpoint.values(name).ok()?, rows, columns, bits as usize),
            Kind::Tokens | Kind::Table => Sparsity::None,
        };
        let packing = Packing { rows, columns, bits, group: group.min(columns), zeros, sparsity };
        (rows * columns >= LEAST).then_some(packing)
    }

    /// Rounds the tables, each value for itself: nothing tells what a row of one is multiplied by.
    fn round_tables(&mut self, say: &mut dyn FnMut(&str)) -> Result<()> {
        let program = &self.model.parts.program;
        let is_table = |weight: &Weight| {
            matches!(weight.layout, Layout::Table { .. })
                && weight.rounding == Rounding::Allowed
                && weight.computed.is_none()
        };
        let tables = program.weights.iter().zip(&self.parts).filter(|(weight, _)| is_table(weight));
        let names: Vec<String> = tables.flat_map(|(_, parts)| parts).map(|(_, name)| name.clone()).collect();
        let rows = |name: &String| self.checkpoint.shape(name).map_or(0, |shape| shape[0]);
        let most = names.iter().map(rows).max();
        for name in &names {
            if self.rounded.contains_key(name) {
                continue;
            }
            let kind = if Some(rows(name)) == most { Kind::Tokens } else { Kind::Table };
            let Some(packing) = self.packing(name, kind) else { continue };
            say(name);
            let rounded = round(&self.checkpoint.values(name)?, &packing, &Metric::plain(packing.columns));
            self.rounded.insert(name.clone(), (packing, rounded));
            self.install(name)?;
        }
        memory(self.model)?.setup(program)
    }

    /// Rounds the matrices that tokens are multiplied by, in the order in which they are, each with what the ones in front of it,
    /// rounded, give it.
    fn round_matrices(&mut self, texts: &[String], say: &mut dyn FnMut(&str)) -> Result<()> {
        let program = &self.model.parts.program;
        let steps: Vec<_> = program.steps(self.model.parts.vectors()).collect();
        let products: Vec<Option<(Buf, WeightId)>> = steps.iter().map(|op| product(*op)).collect();
        let mut run = Run::new(self.model, texts)?;
        for (step, (_, id)) in products.iter().enumerate().filter_map(|(step, product)| Some((step, (*product)?))) {
            let weight = &program.weights[id.0];
            let Layout::Linear { inputs, .. } = weight.layout else { continue };
            let names: Vec<String> = self.parts[id.0].iter().map(|(_, name)| name.clone()).collect();
            let packings: Option<Vec<Packing>> = names.iter().map(|name| self.packing(name, Kind::Matrix)).collect();
            let rounded_before = names.iter().any(|name| self.rounded.contains_key(name));
            let Some(packings) = packings.filter(|_| weight.rounding == Rounding::Allowed && !rounded_before) else {
                continue;
            };
            say(&names.join(", "));
            let places: Vec<usize> = (0..inputs.size()).map(|column| inputs.place(column)).collect();
            // Layers may share it.
            let uses = products
                .iter()
                .enumerate()
                .skip(step)
                .filter(|(_, product)| product.is_some_and(|(_, other)| other == id));
            let uses: Vec<(usize, Buf)> = uses.filter_map(|(step, product)| Some((step, (*product)?.0))).collect();
            let mut seen = Inputs::new(places.len());
            run.look(&steps, &uses, &mut |x, rows| seen.add(rows, x.stride, &places))?;
            let metric = seen.metric();
            for (name, packing) in names.iter().zip(packings) {
                let rounded = round(&self.checkpoint.values(name)?, &packing, &metric);
                self.rounded.insert(name.clone(), (packing, rounded));
            }
            names.iter().try_for_each(|name| self.install(name))?;
        }
        Ok(())
    }

    /// The values of a tensor as a reader will see them.
    fn values(&self, name: &str) -> Result<Vec<f32>> {
        match self.rounded.get(name) {
            Some((packing, rounded)) => Ok(packing.values(&rounded.integers, &rounded.scales, &rounded.zeros)),
            None => self.checkpoint.values(name),
        }
    }

    /// Gives the model the values of a tensor, for what is calibrated behind it.
    fn install(&self, name: &str) -> Result<()> {
        for (index, parts) in self.parts.iter().enumerate() {
            let weight = &self.model.parts.program.weights[index];
            if weight.computed.is_some() || !parts.iter().any(|(_, other)| other == name) {
                continue;
            }
            let mut whole = vec![0.0; weight.layout.elements()];
            for (part, name) in parts {
                let values = self.values(name)?;
                place(weight.layout, part.at, values.len() / part.rows, &values, &mut whole);
            }
            memory(self.model)?.load(WeightId(index), 0, &whole);
        }
        Ok(())
    }

    /// The names of tensors that are kept, in the order of use.
    fn used(&self) -> Vec<&str> {
        let mut used: Vec<&str> = Vec::new();
        for (_, name) in self.parts.iter().flatten() {
            if !used.contains(&name.as_str()) {
                used.push(name);
            }
        }
        used
    }

    fn left_out(&self) -> Vec<String> {
        let used = self.used();
        self.checkpoint.names().filter(|name| !used.contains(name)).map(str::to_owned).collect()
    }

    /// Writes the folder. Returns its size.
    fn write(&self, to: &Path, options: &Options, found: Option<(Loss, Vec<Golden>)>) -> Result<u64> {
        let mut stored = Vec::new();
        let mut tensors = serde_json::Map::new();
        for name in self.used() {
            let Some((packing, rounded)) = self.rounded.get(name) else {
                // Frequencies make angles of thousands of turns.
                let computed = |weight: &Weight| weight.computed.is_some() || weight.rounding == Rounding::Never;
                let weights = self.model.parts.program.weights.iter().zip(&self.parts);
                let exact = weights.filter(|(weight, _)| computed(weight)).flat_map(|(_, parts)| parts);
                let exact = exact.into_iter().any(|(_, other)| other == name);
                stored.push(self.checkpoint.stored(name, !exact)?);
                continue;
            };
            let Packing { rows, columns, bits, group, zeros, sparsity } = *packing;
            let bytes = |name: &str, dtype, rows, columns, data| Stored {
                name: name.into(),
                dtype,
                shape: vec![rows, columns],
                data,
            };
            // A reader needs what scales values before it sees them.
            let groups = packing.groups();
            stored.push(bytes(&format!("{name}{SCALES}"), TensorType::F16, rows, groups, rounded.scales.clone()));
            if zeros {
                stored.push(bytes(&format!("{name}{ZEROS}"), TensorType::U8, rows, groups, rounded.zeros.clone()));
            }
            let data = packing.bytes(&rounded.integers);
            stored.push(bytes(name, TensorType::U8, packing.stored_rows(), packing.row_bytes(), data));
            let mut entry = json!({ "shape": [rows, columns], "bits": bits, "group": group, "zeros": zeros });
            if let Some(some) = sparsity::written(sparsity) {
                entry["stored"] = some;
            }
            tensors.insert(name.into(), entry);
        }
        let mut files = other_files(self.from, &self.folder, self.model, &self.checkpoint.files)?;
        files.insert(self.folder.weights()?, checkpoint::serialize(&stored));
        let sums: serde_json::Map<String, Value> = files
            .iter()
            .map(|(path, bytes)| (path.clone(), Sum::of(bytes)))
            .map(|(path, sum)| (path, json!({ "bytes": sum.bytes, "sha256": sum.sha256 })))
            .collect();
        let (loss, golden) = found.map_or((None, Vec::new()), |(loss, golden)| (Some(loss), golden));
        let golden: Vec<Value> =
            golden.iter().map(|golden| json!({ "text": golden.text, "vector": golden.vector })).collect();
        let about = json!({
            "embedlet": VERSION,
            "dtype": self.dtype.name(),
            "source": options.source.as_ref().map(|(name, revision)| json!({ "name": name, "revision": revision })),
            "loss": loss,
            "tensors": tensors,
            "golden": golden,
            "files": sums,
        });
        files.insert(FILE.into(), format!("{about}\n").into_bytes());
        write_files(to, &files)?;
        Ok(files.values().map(|bytes| bytes.len() as u64).sum())
    }
}

/// Texts for calibration on their way through the steps of a model, all of them side by side, so that each step runs once.
struct Run<'a> {
    model: &'a Model,
    /// With the activations of each.
    batches: Vec<(Batch, Vec<Vec<f32>>)>,
    /// Steps that ran.
    done: usize,
}

impl<'a> Run<'a> {
    fn new(model: &'a Model, texts: &[String]) -> Result<Self> {
        let mut batches = model.embed(texts, &EmbedOptions::default())?.job().batches(model, TOKENS);
        // Longest first: of many, every so-many-th shows all lengths.
        let all: usize = batches.iter().map(Batch::tokens).sum();
        let every = all.div_ceil(MOST_TOKENS).max(1);
        batches = batches.into_iter().step_by(every).collect();
        let before = memory(model)?.activations().clone();
        Ok(Self { model, batches: batches.into_iter().map(|batch| (batch, before.clone())).collect(), done: 0 })
    }

    /// Runs what is in front of the first of some steps, and shows what each of these reads.
    fn look(&mut self, steps: &[&dyn Op], reads: &[(usize, Buf)], show: &mut dyn FnMut(Buf, &[f32])) -> Result<()> {
        let Some(&(first, x)) = reads.first() else { return Ok(()) };
        let mut memory = memory(self.model)?;
        for (batch, activations) in &mut self.batches {
            std::mem::swap(memory.activations(), activations);
            memory.reserve(batch, "calibrating")?;
            steps[self.done..first].iter().for_each(|op| op.run(batch, &mut memory));
            show(x, &memory.read(x)[..x.rows.of(batch) * x.stride]);
            if let Some((last, _)) = reads[1..].last() {
                // The others see what its values of now make; they are changed before anything goes on.
                let kept = memory.activations().clone();
                for (step, op) in steps.iter().enumerate().take(last + 1).skip(first) {
                    if let Some((_, x)) = reads[1..].iter().find(|(read, _)| *read == step) {
                        show(*x, &memory.read(*x)[..x.rows.of(batch) * x.stride]);
                    }
                    op.run(batch, &mut memory);
                }
                *memory.activations() = kept;
            }
            std::mem::swap(memory.activations(), activations);
        }
        self.done = first;
        Ok(())
    }
}

/// The parameters and activations of a model on the CPU.
fn memory(model: &Model) -> Result<RefMut<'_, Memory>> {
    match &model.runner {
        Runner::Cpu(memory, _) => Ok(memory.borrow_mut()),
        Runner::Gpu(_) => Err(Error::argument("packing works on the CPU")),
    }
}

/// What is in a folder beside the files of its encoder: the small files, those of modules behind it, and what people read.
fn other_files(from: &Path, folder: &Folder, model: &Model, own: &[String]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut paths: Vec<&str> = folder.present().filter(|path| !path.ends_with(INDEX)).collect();
    let parts = model.parts.program.weights.iter().flat_map(|weight| &weight.parts);
    paths.extend(parts.map(|part| part.file.as_str()).filter(|file| !own.iter().any(|own| own == file)));
    paths
        .extend(["LICENSE", "LICENSE.txt", "NOTICE", "README.md"].into_iter().filter(|name| from.join(name).is_file()));
    paths.into_iter().map(|path| Ok((path.to_owned(), read(from, path)?))).collect()
}

/// The files that hold the encoder.
fn weight_files(folder: &Folder) -> Result<Vec<String>> {
    folder.shards()?.map_or_else(|| Ok(vec![folder.weights()?]), |shards| Ok(shards.files()))
}

fn write_files(to: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    for (path, bytes) in files {
        let path = to.join(path);
        let write = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&path, bytes)
        };
        write().map_err(|error| Error::file(path.display().to_string(), error))?;
    }
    Ok(())
}

fn read(from: &Path, path: &str) -> Result<Vec<u8>> {
    std::fs::read(from.join(path)).map_err(|error| Error::file(path, error))
}

/// What a step multiplies, and by which parameter, where that is a matrix that meets every token.
fn product(op: &dyn Op) -> Option<(Buf, WeightId)> {
    let kernel = op.kernel();
    match kernel.operands[..] {
        [Operand::Read(x), Operand::Large(Large { weight, .. }), ..] if x.rows == Rows::Tokens => Some((x, weight)),
        _ => None,
    }
}
