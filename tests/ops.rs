//! Every operation on the GPU against its CPU side, over tables of sizes around the edges of tiles, and the CPU's
//! product against plain loops in f64.

use embedlet::batch::{Batch, PoolingParams, Sequence, Tables};
use embedlet::cpu::Memory;
use embedlet::gpu::{Gpu, Limits, compare_all};
use embedlet::ops::{
    Activation, Adapters, Blocks, Down, Dropout, EmbedTables, Epilogue, Heads, Lexical, Norm, NormKind, Own, Parts,
    RelativePositions, Rotations, Routes, ScanWeights, Sees, Taps,
};
use embedlet::packed::{BITS, Packing};
use embedlet::program::{Buf, Precision, Program, Rows};
use embedlet::sparsity::Sparsity;
use embedlet::weights::{Axis, Layout, Order, Part, Rounding, Weight};

use crate::shaders::{rotations, vector, weight};
use crate::support::{gpu, hardware, max_abs};

/// Largest error on values of unit size with outliers of fifty, relative to the largest magnitude of a result.
/// Both sides sum in f32 but in another order, and exp differs by a few ULP.
const TOLERANCE: f32 = 1e-5;
/// With f16 matrices: WGSL lets a driver read subnormal halves (below 6e-5) as zero, and lavapipe does.
const TOLERANCE_F16: f32 = 1e-4;

const PRECISIONS: [(Precision, f32); 2] = [(Precision::F32, TOLERANCE), (Precision::F16, TOLERANCE_F16)];

/// Texts around the edges of a tile of 32 rows, alone and packed.
const LENGTHS: [&[u32]; 7] = [&[1], &[31], &[32], &[33], &[64, 1], &[7, 25, 33, 2], &[130]];

fn check(name: &str, program: &Program) {
    check_as(name, program, &gpu(), &PRECISIONS);
}

/// In the kernels that hardware takes. They are several each, which take seconds to compile: not everything is asked of every size.
fn check_forms(name: &str, program: &Program) {
    check_as(&format!("{name}, in the forms of hardware"), program, &hardware(), &PRECISIONS);
}

