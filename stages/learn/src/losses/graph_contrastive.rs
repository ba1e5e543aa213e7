//! The losses of Graph Contrastive Clustering (GCC): Zhong, Wu, Chen, Huang, Deng, Nie, Lin, Hua, "Graph contrastive
//! clustering", ICCV 2021, and its program, `mynameischaos/GCC` @ 530c11b.
//!
//! Program and paper differ in the contrast over the graph: [`rgc`] is the program's, [`rgc_published`] the paper's.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use super::contrastive::{EXCLUDED, mean_of_diagonal};
use super::normalise;

/// SimCLR's loss from one side, as GCC's program trains on before there is a graph.
///
/// `z`, `z_prime` `[B, D]` are two views of the same B images; rows need not have length one. With s the cosine similarity,
///
/// L = 1/B Σᵢ −log( exp(s(zᵢ, z′ᵢ)/τ) / Σⱼ \[exp(s(zᵢ, zⱼ)/τ) + exp(s(zᵢ, z′ⱼ)/τ)\] )
///
/// Rows of `z` alone are anchors, and j = i is left out of neither sum: an anchor is a candidate of its own, unlike in
/// [`nt_xent`](super::nt_xent).
pub fn simclr_onesided(z: Tensor<2>, z_prime: Tensor<2>, temperature: f64) -> Tensor<1> {
    let [batch, _] = z.dims();
    assert_eq!(z.dims(), z_prime.dims(), "the views are [B, D] both");
    let (z, z_prime) = (normalise(z), normalise(z_prime));
    let candidates = Tensor::cat(vec![z.clone(), z_prime], 0);
    let log_probability = log_softmax(z.matmul(candidates.transpose()).div_scalar(temperature), 1);
    mean_of_diagonal(log_probability.narrow(1, batch, batch)).neg()
}

/// Representation graph contrast (RGC) as GCC's program computes it.
///
/// `z`, `z_prime` `[B, D]` are two views of the same B images, `neighbours[t]` `[B, D]` a view of the t-th neighbour nᵗᵢ of
/// each, `weights` `[B, T]` the weight wᵗᵢ of that neighbour, above 0; rows need not have length one. The columns of anchor zᵢ
/// are every zⱼ, every z′ⱼ, and every neighbour vector wᵗⱼ nᵗⱼ, c their inner product with zᵢ over τ. With the
/// positives Pᵢ = {z′ᵢ, w¹ᵢ n¹ᵢ, …, wᵀᵢ nᵀᵢ} and ω = wᵗᵢ for its own neighbours and 1 for all else,
///
/// L = 1/B Σᵢ −log( Σ_{c ∈ Pᵢ} ω exp(c) / Σ_{c ∉ Pᵢ} exp(c) )
///
/// So a weight counts twice, positives are not in the denominator (the loss may be negative), and the similarity of zᵢ with
/// itself is.
pub fn rgc(
    z: Tensor<2>,
    z_prime: Tensor<2>,
    neighbours: &[Tensor<2>],
    weights: Tensor<2>,
    temperature: f64,
) -> Tensor<1> {
    let [batch, _] = z.dims();
    assert_eq!(weights.dims(), [batch, neighbours.len()], "a weight a neighbour");
    let z = normalise(z);
    let mut blocks = vec![z.clone(), normalise(z_prime)];
    let mut log_omega = vec![weights.zeros_like().narrow(1, 0, 1)];
    for (t, neighbour) in neighbours.iter().enumerate() {
        let weight = weights.clone().narrow(1, t, 1);
        blocks.push(normalise(neighbour.clone()) * weight.clone());
        log_omega.push(weight.log());
    }
    let diagonal = Tensor::<2>::eye(batch, &z.device());
    let mut positives = vec![diagonal.zeros_like()];
    positives.resize(blocks.len(), diagonal.clone());
    let logits = z.matmul(Tensor::cat(blocks, 0).transpose()).div_scalar(temperature);
    let attraction = log_omega.into_iter().enumerate().map(|(at, log_omega)| {
        let block = logits.clone().narrow(1, (at + 1) * batch, batch);
        (block * diagonal.clone()).sum_dim(1) + log_omega
    });
    let attraction = log_sum_exp(Tensor::cat(attraction.collect(), 1));
    let repulsion = log_sum_exp(logits.mask_fill(Tensor::cat(positives, 1).bool(), EXCLUDED));
    (repulsion - attraction).sum().div_scalar(batch as f64)
}

