//! `y = epilogue(x Wᵀ + b)`, or gated `y = activation(x Uᵀ + b) (x Vᵀ + c)`. Sources: `torch.nn.functional.linear`,
//! and arXiv 2002.05202; the activations are those that `config.json` names, each by its exact formula.

use embedlet_host::{Matrix, PANEL, add_scaled, product, zip};
use rayon::prelude::*;

use super::Normed;
use crate::batch::Batch;
use crate::cpu::{Memory, THREADS, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Form, Large, Op, Operand, Program, WeightId};
use crate::shader::{Const, Fragment, Grid, Kernel};
use crate::weights::TILE;

/// Rows that go through a product and its epilogue together: as many as amortise reading the weights, and still fit a cache.
const BLOCK: usize = 32;

/// Rows of a workgroup of `linear_split.wgsl`.
const SPLIT_ROWS: usize = 16;
/// Inputs that as many more invocations share, so that a short text does not wait for one long sum.
const MANY_INPUTS: usize = 1024;
/// Rows of a block of `linear_tiled.wgsl`.
const ROWS: usize = 64;
/// Tiles that a GPU should have to work on. Where rows make fewer, its cores share the inputs of a product rather than wait.
const GROUPS: usize = 64;
/// Tiles of two blocks that it should have, to take them: a large one has some hundred cores.
const LARGE_GROUPS: usize = 256;
/// The same of a matrix in bytes: a tile rounds its rows once for 64 columns, the other kernel for 8.
const INT8_GROUPS: usize = 16;

/// An elementwise function by its name in PyTorch or transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `gelu`: `x/2 (1 + erf(x/√2))`
    Gelu,
    /// `gelu_new`, `gelu_pytorch_tanh`: `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`
    GeluTanh,
    /// `quick_gelu`: `x / (1 + exp(-1.702 x))`
    QuickGelu,
    /// `relu`: `max(x, 0)`
    Relu,
    /// `silu`, `swish`: `x / (1 + exp(-x))`
    Silu,
    /// `tanh`
    Tanh,
}

/// What happens to a product before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    /// Nothing more than the bias.
    None,
    /// An activation.
    Activation(Activation),
    /// A matrix of the output's shape is added.
    Residual(Buf),
    /// It is multiplied by a matrix of its shape, value by value.
    Product(Buf),
}

impl Epilogue {
    /// The matrix that takes part.
    pub(super) fn other(self) -> Option<Buf> {
        match self {
            Self::Residual(other) | Self::Product(other) => Some(other),
            Self::None | Self::Activation(_) => None,
        }
    }

    /// Applies it to whole rows of `width` columns, of which the first is row `first`.
    pub(super) fn apply(self, rows: &mut [f32], first: usize, width: usize, memory: &Memory) {
        let other = |other: Buf| &memory.read(other)[first * width..][..rows.len()];
        match self {
            Self::None => {}
            Self::Activation(activation) => activation.apply(rows),
            Self::Residual(residual) => add_scaled(rows, 1.0, other(residual)),
            Self::Product(factor) => zip(rows, other(factor), |y, factor| y * factor),
        }
    }

    /// Its WGSL.
    pub(super) fn fragment(self) -> Fragment {
        match self {
            Self::None => fragment!("epilogue/none.wgsl"),
            Self::Residual(_) => fragment!("epilogue/residual.wgsl"),
            Self::Product(_) => fragment!("epilogue/product.wgsl"),
            Self::Activation(activation) => activation.fragment(),
        }
    }
}

/// See the module.
pub struct Linear {
    x: Buf,
    /// What `x` is, where the step before makes nothing else.
    normed: Option<Normed>,
    weight: WeightId,
    bias: WeightId,
    epilogue: Epilogue,
    gated: bool,
    out: Buf,
}

impl Program {
    /// x: `[rows, inputs]`, weight: [`Layout::Linear`](crate::weights::Layout::Linear) of `width` outputs,
    /// bias: `[width]` to `[rows, width]`. Where they have more columns, the first are taken.
    pub fn linear(&mut self, x: Buf, weight: WeightId, bias: WeightId, width: usize, epilogue: Epilogue) -> Buf {
        let out = self.buf(x.rows, width);
        let normed = self.normed(x).filter(|_| epilogue.other().is_none());
        self.push(Linear { x, normed, weight, bias, epilogue, gated: false, out });
        out
    }

    /// x: `[rows, inputs]`, weight and bias: of [`Axis::gated`](crate::weights::Axis::gated) outputs, `width` in each
    /// half, to `[rows, width]`
    pub fn gated_linear(&mut self, x: Buf, weight: WeightId, bias: WeightId, width: usize, act: Activation) -> Buf {
        let out = self.buf(x.rows, width);
        let (normed, epilogue) = (self.normed(x), Epilogue::Activation(act));
        self.push(Linear { x, normed, weight, bias, epilogue, gated: true, out });
        out
    }
}