fn check_as(name: &str, program: &Program, gpu: &Gpu, precisions: &[(Precision, f32)]) {
    let mut failures = Vec::new();
    for lengths in LENGTHS {
        for &(precision, tolerance) in precisions {
            let errors = pollster::block_on(compare_all(gpu, program, precision, lengths)).unwrap();
            for (op, error) in errors {
                if error.is_nan() || error > tolerance {
                    failures.push(format!("{op} of {name}, texts of {lengths:?} tokens, {precision:?}: {error:e}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn norm(program: &mut Program, width: usize, eps: f32) -> Norm {
    Norm { gain: vector(program, width), bias: vector(program, width), eps, kind: NormKind::Layer }
}

#[test]
fn layer_norm() {
    for (width, eps) in [(1, 1e-3), (3, 1e-5), (64, 1e-12), (255, 1e-12), (256, 1e-12), (257, 1e-5), (384, 1e-12)] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, width);
        let norm = norm(&mut p, width, eps);
        p.layer_norm(x, norm);
        p.layer_norm(x, Norm { kind: NormKind::Rms, ..norm });
        p.layer_norm(x, Norm { kind: NormKind::Affine, ..norm });
        let residual = p.buf(Rows::Tokens, width);
        p.layer_norm_onto(x, Norm { kind: NormKind::OnePlusRms, ..norm }, Some(residual));
        check(&format!("width {width}"), &p);
    }
}

/// Steps that normalise what they read themselves, each behind the step that does it for them.
fn behind_norms(p: &mut Program, width: usize, outputs: usize, rows: Rows) {
    for kind in [NormKind::Layer, NormKind::Rms, NormKind::OnePlusRms] {
        let norm = Norm { kind, ..norm(p, width, 1e-5) };
        let x = p.buf(rows, width);
        for axis in [Axis::plain(outputs), Axis::gated(outputs, 0)] {
            let w = weight(p, Layout::Linear { inputs: Axis::plain(width), outputs: axis });
            let bias = weight(p, Layout::Vector { axis });
            let normed = p.layer_norm(x, norm);
            match axis.order {
                Order::Gated(_) => p.gated_linear(normed, w, bias, outputs, Activation::Silu),
                _ => p.linear(normed, w, bias, outputs, Epilogue::None),
            };
        }
    }
}

/// How many forms of a program's steps normalise what they read.
fn normalising(p: &Program) -> usize {
    p.all_ops().flat_map(|op| op.forms()).filter(|form| form.makes.is_some()).count()
}

#[test]
fn steps_that_normalise_what_they_read() {
    for (width, outputs) in [(1, 1), (5, 31), (63, 33), (256, 64), (1030, 45)] {
        let mut p = Program::default();
        let kinds = if width == 63 { &[Rows::Tokens, Rows::Texts, Rows::Picks][..] } else { &[Rows::Tokens] };
        kinds.iter().for_each(|rows| behind_norms(&mut p, width, outputs, *rows));
        let x = p.buf(Rows::Tokens, width);
        for kind in [NormKind::Layer, NormKind::Rms] {
            let norm = Norm { kind, ..norm(&mut p, width, 1e-12) };
            let normed = p.layer_norm(x, norm);
            p.pool(normed, 2);
        }
        assert_eq!(normalising(&p), kinds.len() * 3 * 2 + 2);
        check_forms(&format!("{width} to {outputs}"), &p);
        let mut p = Program::default();
        let (x, norm) = (p.buf(Rows::Tokens, width), norm(&mut p, width, 1e-12));
        let normed = p.layer_norm(x, norm);
        p.pool_and_normalize(normed);
        assert_eq!(normalising(&p), 1);
        check_forms(&format!("width {width}, last"), &p);
    }
}

#[test]
fn only_the_step_right_behind_normalises() {
    let (mut p, width) = (Program::default(), 8);
    let norm = norm(&mut p, width, 1e-12);
    let (x, residual) = (p.buf(Rows::Tokens, width), p.buf(Rows::Tokens, width));
    let (w, bias) = (weight(&mut p, square(width)), vector(&mut p, width));
    let mut behind = |record: &dyn Fn(&mut Program) -> Buf, epilogue| {
        let before = normalising(&p);
        let normed = record(&mut p);
        p.linear(normed, w, bias, width, epilogue);
        // A second one finds the first in front of it.
        p.linear(normed, w, bias, width, Epilogue::None);
        normalising(&p) - before
    };
    assert_eq!(behind(&|p| p.layer_norm(x, norm), Epilogue::None), 1);
    assert_eq!(behind(&|p| p.layer_norm(x, norm), Epilogue::Residual(residual)), 0, "no binding is left");
    assert_eq!(behind(&|p| p.layer_norm_onto(x, norm, Some(residual)), Epilogue::None), 0);
    assert_eq!(behind(&|p| p.layer_norm(x, Norm { kind: NormKind::Affine, ..norm }), Epilogue::None), 0);
    let another = |p: &mut Program| {
        p.layer_norm(x, norm);
        residual
    };
    assert_eq!(behind(&another, Epilogue::None), 0);
    let fixed = p.buf(Rows::Fixed(9), width);
    let normed = p.layer_norm(fixed, norm);
    p.linear(normed, w, bias, width, Epilogue::None);
    // What is set up in between is no step of a batch.
    let normed = p.layer_norm(x, norm);
    let fixed = p.layer_norm(fixed, norm);
    p.linear(fixed, w, bias, width, Epilogue::None);
    let before = normalising(&p);
    // The trunk's last step is in front of every tail's first, and of the trunk's next.
    for _ in 0..2 {
        let trunk = p.begin_tail();
        p.pool(normed, 1);
        p.end_tail(trunk, None);
    }
    p.linear(normed, w, bias, width, Epilogue::None);
    assert_eq!(normalising(&p) - before, 3);
}

#[test]
fn embed() {
    for width in [5, 64, 384] {
        for (positions, types, tasks) in [(true, true, true), (true, true, false), (false, false, false)] {
            let mut p = Program::default();
            let mut table = || weight(&mut p, Layout::Table { rows: 64, width });
            let tokens = table();
            let (positions, types, tasks) = (positions.then(&mut table), types.then(&mut table), tasks.then(table));
            let tables = EmbedTables { own: Own::Table(tokens), scale: 2.5, dropout: None, positions, types, tasks };
            let norm = norm(&mut p, width, 1e-12);
            p.embed(tables, width, Some(norm));
            let rows = p.buf(Rows::Tokens, width);
            let dropout = Some(Dropout { mask: 7, trained: 0.12 });
            p.embed(EmbedTables { dropout, ..tables }, width, Some(norm));
            p.embed(EmbedTables { dropout, ..tables }, width, None);
            let affine = Norm { kind: NormKind::Affine, ..norm };
            p.embed(EmbedTables { own: Own::Rows(rows), ..tables }, width, Some(affine));
            p.embed(tables, width, None);
            p.embed_rows(tokens, 64, width, Some(norm));
            p.embed_rows(tokens, 33, width, None);
            check(&format!("width {width}"), &p);
        }
    }
}

#[test]
fn linear() {
    // Of the last the inputs are shared by more invocations.
    let sizes = [(1, 1), (4, 31), (15, 32), (16, 33), (17, 64), (33, 97), (384, 384), (45, 135), (1100, 40)];
    for (inputs, outputs) in sizes {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, inputs);
        let residual = p.buf(Rows::Tokens, outputs);
        let texts = p.buf(Rows::Texts, inputs);
        let fixed = p.buf(Rows::Fixed(37), inputs);
        let layout = Layout::Linear { inputs: Axis::plain(inputs), outputs: Axis::plain(outputs) };
        for (x, epilogue) in [
            (x, Epilogue::None),
            (x, Epilogue::Residual(residual)),
            (texts, Epilogue::None),
            (fixed, Epilogue::None),
            (x, Epilogue::Product(residual)),
            (x, Epilogue::Activation(Activation::Gelu)),
            (x, Epilogue::Activation(Activation::GeluTanh)),
            (x, Epilogue::Activation(Activation::QuickGelu)),
            (x, Epilogue::Activation(Activation::Relu)),
            (x, Epilogue::Activation(Activation::Silu)),
            (texts, Epilogue::Activation(Activation::Tanh)),
        ] {
            // What is done to each value does not depend on how many there are.
            if let Epilogue::Activation(activation) = epilogue
                && activation != Activation::Gelu
                && inputs != 33
            {
                continue;
            }
            let (w, bias) = (weight(&mut p, layout), vector(&mut p, outputs));
            p.linear(x, w, bias, outputs, epilogue);
            let gated = Axis::gated(outputs, 1);
            if let Epilogue::Activation(activation) = epilogue {
                let w = weight(&mut p, Layout::Linear { inputs: Axis::plain(inputs), outputs: gated });
                let bias = weight(&mut p, Layout::Vector { axis: gated });
                p.gated_linear(x, w, bias, outputs, activation);
            }
        }
        let name = format!("{inputs} to {outputs}");
        check(&name, &p);
        if inputs != 33 {
            p.ops.truncate(2);
        }
        check_forms(&name, &p);
    }
}

/// What a packed folder has in integers: products and the token table. Blocks and groups end where rows do not.
fn packed(program: &mut Program, bits: u32, group: usize, columns: usize) {
    for weight in &mut program.weights {
        if matches!(weight.layout, Layout::Linear { .. } | Layout::Table { .. }) {
            let packing =
                Packing { rows: weight.layout.size().0, columns, bits, group, zeros: true, sparsity: Sparsity::None };
            weight.parts = vec![Part { packing: Some(packing), ..Part::whole("", "", packing.rows) }];
        }
    }
    program.hold_integers();
}

/// Products with every kind of matrix that integers are read of.
fn products(p: &mut Program, columns: usize, outputs: usize) {
    let x = p.buf(Rows::Tokens, columns);
    for axis in [Axis::plain(outputs), Axis::gated(outputs, 0), Axis::blocks(3, outputs)] {
        let w = weight(p, Layout::Linear { inputs: Axis::plain(columns), outputs: axis });
        let bias = weight(p, Layout::Vector { axis });
        match axis.order {
            Order::Gated(_) => p.gated_linear(x, w, bias, outputs, Activation::Silu),
            _ => p.linear(x, w, bias, axis.padded(), Epilogue::None),
        };
    }
}

/// Lookups in a table of 64 rows, by id and of all.
fn lookups(p: &mut Program, columns: usize, positions: bool) {
    let table = weight(p, Layout::Table { rows: 64, width: columns });
    let positions = positions.then(|| weight(p, Layout::Table { rows: 64, width: columns }));
    let norm = norm(p, columns, 1e-12);
    p.embed(EmbedTables::of(table), columns, None);
    p.embed(EmbedTables { positions, ..EmbedTables::of(table) }, columns, Some(norm));
    p.embed_rows(table, 64, columns, None);
}

/// In both forms, which every device has; runs of 64 inputs end where rows do not. Both sides sum the same integers, and the runs in the
/// same order, so that the tolerance is that of other products.
#[test]
fn linear_in_int8() {
    let sizes = [(1, 1), (15, 32), (33, 97), (63, 33), (64, 64), (65, 8), (45, 135), (384, 384), (1100, 20)];
    for (inputs, outputs) in sizes {
        let mut p = Program::default();
        products(&mut p, inputs, outputs);
        let residual = p.buf(Rows::Tokens, outputs);
        for (rows, epilogue) in [
            (Rows::Texts, Epilogue::None),
            (Rows::Fixed(37), Epilogue::Activation(Activation::Gelu)),
            (Rows::Tokens, Epilogue::Residual(residual)),
        ] {
            let x = p.buf(rows, inputs);
            let layout = Layout::Linear { inputs: Axis::plain(inputs), outputs: Axis::plain(outputs) };
            let (w, bias) = (weight(&mut p, layout), vector(&mut p, outputs));
            p.linear(x, w, bias, outputs, epilogue);
        }
        check_as(&format!("{inputs} to {outputs}"), &p, &gpu(), &[(Precision::Int8, TOLERANCE)]);
    }
}

#[test]
fn integers() {
    for bits in BITS {
        for (columns, group, outputs) in [(4, 4, 1), (36, 8, 33), (96, 64, 64), (384, 384, 70)] {
            let mut p = Program::default();
            products(&mut p, columns, outputs);
            lookups(&mut p, columns, true);
            behind_norms(&mut p, columns, outputs, Rows::Tokens);
            packed(&mut p, bits, group, columns);
            let held = p.weights.iter().filter(|weight| weight.held.is_some()).count();
            assert_eq!(held, 10, "all matrices and the table of tokens, not that of positions");
            for gpu in [gpu(), hardware()] {
                let name = format!("{bits} bits in groups of {group}, {columns} to {outputs}");
                check_as(&name, &p, &gpu, &[(Precision::Packed, TOLERANCE)]);
            }
        }
    }
}

#[test]
fn pieces() {
    let (mut matrices, mut tables) = (Program::default(), Program::default());
    products(&mut matrices, 96, 150);
    behind_norms(&mut matrices, 96, 150, Rows::Tokens);
    // Only the tokens' own table can be in pieces.
    lookups(&mut tables, 96, false);
    let open = |binding: u64, forms: bool| {
        let limits = Limits { binding, forms: Some(forms), ..Limits::default() };
        pollster::block_on(Gpu::open_within(limits)).unwrap()
    };
    // In f32 a tile has 24,576 bytes and a row of a table 384; of five bits they have 4,608 and 72.
    for (program, limits) in [(&mut matrices, [25_000, 5000]), (&mut tables, [24_500, 1000])] {
        packed(program, 5, 32, 96);
        for (most, precision) in limits.into_iter().zip([Precision::F32, Precision::Packed]) {
            for forms in [false, true] {
                let name = format!("in pieces of {most} bytes, forms of hardware: {forms}");
                check_as(&name, program, &open(most, forms), &[(precision, TOLERANCE)]);
            }
        }
    }
    // A tile of bytes has 6,144 and what its two runs stand for 1,024.
    check_as("in pieces of bytes", &matrices, &open(7500, false), &[(Precision::Int8, TOLERANCE)]);
    let refused = pollster::block_on(compare_all(&open(24_000, false), &matrices, Precision::F32, &[3]));
    assert_eq!(refused.map_err(|error| error.code()), Err("limit-exceeded"), "less than a tile");
}

#[test]
fn lora() {
    for (count, rank, width) in [(1, 1, 1), (2, 4, 31), (5, 4, 384), (3, 7, 33), (4, 9, 1030)] {
        let mut p = Program::default();
        let y = p.buf(Rows::Tokens, width);
        let residual = p.buf(Rows::Tokens, width);
        let (ranks, columns) = (Axis::blocks(count, rank), Axis::plain(width));
        let adapters = Adapters { count, rank, scale: 0.75 };
        let rows = Down::Rows(p.buf(Rows::Tokens, ranks.padded()));
        let table = weight(&mut p, Layout::Table { rows: 64 * count, width: rank });
        for (down, epilogue) in [
            (rows, Epilogue::None),
            (rows, Epilogue::Residual(residual)),
            (rows, Epilogue::Activation(Activation::Gelu)),
            (Down::Table { table, rows: 64, ids: true }, Epilogue::None),
            (Down::Table { table, rows: 2, ids: false }, Epilogue::None),
        ] {
            let up = weight(&mut p, Layout::LowRank { ranks, columns, by_rank: width % 2 == 0 });
            p.lora(y, down, up, adapters, epilogue);
        }
        check(&format!("{count} of rank {rank}, width {width}"), &p);
    }
}

#[test]
fn join() {
    for [a, b, c] in [[1, 4, 7], [64, 128, 3], [5, 5, 5], [257, 384, 1]] {
        let mut p = Program::default();
        let [a, b, c] = [a, b, c].map(|width| p.buf(Rows::Tokens, width));
        p.join(Parts::pair(a, b));
        p.join(Parts { a: (a, 1), b: (b, 0), c: Some((c, -1)) });
        p.join(Parts { a: (a, -33), b: (a, 2), c: Some((a, 0)) });
        check(&format!("{a:?}, {b:?}, {c:?}"), &p);
    }
}

#[test]
fn depthwise() {
    for (width, size) in [(1, 1), (5, 3), (64, 9), (257, 5), (384, 33)] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, width);
        let filters = p.weight(Weight::new(Layout::Filters { channels: width, size }, Vec::new(), Rounding::Never));
        p.depthwise(x, width, filters, Taps::around(size), None, None);
        let wide = p.buf(Rows::Tokens, 2 * width + 3);
        let bias = vector(&mut p, width);
        p.depthwise(wide, width, filters, Taps::causal(size, false), Some(bias), Some(Activation::Silu));
        p.depthwise(wide, width, filters, Taps::causal(size, true), Some(bias), Some(Activation::Gelu));
        check(&format!("width {width}, size {size}"), &p);
    }
}

#[test]
fn fourier() {
    for width in [1, 6, 31, 32, 33, 64, 257] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, width);
        p.fourier(x, 512);
        check(&format!("width {width}"), &p);
    }
}

