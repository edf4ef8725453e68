//! The adapters that are trained, from the command line.

use std::error::Error;

use burn::tensor::Tensor;
use diffusion_core::weights::{ComponentId, PatchTarget};
use diffusion_lora::Lora;
use diffusion_lora::train::{
    KroneckerFactor, Part, TargetLayer, Targets, TrainedAdapter, TrainedFactors, TrainedModule, Trainer, TrainingRandom,
    adapters_of,
};
use diffusion_models::Pipeline;
use diffusion_models::components::{CLIP_G, CLIP_L, TRANSFORMER};

use crate::arguments::Arguments;

/// The stream of random numbers that adapters begin with.
const INITIAL_VALUES: u64 = 0x6164_6170;

/// The adapters to train.
pub(crate) struct Adapters {
    pub(crate) of_network: Vec<TrainedAdapter>,
    pub(crate) of_text_encoders: Vec<TrainedAdapter>,
}

/// Text encoders that can be trained along.
const TEXT_ENCODERS: [ComponentId; 2] = [CLIP_L, CLIP_G];

/// The adapters to train: those of a file, or new ones.
pub(crate) fn adapters(
    arguments: &Arguments,
    init_lora: Option<&Lora>,
    pipeline: &Pipeline,
    targets: &[PatchTarget],
) -> Result<Adapters, Box<dyn Error>> {
    if let Some(lora) = init_lora {
        return of_file(lora, arguments.adapter.train_text_encoders, pipeline, targets);
    }
    let target = targets.iter().find(|target| target.component == TRANSFORMER).ok_or("the model has no denoising network")?;
    let (options, usual) = (&arguments.adapter, arguments.rank());
    let layers = options.targets.layers_of(target);
    if layers.is_empty() {
        return Err(format!("no layer of the model has a name in which {} is found", options.targets).into());
    }
    let num_of_network = layers.len();
    let mut layers: Vec<(ComponentId, TargetLayer)> = layers.into_iter().map(|layer| (TRANSFORMER, layer)).collect();
    if options.train_text_encoders {
        for target in targets.iter().filter(|target| TEXT_ENCODERS.contains(&target.component)) {
            layers.extend(Targets::Attention.layers_of(target).into_iter().map(|layer| (target.component, layer)));
        }
        if layers.len() == num_of_network {
            return Err("--train-text-encoders: the model has neither CLIP-L nor CLIP-G".into());
        }
    }
    let unused = options.rank_of.iter().find(|rank| !layers.iter().any(|(_, layer)| rank.suits(&layer.module)));
    if let Some(unused) = unused {
        return Err(format!("no layer that is trained has a name in which {} is found", unused.pattern()).into());
    }
    let adapters = layers.into_iter().zip(0..).map(|((component, layer), index)| {
        let rank = options.rank_of.iter().find(|rank| rank.suits(&layer.module)).map_or(usual, |pattern| pattern.rank);
        // Other ranks keep the scale that was asked for.
        let alpha = options.alpha.map_or(rank as f64, |alpha| alpha * rank as f64 / usual as f64);
        let mut random = TrainingRandom::new(arguments.steps.seed, INITIAL_VALUES, index);
        TrainedAdapter::new(component, layer, options.method.0, rank, alpha, &mut random, pipeline.device())
    });
    let mut of_network: Vec<TrainedAdapter> = adapters.collect();
    let of_text_encoders = of_network.split_off(num_of_network);
    Ok(Adapters { of_network, of_text_encoders })
}

/// The adapters of a file, which has to adapt what is trained and nothing else.
fn of_file(
    lora: &Lora,
    train_text_encoders: bool,
    pipeline: &Pipeline,
    targets: &[PatchTarget],
) -> Result<Adapters, Box<dyn Error>> {
    let adapters = adapters_of(lora, targets, pipeline.device())?;
    let (of_network, of_text_encoders): (Vec<_>, Vec<_>) =
        adapters.into_iter().partition(|adapter| adapter.component == TRANSFORMER);
    let path = lora.path().display();
    if let Some(other) = of_text_encoders.iter().find(|adapter| !TEXT_ENCODERS.contains(&adapter.component)) {
        return Err(format!("{path} adapts {}, which is not trained here", other.component).into());
    }
    match (train_text_encoders, of_text_encoders.first()) {
        (false, Some(adapter)) => {
            Err(format!("{path} adapts {}, too; it is trained along with --train-text-encoders", adapter.component).into())
        }
        (true, None) => {
            Err(format!("{path} adapts no text encoder that could be trained along; leave --train-text-encoders out").into())
        }
        _ => Ok(Adapters { of_network, of_text_encoders }),
    }
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
