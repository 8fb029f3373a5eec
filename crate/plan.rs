//! From the small files of a folder to everything that a model is but its weights, which then go through.

use std::cell::RefCell;
use std::sync::Arc;

use crate::encoder::Spec;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::model::{Device, Model, Parts};
use crate::ops::Sees;
use crate::packed::Packed;
use crate::program::{Precision, Program};
use crate::reader::Reader;
use crate::runner::{Runner, Target};
use crate::sentence::Sentence;
use crate::tails::{Tails, TaskHead};
use crate::task::{Function, Labels, MultiVector, Task, TermTable};
use crate::tokens::Tokens;

/// Tokens of the first batch, before anything was measured.
const FIRST_TOKENS: usize = 256;
/// Most tokens of a batch. Activations of a batch are bounded by [`ACTIVATION_BYTES`] too.
const MOST_TOKENS: usize = 8192;
/// A text with candidates beside it has room for the tokens of so many of the longest texts.
const CANDIDATES: usize = 8;
/// Most bytes of the activations on a GPU, and on the CPU, where they are wasm memory.
const ACTIVATION_BYTES: (usize, usize) = (96 << 20, 16 << 20);

/// A model whose program is recorded and whose weights are still to be read.
pub(crate) struct Plan {
    reader: Reader,
    target: Target,
    parts: Parts,
    packed: Option<Packed>,
}

impl Plan {
    /// See [`Loader::new`].
    pub fn new(
        folder: &Folder,
        architecture: &str,
        mut spec: Spec,
        device: Device,
        precision: Option<Precision>,
        task: Option<Task>,
    ) -> Result<Self> {
        let architecture = architecture.to_owned();
        let wanted = task.map_or_else(|| folder.task(), Ok)?;
        let mut sentence = folder.sentence(spec.hidden, wanted)?;
        match spec.steps.own_vectors() {
            Some(own) => folder.leave_vectors(own, &mut sentence)?,
            None => folder.require_states()?,
        }
        // No text goes beyond these, whatever a folder says. Where positions need no table the model has no limit of its own, or one that
        // no buffer could hold.
        let ours = if spec.names.positions.is_none() { MOST_TOKENS } else { usize::MAX };
        let most = ours.min(if spec.is_limited() { spec.tables.positions } else { usize::MAX });
        // sentence-transformers' own limit replaces that of the tokenizer, and of the model's where that is a mere number.
        let said = match folder.is_table()? {
            true => folder.truncation()?,
            false => sentence.max_seq_length.or(folder.model_max_length()?),
        };
        let own = sentence.max_seq_length.is_none().then_some(spec.tables.positions);
        let max_tokens = said.into_iter().chain(own).fold(most, usize::min);
        // Queries and documents may have limits of their own, beyond that of the tokenizer.
        let longest = sentence.multi.as_ref().and_then(MultiVector::longest);
        let longest = longest.map_or(max_tokens, |longest| longest.max(max_tokens).min(most));
        let head = head(folder, &spec, &sentence, wanted, task.is_some())?;
        let task = head.as_ref().map_or(Task::Embed, |head| head.task);
        let uni_encoder = task == Task::UniEncoder;
        let beside = folder.beside_tokenizer(sentence.lowercase)?;
        let mut tokens = Tokens::new(folder.tokenizer()?, max_tokens, &beside)?;
        if spec.tables.bare {
            tokens.bare();
        }
        // Where there is one type, a second could not be meant.
        if !tokens.gives_types().unwrap_or(!spec.tables.untyped) || spec.tables.types == 1 {
            tokens.without_types();
        }
        spec.tables.leading = spec.steps.leading(task);
        spec.tables.question_end = spec.steps.question_end(task);
        if uni_encoder {
            spec.layers.iter_mut().for_each(|layer| layer.sees = Sees::Both);
        }
        let expansion = sentence.multi.as_ref().and_then(|multi| multi.expansion.as_ref());
        if expansion.is_some_and(|expansion| !expansion.attend) && !spec.steps.computes_unattended() {
            return Err(Error::option("query_expansion attend", format!("false for {architecture}")));
        }
        if let Some(multi) = &sentence.multi {
            tokens.keep_whole(multi.prefixes.iter().map(String::as_str))?;
        }
        let pad = tokens.special_token("pad_token").and_then(|token| tokens.id(token));
        let usual = || ["[MASK]", "<mask>"].into_iter().find(|token| tokens.id(token).is_some());
        let mask_token = tokens.special_token("mask_token").or_else(usual).map(str::to_owned);
        if spec.names.positions.is_none() {
            // Rotations are computed, for no more positions than a text can have.
            spec.tables.positions = longest;
        }
        let mut program = Program::default();
        let term_table = match folder.table_route()? {
            Some((route, folder)) if matches!(wanted, Task::Sparse | Task::Fill) => {
                Some(TermTable::new(&route, &folder, longest, &mut program)?)
            }
            _ => None,
        };
        let tails = Tails::record(&spec, &mut program, &folder.weights()?, &sentence.head, head.as_ref());
        if let Some(shards) = folder.shards()? {
            shards.assign(&folder.weights()?, spec.prefixes, &mut program.weights)?;
        }
        let packed = folder.packed()?;
        if let Some(packed) = &packed {
            packed.assign(&folder.weights()?, spec.prefixes, &mut program.weights);
            program.hold_integers();
        }
        let on_gpu = matches!(device, Device::Gpu(_));
        let bytes = if on_gpu { ACTIVATION_BYTES.0 } else { ACTIVATION_BYTES.1 };
        // Always room for the longest text, and for a text with its candidates.
        let candidates = if uni_encoder { CANDIDATES * max_tokens } else { 0 };
        let budget = (bytes / program.plan().row_bytes()).max(candidates).min(MOST_TOKENS).max(longest);
        let program = Arc::new(program);
        let target = Target::new(device, &program, longest.max(candidates)..=budget, precision)?;
        let reader = Reader::new(&program.weights, spec.prefixes);
        let parts = Parts {
            architecture,
            spec,
            sentence,
            tokens,
            max_tokens,
            mask_token,
            pad,
            program,
            tails,
            head,
            term_table,
            budget,
        };
        Ok(Self { reader, target, parts, packed })
    }