#[test]
fn dynamic_convolution() {
    for (heads, dim, size) in [(1, 4, 1), (2, 9, 3), (6, 64, 9), (3, 5, 33)] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, Axis::blocks(heads, dim).padded());
        let scores = p.buf(Rows::Tokens, heads * size);
        p.dynamic_convolution(x, scores, heads, size);
        check(&format!("{heads} heads of {dim}, size {size}"), &p);
    }
}

#[test]
fn attention() {
    for (heads, head_dim) in [(1, 4), (2, 9), (2, 10), (3, 16), (12, 32), (2, 64), (1, 128), (1, 256)] {
        let mut p = Program::default();
        let plain = Heads::new(heads, head_dim);
        let distances = |p: &mut Program, most| (weight(p, Layout::Distances { most, buckets: 32, heads }), most);
        let (near, far) = (distances(&mut p, 3), distances(&mut p, 128));
        let mut kinds = vec![
            plain,
            Heads { before: Some(0), behind: Some(0), ..plain },
            Heads { behind: Some(0), scale: 1.0, ..plain },
            Heads { before: Some(5), behind: Some(0), kv: 1, ..plain },
            Heads { before: Some(40), behind: Some(33), distances: Some(near), ..plain },
            Heads { distances: Some(far), ..plain },
            Heads { alibi: true, ..plain },
            Heads { sees: Sees::Both, alibi: true, ..plain },
            Heads { sees: Sees::Both, before: Some(5), behind: Some(9), distances: Some(far), ..plain },
        ];
        if head_dim % 2 == 0 {
            let rotations = rotations(&mut p, head_dim);
            kinds.insert(0, Heads { rotations: Some(rotations), ..plain });
            kinds.push(Heads { rotations: Some(rotations), sees: Sees::Both, kv: 1, ..plain });
            let values_too = Rotations { values: true, ..rotations };
            kinds.push(Heads { rotations: Some(values_too), kv: 1, ..plain });
            kinds.push(Heads { rotations: Some(rotations), before: Some(33), kv: 1, distances: Some(far), ..plain });
        }
        let rest = p.buf(Rows::Tokens, plain.axis(heads).padded());
        kinds.push(Heads { sees: Sees::Leading(rest), ..plain });
        for (size, first, dense) in [(4, 3, 20), (33, 2, 40)] {
            kinds.push(Heads { sees: Sees::Blocks(Blocks { size, first, dense }), ..plain });
        }
        // Which rows are seen does not depend on the columns of a head.
        if ![9, 10, 32].contains(&head_dim) {
            kinds.truncate(4);
        }
        for kind in kinds {
            let qkv = p.buf(Rows::Tokens, kind.axis(kind.qkv()).padded());
            p.attention(qkv, kind);
        }
        let name = format!("{heads} heads of {head_dim}");
        check(&name, &p);
        if head_dim != 10 {
            p.ops.truncate(2);
        }
        check_forms(&name, &p);
    }
}

