//! UMAP: McInnes, Healy, Melville, "UMAP: uniform manifold approximation and projection for dimension reduction", 2018,
//! arXiv:1802.03426, with the defaults of its program, umap-learn.
//!
//! Written here because the crates there are draw from the thread's generator, so that no two pictures are the same.

use std::collections::BTreeMap;

use ablate_data::random::Draws;
use ndarray::Array2;

use crate::knn::Neighbours;

/// Points pushed away for each one drawn nearer.
const NEGATIVES: usize = 5;
/// The longest step along an axis, before it is multiplied by the rate.
const LONGEST: f32 = 4.0;
/// Places begin from 0 to this along each axis.
const EXTENT: f32 = 10.0;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Umap {
    /// How near two points may come, where the spread of all is 1.
    pub min_dist: f64,
    /// Passes over the graph; the rate falls from 1 to 0.
    pub epochs: usize,
}

/// An edge of the fuzzy graph.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Edge {
    head: usize,
    tail: usize,
    /// How surely it is there, above 0 and up to 1.
    weight: f64,
}

/// Places of points `[N, 2]`, from the nearest other points of each, by squared distance as
/// [`Similarity::L2`](crate::knn::Similarity) has it, and from a first placing `[N, 2]`. `done` is told each pass.
///
/// # Panics
/// When neighbours and places are not of equally many points.
pub fn umap(
    near: &Neighbours,
    start: &Array2<f32>,
    how: Umap,
    draws: &mut Draws,
    done: &mut dyn FnMut(usize),
) -> Array2<f32> {
    let count = start.nrows();
    assert_eq!(near.index.len(), count * near.k, "neighbours of each point");
    let (a, b) = curve(how.min_dist);
    let (a, b) = (a as f32, b as f32);
    let mut edges = fuzzy_union(near);
    let most = edges.iter().map(|edge| edge.weight).fold(0.0, f64::max);
    edges.retain(|edge| edge.weight >= most / how.epochs as f64);
    let mut places = spread(start);
    // An edge of weight w comes by every most / w passes.
    let every: Vec<f64> = edges.iter().map(|edge| most / edge.weight).collect();
    let mut next = every.clone();
    for epoch in 0..how.epochs {
        let rate = 1.0 - epoch as f32 / how.epochs as f32;
        for (at, &Edge { head, tail, .. }) in edges.iter().enumerate() {
            if next[at] > epoch as f64 + 1.0 {
                continue;
            }
            next[at] += every[at];
            let (apart, square) = apart(&places, head, tail);
            if square > 0.0 {
                let pull = -2.0 * a * b * square.powf(b - 1.0) / (a * square.powf(b) + 1.0);
                let step = apart.map(|along| rate * (pull * along).clamp(-LONGEST, LONGEST));
                shift(&mut places, head, step);
                shift(&mut places, tail, step.map(|along| -along));
            }
            for _ in 0..NEGATIVES {
                let other = draws.below(count as u32) as usize;
                let (apart, square) = self::apart(&places, head, other);
                if other == head || square == 0.0 {
                    continue;
                }
                let push = 2.0 * b / ((0.001 + square) * (a * square.powf(b) + 1.0));
                shift(&mut places, head, apart.map(|along| rate * (push * along).clamp(-LONGEST, LONGEST)));
            }
        }
        done(epoch + 1);
    }
    let places = places.into_iter().flatten().collect();
    Array2::from_shape_vec((count, 2), places).expect("two numbers a point")
}

fn apart(places: &[[f32; 2]], from: usize, to: usize) -> ([f32; 2], f32) {
    let [x, y] = [0, 1].map(|axis| places[from][axis] - places[to][axis]);
    ([x, y], x * x + y * y)
}

fn shift(places: &mut [[f32; 2]], point: usize, by: [f32; 2]) {
    places[point].iter_mut().zip(by).for_each(|(place, by)| *place += by);
}

/// A placing stretched along each axis from 0 to [`EXTENT`].
fn spread(start: &Array2<f32>) -> Vec<[f32; 2]> {
    let stretch = [0, 1].map(|axis| {
        let column = start.column(axis);
        let (low, high) = column.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
        (low, if high > low { EXTENT / (high - low) } else { 0.0 })
    });
    let place = |row: ndarray::ArrayView1<'_, f32>| {
        [0, 1].map(|axis| (row[axis] - stretch[axis].0) * stretch[axis].1)
    };
    start.rows().into_iter().map(place).collect()
}

/// The fuzzy graph of the nearest others of each point: the probabilistic union of what each point says of its neighbours, in
/// order of head and tail.
fn fuzzy_union(near: &Neighbours) -> Vec<Edge> {
    let mut sure: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for (point, (index, similarity)) in near.rows().enumerate() {
        let distances: Vec<f64> = similarity.iter().map(|&s| f64::from(-s).max(0.0).sqrt()).collect();
        sure.extend(index.iter().map(|&other| (point, other as usize)).zip(memberships(&distances)));
    }
    let union = |(&(head, tail), &one): (&(usize, usize), &f64)| {
        let other = sure.get(&(tail, head)).copied().unwrap_or(0.0);
        Edge { head, tail, weight: one + other - one * other }
    };
    let mut edges: Vec<Edge> = sure.iter().map(union).collect();
    let one_way = edges.iter().filter(|edge| !sure.contains_key(&(edge.tail, edge.head)));
    let back: Vec<Edge> =
        one_way.map(|&Edge { head, tail, weight }| Edge { head: tail, tail: head, weight }).collect();
    edges.extend(back);
    edges.retain(|edge| edge.weight > 0.0);
    edges.sort_by_key(|edge| (edge.head, edge.tail));
    edges
}