/// Representation graph contrast (RGC) as GCC's paper has it.
///
/// `z_prime` `[B, D]` are the anchors, `columns` `[M, D]` views of any M images; rows need not have length one. `laplacian`
/// `[B, M]`, row-major, has the entry Lᵢⱼ of the graph's normalised Laplacian I − D^-½ A D^-½ for each pair of images: below
/// 0 where they are adjacent, 0 where not, above 0 where they are the same. With s the cosine similarity,
///
/// L = mean of −log( Σ_{Lᵢⱼ < 0} −Lᵢⱼ exp(s(z′ᵢ, yⱼ)/τ) / Σ_{Lᵢⱼ = 0} exp(s(z′ᵢ, yⱼ)/τ) )
///
/// over the anchors i that have columns of both kinds; `None` where none has.
///
/// # Panics
/// When `laplacian` has not B · M entries.
pub fn rgc_published(
    z_prime: Tensor<2>,
    columns: Tensor<2>,
    laplacian: &[f32],
    temperature: f64,
) -> Option<Tensor<1>> {
    let ([batch, _], [width, _]) = (z_prime.dims(), columns.dims());
    assert_eq!(laplacian.len(), batch * width, "an entry an anchor and column");
    let pull = |&l: &f32| if l < 0.0 { (-l).ln() } else { EXCLUDED as f32 };
    let push = |&l: &f32| if l == 0.0 { 0.0 } else { EXCLUDED as f32 };
    let counts = |row: &[f32]| row.iter().any(|&l| l < 0.0) && row.contains(&0.0);
    let counted: Vec<f32> =
        laplacian.chunks_exact(width).map(|row| f32::from(u8::from(counts(row)))).collect();
    let anchors: f32 = counted.iter().sum();
    if anchors == 0.0 {
        return None;
    }
    let device = z_prime.device().without_autodiff();
    let upload = |of: &dyn Fn(&f32) -> f32| {
        crate::rows::upload(laplacian.iter().map(of).collect(), [batch, width], &device)
    };
    let logits = normalise(z_prime).matmul(normalise(columns).transpose()).div_scalar(temperature);
    let attraction = log_sum_exp(logits.clone() + upload(&pull));
    let repulsion = log_sum_exp(logits + upload(&push));
    let share = counted.into_iter().map(|counted| counted / anchors).collect();
    Some(((repulsion - attraction) * crate::rows::upload(share, [batch, 1], &device)).sum())
}

/// Assignment graph contrast (AGC; GCC, eq. 8 and its program): clusters are told apart by whom they hold.
///
/// `o`, `r` `[B, K]` are cluster probabilities of B images, and of a neighbour of each or another view. With S the cosine
/// similarity of column a of `o` and column b of `r`,
///
/// L = 1/K Σₐ −log( exp(Sₐₐ/τ) / Σ_b exp(S_ab/τ) )
///
/// The program's τ is 1.
pub fn agc(o: Tensor<2>, r: Tensor<2>, temperature: f64) -> Tensor<1> {
    assert_eq!(o.dims(), r.dims(), "the probabilities are [B, K] both");
    let (o, r) = (normalise(o.transpose()), normalise(r.transpose()));
    mean_of_diagonal(log_softmax(o.matmul(r.transpose()).div_scalar(temperature), 1)).neg()
}

