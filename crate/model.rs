//! The stages in order: a folder becomes a [`Loader`], its weights a [`Model`], texts a [`Job`], a job vectors.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::arch;
use crate::batch::{Batch, PoolingParams, Sequence, fitting};
use crate::cpu::Memory;
use crate::encoder::Spec;
use crate::error::{Error, Result};
use crate::folder::{Folder, Sentence};
use crate::gpu::{Adapter, Gpu, Resident, SelfCheck, Upload};
use crate::head::Pooling;
use crate::platform::now_ms;
use crate::program::{Precision, Program};
use crate::tokens::{Encoding, Tokens};
use crate::weights::{Reader, Sink};

/// Batches are sized so that one takes about this long: short enough for progress, abort, and a driver's
/// watchdog, long enough to be worth a submit.
const BATCH_MS: f64 = 100.0;
/// Tokens of the first batch, before anything was measured.
const FIRST_TOKENS: usize = 256;
/// Fewest tokens of a batch, however slow the device: below two tiles of a product most of the work is wasted.
const LEAST_TOKENS: usize = 64;
/// Most tokens of a batch. Activations of a batch are bounded by [`ACTIVATION_BYTES`] too.
const MOST_TOKENS: usize = 8192;
/// Most bytes of the activations on a GPU, and on the CPU, where they are wasm memory.
const ACTIVATION_BYTES: (usize, usize) = (96 << 20, 16 << 20);
/// How far the norm of a normalised vector may be from one.
const NORM_TOLERANCE: f32 = 1e-3;

/// Where a model is to run.
pub enum Device {
    /// On this GPU.
    Gpu(Arc<Gpu>),
    /// On the host; the reason, where a GPU would have been preferred.
    Cpu(Option<String>),
}

/// A model whose weights are still to be read.
pub struct Loader {
    reader: Reader,
    target: Target,
    parts: Parts,
}

enum Target {
    Gpu(Box<Upload>),
    Cpu(Box<Memory>, Option<String>),
}

/// What loader and model share.
struct Parts {
    architecture: String,
    spec: Spec,
    sentence: Sentence,
    tokens: Tokens,
    max_tokens: usize,
    program: Arc<Program>,
    budget: usize,
}

impl Loader {
    /// Plans a model for a device. `precision` none keeps the checkpoint's own type.
    pub fn new(folder: &Folder, device: Device, precision: Option<Precision>) -> Result<Self> {
        let config = folder.config()?;
        let architecture = config.text_or("model_type", "")?.to_owned();
        let mut spec = arch::spec(&config)?;
        let sentence = folder.sentence(spec.hidden)?;
        // Where positions need no table the model has no limit of its own, or one that no buffer could hold.
        let ours = spec.names.positions.is_none().then_some(MOST_TOKENS);
        let limits = [sentence.max_seq_length, folder.model_max_length()?, Some(spec.tables.positions), ours];
        let max_tokens = limits.into_iter().flatten().min().unwrap_or(spec.tables.positions);
        let tokens = Tokens::new(folder.tokenizer()?, max_tokens, sentence.lowercase, folder.truncates_left()?)?;
        if spec.names.positions.is_none() {
            // Rotations are computed, for no more positions than a text can have.
            spec.tables.positions = max_tokens;
        }
        let mut program = Program::default();
        let last = spec.record(&mut program, &folder.weights()?);
        sentence.head.record(&mut program, last);
        program.states = Some(last);
        if let Some(shards) = folder.shards()? {
            shards.assign(&folder.weights()?, spec.prefixes, &mut program.weights)?;
        }
        let on_gpu = matches!(device, Device::Gpu(_));
        let bytes = if on_gpu { ACTIVATION_BYTES.0 } else { ACTIVATION_BYTES.1 };
        // Always room for the longest text.
        let budget = (bytes / program.plan().row_bytes()).min(MOST_TOKENS).max(max_tokens);
        let program = Arc::new(program);
        let target = match device {
            Device::Gpu(gpu) => Target::Gpu(Box::new(Upload::new(gpu, program.clone(), budget, precision))),
            Device::Cpu(reason) => {
                let memory = Memory::new(&program, precision.unwrap_or(Precision::F32))?;
                Target::Cpu(Box::new(memory), reason)
            }
        };
        let reader = Reader::new(&program.weights, spec.prefixes);
        let parts = Parts { architecture, spec, sentence, tokens, max_tokens, program, budget };
        Ok(Self { reader, target, parts })
    }