#[test]
fn max_sim() {
    for width in [1, 4, 9, 128, 131] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, width);
        // The check asks for half of the columns, rounded up.
        for starts in [&[0, 1][..], &[0, 32], &[0, 0, 33, 35, 100], &[0, 31, 64, 97, 98, 99]] {
            let queries = p.queries(starts, width);
            p.max_sim(x, queries);
            check(&format!("width {width}, queries from {starts:?}"), &p);
            p.ops.clear();
        }
    }
}

#[test]
fn disentangled_attention() {
    for (heads, head_dim) in [(1, 4), (2, 9), (3, 16), (2, 64), (1, 256)] {
        let mut p = Program::default();
        let plain = Heads::new(heads, head_dim);
        let qkv = p.buf(Rows::Tokens, plain.axis(plain.qkv()).padded());
        // Texts shorter and longer than the farthest distance, and rows of which some are never met.
        for (most, content_to_position, position_to_content) in [(7, true, true), (200, true, false), (40, false, true)]
        {
            let rows = p.buf(Rows::Fixed(2 * most + 3), plain.axis(2 * heads).padded());
            let buckets = p.weight(Weight::values((0..=2 * most).rev().map(|row| row as f32).collect()));
            let positions = RelativePositions { rows, buckets, most, content_to_position, position_to_content };
            // Less than a model's: with outliers, scores that are as large cost f32 more than the tolerance.
            let scale = 1.0 / (3 * head_dim) as f32;
            p.disentangled_attention(qkv, Heads { scale, ..plain }, positions);
        }
        check(&format!("{heads} heads of {head_dim}"), &p);
    }
}

