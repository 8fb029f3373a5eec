//! Every kernel of every operation, in both storage types: parsed and validated by naga, without a GPU.

use embedlet::ops::{
    Activation, Adapters, Blocks, Down, Dropout, EmbedTables, Epilogue, Heads, Lexical, Norm, NormKind, Own, Parts,
    RelativePositions, Rotations, ScanWeights, Sees, Taps,
};
use embedlet::packed::{BITS, Packing};
use embedlet::program::{Op, Program, Rows};
use embedlet::rotation::Rotation;
use embedlet::search::kernels::kernels;
use embedlet::search::{Precision, Shape, Similarity};
use embedlet::shader::{Held, Kernel, Piece, numbered};
use embedlet::sparsity::Sparsity;
use embedlet::weights::{Axis, Layout, Rounding, Weight};
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// A parameter without tensors.
pub fn weight(program: &mut Program, layout: Layout) -> embedlet::program::WeightId {
    program.weight(Weight::new(layout, Vec::new(), Rounding::Allowed))
}

pub fn vector(program: &mut Program, len: usize) -> embedlet::program::WeightId {
    weight(program, Layout::Vector { axis: Axis::plain(len) })
}

/// Rotations of whole heads.
pub fn rotations(program: &mut Program, head_dim: usize) -> Rotations {
    let rotation = Rotation::new(vec![1.0; head_dim / 2]);
    let turned = rotation.turned();
    Rotations { table: program.weight(Weight::rotations(64, rotation)), turned, values: false }
}