    /// The weight files still to be read, in order.
    pub fn files(&self) -> &[String] {
        self.reader.files()
    }

    /// Starts a weight file; see [`Reader::begin`].
    pub fn begin(&mut self, path: &str, sha256: Option<&str>) -> Result<()> {
        self.reader.begin(path, sha256)
    }

    /// Takes the next bytes of the weight file, in chunks of any size.
    pub fn push(&mut self, chunk: &[u8]) -> Result<()> {
        let sink: &mut dyn Sink = match &mut self.target {
            Target::Gpu(upload) => upload.as_mut(),
            Target::Cpu(memory, _) => memory.as_mut(),
        };
        self.reader.push(chunk, sink)
    }

    /// Ends the weight file; its length and hash must be right.
    pub fn end(&mut self) -> Result<()> {
        self.reader.end()
    }

    /// The model, once every file was read and the device has shown that it computes what the CPU computes.
    pub async fn finish(self) -> Result<Model> {
        if let Some(path) = self.reader.files().first() {
            return Err(Error::MissingFile { path: path.clone() });
        }
        let runner = match self.target {
            Target::Gpu(upload) => Runner::Gpu(upload.finish().await?),
            Target::Cpu(mut memory, reason) => {
                memory.setup(&self.parts.program)?;
                Runner::Cpu(RefCell::new(*memory), reason)
            }
        };
        let budget = RefCell::new(FIRST_TOKENS.min(self.parts.budget));
        Ok(Model { parts: self.parts, runner, budget })
    }
}

/// A text encoder, ready to use.
pub struct Model {
    parts: Parts,
    runner: Runner,
    /// Tokens of the next batch, from the time that the last one took.
    budget: RefCell<usize>,
}

enum Runner {
    Gpu(Resident),
    Cpu(RefCell<Memory>, Option<String>),
}

/// What is known of a loaded model.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// `model_type`.
    pub architecture: String,
    /// Columns of a vector.
    pub dimensions: usize,
    /// Most tokens of a text, special tokens included.
    pub max_tokens: usize,
    /// Encoder layers.
    pub layers: usize,
    /// `gpu` or `cpu`.
    pub device: &'static str,
    /// The GPU in use.
    pub adapter: Option<Adapter>,
    /// Why no GPU is in use although one would have been preferred.
    pub reason: Option<String>,
    /// How matrices are stored; arithmetic is f32 always.
    pub precision: &'static str,
    /// Bytes of the parameters on the device.
    pub weight_bytes: u64,
    /// Kernels launched a batch; none on the CPU.
    pub dispatches: usize,
    /// Poolings, concatenated.
    pub pooling: Vec<&'static str>,
    /// Whether vectors are scaled to unit length.
    pub normalized: bool,
    /// `cosine`, `dot`, `euclidean` or `manhattan`.
    pub similarity: String,
    /// Prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt used where the caller names none.
    pub default_prompt_name: Option<String>,
    /// The GPU's kernels against the CPU's.
    pub self_check: Option<SelfCheck>,
}

/// What kind of text is embedded, where a model distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Looks for documents.
    Query,
    /// Is looked for.
    Document,
}