impl Linear {
    /// One of the kernels of a product.
    fn kernel_of(&self, name: &'static str, own: Fragment, (per_group, z): (usize, usize)) -> Kernel {
        let mut operands = vec![
            Operand::Read(self.x),
            Operand::Large(Large {
                weight: self.weight,
                values: fragment!("lib/weight_values.wgsl"),
                integers: fragment!("lib/weight_integers.wgsl"),
            }),
            Operand::Weight(self.bias),
            Operand::Write(self.out),
        ];
        operands.extend(self.epilogue.other().map(Operand::Read));
        Kernel {
            name,
            fragments: vec![own, fragment!("lib/product.wgsl"), self.epilogue.fragment()],
            consts: vec![
                ("WIDTH", Const::Count(self.x.width)),
                ("K4", Const::Count(self.x.stride / 4)),
                ("N4", Const::Count(self.out.stride / 4)),
                ("ROWS", Const::Count(self.x.rows.kind())),
                ("FIXED_ROWS", Const::Count(self.x.rows.fixed())),
                ("GATED", Const::Flag(self.gated)),
            ],
            operands,
            grid: Grid {
                rows: self.x.rows,
                per_group: per_group as u32,
                y: self.columns().div_ceil(TILE) as u32,
                z: z as u32,
            },
        }
    }
}

impl Op for Linear {
    fn kernel(&self) -> Kernel {
        self.kernel_of("linear", fragment!("linear.wgsl"), (32, 1))
    }

    fn forms(&self) -> Vec<Form> {
        let mut split = self.kernel_of("linear_split", fragment!("linear_split.wgsl"), (SPLIT_ROWS, TILE / PANEL));
        let mut tiled = self.kernel_of("linear_tiled", fragment!("linear_tiled.wgsl"), (ROWS, 1));
        let mut large = self.kernel_of("linear_tiled_large", fragment!("linear_tiled.wgsl"), (2 * ROWS, 1));
        for (kernel, blocks) in [(&mut tiled, 1), (&mut large, 2)] {
            kernel.consts.push(("BLOCKS", Const::Count(blocks)));
        }
        // Slices are whole fetches of a tile, and no more than `linear_split.wgsl` has invocations for.
        let k4 = self.x.stride / 4;
        let slots = if k4 < MANY_INPUTS / 4 { 16 } else { 32 };
        let slice = k4.div_ceil(slots).next_multiple_of(4);
        for kernel in [&mut split, &mut tiled, &mut large] {
            let counts = [("SLICE4", slice), ("SLICES", k4.div_ceil(slice))];
            kernel.consts.extend(counts.map(|(name, count)| (name, Const::Count(count))));
        }
        split.consts.push(("SLOTS", Const::Count(slots)));
        split.fragments.push(fragment!("lib/plain_rows.wgsl"));
        let mut forms = Vec::new();
        if let Some(normed) = self.normed {
            forms.push(normed.fused("linear_split_normed", split.clone(), 4 * slots, SPLIT_ROWS));
        }
        forms.push(Form::new(split, self.rows_of_tiles(ROWS, GROUPS)));
        forms.push(Form::new(tiled, self.rows_of_tiles(2 * ROWS, LARGE_GROUPS)));
        forms.push(Form { many_registers: true, ..Form::new(large, usize::MAX) });
        forms
    }

    fn int8_forms(&self) -> Vec<Form> {
        let split = ("linear_int8_split", fragment!("linear_int8_split.wgsl"), (SPLIT_ROWS, TILE / PANEL));
        let tiled = ("linear_int8", fragment!("linear_int8.wgsl"), (ROWS, 1));
        let [split, tiled] = [split, tiled].map(|(name, own, groups)| {
            let mut kernel = self.kernel_of(name, own, groups);
            kernel.fragments.push(fragment!("lib/rounded_rows.wgsl"));
            for operand in &mut kernel.operands {
                if let Operand::Large(large) = operand {
                    (large.values, large.integers) =
                        (fragment!("lib/weight_int8.wgsl"), fragment!("lib/weight_int8.wgsl"));
                }
            }
            kernel
        });
        vec![Form::new(split, self.rows_of_tiles(ROWS, INT8_GROUPS)), Form::new(tiled, usize::MAX)]
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (inputs, width) = (self.x.stride, self.out.stride);
        memory.write(self.out, |memory, out| {
            let (x, bias) = (memory.read(self.x), memory.weight(self.bias));
            let weight = memory.matrix(self.weight, 0, 1);
            let count = self.x.rows.of(batch);
            if THREADS && count <= BLOCK && !self.gated {
                product_by_columns(&x[..count * inputs], inputs, weight, bias, &mut out[..count * width], width);
                return self.epilogue.apply(&mut out[..count * width], 0, width, memory);
            }
            for_row_blocks(&mut out[..count * width], width, BLOCK, |first, rows| {
                let x = &x[first * inputs..][..rows.len() / width * inputs];
                if self.gated {
                    return self.run_gated(x, inputs, weight, bias, rows);
                }
                product(x, inputs, weight, bias, rows, width);
                self.epilogue.apply(rows, first, width, memory);
            });
        });
    }
}