/// How surely each of a point's nearest others, at ascending distances, is its neighbour: exp(−(d − ρ) / σ), where ρ is the
/// smallest distance above 0, and σ is such that they sum to log₂ of the number of neighbours, the point itself among them.
fn memberships(distances: &[f64]) -> Vec<f64> {
    let target = ((distances.len() + 1) as f64).log2();
    let nearest = distances.iter().copied().find(|&distance| distance > 0.0).unwrap_or(0.0);
    let at = |sigma: f64| {
        move |&distance: &f64| if distance > nearest { (-(distance - nearest) / sigma).exp() } else { 1.0 }
    };
    let (mut low, mut high, mut sigma) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..64 {
        let sum: f64 = distances.iter().map(at(sigma)).sum();
        if (sum - target).abs() < 1e-5 {
            break;
        }
        if sum > target {
            high = sigma;
            sigma = f64::midpoint(low, high);
        } else {
            low = sigma;
            sigma = if high.is_finite() { f64::midpoint(low, high) } else { sigma * 2.0 };
        }
    }
    let mean = distances.iter().sum::<f64>() / distances.len().max(1) as f64;
    let sigma = sigma.max(1e-3 * mean).max(f64::MIN_POSITIVE);
    distances.iter().map(at(sigma)).collect()
}

/// a and b of 1 / (1 + a d²ᵇ), the curve nearest to 1 up to `min_dist` and exp(−(d − min_dist)) from there on, over 300 distances
/// from 0 to 3: Gauss and Newton's method with Levenberg's damping.
fn curve(min_dist: f64) -> (f64, f64) {
    let points: Vec<(f64, f64)> = (0..300)
        .map(|at| 3.0 * f64::from(at) / 299.0)
        .map(|d| (d, if d < min_dist { 1.0 } else { (min_dist - d).exp() }))
        .collect();
    let error = |a: f64, b: f64| -> f64 {
        points.iter().map(|&(d, wanted)| (1.0 / (1.0 + a * d.powf(2.0 * b)) - wanted).powi(2)).sum()
    };
    let (mut a, mut b, mut damping) = (1.0_f64, 1.0_f64, 1e-3);
    for _ in 0..200 {
        // The normal equations, of the derivatives by a and b.
        let (mut aa, mut ab, mut bb, mut ra, mut rb) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(d, wanted) in points.iter().filter(|(d, _)| *d > 0.0) {
            let power = d.powf(2.0 * b);
            let value = 1.0 / (1.0 + a * power);
            let by_a = -power * value * value;
            let by_b = by_a * a * 2.0 * d.ln();
            let rest = wanted - value;
            aa += by_a * by_a;
            ab += by_a * by_b;
            bb += by_b * by_b;
            ra += by_a * rest;
            rb += by_b * rest;
        }
        let (da, db) = (aa * (1.0 + damping), bb * (1.0 + damping));
        let determinant = da * db - ab * ab;
        let (next_a, next_b) = (a + (ra * db - rb * ab) / determinant, b + (rb * da - ra * ab) / determinant);
        let better = next_a > 0.0 && next_b > 0.0 && error(next_a, next_b) <= error(a, b);
        if better {
            let moved = (next_a - a).abs() + (next_b - b).abs();
            (a, b, damping) = (next_a, next_b, damping / 10.0);
            if moved < 1e-12 {
                break;
            }
        } else {
            damping *= 10.0;
        }
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_that_of_umap_learn() {
        // `umap.umap_.find_ab_params(1.0, min_dist)` of umap-learn 0.5.
        for (min_dist, a, b) in [(0.1, 1.576_943_5, 0.895_060_9), (0.5, 0.583_030_0, 1.334_167_0)] {
            let found = curve(min_dist);
            assert!((found.0 - a).abs() < 1e-5 && (found.1 - b).abs() < 1e-5, "{found:?} for {min_dist}");
        }
    }

    #[test]
    fn memberships_sum_to_the_logarithm_of_the_number_of_neighbours() {
        let found = memberships(&[1.0, 1.5, 2.0, 2.5, 4.0, 7.0, 9.0]);
        assert!((found.iter().sum::<f64>() - 3.0).abs() < 1e-5, "{found:?}");
        assert_eq!(found[0], 1.0);
        assert!(found.is_sorted_by(|a, b| a >= b), "{found:?}");
        // All at the same place: each is as sure as can be.
        assert_eq!(memberships(&[0.0; 3]), [1.0; 3]);
    }

    #[test]
    fn an_edge_is_as_sure_as_either_end_says() {
        // On a line: 0, 1, 3. Each has its two others, at distances (1, 3), (1, 2), (2, 3).
        let near = Neighbours {
            k: 2,
            index: vec![1, 2, 0, 2, 1, 0],
            similarity: vec![-1.0, -9.0, -1.0, -4.0, -4.0, -9.0],
        };
        let edges = fuzzy_union(&near);
        let ends: Vec<(usize, usize)> = edges.iter().map(|edge| (edge.head, edge.tail)).collect();
        assert_eq!(ends, [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]);
        // log2(3) = 1 + p for the further one; both ways for 0 and 2.
        let p = 3.0_f64.log2() - 1.0;
        let expected = [1.0, p + p - p * p, 1.0, 1.0, p + p - p * p, 1.0];
        assert!(
            edges.iter().zip(expected).all(|(edge, value)| (edge.weight - value).abs() < 1e-4),
            "{edges:?}"
        );
    }
}
