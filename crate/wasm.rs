//! The crate as the npm package sees it: five classes, strings and typed arrays, no logic.
//!
//! Errors are JavaScript `Error`s with the `code` of [`Error::code`]. One device is kept for all models.

mod collection;
#[cfg(target_feature = "atomics")]
mod threads;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Float32Array, Object, Reflect, Uint8Array, Uint32Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::chunk::{Chunk, ChunkPooling};
use crate::error::Error;
use crate::gpu::{Budget, Gpu, Tuner, Tuning};
use crate::job::{Call, Ragged};
use crate::model::{self, Device, EmbedOptions, Embeddings};
use crate::program::Precision;
use crate::task::{
    AnswerOptions, ClassifyOptions, Example, ExplainOptions, FillOptions, Input, MultiOptions, MultiVectors,
    RerankOptions, SparseOptions, TagOptions, Task, TrainedHead, ZeroShotOptions,
};
use crate::tokens::Encoding;
use crate::train::TrainOptions;

thread_local! {
    static GPU: RefCell<Option<Arc<Gpu>>> = const { RefCell::new(None) };
}

fn thrown(error: Error) -> JsValue {
    let js = js_sys::Error::new(&error.to_string());
    // A fresh error object takes any field.
    let _ = Reflect::set(&js, &"code".into(), &error.code().into());
    if let Some(text) = error.text() {
        let _ = Reflect::set(&js, &"text".into(), &(text as f64).into());
    }
    js.into()
}

fn argument(error: impl ToString) -> JsValue {
    thrown(Error::argument(error.to_string()))
}

fn json(value: &impl Serialize) -> Result<String, JsValue> {
    text_of(value).map_err(thrown)
}

fn text_of(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::argument(error.to_string()))
}

/// Opens the device, or takes the one that is open and not lost.
async fn open() -> Result<Arc<Gpu>, Error> {
    let open = GPU.with_borrow(|gpu| gpu.clone().filter(|gpu| gpu.alive()));
    if let Some(gpu) = open {
        return Ok(gpu);
    }
    let gpu = Gpu::open().await?;
    GPU.set(Some(gpu.clone()));
    Ok(gpu)
}

/// The small files of a model folder.
#[wasm_bindgen]
#[derive(Default)]
pub struct Folder(crate::folder::Folder);

#[wasm_bindgen]
impl Folder {
    /// A folder of which nothing is known yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Paths still wanted.
    pub fn wanted(&self) -> Result<Vec<String>, JsValue> {
        self.0.wanted().map_err(thrown)
    }

    /// Gives a file, or says that there is none.
    pub fn put(&mut self, path: &str, bytes: Option<Vec<u8>>) -> Result<(), JsValue> {
        self.0.put(path, bytes).map_err(thrown)
    }

