//! The crate as the npm package sees it: four classes, strings and typed arrays, no logic.
//!
//! Errors are JavaScript `Error`s with the `code` of [`Error::code`]. One device is kept for all models.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Float32Array, Object, Reflect, Uint8Array, Uint32Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::error::Error;
use crate::gpu::Gpu;
use crate::model::{self, Device, EmbedOptions};
use crate::program::Precision;

thread_local! {
    static GPU: RefCell<Option<Arc<Gpu>>> = const { RefCell::new(None) };
}

fn thrown(error: Error) -> JsValue {
    let js = js_sys::Error::new(&error.to_string());
    // A fresh error object takes any field.
    let _ = Reflect::set(&js, &"code".into(), &error.code().into());
    js.into()
}

fn argument(error: impl ToString) -> JsValue {
    thrown(Error::argument(error.to_string()))
}

fn json(value: &impl Serialize) -> Result<String, JsValue> {
    serde_json::to_string(value).map_err(argument)
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadOptions {
    device: DeviceOption,
    precision: PrecisionOption,
    /// Why WebGPU is not to be used although `auto` was asked for.
    reason: Option<String>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum DeviceOption {
    Auto,
    Webgpu,
    Wasm,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum PrecisionOption {
    Auto,
    F32,
    F16,
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
        let device = match options.device {
            DeviceOption::Wasm => Device::Cpu(options.reason),
            DeviceOption::Webgpu => Device::Gpu(open().await.map_err(thrown)?),
            DeviceOption::Auto => match open().await {
                Ok(gpu) if gpu.adapter().software => {
                    Device::Cpu(Some(format!("the only adapter is software ({})", gpu.adapter().architecture)))
                }
                Ok(gpu) => Device::Gpu(gpu),
                Err(error) => Device::Cpu(Some(error.to_string())),
            },
        };
        let precision = match options.precision {
            PrecisionOption::Auto => None,
            PrecisionOption::F32 => Some(Precision::F32),
            PrecisionOption::F16 => Some(Precision::F16),
        };
        model::Loader::new(&folder.0, device, precision).map(Self).map_err(thrown)
    }

    /// The weight files still to be read.
    pub fn files(&self) -> Vec<String> {
        self.0.files().to_vec()
    }

    /// Starts a weight file.
    pub fn begin(&mut self, path: &str, sha256: Option<String>) -> Result<(), JsValue> {
        self.0.begin(path, sha256.as_deref()).map_err(thrown)
    }

    /// Takes the next bytes of the weight file.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), JsValue> {
        self.0.push(chunk).map_err(thrown)
    }

    /// Ends the weight file.
    pub fn end(&mut self) -> Result<(), JsValue> {
        self.0.end().map_err(thrown)
    }

    /// The model, checked.
    pub async fn finish(self) -> Result<Model, JsValue> {
        Ok(Model(Rc::new(self.0.finish().await.map_err(thrown)?)))
    }
}

/// A text encoder.
#[wasm_bindgen]
pub struct Model(Rc<model::Model>);

#[derive(Serialize)]
struct Tokenized {
    ids: Vec<u32>,
    tokens: Vec<String>,
    offsets: Vec<(usize, usize)>,
    truncated: bool,
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
        let encoding = self.0.tokenize(text).map_err(thrown)?;
        // UTF-16 units in front of each character, and of the end.
        let mut units = vec![0];
        units.extend(text.chars().scan(0, |sum, c| {
            *sum += c.len_utf16();
            Some(*sum)
        }));
        let unit = |at: usize| units.get(at).or(units.last()).copied().unwrap_or(0);
        let offsets = encoding.offsets.iter().map(|(start, end)| (unit(*start), unit(*end))).collect();
        let (ids, tokens, truncated) = (encoding.ids, encoding.tokens, encoding.truncated);
        json(&Tokenized { ids, tokens, offsets, truncated })
    }

    /// Tokenizes texts and prepares their embedding; `options` is [`EmbedOptions`] as JSON.
    pub fn job(&self, texts: Vec<String>, options: &str) -> Result<Job, JsValue> {
        let options: EmbedOptions = serde_json::from_str(options).map_err(argument)?;
        let job = self.0.job(&texts, &options).map_err(thrown)?;
        Ok(Job { job, model: self.0.clone() })
    }
}

/// One embedding call.
#[wasm_bindgen]
pub struct Job {
    job: model::Job,
    model: Rc<model::Model>,
}

#[wasm_bindgen]
impl Job {
    /// Runs one packed batch.
    pub async fn step(&mut self) -> Result<(), JsValue> {
        self.job.step(&self.model).await.map_err(thrown)
    }

    /// Texts finished.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> usize {
        self.job.done()
    }

    /// Texts in all.
    #[wasm_bindgen(getter)]
    pub fn total(&self) -> usize {
        self.job.total()
    }

    /// Columns of the vectors.
    #[wasm_bindgen(getter)]
    pub fn dimensions(&self) -> usize {
        self.job.dimensions()
    }

    /// `{ data, tokens, truncated }`
    pub fn finish(self) -> Result<Object, JsValue> {
        let result = self.job.finish().map_err(thrown)?;
        let truncated: Vec<u8> = result.truncated.iter().map(|cut| u8::from(*cut)).collect();
        let object = Object::new();
        let fields: [(&str, JsValue); 3] = [
            ("data", Float32Array::from(result.data.as_slice()).into()),
            ("tokens", Uint32Array::from(result.tokens.as_slice()).into()),
            ("truncated", Uint8Array::from(truncated.as_slice()).into()),
        ];
        for (name, value) in fields {
            Reflect::set(&object, &name.into(), &value)?;
        }
        Ok(object)
    }
}

/// The version of this package.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}
