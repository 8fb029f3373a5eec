//! A program on a device: the parameters on their way there, its batches, and rows that a program beside a model's reads.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::sync::Arc;

use safetensors::Dtype;

use crate::batch::Batch;
use crate::cpu::Memory;
use crate::error::Result;
use crate::gpu::{Gpu, Resident, Upload};
use crate::job::Ragged;
use crate::program::{Buf, Outcome, Precision, Program, Rows, TailId, WeightId, padded};
use crate::weights::Sink;

/// Most bytes of the rows of a batch of a [`Scan`], unless those of one text are more.
const ROWS_BYTES: usize = 16 << 20;

/// Where a program is to run.
pub enum Device {
    /// On this GPU.
    Gpu(Arc<Gpu>),
    /// On the host; the reason, where a GPU would have been preferred.
    Cpu(Option<String>),
}

/// A program whose parameters are still to come.
pub(crate) enum Target {
    /// On its way to the GPU.
    Gpu(Box<Upload>),
    /// On the host, with the reason.
    Cpu(Box<Memory>, Option<String>),
}

impl Target {
    /// For batches of at most so many rows: the first of `tokens` where there is no memory for the last. `precision` none keeps the
    /// type of the parameters.
    pub fn new(
        device: Device,
        program: &Arc<Program>,
        tokens: RangeInclusive<usize>,
        precision: Option<Precision>,
    ) -> Result<Self> {
        Ok(match device {
            Device::Gpu(gpu) => Self::Gpu(Box::new(Upload::new(gpu, program.clone(), tokens, precision)?)),
            Device::Cpu(reason) => {
                Self::Cpu(Box::new(Memory::new(program, precision.unwrap_or(Precision::F32))), reason)
            }
        })
    }

    /// Takes the parameters.
    pub fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::Gpu(upload) => upload.as_mut(),
            Self::Cpu(memory, _) => memory.as_mut(),
        }
    }

    /// Waits for what the device compiles.
    pub async fn compile(&mut self) -> Result<()> {
        match self {
            Self::Gpu(upload) => upload.compile().await,
            Self::Cpu(..) => Ok(()),
        }
    }

    /// Once every parameter is there and the device has shown that it computes what the CPU computes.
    pub async fn finish(self, program: &Program) -> Result<Runner> {
        Ok(match self {
            Self::Gpu(upload) => Runner::Gpu(upload.finish().await?),
            Self::Cpu(mut memory, reason) => {
                memory.setup(program)?;
                Runner::Cpu(RefCell::new(*memory), reason)
            }
        })
    }
}

/// Runs the batches of a program.
pub(crate) enum Runner {
    /// On the GPU.
    Gpu(Resident),
    /// On the host, with the reason.
    Cpu(RefCell<Memory>, Option<String>),
}

impl Runner {
    /// Of a program that is no model's, in f32, for batches of so many rows; one of its parameters is given, the others are computed.
    pub async fn of(program: &Arc<Program>, device: Device, rows: usize, given: (WeightId, &[f32])) -> Result<Self> {
        let mut target = Target::new(device, program, rows..=rows, Some(Precision::F32))?;
        let sink = target.sink();
        sink.start(Dtype::F32)?;
        for (index, weight) in program.weights.iter().enumerate() {
            weight.compute(WeightId(index), sink)?;
        }
        sink.write(given.0, 0, given.1)?;
        target.finish(program).await
    }

    /// Its device.
    pub fn device(&self) -> Device {
        match self {
            Self::Gpu(resident) => Device::Gpu(resident.gpu().clone()),
            Self::Cpu(..) => Device::Cpu(None),
        }
    }

    /// Runs a batch and returns what a tail gives, `[rows, width]`. `input` is an activation that no step writes, whole rows.
    pub async fn run(
        &self,
        program: &Program,
        tail: TailId,
        batch: &Batch,
        input: Option<(Buf, Vec<f32>)>,
    ) -> Result<Vec<f32>> {
        match self {
            Self::Gpu(resident) => {
                if let Some((buf, values)) = input {
                    resident.set(buf, &values);
                }
                resident.finish(resident.start(tail, batch)?).await
            }
            Self::Cpu(memory, _) => {
                let mut memory = memory.borrow_mut();
                if let Some((buf, values)) = input {
                    memory.set(buf, values);
                }
                memory.run(program, tail, batch)
            }
        }
    }
}

/// Texts that are rows already, and a program that is no model's, which makes a row of each.
pub(crate) struct Scan {
    /// Of one tail.
    pub program: Arc<Program>,
    /// Its parameters, less those that are computed.
    pub given: (WeightId, Vec<f32>),
    /// The rows on the device.
    pub x: Buf,
    /// The rows of queries and then those of what is compared with them.
    pub texts: Ragged,
    /// How many texts are queries, which are columns of the result.
    pub queries: usize,
    /// Once it runs.
    pub runner: Option<Runner>,
}

impl Scan {
    /// Runs as many texts, from the `first` that is no query on, as fit in a batch, on the device of another runner. Returns how many, and their rows.
    pub async fn step(&mut self, beside: &Runner, first: usize) -> Result<(usize, Vec<f32>)> {
        let (program, starts) = (&self.program, &self.texts.starts[self.queries + first..]);
        // A row of a product is as wide as there are queries.
        let product = matches!(self.program.tails[0].result, Outcome::Rows(_));
        let width = if product { self.x.stride.max(self.queries) } else { self.x.stride };
        let room = ROWS_BYTES / (4 * width);
        if self.runner.is_none() {
            let longest = starts.windows(2).map(|bounds| bounds[1] - bounds[0]).max().unwrap_or(0);
            let rows = longest.max(room.min(starts[starts.len() - 1] - starts[0]));
            let (weight, values) = &self.given;
            self.runner = Some(Runner::of(program, beside.device(), rows, (*weight, values)).await?);
        }
        let most = if product { starts.len() - 1 } else { program.most(Rows::Texts).min(starts.len() - 1) };
        let count = (1..=most).take_while(|count| starts[*count] - starts[0] <= room).count().max(1);
        let rows = [starts[0], starts[count]];
        let batch = Batch::of_rows(if product { &rows } else { &starts[..=count] }, self.queries);
        let texts = self.queries + first..self.queries + first + count;
        let rows = padded(self.texts.of(texts), self.texts.width);
        // It was started above.
        let runner = self.runner.as_ref().unwrap_or(beside);
        Ok((count, runner.run(program, TailId(0), &batch, Some((self.x, rows))).await?))
    }
}
