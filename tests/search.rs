//! Collections against a reference in f64 and against one another: on the host, on the GPU, in one piece and in many.

use std::sync::{Arc, OnceLock};

use embedlet::gpu::{Gpu, Limits};
use embedlet::model::Device;
use embedlet::search::kernels::BLOCK;
use embedlet::search::{Collection, Found, MOST_FOUND, Precision, Shape, Similarity};
use pollster::block_on;

use crate::support::gpu;

const PRECISIONS: [Precision; 3] = [Precision::Float32, Precision::Int8, Precision::Binary];

/// A GPU whose buffers are so small that a thousand rows need several.
fn small_gpu() -> Arc<Gpu> {
    static GPU: OnceLock<Arc<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| block_on(Gpu::open_within(Limits { binding: 128 << 10, ..Limits::default() })).unwrap()).clone()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }

    /// Between -1 and 1.
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }
}

#[derive(Debug, Clone, Copy)]
struct Kind {
    precision: Precision,
    similarity: Similarity,
    dimensions: usize,
}

impl Kind {
    fn shape(self) -> Shape {
        Shape::new(self.dimensions, self.precision, self.similarity).unwrap()
    }

    /// How far scores of values of unit size may be from those in f64.
    fn tolerance(self) -> f64 {
        let each = match self.precision {
            Precision::Binary => 0.0,
            Precision::Float32 => 2e-6,
            // Half a step of each of the query's integers.
            Precision::Int8 => 2e-4,
        };
        each * (self.dimensions as f64).sqrt()
    }
}

/// What encoded rows stand for.
fn decoded(of: Kind, rows: &[u8]) -> Vec<Vec<f64>> {
    let (dimensions, shape) = (of.dimensions, of.shape());
    let float = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
    let decode = |row: &[u8]| match of.precision {
        Precision::Float32 => row.chunks_exact(4).map(float).collect(),
        Precision::Int8 => {
            let (codes, scale) = row.split_at(dimensions);
            codes.iter().map(|code| f64::from(*code as i8) * float(scale)).collect()
        }
        Precision::Binary => {
            let bit = |at: usize| row[at / 8] >> (7 - at % 8) & 1 == 1;
            (0..dimensions).map(|at| if bit(at) { 1.0 } else { -1.0 }).collect()
        }
    };
    rows.chunks_exact(shape.row_bytes()).map(decode).collect()
}

/// The scores of all rows in f64, of the query as the collection compares it but for the rounding of its integers.
fn scores(of: Kind, rows: &[u8], query: &[f32]) -> Vec<f64> {
    let mut exact: Vec<f64> = query.iter().map(|value| f64::from(*value)).collect();
    let length = exact.iter().map(|value| value * value).sum::<f64>().sqrt();
    for value in &mut exact {
        *value = match of {
            Kind { precision: Precision::Binary, .. } => {
                if *value > 0.0 {
                    1.0
                } else {
                    -1.0
                }
            }
            Kind { similarity: Similarity::Cosine, .. } if length > 0.0 => *value / length,
            _ => *value,
        };
    }
    let dot = |row: Vec<f64>| row.iter().zip(&exact).map(|(x, y)| x * y).sum();
    decoded(of, rows).into_iter().map(dot).collect()
}

/// Whether a result is right: the best of the rows that may be found, in order, as far as scores are apart.
fn check(found: &Found, scores: &[f64], allowed: &dyn Fn(usize) -> bool, top_k: usize, tolerance: f64, what: &str) {
    let mut order: Vec<usize> = (0..scores.len()).filter(|row| allowed(*row)).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    order.truncate(top_k);
    assert_eq!(found.rows.len(), order.len(), "{what}");
    let mut seen = found.rows.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), order.len(), "{what}: a row was found twice");
    for ((row, score), expected) in found.rows.iter().zip(&found.scores).zip(order) {
        let own = scores[*row as usize];
        assert!(allowed(*row as usize), "{what}: row {row} is not allowed");
        assert!((f64::from(*score) - own).abs() <= tolerance, "{what}: row {row} has {score}, not {own}");
        assert!((own - scores[expected]).abs() <= 2.0 * tolerance, "{what}: row {row} for {expected}");
    }
    let ordered = |pair: (&[f32], &[u32])| pair.0[0] > pair.0[1] || pair.0[0] == pair.0[1] && pair.1[0] < pair.1[1];
    assert!(found.scores.windows(2).zip(found.rows.windows(2)).all(ordered), "{what}: order");
}

