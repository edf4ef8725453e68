//! The adapters that are trained, from the command line.

use std::error::Error;

use burn::tensor::Tensor;
use diffusion_core::weights::PatchTarget;
use diffusion_lora::Lora;
use diffusion_lora::train::{
    KroneckerFactor, Part, TrainedAdapter, TrainedFactors, TrainedModule, Trainer, TrainingRandom, adapters_of,
};
use diffusion_models::Pipeline;
use diffusion_models::components::TRANSFORMER;

use crate::arguments::Arguments;

/// The stream of random numbers that adapters begin with.
const INITIAL_VALUES: u64 = 0x6164_6170;

/// The adapters to train: those of a file, or new ones.
pub(crate) fn adapters(
    arguments: &Arguments,
    init_lora: Option<&Lora>,
    pipeline: &Pipeline,
    targets: &[PatchTarget],
) -> Result<Vec<TrainedAdapter>, Box<dyn Error>> {
    if let Some(lora) = init_lora {
        return Ok(adapters_of(lora, targets, pipeline.device())?);
    }
    let target = targets.iter().find(|target| target.component == TRANSFORMER).ok_or("the model has no denoising network")?;
    let (options, usual) = (&arguments.adapter, arguments.rank());
    let layers = options.targets.layers_of(target);
    if layers.is_empty() {
        return Err(format!("no layer of the model has a name in which {} is found", options.targets).into());
    }
    let unused = options.rank_of.iter().find(|rank| !layers.iter().any(|layer| rank.suits(&layer.module)));
    if let Some(unused) = unused {
        return Err(format!("no layer that is trained has a name in which {} is found", unused.pattern()).into());
    }
    let adapters = layers.into_iter().zip(0..).map(|(layer, index)| {
        let rank = options.rank_of.iter().find(|rank| rank.suits(&layer.module)).map_or(usual, |pattern| pattern.rank);
        // Other ranks keep the scale that was asked for.
        let alpha = options.alpha.map_or(rank as f64, |alpha| alpha * rank as f64 / usual as f64);
        let mut random = TrainingRandom::new(arguments.steps.seed, INITIAL_VALUES, index);
        TrainedAdapter::new(TRANSFORMER, layer, options.method.0, rank, alpha, &mut random, pipeline.device())
    });
    Ok(adapters.collect())
}

/// The adapters as files have them.
pub(crate) fn trained_modules(trainer: &Trainer) -> Vec<TrainedModule> {
    let of_adapter = |(adapter, values): (&TrainedAdapter, Vec<(Part, Tensor<2>)>)| {
        let value = |wanted: Part| values.iter().find(|(part, _)| *part == wanted).map(|(_, value)| value.clone());
        let factors = match (value(Part::Down), value(Part::Up), value(Part::Kronecker1)) {
            (Some(down), Some(up), _) => TrainedFactors::LowRank { down, up, magnitude: value(Part::Magnitude) },
            (_, _, Some(first)) => {
                let second = match (value(Part::Kronecker2Up), value(Part::Kronecker2Down), value(Part::Kronecker2)) {
                    (Some(up), Some(down), _) => KroneckerFactor::Product { up, down },
                    (_, _, second) => KroneckerFactor::Whole(second?),
                };
                TrainedFactors::Kronecker([KroneckerFactor::Whole(first), second])
            }
            _ => return None,
        };
        let TrainedAdapter { component, layer, rank, alpha, .. } = adapter;
        Some(TrainedModule { component: *component, parameter: layer.parameter.clone(), factors, rank: *rank, alpha: *alpha })
    };
    trainer.adapters().iter().zip(trainer.trained_values()).filter_map(of_adapter).collect()
}
