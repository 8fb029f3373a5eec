//! Many rows, each compared with one query: what a search without an index is made of. Every row's key is computed in an order of
//! its own, so it has the same bits whichever rows are beside it. Rows come in whole fours.

use crate::simd::{F32x8, inlined, vectorized};

/// Integers of a row, and of a query, that are multiplied at once.
pub const CODES: usize = 16;

/// Dot products of a query with rows of as many values.
#[inline(never)]
pub fn scan_f32(rows: &[[f32; 8]], query: &[[f32; 8]], keys: &mut [[f32; 4]]) {
    vectorized(inlined!(|| {
        let width = query.len();
        for (keys, rows) in keys.iter_mut().zip(rows.chunks_exact(4 * width)) {
            // Four rows for each load of the query. Named one by one so that each sum is in a register.
            let zero = F32x8::splat(0.0);
            let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
            let [first, second, third, fourth] = four(rows, width);
            for ((((query, x), y), z), w) in query.iter().zip(first).zip(second).zip(third).zip(fourth) {
                let query = F32x8::load(query);
                a = a.mul_add(query, F32x8::load(x));
                b = b.mul_add(query, F32x8::load(y));
                c = c.mul_add(query, F32x8::load(z));
                d = d.mul_add(query, F32x8::load(w));
            }
            *keys = [a.sum(), b.sum(), c.sum(), d.sum()];
        }
    }));
}

/// Dot products of a query with rows of as many integers, each times the scale of its row. The sums are exact where
/// `Σ |row · query|` is below 2³¹.
#[inline(never)]
pub fn scan_int8(rows: &[[i8; CODES]], scales: &[[f32; 4]], query: &[[i16; CODES]], keys: &mut [[f32; 4]]) {
    vectorized(inlined!(|| {
        let width = query.len();
        for ((keys, scales), rows) in keys.iter_mut().zip(scales).zip(rows.chunks_exact(4 * width)) {
            let sums = dots(four(rows, width), query);
            *keys = std::array::from_fn(|row| sums[row] as f32 * scales[row]);
        }
    }));
}

/// In how many of its bits each row is like a query of as many words, less those in which it is not. Both have so many
/// bits; those behind are equal.
#[inline(never)]
pub fn scan_bits(rows: &[u32], query: &[u32], bits: usize, keys: &mut [[f32; 4]]) {
    vectorized(inlined!(|| {
        for (key, row) in keys.as_flattened_mut().iter_mut().zip(rows.chunks_exact(query.len())) {
            let apart: u32 = row.iter().zip(query).map(|(x, query)| (x ^ query).count_ones()).sum();
            *key = (bits as i32 - 2 * apart as i32) as f32;
        }
    }));
}

/// Four rows.
#[inline(always)]
fn four<T>(rows: &[T], width: usize) -> [&[T]; 4] {
    [0, 1, 2, 3].map(|row| &rows[row * width..(row + 1) * width])
}

/// Dot products of four rows. Of a plain loop the compiler makes what the machine has for pairs of products.
#[cfg(not(target_arch = "wasm32"))]
#[inline(always)]
fn dots(rows: [&[[i8; CODES]]; 4], query: &[[i16; CODES]]) -> [i32; 4] {
    rows.map(|row| {
        let pairs = row.as_flattened().iter().zip(query.as_flattened());
        pairs.map(|(x, query)| i32::from(*x) * i32::from(*query)).sum()
    })
}

/// Dot products of four rows, for each load of the query.
#[cfg(target_arch = "wasm32")]
#[inline(always)]
fn dots([x, y, z, w]: [&[[i8; CODES]]; 4], query: &[[i16; CODES]]) -> [i32; 4] {
    use core::arch::wasm32::i32x4_splat;
    // Named one by one so that each sum is in a register.
    let zero = i32x4_splat(0);
    let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
    for ((((query, x), y), z), w) in query.iter().zip(x).zip(y).zip(z).zip(w) {
        (a, b, c, d) = (dot_add(a, x, query), dot_add(b, y, query), dot_add(c, z, query), dot_add(d, w, query));
    }
    [a, b, c, d].map(|sums| bytemuck::cast::<_, [i32; 4]>(sums).iter().sum())
}

#[cfg(target_arch = "wasm32")]
use core::arch::wasm32::v128;

/// Adds to four sums, whose sum is wanted, the products of a row's integers with those of a query.
#[cfg(target_arch = "wasm32")]
#[inline(always)]
fn dot_add(sums: v128, row: &[i8; CODES], query: &[i16; CODES]) -> v128 {
    use core::arch::wasm32::{i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4_add, i32x4_dot_i16x8};
    let row: v128 = bytemuck::cast(*row);
    let [low, high]: [v128; 2] = bytemuck::cast(*query);
    let low = i32x4_dot_i16x8(i16x8_extend_low_i8x16(row), low);
    let high = i32x4_dot_i16x8(i16x8_extend_high_i8x16(row), high);
    i32x4_add(sums, i32x4_add(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_plain_loops() {
        for (count, width) in [(0, 1), (4, 1), (4, 3), (8, 2), (12, 4)] {
            let codes: Vec<[i8; CODES]> = (0..count * width)
                .map(|at| std::array::from_fn(|lane| ((at * CODES + lane) * 37 % 255) as u8 as i8))
                .map(|codes: [i8; CODES]| codes.map(|code| code.max(-127)))
                .collect();
            let query: Vec<[i16; CODES]> = (0..width)
                .map(|at| std::array::from_fn(|lane| ((at + 3) * (lane + 7) * 1237 % 65_535) as u16 as i16))
                .collect();
            let scales: Vec<f32> = (0..count).map(|row| 0.5 + row as f32).collect();
            let mut keys = vec![[f32::NAN; 4]; count / 4];
            scan_int8(&codes, scales.as_chunks().0, &query, &mut keys);
            let flat = |row: usize| codes[row * width..(row + 1) * width].concat();
            for (row, key) in keys.as_flattened().iter().enumerate() {
                let sum: i32 = flat(row).iter().zip(query.concat()).map(|(x, y)| i32::from(*x) * i32::from(y)).sum();
                assert_eq!(*key, sum as f32 * scales[row]);
            }

            let values: Vec<[f32; 8]> =
                (0..count * width).map(|at| std::array::from_fn(|lane| ((at * 8 + lane) % 11) as f32 - 5.0)).collect();
            let query: Vec<[f32; 8]> = (0..width).map(|at| [at as f32 - 0.5; 8]).collect();
            scan_f32(&values, &query, &mut keys);
            for (row, key) in keys.as_flattened().iter().enumerate() {
                let row = values[row * width..(row + 1) * width].concat();
                assert_eq!(*key, row.iter().zip(query.concat()).map(|(x, y)| x * y).sum::<f32>());
            }

            let words: Vec<u32> = (0..count * width).map(|at| (at as u32).wrapping_mul(0x9e37_79b9)).collect();
            let query: Vec<u32> = (0..width).map(|at| (at as u32).wrapping_mul(0x85eb_ca6b)).collect();
            scan_bits(&words, &query, 32 * width, &mut keys);
            for (row, key) in keys.as_flattened().iter().enumerate() {
                let apart = |bit: usize| {
                    let (word, bit) = (bit / 32, bit % 32);
                    (words[row * width + word] ^ query[word]) >> bit & 1 == 1
                };
                let score: i32 = (0..32 * width).map(|bit| if apart(bit) { -1 } else { 1 }).sum();
                assert_eq!(*key, score as f32);
            }
        }
    }
}
