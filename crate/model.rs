//! The stages in order: a folder becomes a [`Loader`], its weights a [`Model`], texts a [`Call`], a call vectors.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::batch::{PoolingParams, Sequence};
use crate::chunk::{self, Chunk, ChunkOptions, ChunkPooling, Overflow};
use crate::encoder::Spec;
use crate::error::{Error, Result};
use crate::gpu::{Adapter, Resident, SelfCheck};
use crate::head::Pooling;
use crate::job::{Call, Job};
pub use crate::loader::Loader;
use crate::program::{Precision, Program, TailId};
pub use crate::runner::Device;
use crate::runner::Runner;
use crate::sentence::Sentence;
use crate::tails::{Tails, TaskHead, pooling};
use crate::task::{HeadStep, Task, TermTable};
use crate::tokens::{Encoding, Tokens};

/// Tokens of a short text.
const SHORT: usize = 16;

/// What loader and model share.
pub(crate) struct Parts {
    pub(crate) architecture: String,
    pub(crate) spec: Spec,
    pub(crate) sentence: Sentence,
    pub(crate) tokens: Tokens,
    pub(crate) max_tokens: usize,
    /// The token that [`Task::Fill`] fills.
    pub(crate) mask_token: Option<String>,
    /// Id of the padding token.
    pub(crate) pad: Option<u32>,
    pub(crate) program: Arc<Program>,
    pub(crate) tails: Tails,
    pub(crate) head: Option<TaskHead>,
    /// Texts whose terms are weighed by a table.
    pub(crate) term_table: Option<TermTable>,
    /// Most tokens of a batch.
    pub(crate) budget: usize,
}

/// A text encoder, ready to use.
pub struct Model {
    pub(crate) parts: Parts,
    pub(crate) runner: Runner,
    /// Tokens of the next batch, from the time that the last one took.
    pub(crate) budget: RefCell<usize>,
}

/// What is known of a loaded model.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// `model_type`.
    pub architecture: String,
    /// Columns of a vector, unless [`EmbedOptions::dimensions`] says otherwise.
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
    /// Kernels launched for the vector of one short text; none on the CPU. On a GPU that is hardware a batch of many tokens may take two more
    /// a layer.
    pub dispatches: usize,
    /// What it was loaded for beside vectors.
    pub task: Task,
    /// The labels of its head.
    pub labels: Vec<String>,
    /// The token that stands for what is to be filled in.
    pub mask_token: Option<String>,
    /// Poolings, concatenated.
    pub pooling: Vec<&'static str>,
    /// Whether vectors are scaled to unit length.
    pub normalized: bool,
    /// `cosine`, `dot`, `euclidean` or `manhattan`; `maxsim` where a text has a vector a token.
    pub similarity: String,
    /// Prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt used where the caller names none.
    pub default_prompt_name: Option<String>,
    /// The names of its adapters.
    pub lora_adaptations: Vec<String>,
    /// The GPU's kernels against the CPU's.
    pub self_check: Option<SelfCheck>,
}

/// What kind of text is embedded, where a model distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Looks for documents.
    Query,
    /// Is looked for.
    Document,
}

/// Options of one embedding call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Run only the first so many layers (2D Matryoshka).
    pub layers: Option<usize>,
    /// The name of the adapter to use. Default: the plain encoder.
    pub task: Option<String>,
    /// Divides attention scores: below 1, vectors of long texts keep farther apart (arXiv 2410.24200). Default: 1.
    pub attention_temperature: Option<f32>,
    /// What becomes of a text that is too long.
    pub overflow: Overflow,
    /// How vectors of chunks become one, with [`Overflow::Chunk`]. Default: the mean.
    pub chunk_pooling: Option<ChunkPooling>,
    /// How texts are cut into chunks, with [`Overflow::Chunk`].
    pub chunk: Option<ChunkOptions>,
}

