//! Graph feedback: while a network trains, the graph of nearest neighbours among its own features, which the objectives of later
//! epochs are about (GCC, Zhong et al. 2021, section 3.1, and its program).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use ablate_stage::{BadArtifact, FieldError, TensorData, Tensors};
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::knn::{KnnError, Similarity, nearest};
use crate::knn_graph::{inverse_degree_weight, joined};

/// The graph a training makes of its own features, and when.
///
/// The features of an image are the projections of its second view, of length one, at each step it is in. The graph joins images
/// whose means over the latest epochs have the largest inner products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GraphFeedback {
    /// Neighbours an image lists; it also lists itself, as a rule in the first place, so there are `k` + 1.
    pub k: usize,
    /// The first epoch after which there is a graph, counted from 0.
    pub start: usize,
    /// From then on it is made anew every so many epochs.
    pub every: usize,
    /// Epochs whose features are averaged; the mean is not brought to length one.
    pub history: usize,
}

/// Most neighbours, and most epochs remembered: what is more is a slip, and would take all memory.
const MAX_K: usize = 1024;
const MAX_HISTORY: usize = 64;

impl Default for GraphFeedback {
    /// GCC's.
    fn default() -> Self {
        Self { k: 5, start: 50, every: 5, history: 4 }
    }
}

impl GraphFeedback {
    /// Whether a graph is made after an epoch.
    pub fn is_due(&self, epoch: usize) -> bool {
        self.next(epoch) == epoch
    }

    /// The epoch after which the next graph is made, this one or a later one.
    fn next(&self, epoch: usize) -> usize {
        self.start + epoch.saturating_sub(self.start).next_multiple_of(self.every)
    }

    /// The first epoch after this one that begins with another graph.
    pub fn changes_after(&self, epoch: usize) -> usize {
        self.next(epoch) + 1
    }

    /// Whether a graph is made of an epoch's features.
    pub fn records(&self, epoch: usize) -> bool {
        self.next(epoch) - epoch < self.history
    }

    /// What is wrong with its values; `path` is its place in the stage.
    pub fn validate(&self, path: &str) -> Vec<FieldError> {
        let fields =
            [("k", self.k, MAX_K), ("every", self.every, usize::MAX), ("history", self.history, MAX_HISTORY)];
        let wrong = fields.into_iter().filter(|&(_, value, most)| !(1..=most).contains(&value));
        let error = |(field, value, most): (&str, usize, usize)| {
            FieldError::new(&format!("{path}.{field}"), format!("must be 1 to {most}, is {value}"))
        };
        wrong.map(error).collect()
    }
}

/// The latest features of each image of a data set, at most `length` of each. `N` rows, `D` dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    length: usize,
    dim: usize,
    /// Oldest first, `[D]` each.
    features: Vec<VecDeque<Vec<f32>>>,
}

impl History {
    /// Without any.
    pub fn new(rows: usize, dim: usize, length: usize) -> Self {
        Self { length, dim, features: vec![VecDeque::new(); rows] }
    }

    /// Adds the features `[B, D]` of some rows; the oldest are forgotten.
    pub fn push(&mut self, rows: &[u32], features: &[f32]) {
        for (&row, features) in rows.iter().zip(features.chunks_exact(self.dim)) {
            let latest = &mut self.features[row as usize];
            if latest.len() == self.length {
                latest.pop_front();
            }
            latest.push_back(features.to_vec());
        }
    }

    /// The mean of the features of some rows, `[n, D]`; zeros where there are none.
    pub fn means(&self, rows: &[u32]) -> Array2<f32> {
        let mut means = Array2::zeros((rows.len(), self.dim));
        for (mut mean, &row) in means.outer_iter_mut().zip(rows) {
            let latest = &self.features[row as usize];
            for features in latest {
                mean.iter_mut().zip(features).for_each(|(sum, value)| *sum += value);
            }
            mean /= latest.len().max(1) as f32;
        }
        means
    }

    /// Gives the rows `to` what the rows `from` remember, in order, as GCC's program does by counting places when its data set
    /// becomes another.
    pub fn misplace(&mut self, from: &[u32], to: &[u32]) {
        let taken: Vec<_> = from.iter().map(|&row| self.features[row as usize].clone()).collect();
        to.iter().zip(taken).for_each(|(&row, taken)| self.features[row as usize] = taken);
    }

