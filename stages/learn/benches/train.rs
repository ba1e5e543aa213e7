//! Seconds that steps of training take: `train.py` runs this beside PyTorch from the same weights, on the same images.
//!
//!     cargo bench --profile dev --workspace --bench train -- BACKBONE BATCH SIDE STEPS FOLDER
//!
//! BACKBONE is RON, as `ResNet18(stem: Cifar)`. A step is the mean square of the features, its gradient, and SGD with momentum. Writes
//! `FOLDER/weights.safetensors`, as they are before the first step, and `FOLDER/images.f32`, `[BATCH, 3, SIDE, SIDE]`. Prints a
//! JSON object: the `seconds` of each step, and its `losses`.

use std::path::Path;
use std::time::Instant;

use ablate_data::random::Draws;
use ablate_learn::backbone::Backbone;
use ablate_learn::optimiser::{Optimiser, OptimiserState};
use ablate_learn::weights::{Mode, Weights};
use ablate_stage::{Device, Tensors};
use burn::tensor::{Tensor, TensorData};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [backbone, batch, side, steps, folder] = arguments.as_slice() else {
        // Without arguments there is nothing to measure: all targets are run by some tools.
        return;
    };
    let backbone: Backbone = ron::from_str(backbone).expect("a backbone");
    let [batch, side, steps] = [batch, side, steps].map(|text| text.parse::<usize>().expect("a number"));
    let device = ablate_learn::device::open(Device::Cpu).expect("there is a processor");
    let network = backbone.network("", 3);
    let mut weights = Weights::new(&device);
    network.initialise(&mut weights, 0);
    let path = Path::new(folder).join("weights.safetensors");
    weights.store("", Tensors::new()).write(&path).expect("the folder can be written to");

    let mut draws = Draws::named(0, "train bench");
    let values: Vec<f32> = (0..batch * 3 * side * side).map(|_| draws.normal() as f32).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(Path::new(folder).join("images.f32"), bytes).expect("the folder can be written to");
    let images = Tensor::<4>::from_data(TensorData::new(values, [batch, 3, side, side]), &device);

    let lr = 0.01;
    let sgd = Optimiser::Sgd { lr, momentum: 0.9, weight_decay: 0.0, nesterov: false };
    let mut optimiser = OptimiserState::new(sgd);
    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for _ in 0..steps {
        let clock = Instant::now();
        let features = network.forward(&mut weights, images.clone(), Mode::Train);
        let loss = features.clone().mul(features).mean();
        losses.push(loss.clone().without_autodiff().into_scalar::<f32>());
        optimiser.step(&mut weights, loss.backward(), lr);
        seconds.push(clock.elapsed().as_secs_f64());
    }
    println!("{{\"seconds\": {seconds:?}, \"losses\": {losses:?}}}");
}
