//! k-means as scikit-learn runs it: greedy k-means++ seeding, Lloyd's iterations, restarts.
//!
//! Written over matrix products because a point-by-point k-means is an order of magnitude slower at the sizes met here; and an
//! iteration only looks at the points whose nearest centre may have changed (Hamerly, "Making k-means even faster", SDM 2010),
//! since clustering pixels is bound by memory: 12,000 images of CIFAR-10 take 0.43 of scikit-learn's time
//! (`stages/learn/benches/kmeans.py`, dev profile, two cores). Points are handled in chunks of
//! fixed size, and each cluster's sum is added up in order, so any thread count gives the same bits.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Slice};
use rayon::prelude::*;

/// Points a chunk: of 64 to 1024, the fastest on images of 3,072 numbers.
const CHUNK: usize = 128;

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

/// Where a point stands.
#[derive(Clone, Copy)]
struct Standing {
    cluster: usize,
    /// The centre of its cluster is no farther.
    upper: f64,
    /// No other centre is nearer.
    lower: f64,
}

/// A point that has changed its cluster.
struct Move {
    point: usize,
    from: usize,
    to: usize,
}

/// What the mean of a cluster is made of.
#[derive(Clone)]
struct Total {
    /// `[D]`.
    sum: Array1<f64>,
    /// Points.
    count: usize,
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
        let k = centres.nrows();
        // Nothing is known of any point, so all are looked at.
        let unknown = Standing { cluster: 0, upper: f64::INFINITY, lower: 0.0 };
        let mut standings = vec![unknown; self.rows.nrows()];
        self.reassign(&mut standings, &centres, &vec![0.0; k]);
        let mut totals = self.totals(&standings, k);
        for _ in 0..max_iter {
            let next = self.means(&totals, &standings, &centres);
            let shifts = centres.outer_iter().zip(next.outer_iter()).map(|(old, new)| distance(old, new));
            let shifts: Vec<f64> = shifts.collect();
            centres = next;
            let moves = self.reassign(&mut standings, &centres, &shifts);
            if moves.is_empty() || shifts.iter().map(|shift| shift * shift).sum::<f64>() <= tolerance {
                break;
            }
            totals.par_iter_mut().enumerate().for_each(|(id, total)| {
                for &Move { point, from, to } in &moves {
                    match id {
                        _ if id == to => total.add(self.rows.row(point)),
                        _ if id == from => total.take(self.rows.row(point)),
                        _ => {}
                    }
                }
            });
        }
        let distances = self.own_distances(&standings, &centres);
        let inertia = distances.iter().map(|distance| distance * distance).sum();
        let cluster = standings.into_iter().map(|standing| standing.cluster as u32).collect();
        Clustering { centres, cluster, inertia }
    }

    /// The totals of `k` clusters.
    fn totals(&self, standings: &[Standing], k: usize) -> Vec<Total> {
        let total = |id| {
            let mut total = Total { sum: Array1::zeros(self.rows.ncols()), count: 0 };
            let members = standings.iter().zip(self.rows.outer_iter()).filter(|(of, _)| of.cluster == id);
            members.for_each(|(_, row)| total.add(row));
            total
        };
        (0..k).into_par_iter().map(total).collect()
    }

    /// Puts each point to its nearest centre and tells which have moved. `shifts` is how far each centre has moved since the last
    /// time: a point whose centre is still nearer than any other can be is not looked at.
    fn reassign(&self, standings: &mut [Standing], centres: &Array2<f32>, shifts: &[f64]) -> Vec<Move> {
        let half_norms: Vec<f32> = square_norms(centres).into_iter().map(|norm| norm / 2.0).collect();
        let largest_other = |own: usize| {
            let others = shifts.iter().enumerate().filter(|&(id, _)| id != own);
            others.map(|(_, &shift)| shift).fold(0.0, f64::max)
        };
        let other_shifts: Vec<f64> = (0..shifts.len()).map(largest_other).collect();
        let in_chunk = |(chunk, standings): (usize, &mut [Standing])| {
            let first = chunk * CHUNK;
            let mut doubtful = Vec::new();
            for (standing, point) in standings.iter_mut().zip(first..) {
                standing.upper += shifts[standing.cluster];
                standing.lower -= other_shifts[standing.cluster];
                if standing.upper >= standing.lower {
                    doubtful.push(point);
                }
            }
            let mut products = vec![0.0; doubtful.len() * centres.nrows()];
            multiply(self.rows.select(Axis(0), &doubtful).view(), centres, &mut products);
            let mut moves = Vec::new();
            for (point, products) in doubtful.into_iter().zip(products.chunks_exact(centres.nrows())) {
                let (nearest, scores) =
                    two_least(products.iter().zip(&half_norms).map(|(dot, half)| half - dot));
                let [upper, lower] =
                    scores.map(|score| f64::from((self.square_norms[point] + 2.0 * score).max(0.0)).sqrt());
                let standing = &mut standings[point - first];
                if standing.cluster != nearest {
                    moves.push(Move { point, from: standing.cluster, to: nearest });
                }
                *standing = Standing { cluster: nearest, upper, lower };
            }
            moves
        };
        standings.par_chunks_mut(CHUNK).enumerate().flat_map_iter(in_chunk).collect()
    }

    /// The distance of each point to the centre of its cluster.
    fn own_distances(&self, standings: &[Standing], centres: &Array2<f32>) -> Vec<f64> {
        let own = |(point, standing): (usize, &Standing)| {
            distance(self.rows.row(point), centres.row(standing.cluster))
        };
        standings.par_iter().enumerate().map(own).collect()
    }

    /// The mean of each cluster. An empty cluster takes over the point farthest from its centre, the next empty one the
    /// next farthest, as in scikit-learn.
    fn means(&self, totals: &[Total], standings: &[Standing], centres: &Array2<f32>) -> Array2<f32> {
        let mut totals = totals.to_vec();
        let empty: Vec<usize> = (0..totals.len()).filter(|&id| totals[id].count == 0).collect();
        if !empty.is_empty() {
            let distances = self.own_distances(standings, centres);
            let mut farthest: Vec<usize> = (0..distances.len()).collect();
            farthest.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]));
            for (id, point) in empty.into_iter().zip(farthest) {
                totals[standings[point].cluster].take(self.rows.row(point));
                totals[id].add(self.rows.row(point));
            }
        }
        let mut means = Array2::zeros(centres.dim());
        for (mut mean, Total { sum, count }) in means.outer_iter_mut().zip(totals) {
            mean.assign(&(sum / count.max(1) as f64).mapv(|value| value as f32));
        }
        means
    }

    fn chunk(&self, chunk: usize) -> ArrayView2<'_, f32> {
        let first = chunk * CHUNK;
        let end = (first + CHUNK).min(self.rows.nrows());
        self.rows.slice_axis(Axis(0), Slice::from(first..end))
    }
}

impl Total {
    fn add(&mut self, point: ArrayView1<'_, f32>) {
        self.sum.zip_mut_with(&point, |sum, &value| *sum += f64::from(value));
        self.count += 1;
    }

    fn take(&mut self, point: ArrayView1<'_, f32>) {
        self.sum.zip_mut_with(&point, |sum, &value| *sum -= f64::from(value));
        self.count -= 1;
    }
}

/// The place of the least score (of equals, the lowest), and the two least; infinite where there is only one.
fn two_least(scores: impl Iterator<Item = f32>) -> (usize, [f32; 2]) {
    let start = (0, [f32::INFINITY; 2]);
    scores.zip(0..).fold(start, |(place, [first, second]), (score, at)| match score {
        _ if score < first => (at, [score, first]),
        _ => (place, [first, second.min(score)]),
    })
}

/// Between two rows.
fn distance(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
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
        // More rows than a chunk.
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
        let centres = ndarray::array![[1.0], [50.0], [60.0]];
        let standings = [Standing { cluster: 0, upper: 0.0, lower: 0.0 }; 4];
        let centres = points.means(&points.totals(&standings, 3), &standings, &centres);
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