    /// Puts it into `tensors` under `prefix`.
    #[must_use]
    pub fn store(&self, prefix: &str, tensors: Tensors) -> Tensors {
        let counts: Vec<u8> = self.features.iter().map(|latest| latest.len() as u8).collect();
        let values: Vec<f32> = self.features.iter().flatten().flatten().copied().collect();
        let shape = [values.len() / self.dim, self.dim];
        tensors.with(format!("{prefix}counts"), &[counts.len()], TensorData::U8(counts)).with(
            format!("{prefix}features"),
            &shape,
            TensorData::F32(values),
        )
    }

    /// Takes back what [`store`](Self::store) put there, or changes nothing.
    ///
    /// # Errors
    /// Where it is not there, or of another size.
    pub fn load(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), BadArtifact> {
        let counts = tensors.u8(&format!("{prefix}counts"))?;
        let values = tensors.f32(&format!("{prefix}features"))?;
        let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let fits = counts.iter().all(|&count| usize::from(count) <= self.length);
        if counts.len() != self.features.len() || values.len() != total * self.dim || !fits {
            return Err(BadArtifact::new("the history of features is of another size"));
        }
        let mut values = values.chunks_exact(self.dim).map(<[f32]>::to_vec);
        self.features =
            counts.iter().map(|&count| values.by_ref().take(usize::from(count)).collect()).collect();
        Ok(())
    }
}

/// Whom each image of a data set lists as near. `N` rows.
#[derive(Clone, Debug, PartialEq)]
pub struct NeighbourGraph {
    /// `[N, each]`, nearest first. Rows that are not in the graph list themselves alone.
    lists: Arc<[u32]>,
    each: usize,
    /// The rows that list or are listed, those listed by a row and those that list it, ascending; without the row.
    joined: Vec<Vec<u32>>,
    /// The weight of each as a neighbour.
    weight: Vec<f32>,
}

impl NeighbourGraph {
    /// Joins `rows`, whose features are `features` `[n, D]`, each to the `k` + 1 of the largest inner product, of a data set of
    /// `len` images. A row is a candidate of its own.
    ///
    /// # Errors
    /// Where there are no `k` others, or features are not finite.
    pub fn build(len: usize, rows: &[u32], features: &Array2<f32>, k: usize) -> Result<Self, KnnError> {
        let found = nearest(features.view(), features.view(), k + 1, Similarity::InnerProduct)?;
        let mut lists: Vec<u32> = (0..len as u32).flat_map(|row| vec![row; k + 1]).collect();
        for (&row, (index, _)) in rows.iter().zip(found.rows()) {
            let list = &mut lists[row as usize * (k + 1)..][..k + 1];
            list.iter_mut().zip(index).for_each(|(slot, &place)| *slot = rows[place as usize]);
        }
        Ok(Self::of_lists(lists, k + 1))
    }

    fn of_lists(lists: Vec<u32>, each: usize) -> Self {
        let len = lists.len() / each;
        let pairs = lists.iter().enumerate().map(|(at, &neighbour)| ((at / each) as u32, neighbour));
        let sets = joined(len, pairs);
        let weight = sets.iter().map(|set: &BTreeSet<u32>| inverse_degree_weight(set.len())).collect();
        let without_itself = |(row, set): (usize, BTreeSet<u32>)| {
            set.into_iter().filter(|&other| other as usize != row).collect()
        };
        let joined = sets.into_iter().enumerate().map(without_itself).collect();
        Self { lists: lists.into(), each, joined, weight }
    }

    /// The lists `[N, each]`, nearest first.
    pub fn lists(&self) -> &Arc<[u32]> {
        &self.lists
    }

    /// Rows listed by each: `k` + 1.
    pub fn each(&self) -> usize {
        self.each
    }

    /// Whom a row lists, nearest first.
    pub fn list(&self, row: u32) -> &[u32] {
        &self.lists[row as usize * self.each..][..self.each]
    }

    /// What a row counts as a neighbour: √(3 / deg), deg being how many rows it lists or is listed by, itself included.
    pub fn weight(&self, row: u32) -> f32 {
        self.weight[row as usize]
    }