#[test]
fn conv() {
    for (inputs, outputs, taps) in [(4, 8, 1), (5, 31, 3), (33, 97, 5), (64, 64, 3)] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, inputs);
        let residual = p.buf(Rows::Tokens, outputs);
        let layout = Layout::Conv { inputs: Axis::plain(inputs), taps, outputs: Axis::plain(outputs) };
        for activation in [Activation::Gelu, Activation::Tanh] {
            let (w, bias) = (weight(&mut p, layout), vector(&mut p, outputs));
            p.conv(x, w, bias, taps, activation, residual);
        }
        check(&format!("{inputs} to {outputs}, {taps} taps"), &p);
    }
}

#[test]
fn head_norm() {
    for (heads, kv, dim) in [(1, 1, 4), (3, 1, 9), (2, 2, 10), (12, 4, 64), (70, 70, 8)] {
        let mut p = Program::default();
        let plain = Heads { kv, ..Heads::new(heads, dim) };
        let turned = (dim % 2 == 0).then(|| Heads { rotations: Some(rotations(&mut p, dim)), ..plain });
        for kind in [Some(plain), turned].into_iter().flatten() {
            let qkv = p.buf(Rows::Tokens, kind.axis(kind.qkv()).padded());
            let gain = |p: &mut Program| weight(p, Layout::Vector { axis: kind.axis(1) });
            let (query, key) = (gain(&mut p), gain(&mut p));
            p.head_norm(qkv, kind, [query, key], 1e-6, NormKind::OnePlusRms);
        }
        check(&format!("{heads} and {kv} heads of {dim}"), &p);
    }
}

