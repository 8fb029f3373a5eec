//! The load-time self-check: every kernel runs once on small random data with outliers, and must agree with
//! its CPU side. A driver that miscomputes is found before it makes a single vector.

use embedlet_host::Int8Matrix;
use wgpu::BufferUsages as Usage;

use super::holding::{Holding, Variants};
use super::resident::{Bound, Dispatch, Step, run as run_steps, whole_tiles};
use super::{Gpu, lock};
use crate::batch::{Batch, PoolingParams, frame_words};
use crate::computed::Computed;
use crate::cpu::Memory;
use crate::error::{Error, Result};
use crate::integers::{Integers, Runs};
use crate::program::{Buf, Form, Large, Op, Operand, Precision, Program, Rows};
use crate::weights::{Layout, Weight};

/// Largest error accepted, relative to the largest magnitude of the result. The CPU side and a right driver
/// differ by about 1e-6; WGSL allows its exp and division a little more.
pub const TOLERANCE: f32 = 1e-4;

/// Texts of the load-time check: two tiles of rows, three texts in the first.
const LENGTHS: [u32; 3] = [3, 1, 37];

/// A NaN that no kernel makes: it stands behind the rows that a kernel may write.
const GUARD: u32 = 0x7fc0_dead;

/// Rows that tables have in the check, whatever the model's have.
const TABLE_ROWS: usize = 64;

/// What the self-check found.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfCheck {
    /// Kernels compared, those compared for an earlier encoder on this device included.
    pub kernels: usize,
    /// Largest error found now, relative to the largest magnitude.
    pub max_error: f32,
    /// Always true: a device that fails is not used.
    pub passed: bool,
}

/// Compares the kernels that this device has not been checked for.
pub async fn run(gpu: &Gpu, program: &Program, precision: Precision, kernels: &[Vec<Variants>]) -> Result<SelfCheck> {
    let mut seen: Vec<&str> = Vec::new();
    let mut new = Vec::new();
    for ((op, form), variants) in every_form(gpu, program, precision).zip(kernels.iter().flatten()) {
        // Kernels of further pieces differ in a number.
        let Some((_, text)) = variants.pieces.first() else { continue };
        if !seen.contains(&text.as_str()) {
            seen.push(text);
            if !lock(&gpu.checked).contains(text) {
                new.push((op, form));
            }
        }
    }
    let errors = compare(gpu, program, precision, new, &LENGTHS).await?;
    let mut max_error = 0.0f32;
    for (kernel, error) in errors {
        if error.is_nan() || error > TOLERANCE {
            return Err(Error::SelfCheckFailed { kernel: kernel.into(), error, allowed: TOLERANCE });
        }
        max_error = max_error.max(error);
    }
    lock(&gpu.checked).extend(seen.iter().map(|text| (*text).to_owned()));
    Ok(SelfCheck { kernels: seen.len(), max_error, passed: true })
}

/// Runs each form of each operation of a program alone, on the GPU and on the CPU, with random values and texts of these
/// `lengths`. Returns each one's name and largest error, relative to the largest magnitude of its result;
/// infinite where the kernel wrote past its rows.
pub async fn compare_all(
    gpu: &Gpu,
    program: &Program,
    precision: Precision,
    lengths: &[u32],
) -> Result<Vec<(&'static str, f32)>> {
    compare(gpu, program, precision, every_form(gpu, program, precision).collect(), lengths).await
}

/// Every operation in each of the forms that the device takes.
fn every_form<'a>(gpu: &Gpu, program: &'a Program, precision: Precision) -> impl Iterator<Item = (&'a dyn Op, Form)> {
    program.all_ops().flat_map(move |op| gpu.forms(op, program, precision).into_iter().map(move |form| (op, form)))
}

