//! A program on its way to the GPU: parameters are written as they come, and kernels compile meanwhile.

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;

use embedlet_host::Int8Matrix;
use half::f16;
use safetensors::Dtype;

use super::holding::{Holding, Parameter, Variants, too_large};
use super::resident::{Activations, Resident, slot_bytes};
use super::{Gpu, Prepared, check};
use crate::error::{Error, Result};
use crate::integers::Integers;
use crate::program::{Op, Precision, Program, WeightId};
use crate::shader::Piece;
use crate::weights::{Sink, TILE, Weight};

/// Native uploads are flushed when this many bytes wait, so that staging memory stays small.
const UPLOAD_BYTES: u64 = 16 << 20;

type Scope = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;
type Compiling = Pin<Box<dyn Future<Output = Result<Vec<Prepared>>>>>;

/// A program on its way to the GPU: buffers wait for values, kernels compile.
pub struct Upload {
    gpu: Arc<Gpu>,
    program: Arc<Program>,
    /// Most tokens of a batch, and how few may do.
    tokens: usize,
    least: usize,
    /// What the caller asked for; `None` keeps the checkpoint's own type.
    precision: Option<Precision>,
    allocated: Option<Allocated>,
    waiting: u64,
}

/// What waits for values.
pub(super) struct Allocated {
    pub precision: Precision,
    pub weights: Vec<Parameter>,
    scopes: Vec<Scope>,
    /// What compiles, until that was waited for.
    compiled: Option<Compiling>,
    /// Of every kernel in order, once they are compiled.
    pub pipelines: Vec<wgpu::ComputePipeline>,
    /// Of every operation in order, those of the set-up first: its forms.
    pub kernels: Vec<Vec<Variants>>,
}

impl Upload {
    /// For batches of at most so many tokens: the last of `tokens`, or less where there is no room for that, down to the first. Refuses
    /// [`Precision::Int8`] where the device, or an operation, has no kernel for it.
    pub fn new(
        gpu: Arc<Gpu>,
        program: Arc<Program>,
        tokens: RangeInclusive<usize>,
        precision: Option<Precision>,
    ) -> Result<Self> {
        if precision == Some(Precision::Int8) {
            gpu.takes_int8(&program)?;
        }
        let (least, tokens) = tokens.into_inner();
        Ok(Self { gpu, program, tokens, least, precision, allocated: None, waiting: 0 })
    }

    /// Refuses, before anything is allocated, what does not fit the device.
    fn allocate(&mut self, precision: Precision) -> Result<()> {
        let limit = self.gpu.limits.binding;
        let (weights, large) = (&self.program.weights, self.program.large());
        let holding = Holding { weights, large: &large, precision, limit };
        let pieces = (0..weights.len()).map(|id| holding.pieces(WeightId(id))).collect::<Result<Vec<_>>>()?;
        let slots = self.program.plan().slots.into_iter().map(|slot| slot_bytes(&self.program, slot, self.tokens));
        if let Some(found) = slots.max().filter(|bytes| *bytes > limit) {
            return Err(too_large(found, limit));
        }
        self.gpu.trouble()?;
        let forms = |op: &dyn Op| self.gpu.forms(op, &self.program, precision);
        let variants = |op: &dyn Op| forms(op).into_iter().map(|form| holding.variants(form)).collect();
        let kernels = self.program.all_ops().map(variants).collect::<Result<Vec<Vec<Variants>>>>()?;
        let all = kernels.iter().flatten().flat_map(|variants| &variants.pieces);
        let compiled: Compiling = Box::pin(self.gpu.compile(all));
        let memory = self.gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let parameter = |(weight, (pieces, bytes)): (&Weight, (Vec<Piece>, u64))| {
            let mut left = weight.bytes(precision);
            let buffer = |_: &Piece| {
                let size = bytes.min(left);
                left -= size;
                self.gpu.buffer("weight", size, usage)
            };
            Parameter { pieces: pieces.iter().map(buffer).collect(), bytes }
        };
        let weights = weights.iter().zip(pieces).map(parameter).collect();
        let scopes: Vec<Scope> = vec![Box::pin(validation.pop()), Box::pin(memory.pop())];
        self.allocated =
            Some(Allocated { precision, weights, scopes, compiled: Some(compiled), pipelines: Vec::new(), kernels });
        Ok(())
    }

    /// Waits until the weights are there and the kernels are compiled. The second time there is nothing to wait for.
    pub async fn compile(&mut self) -> Result<()> {
        self.flush();
        let allocated = self.allocated.as_mut().ok_or_else(before_header)?;
        for scope in std::mem::take(&mut allocated.scopes) {
            if let Some(error) = scope.await {
                return Err(refused(error, "loading the weights"));
            }
        }
        let Some(compiled) = allocated.compiled.take() else { return Ok(()) };
        let prepared = compiled.await?;
        for (kernel, text) in allocated.kernels.iter().flatten().flat_map(|variants| &variants.pieces) {
            allocated.pipelines.push(self.gpu.pipeline(kernel, text, &prepared).await?);
        }
        Ok(())
    }