    /// The weights of the first `shown` that each of B rows lists, `[B, shown]` row by row.
    pub fn weights(&self, rows: &[u32], shown: usize) -> Vec<f32> {
        rows.iter().flat_map(|&row| &self.list(row)[..shown]).map(|&other| self.weight(other)).collect()
    }

    /// The entries of the Laplacian between B rows and first themselves, then the nearest each of them lists, then the second, to
    /// the one in place `shown`: `[B, (1 + shown) B]` row by row.
    pub fn laplacians(&self, rows: &[u32], shown: usize) -> Vec<f32> {
        let nth = |place: usize| rows.iter().map(move |&row| self.list(row)[place]);
        let columns: Vec<u32> = rows.iter().copied().chain((0..shown).flat_map(nth)).collect();
        let entries = |&row: &u32| columns.iter().map(move |&other| self.laplacian(row, other));
        rows.iter().flat_map(entries).collect()
    }

    /// The entry of the normalised Laplacian I − D^-½ A D^-½ of the undirected graph without loops.
    pub fn laplacian(&self, a: u32, b: u32) -> f32 {
        if a == b {
            return 1.0;
        }
        let [of_a, of_b] = [a, b].map(|row| &self.joined[row as usize]);
        match of_a.binary_search(&b) {
            Ok(_) => -1.0 / ((of_a.len() * of_b.len()) as f32).sqrt(),
            Err(_) => 0.0,
        }
    }

    /// The share of labelled neighbours that are of the class of the row that lists them, among those in the places 1 to `k` of the
    /// lists of `rows`: place 0 is left out, whoever it is, as in GCC's program. `labels` are `[N]`, −1 where unknown. `None` where
    /// no two of them have labels.
    pub fn purity(&self, rows: &[u32], labels: &[i64], k: usize) -> Option<f64> {
        let label = |row: u32| labels[row as usize];
        let pairs = rows.iter().flat_map(|&row| self.list(row)[1..=k].iter().map(move |&other| (row, other)));
        let pairs = pairs.filter(|&(a, b)| label(a) >= 0 && label(b) >= 0);
        let (same, all) = pairs
            .fold((0_u64, 0_u64), |(same, all), (a, b)| (same + u64::from(label(a) == label(b)), all + 1));
        (all > 0).then(|| same as f64 / all as f64)
    }

    /// Puts it into `tensors` under `prefix`.
    #[must_use]
    pub fn store(&self, prefix: &str, tensors: Tensors) -> Tensors {
        let lists = self.lists.iter().map(|&row| i64::from(row)).collect();
        let shape = [self.lists.len() / self.each, self.each];
        tensors.with(format!("{prefix}lists"), &shape, TensorData::I64(lists))
    }