async fn compare(
    gpu: &Gpu,
    program: &Program,
    precision: Precision,
    forms: Vec<(&dyn Op, Form)>,
    lengths: &[u32],
) -> Result<Vec<(&'static str, f32)>> {
    let large = program.large();
    let mut cases = Vec::with_capacity(forms.len());
    for (op, form) in forms {
        cases.push(Case::new(gpu, program, op, form, precision, &large, lengths).await?);
    }
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    // All in one submit and one map: on some browsers a map takes a tenth of a second.
    let staging = gpu.buffer("self-check", cases.iter().map(Case::bytes).sum(), Usage::MAP_READ | Usage::COPY_DST);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut at = 0;
    for case in &cases {
        run_steps(&mut encoder, [&case.step], &case.batch);
        for Written { binding, elements, .. } in &case.written {
            let bytes = 4 * *elements as u64;
            encoder.copy_buffer_to_buffer(&case.buffers[*binding][0], 0, &staging, at, bytes);
            at += bytes;
        }
    }
    gpu.queue.submit([encoder.finish()]);
    let found = gpu.read(&staging, at).await;
    staging.destroy();
    let found = found?;
    let mut rest = found.as_slice();
    let mut errors = Vec::with_capacity(cases.len());
    for case in &cases {
        for Written { elements, expected, .. } in &case.written {
            let (found, next) = rest.split_at(*elements);
            rest = next;
            let (found, guard) = found.split_at(expected.len());
            let untouched = guard.iter().all(|value| value.to_bits() == GUARD);
            errors.push((case.name, if untouched { relative_error(found, expected) } else { f32::INFINITY }));
        }
    }
    Ok(errors)
}

/// Largest difference over the largest magnitude; NaN where `found` has one.
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(1e-6f32, |largest, x| largest.max(x.abs()));
    let worst = |worst: f32, (found, expected): (&f32, &f32)| {
        let error = (found - expected).abs();
        if error > worst || error.is_nan() { error } else { worst }
    };
    found.iter().zip(expected).fold(0.0, worst) / largest
}

/// One kernel on its own buffers, and what the CPU makes of the same values.
struct Case {
    name: &'static str,
    step: Step,
    batch: Batch,
    /// By binding.
    buffers: Vec<Vec<wgpu::Buffer>>,
    written: Vec<Written>,
}

/// What a kernel writes.
struct Written {
    /// Index of its buffer, and elements of that.
    binding: usize,
    elements: usize,
    /// None for the vectors.
    buf: Option<Buf>,
    /// Of the rows of the batch.
    expected: Vec<f32>,
}

