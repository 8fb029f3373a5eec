//! Steps that normalise what they read: the bits of the two steps apart, in what they make and in what they leave to others, and right.

use std::sync::Arc;

use embedlet::batch::Batch;
use embedlet::gpu::{Resident, Upload};
use embedlet::model::EmbedOptions;
use embedlet::ops::{Activation, Norm, NormKind};
use embedlet::program::{Buf, Precision, Program, Rows, TailId, padded};
use embedlet::weights::{Axis, Layout, Sink};
use safetensors::Dtype;

use crate::shaders::{vector, weight};
use crate::support::{On, fixtures, hardware, load};

/// Most rows of a step that normalises what it reads.
const FEW: usize = 32;

/// Between -1 and 1, another for every seed.
fn value(seed: usize) -> f32 {
    ((seed.wrapping_mul(2_654_435_761) >> 7) % 2001) as f32 / 1000.0 - 1.0
}

/// A norm with a gated product behind it, which is the first tail's result; the second's is what the norm makes, the third's is pooled.
struct Steps {
    x: Buf,
    norm: Norm,
    resident: Resident,
}

impl Steps {
    fn new(width: usize, outputs: usize, kind: NormKind) -> Self {
        let mut p = Program::default();
        let (x, gain, bias) = (p.buf(Rows::Tokens, width), vector(&mut p, width), vector(&mut p, width));
        let norm = Norm { gain, bias, eps: 1e-6, kind };
        let axis = Axis::gated(outputs, 0);
        let matrix = weight(&mut p, Layout::Linear { inputs: Axis::plain(width), outputs: axis });
        let columns = weight(&mut p, Layout::Vector { axis });
        let normed = p.layer_norm(x, norm);
        let trunk = p.begin_tail();
        p.pool_and_normalize(normed);
        p.end_tail(trunk, None);
        let out = p.gated_linear(normed, matrix, columns, outputs, Activation::Gelu);
        for result in [out, normed] {
            let trunk = p.begin_tail();
            p.end_tail(trunk, Some(result));
        }
        let p = Arc::new(p);
        let mut upload = Upload::new(hardware(), p.clone(), 256..=256, Some(Precision::F32)).unwrap();
        upload.start(Dtype::F32).unwrap();
        for (id, layout) in [gain, bias, matrix, columns].map(|id| (id, p.weights[id.0].layout)) {
            let (rows, columns) = layout.size();
            let mut values = vec![0.0; layout.elements()];
            for at in 0..rows * columns {
                values[layout.place(at / columns, at % columns)] = value(at + 977 * id.0);
            }
            upload.write(id, 0, &values).unwrap();
        }
        Self { x, norm, resident: pollster::block_on(upload.finish()).unwrap() }
    }

