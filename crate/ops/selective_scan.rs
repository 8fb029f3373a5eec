//! `y[t] = (h[t] C[t] + skip x[t]) silu(gate[t])` for each channel, where `h[t] = exp(dt[t] A) h[t-1] + dt[t] x[t] B[t]` are
//! its states, `dt = softplus(step)` and `A = -exp(decay)`. Source: "Mamba", arXiv 2312.00752, algorithm 2.

use embedlet_host::{add_scaled, exp, zip};

use super::GROUP;
use super::linear::Activation;
use crate::batch::Batch;
use crate::cpu::Memory;
use crate::fragment;
use crate::layout::PANEL;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};

/// What a scan does not read from the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanWeights {
    /// States of a channel.
    pub states: usize,
    /// The logarithm of how fast each state decays: [`Layout::Linear`](crate::layout::Layout::Linear) from states to channels,
    /// never rounded.
    pub decay: WeightId,
    /// What each channel passes on beside its states: `[width]`
    pub skip: WeightId,
}

/// See the module.
pub struct SelectiveScan {
    x: Buf,
    steps: Buf,
    selection: Buf,
    gate: Buf,
    weights: ScanWeights,
    backward: bool,
    out: Buf,
}

impl Program {
    /// x and steps: `[tokens, width]`, selection: `[tokens, …]` of which the last columns are B and C, a column a state, gate:
    /// `[tokens, …]` of which the last columns are the gate, padded as x is, to `[tokens, width]`. `backward` begins at the end
    /// of each text.
    pub fn selective_scan(
        &mut self,
        x: Buf,
        steps: Buf,
        selection: Buf,
        gate: Buf,
        weights: ScanWeights,
        backward: bool,
    ) -> Buf {
        let out = self.buf(Rows::Tokens, x.width);
        self.push(SelectiveScan { x, steps, selection, gate, weights, backward, out });
        out
    }
}

impl Op for SelectiveScan {
    fn kernel(&self) -> Kernel {
        let stride = self.x.stride;
        Kernel {
            name: "selective_scan",
            fragments: vec![fragment!("selective_scan.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("STRIDE", Const::Count(stride)),
                ("STATES", Const::Count(self.weights.states)),
                ("STATES_STRIDE", Const::Count(self.weights.states.next_multiple_of(4))),
                ("SELECTION", Const::Count(self.selection.stride)),
                ("SELECTED", Const::Count(self.selected())),
                ("GATE", Const::Count(self.gate.stride)),
                ("GATED", Const::Count(self.gate.stride - stride)),
                ("BACKWARD", Const::Flag(self.backward)),
            ],
            operands: vec![
                Operand::Read(self.x),
                Operand::Read(self.steps),
                Operand::Read(self.selection),
                Operand::Read(self.gate),
                Operand::Weight(self.weights.decay),
                Operand::Weight(self.weights.skip),
                Operand::Write(self.out),
            ],
            grid: Grid { rows: Rows::Texts, per_group: 1, y: stride.div_ceil(GROUP) as u32, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (stride, states) = (self.x.stride, self.weights.states);
        memory.write(self.out, |memory, out| {
            let row = |buf: Buf, row: usize| &memory.read(buf)[row * buf.stride..][..buf.stride];
            let (decay, skip) = (memory.weight(self.weights.decay), memory.weight(self.weights.skip));
            // A row a state, so that channels lie side by side.
            let place = |state: usize, channel: usize| {
                (channel / PANEL * states.next_multiple_of(4) + state) * PANEL + channel % PANEL
            };
            let rates: Vec<f32> = (0..states * stride).map(|at| -exp(decay[place(at / stride, at % stride)])).collect();
            let mut scratch = vec![0.0; stride];
            let (mut dt, mut input) = (scratch.clone(), scratch.clone());
            for text in 0..batch.texts() {
                let mut held = vec![0.0; states * stride];
                let rows = batch.text(text);
                for step in 0..rows.len() {
                    let token = if self.backward { rows.end - 1 - step } else { rows.start + step };
                    let (x, y) = (row(self.x, token), &mut out[token * stride..][..stride]);
                    dt.iter_mut().zip(row(self.steps, token)).for_each(|(dt, step)| *dt = softplus(*step));
                    input.copy_from_slice(x);
                    zip(&mut input, &dt, |x, dt| dt * x);
                    y.copy_from_slice(x);
                    zip(y, skip, |x, skip| skip * x);
                    let (b, c) = row(self.selection, token)[self.selected()..][..2 * states].split_at(states);
                    for (state, (held, rates)) in
                        held.chunks_exact_mut(stride).zip(rates.chunks_exact(stride)).enumerate()
                    {
                        scratch.copy_from_slice(rates);
                        zip(&mut scratch, &dt, |rate, dt| (dt * rate).exp());
                        zip(held, &scratch, |held, kept| kept * held);
                        add_scaled(held, b[state], &input);
                        add_scaled(y, c[state], held);
                    }
                    scratch.copy_from_slice(&row(self.gate, token)[self.gate.stride - stride..]);
                    Activation::Silu.apply(&mut scratch);
                    zip(y, &scratch, |y, gate| y * gate);
                }
            }
        });
    }
}

impl SelectiveScan {
    /// First column of B.
    fn selected(&self) -> usize {
        self.selection.width - 2 * self.weights.states
    }
}

/// `ln(1 + exp(x))`, and x where that is x.
fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { exp(x).ln_1p() }
}
