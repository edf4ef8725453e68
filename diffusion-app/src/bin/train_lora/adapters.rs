//! The adapters that are trained, from the command line.

use std::error::Error;
use std::fmt::{self, Display};
use std::str::FromStr;

use burn::tensor::Tensor;
use diffusion_core::weights::{ComponentId, PatchTarget};
use diffusion_lora::Lora;
use diffusion_lora::train::{
    KroneckerFactor, Method, Part, TargetLayer, Targets, TrainedAdapter, TrainedFactors, TrainedModule, Trainer, TrainingRandom,
    adapters_of,
};
use diffusion_models::Pipeline;
use diffusion_models::components::{CLIP_G, CLIP_L, TRANSFORMER};
use fancy_regex::Regex;

use crate::arguments::AdapterOptions;

/// The stream of random numbers that adapters begin with.
const INITIAL_VALUES: u64 = 0x6164_6170;

/// A method by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MethodName(pub(crate) Method);

/// As LyCORIS chooses it.
const LOKR_FACTOR: usize = 16;

impl Default for MethodName {
    fn default() -> Self {
        Self(Method::Lora)
    }
}

impl FromStr for MethodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, factor) = text.split_once(':').map_or((text, None), |(name, factor)| (name, Some(factor)));
        match (name, factor) {
            ("lora", None) => Ok(Self(Method::Lora)),
            ("dora", None) => Ok(Self(Method::Dora)),
            ("lokr", None) => Ok(Self(Method::Lokr { factor: LOKR_FACTOR })),
            ("lokr", Some(factor)) => match factor.parse() {
                Ok(factor @ 1..=256) => Ok(Self(Method::Lokr { factor })),
                _ => Err(format!("the factor of lokr is a whole number from 1 to 256, not {factor}")),
            },
            _ => Err("expected lora, dora or lokr[:FACTOR]".to_owned()),
        }
    }
}

impl Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Method::Lora => f.write_str("lora"),
            Method::Dora => f.write_str("dora"),
            Method::Lokr { factor } => write!(f, "lokr:{factor}"),
        }
    }
}

/// A rank for layers in whose name something is found.
#[derive(Clone, Debug)]
pub(crate) struct RankPattern {
    pattern: Regex,
    rank: usize,
}

impl FromStr for RankPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a regular expression and a rank from 1 to 1024, as in ff=8";
        let (pattern, rank) = text.rsplit_once('=').ok_or(expected)?;
        let rank = rank.parse().ok().filter(|rank| (1..=1_024).contains(rank)).ok_or(expected)?;
        Ok(Self { pattern: Regex::new(pattern).map_err(|error| error.to_string())?, rank })
    }
}

impl Display for RankPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern.as_str(), self.rank)
    }
}

/// The adapters to train.
pub(crate) struct Adapters {
    pub(crate) of_network: Vec<TrainedAdapter>,
    pub(crate) of_text_encoders: Vec<TrainedAdapter>,
}

/// Text encoders that can be trained along.
const TEXT_ENCODERS: [ComponentId; 2] = [CLIP_L, CLIP_G];

/// The adapters to train: those of a file, or new ones.
pub(crate) fn adapters(
    options: &AdapterOptions,
    init_lora: Option<&Lora>,
    pipeline: &Pipeline,
    targets: &[PatchTarget],
    seed: u64,
) -> Result<Adapters, Box<dyn Error>> {
    if let Some(lora) = init_lora {
        return of_file(lora, options, pipeline, targets);
    }
    let target = targets.iter().find(|target| target.component == TRANSFORMER).ok_or("the model has no denoising network")?;
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
    let is_found =
        |rank: &RankPattern, (_, layer): &(ComponentId, TargetLayer)| rank.pattern.is_match(&layer.module).unwrap_or(false);
    let unused = options.rank_of.iter().find(|rank| !layers.iter().any(|layer| is_found(rank, layer)));
    if let Some(unused) = unused {
        return Err(format!("no layer that is trained has a name in which {} is found", unused.pattern.as_str()).into());
    }
    let adapters = layers.into_iter().zip(0..).map(|(layer, index)| {
        let rank = options.rank_of.iter().find(|rank| is_found(rank, &layer)).map_or(options.rank, |pattern| pattern.rank);
        // Other ranks keep the scale that was asked for.
        let alpha = options.alpha.map_or(rank as f64, |alpha| alpha * rank as f64 / options.rank as f64);
        let mut random = TrainingRandom::new(seed, INITIAL_VALUES, index);
        let (component, layer) = layer;
        TrainedAdapter::new(component, layer, options.method.0, rank, alpha, &mut random, pipeline.device())
    });
    let mut of_network: Vec<TrainedAdapter> = adapters.collect();
    let of_text_encoders = of_network.split_off(num_of_network);
    Ok(Adapters { of_network, of_text_encoders })
}

/// The adapters of a file, which has to adapt what is trained and nothing else.
fn of_file(
    lora: &Lora,
    options: &AdapterOptions,
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
    match (options.train_text_encoders, of_text_encoders.first()) {
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