    /// Where the weights are, if in one file.
    pub fn weights(&self) -> Result<Option<String>, JsValue> {
        let single = self.0.shards().map_err(thrown)?.is_none();
        single.then(|| self.0.weights()).transpose().map_err(thrown)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadOptions {
    device: DeviceOption,
    /// `auto`, or that of a [`Precision`].
    precision: String,
    /// Why WebGPU is not to be used although `auto` was asked for.
    reason: Option<String>,
    /// What the model is loaded for; none: as the folder says.
    task: Option<Task>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum DeviceOption {
    Auto,
    Webgpu,
    Wasm,
}

/// A model being loaded.
#[wasm_bindgen]
pub struct Loader(model::Loader);

#[wasm_bindgen]
impl Loader {
    /// Opens the device and plans the model; `options` is a plain object.
    pub async fn create(folder: Folder, options: JsValue) -> Result<Loader, JsValue> {
        let text = js_sys::JSON::stringify(&options)?.as_string().unwrap_or_default();
        let options: LoadOptions = serde_json::from_str(&text).map_err(argument)?;
        let precision = Precision::parse(&options.precision);
        let device = match options.device {
            DeviceOption::Auto if precision == Some(Precision::Int8) => {
                Device::Cpu(Some("device auto leaves precision int8 to the CPU".into()))
            }
            DeviceOption::Wasm => Device::Cpu(options.reason),
            DeviceOption::Webgpu => Device::Gpu(open().await.map_err(thrown)?),
            DeviceOption::Auto => match open().await {
                Ok(gpu) if gpu.adapter().software => Device::Cpu(Some(gpu.adapter().no_hardware())),
                Ok(gpu) => Device::Gpu(gpu),
                Err(error) => Device::Cpu(Some(error.to_string())),
            },
        };
        if precision.is_none() && options.precision != "auto" {
            return Err(thrown(Error::option("precision", options.precision)));
        }
        model::Loader::new(&folder.0, device, precision, options.task).map(Self).map_err(thrown)
    }

    /// The weight files still to be read.
    pub fn files(&self) -> Vec<String> {
        self.0.files().to_vec()
    }

    /// Starts a weight file, which must have this hash where there is one, and that of a packed folder unless it was checked before.
    pub fn begin(&mut self, path: &str, sha256: Option<String>, checked: bool) -> Result<(), JsValue> {
        self.0.begin(path, sha256.as_deref(), checked).map_err(thrown)
    }

    /// Takes the next bytes of a weight file.
    pub fn push(&mut self, path: &str, chunk: &[u8]) -> Result<(), JsValue> {
        self.0.push(path, chunk).map_err(thrown)
    }

    /// Ends a weight file.
    pub fn end(&mut self, path: &str) -> Result<(), JsValue> {
        self.0.end(path).map_err(thrown)
    }

    /// Waits for what the device compiles, once every file was read.
    pub async fn compile(&mut self) -> Result<(), JsValue> {
        self.0.compile().await.map_err(thrown)
    }

    /// The model, checked.
    pub async fn finish(self) -> Result<Model, JsValue> {
        Ok(Model(Rc::new(self.0.finish().await.map_err(thrown)?), RefCell::default()))
    }
}

/// A text encoder, and what chooses its kernels.
#[wasm_bindgen]
pub struct Model(Rc<model::Model>, RefCell<Option<Tuner>>);

#[derive(Serialize)]
struct Tokenized {
    ids: Vec<u32>,
    tokens: Vec<String>,
    offsets: Vec<(usize, usize)>,
    truncated: bool,
}

impl Tokenized {
    fn new(text: &str, encoding: Encoding) -> Self {
        let units = Units::new(text);
        let offsets = encoding.offsets.iter().map(|(start, end)| (units.at(*start), units.at(*end))).collect();
        let Encoding { ids, tokens, truncated, .. } = encoding;
        Self { ids, tokens, offsets, truncated }
    }
}

#[wasm_bindgen]
impl Model {
    /// [`model::Info`] as JSON, with the devices' names in JavaScript.
    pub fn info(&self) -> Result<String, JsValue> {
        let mut info = self.0.info();
        info.device = if info.device == "gpu" { "webgpu" } else { "wasm" };
        json(&info)
    }

    /// Ids, token strings and offsets of a text as JSON; offsets count UTF-16 units, as JavaScript does.
    pub fn tokenize(&self, text: &str) -> Result<String, JsValue> {
        json(&Tokenized::new(text, self.0.tokenize(text).map_err(thrown)?))
    }

    /// Tokenizes texts and prepares their embedding; `options` is [`EmbedOptions`] as JSON.
    pub fn embed(&self, texts: Vec<String>, options: &str) -> Result<Job, JsValue> {
        let options: EmbedOptions = serde_json::from_str(options).map_err(argument)?;
        let call = self.0.embed(&texts, &options).map_err(thrown)?;
        let call = call.map(move |embeddings| Vectors::new(&texts, embeddings, &options).map(Made::Vectors));
        Ok(Job { call, model: self.0.clone() })
    }

    /// Prepares a call of another task; `request` is a [`Request`] as JSON, `head` the file of a trained head.
    pub fn ask(&self, request: &str, head: Option<Vec<u8>>) -> Result<Job, JsValue> {
        let request: Request = serde_json::from_str(request).map_err(argument)?;
        let call = request.call(&self.0, &head.unwrap_or_default()).map_err(thrown)?;
        Ok(Job { call, model: self.0.clone() })
    }

    /// Prepares the comparison of texts of so many vectors each; the first are queries. Gives a row for each other.
    #[wasm_bindgen(js_name = maxSim)]
    pub fn max_sim(&self, data: Vec<f32>, dimensions: usize, counts: &[u32], queries: usize) -> Result<Job, JsValue> {
        let texts = Ragged::new(data, dimensions, counts);
        let call = texts.and_then(|texts| self.0.max_sim(texts, queries)).map_err(thrown)?;
        let made = |scores: Ragged| {
            let (data, dimensions) = (scores.data, scores.width);
            Ok(Made::Vectors(Vectors { data, dimensions, ..Vectors::default() }))
        };
        Ok(Job { call: call.map(made), model: self.0.clone() })
    }

    /// Takes the choice of kernels that was kept, if any: a text that may be anything. Tells whether there is something to [`tune`](Self::tune).
    #[wasm_bindgen(js_name = takeTuning)]
    pub fn take_tuning(&self, kept: Option<String>) -> bool {
        let Some(resident) = self.0.resident() else { return false };
        resident.tune(&Tuning::read(&kept.unwrap_or_default()));
        *self.1.borrow_mut() = Tuner::new(resident, Budget::default());
        self.1.borrow().is_some()
    }

    /// Measures kernels for some milliseconds and chooses among them. Tells whether there is more to do.
    pub async fn tune(&self) -> Result<bool, JsValue> {
        let (Some(resident), Some(mut tuner)) = (self.0.resident(), self.1.take()) else { return Ok(false) };
        let more = tuner.slice(resident).await.map_err(thrown)?;
        *self.1.borrow_mut() = more.then_some(tuner);
        Ok(more)
    }

    /// What is chosen, as a text to keep in place of the one that is kept.
    pub fn tuning(&self, kept: Option<String>) -> String {
        let tuning = self.0.resident().map(|resident| resident.tuning()).unwrap_or_default();
        tuning.keep(Tuning::read(&kept.unwrap_or_default()))
    }

    /// The strings of the vocabulary by their ids, as JSON; null where an id has none.
    pub fn vocabulary(&self) -> Result<String, JsValue> {
        json(&self.0.vocabulary())
    }
}

/// One call.
#[wasm_bindgen]
pub struct Job {
    call: Call<Made>,
    model: Rc<model::Model>,
}

/// What a call makes.
enum Made {
    Vectors(Vectors),
    Head(TrainedHead),
    Json(String),
}

/// Vectors of texts, of which each has one unless there are `counts`.
#[derive(Default)]
struct Vectors {
    data: Vec<f32>,
    dimensions: usize,
    tokens: Vec<u32>,
    truncated: Vec<bool>,
    counts: Option<Vec<u32>>,
    /// What they are of, as JSON.
    details: Option<String>,
}

impl Vectors {
    fn new(texts: &[String], embeddings: Embeddings, options: &EmbedOptions) -> Result<Self, Error> {
        let Embeddings { data, dimensions, tokens, truncated, encodings, chunks } = embeddings;
        let mut vectors = Self { data, dimensions, tokens, truncated, ..Self::default() };
        if options.tokens {
            let texts = texts.iter().zip(encodings).map(|(text, encoding)| Tokenized::new(text, encoding));
            vectors.counts = Some(vectors.tokens.clone());
            vectors.details = Some(text_of(&texts.collect::<Vec<_>>())?);
        } else if options.chunk_pooling == Some(ChunkPooling::None) {
            vectors.counts = Some(chunks.iter().map(|chunks| chunks.len() as u32).collect());
            let texts = texts.iter().zip(&chunks).map(|(text, chunks)| places(text, chunks));
            vectors.details = Some(text_of(&texts.collect::<Vec<_>>())?);
        }
        Ok(vectors)
    }

    fn of_texts(texts: &[MultiVectors]) -> Self {
        Self {
            data: texts.iter().flat_map(|text| text.data.iter().copied()).collect(),
            dimensions: texts.first().map_or(0, |text| text.dimensions),
            tokens: texts.iter().map(|text| text.tokens).collect(),
            truncated: texts.iter().map(|text| text.truncated).collect(),
            counts: Some(texts.iter().map(|text| text.rows().count() as u32).collect()),
            details: None,
        }
    }
}

#[wasm_bindgen]
impl Job {
    /// Runs one packed batch.
    pub async fn step(&mut self) -> Result<(), JsValue> {
        self.call.job().step(&self.model).await.map_err(thrown)
    }

    /// Texts finished.
    #[wasm_bindgen(getter)]
    pub fn done(&mut self) -> usize {
        self.call.job().done()
    }

    /// Texts in all.
    #[wasm_bindgen(getter)]
    pub fn total(&mut self) -> usize {
        self.call.job().total()
    }

    /// `{ data, dimensions, tokens, truncated }` of vectors, with `counts` where a text has several and `details` where it is
    /// said what they are of, or `{ json }`, with the file of a trained head as `head`.
    pub fn finish(self) -> Result<Object, JsValue> {
        let object = Object::new();
        let set = |name: &str, value: JsValue| Reflect::set(&object, &name.into(), &value).map(|_| ());
        match self.call.finish(&self.model).map_err(thrown)? {
            Made::Vectors(vectors) => {
                let truncated: Vec<u8> = vectors.truncated.iter().map(|cut| u8::from(*cut)).collect();
                set("data", Float32Array::from(vectors.data.as_slice()).into())?;
                set("dimensions", vectors.dimensions.into())?;
                set("tokens", Uint32Array::from(vectors.tokens.as_slice()).into())?;
                set("truncated", Uint8Array::from(truncated.as_slice()).into())?;
                if let Some(counts) = vectors.counts {
                    set("counts", Uint32Array::from(counts.as_slice()).into())?;
                }
                if let Some(details) = vectors.details {
                    set("details", details.into())?;
                }
            }
            Made::Head(head) => {
                set("json", json(&head.about)?.into())?;
                set("head", Uint8Array::from(head.save().map_err(thrown)?.as_slice()).into())?;
            }
            Made::Json(text) => set("json", text.into())?,
        }
        Ok(object)
    }
}

/// A call of a task, `{"<task>": {…}}`. Offsets in the results count UTF-16 units, as JavaScript does.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Request {
    Classify { inputs: Vec<Input>, options: ClassifyOptions },
    ZeroShot { texts: Vec<String>, options: ZeroShotOptions },
    Rerank { query: String, documents: Vec<String>, options: RerankOptions },
    Tag { texts: Vec<String>, options: TagOptions },
    Answer { inputs: Vec<Input>, options: AnswerOptions },
    Fill { texts: Vec<String>, options: FillOptions },
    Sparse { texts: Vec<String>, options: SparseOptions },
    Multi { texts: Vec<String>, options: MultiOptions },
    TrainHead { examples: Vec<Example>, options: TrainOptions, embed: EmbedOptions },
    LoadHead {},
    ClassifyBy { texts: Vec<String>, options: ClassifyOptions },
    Chunk { text: String, options: EmbedOptions },
    Explain { text: String, options: ExplainOptions },
}

impl Request {
    fn call(self, model: &model::Model, head: &[u8]) -> Result<Call<Made>, Error> {
        fn as_json<T: Serialize + 'static>(call: Call<T>) -> Call<Made> {
            call.map(|made| text_of(&made).map(Made::Json))
        }
        Ok(match self {
            Self::Classify { inputs, options } => as_json(model.classify(&inputs, &options)?),
            Self::ZeroShot { texts, options } => as_json(model.zero_shot(&texts, &options)?),
            Self::Rerank { query, documents, options } => as_json(model.rerank(&query, &documents, &options)?),
            Self::Tag { texts, options } => {
                let call = model.tag(&texts, &options)?;
                as_json(call.map(move |mut all| {
                    for (text, entities) in texts.iter().zip(&mut all) {
                        let units = Units::new(text);
                        for entity in entities {
                            (entity.start, entity.end) = (units.at(entity.start), units.at(entity.end));
                        }
                    }
                    Ok(all)
                }))
            }
            Self::Answer { inputs, options } => {
                let call = model.answer(&inputs, &options)?;
                as_json(call.map(move |mut all| {
                    for (input, answers) in inputs.iter().zip(&mut all) {
                        let units = Units::new(input.pair.as_deref().unwrap_or_default());
                        for answer in answers {
                            (answer.start, answer.end) = (units.at(answer.start), units.at(answer.end));
                        }
                    }
                    Ok(all)
                }))
            }
            Self::Fill { texts, options } => {
                let inputs: Vec<Input> = texts.into_iter().map(Input::text).collect();
                as_json(model.fill(&inputs, &options)?)
            }
            Self::Sparse { texts, options } => as_json(model.embed_sparse(&texts, &options)?),
            Self::Chunk { text, options } => {
                let chunks = model.chunk(&text, &options)?;
                as_json(Call::ready(model, places(&text, &chunks))?)
            }
            Self::Explain { text, options } => {
                let call = model.explain(&text, &options)?;
                as_json(call.map(move |mut made| {
                    let units = Units::new(&text);
                    for part in &mut made.parts {
                        (part.start, part.end) = (units.at(part.start), units.at(part.end));
                    }
                    Ok(made)
                }))
            }
            Self::Multi { texts, options } => {
                model.embed_multi(&texts, &options)?.map(|texts| Ok(Made::Vectors(Vectors::of_texts(&texts))))
            }
            Self::TrainHead { examples, options, embed } => {
                model.train_head(&examples, &options, &embed)?.map(|head| Ok(Made::Head(head)))
            }
            Self::LoadHead {} => model.load_head(head)?.map(|head| Ok(Made::Head(head))),
            Self::ClassifyBy { texts, options } => {
                as_json(model.classify_by(TrainedHead::read(head)?, &texts, &options)?)
            }
        })
    }
}

/// First unit, one past the last, and the tokens of each chunk.
fn places(text: &str, chunks: &[Chunk]) -> Vec<(usize, usize, u32)> {
    let units = Units::new(text);
    chunks.iter().map(|chunk| (units.at(chunk.start), units.at(chunk.end), chunk.tokens)).collect()
}

/// Where the characters of a text begin, in UTF-16 units.
struct Units(Vec<usize>);

impl Units {
    fn new(text: &str) -> Self {
        let mut units = vec![0];
        units.extend(text.chars().scan(0, |sum, c| {
            *sum += c.len_utf16();
            Some(*sum)
        }));
        Self(units)
    }

    /// Of a character, or of the end.
    fn at(&self, character: usize) -> usize {
        self.0.get(character).or(self.0.last()).copied().unwrap_or(0)
    }
}
