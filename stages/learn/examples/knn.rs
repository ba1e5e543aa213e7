//! The nearest neighbours of points that are no data set: every building block is a function on plain data.

use ablate_learn::knn::{Similarity, nearest_others};
use ndarray::array;

fn main() {
    let points = array![[0.0, 0.0], [0.0, 1.0], [3.0, 0.0], [3.0, 0.5]];
    let neighbours = nearest_others(points.view(), 1, Similarity::L2).expect("three others a point");
    for (point, (index, similarity)) in neighbours.rows().enumerate() {
        println!("{point} is nearest to {}, {} away", index[0], (-similarity[0]).sqrt());
    }
}