fn collections(shape: Shape) -> [(&'static str, Collection); 3] {
    [
        ("host", Collection::new(shape, Device::Cpu(None))),
        ("GPU", Collection::new(shape, Device::Gpu(gpu())).on_gpu_from(0)),
        ("GPU in pieces", Collection::new(shape, Device::Gpu(small_gpu())).on_gpu_from(0)),
    ]
}

/// Vectors of which some are there twice and one is of zeros.
fn vectors(random: &mut Random, count: usize, dimensions: usize) -> Vec<f32> {
    let mut vectors = random.values(count * dimensions);
    for row in (1..count).filter(|row| row % 5 == 4) {
        vectors.copy_within((row - 1) * dimensions..row * dimensions, row * dimensions);
    }
    vectors.iter_mut().skip(2 * dimensions).take(dimensions).for_each(|value| *value = 0.0);
    vectors
}

/// Searches every place, holds each against f64, and those that have to agree against one another.
fn compare(of: Kind, count: usize, random: &mut Random) {
    let shape = of.shape();
    let rows = shape.encode(&vectors(random, count, of.dimensions)).unwrap();
    let query = random.values(of.dimensions);
    let scores = scores(of, &rows, &query);
    let removed: Vec<u32> = (0..count as u32).filter(|row| row % 7 == 3).collect();
    let bitmap: Vec<u32> = (0..count.div_ceil(32)).map(|_| (random.next() & random.next()) as u32).collect();
    let mut found: Vec<Vec<Found>> = Vec::new();
    for (place, mut collection) in collections(shape) {
        assert_eq!(block_on(collection.append(&rows)).unwrap(), 0);
        assert_eq!((collection.count(), collection.is_on_gpu()), (count, place != "host" && count > 0));
        let mut of_place = Vec::new();
        for filtered in [false, true] {
            if filtered {
                collection.remove(&removed).unwrap();
            }
            let bits = filtered.then_some(bitmap.as_slice());
            let allowed = |row: usize| !filtered || row % 7 != 3 && bitmap[row / 32] >> (row % 32) & 1 == 1;
            for top_k in [1, 10, count.clamp(1, MOST_FOUND), MOST_FOUND] {
                let result = block_on(collection.search(&query, top_k, bits)).unwrap();
                let what = format!("{of:?}, {count} rows on {place}, top {top_k}, filtered {filtered}");
                check(&result, &scores, &allowed, top_k, of.tolerance(), &what);
                of_place.push(result);
            }
        }
        found.push(of_place);
    }
    if of.precision != Precision::Float32 {
        assert!(found[0] == found[1], "{of:?}, {count} rows: the GPU has other bits");
    }
    assert!(found[1] == found[2], "{of:?}, {count} rows: pieces make a difference");
}

#[test]
fn every_size_and_place_gives_what_f64_gives() {
    let mut random = Random(7);
    for precision in PRECISIONS {
        let of = |dimensions| Kind { precision, similarity: Similarity::Cosine, dimensions };
        for dimensions in [1, 3, 4, 31, 32, 384, 1024] {
            for count in [0, 1, 31, 33] {
                compare(of(dimensions), count, &mut random);
            }
        }
        for count in [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            compare(of(32), count, &mut random);
        }
        // Of as many dimensions the small GPU has less than a block a piece.
        compare(Kind { similarity: Similarity::Dot, ..of(384) }, 700, &mut random);
    }
}

#[test]
fn many_blocks_are_sorted_level_by_level() {
    let of = Kind { precision: Precision::Binary, similarity: Similarity::Dot, dimensions: 3 };
    // What is left of them is more than one block, and most of it has one score.
    compare(of, 9 * BLOCK + 3, &mut Random(11));
    compare(Kind { precision: Precision::Int8, ..of }, 9 * BLOCK + 3, &mut Random(12));
}

/// A collection as anyone would write it.
#[derive(Default)]
struct Naive {
    rows: Vec<u8>,
    removed: Vec<bool>,
}

#[test]
fn any_order_of_operations_gives_what_a_plain_list_gives() {
    for seed in 1..=12 {
        let mut random = Random(seed * 0x9e37_79b9);
        let precision = PRECISIONS[random.below(3)];
        let similarity = [Similarity::Cosine, Similarity::Dot][random.below(2)];
        let of = Kind { precision, similarity, dimensions: 1 + random.below(70) };
        let shape = of.shape();
        let mut naive = Naive::default();
        // It moves to the GPU somewhere on the way.
        let gpu = if random.below(2) == 0 { gpu() } else { small_gpu() };
        let moving = Collection::new(shape, Device::Gpu(gpu)).on_gpu_from(40_000);
        let mut collections = [Collection::new(shape, Device::Cpu(None)), moving];
        for step in 0..40 {
            let count = naive.removed.len();
            match random.below(4) {
                0 => {
                    let appended = random.below(400);
                    let mut rows = shape.encode(&vectors(&mut random, appended, of.dimensions)).unwrap();
                    let torn = rows.len() > 1 && shape.row_bytes() > 1 && random.below(4) == 0;
                    if torn {
                        rows.pop();
                    }
                    for collection in &mut collections {
                        let first = block_on(collection.append(&rows)).map_err(|error| error.code());
                        assert_eq!(first, if torn { Err("invalid-argument") } else { Ok(count as u32) });
                    }
                    if !torn {
                        naive.rows.extend(rows);
                        naive.removed.resize(count + appended, false);
                    }
                }
                1 if count > 0 => {
                    let mut rows: Vec<u32> = (0..random.below(50)).map(|_| random.below(count) as u32).collect();
                    let wrong = random.below(5) == 0;
                    if wrong {
                        rows.push(count as u32);
                    }
                    for collection in &mut collections {
                        let removed = collection.remove(&rows).map_err(|error| error.code());
                        assert_eq!(removed, if wrong { Err("invalid-argument") } else { Ok(()) });
                    }
                    if !wrong {
                        rows.iter().for_each(|row| naive.removed[*row as usize] = true);
                    }
                }
                _ => {
                    let query = random.values(of.dimensions);
                    // Shorter or longer than there are rows.
                    let words = (count / 32 + random.below(4)).saturating_sub(1);
                    let bitmap = (random.below(2) == 0).then(|| (0..words).map(|_| random.next() as u32).collect());
                    let bits: Option<&Vec<u32>> = bitmap.as_ref();
                    let bit =
                        |row: usize| bits.is_none_or(|bits| bits.get(row / 32).unwrap_or(&0) >> (row % 32) & 1 == 1);
                    let allowed = |row: usize| !naive.removed[row] && bit(row);
                    let scores = scores(of, &naive.rows, &query);
                    let top_k = 1 + random.below(600);
                    let found = collections.each_ref().map(|collection| {
                        let found = block_on(collection.search(&query, top_k, bits.map(Vec::as_slice))).unwrap();
                        check(
                            &found,
                            &scores,
                            &allowed,
                            top_k,
                            of.tolerance(),
                            &format!("{of:?}, seed {seed}, step {step}"),
                        );
                        found
                    });
                    assert!(
                        precision == Precision::Float32 || found[0] == found[1],
                        "{of:?}, seed {seed}, step {step}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused_and_nothing_is_lost() {
    let of = Kind { precision: Precision::Int8, similarity: Similarity::Cosine, dimensions: 4 };
    let shape = of.shape();
    let rows = shape.encode(&Random(3).values(4 * 100)).unwrap();
    for (place, mut collection) in collections(shape) {
        block_on(collection.append(&rows)).unwrap();
        let query = [1.0, 0.0, 0.0, 0.5];
        let before = block_on(collection.search(&query, 100, None)).unwrap();
        let code = |found: embedlet::Result<Found>| found.unwrap_err().code();
        assert_eq!(code(block_on(collection.search(&query, 0, None))), "invalid-argument");
        assert_eq!(code(block_on(collection.search(&query, MOST_FOUND + 1, None))), "limit-exceeded");
        assert_eq!(code(block_on(collection.search(&query[..3], 1, None))), "invalid-argument");
        assert_eq!(code(block_on(collection.search(&[f32::NAN; 4], 1, None))), "non-finite");
        let mut wrong = rows.clone();
        // The scale of the last row: those before it are good.
        wrong.splice(rows.len() - 4.., f32::INFINITY.to_le_bytes());
        assert_eq!(block_on(collection.append(&wrong)).unwrap_err().code(), "invalid-argument", "{place}");
        assert_eq!(collection.remove(&[5, 100]).unwrap_err().code(), "invalid-argument");
        assert_eq!(block_on(collection.search(&query, 100, None)).unwrap(), before, "{place}");
        // Rows that would not fit the buffers of what is left of them.
        let many = rows.repeat(2000);
        let appended = block_on(collection.append(&many)).map_err(|error| error.code());
        assert_eq!(appended, if place == "GPU in pieces" { Err("limit-exceeded") } else { Ok(100) }, "{place}");
        let bitmap = [u32::MAX, u32::MAX, u32::MAX, 15];
        assert_eq!(block_on(collection.search(&query, 100, Some(&bitmap))).unwrap(), before, "{place}");
    }
    let wide = Shape::new(16_384, Precision::Float32, Similarity::Dot).unwrap();
    let mut collection = Collection::new(wide, Device::Gpu(small_gpu())).on_gpu_from(0);
    let row = wide.encode(&[1.0; 16_384]).unwrap();
    assert_eq!(block_on(collection.append(&row)).unwrap_err().code(), "limit-exceeded");
    assert_eq!(block_on(collection.search(&[1.0; 16_384], 1, None)).unwrap(), Found::default());
}