impl Case {
    async fn new(
        gpu: &Gpu,
        program: &Program,
        op: &dyn Op,
        form: Form,
        precision: Precision,
        large: &[bool],
        lengths: &[u32],
    ) -> Result<Self> {
        let batch = batch(program, &within(lengths, form.most_tokens));
        // Of what it makes beside, the step before is the host's side.
        let before = form.makes.and_then(|made| program.all_ops().nth(program.maker(made)?));
        let kernel = &form.kernel;
        let name = kernel.name;
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut memory = Memory::scratch(program);
        let rounds = precision == Precision::Int8 && program.is_int8(op);
        let mut weights = program.weights.clone();
        for weight in kernel.operands.iter().filter_map(Operand::weight) {
            // The ids of a batch stay below; the set-up reads every row.
            match &mut weights[weight.0].layout {
                Layout::Table { .. } if matches!(kernel.grid.rows, Rows::Fixed(_)) => {}
                Layout::Table { rows, .. } | Layout::Rotations { rows, .. } => *rows = TABLE_ROWS,
                Layout::Turns { most } => *most = longest,
                _ => {}
            }
        }
        let holding = Holding { weights: &weights, large, precision, limit: gpu.limits.binding };
        let usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        let upload = |values: &[u8]| {
            let buffer = gpu.buffer("self-check", values.len() as u64, usage);
            gpu.queue.write_buffer(&buffer, 0, values);
            buffer
        };
        let frame = gpu.buffer("self-check", 4 * frame_words(batch.tokens()) as u64, usage);
        gpu.queue.write_buffer(&frame, 0, bytemuck::cast_slice(&batch.frame()));
        // By binding; only a large parameter can be in several.
        let mut buffers: Vec<Vec<wgpu::Buffer>> = vec![vec![frame]];
        let mut written = Vec::new();
        for (index, operand) in kernel.operands.iter().enumerate() {
            // One activation or parameter may be bound twice.
            if let Some(earlier) = kernel.operands[..index].iter().position(|earlier| earlier == operand) {
                buffers.push(buffers[1 + earlier].clone());
                continue;
            }
            let pieces = match operand {
                Operand::Read(buf) => {
                    let rows = whole_tiles(buf.rows.of(&batch)) as usize;
                    let values = match rounds {
                        true => random.steps(rows, buf.width, buf.stride),
                        false => random.activation(rows, buf.width, buf.stride),
                    };
                    let buffer = upload(bytemuck::cast_slice(&values));
                    memory.set(*buf, values);
                    vec![buffer]
                }
                Operand::Weight(id) | Operand::Large(Large { weight: id, .. }) => {
                    let weight = &weights[id.0];
                    let stored = weight.stored(precision);
                    let (values, bytes) = match (stored, weight.integers()) {
                        (Precision::Packed, Some(integers)) => {
                            let (values, words) = random.integers(integers);
                            (values, bytemuck::cast_slice(&words).to_vec())
                        }
                        (Precision::Int8, _) => {
                            let (values, inputs) = (random.weight(weight), weight.layout.inputs());
                            let bytes = Int8Matrix::quantize(&values, inputs).bytes(inputs);
                            (values, bytes)
                        }
                        _ => {
                            let values = random.weight(weight);
                            let halves =
                                || values.iter().map(|x| half::f16::from_f32(*x).to_bits()).collect::<Vec<_>>();
                            let bytes: Vec<u8> = match stored {
                                Precision::F16 => bytemuck::cast_slice(&halves()).to_vec(),
                                _ => bytemuck::cast_slice(&values).to_vec(),
                            };
                            (values, bytes)
                        }
                    };
                    memory.set_weight(*id, values, stored, weight.layout);
                    bytes.chunks(holding.pieces(*id)?.1 as usize).map(upload).collect()
                }
                Operand::Write(buf) => {
                    let elements = whole_tiles(buf.rows.of(&batch)) as usize * buf.stride;
                    written.push(Written { binding: index + 1, elements, buf: Some(*buf), expected: Vec::new() });
                    memory.set(*buf, vec![0.0; elements]);
                    vec![upload(bytemuck::cast_slice(&vec![GUARD; elements]))]
                }
                Operand::Output => {
                    let elements = (batch.texts() + 1) * batch.pooling.dimensions as usize;
                    written.push(Written { binding: index + 1, elements, buf: None, expected: Vec::new() });
                    vec![upload(bytemuck::cast_slice(&vec![GUARD; elements]))]
                }
            };
            buffers.push(pieces);
        }
        if written.is_empty() {
            return Err(Error::Shader { kernel: name.into(), reason: "it writes nothing".into() });
        }
        before.into_iter().chain([op]).for_each(|op| op.run(&batch, &mut memory));
        for Written { buf, expected, .. } in &mut written {
            *expected = match buf {
                Some(buf) => memory.read(*buf)[..buf.rows.of(&batch) * buf.stride].to_vec(),
                None => memory.take_output(),
            };
        }
        let Variants { most_tokens, makes, pieces, .. } = holding.variants(form)?;
        let mut dispatches = Vec::new();
        for (piece, (kernel, text)) in pieces.iter().enumerate() {
            let pipeline = gpu.pipeline(kernel, text, &[]).await?;
            let bound: Vec<_> = buffers.iter().map(|pieces| pieces.get(piece).unwrap_or(&pieces[0])).collect();
            let group = gpu.bind(kernel, &pipeline, &bound);
            dispatches.push(Dispatch { pipeline, group, grid: kernel.grid });
        }
        // Whatever the rows that it is for.
        let step = Step(vec![Bound { most_rows: usize::MAX.into(), most_tokens, makes, dispatches }]);
        Ok(Self { name, step, batch, buffers, written })
    }

    fn bytes(&self) -> u64 {
        self.written.iter().map(|written| 4 * written.elements as u64).sum()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.buffers.iter().flatten().for_each(wgpu::Buffer::destroy);
    }
}

/// As many of these tokens as a batch may have.
fn within(lengths: &[u32], most: usize) -> Vec<u32> {
    let (mut cut, mut left) = (Vec::new(), most);
    for length in lengths {
        let own = left.min(*length as usize);
        left -= own;
        if own > 0 {
            cut.push(own as u32);
        }
    }
    cut
}

