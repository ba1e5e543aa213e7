//! Optimisers, as values and as state. The rules are PyTorch's: decay is added to the gradient in SGD and Adam and applied
//! to the parameter in AdamW, dampening is 0, and a parameter without a gradient is left alone, its decay included.

use std::collections::BTreeMap;

use ablate_stage::{BadArtifact, FieldError, TensorData, Tensors};
use burn::prelude::*;
use burn::tensor::Gradients;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows;
use crate::weights::{Weights, download};

/// How parameters follow their gradients. Symbols: p parameter, g gradient, γ learning rate, λ weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Optimiser {
    /// Stochastic gradient descent with momentum μ: g ← g + λp; v ← μv + g (first v = g); p ← p − γv.
    Sgd {
        /// γ, before the schedule.
        lr: f64,
        /// μ.
        #[serde(default = "momentum")]
        momentum: f64,
        /// λ.
        #[serde(default)]
        weight_decay: f64,
        /// Whether p ← p − γ(g + μv).
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam (Kingma & Ba 2015, algorithm 1), the decay added to the gradient.
    Adam {
        /// γ, before the schedule.
        lr: f64,
        /// β₁ and β₂.
        #[serde(default = "betas")]
        betas: (f64, f64),
        /// ε.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// λ.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with decoupled decay (Loshchilov & Hutter 2019, algorithm 2): p ← p(1 − γλ) before the step.
    AdamW {
        /// γ, before the schedule.
        lr: f64,
        /// β₁ and β₂.
        #[serde(default = "betas")]
        betas: (f64, f64),
        /// ε.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// λ.
        #[serde(default = "decoupled_decay")]
        weight_decay: f64,
    },
}

fn momentum() -> f64 {
    0.9
}

fn betas() -> (f64, f64) {
    (0.9, 0.999)
}

fn epsilon() -> f64 {
    1e-8
}

fn decoupled_decay() -> f64 {
    1e-2
}

impl Optimiser {
    /// γ, before the schedule.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } => lr,
        }
    }

    /// What is wrong with its values; `path` is its place in the stage.
    pub fn validate(&self, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut check = |field: &str, value: f64, fits: bool, range: &str| {
            if !fits {
                let message = format!("must be {range}, is {value}");
                errors.push(FieldError::new(&format!("{path}.{field}"), message));
            }
        };
        let lr = self.lr();
        check("lr", lr, lr > 0.0 && lr.is_finite(), "above 0");
        let (Self::Sgd { weight_decay, .. }
        | Self::Adam { weight_decay, .. }
        | Self::AdamW { weight_decay, .. }) = *self;
        check("weight_decay", weight_decay, weight_decay >= 0.0 && weight_decay.is_finite(), "at least 0");
        match *self {
            Self::Sgd { momentum, nesterov, .. } => {
                check("momentum", momentum, (0.0..1.0).contains(&momentum), "in [0, 1)");
                check("momentum", momentum, momentum > 0.0 || !nesterov, "above 0 for `nesterov`");
            }
            Self::Adam { betas, epsilon, .. } | Self::AdamW { betas, epsilon, .. } => {
                check("betas", betas.0, (0.0..1.0).contains(&betas.0), "in [0, 1)");
                check("betas", betas.1, (0.0..1.0).contains(&betas.1), "in [0, 1)");
                check("epsilon", epsilon, epsilon > 0.0, "above 0");
            }
        }
        errors
    }
}

/// What an optimiser remembers of each parameter.
#[derive(Clone, Debug)]
struct Moments {
    /// v of SGD, m of Adam.
    first: Tensor<1>,
    /// v of Adam.
    second: Option<Tensor<1>>,
    /// Steps taken with this parameter.
    steps: i64,
}

/// An optimiser at work.
#[derive(Clone, Debug)]
pub struct OptimiserState {
    optimiser: Optimiser,
    moments: BTreeMap<String, Moments>,
}

impl OptimiserState {
    /// One that has not stepped.
    pub fn new(optimiser: Optimiser) -> Self {
        Self { optimiser, moments: BTreeMap::new() }
    }

    /// One step with learning rate `lr`.
    pub fn step(&mut self, weights: &mut Weights, mut gradients: Gradients, lr: f64) {
        for (name, parameter) in weights.parameters_mut() {
            if let Some(gradient) = parameter.leaf().grad_remove(&mut gradients) {
                let moved = self.moved(name, parameter.values(), gradient, lr);
                parameter.set(moved);
            }
        }
    }