impl Linear {
    /// The most rows that make no more than `groups` tiles of so many rows.
    fn rows_of_tiles(&self, rows: usize, groups: usize) -> usize {
        rows * (groups / self.columns().div_ceil(TILE)).max(1)
    }

    /// Columns of the product.
    fn columns(&self) -> usize {
        if self.gated { 2 * self.out.stride } else { self.out.stride }
    }

    fn run_gated(&self, x: &[f32], inputs: usize, weight: Matrix, bias: &[f32], out: &mut [f32]) {
        let mut both = vec![0.0; 2 * out.len()];
        product(x, inputs, weight, bias, &mut both, self.columns());
        let Epilogue::Activation(activation) = self.epilogue else { return };
        // A panel holds four columns of each half.
        let halves = both.as_chunks_mut::<4>().0.as_chunks_mut::<2>().0;
        for (out, [first, _]) in out.as_chunks_mut::<4>().0.iter_mut().zip(&mut *halves) {
            *out = *first;
        }
        activation.apply(out);
        for (out, [_, second]) in out.as_chunks_mut::<4>().0.iter_mut().zip(halves) {
            out.iter_mut().zip(second).for_each(|(y, second)| *y *= *second);
        }
    }
}

/// A product whose few rows would leave cores idle: each of them makes some of the columns.
fn product_by_columns(x: &[f32], inputs: usize, weight: Matrix, bias: &[f32], out: &mut [f32], width: usize) {
    let columns = width.div_ceil(rayon::current_num_threads()).next_multiple_of(2 * PANEL);
    let parts: Vec<Vec<f32>> = (0..width.div_ceil(columns))
        .into_par_iter()
        .map(|part| {
            let first = part * columns;
            let own = columns.min(width - first);
            let mut made = vec![0.0; x.len() / inputs * own];
            product(
                x,
                inputs,
                weight.behind_column(inputs, first),
                bias.get(first..).unwrap_or_default(),
                &mut made,
                own,
            );
            made
        })
        .collect();
    for (index, row) in out.chunks_exact_mut(width).enumerate() {
        for (part, row) in parts.iter().zip(row.chunks_mut(columns)) {
            row.copy_from_slice(&part[index * row.len()..][..row.len()]);
        }
    }
}

impl Activation {
    /// By the name that `config.json` uses.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" | "gelu_python" => Self::Gelu,
            // One formula, written in several ways.
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => Self::GeluTanh,
            "quick_gelu" => Self::QuickGelu,
            "relu" => Self::Relu,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            _ => return None,
        })
    }

    /// The epilogue that applies it.
    pub(super) fn fragment(self) -> Fragment {
        match self {
            Self::Gelu => fragment!("epilogue/gelu.wgsl"),
            Self::GeluTanh => fragment!("epilogue/gelu_tanh.wgsl"),
            Self::QuickGelu => fragment!("epilogue/quick_gelu.wgsl"),
            Self::Relu => fragment!("epilogue/relu.wgsl"),
            Self::Silu => fragment!("epilogue/silu.wgsl"),
            Self::Tanh => fragment!("epilogue/tanh.wgsl"),
        }
    }

    /// Applies it to every value.
    pub fn apply(self, values: &mut [f32]) {
        match self {
            Self::Gelu => embedlet_host::gelu(values),
            Self::GeluTanh => embedlet_host::gelu_tanh(values),
            Self::QuickGelu => embedlet_host::quick_gelu(values),
            Self::Relu => embedlet_host::relu(values),
            Self::Silu => embedlet_host::silu(values),
            Self::Tanh => embedlet_host::tanh(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_match_torch() {
        // torch.nn.functional.* in float64 on these five points.
        let x = [-3.0, -0.5, 0.0, 0.7, 20.0];
        let cases = [
            (Activation::Gelu, [-0.004_049_694, -0.154_268_77, 0.0, 0.530_625_4, 20.0]),
            (Activation::GeluTanh, [-0.003_637_392, -0.154_286, 0.0, 0.530_570_1, 20.0]),
            (Activation::QuickGelu, [-0.018_071_31, -0.149_611_56, 0.0, 0.536_893_95, 20.0]),
            (Activation::Relu, [0.0, 0.0, 0.0, 0.7, 20.0]),
            (Activation::Silu, [-0.142_277_61, -0.188_770_32, 0.0, 0.467_731_45, 20.0]),
            (Activation::Tanh, [-0.995_054_7, -0.462_117_17, 0.0, 0.604_367_8, 1.0]),
        ];
        for (activation, expected) in cases {
            let mut y = x;
            activation.apply(&mut y);
            for (found, expected) in y.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{activation:?}: {y:?}");
            }
        }
    }
}
