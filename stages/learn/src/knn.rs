//! Exact nearest neighbours by blocked matrix products and a threshold scan.
//!
//! Every pair is compared, so the result is exact; at the sizes met here (up to some 100,000 rows) that is as fast as
//! an approximate index once its construction counts. Work is cut into blocks of fixed size, never by the number of
//! threads, and each row is scanned in order of index, so any thread count gives the same bits. Memory beyond the
//! inputs is one block of similarities a thread.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, ArrayView2, ArrayViewMut2, Axis, Slice};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::rows;

/// Queries and base rows a block: 128 · 1,024 similarities are 512 KiB, which stays in a core's second-level cache.
const QUERY_BLOCK: usize = 128;
const BASE_BLOCK: usize = 1024;

/// How near two rows are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Similarity {
    /// Inner product of the rows divided by their Euclidean norms.
    #[default]
    Cosine,
    /// Inner product of the rows as they are; the order GCC and faiss's `IndexFlatIP` use.
    InnerProduct,
    /// Minus the squared Euclidean distance.
    L2,
}

/// The nearest base rows of each query, nearest first; of equally near ones, the lower index first.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Neighbours a query.
    pub k: usize,
    /// `[Q, k]`, rows of the base.
    pub index: Vec<u32>,
    /// `[Q, k]`, as [`Similarity`] defines it: larger is nearer.
    pub similarity: Vec<f32>,
}

impl Neighbours {
    /// Each query's neighbours and how near they are.
    pub fn rows(&self) -> impl Iterator<Item = (&[u32], &[f32])> {
        self.index.chunks_exact(self.k).zip(self.similarity.chunks_exact(self.k))
    }
}

/// Why there are no `k` nearest neighbours.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KnnError {
    /// More neighbours asked for than there are rows.
    #[error("{k} neighbours asked for, but only {candidates} rows can be one; lower k")]
    TooFew {
        /// Neighbours asked for.
        k: usize,
        /// Rows that can be a neighbour.
        candidates: usize,
    },
    /// Similarities of a row that are not numbers, from values too large for single precision.
    #[error("row {row} has similarities that are not finite; normalise the embeddings first")]
    NotFinite {
        /// The query.
        row: usize,
    },
}

/// The `k` nearest rows of `base` `[N, D]` for each row of `query` `[Q, D]`.
///
/// # Errors
/// Where there are fewer than `k` rows in the base, or similarities overflow.
///
/// # Panics
/// When the two differ in width, `k` is 0, or the base has 2³² rows or more.
pub fn nearest(
    base: ArrayView2<'_, f32>,
    query: ArrayView2<'_, f32>,
    k: usize,
    similarity: Similarity,
) -> Result<Neighbours, KnnError> {
    search(base, query, k, similarity, false)
}

/// The `k` nearest other rows of each row of `base` `[N, D]`.
///
/// # Errors
/// Where there are no `k` other rows, or similarities overflow.
///
/// # Panics
/// When `k` is 0, or the base has 2³² rows or more.
pub fn nearest_others(
    base: ArrayView2<'_, f32>,
    k: usize,
    similarity: Similarity,
) -> Result<Neighbours, KnnError> {
    search(base, base, k, similarity, true)
}

fn search(
    base: ArrayView2<'_, f32>,
    query: ArrayView2<'_, f32>,
    k: usize,
    similarity: Similarity,
    others: bool,
) -> Result<Neighbours, KnnError> {
    assert_eq!(base.ncols(), query.ncols(), "base and query differ in width");
    assert!(k > 0, "no neighbours asked for");
    assert!(u32::try_from(base.nrows()).is_ok(), "rows are indexed by 32 bits");
    let candidates = base.nrows().saturating_sub(usize::from(others));
    if candidates < k {
        return Err(KnnError::TooFew { k, candidates });
    }
    let normalised = |table: ArrayView2<'_, f32>| {
        let mut table = table.as_standard_layout().into_owned();
        let dim = table.ncols();
        rows::normalise(table.as_slice_mut().expect("standard layout"), dim);
        table
    };
    let found = match similarity {
        Similarity::InnerProduct => scan(base, query, k, None, others),
        Similarity::Cosine => {
            let base = normalised(base);
            match others {
                true => scan(base.view(), base.view(), k, None, others),
                false => scan(base.view(), normalised(query).view(), k, None, others),
            }
        }
        Similarity::L2 => {
            // Far from the origin the terms below are large and nearly cancel; a shift changes no distance.
            let centre = centre(base);
            let shifted_base = &base - &centre;
            let shifted_query = if others { None } else { Some(&query - &centre) };
            let (base, query) = (shifted_base.view(), shifted_query.as_ref().unwrap_or(&shifted_base).view());
            // −|q − b|² = 2 q·b − |b|² − |q|²; the last term moves a whole row and is left to the end.
            let half_square = |row: ArrayView2<'_, f32>| -> Vec<f32> {
                row.axis_iter(Axis(0)).map(|row| row.iter().map(|v| v * v).sum::<f32>() / 2.0).collect()
            };
            let base_half = half_square(base);
            let mut found = scan(base, query, k, Some(&base_half), others);
            for (row, half) in found.similarity.chunks_exact_mut(k).zip(half_square(query)) {
                row.iter_mut().for_each(|value| *value = (2.0 * (*value - half)).min(0.0));
            }
            found
        }
    };
    match found.similarity.iter().position(|value| !value.is_finite()) {
        Some(slot) => Err(KnnError::NotFinite { row: slot / k }),
        None => Ok(found),
    }
}