    /// What [`store`](Self::store) put there, of `len` rows that list `each`; `None` where there is nothing.
    ///
    /// # Errors
    /// Where it is of another size.
    pub fn load(
        prefix: &str,
        tensors: &Tensors,
        len: usize,
        each: usize,
    ) -> Result<Option<Self>, BadArtifact> {
        let name = format!("{prefix}lists");
        if !tensors.contains(&name) {
            return Ok(None);
        }
        let lists = tensors.i64(&name)?;
        let row = |&row: &i64| u32::try_from(row).ok().filter(|&row| (row as usize) < len);
        let rows: Option<Vec<u32>> = lists.iter().map(row).collect();
        match rows.filter(|rows| rows.len() == len * each) {
            Some(rows) => Ok(Some(Self::of_lists(rows, each))),
            None => Err(BadArtifact::new("the graph is of another size")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::testing::{unit, waves};

    /// The history of the golden values: four epochs of unit features of seven images.
    fn history() -> History {
        let mut history = History::new(9, 5, 4);
        // An older epoch is forgotten, and the order of rows does not matter.
        for c in [9.9, 0.2, 0.5, 0.8, 1.1] {
            let features = unit(waves(7, 5, 0.9, 0.6, c));
            for batch in [[6, 1, 3].as_slice(), &[0, 5, 2, 4]] {
                let values: Vec<f32> = batch
                    .iter()
                    .flat_map(|&row| &features[row as usize])
                    .map(|&value| value as f32)
                    .collect();
                history.push(batch, &values);
            }
        }
        history
    }

    fn graph() -> NeighbourGraph {
        let rows: Vec<u32> = (0..7).collect();
        NeighbourGraph::build(9, &rows, &history().means(&rows), 3).unwrap()
    }

    #[test]
    fn neighbours_and_weights_are_those_of_gcc() {
        let graph = graph();
        let expected = [
            [0, 6, 1, 5],
            [1, 0, 2, 6],
            [2, 3, 1, 4],
            [3, 4, 2, 5],
            [4, 3, 5, 2],
            [5, 6, 4, 0],
            [6, 0, 5, 1],
        ];
        for (row, expected) in (0..).zip(expected) {
            assert_eq!(graph.list(row), expected, "row {row}");
            let weight = if row == 5 { 0.774_596_7 } else { 0.866_025_4 };
            assert!((graph.weight(row) - weight).abs() < 1e-6, "row {row}");
        }
        assert_eq!(graph.list(8), [8; 4], "a row that is not in the graph lists itself");
    }

    #[test]
    fn the_laplacian_is_that_of_the_undirected_graph() {
        let graph = graph();
        // 1 lists 0, 2, 6, and is listed by 0, 2, 6: three others. 5 has four.
        assert_eq!(graph.laplacian(1, 1), 1.0);
        assert_eq!(graph.laplacian(1, 4), 0.0);
        assert!((graph.laplacian(0, 5) + 1.0 / 12f32.sqrt()).abs() < 1e-6);
        assert_eq!(graph.laplacian(0, 5), graph.laplacian(5, 0));
    }

    #[test]
    fn purity_leaves_out_the_first_place_and_what_has_no_label() {
        let labels = [0, 0, 1, 1, 1, 0, -1, 0, 0];
        let rows: Vec<u32> = (0..7).collect();
        // First others: 6 (unlabelled), 0, 3, 4, 3, 6, 0 of an unlabelled row.
        assert_eq!(graph().purity(&rows, &labels, 1), Some(1.0));
        // All: 0: 1, 5; 1: 0, 2; 2: 3, 1, 4; 3: 4, 2, 5; 4: 3, 5, 2; 5: 4, 0.
        assert_eq!(graph().purity(&rows, &labels, 3), Some(10.0 / 15.0));
        assert_eq!(graph().purity(&rows, &[-1; 9], 3), None);
    }

    #[test]
    fn what_is_stored_loads_back() {
        let (history, graph) = (history(), graph());
        let stored = graph.store("g/", history.store("h/", Tensors::new()));
        let mut other = History::new(9, 5, 4);
        other.load("h/", &stored).unwrap();
        assert_eq!(other, history);
        assert_eq!(NeighbourGraph::load("g/", &stored, 9, 4).unwrap(), Some(graph));
        assert_eq!(NeighbourGraph::load("none/", &stored, 9, 4).unwrap(), None);
        assert!(NeighbourGraph::load("g/", &stored, 4, 9).is_err(), "it lists rows there are not");
        for mut unfit in [History::new(9, 4, 4), History::new(9, 5, 3), History::new(8, 5, 4)] {
            let before = unfit.clone();
            assert!(unfit.load("h/", &stored).is_err());
            assert_eq!(unfit, before);
        }
    }

    #[test]
    fn places_stand_for_images_where_they_are_misplaced() {
        let mut history = History::new(4, 1, 2);
        history.push(&[0, 1, 2, 3], &[0.0, 1.0, 2.0, 3.0]);
        history.misplace(&[0, 1, 2, 3], &[0, 3]);
        assert_eq!(history.means(&[0, 1, 2, 3]), ndarray::array![[0.0], [1.0], [2.0], [1.0]]);
    }

    #[test]
    fn graphs_are_made_when_gcc_makes_them() {
        let gcc = GraphFeedback::default();
        let due: Vec<usize> = (0..70).filter(|&epoch| gcc.is_due(epoch)).collect();
        assert_eq!(due, [50, 55, 60, 65]);
        let records: Vec<usize> = (0..57).filter(|&epoch| gcc.records(epoch)).collect();
        assert_eq!(records, [47, 48, 49, 50, 52, 53, 54, 55]);
        assert_eq!([0, 50, 51, 55].map(|epoch| gcc.changes_after(epoch)), [51, 51, 56, 56]);
        let odd = GraphFeedback { start: 3, every: 2, ..gcc };
        assert_eq!([2, 3, 4, 5].map(|epoch| odd.is_due(epoch)), [false, true, false, true]);
    }
}