/// How far clusters are from equal sizes, in nats (GCC's regulariser L_CR): with πₐ the mean of column a of the cluster
/// probabilities `o` `[B, K]`,
///
/// L = log K + Σₐ πₐ log πₐ
///
/// 0 when they are equal, log K when everything is in one. An empty cluster counts 0.
pub fn cluster_entropy(o: Tensor<2>) -> Tensor<1> {
    let [_, clusters] = o.dims();
    let pi = o.mean_dim(0);
    let log_pi = pi.clone().clamp_min(f32::MIN_POSITIVE).log();
    (pi * log_pi).sum().add_scalar((clusters as f64).ln())
}

/// log Σⱼ exp(xᵢⱼ), `[N, M]` to `[N, 1]`.
fn log_sum_exp(x: Tensor<2>) -> Tensor<2> {
    let largest = x.clone().detach().max_dim(1);
    (x - largest.clone()).exp().sum_dim(1).log() + largest
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// The program's τ, and another.
    const TEMPERATURES: [f64; 2] = [0.1, 0.5];

    type Rows = Vec<Vec<f64>>;

    fn views() -> (Rows, Rows) {
        (waves(5, 6, 0.7, 1.3, 0.1), waves(5, 6, 1.1, 0.6, 0.4))
    }

    fn neighbours() -> [Rows; 3] {
        [0.45, 0.8, 1.15].map(|c| waves(5, 6, 0.9, 1.2, c))
    }

    fn weights() -> Rows {
        (0..5).map(|i| (0..3).map(|t| (3.0 / (4.0 + ((i + t) % 3) as f64)).sqrt()).collect()).collect()
    }

    fn slow_onesided(z: &[Vec<f64>], z_prime: &[Vec<f64>], temperature: f64) -> f64 {
        let (z, z_prime) = (unit(z.to_vec()), unit(z_prime.to_vec()));
        let loss = |i: usize| {
            let to = |row: &Vec<f64>| (dot(&z[i], row) / temperature).exp();
            let candidates: f64 = z.iter().chain(&z_prime).map(to).sum();
            -(to(&z_prime[i]) / candidates).ln()
        };
        (0..z.len()).map(loss).sum::<f64>() / z.len() as f64
    }

    fn slow_rgc(z: &[Vec<f64>], z_prime: &[Vec<f64>], n: &[Rows], w: &[Vec<f64>], temperature: f64) -> f64 {
        let (z, z_prime) = (unit(z.to_vec()), unit(z_prime.to_vec()));
        let n: Vec<Rows> = n.iter().map(|rows| unit(rows.clone())).collect();
        let loss = |i: usize| {
            let (mut above, mut below) = (0.0, 0.0);
            for j in 0..z.len() {
                below += (dot(&z[i], &z[j]) / temperature).exp();
                let own_view = (dot(&z[i], &z_prime[j]) / temperature).exp();
                *(if i == j { &mut above } else { &mut below }) += own_view;
                for (t, n) in n.iter().enumerate() {
                    let near = (w[j][t] * dot(&z[i], &n[j]) / temperature).exp();
                    *(if i == j { &mut above } else { &mut below }) +=
                        if i == j { w[i][t] * near } else { near };
                }
            }
            -(above / below).ln()
        };
        (0..z.len()).map(loss).sum::<f64>() / z.len() as f64
    }

    /// Of six images in a ring, the even ones joined across too; entries for anchors 0..5 and columns 0..5, then 2..5.
    fn laplacian() -> Vec<f32> {
        let adjacent = |i: usize, j: usize| {
            i.abs_diff(j) == 1 || i.abs_diff(j) == 5 || (i + j == 6 && i != j && i.is_multiple_of(2))
        };
        let degree = |i: usize| (0..6).filter(|&j| adjacent(i, j)).count() as f32;
        let entry = |i: usize, j: usize| match (i == j, adjacent(i, j)) {
            (true, _) => 1.0,
            (false, true) => -1.0 / (degree(i) * degree(j)).sqrt(),
            (false, false) => 0.0,
        };
        (0..5).flat_map(|i| (0..5).chain(2..5).map(move |j| entry(i, j))).collect()
    }

    fn slow_published(
        anchors: &[Vec<f64>],
        columns: &[Vec<f64>],
        laplacian: &[f32],
        temperature: f64,
    ) -> f64 {
        let (anchors, columns) = (unit(anchors.to_vec()), unit(columns.to_vec()));
        let loss = |(anchor, laplacian): (&Vec<f64>, &[f32])| {
            let terms = columns
                .iter()
                .zip(laplacian)
                .map(|(column, &l)| ((dot(anchor, column) / temperature).exp(), f64::from(l)));
            let above: f64 = terms.clone().filter(|(_, l)| *l < 0.0).map(|(e, l)| -l * e).sum();
            let below: f64 = terms.filter(|(_, l)| *l == 0.0).map(|(e, _)| e).sum();
            -(above / below).ln()
        };
        anchors.iter().zip(laplacian.chunks(columns.len())).map(loss).sum::<f64>() / anchors.len() as f64
    }

    fn slow_agc(o: &[Vec<f64>], r: &[Vec<f64>], temperature: f64) -> f64 {
        let columns = |rows: &[Vec<f64>]| {
            unit((0..rows[0].len()).map(|k| rows.iter().map(|row| row[k]).collect()).collect())
        };
        let (o, r) = (columns(o), columns(r));
        let loss = |a: usize| {
            let to = |column: &Vec<f64>| (dot(&o[a], column) / temperature).exp();
            -(to(&r[a]) / r.iter().map(to).sum::<f64>()).ln()
        };
        (0..o.len()).map(loss).sum::<f64>() / o.len() as f64
    }

    fn slow_entropy(o: &[Vec<f64>]) -> f64 {
        let clusters = o[0].len();
        let size = |k: usize| o.iter().map(|row| row[k]).sum::<f64>() / o.len() as f64;
        (clusters as f64).ln() + (0..clusters).map(size).map(|pi| pi * pi.ln()).sum::<f64>()
    }

    fn probabilities(c: f64) -> Rows {
        let soft = |row: Vec<f64>| {
            let total: f64 = row.iter().map(|x| (2.0 * x).exp()).sum();
            row.iter().map(|x| (2.0 * x).exp() / total).collect()
        };
        waves(6, 4, 0.9, 1.7, c).into_iter().map(soft).collect()
    }

    #[track_caller]
    fn agree(found: Tensor<1>, expected: f64) {
        let found = value(found);
        assert!((found - expected).abs() < 1e-4 * expected.abs().max(0.01), "{found}, expected {expected}");
    }

    #[test]
    fn simclr_from_one_side_equals_its_formula_and_gradient() {
        let (z, z_prime) = views();
        for tau in TEMPERATURES {
            let loss = |z: Tensor<2>, z_prime: Tensor<2>| simclr_onesided(z, z_prime, tau);
            let slow = |z: &[Vec<f64>], z_prime: &[Vec<f64>]| slow_onesided(z, z_prime, tau);
            agree(loss(tensor(&z), tensor(&z_prime)), slow(&z, &z_prime));
            check_gradient(&z, |x| loss(x, tensor(&z_prime)), |x| slow(x, &z_prime));
            check_gradient(&z_prime, |x| loss(tensor(&z), x), |x| slow(&z, x));
        }
    }

    #[test]
    fn rgc_equals_its_formula_and_gradient() {
        let ((z, z_prime), n, w) = (views(), neighbours(), weights());
        let tensors = |n: &[Rows]| n.iter().map(|rows| tensor(rows)).collect::<Vec<_>>();
        for tau in TEMPERATURES {
            let loss =
                |z: Tensor<2>, z_prime: Tensor<2>, n: &[Tensor<2>]| rgc(z, z_prime, n, tensor(&w), tau);
            let slow = |z: &[Vec<f64>], z_prime: &[Vec<f64>], n: &[Rows]| slow_rgc(z, z_prime, n, &w, tau);
            agree(loss(tensor(&z), tensor(&z_prime), &tensors(&n)), slow(&z, &z_prime, &n));
            check_gradient(&z, |x| loss(x, tensor(&z_prime), &tensors(&n)), |x| slow(x, &z_prime, &n));
            check_gradient(&z_prime, |x| loss(tensor(&z), x, &tensors(&n)), |x| slow(&z, x, &n));
            for (t, block) in n.iter().enumerate() {
                let fast = |x: Tensor<2>| {
                    let mut moved = tensors(&n);
                    moved[t] = x;
                    loss(tensor(&z), tensor(&z_prime), &moved)
                };
                let slow = |x: &[Vec<f64>]| {
                    let mut moved = n.clone();
                    moved[t] = x.to_vec();
                    slow(&z, &z_prime, &moved)
                };
                check_gradient(block, fast, slow);
            }
        }
    }

    #[test]
    fn the_published_rgc_equals_its_formula_and_gradient() {
        let (z, columns, laplacian) = (views().0, waves(8, 6, 1.1, 0.6, 0.4), laplacian());
        // An anchor without neighbours among the columns is left out, and there may be no other.
        let mut lonely = laplacian.clone();
        lonely[..8].iter_mut().for_each(|l| *l = l.max(0.0));
        for tau in TEMPERATURES {
            let loss = |z: Tensor<2>, columns: Tensor<2>| rgc_published(z, columns, &laplacian, tau).unwrap();
            let slow = |z: &[Vec<f64>], columns: &[Vec<f64>]| slow_published(z, columns, &laplacian, tau);
            agree(loss(tensor(&z), tensor(&columns)), slow(&z, &columns));
            check_gradient(&z, |x| loss(x, tensor(&columns)), |x| slow(x, &columns));
            check_gradient(&columns, |x| loss(tensor(&z), x), |x| slow(&z, x));
            let found = rgc_published(tensor(&z), tensor(&columns), &lonely, tau).unwrap();
            agree(found, slow_published(&z[1..], &columns, &laplacian[8..], tau));
            assert!(rgc_published(tensor(&z), tensor(&columns), &[0.0; 40], tau).is_none());
        }
    }

    #[test]
    fn contrast_and_entropy_of_clusters_equal_their_formulas_and_gradients() {
        let (o, r) = (probabilities(0.2), probabilities(0.5));
        for tau in [0.5, 1.0] {
            agree(agc(tensor(&o), tensor(&r), tau), slow_agc(&o, &r, tau));
            check_gradient(&o, |x| agc(x, tensor(&r), tau), |x| slow_agc(x, &r, tau));
            check_gradient(&r, |x| agc(tensor(&o), x, tau), |x| slow_agc(&o, x, tau));
        }
        agree(cluster_entropy(tensor(&o)), slow_entropy(&o));
        check_gradient(&o, cluster_entropy, slow_entropy);
    }

    #[test]
    fn empty_clusters_and_small_temperatures_are_finite() {
        let one = vec![vec![1.0, 0.0, 0.0]; 4];
        assert!((value(cluster_entropy(tensor(&one))) - 3f64.ln()).abs() < 1e-6);
        let leaf = tensor(&one).autodiff().require_grad();
        let gradients = cluster_entropy(leaf.clone()).backward();
        let gradient = crate::weights::host(leaf.grad(&gradients).unwrap());
        assert!(gradient.iter().all(|value| value.is_finite()));
        let ((z, z_prime), n, w) = (views(), neighbours(), weights());
        let n = n.map(|rows| tensor(&rows));
        for temperature in [0.001, 0.01] {
            assert!(value(rgc(tensor(&z), tensor(&z_prime), &n, tensor(&w), temperature)).is_finite());
        }
    }
}