    /// Compiles, compares the kernels with the CPU, binds everything and runs the set-up.
    pub async fn finish(mut self) -> Result<Resident> {
        self.compile().await?;
        let allocated = self.allocated.as_ref().ok_or_else(before_header)?;
        let self_check = check::run(&self.gpu, &self.program, allocated.precision, &allocated.kernels).await?;
        let activations = self.activations().await?;
        let allocated = self.allocated.take().ok_or_else(before_header)?;
        let resident = Resident::bind(self.gpu.clone(), self.program.clone(), allocated, activations, self_check);
        self.gpu.trouble()?;
        Ok(resident)
    }

    /// The memory of batches. Where there is no room for it, for half as many tokens.
    async fn activations(&mut self) -> Result<Activations> {
        loop {
            let memory = self.gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let activations = Activations::new(&self.gpu, &self.program, self.tokens);
            match memory.pop().await {
                None => return Ok(activations),
                Some(_) if self.tokens > self.least => self.tokens = (self.tokens / 2).max(self.least),
                Some(error) => return Err(refused(error, "allocating the activations")),
            }
        }
    }

    /// Writes bytes of a parameter from byte `at` on, into whichever pieces have them.
    fn put(&mut self, weight: WeightId, mut at: u64, mut bytes: &[u8]) -> Result<()> {
        let Some(allocated) = &self.allocated else { return Err(before_header()) };
        let parameter = &allocated.weights[weight.0];
        self.waiting += bytes.len() as u64;
        while !bytes.is_empty() {
            let (piece, offset) = (at / parameter.bytes, at % parameter.bytes);
            let (now, later) = bytes.split_at(bytes.len().min((parameter.bytes - offset) as usize));
            self.gpu.queue.write_buffer(&parameter.pieces[piece as usize], offset, now);
            at += now.len() as u64;
            bytes = later;
        }
        if self.waiting > UPLOAD_BYTES {
            self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.gpu.queue.submit([]);
        self.waiting = 0;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // In a browser memory would wait for the garbage collector.
        let weights = self.allocated.iter().flat_map(|allocated| &allocated.weights);
        weights.flat_map(|weight| &weight.pieces).for_each(wgpu::Buffer::destroy);
    }
}

impl Sink for Upload {
    fn start(&mut self, stored: Dtype) -> Result<()> {
        if self.allocated.is_some() {
            return Ok(());
        }
        let exact = match stored {
            _ if self.program.weights.iter().any(|weight| weight.held.is_some()) => Precision::Packed,
            Dtype::F16 => Precision::F16,
            _ => Precision::F32,
        };
        self.allocate(self.precision.unwrap_or(exact))
    }

    fn write(&mut self, weight: WeightId, at: usize, values: &[f32]) -> Result<()> {
        let Some(allocated) = &self.allocated else { return Err(before_header()) };
        let layout = self.program.weights[weight.0].layout;
        match self.program.weights[weight.0].stored(allocated.precision) {
            Precision::F16 => {
                let halves: Vec<u16> = values.iter().map(|value| f16::from_f32(*value).to_bits()).collect();
                self.put(weight, 2 * at as u64, bytemuck::cast_slice(&halves))
            }
            // Matrices come whole; a tile of their columns at a time is rounded.
            Precision::Int8 => values.chunks(TILE * layout.inputs()).zip(0..).try_for_each(|(values, tile)| {
                let bytes = Int8Matrix::quantize(values, layout.inputs()).bytes(layout.inputs());
                self.put(weight, tile * bytes.len() as u64, &bytes)
            }),
            // What is packed comes as it is.
            Precision::F32 | Precision::Packed => self.put(weight, 4 * at as u64, bytemuck::cast_slice(values)),
        }
    }

    fn integers(&self, weight: WeightId) -> Option<Integers> {
        let packed = self.allocated.as_ref().is_some_and(|allocated| allocated.precision == Precision::Packed);
        self.program.weights[weight.0].integers().filter(|_| packed)
    }

    fn write_integers(&mut self, weight: WeightId, at: usize, words: &[u32]) -> Result<()> {
        self.put(weight, 4 * at as u64, bytemuck::cast_slice(words))
    }
}

fn before_header() -> Error {
    Error::argument("nothing was read of the weights")
}

pub(super) fn refused(error: wgpu::Error, doing: &str) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { doing: doing.into() },
        other => Error::Shader { kernel: doing.into(), reason: other.to_string() },
    }
}
