//! The numbers of a network, by PyTorch name: parameters, and the running statistics of its batch norms.
//!
//! Parameters are held as flat tensors beside their shape, in PyTorch's layouts (`[out, in]` for a linear layer,
//! `[out, in, height, width]` for a convolution). So optimisers, the EMA teacher, checkpoints and artifacts each are one
//! loop over one map, and nothing of a network's state is hidden in it. Burn's modules are deliberately not used here:
//! their batch norms share running statistics between clones, and lose the last update when saved.

use std::collections::BTreeMap;

use ablate_stage::{BadArtifact, TensorData, Tensors};
use burn::prelude::*;
use burn::tensor::Device as BurnDevice;

use crate::rows;

/// What a forward pass does besides computing its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Gradients flow, batch norms use the batch's statistics and update their running ones.
    Train,
    /// As `Train`, without gradients: a teacher's pass.
    Observe,
    /// No gradients; batch norms use their running statistics.
    Evaluate,
}

/// One trainable tensor.
#[derive(Clone, Debug)]
pub struct Parameter {
    shape: Vec<usize>,
    leaf: Tensor<1>,
}

impl Parameter {
    fn new(shape: Vec<usize>, values: Tensor<1>) -> Self {
        Self { shape, leaf: values.autodiff().require_grad() }
    }

    /// The shape, in PyTorch's layout.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The flat tensor gradients are kept for.
    pub fn leaf(&self) -> &Tensor<1> {
        &self.leaf
    }

    /// The values, flat, without gradients.
    pub fn values(&self) -> Tensor<1> {
        self.leaf.clone().without_autodiff()
    }

    /// Replaces the values.
    ///
    /// # Panics
    /// When the number of elements differs.
    pub fn set(&mut self, values: Tensor<1>) {
        assert_eq!(values.dims(), self.leaf.dims(), "a parameter keeps its size");
        self.leaf = values.without_autodiff().autodiff().require_grad();
    }
}

/// What a batch norm remembers of the batches it saw.
#[derive(Clone, Debug)]
pub struct Running {
    /// `[C]`.
    pub mean: Tensor<1>,
    /// `[C]`, unbiased, as PyTorch's.
    pub variance: Tensor<1>,
    /// How many batches.
    pub batches: i64,
}

/// The numbers of a network, by PyTorch name.
#[derive(Clone, Debug)]
pub struct Weights {
    device: BurnDevice,
    parameters: BTreeMap<String, Parameter>,
    running: BTreeMap<String, Running>,
}

impl Weights {
    /// Without any.
    pub fn new(device: &BurnDevice) -> Self {
        Self { device: device.clone(), parameters: BTreeMap::new(), running: BTreeMap::new() }
    }

    /// Where they live.
    pub fn device(&self) -> &BurnDevice {
        &self.device
    }

    /// Adds a parameter of `shape`, from row-major `values`.
    ///
    /// # Panics
    /// When there is one of that name, or `values` does not fill `shape`.
    pub fn insert(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f32>) {
        let name = name.into();
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "`{name}`: {shape:?} does not fit its values"
        );
        let parameter = Parameter::new(shape.to_vec(), self.upload(values));
        let earlier = self.parameters.insert(name.clone(), parameter);
        assert!(earlier.is_none(), "two parameters are called `{name}`");
    }

    /// Adds the running statistics of a batch norm over `channels`: mean 0, variance 1, no batch seen.
    pub fn insert_running(&mut self, layer: impl Into<String>, channels: usize) {
        let mean = self.upload(vec![0.0; channels]);
        let variance = self.upload(vec![1.0; channels]);
        self.running.insert(layer.into(), Running { mean, variance, batches: 0 });
    }

    fn upload(&self, values: Vec<f32>) -> Tensor<1> {
        let length = [values.len()];
        rows::upload(values, length, &self.device)
    }

    /// A parameter as the layers use it: with gradients in [`Mode::Train`].
    ///
    /// # Panics
    /// When there is none of that name with `D` dimensions: a network asks for what it put in.
    pub fn tensor<const D: usize>(&self, name: &str, mode: Mode) -> Tensor<D> {
        let parameter = self.parameters.get(name).unwrap_or_else(|| panic!("no parameter `{name}`"));
        let shape: [usize; D] = parameter
            .shape
            .clone()
            .try_into()
            .unwrap_or_else(|shape| panic!("`{name}` is {shape:?}, not {D}-D"));
        match mode {
            Mode::Train => parameter.leaf.clone().reshape(shape),
            Mode::Observe | Mode::Evaluate => parameter.values().reshape(shape),
        }
    }

    /// The running statistics of a batch norm.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn running(&self, layer: &str) -> &Running {
        self.running.get(layer).unwrap_or_else(|| panic!("no batch norm `{layer}`"))
    }

    /// The running statistics of a batch norm, to change.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn running_mut(&mut self, layer: &str) -> &mut Running {
        self.running.get_mut(layer).unwrap_or_else(|| panic!("no batch norm `{layer}`"))
    }

    /// Every parameter, in order of name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.parameters.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// Every parameter, in order of name, to change.
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = (&str, &mut Parameter)> {
        self.parameters.iter_mut().map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// Keeps the parameters and batch norms whose name `keep` accepts.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.parameters.retain(|name, _| keep(name));
        self.running.retain(|name, _| keep(name));
    }

    /// Puts everything into `tensors`, under `prefix` and the names PyTorch's `state_dict` has.
    #[must_use]
    pub fn store(&self, prefix: &str, mut tensors: Tensors) -> Tensors {
        for (name, parameter) in &self.parameters {
            tensors = tensors.with(format!("{prefix}{name}"), &parameter.shape, download(parameter.values()));
        }
        for (layer, running) in &self.running {
            let channels = running.mean.dims();
            tensors = tensors
                .with(format!("{prefix}{layer}.running_mean"), &channels, download(running.mean.clone()))
                .with(format!("{prefix}{layer}.running_var"), &channels, download(running.variance.clone()))
                .with(
                    format!("{prefix}{layer}.num_batches_tracked"),
                    &[],
                    TensorData::I64(vec![running.batches]),
                );
        }
        tensors
    }

    /// Replaces every number by the tensor of its name under `prefix`, or none where one does not fit. What else `tensors`
    /// holds is ignored.
    ///
    /// # Errors
    /// Where one is missing, or has another shape or type.
    pub fn load(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), BadArtifact> {
        self.load_as(|name| format!("{prefix}{name}"), tensors)
    }

    /// The same, from the tensors that `called` says for each name.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_as(&mut self, called: impl Fn(&str) -> String, tensors: &Tensors) -> Result<(), BadArtifact> {
        let read = |name: &str, shape: &[usize]| -> Result<Tensor<1>, BadArtifact> {
            let found = tensors.get(name)?.shape();
            if found != shape {
                return Err(BadArtifact::new(format!("tensor `{name}` is {found:?}, expected {shape:?}")));
            }
            Ok(self.upload(tensors.f32(name)?.to_vec()))
        };
        let parameters = self.parameters.iter().map(|(name, parameter)| {
            let values = read(&called(name), &parameter.shape)?;
            Ok((name.clone(), Parameter::new(parameter.shape.clone(), values)))
        });
        let parameters = parameters.collect::<Result<_, BadArtifact>>()?;
        let running = self.running.iter().map(|(layer, running)| {
            let channels = running.mean.dims();
            let name = called(&format!("{layer}.num_batches_tracked"));
            let batches = tensors.i64(&name)?.first().copied();
            let running = Running {
                mean: read(&called(&format!("{layer}.running_mean")), &channels)?,
                variance: read(&called(&format!("{layer}.running_var")), &channels)?,
                batches: batches.ok_or_else(|| BadArtifact::new(format!("tensor `{name}` is empty")))?,
            };
            Ok((layer.clone(), running))
        });
        let running = running.collect::<Result<_, BadArtifact>>()?;
        (self.parameters, self.running) = (parameters, running);
        Ok(())
    }
}

