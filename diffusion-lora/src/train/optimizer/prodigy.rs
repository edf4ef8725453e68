//! Prodigy: Adam that finds its learning rate.

use burn::tensor::{Device, Tensor};

use super::state::{OptimizerState, OptimizerStateError, zeros};
use super::{Optimizer, assert_lengths};

/// Settings of [`Prodigy`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProdigySettings {
    /// How much of the running means of gradients and of their squares stays at each step.
    pub betas: [f64; 2],
    /// How much of the sums that the distance is estimated from stays; the root of the second beta if not given.
    pub beta3: Option<f64>,
    /// Added to the root of the second mean, times the distance.
    pub epsilon: f64,
    /// The part of a parameter that a learning rate of 1 would take away at each step; or the weight of a penalty, see
    /// `decouple`.
    pub weight_decay: f64,
    /// Decay as `AdamW` has it, beside the gradient. Without, it is added to the gradient.
    pub decouple: bool,
    /// Correct the means for having started at zero, as Adam does.
    pub use_bias_correction: bool,
    /// Leave the learning rate out of the estimate's denominator, so that a warm-up does not lead to a distance that is too
    /// long.
    pub safeguard_warmup: bool,
    /// The distance to start from.
    pub d0: f64,
    /// What the estimated distance is multiplied with. The way to make steps longer or shorter.
    pub d_coef: f64,
    /// How many times longer the distance may become in a step; infinite for no limit.
    pub growth_rate: f64,
}

impl Default for ProdigySettings {
    /// Those of diffusers' training scripts.
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            beta3: None,
            epsilon: 1e-8,
            weight_decay: 1e-4,
            decouple: true,
            use_bias_correction: true,
            safeguard_warmup: true,
            d0: 1e-6,
            d_coef: 1.0,
            growth_rate: f64::INFINITY,
        }
    }
}

/// Adam whose learning rate is an estimate of the distance to the solution, times the rate that is given, which should be 1.
///
/// Reference: arXiv 2306.06101; prodigyopt 1.1.2 `prodigy.py`, `slice_p=1`, in its order of operations. As there, a step without
/// any gradient, or at a learning rate of 0, is none.
#[derive(Clone, Debug)]
pub struct Prodigy {
    settings: ProdigySettings,
    device: Device,
    shapes: Vec<[usize; 2]>,
    steps: u64,
    /// `d`, and the longest estimate so far.
    distance: f64,
    longest: f64,
    numerator: f64,
    first_moments: Vec<Tensor<2>>,
    second_moments: Vec<Tensor<2>>,
    /// Weighted sums of gradients.
    sums: Vec<Tensor<2>>,
    /// The parameters before the first step; none before it.
    starts: Vec<Tensor<2>>,
}

impl Prodigy {
    /// One that has seen no gradient yet, for parameters of these shapes.
    pub fn new(settings: ProdigySettings, shapes: &[[usize; 2]], device: &Device) -> Self {
        let zeros = || zeros(shapes.iter().copied(), device);
        Self {
            settings,
            device: device.clone(),
            shapes: shapes.to_vec(),
            steps: 0,
            distance: settings.d0,
            longest: settings.d0,
            numerator: 0.0,
            first_moments: zeros(),
            second_moments: zeros(),
            sums: zeros(),
            starts: Vec::new(),
        }
    }

    /// Take in the gradients. Returns what is added to the numerator of the estimate, and its denominator.
    fn observe(&mut self, parameters: &[Tensor<2>], gradients: &[Tensor<2>], rate: f64, beta3: f64) -> [f64; 2] {
        let ProdigySettings { betas, d0, safeguard_warmup, .. } = self.settings;
        let distance = self.distance;
        let weight = distance / d0 * if safeguard_warmup { distance } else { rate };
        let mut on_device = Vec::with_capacity(2 * gradients.len());
        for (index, (parameter, gradient)) in parameters.iter().zip(gradients).enumerate() {
            let way = self.starts[index].clone() - parameter.clone();
            on_device.push((gradient.clone() * way).sum());
            let first = &mut self.first_moments[index];
            *first = first.clone().mul_scalar(betas[0]) + gradient.clone().mul_scalar(distance * (1.0 - betas[0]));
            let squares = gradient.clone().mul_scalar(distance * distance * (1.0 - betas[1])) * gradient.clone();
            let second = &mut self.second_moments[index];
            *second = second.clone().mul_scalar(betas[1]) + squares;
            let sum = &mut self.sums[index];
            *sum = sum.clone().mul_scalar(beta3) + gradient.clone().mul_scalar(weight);
            on_device.push(sum.clone().abs().sum());
        }
        // Read back at once: every read waits for the device.
        let read: Vec<f64> = Tensor::cat(on_device, 0).into_data().iter::<f64>().collect();
        let (pairs, _) = read.as_chunks::<2>();
        pairs.iter().fold([0.0; 2], |[numerator, denominator], [along, length]| {
            [numerator + distance / d0 * rate * along, denominator + length]
        })
    }