/// One name or several.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Names {
    /// `"mean"`
    One(String),
    /// `["cls", "mean"]`
    Several(Vec<String>),
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(Self::One(name)),
            names => Vec::deserialize(names).map(Self::Several).map_err(D::Error::custom),
        }
    }
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
    /// `[texts, dimensions]`, or a row for each of a text's `tokens` where [`EmbedOptions::tokens`] asks for that, or for each
    /// of its `chunks` with [`ChunkPooling::None`].
    pub data: Vec<f32>,
    /// Columns.
    pub dimensions: usize,
    /// Tokens of each text that were read, special tokens included: of all its chunks where it has several.
    pub tokens: Vec<u32>,
    /// Whether tokens were cut off.
    pub truncated: Vec<bool>,
    /// Of each text, what its rows are of, where [`EmbedOptions::tokens`] asks for them. Offsets are in the text without its
    /// prompt, whose tokens have (0, 0).
    pub encodings: Vec<Encoding>,
    /// Of each text, its chunks, with [`Overflow::Chunk`].
    pub chunks: Vec<Vec<Chunk>>,
}

impl Model {
    /// What runs its batches, where that is a GPU.
    pub fn resident(&self) -> Option<&Resident> {
        match &self.runner {
            Runner::Gpu(resident) => Some(resident),
            Runner::Cpu(..) => None,
        }
    }

    /// What is known of the model.
    pub fn info(&self) -> Info {
        let Parts { spec, sentence, program, .. } = &self.parts;
        let head = &sentence.head;
        let precision = self.precision();
        let (device, adapter, reason, self_check, dispatches) = match &self.runner {
            Runner::Gpu(gpu) => {
                let dispatches = gpu.dispatches(self.parts.vectors(), SHORT);
                ("gpu", Some(gpu.gpu().adapter().clone()), None, Some(gpu.self_check()), dispatches)
            }
            Runner::Cpu(_, reason) => ("cpu", None, reason.clone(), None, 0),
        };
        Info {
            architecture: self.parts.architecture.clone(),
            dimensions: self.parts.cut(head.dimensions(spec.hidden)),
            max_tokens: self.parts.max_tokens,
            layers: spec.layers.len(),
            device,
            adapter,
            reason,
            precision: precision.name(),
            weight_bytes: program.weight_bytes(precision),
            dispatches,
            task: self.task(),
            labels: match &self.parts.head {
                Some(TaskHead { task: Task::Classify | Task::Tag, labels, .. }) => labels.0.clone(),
                _ => Vec::new(),
            },
            mask_token: self.parts.mask_token.clone(),
            pooling: head.pooling.iter().map(|pooling| pooling.name()).collect(),
            normalized: head.normalize,
            similarity: sentence.similarity.clone(),
            prompts: sentence.prompts.clone(),
            default_prompt_name: sentence.default_prompt_name.clone(),
            lora_adaptations: spec.steps.adapters().to_vec(),
            self_check,
        }
    }

    /// How its matrices are stored.
    pub(crate) fn precision(&self) -> Precision {
        match &self.runner {
            Runner::Gpu(gpu) => gpu.precision(),
            Runner::Cpu(memory, _) => memory.borrow().precision(),
        }
    }

    /// Tokenizes a text, cut to the limit.
    pub fn tokenize(&self, text: &str) -> Result<Encoding> {
        self.parts.tokens.encode(text)
    }

    /// The strings of the vocabulary by their ids.
    pub fn vocabulary(&self) -> Vec<Option<String>> {
        let tokens = &self.parts.tokens;
        (0..tokens.vocab() as u32).map(|id| tokens.token(id)).collect()
    }