/// Options of one embedding call.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct EmbedOptions {
    /// Text put in front of each text.
    pub prompt: Option<String>,
    /// The name of one of the model's prompts.
    pub prompt_name: Option<String>,
    /// Chooses among the model's prompts by purpose.
    pub kind: Option<Kind>,
    /// Keep only this many leading columns (Matryoshka).
    pub dimensions: Option<usize>,
    /// `true` scales the vectors, after the cut, to unit length; `false` never does. Absent: as the model says,
    /// before the cut, which is what sentence-transformers does with `truncate_dim`.
    pub normalize: Option<bool>,
    /// Poolings to use instead of the model's: a name, or several to concatenate.
    pub pooling: Option<Names>,
    /// The last hidden state of every token instead of a vector a text: no pooling and nothing behind it.
    pub tokens: bool,
}

/// One name or several.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// `"mean"`
    One(String),
    /// `["cls", "mean"]`
    Several(Vec<String>),
}

impl Names {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// Vectors of some texts, in the order of the texts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embeddings {
    /// `[texts, dimensions]`, or a row for each of a text's `tokens` where [`EmbedOptions::tokens`] asks for that.
    pub data: Vec<f32>,
    /// Columns.
    pub dimensions: usize,
    /// Tokens of each text, special tokens included, after truncation.
    pub tokens: Vec<u32>,
    /// Whether tokens were cut off.
    pub truncated: Vec<bool>,
}

impl Model {
    /// What is known of the model.
    pub fn info(&self) -> Info {
        let Parts { spec, sentence, program, .. } = &self.parts;
        let head = &sentence.head;
        let (device, adapter, reason, precision, self_check) = match &self.runner {
            Runner::Gpu(gpu) => {
                ("gpu", Some(gpu.gpu().adapter().clone()), None, gpu.precision(), Some(gpu.self_check()))
            }
            Runner::Cpu(_, reason) => ("cpu", None, reason.clone(), Precision::F32, None),
        };
        Info {
            architecture: self.parts.architecture.clone(),
            dimensions: head.dimensions(spec.hidden),
            max_tokens: self.parts.max_tokens,
            layers: spec.layers.len(),
            device,
            adapter,
            reason,
            precision: if precision == Precision::F16 { "f16" } else { "f32" },
            weight_bytes: program.weight_bytes(precision),
            dispatches: if device == "gpu" { program.ops.len() } else { 0 },
            pooling: head.pooling.iter().map(|pooling| pooling.name()).collect(),
            normalized: head.normalize,
            similarity: sentence.similarity.clone(),
            prompts: sentence.prompts.clone(),
            default_prompt_name: sentence.default_prompt_name.clone(),
            self_check,
        }
    }

    /// Tokenizes a text, cut to the limit.
    pub fn tokenize(&self, text: &str) -> Result<Encoding> {
        self.parts.tokens.encode(text)
    }

    /// The prompt by the rules of sentence-transformers: an explicit one, then one by name, then one by kind,
    /// then the model's default.
    fn prompt<'a>(&'a self, options: &'a EmbedOptions) -> Result<&'a str> {
        let prompts = &self.parts.sentence.prompts;
        if let Some(prompt) = &options.prompt {
            return Ok(prompt);
        }
        if let Some(name) = &options.prompt_name {
            let known: Vec<&str> = prompts.keys().map(String::as_str).collect();
            let unknown =
                || Error::argument(format!("promptName \"{name}\" is not one of the model's prompts: {known:?}"));
            return prompts.get(name).map(String::as_str).ok_or_else(unknown);
        }
        // sentence-transformers gives every model an empty "query" and "document" prompt unless it has its own.
        let name = match options.kind {
            Some(Kind::Query) => Some("query"),
            Some(Kind::Document) => Some("document"),
            None => self.parts.sentence.default_prompt_name.as_deref(),
        };
        Ok(name.and_then(|name| prompts.get(name)).map_or("", String::as_str))
    }