    /// What comes of these rows: of the product, of the norm and of the pooling, and dispatches of each.
    fn run(&self, values: &[f32]) -> ([Vec<f32>; 3], [usize; 3]) {
        let rows = values.len() / self.x.width;
        self.resident.set(self.x, &padded(values, self.x.width));
        let mut batch = Batch::of_rows(&[0, rows / 3, rows], self.x.width);
        if rows < 3 {
            batch = Batch::of_rows(&[0, rows], self.x.width);
        }
        (batch.pooling.modes, batch.pooling.norm_dimensions) = (vec![2], 0);
        let tails = [1, 2, 0].map(TailId);
        let run = |tail| pollster::block_on(self.resident.finish(self.resident.start(tail, &batch).unwrap())).unwrap();
        (tails.map(run), tails.map(|tail| self.resident.dispatches(tail, rows)))
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Rows around zero, with outliers, and far from it.
fn rows(count: usize, width: usize) -> Vec<f32> {
    let at = |at: usize| {
        let (row, column) = (at / width, at % width);
        match row % 3 {
            0 => value(at),
            1 => value(at) * if column % 61 == 7 { 5000.0 } else { 1.0 },
            _ => 1e4 + value(at),
        }
    };
    (0..count * width).map(at).collect()
}

#[test]
fn the_bits_are_those_of_two_steps() {
    for (width, outputs) in [(3, 9), (36, 40), (255, 17), (384, 30), (1030, 12)] {
        for kind in [NormKind::Layer, NormKind::Rms, NormKind::OnePlusRms] {
            let steps = Steps::new(width, outputs, kind);
            for count in [1, 2, 15, 16, 17, 31, FEW] {
                let few = rows(count, width);
                let ([product, normed, _], dispatches) = steps.run(&few);
                assert_eq!(dispatches, [1, 1, 1]);
                // With others behind them there are too many, and the norm is a step of its own.
                let ([products, norms, _], dispatches) = steps.run(&rows(count + FEW, width));
                assert_eq!(dispatches, [2, 2, 2]);
                assert_eq!(bits(&normed), bits(&norms)[..count * width], "{count} rows of {width}, {kind:?}");
                assert_eq!(bits(&product), bits(&products)[..count * outputs], "{count} rows of {width}, {kind:?}");
            }
        }
    }
}

#[test]
fn pooled_they_have_the_same_bits() {
    for (width, kind) in [(3, NormKind::Layer), (384, NormKind::Layer), (258, NormKind::Rms)] {
        let steps = Steps::new(width, 8, kind);
        let pool = |starts: &[usize], values: &[f32]| {
            steps.resident.set(steps.x, &padded(values, width));
            (0..6)
                .flat_map(|mode| {
                    let mut batch = Batch::of_rows(starts, width);
                    (batch.pooling.modes, batch.pooling.norm_dimensions) = (vec![mode], width as u32);
                    let running = steps.resident.start(TailId(0), &batch).unwrap();
                    let vectors = pollster::block_on(steps.resident.finish(running)).unwrap();
                    vectors.chunks_exact(width).take(starts.len().min(4) - 1).map(bits).collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        };
        let values = rows(64, width);
        for (first, second, third) in [(1, 2, 3), (1, 17, 32), (16, 31, 32), (5, 29, 30), (20, 30, 31)] {
            let few = pool(&[0, first, second, third], &values[..third * width]);
            let many = pool(&[0, first, second, third, 64], &values);
            assert_eq!(few, many, "texts up to {first}, {second} and {third}, width {width}");
        }
        let whole = pool(&[0, FEW], &values[..FEW * width]);
        let beside: Vec<_> = pool(&[0, FEW, FEW + 1], &values[..(FEW + 1) * width]).into_iter().step_by(2).collect();
        assert_eq!(whole, beside);
    }
}

#[test]
fn outliers_and_rows_far_from_zero_are_right() {
    for width in [36, 384, 1030] {
        for kind in [NormKind::Layer, NormKind::Rms] {
            let steps = Steps::new(width, 8, kind);
            let (few, many) = (rows(30, width), rows(60, width));
            for values in [&few, &many] {
                let ([_, normed, _], _) = steps.run(values);
                for (row, (x, found)) in values.chunks(width).zip(normed.chunks(width)).enumerate() {
                    let mean = match kind {
                        NormKind::Layer => x.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64,
                        _ => 0.0,
                    };
                    let squares: f64 = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
                    let scale = 1.0 / (squares / width as f64 + 1e-6).sqrt();
                    for (column, (x, found)) in x.iter().zip(found).enumerate() {
                        let [gain, bias] = [steps.norm.gain, steps.norm.bias].map(|id| value(column + 977 * id.0));
                        let expected = (f64::from(*x) - mean) * scale * f64::from(gain) + f64::from(bias);
                        let error = (f64::from(*found) - expected).abs();
                        // A sum in f32 of values that are 1e4 is off by as much as it can be said.
                        let allowed = if row % 3 == 2 && kind == NormKind::Layer { 4e-3 } else { 2e-5 };
                        assert!(error < allowed, "row {row}, column {column} of {width}, {kind:?}: {error:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn one_short_text_takes_five_dispatches_a_layer_and_two() {
    let folders = ["bert-1", "bert-2", "bert-3", "modernbert-1", "modernbert-2", "roberta-1", "gte-1"];
    for folder in folders {
        let folder = fixtures().join("architectures").join(folder);
        let [software, model] = [On::Gpu, On::Hardware].map(|on| load(&folder, on, None));
        let layers = model.info().layers;
        assert_eq!(software.info().dispatches, 7 * layers + 2, "{}", folder.display());
        assert_eq!(model.info().dispatches, 5 * layers + 2, "{}", folder.display());
        // Of each layer, the second tail is that of vectors.
        let tail = TailId(2 * layers - 1);
        for (tokens, each) in [(1, 5), (FEW, 5), (FEW + 1, 7), (1000, 7)] {
            assert_eq!(model.resident().unwrap().dispatches(tail, tokens), each * layers + 2, "{tokens} tokens");
        }
    }
}

#[test]
fn vectors_do_not_depend_on_who_normalises() {
    for folder in ["bert-1", "modernbert-2", "gemma3_text-1", "t5-1", "albert-1", "deberta-1", "nomic_bert-1"] {
        let model = load(&fixtures().join("architectures").join(folder), On::Hardware, None);
        let texts: Vec<String> =
            (0..60).map(|i| "a few words of one text".chars().take(1 + i % 23).collect()).collect();
        let embed = |texts: &[String]| {
            let call = model.embed(texts, &EmbedOptions::default()).unwrap();
            pollster::block_on(call.run(&model)).unwrap()
        };
        let together = embed(&texts);
        let width = together.data.len() / texts.len();
        for (text, expected) in texts.iter().zip(together.data.chunks(width)).take(24) {
            assert_eq!(bits(&embed(std::slice::from_ref(text)).data), bits(expected), "{folder}: {text}");
        }
    }
}