    /// The prompt by the rules of sentence-transformers: an explicit one, then one by name, then one by kind,
    /// then the model's default.
    pub(crate) fn prompt<'a>(
        &'a self,
        prompt: Option<&'a str>,
        name: Option<&str>,
        kind: Option<Kind>,
    ) -> Result<&'a str> {
        let prompts = &self.parts.sentence.prompts;
        if let Some(prompt) = prompt {
            return Ok(prompt);
        }
        if let Some(name) = name {
            let known: Vec<&str> = prompts.keys().map(String::as_str).collect();
            let unknown =
                || Error::argument(format!("promptName \"{name}\" is not one of the model's prompts: {known:?}"));
            return prompts.get(name).map(String::as_str).ok_or_else(unknown);
        }
        // sentence-transformers gives every model an empty "query" and "document" prompt unless it has its own.
        let name = match kind {
            Some(Kind::Query) => Some("query"),
            Some(Kind::Document) => Some("document"),
            None => self.parts.sentence.default_prompt_name.as_deref(),
        };
        Ok(name.and_then(|name| prompts.get(name)).map_or("", String::as_str))
    }

    pub(crate) fn pooling(&self, options: &EmbedOptions) -> Result<PoolingParams> {
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
        let dimensions = options.dimensions.unwrap_or_else(|| self.parts.cut(width));
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
            temperature: options.attention_temperature,
            adapter: options.task.as_deref().map(|name| self.adapter(name)).transpose()?,
        })
    }

    fn adapter(&self, name: &str) -> Result<u32> {
        let names = self.parts.spec.steps.adapters();
        let unknown = || Error::argument(format!("task \"{name}\" is not one of the model's adapters: {names:?}"));
        names.iter().position(|known| known == name).map(|index| index as u32).ok_or_else(unknown)
    }

    /// The prompt of an embedding.
    pub(crate) fn prompt_of<'a>(&'a self, options: &'a EmbedOptions) -> Result<&'a str> {
        self.prompt(options.prompt.as_deref(), options.prompt_name.as_deref(), options.kind)
    }

    /// Embeds texts.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S], options: &EmbedOptions) -> Result<Call<Embeddings>> {
        let prompt = self.prompt_of(options)?;
        let mut pooling = self.pooling(options)?;
        let in_chunks = options.overflow == Overflow::Chunk;
        if options.tokens
            && (options.pooling.is_some() || options.dimensions.is_some() || options.normalize.is_some() || in_chunks)
        {
            return Err(Error::argument("tokens: true takes no pooling, dimensions, normalize or chunks"));
        }
        if !in_chunks && (options.chunk.is_some() || options.chunk_pooling.is_some()) {
            return Err(Error::argument("chunk and chunkPooling are for overflow \"chunk\""));
        }
        let all = self.parts.spec.layers.len();
        let layers = options.layers.unwrap_or(all);
        if layers == 0 || layers > all {
            return Err(Error::argument(format!("layers must be 1 to {all}, not {layers}")));
        }
        if let Some(temperature) = options.attention_temperature {
            if !(0.01..=100.0).contains(&temperature) {
                return Err(Error::argument(format!("attentionTemperature must be 0.01 to 100, not {temperature}")));
            }
            if !self.parts.program.all_ops().any(|op| op.kernel().name.ends_with("attention")) {
                return Err(Error::option("attentionTemperature", "of an encoder without attention"));
            }
        }
        let (mut sequences, embeddings) = self.read(texts, prompt, options)?;
        if !options.tokens {
            self.pool_behind(prompt, &mut sequences, options.pooling.is_none(), &pooling)?;
        }
        let how = options.chunk_pooling.unwrap_or_default();
        let (dimensions, normalize) = (pooling.dimensions, pooling.norm_dimensions > 0);
        let pooled = in_chunks && how != ChunkPooling::None;
        if pooled && normalize {
            // The cut comes behind the length, and that behind the pooling.
            pooling.dimensions = pooling.norm_dimensions;
        }
        let tails = if options.tokens { &self.parts.tails.states } else { &self.parts.tails.vectors };
        let job = Job::new(self, sequences, tails[layers - 1], pooling)?;
        Ok(Call::new(job, move |_, rows| {
            if pooled {
                let data = chunk::pool(&rows, &embeddings.chunks, how, normalize, dimensions as usize);
                return Ok(Embeddings { data, dimensions: dimensions as usize, ..embeddings });
            }
            Ok(Embeddings { data: rows.data, dimensions: rows.width, ..embeddings })
        }))
    }

    /// Readies texts behind a prompt for pooling; with `own`, for that of the model's own vectors.
    pub(crate) fn pool_behind(
        &self,
        prompt: &str,
        sequences: &mut [Sequence],
        own: bool,
        pooling: &PoolingParams,
    ) -> Result<()> {
        let pool_from = match self.parts.sentence.head.include_prompt || prompt.is_empty() {
            true => 0,
            false => self.parts.tokens.prompt_tokens(prompt)? as u32,
        };
        for sequence in sequences {
            if let Some(end) = self.parts.sentence.end.filter(|_| own) {
                end.cut(&mut sequence.ids);
                sequence.type_ids.resize(sequence.ids.len(), 0);
            }
            sequence.pool_from = pool_from.min(sequence.ids.len() as u32);
            if sequence.pools_nothing() && pooling.modes.contains(&(Pooling::Max as u32)) {
                return Err(Error::argument("a text is all prompt, which leaves nothing for max pooling"));
            }
        }
        Ok(())
    }

    /// What the model reads of texts, and all of their embeddings but the vectors.
    fn read<S: AsRef<str>>(
        &self,
        texts: &[S],
        prompt: &str,
        options: &EmbedOptions,
    ) -> Result<(Vec<Sequence>, Embeddings)> {
        let (tokens, limit) = (&self.parts.tokens, self.parts.max_tokens);
        let (mut sequences, mut embeddings) = (Vec::with_capacity(texts.len()), Embeddings::default());
        for (text, index) in texts.iter().map(AsRef::as_ref).zip(0..) {
            if options.overflow == Overflow::Chunk {
                let chunks = self.chunks(text, prompt, &options.chunk.clone().unwrap_or_default())?;
                let (chunks, parts): (Vec<Chunk>, Vec<_>) = chunks.into_iter().unzip();
                embeddings.truncated.push(false);
                embeddings.tokens.push(chunks.iter().map(|chunk| chunk.tokens).sum());
                embeddings.chunks.push(chunks);
                sequences.extend(parts);
                continue;
            }
            let encoding = tokens.encode_behind(prompt, text, limit)?;
            if encoding.truncated && options.overflow == Overflow::Error {
                let tokens = tokens.encode_behind(prompt, text, usize::MAX)?.ids.len();
                return Err(Error::TextTooLong { text: index, tokens, limit });
            }
            embeddings.truncated.push(encoding.truncated);
            embeddings.tokens.push(encoding.ids.len() as u32);
            sequences.push(Sequence::from(&encoding));
            if options.tokens {
                embeddings.encodings.push(encoding);
            }
        }
        Ok((sequences, embeddings))
    }

    /// What it was loaded for.
    pub(crate) fn task(&self) -> Task {
        self.parts.head.as_ref().map_or(Task::Embed, |head| head.task)
    }

    /// The head of a task, where the model was loaded with it.
    pub(crate) fn head(&self, task: Task) -> Result<&TaskHead> {
        let head = self.parts.head.as_ref().filter(|_| self.parts.tails.head(task).is_some());
        head.ok_or_else(|| Error::NoHead { task: task.name(), loaded: self.task().name() })
    }

    /// What a task's head makes of these sequences.
    pub(crate) fn head_job(&self, task: Task, mut sequences: Vec<Sequence>) -> Result<Job> {
        let head = self.head(task)?;
        if let [HeadStep::LastBut(id), ..] = self.parts.spec.tasks.steps(task) {
            for sequence in &mut sequences {
                sequence.picks = vec![sequence.ids.iter().rposition(|other| other != id).unwrap_or(0) as u32];
            }
        }
        let tail = self.parts.tails.head(task).ok_or(Error::NoHead { task: task.name(), loaded: head.task.name() })?;
        let modes = pooling(self.parts.spec.tasks.steps(task)).into_iter().map(|mode| mode as u32).collect();
        Job::new(self, sequences, tail, PoolingParams { modes, ..PoolingParams::default() })
    }
}

impl Parts {
    /// Columns of a vector of `width` where the caller does not say.
    fn cut(&self, width: usize) -> usize {
        self.sentence.truncate_dim.map_or(width, |cut| cut.min(width))
    }

    /// The tail that gives the last layer's output.
    pub(crate) fn states(&self) -> TailId {
        self.tails.states[self.tails.states.len() - 1]
    }

    /// The tail that makes vectors of the last layer's output.
    pub(crate) fn vectors(&self) -> TailId {
        self.tails.vectors[self.tails.vectors.len() - 1]
    }
}
