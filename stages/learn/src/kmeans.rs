//! k-means as scikit-learn runs it: greedy k-means++ seeding, Lloyd's iterations, restarts.
//!
//! Written over matrix products because a point-by-point k-means is an order of magnitude slower at the sizes met here.
//! Points are handled in chunks of fixed size whose sums are added in order, so any thread count gives the same bits.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};
use rayon::prelude::*;

/// Points a chunk.
const CHUNK: usize = 1024;
/// Most parts the sums of clusters are made in: a bound on memory, and a fixed order of addition.
const PARTS: usize = 16;

/// How to run it. scikit-learn has one start, 300 iterations and a tolerance of 1e-4.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KMeans {
    /// K.
    pub clusters: usize,
    /// Starts, of which the one of least inertia is kept.
    pub n_init: usize,
    /// Most iterations a start.
    pub max_iter: usize,
    /// A start ends when its centres move, in all, by at most this times the mean variance of the features (squared
    /// distance).
    pub tolerance: f64,
}

/// Where it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// `[K, D]`.
    pub centres: Array2<f32>,
    /// `[N]`, the nearest centre of each point; of equally near ones, the lowest.
    pub cluster: Vec<u32>,
    /// Sum of the squared distances to the nearest centre.
    pub inertia: f64,
}

impl KMeans {
    /// Clusters `points` `[N, D]`. `uniform` draws numbers from `[0, 1)`; equal draws give equal results.
    ///
    /// # Panics
    /// When there are no clusters or starts, or fewer points than clusters.
    pub fn fit(&self, points: ArrayView2<'_, f32>, uniform: &mut dyn FnMut() -> f64) -> Clustering {
        assert!(self.clusters > 0 && self.n_init > 0, "at least one cluster and one start");
        assert!(points.nrows() >= self.clusters, "at least as many points as clusters");
        // Distances do not change under translation, and centred points lose fewer digits in |x|² − 2x·c + |c|².
        let mean = points.mean_axis(Axis(0)).expect("at least one point");
        let centred = Points::new(&points - &mean);
        let variance = centred.square_norms.iter().map(|&norm| f64::from(norm)).sum::<f64>()
            / (points.len() as f64).max(1.0);
        let tolerance = self.tolerance * variance;
        let starts = (0..self.n_init).map(|_| {
            let seeds = centred.seed(self.clusters, uniform);
            centred.iterate(seeds, self.max_iter, tolerance)
        });
        let best = starts.reduce(|best, next| if next.inertia < best.inertia { next } else { best });
        let best = best.expect("at least one start");
        Clustering { centres: &best.centres + &mean, ..best }
    }
}

/// Points with their squared norms.
struct Points {
    rows: Array2<f32>,
    square_norms: Vec<f32>,
}

/// What a part of the points adds to the next centres.
struct Partial {
    sums: Array2<f64>,
    counts: Vec<u32>,
}

impl Points {
    fn new(rows: Array2<f32>) -> Self {
        let square_norms = square_norms(&rows);
        Self { rows, square_norms }
    }

    /// Greedy k-means++ (Arthur and Vassilvitskii 2007, as in scikit-learn): each next centre is the best of
    /// 2 + ⌊ln K⌋ candidates drawn with probability proportional to the squared distance to the centres so far.
    fn seed(&self, clusters: usize, uniform: &mut dyn FnMut() -> f64) -> Array2<f32> {
        let trials = 2 + (clusters as f64).ln() as usize;
        let n = self.rows.nrows();
        let first = ((uniform() * n as f64) as usize).min(n - 1);
        let mut chosen = vec![first];
        let mut nearest = self.square_distances(&[first]).remove(0);
        while chosen.len() < clusters {
            let mut total = 0.0;
            let cumulative: Vec<f64> = nearest
                .iter()
                .map(|&distance| {
                    total += f64::from(distance);
                    total
                })
                .collect();
            let mut draw = || {
                let mark = uniform() * total;
                cumulative.partition_point(|&sum| sum <= mark).min(n - 1)
            };
            let candidates: Vec<usize> = (0..trials).map(|_| draw()).collect();
            let improved = self.square_distances(&candidates).into_iter().map(|mut distances| {
                distances.iter_mut().zip(&nearest).for_each(|(new, &old)| *new = old.min(*new));
                (distances.iter().map(|&distance| f64::from(distance)).sum::<f64>(), distances)
            });
            let best = candidates.iter().zip(improved).reduce(|best, next| match next.1.0 < best.1.0 {
                true => next,
                false => best,
            });
            let (&candidate, (_, distances)) = best.expect("at least two candidates");
            chosen.push(candidate);
            nearest = distances;
        }
        self.rows.select(Axis(0), &chosen)
    }

