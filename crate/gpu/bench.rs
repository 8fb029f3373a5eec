//! What the benchmark asks of a device: how long each step takes by the device's own clock, and what it could do at most.

use wgpu::BufferUsages as Usage;

use super::Gpu;
use super::resident::Resident;
use crate::batch::Batch;
use crate::bench::Peaks;
use crate::error::{Error, Result};
use crate::fragment;
use crate::platform::now_ms;
use crate::program::{Buf, Operand, Rows, TailId};
use crate::shader::{Const, Fragment, Grid, Held, Kernel};

/// Bytes that are copied, where a buffer can be so large: more than caches hold.
const COPY_BYTES: u64 = 256 << 20;
/// Bytes that a workgroup of `copy.wgsl` copies.
const GROUP_BYTES: u64 = 16 << 10;
/// Rounds of the loop in `fma.wgsl`, each of eight chains of four lanes, and its workgroups of 64 invocations.
const LOOPS: usize = 256;
const GROUPS: u32 = 4096;
/// A measurement lasts at least so long.
const LEAST_MS: f64 = 50.0;

impl Resident {
    /// Milliseconds of each step that [runs](Resident::running), by the device's clock; none where it has no clock.
    pub async fn times(&self, tail: TailId, batch: &Batch) -> Result<Option<Vec<f64>>> {
        let device = &self.gpu.device;
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let steps: Vec<_> = self.running(tail, batch).into_iter().map(|index| &self.steps[index]).collect();
        let count = 2 * steps.len() as u32;
        let (ty, label) = (wgpu::QueryType::Timestamp, Some("times"));
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor { label, ty, count });
        let bytes = 8 * u64::from(count);
        let resolved = self.gpu.buffer("times", bytes, Usage::QUERY_RESOLVE | Usage::COPY_SRC);
        let staging = self.gpu.buffer("times", bytes, Usage::MAP_READ | Usage::COPY_DST);

        self.gpu.queue.write_buffer(&self.activations.frame, 0, bytemuck::cast_slice(&batch.frame()));
        let mut encoder = device.create_command_encoder(&Default::default());
        // Clocks are read between passes, so each step has its own.
        for (first, step) in (0..).step_by(2).zip(&steps) {
            let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            });
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            step.run(&mut pass, batch);
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, bytes);
        self.gpu.queue.submit([encoder.finish()]);
        let words = self.gpu.read(&staging, bytes).await;
        resolved.destroy();
        staging.destroy();
        // A clock has eight bytes, which came as two floats.
        let words: Vec<u64> = words?.iter().map(|word| u64::from(word.to_bits())).collect();
        let clocks: Vec<u64> = words.as_chunks::<2>().0.iter().map(|[low, high]| high << 32 | low).collect();
        let period = f64::from(self.gpu.queue.get_timestamp_period());
        let step = |[begin, end]: &[u64; 2]| end.saturating_sub(*begin) as f64 * period / 1e6;
        Ok(Some(clocks.as_chunks::<2>().0.iter().map(step).collect()))
    }

    /// The kernel that a batch takes of a step, by its place in [`Program::all_ops`](crate::program::Program::all_ops).
    pub fn kernel(&self, step: usize, batch: &Batch) -> Option<Kernel> {
        let form = self.steps[step].0.iter().position(|form| form.fits(batch))?;
        Some(self.forms(step).swap_remove(form))
    }

    /// The kernels of a step that it can take.
    pub fn forms(&self, step: usize) -> Vec<Kernel> {
        let op = self.program.all_ops().nth(step);
        let forms = op.map_or_else(Vec::new, |op| self.gpu.forms(op, &self.program, self.precision()));
        forms.into_iter().map(|form| form.kernel).collect()
    }
}

impl Gpu {
    /// What the device does at most, by kernels that do nothing else.
    pub async fn peaks(&self) -> Result<Peaks> {
        let invocations = u64::from(GROUPS) * 64;
        let kernel = micro_kernel("fma", fragment!("bench/fma.wgsl"), vec![Operand::Output]);
        let out = self.buffer("fma", 16 * invocations, Usage::STORAGE);
        let flops = (invocations * LOOPS as u64 * 8 * 4 * 2) as f64;
        let flops = flops / self.best(&kernel, &[&out], GROUPS).await?;
        out.destroy();

        let limits = self.device.limits();
        let bytes = COPY_BYTES.min(limits.max_buffer_size).min(limits.max_storage_buffer_binding_size);
        let groups = bytes / GROUP_BYTES;
        let buf = Buf { id: 0, rows: Rows::Tokens, width: 4, stride: 4 };
        let kernel = micro_kernel("copy", fragment!("bench/copy.wgsl"), vec![Operand::Read(buf), Operand::Output]);
        let copies = [(); 2].map(|()| self.buffer("copy", groups * GROUP_BYTES, Usage::STORAGE));
        let copies = [&copies[0], &copies[1]];
        let bytes = (2 * groups * GROUP_BYTES) as f64 / self.best(&kernel, &copies, groups as u32).await?;
        // One workgroup has next to nothing to do but to be started and waited for.
        let launch = self.best(&kernel, &copies, 1).await?;
        copies.into_iter().for_each(wgpu::Buffer::destroy);
        Ok(Peaks { flops, bytes, launch })
    }

    /// Seconds of one dispatch among many, at best.
    async fn best(&self, kernel: &Kernel, buffers: &[&wgpu::Buffer], groups: u32) -> Result<f64> {
        let pipeline = self.pipeline(kernel, &kernel.wgsl(&Held::VALUES), &[]).await?;
        let frame = self.buffer("frame", 16, Usage::STORAGE);
        let bound: Vec<_> = std::iter::once(&frame).chain(buffers.iter().copied()).collect();
        let group = self.bind(kernel, &pipeline, &bound);
        let run = |dispatches: u32| -> Result<f64> {
            let start = now_ms();
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            (0..dispatches).for_each(|_| pass.dispatch_workgroups(groups, 1, 1));
            drop(pass);
            self.queue.submit([encoder.finish()]);
            let lost = |error: wgpu::PollError| Error::DeviceLost { reason: error.to_string() };
            self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(lost)?;
            self.trouble()?;
            Ok(now_ms() - start)
        };
        let mut dispatches = 1;
        while dispatches < 1 << 14 && run(dispatches)? < LEAST_MS {
            dispatches *= 2;
        }
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            best = best.min(run(dispatches)?);
        }
        frame.destroy();
        Ok(best / 1e3 / f64::from(dispatches))
    }
}

fn micro_kernel(name: &'static str, fragment: Fragment, operands: Vec<Operand>) -> Kernel {
    let consts = vec![("LOOPS", Const::Count(LOOPS))];
    Kernel {
        name,
        fragments: vec![fragment],
        consts,
        operands,
        grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1, z: 1 },
    }
}
