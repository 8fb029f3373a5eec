//! What packing cost: how near the vectors of texts are to those of the original.

use serde::Serialize;

/// Neighbours that are compared.
const NEIGHBOURS: usize = 10;
/// Most texts of which every pair is compared.
const PAIRS: usize = 2000;

/// How near vectors are to others of the same texts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Texts compared.
    pub texts: usize,
    /// The least cosine of a text's two vectors.
    pub cosine_min: f64,
    /// The mean of these cosines.
    pub cosine_mean: f64,
    /// Share of each text's ten nearest others that stay among the ten.
    pub top10_agreement: f64,
    /// Rank correlation of the cosines of all pairs of texts (Spearman).
    pub spearman: f64,
}

impl Loss {
    /// Of vectors of `width`, against those of the original. At least two texts.
    pub fn new(found: &[f32], original: &[f32], width: usize) -> Self {
        let (found, original) = (unit(found, width), unit(original, width));
        let texts = found.len() / width;
        let cosines: Vec<f64> =
            found.chunks_exact(width).zip(original.chunks_exact(width)).map(|(a, b)| dot(a, b)).collect();
        let some = texts.min(PAIRS);
        let similarities = |vectors: &[f64]| -> Vec<Vec<f64>> {
            let row = |index: usize| &vectors[index * width..][..width];
            let of = |index: usize| (0..some).map(|other| dot(row(index), row(other))).collect();
            use rayon::prelude::*;
            (0..some).into_par_iter().map(of).collect()
        };
        let (found, original) = (similarities(&found), similarities(&original));
        let kept: usize = found
            .iter()
            .zip(&original)
            .enumerate()
            .map(|(text, (found, original))| {
                let nearest = nearest(original, text);
                self::nearest(found, text).iter().filter(|other| nearest.contains(other)).count()
            })
            .sum();
        let pairs = |rows: &[Vec<f64>]| -> Vec<f64> {
            rows.iter().enumerate().flat_map(|(text, row)| row[text + 1..].iter().copied()).collect()
        };
        Self {
            texts,
            cosine_min: cosines.iter().copied().fold(f64::INFINITY, f64::min),
            cosine_mean: cosines.iter().sum::<f64>() / texts as f64,
            top10_agreement: kept as f64 / (some * NEIGHBOURS.min(some - 1)) as f64,
            spearman: correlation(&ranks(&pairs(&found)), &ranks(&pairs(&original))),
        }
    }
}

/// The vectors at unit length.
fn unit(vectors: &[f32], width: usize) -> Vec<f64> {
    let one = |vector: &[f32]| {
        let vector: Vec<f64> = vector.iter().map(|value| f64::from(*value)).collect();
        let length = dot(&vector, &vector).sqrt().max(f64::MIN_POSITIVE);
        vector.into_iter().map(move |value| value / length)
    };
    vectors.chunks_exact(width).flat_map(one).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The nearest other texts.
fn nearest(similarities: &[f64], text: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..similarities.len()).filter(|other| *other != text).collect();
    others.sort_by(|a, b| similarities[*b].total_cmp(&similarities[*a]));
    others.truncate(NEIGHBOURS);
    others
}

/// Each value's rank, from the least on; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = first as f64 + (equal.len() - 1) as f64 / 2.0;
        equal.iter().for_each(|index| ranks[*index] = rank);
        first += equal.len();
    }
    ranks
}

/// Pearson's; 1 where nothing varies.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut own, mut other) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        both += (a - mean_a) * (b - mean_b);
        own += (a - mean_a).powi(2);
        other += (b - mean_b).powi(2);
    }
    if own * other > 0.0 { both / (own * other).sqrt() } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_places() {
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 0.0]), [2.5, 1.0, 2.5, 0.0]);
        // scipy.stats.spearmanr of these is 0.8207826816681233.
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 6.0, 7.0, 8.0, 7.0]);
        assert!((correlation(&ranks(&a), &ranks(&b)) - 0.820_782_681_668_123_3).abs() < 1e-12);
    }

    #[test]
    fn the_same_vectors_lose_nothing_and_others_something() {
        let vectors: Vec<f32> = (0..60u32).map(|i| ((i * 7919) % 101) as f32 - 50.0).collect();
        let same = Loss::new(&vectors, &vectors, 3);
        assert_eq!((same.texts, same.top10_agreement, same.spearman), (20, 1.0, 1.0));
        assert!((same.cosine_min - 1.0).abs() < 1e-12);
        let other: Vec<f32> = vectors.iter().rev().copied().collect();
        let loss = Loss::new(&other, &vectors, 3);
        assert!(loss.top10_agreement < 0.9 && loss.cosine_min < 0.9 && loss.spearman < 0.9);
    }
}