    /// Squared distances of every point to some of them, `[candidates][N]`.
    fn square_distances(&self, candidates: &[usize]) -> Vec<Vec<f32>> {
        let centres = self.rows.select(Axis(0), candidates);
        let norms = square_norms(&centres);
        let mut products = vec![0.0; self.rows.nrows() * candidates.len()];
        products.par_chunks_mut(CHUNK * candidates.len()).enumerate().for_each(|(chunk, products)| {
            multiply(self.chunk(chunk), &centres, products);
        });
        let to = |centre: usize| {
            let column = products.iter().skip(centre).step_by(candidates.len());
            let distance = |(product, norm): (&f32, &f32)| (norm - 2.0 * product + norms[centre]).max(0.0);
            column.zip(&self.square_norms).map(distance).collect()
        };
        (0..candidates.len()).map(to).collect()
    }

    /// Lloyd's iterations, until the centres or the assignment rest.
    fn iterate(&self, mut centres: Array2<f32>, max_iter: usize, tolerance: f64) -> Clustering {
        let mut cluster = Vec::new();
        for _ in 0..max_iter {
            let (next_cluster, distances) = self.assign(&centres);
            let next = self.means(&next_cluster, &distances, centres.nrows());
            let shift: f64 = centres.iter().zip(&next).map(|(old, new)| f64::from(old - new).powi(2)).sum();
            let at_rest = next_cluster == cluster;
            (cluster, centres) = (next_cluster, next);
            if at_rest || shift <= tolerance {
                break;
            }
        }
        let (cluster, distances) = self.assign(&centres);
        let inertia = distances.iter().map(|&distance| f64::from(distance)).sum();
        Clustering { centres, cluster, inertia }
    }

    /// The nearest centre of each point, and the squared distance to it.
    fn assign(&self, centres: &Array2<f32>) -> (Vec<u32>, Vec<f32>) {
        let k = centres.nrows();
        let half_norms: Vec<f32> = square_norms(centres).into_iter().map(|norm| norm / 2.0).collect();
        let mut cluster = vec![0; self.rows.nrows()];
        let mut distances = vec![0.0; self.rows.nrows()];
        let chunks = cluster.par_chunks_mut(CHUNK).zip(distances.par_chunks_mut(CHUNK)).enumerate();
        chunks.for_each(|(chunk, (cluster, distances))| {
            let mut products = vec![0.0; cluster.len() * k];
            multiply(self.chunk(chunk), centres, &mut products);
            let norms = &self.square_norms[chunk * CHUNK..];
            let points = products.chunks_exact(k).zip(norms).zip(cluster.iter_mut().zip(distances));
            for ((products, norm), (cluster, distance)) in points {
                let scores =
                    products.iter().zip(&half_norms).map(|(product, half)| half - product).enumerate();
                let (nearest, score) =
                    scores.reduce(|best, next| if next.1 < best.1 { next } else { best }).expect("K > 0");
                *cluster = nearest as u32;
                *distance = (norm + 2.0 * score).max(0.0);
            }
        });
        (cluster, distances)
    }

    /// The mean of each cluster. An empty cluster takes over the point farthest from its centre, the next empty one the
    /// next farthest, as in scikit-learn.
    fn means(&self, cluster: &[u32], distances: &[f32], k: usize) -> Array2<f32> {
        let dim = self.rows.ncols();
        let part = cluster.len().div_ceil(PARTS).max(1);
        let partial = |(at, cluster): (usize, &[u32])| {
            let mut partial = Partial { sums: Array2::zeros((k, dim)), counts: vec![0; k] };
            let rows = self.rows.slice_axis(Axis(0), Slice::from(at * part..at * part + cluster.len()));
            for (row, &cluster) in rows.outer_iter().zip(cluster) {
                let mut sums = partial.sums.row_mut(cluster as usize);
                sums.zip_mut_with(&row, |sum, &value| *sum += f64::from(value));
                partial.counts[cluster as usize] += 1;
            }
            partial
        };
        let partials: Vec<Partial> = cluster.par_chunks(part).enumerate().map(partial).collect();
        let mut sums = Array2::<f64>::zeros((k, dim));
        let mut counts = vec![0_u32; k];
        for partial in partials {
            sums += &partial.sums;
            counts.iter_mut().zip(partial.counts).for_each(|(count, part)| *count += part);
        }
        let empty: Vec<usize> = (0..k).filter(|&id| counts[id] == 0).collect();
        if !empty.is_empty() {
            let mut farthest: Vec<usize> = (0..distances.len()).collect();
            farthest.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]));
            for (id, point) in empty.into_iter().zip(farthest) {
                let row = self.rows.row(point).mapv(f64::from);
                let donor = cluster[point] as usize;
                sums.row_mut(donor).scaled_add(-1.0, &row);
                counts[donor] -= 1;
                sums.row_mut(id).assign(&row);
                counts[id] = 1;
            }
        }
        let counts = Array1::from_iter(counts.into_iter().map(|count| f64::from(count.max(1))));
        (sums / counts.insert_axis(Axis(1))).mapv(|mean| mean as f32)
    }

    fn chunk(&self, chunk: usize) -> ArrayView2<'_, f32> {
        let first = chunk * CHUNK;
        let end = (first + CHUNK).min(self.rows.nrows());
        self.rows.slice_axis(Axis(0), Slice::from(first..end))
    }
}