#[test]
fn route() {
    for (experts, top) in [(2, 1), (5, 5), (8, 2), (64, 3)] {
        let mut p = Program::default();
        let scores = p.buf(Rows::Tokens, experts);
        p.route(scores, top);
        check(&format!("{top} of {experts} experts"), &p);
    }
}

/// Routes of a table of cases; what a check fills in falls on the first experts, and on some that are none.
fn routes(p: &mut Program, experts: usize, top: usize) -> Routes {
    Routes { buf: p.buf(Rows::Tokens, 2 * top), experts, top }
}

#[test]
fn experts() {
    for (inputs, outputs, count, top) in [(4usize, 31, 1, 1), (15, 64, 3, 2), (33, 65, 8, 3)] {
        for (by_input, chosen) in [(true, true), (false, false)] {
            let mut p = Program::default();
            let routes = routes(&mut p, count, top);
            let x = p.buf(Rows::Tokens, if chosen { top * inputs.next_multiple_of(4) } else { inputs });
            let w = weight(&mut p, Layout::Experts { count, inputs, outputs, by_input });
            p.experts(x, chosen, routes, w, outputs, None);
            p.experts(x, chosen, routes, w, outputs, Some(Activation::Gelu));
            check(&format!("{inputs} to {outputs}, {top} of {count} experts"), &p);
        }
    }
}

#[test]
fn mix() {
    for (width, top) in [(1, 1), (63, 2), (257, 3)] {
        let mut p = Program::default();
        let routes = routes(&mut p, 8, top);
        let parts = p.buf(Rows::Tokens, top * usize::next_multiple_of(width, 4));
        let (residual, bias) = (p.buf(Rows::Tokens, width), vector(&mut p, width));
        p.mix(parts, routes, bias, residual);
        check(&format!("width {width}, {top} experts"), &p);
    }
}