    /// Make the distance what the sums say it is.
    fn estimate(&mut self, numerator: f64, denominator: f64) {
        let ProdigySettings { d0, d_coef, growth_rate, .. } = self.settings;
        let estimate = d_coef * numerator / denominator;
        if self.distance == d0 {
            self.distance = self.distance.max(estimate);
        }
        self.longest = self.longest.max(estimate);
        self.distance = self.longest.min(self.distance * growth_rate);
        self.numerator = numerator;
    }
}

impl Optimizer for Prodigy {
    fn step(&mut self, parameters: &mut [Tensor<2>], gradients: &[Tensor<2>], learning_rate: f64) {
        assert_lengths(self.shapes.len(), parameters, gradients);
        let ProdigySettings { betas, beta3, epsilon, weight_decay, decouple, use_bias_correction, .. } = self.settings;
        if self.starts.is_empty() {
            self.starts = parameters.to_vec();
        }
        if learning_rate <= 0.0 || gradients.is_empty() {
            return;
        }
        let decayed = |(parameter, gradient): (&Tensor<2>, &Tensor<2>)| {
            if decouple { gradient.clone() } else { gradient.clone() + parameter.clone().mul_scalar(weight_decay) }
        };
        let gradients: Vec<Tensor<2>> = parameters.iter().zip(gradients).map(decayed).collect();
        let beta3 = beta3.unwrap_or(betas[1].sqrt());
        let [first_bias, second_bias] = betas.map(|beta| 1.0 - beta.powf((self.steps + 1) as f64));
        let correction = if use_bias_correction { second_bias.sqrt() / first_bias } else { 1.0 };
        let rate = self.distance * learning_rate * correction;
        let [added, denominator] = self.observe(parameters, &gradients, rate, beta3);
        if denominator == 0.0 {
            return;
        }
        self.estimate(self.numerator * beta3 + added, denominator);
        let moments = self.first_moments.iter().zip(&self.second_moments);
        for (parameter, (first, second)) in parameters.iter_mut().zip(moments) {
            let denominator = second.clone().sqrt().add_scalar(self.distance * epsilon);
            // Decay and step go by the distance of before, the denominator by the new one.
            if decouple && weight_decay != 0.0 {
                *parameter = parameter.clone() - parameter.clone().mul_scalar(weight_decay * rate);
            }
            *parameter = parameter.clone() - first.clone().mul_scalar(rate) / denominator;
        }
        self.steps += 1;
    }

    fn state(&self) -> OptimizerState {
        let state = OptimizerState::default().with_count("steps", self.steps).with_number("numerator", self.numerator);
        let state = state.with_number("distance", self.distance).with_number("longest", self.longest);
        let state = state.with_tensors("first_moment", &self.first_moments).with_tensors("second_moment", &self.second_moments);
        state.with_tensors("sum", &self.sums).with_tensors("start", &self.starts)
    }

    fn restore(&mut self, mut state: OptimizerState) -> Result<(), OptimizerStateError> {
        let mut tensors = |name, count| state.take_tensors(name, self.shapes.iter().copied().take(count), &self.device);
        let all = self.shapes.len();
        let (first_moments, second_moments, sums) =
            (tensors("first_moment", all)?, tensors("second_moment", all)?, tensors("sum", all)?);
        let has_started = state.tensors.keys().any(|name| name.starts_with("start."));
        let starts =
            state.take_tensors("start", self.shapes.iter().copied().take(if has_started { all } else { 0 }), &self.device)?;
        let steps = state.take_count("steps")?;
        let [numerator, distance, longest] = ["numerator", "distance", "longest"].map(|name| state.take_number(name));
        let (numerator, distance, longest) = (numerator?, distance?, longest?);
        state.finish()?;
        *self = Self {
            settings: self.settings,
            device: self.device.clone(),
            shapes: std::mem::take(&mut self.shapes),
            steps,
            distance,
            longest,
            numerator,
            first_moments,
            second_moments,
            sums,
            starts,
        };
        Ok(())
    }

    fn effective_learning_rate(&self, learning_rate: f64) -> f64 {
        self.distance * learning_rate
    }
}