/// A point amid `rows`, `[D]`: the mean of each column, rounded to the power of two below its mean deviation. That is near
/// enough, and leaves whole numbers whole, so that equal distances stay equal.
fn centre(rows: ArrayView2<'_, f32>) -> Array1<f32> {
    let n = rows.nrows() as f64;
    let sum = |of: &dyn Fn(usize, f64) -> f64| {
        let mut sums = vec![0.0; rows.ncols()];
        for row in rows.outer_iter() {
            sums.iter_mut().zip(row).enumerate().for_each(|(at, (sum, &value))| *sum += of(at, value.into()));
        }
        sums
    };
    let mean: Vec<f64> = sum(&|_, value| value).into_iter().map(|sum| sum / n).collect();
    let deviation = sum(&|at, value| (value - mean[at]).abs()).into_iter().map(|sum| sum / n);
    let rounded = |(&mean, deviation): (&f64, f64)| {
        let unit = deviation.log2().floor().exp2();
        (if unit > 0.0 && unit.is_finite() { (mean / unit).round() * unit } else { mean }) as f32
    };
    mean.iter().zip(deviation).map(rounded).collect()
}

/// The `k` largest `q·b − offset[b]` of each query. Slots that nothing finite fills stay at −∞.
fn scan(
    base: ArrayView2<'_, f32>,
    query: ArrayView2<'_, f32>,
    k: usize,
    offset: Option<&[f32]>,
    others: bool,
) -> Neighbours {
    let mut index = vec![0; query.nrows() * k];
    let mut similarity = vec![f32::NEG_INFINITY; query.nrows() * k];
    let blocks = index.par_chunks_mut(QUERY_BLOCK * k).zip(similarity.par_chunks_mut(QUERY_BLOCK * k));
    blocks.enumerate().for_each_init(
        || vec![0.0; QUERY_BLOCK * BASE_BLOCK],
        |scores, (block, (index, similarity))| {
            let first_query = block * QUERY_BLOCK;
            let rows = index.len() / k;
            let queries = query.slice_axis(Axis(0), Slice::from(first_query..first_query + rows));
            for first_base in (0..base.nrows()).step_by(BASE_BLOCK) {
                let width = BASE_BLOCK.min(base.nrows() - first_base);
                let bases = base.slice_axis(Axis(0), Slice::from(first_base..first_base + width));
                let scores = &mut scores[..rows * width];
                let mut product =
                    ArrayViewMut2::from_shape((rows, width), scores).expect("a block of its own size");
                general_mat_mul(1.0, &queries, &bases.t(), 0.0, &mut product);
                let best = index.chunks_exact_mut(k).zip(similarity.chunks_exact_mut(k));
                for (row, ((index, similarity), scores)) in
                    best.zip(product.as_slice_mut().expect("row-major").chunks_exact_mut(width)).enumerate()
                {
                    if let Some(offset) = offset {
                        let offset = &offset[first_base..first_base + width];
                        scores.iter_mut().zip(offset).for_each(|(score, offset)| *score -= offset);
                    }
                    let itself = (first_query + row).wrapping_sub(first_base);
                    if others && itself < width {
                        scores[itself] = f32::NEG_INFINITY;
                    }
                    keep_best(scores, first_base as u32, index, similarity);
                }
            }
        },
    );
    Neighbours { k, index, similarity }
}