    fn moved(&mut self, name: &str, p: Tensor<1>, g: Tensor<1>, lr: f64) -> Tensor<1> {
        match self.optimiser {
            Optimiser::Sgd { momentum, weight_decay, nesterov, .. } => {
                let g = decayed(g, &p, weight_decay);
                if momentum == 0.0 {
                    return p - g.mul_scalar(lr);
                }
                let (first, steps) = match self.moments.remove(name) {
                    Some(moments) => (moments.first.mul_scalar(momentum) + g.clone(), moments.steps + 1),
                    None => (g.clone(), 1),
                };
                let direction = if nesterov { g + first.clone().mul_scalar(momentum) } else { first.clone() };
                self.moments.insert(name.to_owned(), Moments { first, second: None, steps });
                p - direction.mul_scalar(lr)
            }
            Optimiser::Adam { betas, epsilon, weight_decay, .. } => {
                let g = decayed(g, &p, weight_decay);
                self.adam(name, p, g, lr, betas, epsilon)
            }
            Optimiser::AdamW { betas, epsilon, weight_decay, .. } => {
                let p = if weight_decay == 0.0 { p } else { p.mul_scalar(1.0 - lr * weight_decay) };
                self.adam(name, p, g, lr, betas, epsilon)
            }
        }
    }

    fn adam(
        &mut self,
        name: &str,
        p: Tensor<1>,
        g: Tensor<1>,
        lr: f64,
        (beta1, beta2): (f64, f64),
        epsilon: f64,
    ) -> Tensor<1> {
        let (m, v, steps) = match self.moments.remove(name) {
            Some(Moments { first, second, steps }) => {
                (first, second.expect("Adam keeps both moments"), steps + 1)
            }
            None => (g.zeros_like(), g.zeros_like(), 1),
        };
        let m = m.mul_scalar(beta1) + g.clone().mul_scalar(1.0 - beta1);
        let v = v.mul_scalar(beta2) + g.clone().mul(g).mul_scalar(1.0 - beta2);
        let (bias1, bias2) = (1.0 - beta1.powf(steps as f64), 1.0 - beta2.powf(steps as f64));
        let scale = v.clone().sqrt().div_scalar(bias2.sqrt()).add_scalar(epsilon);
        let moved = p - (m.clone() / scale).mul_scalar(lr / bias1);
        self.moments.insert(name.to_owned(), Moments { first: m, second: Some(v), steps });
        moved
    }

    /// Puts the state into `tensors` under `prefix`.
    #[must_use]
    pub fn store(&self, prefix: &str, mut tensors: Tensors) -> Tensors {
        for (name, moments) in &self.moments {
            let length = moments.first.dims();
            tensors = tensors
                .with(format!("{prefix}{name}.first"), &length, download(moments.first.clone()))
                .with(format!("{prefix}{name}.steps"), &[], TensorData::I64(vec![moments.steps]));
            if let Some(second) = &moments.second {
                tensors = tensors.with(format!("{prefix}{name}.second"), &length, download(second.clone()));
            }
        }
        tensors
    }

    /// The state of the same optimiser for `weights`, as [`store`](Self::store) left it.
    ///
    /// # Errors
    /// Where a tensor is not of the parameter's size.
    pub fn load(&self, weights: &Weights, prefix: &str, tensors: &Tensors) -> Result<Self, BadArtifact> {
        let mut moments = BTreeMap::new();
        for (name, parameter) in weights.parameters() {
            let read = |part: &str| -> Result<Tensor<1>, BadArtifact> {
                let values = tensors.f32(&format!("{prefix}{name}.{part}"))?.to_vec();
                let length = [values.len()];
                if length != parameter.leaf().dims() {
                    return Err(BadArtifact::new(format!(
                        "moment of `{name}` has {} elements",
                        values.len()
                    )));
                }
                Ok(rows::upload(values, length, weights.device()))
            };
            if !tensors.contains(&format!("{prefix}{name}.first")) {
                continue;
            }
            let second = match self.optimiser {
                Optimiser::Sgd { .. } => None,
                Optimiser::Adam { .. } | Optimiser::AdamW { .. } => Some(read("second")?),
            };
            let steps = tensors.i64(&format!("{prefix}{name}.steps"))?.first().copied();
            let steps = steps.ok_or_else(|| BadArtifact::new(format!("no step count for `{name}`")))?;
            moments.insert(name.to_owned(), Moments { first: read("first")?, second, steps });
        }
        Ok(Self { optimiser: self.optimiser, moments })
    }
}