#[test]
fn max() {
    for width in [1, 2, 63, 64, 65, 300] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, width);
        p.max(x);
        check(&format!("width {width}"), &p);
    }
}

#[test]
fn pool() {
    for width in [1, 6, 63, 64, 65, 384] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, width);
        p.pool_and_normalize(x);
        check(&format!("width {width}, last"), &p);
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, width);
        p.pool(x, 2);
        check(&format!("width {width}, two modes"), &p);
    }
}

#[test]
fn selective_scan() {
    for (width, states, rank) in [(1, 1, 1), (6, 3, 2), (64, 16, 4), (65, 5, 7), (130, 16, 9)] {
        let mut p = Program::default();
        let (x, steps) = (p.buf(Rows::Tokens, width), p.buf(Rows::Tokens, width));
        let selection = p.buf(Rows::Tokens, rank + 2 * states);
        let gate = p.buf(Rows::Tokens, 2 * width.next_multiple_of(4));
        let layout = Layout::Linear { inputs: Axis::plain(states), outputs: Axis::plain(width) };
        let decay = p.weight(Weight::new(layout, Vec::new(), Rounding::Never));
        let weights = ScanWeights { states, decay, skip: vector(&mut p, width) };
        for backward in [false, true] {
            p.selective_scan(x, steps, selection, gate, weights, backward);
        }
        check(&format!("width {width}, {states} states"), &p);
    }
}

#[test]
fn gather() {
    for width in [1, 63, 64, 300] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, width);
        let picked = p.gather(x);
        let (w, bias) = (weight(&mut p, square(width)), vector(&mut p, width));
        let scored = p.linear(picked, w, bias, width, Epilogue::None);
        let norm = norm(&mut p, width, 1e-5);
        p.layer_norm(scored, norm);
        check(&format!("width {width}"), &p);
    }
}

#[test]
fn lexical_pool() {
    for (inputs, vocab) in [(1, 1), (24, 31), (33, 700), (64, 513)] {
        let mut p = Program::default();
        let x = p.buf(Rows::Tokens, inputs);
        for lexical in [Lexical { sum: false, logs: 1 }, Lexical { sum: true, logs: 1 }, Lexical { sum: true, logs: 2 }]
        {
            let layout = Layout::Linear { inputs: Axis::plain(inputs), outputs: Axis::plain(vocab) };
            let (w, bias) = (weight(&mut p, layout), vector(&mut p, vocab));
            p.lexical_pool(x, w, bias, vocab, lexical);
        }
        check(&format!("{inputs} to {vocab}"), &p);
    }
}

fn square(width: usize) -> Layout {
    Layout::Linear { inputs: Axis::plain(width), outputs: Axis::plain(width) }
}

#[test]
fn normalize() {
    for width in [1, 63, 64, 65, 768] {
        let mut p = Program::default();
        let x = p.buf(Rows::Texts, width);
        p.normalize(x);
        check(&format!("width {width}"), &p);
    }
}

/// A grouped matrix is stored as a whole one.
#[test]
fn grouped_linear_on_the_cpu_is_a_product_by_group() {
    let (groups, inputs, outputs) = (3, 6, 15);
    let layout = Layout::Grouped { groups, inputs, outputs };
    let mut places = std::collections::HashSet::new();
    for row in 0..inputs {
        for column in 0..outputs / groups {
            let group = row / (inputs / groups);
            let whole = Layout::Linear { inputs: Axis::plain(inputs), outputs: Axis::plain(outputs) };
            assert_eq!(layout.place(row, column), whole.place(group * outputs / groups + column, row));
            assert!(places.insert(layout.place(row, column)));
        }
    }
}

