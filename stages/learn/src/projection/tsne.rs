//! t-SNE.

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;

use bhtsne::{Neighbor, tSNE};
use ndarray::Array2;

use crate::knn::Neighbours;

/// How far a node of the tree may be, for its size, to count as a point: van der Maaten's and scikit-learn's.
const THETA: f32 = 0.5;

/// The standard deviation that places begin with along their first axis, as in scikit-learn.
const START: f32 = 1e-4;

/// The rate of N points: N over the twelvefold attraction, but at least 200 (Belkina et al. 2019). scikit-learn has a quarter of that,
/// and a factor of 4 in its gradient, which `bhtsne` has not.
fn rate(points: usize) -> f32 {
    (points as f32 / 12.0).max(200.0)
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TSne {
    /// How many neighbours a point has, in effect.
    pub perplexity: f64,
    /// Steps of gradient descent: 250 with attractions twelvefold, momentum 0.5 in those and 0.8 after.
    pub epochs: usize,
}

/// Places of points `[N, 2]`, from the neighbours of each, by squared distance as [`Similarity::L2`](crate::knn::Similarity) has
/// it, about three times the perplexity, and from a first placing `[N, 2]`, which is scaled down. `done` is told each step.
///
/// It runs on one thread, so that sums have one order and equal inputs give equal bits.
///
/// # Panics
/// When neighbours and places are not of equally many points, or there are fewer neighbours than three times the perplexity.
pub fn t_sne(near: &Neighbours, start: &Array2<f32>, how: TSne, done: &mut dyn FnMut(usize)) -> Array2<f32> {
    let count = start.nrows();
    let distance = |similarity: f32| (-similarity).max(0.0).sqrt();
    let neighbour =
        |(&index, &similarity)| Neighbor { index: index as usize, distance: distance(similarity) };
    let near: Vec<Vec<Neighbor<f32>>> = near
        .rows()
        .map(|(index, similarity)| index.iter().zip(similarity).map(neighbour).collect())
        .collect();
    let deviation = start.column(0).std(0.0);
    if deviation == 0.0 {
        // Points that are all one have one place.
        return start.clone();
    }
    let scale = START / deviation;
    let start: Vec<f32> = start.iter().map(|value| value * scale).collect();
    let (told, steps) = mpsc::channel();
    let fit = move || {
        let nothing = vec![(); count];
        let mut tsne: tSNE<'_, f32, (), 2> = tSNE::new(&nothing);
        tsne.perplexity(how.perplexity as f32)
            .epochs(how.epochs)
            .learning_rate(rate(count))
            .initial_embedding(start);
        // Where nobody listens any more, nobody needs to be told.
        tsne.epoch_callback(|epoch, _| told.send(epoch + 1).unwrap_or_default());
        tsne.barnes_hut_with_neighbors(THETA, &near);
        tsne.embedding()
    };
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread can be started");
    let places = thread::scope(|scope| {
        let fitting = scope.spawn(move || alone.install(fit));
        steps.iter().for_each(done);
        fitting.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    Array2::from_shape_vec((count, 2), places).expect("two numbers a point")
}
