//! The loss of SimCLR on two views of four images: equal views give a small loss, unrelated ones a large one.

use ablate_learn::losses::nt_xent;
use burn::tensor::{Device, Tensor};

fn main() {
    let z = Tensor::<2>::eye(4, &Device::flex());
    let unrelated = z.clone().flip([0]);
    println!("equal views: {}", nt_xent(z.clone(), z.clone(), 0.1).into_scalar::<f32>());
    println!("unrelated views: {}", nt_xent(z, unrelated, 0.1).into_scalar::<f32>());
}