/// The layout of matrices, padded heads and epilogue order, against three nested loops.
#[test]
fn linear_on_the_cpu_is_a_product() {
    let (heads, head_dim, outputs, rows) = (3, 5, 11, 6);
    let inputs = Axis::blocks(heads, head_dim);
    let mut p = Program::default();
    let x = p.buf(Rows::Tokens, inputs.padded());
    let residual = p.buf(Rows::Tokens, outputs);
    let layout = Layout::Linear { inputs, outputs: Axis::plain(outputs) };
    let (w, bias) = (weight(&mut p, layout), vector(&mut p, outputs));
    let out = p.linear(x, w, bias, outputs, Epilogue::Residual(residual));

    let value = |seed: usize| ((seed * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
    let weight_at = |row: usize, column: usize| value(row * inputs.size() + column + 7);
    let mut stored = vec![0.0; layout.elements()];
    for row in 0..outputs {
        for column in 0..inputs.size() {
            stored[layout.place(row, column)] = weight_at(row, column);
        }
    }
    let mut xs = vec![0.0; rows * x.stride];
    let mut residuals = vec![0.0; rows * residual.stride];
    for row in 0..rows {
        (0..inputs.size()).for_each(|k| xs[row * x.stride + inputs.place(k)] = value(row * 31 + k));
        (0..outputs).for_each(|n| residuals[row * residual.stride + n] = value(row * 17 + n));
    }
    let biases: Vec<f32> = (0..outputs.next_multiple_of(4)).map(|n| if n < outputs { value(n) } else { 0.0 }).collect();
    let mut memory = Memory::scratch(&p);
    memory.set(x, xs);
    memory.set(residual, residuals);
    memory.set(out, vec![0.0; rows * out.stride]);
    memory.set_weight(w, stored, Precision::F32, layout);
    memory.set_weight(bias, biases, Precision::F32, p.weights[bias.0].layout);
    let batch = Batch {
        ids: vec![0; rows],
        starts: vec![0, rows as u32],
        pool_from: vec![0],
        pooling: PoolingParams::default(),
        ..Batch::default()
    };
    p.ops[0].run(&batch, &mut memory);
    for row in 0..rows {
        for n in 0..outputs {
            let product = |k: usize| f64::from(weight_at(n, k)) * f64::from(value(row * 31 + k));
            let sum: f64 = (0..inputs.size()).map(product).sum();
            let expected = sum + f64::from(value(n)) + f64::from(value(row * 17 + n));
            let found = f64::from(memory.read(out)[row * out.stride + n]);
            assert!((found - expected).abs() < 1e-6, "row {row}, column {n}: {found} for {expected}");
        }
        assert!(memory.read(out)[row * out.stride + outputs..][..out.stride - outputs].iter().all(|pad| *pad == 0.0));
    }
}

/// What an attention gives a branch is what it gives the same tokens right behind the trunk: positions, distances and the rows
/// that are seen. The trunk of a single branch is that of the same text too.
#[test]
fn a_branch_continues_the_trunk() {
    let (heads, dim) = (2, 8);
    let mut p = Program::default();
    let turns = rotations(&mut p, dim);
    let most = 3;
    let bias = weight(&mut p, Layout::Distances { most, buckets: 32, heads });
    let plain =
        Heads { rotations: Some(turns), distances: Some((bias, most)), sees: Sees::Both, ..Heads::new(heads, dim) };
    let qkv = p.buf(Rows::Tokens, plain.axis(plain.qkv()).padded());
    let out = p.attention(qkv, plain);
    let value = |seed: usize| ((seed * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
    let attended = |sequence: &Sequence| {
        let tables = Tables { vocab: 64, positions: 64, ..Tables::default() };
        tables.check(sequence).unwrap();
        let batch = Batch::pack([sequence], &tables, &PoolingParams::default());
        let mut memory = Memory::scratch(&p);
        for id in [turns.table, bias] {
            let layout = p.weights[id.0].layout;
            memory.set_weight(id, (0..layout.elements()).map(value).collect(), Precision::F32, layout);
        }
        let row = |id: &u32| (0..qkv.stride).map(|column| value(*id as usize * 97 + column)).collect::<Vec<_>>();
        memory.set(qkv, batch.ids.iter().flat_map(row).collect());
        memory.set(out, vec![0.0; batch.tokens() * out.stride]);
        p.ops[0].run(&batch, &mut memory);
        memory.read(out).to_vec()
    };
    let text = |parts: &[&[u32]]| Sequence::new(parts.concat(), vec![0; parts.concat().len()]);
    let (trunk, first, second): (&[u32], &[u32], &[u32]) = (&[3, 1, 4, 1, 5], &[9, 2, 6], &[5, 3]);
    let together = attended(&Sequence { branches: vec![5, 8], ..text(&[trunk, first, second]) });
    let rows = |values: &[f32], from: usize, until: usize| values[from * out.stride..until * out.stride].to_vec();
    for (branch, from) in [(first, 5), (second, 8)] {
        let alone = attended(&text(&[trunk, branch]));
        let single = attended(&Sequence { branches: vec![5], ..text(&[trunk, branch]) });
        assert!(max_abs(&single, &alone) < 1e-6);
        let error = max_abs(&rows(&together, from, from + branch.len()), &rows(&alone, 5, 5 + branch.len()));
        assert!(error < 1e-6, "branch at {from}: {error:e}");
    }
}
