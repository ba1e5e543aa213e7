//! Seconds that the graph over a training's features takes: `knn.py` runs this beside faiss on the same rows.
//!
//!     cargo bench --profile dev --workspace --bench knn -- ROWS DIM K FOLDER
//!
//! Writes `FOLDER/rows.f32`, `[ROWS, DIM]` of length one, and `FOLDER/lists.u32`, `[ROWS, K + 1]`. Prints the seconds of the
//! search, and of the graph with its degrees.

use std::path::Path;
use std::time::Instant;

use ablate_data::random::Draws;
use ablate_learn::feedback::NeighbourGraph;
use ablate_learn::knn::{Similarity, nearest};
use ablate_learn::rows::normalise;
use ndarray::Array2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [rows, dim, k, folder] = arguments.as_slice() else {
        // Without arguments there is nothing to measure: all targets are run by some tools.
        return;
    };
    let [rows, dim, k] = [rows, dim, k].map(|text| text.parse::<usize>().expect("a number"));
    let mut draws = Draws::named(0, "knn bench");
    let mut values: Vec<f32> = (0..rows * dim).map(|_| draws.normal() as f32).collect();
    normalise(&mut values, dim);
    let write = |name: &str, bytes: Vec<u8>| {
        std::fs::write(Path::new(folder).join(name), bytes).expect("the folder can be written to");
    };
    write("rows.f32", values.iter().flat_map(|value| value.to_le_bytes()).collect());
    let features = Array2::from_shape_vec((rows, dim), values).expect("rows times dim values");
    let clock = Instant::now();
    let found =
        nearest(features.view(), features.view(), k + 1, Similarity::InnerProduct).expect("enough rows");
    let search = clock.elapsed().as_secs_f64();
    write("lists.u32", found.index.iter().flat_map(|index| index.to_le_bytes()).collect());
    let all: Vec<u32> = (0..rows as u32).collect();
    let clock = Instant::now();
    let graph = NeighbourGraph::build(rows, &all, &features, k).expect("enough rows");
    assert_eq!(graph.lists().len(), rows * (k + 1));
    println!("{{\"search\": {search}, \"graph\": {}}}", clock.elapsed().as_secs_f64());
}
