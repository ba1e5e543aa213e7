//! Neighbours, a loss over them, and how well two clusters agree with classes, all on plain numbers.

use ablate_learn::knn::{Similarity, nearest};
use ablate_learn::losses::rgc;
use ablate_learn::metrics::Contingency;
use burn::tensor::{Device, Tensor};
use ndarray::array;

fn main() {
    let points = array![[1.0f32, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]];
    let listed = nearest(points.view(), points.view(), 2, Similarity::InnerProduct).expect("there are two");
    println!("each point and its neighbour: {:?}", listed.index);

    let rows = |order: [usize; 4]| {
        let row = |&at: &usize| [points[[at, 0]], points[[at, 1]]];
        Tensor::<2>::from_data(
            [row(&order[0]), row(&order[1]), row(&order[2]), row(&order[3])],
            &Device::flex(),
        )
    };
    let (z, weights) = (rows([0, 1, 2, 3]), Tensor::<2>::ones([4, 1], &Device::flex()));
    for (name, neighbours) in [("near", rows([1, 0, 3, 2])), ("far", rows([2, 3, 0, 1]))] {
        let loss = rgc(z.clone(), z.clone(), &[neighbours], weights.clone(), 0.5).into_scalar::<f32>();
        println!("contrast with {name} neighbours: {loss:.3}");
    }
    println!("ACC of clusters a a b b: {}", Contingency::new(&[7, 7, 3, 3], &[0, 0, 1, 1]).accuracy());
}