/// Every operation at one width, with every epilogue.
fn every_operation(width: usize) -> Program {
    let mut p = Program::default();
    let norm = Norm { gain: vector(&mut p, width), bias: vector(&mut p, width), eps: 1e-12, kind: NormKind::Layer };
    let mut table = || weight(&mut p, Layout::Table { rows: 64, width });
    let tables = EmbedTables {
        own: Own::Table(table()),
        scale: 1.0,
        dropout: None,
        positions: Some(table()),
        types: Some(table()),
        tasks: Some(table()),
    };
    let x = p.embed(tables, width, Some(norm));
    p.embed(EmbedTables { positions: None, types: None, tasks: None, ..tables }, width, None);
    p.embed(EmbedTables { own: Own::Rows(x), ..tables }, width, Some(Norm { kind: NormKind::Affine, ..norm }));
    let dropout = Some(Dropout { mask: 7, trained: 0.12 });
    p.embed(EmbedTables { dropout, ..tables }, width, None);
    p.fourier(x, 64);
    p.layer_norm(x, Norm { kind: NormKind::Rms, ..norm });
    let normed = p.layer_norm(x, norm);
    let axis = Axis::plain(width);
    let activations = [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ];
    let epilogues = activations.map(Epilogue::Activation).into_iter().chain([
        Epilogue::None,
        Epilogue::Residual(x),
        Epilogue::Product(x),
    ]);
    for epilogue in epilogues {
        let w = weight(&mut p, Layout::Linear { inputs: axis, outputs: axis });
        let bias = vector(&mut p, width);
        p.linear(normed, w, bias, width, epilogue);
        if let Epilogue::Activation(activation) = epilogue {
            let gated = Axis::gated(width, 1);
            let w = weight(&mut p, Layout::Linear { inputs: axis, outputs: gated });
            let bias = weight(&mut p, Layout::Vector { axis: gated });
            p.gated_linear(normed, w, bias, width, activation);
            for kind in [NormKind::Layer, NormKind::OnePlusRms] {
                let normed = p.layer_norm(x, Norm { kind, ..norm });
                p.gated_linear(normed, w, bias, width, activation);
            }
        }
    }
    for head_dim in [10, 16, 32, 64, 128, 256] {
        let plain = Heads { before: Some(8), kv: 1, ..Heads::new(2, head_dim) };
        let rotations = rotations(&mut p, head_dim);
        let distances = weight(&mut p, Layout::Distances { most: 128, buckets: 32, heads: 2 });
        let biased = Heads { rotations: Some(rotations), distances: Some((distances, 128)), ..plain };
        let leading = Sees::Leading(p.buf(Rows::Tokens, biased.axis(2).padded()));
        let blocks = Sees::Blocks(Blocks { size: 8, first: 4, dense: 88 });
        let seen = [Sees::Both, leading, blocks].map(|sees| Heads { sees, ..biased });
        for heads in [plain, Heads { alibi: true, ..plain }, biased].into_iter().chain(seen) {
            let qkv = p.buf(Rows::Tokens, heads.axis(heads.qkv()).padded());
            let gain = weight(&mut p, Layout::Vector { axis: heads.axis(1) });
            let qkv = p.head_norm(qkv, heads, [gain, gain], 1e-6, NormKind::OnePlusRms);
            p.attention(qkv, heads);
        }
    }
    let (count, rank) = (3, 5);
    let ranks = Axis::blocks(count, rank);
    let up = weight(&mut p, Layout::LowRank { ranks, columns: axis, by_rank: false });
    let table = weight(&mut p, Layout::Table { rows: 64 * count, width: rank });
    let rows = p.buf(Rows::Tokens, ranks.padded());
    for down in [Down::Rows(rows), Down::Table { table, rows: 64, ids: true }] {
        p.lora(x, down, up, Adapters { count, rank, scale: 0.2 }, Epilogue::Residual(normed));
    }
    let joined = p.join(Parts { a: (x, 1), b: (x, 0), c: Some((x, -1)) });
    let scores = p.buf(Rows::Tokens, 27);
    p.dynamic_convolution(joined, scores, 3, 9);
    let filters = weight(&mut p, Layout::Filters { channels: width, size: 9 });
    let bias = vector(&mut p, width);
    p.depthwise(x, width, filters, Taps::around(9), None, None);
    p.depthwise(x, width, filters, Taps::causal(9, true), Some(bias), Some(Activation::Silu));
    let selection = p.buf(Rows::Tokens, width + 32);
    let gate = p.buf(Rows::Tokens, 2 * x.stride);
    let decay = weight(&mut p, Layout::Linear { inputs: Axis::plain(16), outputs: Axis::plain(width) });
    p.selective_scan(x, x, selection, gate, ScanWeights { states: 16, decay, skip: bias }, true);
    let heads = Heads::new(1, width.min(256));
    let qkv = p.buf(Rows::Tokens, heads.axis(3).padded());
    let rows = p.buf(Rows::Fixed(16), heads.axis(2).padded());
    let buckets = p.weight(Weight::values(vec![0.0; 17]));
    let (content_to_position, position_to_content) = (true, true);
    let positions = RelativePositions { rows, buckets, most: 8, content_to_position, position_to_content };
    p.disentangled_attention(qkv, heads, positions);
    let w = weight(&mut p, Layout::Conv { inputs: axis, taps: 3, outputs: axis });
    let bias = vector(&mut p, width);
    p.conv(x, w, bias, 3, Activation::Gelu, normed);
    let table = weight(&mut p, Layout::Table { rows: 64, width });
    p.embed_rows(table, 64, width, Some(norm));
    let picked = p.gather(x);
    let w = weight(&mut p, Layout::Linear { inputs: axis, outputs: axis });
    let bias = vector(&mut p, width);
    p.linear(picked, w, bias, width, Epilogue::None);
    for sum in [false, true] {
        p.lexical_pool(x, w, bias, width, Lexical { sum, logs: 2 });
    }
    let scores = p.buf(Rows::Tokens, 8);
    let routes = p.route(scores, 2);
    let w = weight(&mut p, Layout::Experts { count: 8, inputs: width, outputs: width, by_input: true });
    let first = p.experts(x, false, routes, w, width, Some(Activation::Gelu));
    let parts = p.experts(first, true, routes, w, width, None);
    let bias = vector(&mut p, width);
    p.mix(parts, routes, bias, x);
    let queries = p.queries(&[0, 3, 5], width);
    p.max(x);
    p.max_sim(x, queries);
    let pooled = p.pool(x, 2);
    p.normalize(pooled);
    p.pool_and_normalize(x);
    let normed = p.layer_norm(x, norm);
    p.linear(normed, w, bias, width, Epilogue::None);
    let normed = p.layer_norm(x, norm);
    p.pool_and_normalize(normed);
    p
}

/// Of software, of hardware, and of integers.
fn kernels_of(op: &dyn Op) -> Vec<Kernel> {
    let forms = [op.forms(), op.int8_forms()].into_iter().flatten();
    std::iter::once(op.kernel()).chain(forms.map(|form| form.kernel)).collect()
}

/// The kernels that scan rows, of every precision.
fn every_scan(dimensions: usize) -> Vec<Kernel> {
    let of = |precision| kernels(&Shape::new(dimensions, precision, Similarity::Dot).unwrap());
    [Precision::Float32, Precision::Int8, Precision::Binary].map(of).concat()
}

const PACKING: Packing = Packing { rows: 1, columns: 4, bits: 5, group: 4, zeros: true, sparsity: Sparsity::None };

/// Every way in which a device may hold what kernels read.
fn every_holding() -> Vec<Held> {
    let integers = BITS.map(|bits| Held { integers: Some(Packing { bits, ..PACKING }), ..Held::VALUES });
    let piece = Held { piece: Piece { first: 3, count: 2 }, ..integers[0] };
    [Held::VALUES, Held { halves: true, ..Held::VALUES }, piece].into_iter().chain(integers).collect()
}