    fn pooling(&self, options: &EmbedOptions) -> Result<PoolingParams> {
        let Parts { spec, sentence, .. } = &self.parts;
        let mut head = sentence.head.clone();
        if let Some(names) = &options.pooling {
            let parse = |name: &String| {
                Pooling::parse(name).ok_or_else(|| {
                    let reason = "cls, max, mean, mean_sqrt_len_tokens, weightedmean and lasttoken are";
                    Error::argument(format!("pooling \"{name}\" does not exist: {reason}"))
                })
            };
            let modes = names.as_slice().iter().map(parse).collect::<Result<Vec<_>>>()?;
            if modes.is_empty() || !Pooling::distinct(&modes) {
                return Err(Error::argument("pooling needs at least one name, and none twice"));
            }
            if !head.dense.is_empty() && modes.len() != head.pooling.len() {
                let reason = format!("pooling must name {}: the model's projection takes as many", head.pooling.len());
                return Err(Error::argument(reason));
            }
            head.pooling = modes;
        }
        let width = head.dimensions(spec.hidden);
        let dimensions = options.dimensions.or(sentence.truncate_dim.map(|cut| cut.min(width))).unwrap_or(width);
        if dimensions == 0 || dimensions > width {
            return Err(Error::argument(format!("dimensions must be 1 to {width}, not {dimensions}")));
        }
        let norm_dimensions = match options.normalize {
            Some(true) => dimensions,
            Some(false) => 0,
            None if head.normalize => width,
            None => 0,
        };
        Ok(PoolingParams {
            modes: head.pooling.iter().map(|pooling| *pooling as u32).collect(),
            dimensions: dimensions as u32,
            norm_dimensions: norm_dimensions as u32,
        })
    }

    /// Tokenizes texts and prepares their embedding.
    pub fn job<S: AsRef<str>>(&self, texts: &[S], options: &EmbedOptions) -> Result<Job> {
        let prompt = self.prompt(options)?;
        let pooling = self.pooling(options)?;
        if options.tokens && (options.pooling.is_some() || options.dimensions.is_some() || options.normalize.is_some())
        {
            return Err(Error::argument("tokens: true takes no pooling, dimensions or normalize"));
        }
        let pool_from = match self.parts.sentence.head.include_prompt || prompt.is_empty() {
            true => 0,
            false => self.parts.tokens.prompt_tokens(prompt)?,
        };
        let mut sequences = Vec::with_capacity(texts.len());
        let dimensions = if options.tokens { self.parts.spec.hidden } else { pooling.dimensions as usize };
        let mut embeddings = Embeddings { dimensions, ..Embeddings::default() };
        for text in texts {
            let encoding = match prompt {
                "" => self.tokenize(text.as_ref())?,
                prompt => self.tokenize(&format!("{prompt}{}", text.as_ref()))?,
            };
            embeddings.truncated.push(encoding.truncated);
            let mut sequence = Sequence::from(encoding);
            self.parts.spec.tables.check(&sequence)?;
            sequence.pool_from = pool_from.min(sequence.ids.len()) as u32;
            if !options.tokens && sequence.pools_nothing() && pooling.modes.contains(&(Pooling::Max as u32)) {
                return Err(Error::argument("a text is all prompt, which leaves nothing for max pooling"));
            }
            embeddings.tokens.push(sequence.ids.len() as u32);
            sequences.push(sequence);
        }
        let mut rows = Vec::with_capacity(texts.len() + 1);
        rows.push(0);
        for sequence in &sequences {
            let last: usize = rows.last().copied().unwrap_or_default();
            rows.push(last + if options.tokens { sequence.ids.len() } else { 1 });
        }
        let total = rows.last().copied().unwrap_or_default();
        embeddings.data.resize(total * embeddings.dimensions, 0.0);
        // Longest first: the first batch shows the worst time, and neighbours have similar lengths.
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(sequences[*index].ids.len()));
        Ok(Job { sequences, order, done: 0, pooling, rows, tokens: options.tokens, embeddings })
    }

    /// Runs a job to its end.
    pub async fn embed<S: AsRef<str>>(&self, texts: &[S], options: &EmbedOptions) -> Result<Embeddings> {
        let mut job = self.job(texts, options)?;
        while job.done() < job.total() {
            job.step(self).await?;
        }
        job.finish()
    }
}