fn square_norms(rows: &Array2<f32>) -> Vec<f32> {
    rows.outer_iter().map(|row| row.dot(&row)).collect()
}

/// `rows` `[n, D]` times `centres` `[K, D]` transposed, into `products` `[n, K]`.
fn multiply(rows: ArrayView2<'_, f32>, centres: &Array2<f32>, products: &mut [f32]) {
    let mut products = ndarray::ArrayViewMut2::from_shape((rows.nrows(), centres.nrows()), products)
        .expect("a product of its own size");
    general_mat_mul(1.0, &rows, &centres.t(), 0.0, &mut products);
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayView1;

    use super::*;

    fn waves(rows: usize, dim: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, dim), |(i, j)| {
            ((i % 5) as f32 * 1.9 + j as f32).sin() + 0.3 * ((i * 31 + j * 17) as f32).sin()
        })
    }

    fn square_distance(a: ArrayView1<'_, f32>, b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum()
    }

    /// Lloyd's algorithm, a point at a time, until nothing moves.
    fn slow(points: &Array2<f32>, mut centres: Vec<Vec<f64>>) -> (Vec<u32>, f64) {
        loop {
            let nearest = |row: ArrayView1<'_, f32>| {
                let distance = |&centre: &usize| square_distance(row, &centres[centre]);
                (0..centres.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
            };
            let cluster: Vec<usize> = points.outer_iter().map(nearest).collect();
            let mean = |id: usize| -> Vec<f64> {
                let members: Vec<_> = (0..cluster.len()).filter(|&row| cluster[row] == id).collect();
                let column = |j: usize| members.iter().map(|&row| f64::from(points[[row, j]])).sum::<f64>();
                (0..points.ncols()).map(|j| column(j) / members.len() as f64).collect()
            };
            let next: Vec<Vec<f64>> = (0..centres.len()).map(mean).collect();
            if next == centres {
                let distances = points.outer_iter().zip(&cluster);
                let inertia = distances.map(|(row, &id)| square_distance(row, &centres[id])).sum();
                return (cluster.into_iter().map(|id| id as u32).collect(), inertia);
            }
            centres = next;
        }
    }

    #[test]
    fn iterations_end_where_a_slow_loop_does() {
        // More rows than a chunk, and than there are parts.
        let rows = waves(1500, 6);
        let seeds = rows.select(Axis(0), &[0, 1, 2, 3, 4, 7]);
        let start = seeds.outer_iter().map(|row| row.iter().map(|&value| value.into()).collect()).collect();
        let (cluster, inertia) = slow(&rows, start);
        let found = Points::new(rows).iterate(seeds, 300, 0.0);
        assert_eq!(found.cluster, cluster);
        assert!((found.inertia / inertia - 1.0).abs() < 1e-4, "{}, expected {inertia}", found.inertia);
    }

    #[test]
    fn an_empty_cluster_takes_the_farthest_point() {
        let points = Points::new(ndarray::array![[0.0], [1.0], [2.0], [9.0]]);
        // Everything is in cluster 0, whose centre is at 1; 3 is farthest from it, then 0.
        let centres = points.means(&[0; 4], &[1.0, 0.0, 0.5, 64.0], 3);
        assert_eq!(centres, ndarray::array![[1.5], [9.0], [0.0]]);
    }

    #[test]
    fn seeds_are_far_apart_and_the_best_start_is_kept() {
        // Three tight groups; a seeding that takes one of each is all but certain.
        let rows = Array2::from_shape_fn((90, 2), |(i, j)| {
            ((i % 3) as f32 * 2.1 + j as f32 * 1.5).sin() * 50.0 + ((i * 7 + j) as f32).sin()
        });
        let mut draws = ablate_data::random::Draws::named(0, "k-means");
        let method = KMeans { clusters: 3, n_init: 3, max_iter: 300, tolerance: 1e-4 };
        let found = method.fit(rows.view(), &mut || draws.uniform());
        for i in 0..90 {
            assert_eq!(found.cluster[i], found.cluster[i % 3], "point {i}");
        }
        let all: std::collections::BTreeSet<u32> = found.cluster.iter().copied().collect();
        assert_eq!(all.len(), 3);
    }
}
