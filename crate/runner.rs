//! A program on its device, whichever that is.

use std::cell::RefCell;
use std::sync::Arc;

use safetensors::Dtype;

use crate::batch::Batch;
use crate::cpu::Memory;
use crate::error::Result;
use crate::gpu::{Resident, Upload};
use crate::program::{Buf, Precision, Program, TailId, WeightId};
use crate::weights::Sink;

/// Runs the batches of a program.
pub(crate) enum Runner {
    /// On the GPU.
    Gpu(Resident),
    /// On the host; the reason, where a GPU would have been preferred.
    Cpu(RefCell<Memory>, Option<String>),
}

impl Runner {
    /// A program on the same device that is no model's. Its parameters are computed or given, its batches have at most `tokens`
    /// rows.
    pub async fn beside(&self, program: Arc<Program>, tokens: usize, given: &[(WeightId, Vec<f32>)]) -> Result<Self> {
        let fill = |sink: &mut dyn Sink| {
            sink.start(Dtype::F32)?;
            for (index, weight) in program.weights.iter().enumerate() {
                weight.compute(WeightId(index), sink)?;
            }
            given.iter().try_for_each(|(id, values)| sink.write(*id, 0, values))
        };
        Ok(match self {
            Self::Gpu(resident) => {
                let gpu = resident.gpu().clone();
                let mut upload = Upload::new(gpu, program.clone(), tokens, Some(Precision::F32));
                fill(&mut upload)?;
                Self::Gpu(upload.finish().await?)
            }
            Self::Cpu(..) => {
                let mut memory = Memory::new(&program, Precision::F32)?;
                fill(&mut memory)?;
                Self::Cpu(RefCell::new(memory), None)
            }
        })
    }

    /// Runs a batch and returns what a tail gives, `[rows, width]`. `inputs` are activations that no step writes, whole rows.
    pub async fn run(
        &self,
        program: &Program,
        tail: TailId,
        batch: &Batch,
        inputs: Vec<(Buf, Vec<f32>)>,
    ) -> Result<Vec<f32>> {
        match self {
            Self::Gpu(resident) => {
                inputs.iter().for_each(|(buf, values)| resident.set(*buf, values));
                resident.run(tail, batch).await
            }
            Self::Cpu(memory, _) => {
                let mut memory = memory.borrow_mut();
                inputs.into_iter().for_each(|(buf, values)| memory.set(buf, values));
                memory.run(program, tail, batch)
            }
        }
    }
}