fn decayed(g: Tensor<1>, p: &Tensor<1>, weight_decay: f64) -> Tensor<1> {
    if weight_decay == 0.0 { g } else { g + p.clone().mul_scalar(weight_decay) }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device as BurnDevice;

    use super::*;
    use crate::weights::Mode;

    const START: [f64; 3] = [0.5, -1.25, 2.0];
    const COEFFICIENTS: [f64; 3] = [0.3, -2.0, 0.7];
    const RATES: [f64; 6] = [0.1, 0.05, 0.2, 0.1, 0.01, 0.1];

    fn start() -> Weights {
        let mut weights = Weights::new(&BurnDevice::flex());
        weights.insert("w", &[3], START.map(|value| value as f32).to_vec());
        weights.insert("unused", &[1], vec![4.0]);
        weights
    }

    /// L = Σ c w² / 2, so that g = c w.
    fn gradients(weights: &Weights) -> Gradients {
        let c = Tensor::<1>::from_floats(COEFFICIENTS.map(|value| value as f32), weights.device());
        (weights.tensor::<1>("w", Mode::Train).powi_scalar(2) * c).sum().mul_scalar(0.5).backward()
    }

    fn values(weights: &Weights, name: &str) -> Vec<f32> {
        weights.store("", Tensors::new()).f32(name).unwrap().to_vec()
    }

    /// The same steps on plain numbers, one parameter at a time.
    fn slow(optimiser: Optimiser, mut p: f64, c: f64) -> f64 {
        let (mut v, mut m, mut s) = (None, 0.0, 0.0);
        for (step, lr) in RATES.iter().enumerate() {
            let t = step as f64 + 1.0;
            let mut g = c * p;
            match optimiser {
                Optimiser::Sgd { momentum, weight_decay, nesterov, .. } => {
                    g += weight_decay * p;
                    let next = v.map_or(g, |v: f64| momentum * v + g);
                    v = Some(next);
                    p -= lr * if nesterov { g + momentum * next } else { next };
                }
                Optimiser::Adam { betas, epsilon, weight_decay, .. } => {
                    g += weight_decay * p;
                    m = betas.0 * m + (1.0 - betas.0) * g;
                    s = betas.1 * s + (1.0 - betas.1) * g * g;
                    let (m, s) = (m / (1.0 - betas.0.powf(t)), s / (1.0 - betas.1.powf(t)));
                    p -= lr * m / (s.sqrt() + epsilon);
                }
                Optimiser::AdamW { betas, epsilon, weight_decay, .. } => {
                    p *= 1.0 - lr * weight_decay;
                    m = betas.0 * m + (1.0 - betas.0) * g;
                    s = betas.1 * s + (1.0 - betas.1) * g * g;
                    let (m, s) = (m / (1.0 - betas.0.powf(t)), s / (1.0 - betas.1.powf(t)));
                    p -= lr * m / (s.sqrt() + epsilon);
                }
            }
        }
        p
    }

    fn every_optimiser() -> [Optimiser; 6] {
        let sgd =
            |momentum, weight_decay, nesterov| Optimiser::Sgd { lr: 0.1, momentum, weight_decay, nesterov };
        [
            sgd(0.0, 0.0, false),
            sgd(0.9, 1e-2, false),
            sgd(0.9, 1e-2, true),
            Optimiser::Adam { lr: 0.1, betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.0 },
            Optimiser::Adam { lr: 0.1, betas: (0.8, 0.99), epsilon: 1e-3, weight_decay: 0.1 },
            Optimiser::AdamW { lr: 0.1, betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.1 },
        ]
    }

    #[test]
    fn steps_follow_the_formulas() {
        for optimiser in every_optimiser() {
            let mut weights = start();
            let mut state = OptimiserState::new(optimiser);
            for lr in RATES {
                let gradients = gradients(&weights);
                state.step(&mut weights, gradients, lr);
            }
            for ((found, p), c) in values(&weights, "w").into_iter().zip(START).zip(COEFFICIENTS) {
                let expected = slow(optimiser, p, c);
                assert!(
                    (f64::from(found) - expected).abs() < 2e-6 * expected.abs().max(1.0),
                    "{optimiser:?}: {found}, expected {expected}"
                );
            }
            assert_eq!(values(&weights, "unused"), [4.0], "{optimiser:?}: no gradient, no decay");
        }
    }

    #[test]
    fn a_stored_state_steps_on_bit_for_bit() {
        for optimiser in every_optimiser() {
            let (mut weights, mut state) = (start(), OptimiserState::new(optimiser));
            for (at, lr) in RATES.into_iter().enumerate() {
                if at == 3 {
                    let stored = state.store("o.", Tensors::new());
                    let mut copy = start();
                    copy.load("", &weights.store("", Tensors::new())).unwrap();
                    let mut resumed = OptimiserState::new(optimiser).load(&copy, "o.", &stored).unwrap();
                    for lr in &RATES[3..] {
                        let gradients = gradients(&copy);
                        resumed.step(&mut copy, gradients, *lr);
                    }
                    for lr in &RATES[3..] {
                        let gradients = gradients(&weights);
                        state.step(&mut weights, gradients, *lr);
                    }
                    assert_eq!(values(&weights, "w"), values(&copy, "w"), "{optimiser:?}");
                    break;
                }
                let gradients = gradients(&weights);
                state.step(&mut weights, gradients, lr);
            }
        }
    }

    #[test]
    fn impossible_values_are_named() {
        let optimiser = Optimiser::Sgd { lr: 0.0, momentum: 1.0, weight_decay: -1.0, nesterov: false };
        let errors = optimiser.validate("optimiser");
        assert_eq!(
            errors,
            [
                FieldError::new("optimiser.lr", "must be above 0, is 0"),
                FieldError::new("optimiser.weight_decay", "must be at least 0, is -1"),
                FieldError::new("optimiser.momentum", "must be in [0, 1), is 1"),
            ]
        );
        let optimiser = Optimiser::Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: true };
        let errors = optimiser.validate("optimiser");
        assert_eq!(errors, [FieldError::new("optimiser.momentum", "must be above 0 for `nesterov`, is 0")]);
    }
}