    /// The weight files still to be read, in order.
    pub fn files(&self) -> &[String] {
        self.reader.files()
    }

    /// Starts a weight file; see [`Loader::begin`](crate::loader::Loader::begin).
    pub fn begin(&mut self, path: &str, sha256: Option<&str>, checked: bool) -> Result<()> {
        let known = self.packed.as_ref().filter(|_| !checked).and_then(|packed| packed.files.get(path));
        self.reader.begin(path, sha256.or(known.map(|sum| sum.sha256.as_str())))
    }

    /// Takes the next bytes of a weight file, in chunks of any size.
    pub fn push(&mut self, path: &str, chunk: &[u8]) -> Result<()> {
        self.reader.push(path, chunk, self.target.sink())
    }

    /// Ends a weight file; its length and hash must be right.
    pub fn end(&mut self, path: &str) -> Result<()> {
        self.reader.end(path)
    }

    /// Waits for what the device compiles.
    pub async fn compile(&mut self) -> Result<()> {
        if let Some(path) = self.reader.files().first() {
            return Err(Error::MissingFile { path: path.clone() });
        }
        self.target.compile().await
    }

    /// The model, once every file was read and the device has shown that it computes what the CPU computes.
    pub async fn finish(mut self) -> Result<Model> {
        self.compile().await?;
        let runner = self.target.finish(&self.parts.program).await?;
        let mut parts = self.parts;
        if let Runner::Gpu(resident) = &runner {
            parts.budget = resident.tokens();
        }
        let budget = RefCell::new(FIRST_TOKENS.min(parts.budget));
        let model = Model { parts, runner, budget };
        if let Some(packed) = &self.packed {
            model.reproduces(&packed.golden).await?;
        }
        Ok(model)
    }
}

/// The head to load for a task; an architecture may lack one that nobody `asked` for.
fn head(folder: &Folder, spec: &Spec, sentence: &Sentence, wanted: Task, asked: bool) -> Result<Option<TaskHead>> {
    let missing = || Error::option("task", format!("{} for this architecture", wanted.name()));
    match wanted {
        Task::Embed => return Ok(None),
        Task::Multi => {}
        _ if !spec.tasks.steps(wanted).is_empty() => {}
        _ if asked => return Err(missing()),
        _ => return Ok(None),
    }
    let config = folder.config()?;
    let labels = Labels::read(&config)?;
    if wanted == Task::Answer && labels.count() != 2 {
        return Err(Error::option("number of labels of an extractive head", labels.count()));
    }
    let function = |ranks| match wanted {
        // Candidates compete: the loss that it was trained with is over them.
        Task::UniEncoder => Ok(Function::Softmax),
        Task::Multi => Ok(Function::None),
        _ => Function::read(&config, folder.sentence_config()?.as_ref(), &labels, ranks),
    };
    let (function, ranking) = (function(sentence.cross_encoder)?, function(true)?);
    let multi = sentence.multi.clone().unwrap_or_default();
    Ok(Some(TaskHead { task: wanted, labels, function, ranking, lexical: sentence.lexical, multi }))
}