#[test]
fn every_kernel_is_valid_wgsl() {
    let mut failures = Vec::new();
    let mut validate = |kernel: &Kernel, held: &Held, width: usize| {
        let text = kernel.wgsl(held);
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32);
        let outcome = naga::front::wgsl::parse_str(&text)
            .map_err(|error| error.emit_to_string(&text))
            .and_then(|module| validator.validate(&module).map_err(|e| e.emit_to_string(&text)));
        if let Err(error) = outcome {
            failures.push(format!("{} at {width}, {held:?}:\n{error}\n{}", kernel.name, numbered(&text)));
        }
    };
    for width in [1, 37, 384, 1024] {
        for op in every_operation(width).all_ops() {
            for kernel in kernels_of(op) {
                every_holding().iter().for_each(|held| validate(&kernel, held, width));
            }
        }
        every_scan(width).iter().for_each(|kernel| validate(kernel, &Held::VALUES, width));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// What wgpu hands to Vulkan, Metal and DX12. It tells whether a kernel can be said there, not what a driver makes of it.
#[test]
fn every_kernel_is_written_for_every_backend() {
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32);
    let mut write = |kernel: &Kernel, held: &Held| -> Result<(), String> {
        let module = naga::front::wgsl::parse_str(&kernel.wgsl(held)).unwrap();
        let info = validator.validate(&module).unwrap();
        naga::back::spv::write_vec(&module, &info, &Default::default(), None)
            .map_err(|error| format!("SPIR-V: {error}"))?;
        let options = naga::back::msl::Options { lang_version: (2, 4), ..Default::default() };
        naga::back::msl::write_string(&module, &info, &options, &Default::default())
            .map_err(|error| format!("MSL: {error}"))?;
        let options =
            naga::back::hlsl::Options { shader_model: naga::back::hlsl::ShaderModel::V6_0, ..Default::default() };
        let (mut text, pipeline) = (String::new(), Default::default());
        let written = naga::back::hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None);
        let written = written.map_err(|error| format!("HLSL: {error}"))?;
        written
            .entry_point_names
            .into_iter()
            .try_for_each(|name| name.map(drop).map_err(|error| format!("HLSL: {error}")))
    };
    let mut failures = Vec::new();
    for width in [37, 384] {
        let operations = every_operation(width);
        for kernel in operations.all_ops().flat_map(kernels_of).chain(every_scan(width)) {
            for held in &every_holding() {
                if let Err(error) = write(&kernel, held) {
                    failures.push(format!("{} at {width}, {held:?}: {error}", kernel.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// WebGPU promises eight storage buffers a stage and 16 KiB of workgroup memory on every device.
#[test]
fn kernels_stay_within_default_limits() {
    for width in [37, 384, 4096] {
        let operations = every_operation(width);
        for kernel in operations.all_ops().flat_map(kernels_of).chain(every_scan(width)) {
            assert!(kernel.operands.len() < 8, "{} binds {} buffers", kernel.name, kernel.operands.len() + 1);
            let text = kernel.wgsl(&Held { integers: Some(PACKING), ..Held::VALUES });
            let module = naga::front::wgsl::parse_str(&text).unwrap();
            let mut layouter = naga::proc::Layouter::default();
            layouter.update(module.to_ctx()).unwrap();
            let shared = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
            let bytes: u32 = shared.map(|(_, variable)| layouter[variable.ty].size).sum();
            assert!(bytes <= 16 << 10, "{} takes {bytes} bytes of workgroup memory", kernel.name);
            let threads: u32 = module.entry_points[0].workgroup_size.iter().product();
            assert!(threads <= 256, "{}", kernel.name);
        }
    }
}

#[test]
fn no_kernel_changes_unseen() {
    // The operations' files and nothing else: a stale fragment would be dead code in the wasm.
    let mut used: Vec<&str> = Vec::new();
    for kernel in every_operation(384).all_ops().flat_map(kernels_of) {
        used.extend(kernel.fragments.iter().map(|fragment| fragment.name));
        used.extend(kernel.large().iter().flat_map(|(large, _)| [large.values.name, large.integers.name]));
    }
    used.extend(every_scan(384).iter().flat_map(|kernel| &kernel.fragments).map(|fragment| fragment.name));
    used.extend(["lib/frame.wgsl", "lib/matrix_f32.wgsl", "lib/matrix_f16.wgsl", "lib/integers.wgsl"]);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    for folder in ["", "lib", "epilogue", "search"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            assert!(!path.ends_with(".wgsl") || used.contains(&path.as_str()), "{path} is in no kernel");
        }
    }
}