/// Merges a block of scores into the best so far. Most runs of 16 hold nothing better than the worst kept, and finding
/// that out takes a few vector instructions.
fn keep_best(scores: &[f32], first: u32, index: &mut [u32], similarity: &mut [f32]) {
    let last = similarity.len() - 1;
    for (run, scores) in scores.chunks(16).enumerate() {
        if !scores.iter().fold(false, |better, &score| better | (score > similarity[last])) {
            continue;
        }
        for (lane, &score) in scores.iter().enumerate() {
            if score > similarity[last] {
                // After equals: the earlier, lower index stays in front.
                let place = similarity.partition_point(|&kept| kept >= score);
                similarity.copy_within(place..last, place + 1);
                index.copy_within(place..last, place + 1);
                similarity[place] = score;
                index[place] = first + (run * 16 + lane) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Small integers, so that products are exact and ties abound.
    fn grid(rows: usize, dim: usize, phase: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, dim), |(i, j)| ((i * 7 + j * 5 + i * j * 3 + phase) % 5) as f32 - 1.5)
    }

    fn slow(
        base: &Array2<f32>,
        query: &Array2<f32>,
        k: usize,
        similarity: Similarity,
        others: bool,
    ) -> Vec<Vec<u32>> {
        let norm = |row: &[f32]| row.iter().map(|v| f64::from(v * v)).sum::<f64>().sqrt();
        let near = |a: &[f32], b: &[f32]| -> f64 {
            let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum();
            match similarity {
                Similarity::InnerProduct => dot,
                Similarity::Cosine => dot / (norm(a) * norm(b)),
                Similarity::L2 => -a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>(),
            }
        };
        let rows = query.rows().into_iter().enumerate().map(|(q, row)| {
            let mut order: Vec<usize> = (0..base.nrows()).filter(|&b| !(others && b == q)).collect();
            let row = row.to_vec();
            let score: Vec<f64> = base.rows().into_iter().map(|b| near(&row, &b.to_vec())).collect();
            order.sort_by(|&a, &b| score[b].total_cmp(&score[a]));
            order[..k].iter().map(|&b| b as u32).collect()
        });
        rows.collect()
    }

    #[test]
    fn the_kernel_equals_sorting_every_pair() {
        let (base, query) = (grid(1500, 6, 0), grid(300, 6, 2));
        for similarity in [Similarity::InnerProduct, Similarity::L2] {
            for k in [1, 3, 20] {
                let found = nearest(base.view(), query.view(), k, similarity).unwrap();
                let expected = slow(&base, &query, k, similarity, false).concat();
                assert_eq!(found.index, expected, "{similarity:?}, k = {k}");
                let found = nearest_others(base.view(), k, similarity).unwrap();
                let expected = slow(&base, &base, k, similarity, true).concat();
                assert_eq!(found.index, expected, "{similarity:?}, k = {k}, others");
            }
        }
        let waves = Array2::from_shape_fn((700, 9), |(i, j)| {
            (0.7 * i as f32 + 1.3 * j as f32 * (1.0 + 0.01 * i as f32)).sin()
        });
        let found = nearest_others(waves.view(), 8, Similarity::Cosine).unwrap();
        assert_eq!(found.index, slow(&waves, &waves, 8, Similarity::Cosine, true).concat());
    }

    #[test]
    fn similarities_have_their_definitions() {
        let base = ndarray::array![[3.0, 4.0], [0.0, 0.0], [-3.0, 4.0]];
        let query = ndarray::array![[6.0, 8.0]];
        let check = |similarity, index: [u32; 3], expected: [f32; 3]| {
            let found = nearest(base.view(), query.view(), 3, similarity).unwrap();
            assert_eq!((&found.index[..], &found.similarity[..]), (&index[..], &expected[..]));
        };
        check(Similarity::Cosine, [0, 2, 1], [1.0, 0.28, 0.0]);
        check(Similarity::InnerProduct, [0, 2, 1], [50.0, 14.0, 0.0]);
        check(Similarity::L2, [0, 2, 1], [-25.0, -97.0, -100.0]);
    }

    #[test]
    fn distances_far_from_the_origin_keep_their_digits() {
        let near = Array2::from_shape_fn((300, 7), |(i, j)| ((i * 31 + j * 17) as f32).sin().round() / 8.0);
        let near = near + Array2::from_shape_fn((300, 7), |(i, j)| ((i * 13 + j * 7) % 11) as f32 / 64.0);
        let far = &near + 1000.0;
        let [near, far] = [near, far].map(|rows| nearest_others(rows.view(), 5, Similarity::L2).unwrap());
        assert_eq!(far.index, near.index);
        for (found, expected) in far.similarity.iter().zip(&near.similarity) {
            assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let base = Array2::from_shape_fn((1700, 33), |(i, j)| ((i * 31 + j * 17) as f32).sin());
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| nearest_others(base.view(), 10, Similarity::L2).unwrap())
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn what_cannot_be_found_is_refused() {
        let base = grid(4, 2, 0);
        let too_few = nearest_others(base.view(), 4, Similarity::Cosine).unwrap_err();
        assert_eq!(too_few.to_string(), "4 neighbours asked for, but only 3 rows can be one; lower k");
        assert!(nearest(base.view(), base.view(), 4, Similarity::Cosine).is_ok());
        let huge = Array2::from_elem((3, 2), 1e30f32);
        assert_eq!(
            nearest_others(huge.view(), 1, Similarity::InnerProduct),
            Err(KnnError::NotFinite { row: 0 })
        );
    }
}