/// The elements of a flat tensor, on the host.
pub(crate) fn download(tensor: Tensor<1>) -> TensorData {
    TensorData::F32(host(tensor))
}

/// The elements of a tensor, row-major, on the host.
pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("every tensor here is f32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Weights {
        let mut weights = Weights::new(&BurnDevice::flex());
        weights.insert("fc.weight", &[2, 3], vec![1.0, -2.0, 3.5, 0.0, 1e-40, f32::MIN_POSITIVE]);
        weights.insert("fc.bias", &[2], vec![0.1, 0.2]);
        weights.insert_running("bn", 2);
        weights
    }

    #[test]
    fn stored_weights_load_back_bit_for_bit() {
        let mut weights = example();
        weights.running_mut("bn").batches = 7;
        let stored = weights.store("m.", Tensors::new());
        let names: Vec<_> =
            stored.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect();
        let expected = [
            ("m.bn.num_batches_tracked", vec![]),
            ("m.bn.running_mean", vec![2]),
            ("m.bn.running_var", vec![2]),
            ("m.fc.bias", vec![2]),
            ("m.fc.weight", vec![2, 3]),
        ];
        assert_eq!(names, expected.map(|(name, shape)| (name.to_owned(), shape)));
        let mut other = example();
        other.parameters_mut().for_each(|(_, parameter)| parameter.set(parameter.values() * 3.0));
        other.load("m.", &stored).unwrap();
        assert_eq!(other.store("m.", Tensors::new()), stored);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let stored = Tensors::new().with("fc.bias", &[3], TensorData::F32(vec![0.0; 3]));
        let message = example().load("", &stored).unwrap_err().to_string();
        assert_eq!(message, "tensor `fc.bias` is [3], expected [2]");
        let message = example().load("", &Tensors::new()).unwrap_err().to_string();
        assert_eq!(message, "it has no tensor `fc.bias`");
        let mut weights = example();
        let with_one_bad = example()
            .store("", Tensors::new())
            .with("fc.bias", &[2], TensorData::F32(vec![9.0; 2]))
            .with("fc.weight", &[1], TensorData::F32(vec![9.0]));
        weights.load("", &with_one_bad).unwrap_err();
        assert_eq!(weights.store("", Tensors::new()), example().store("", Tensors::new()), "all or nothing");
    }

    #[test]
    fn gradients_flow_only_when_training() {
        let weights = example();
        let loss = |mode| weights.tensor::<2>("fc.weight", mode).powi_scalar(2).sum();
        let mut gradients = loss(Mode::Train).backward();
        let leaf = weights.parameters().find(|(name, _)| *name == "fc.weight").unwrap().1.leaf();
        let gradient = host(leaf.grad_remove(&mut gradients).unwrap());
        assert_eq!(gradient[..4], [2.0, -4.0, 7.0, 0.0]);
        assert!(!loss(Mode::Observe).is_tracked());
        assert!(!loss(Mode::Evaluate).is_tracked());
    }
}