/// One embedding call, run a packed batch at a time, so that its caller can report progress, stop, or let
/// others have their turn in between.
pub struct Job {
    sequences: Vec<Sequence>,
    /// Indices of `sequences`, longest first.
    order: Vec<usize>,
    done: usize,
    pooling: PoolingParams,
    /// First row of each text in `embeddings`, and one past the last.
    rows: Vec<usize>,
    /// Whether states are read back, not vectors.
    tokens: bool,
    embeddings: Embeddings,
}

impl Job {
    /// Texts finished.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Texts in all.
    pub fn total(&self) -> usize {
        self.order.len()
    }

    /// Columns of the vectors.
    pub fn dimensions(&self) -> usize {
        self.embeddings.dimensions
    }

    /// Runs one batch.
    pub async fn step(&mut self, model: &Model) -> Result<()> {
        let rest = &self.order[self.done..];
        if rest.is_empty() {
            return Ok(());
        }
        let budget = *model.budget.borrow();
        let count = fitting(rest.iter().map(|index| &self.sequences[*index]), budget);
        let texts = &rest[..count];
        let sequences = texts.iter().map(|index| &self.sequences[*index]);
        let batch = Batch::pack(sequences, &model.parts.spec.tables, &self.pooling);
        let start = now_ms();
        let program = &model.parts.program;
        let values = match (&model.runner, self.tokens) {
            (Runner::Gpu(resident), false) => resident.run(&batch).await?,
            (Runner::Gpu(resident), true) => resident.states(&batch).await?,
            (Runner::Cpu(memory, _), false) => memory.borrow_mut().run(program, &batch)?,
            (Runner::Cpu(memory, _), true) => memory.borrow_mut().states(program, &batch)?,
        };
        let elapsed = (now_ms() - start).max(1.0);
        // A full batch tells how large the next should be; halving and doubling keep one odd time harmless.
        if 2 * batch.tokens() > budget {
            let ideal = batch.tokens() as f64 * BATCH_MS / elapsed;
            let next = (ideal as usize).clamp(budget / 2, budget * 2);
            let next = next.clamp(LEAST_TOKENS.min(model.parts.budget), model.parts.budget);
            *model.budget.borrow_mut() = next;
        }
        let dimensions = self.dimensions();
        let mut rest = values.as_slice();
        for &text in texts {
            let place = self.rows[text] * dimensions..self.rows[text + 1] * dimensions;
            let (own, next) = rest.split_at(place.len());
            rest = next;
            finite(own, text)?;
            if !self.tokens {
                unit_length(own, text, &self.sequences[text], &self.pooling)?;
            }
            self.embeddings.data[place].copy_from_slice(own);
        }
        self.done += count;
        Ok(())
    }

    /// The vectors, once every text is done.
    pub fn finish(self) -> Result<Embeddings> {
        match self.done == self.order.len() {
            true => Ok(self.embeddings),
            false => Err(Error::argument("the job is not complete")),
        }
    }
}

/// Refuses what no right computation gives. A device that fails like this passed its self-check, so the
/// texts or the weights are to blame, or the device changed its mind.
fn finite(values: &[f32], text: usize) -> Result<()> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(Error::NonFinite { text, reason: "NaN or infinity".into() }),
    }
}

/// As [`finite`], for vectors that were normalised.
fn unit_length(vector: &[f32], text: usize, sequence: &Sequence, pooling: &PoolingParams) -> Result<()> {
    if pooling.norm_dimensions == pooling.dimensions && !sequence.pools_nothing() {
        let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        if (norm - 1.0).abs() > NORM_TOLERANCE {
            return Err(Error::NonFinite { text, reason: format!("its length is {norm}, not 1") });
        }
    }
    Ok(())
}
