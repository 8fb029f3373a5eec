//! Loading: the small files make a plan, the weights fill it. Where a folder has no configuration, the plan waits for the
//! first bytes of the weights, which say how large they are.

use crate::arch;
use crate::checkpoint::table_shape;
use crate::encoder::Spec;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::model::{Device, Model};
use crate::plan::Plan;
use crate::program::Precision;
use crate::task::Task;

/// A model whose weights are still to be read.
pub struct Loader {
    stage: Stage,
}

enum Stage {
    Planned(Box<Plan>),
    Waiting(Box<Waiting>),
}

/// What a plan is made of once the shape of the table is known.
struct Waiting {
    folder: Folder,
    device: Option<Device>,
    precision: Option<Precision>,
    task: Option<Task>,
    /// What it was begun with.
    begun: Option<(String, Option<String>, bool)>,
    files: Vec<String>,
    header: Vec<u8>,
}

impl Loader {
    /// Plans a model for a device. `precision` none keeps the checkpoint's own type; `task` none takes the head that the
    /// folder names, where the architecture has such a head.
    pub fn new(folder: &Folder, device: Device, precision: Option<Precision>, task: Option<Task>) -> Result<Self> {
        let stage = match folder.is_table()? {
            false => {
                let config = folder.config()?;
                let architecture = config.text_or("model_type", "")?;
                Stage::Planned(Box::new(Plan::new(
                    folder,
                    architecture,
                    arch::spec(&config)?,
                    device,
                    precision,
                    task,
                )?))
            }
            true => Stage::Waiting(Box::new(Waiting {
                folder: folder.clone(),
                device: Some(device),
                precision,
                task,
                begun: None,
                files: vec![folder.weights()?],
                header: Vec::new(),
            })),
        };
        Ok(Self { stage })
    }

    /// The weight files still to be read, in order.
    pub fn files(&self) -> &[String] {
        match &self.stage {
            Stage::Planned(plan) => plan.files(),
            Stage::Waiting(waiting) => &waiting.files,
        }
    }

    /// Starts a weight file; see [`Reader::begin`](crate::reader::Reader::begin). The hash that a packed folder has of it must be right,
    /// unless it is `checked`: the caller sees to it that it is the same file that was right before.
    pub fn begin(&mut self, path: &str, sha256: Option<&str>, checked: bool) -> Result<()> {
        match &mut self.stage {
            Stage::Planned(plan) => plan.begin(path, sha256, checked),
            Stage::Waiting(waiting) if waiting.files[0] != path => {
                Err(Error::argument(format!("{path} is no weight file that is still to be read")))
            }
            Stage::Waiting(waiting) => {
                waiting.begun = Some((path.into(), sha256.map(str::to_owned), checked));
                Ok(())
            }
        }
    }

    /// Takes the next bytes of a weight file, in chunks of any size; those of several files may come in turn.
    pub fn push(&mut self, path: &str, chunk: &[u8]) -> Result<()> {
        match &mut self.stage {
            Stage::Planned(plan) => plan.push(path, chunk),
            Stage::Waiting(waiting) => {
                if let Some(plan) = waiting.push(chunk)? {
                    self.stage = Stage::Planned(Box::new(plan));
                }
                Ok(())
            }
        }
    }

    /// Ends a weight file; its length and hash must be right.
    pub fn end(&mut self, path: &str) -> Result<()> {
        match &mut self.stage {
            Stage::Planned(plan) => plan.end(path),
            Stage::Waiting(waiting) => {
                let found = waiting.header.len() as u64;
                Err(Error::TruncatedFile { path: waiting.files[0].clone(), expected: found.max(8) + 1, found })
            }
        }
    }

    /// Once every file was read: waits for what the device compiles.
    pub async fn compile(&mut self) -> Result<()> {
        match &mut self.stage {
            Stage::Planned(plan) => plan.compile().await,
            Stage::Waiting(waiting) => Err(Error::MissingFile { path: waiting.files[0].clone() }),
        }
    }

    /// The model, once every file was read and the device has shown that it computes what the CPU computes.
    pub async fn finish(self) -> Result<Model> {
        match self.stage {
            Stage::Planned(plan) => plan.finish().await,
            Stage::Waiting(waiting) => Err(Error::MissingFile { path: waiting.files[0].clone() }),
        }
    }
}

impl Waiting {
    /// The plan, and in it all bytes so far, once the header is complete.
    fn push(&mut self, chunk: &[u8]) -> Result<Option<Plan>> {
        let (path, sha256, checked) = self.begun.clone().ok_or_else(|| Error::argument("push before begin"))?;
        self.header.extend_from_slice(chunk);
        let spec: Spec = match table_shape(&path, &self.header, self.folder.packed()?.as_ref())? {
            None => return Ok(None),
            Some((rows, width)) => arch::table(rows, width),
        };
        let device = self.device.take().ok_or_else(|| Error::argument("push after an error"))?;
        let architecture = self.folder.table_type()?;
        let mut plan = Plan::new(&self.folder, &architecture, spec, device, self.precision, self.task)?;
        plan.begin(&path, sha256.as_deref(), checked)?;
        plan.push(&path, &std::mem::take(&mut self.header))?;
        Ok(Some(plan))
    }
}