/// Texts of these lengths, a third of each left out of the pooling. In every other text the first third is seen by all; in
/// the others four tokens of five see the text in front of theirs too, and the fifth the text behind.
fn batch(program: &Program, lengths: &[u32]) -> Batch {
    let output = program.vectors();
    let width = output.width as u32;
    let pooling = PoolingParams {
        modes: (0..output.modes as u32).collect(),
        dimensions: width.div_ceil(2),
        norm_dimensions: width,
        temperature: Some(0.7),
        // The first, so that ids stay below the rows that tables have here.
        adapter: Some(0),
    };
    let mut batch = Batch { starts: vec![0], pooling, ..Batch::default() };
    for (text, &length) in lengths.iter().enumerate() {
        let start = batch.ids.len() as u32;
        let until = start + length;
        let in_front = batch.from.last().copied().unwrap_or(start);
        let behind = until + lengths.get(text + 1).copied().unwrap_or(0);
        for index in 0..length {
            batch.ids.push((start + index) * 7 % TABLE_ROWS as u32);
            batch.positions.push(index % TABLE_ROWS as u32);
            batch.type_ids.push((start + index) % 2);
            batch.from.push(start);
            batch.until.push(until);
            let (also_from, also_until) = match text % 2 {
                0 => (start, start + length.div_ceil(3)),
                _ if index % 5 == 4 => (until, behind),
                _ => (in_front, start),
            };
            batch.also_from.push(also_from);
            batch.also_until.push(also_until);
        }
        batch.starts.push(until);
        batch.pool_from.push(length / 3);
        batch.picks.push(start + length / 2);
    }
    batch
}

/// xorshift64*: the same numbers everywhere.
struct Random(u64);

impl Random {
    /// Between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
        bits as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `[rows, stride]`, zero past `width`, one value in a hundred fifty times as large: real encoders have such
    /// columns, and sums in half precision break on them.
    fn activation(&mut self, rows: usize, width: usize, stride: usize) -> Vec<f32> {
        let mut values = vec![0.0; rows * stride];
        for row in values.chunks_exact_mut(stride) {
            for value in &mut row[..width] {
                let outlier = if self.next() > 0.98 { 50.0 } else { 1.0 };
                *value = self.next() * outlier;
            }
        }
        values
    }

    /// The same where runs of 64 inputs are rounded to 128 steps: no value is near the middle of two, where a division that is a little
    /// off, which WGSL allows, would decide the integer.
    fn steps(&mut self, rows: usize, width: usize, stride: usize) -> Vec<f32> {
        let mut values = vec![0.0; rows * stride];
        for run in values.chunks_exact_mut(stride).flat_map(|row| row[..width].chunks_mut(64)) {
            let step = if self.next() > 0.9 { 0.4 } else { 0.016 };
            let whole = |random: f32| (64.0 + 64.0 * random).floor().min(127.0);
            let zero = whole(self.next());
            for (index, value) in run.iter_mut().enumerate() {
                let steps = match index {
                    0 => 0.0,
                    1 => 127.0,
                    _ => whole(self.next()) + 0.4 * self.next(),
                };
                *value = step * (steps.clamp(0.0, 127.0) - zero);
            }
        }
        values
    }

    /// A parameter in integers, all of its values and its words.
    fn integers(&mut self, form: Integers) -> (Vec<f32>, Vec<u32>) {
        let (rows, columns) = form.layout.size();
        let top = ((1 << form.packing.bits) - 1) as f32;
        let groups = rows * form.packing.groups();
        let mut bytes = |count: usize| (0..count).map(|_| (self.next().abs() * top) as u8).collect::<Vec<_>>();
        let (integers, zeros) = (bytes(rows * columns), bytes(groups));
        let scale = |_| half::f16::from_f32(self.next() / top).to_le_bytes();
        let scales: Vec<u8> = (0..groups).flat_map(scale).collect();
        let mut runs = Runs::all(form);
        runs.place(0, &integers, &scales, &zeros);
        (runs.values(), runs.words())
    }

    /// Values where the checkpoint has some, zero in the padding.
    fn weight(&mut self, weight: &Weight) -> Vec<f32> {
        let layout = weight.layout;
        let (rows, columns) = layout.size();
        let mut values = vec![0.0; layout.elements()];
        if let Some(Computed::Values(known)) = &weight.computed {
            // They may be places in another buffer.
            values[..known.len()].copy_from_slice(known);
            return values;
        }
        for row in 0..rows {
            for column in 0..columns {
                values[layout.place(row, column)] = self.next();
            }
        }
        values
    }
}
