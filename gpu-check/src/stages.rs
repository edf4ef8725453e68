//! Every stage of the embedded model, compared with the CPU in f32. Each gets the CPU's results of the stage before, so that an
//! error is told where it arises.

use std::error::Error;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use diffusion_core::{Loading, Precision};
use diffusion_models::block_network::{BlockFlow, BlockHook, BlockPlace, BlockState};
use diffusion_models::{
    Conditioning, Denoiser, DenoiserInput, EncodedPrompt, Pipeline, PipelineError, PipelineOptions, Settings, Start, Tiling,
    ignore,
};

use crate::compare::{name, numbers, relative_error, unit};
use crate::table::{Case, Table};
use crate::tested::Tested;

const PROMPT: &str = "a small yellow heart at the top on a purple background";
const NEGATIVE_PROMPT: &str = "a gray ring";
const SEED: u64 = 7;
/// Steps of the run whose latents are compared.
const STEPS: usize = 4;
/// Noise level of the single evaluation.
const SIGMA: f64 = 0.7;
/// What errors of single operations grow to, through the layers of a network.
const THROUGH_A_NETWORK: f64 = 10.0;
/// And through some steps, whose guidance multiplies them.
const THROUGH_A_RUN: f64 = 40.0;

/// Compare all stages, in all precisions.
pub(crate) fn check(tested: &Tested, model: &Path, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let cpu = Stages::new(model, PipelineOptions::new(&Device::flex()))?;
    let settings = Settings { num_steps: STEPS, ..cpu.pipeline.default_settings() };
    let right = Results::of(cpu, &settings)?;
    for &precision in &tested.precisions {
        compare(tested, model, precision, &settings, &right, table)?;
    }
    Ok(())
}

/// A pipeline whose stages are run apart.
struct Stages {
    pipeline: Pipeline,
    precision: Precision,
    device: Device,
}

/// Results of the stages.
struct Results {
    prompt: EncodedPrompt,
    noise: Tensor<4>,
    evaluated: Evaluated,
    latents: Tensor<4>,
    image: Tensor<4>,
    encoded: Tensor<4>,
}

impl Results {
    fn of(mut stages: Stages, settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let prompt = stages.prompt(settings)?;
        let noise = stages.pipeline.noise(&[SEED], settings);
        let evaluated = Evaluated::of(&*stages.denoiser()?, noise.clone(), &prompt.positive)?;
        let latents = stages.run(&prompt, noise.clone(), settings)?;
        let image = stages.decoded(latents.clone())?;
        let encoded = stages.encoded(image.clone())?;
        Ok(Self { prompt, noise, evaluated, latents, image, encoded })
    }
}

fn compare(
    tested: &Tested,
    model: &Path,
    precision: Precision,
    settings: &Settings,
    right: &Results,
    table: &mut Table,
) -> Result<(), Box<dyn Error>> {
    let options = PipelineOptions { precision, ..PipelineOptions::new(&tested.device) };
    let mut stages = Stages::new(model, options.clone())?;
    let case = |what: &str| Case::new("stage", what, name(precision));
    let here = |tensor: &Tensor<4>| on(tensor, &tested.device);
    let conditioning =
        |of: &Conditioning| Conditioning { tokens: on(&of.tokens, &tested.device), pooled: on(&of.pooled, &tested.device) };

    // Text encoders compute in f32 whatever the precision is.
    let limit = THROUGH_A_NETWORK * unit(Precision::f32());
    let mut encoded = None;
    table.compare(case("text encoders: pooled"), limit, || {
        let prompt = encoded.insert(stages.prompt(settings)?);
        error(prompt.positive.pooled.clone(), right.prompt.positive.pooled.clone())
    })?;
    let encoded = encoded.map(|prompt| prompt.positive.tokens);
    let right_tokens = &right.prompt.positive.tokens;
    let (all, of_t5) = (right_tokens.dims()[1], settings.max_sequence_length);
    let ends = [("text encoders: CLIP's tokens", 0, all - of_t5), ("text encoders: T5's tokens", all - of_t5, all)];
    for (what, start, end) in ends {
        table.compare(case(what), limit, || {
            let tokens = encoded.clone().ok_or("the text encoders failed")?;
            error(tokens.narrow(1, start, end - start), right_tokens.clone().narrow(1, start, end - start))
        })?;
    }

    let limit = THROUGH_A_NETWORK * unit(precision);
    let positive = conditioning(&right.prompt.positive);
    let mut velocity = None;
    table.compare(case("transformer: the worst block"), limit, || {
        let Evaluated { blocks, velocity: found } = Evaluated::of(&*stages.denoiser()?, here(&right.noise), &positive)?;
        velocity = Some(found);
        let right = &right.evaluated.blocks;
        if blocks.len() != right.len() {
            return Err(format!("{} of {} blocks were run", blocks.len(), right.len()).into());
        }
        Ok(blocks.iter().zip(right).map(|(found, right)| relative_error(found, right)).fold(0.0, f64::max))
    })?;
    table.compare(case("transformer: velocity"), limit, || {
        error(velocity.ok_or("the transformer failed")?, right.evaluated.velocity.clone())
    })?;
    let prompt = EncodedPrompt::new(positive.clone(), right.prompt.negative.as_ref().map(conditioning));
    table.compare(case(&format!("{STEPS} steps with guidance: latents")), THROUGH_A_RUN * unit(precision), || {
        error(stages.run(&prompt, here(&right.noise), settings)?, right.latents.clone())
    })?;
    if tested.has_graphs {
        table.compare(case(&format!("{STEPS} captured steps: latents")), THROUGH_A_RUN * unit(precision), || {
            let mut capturing = Stages::new(model, PipelineOptions { captures_steps: true, ..options })?;
            let latents = capturing.run(&prompt, here(&right.noise), settings)?;
            match capturing.pipeline.denoiser().and_then(Denoiser::why_not_captured) {
                Some(why) => Err(why.into()),
                None => error(latents, right.latents.clone()),
            }
        })?;
    }
    table.compare(case("autoencoder: image from latents"), limit, || {
        error(stages.decoded(here(&right.latents))?, right.image.clone())
    })?;
    table.compare(case("autoencoder: latents from image"), limit, || {
        error(stages.encoded(here(&right.image))?, right.encoded.clone())
    })?;
    Ok(())
}

impl Stages {
    fn new(model: &Path, options: PipelineOptions) -> Result<Self, PipelineError> {
        Ok(Self { pipeline: Pipeline::open(model, &options)?, precision: options.precision, device: options.device })
    }

    fn loading(&self) -> Loading<'_> {
        Loading::new(self.precision, &self.device)
    }

    /// As pipelines load the autoencoder.
    fn loading_autoencoder(&self) -> Loading<'_> {
        Loading::new(self.precision.with_exact_products(), &self.device)
    }

    fn prompt(&mut self, settings: &Settings) -> Result<EncodedPrompt, PipelineError> {
        self.pipeline.encode_prompt(PROMPT, NEGATIVE_PROMPT, settings, &mut ignore)
    }

    fn denoiser(&self) -> Result<Box<dyn Denoiser>, PipelineError> {
        self.pipeline.model().load_denoiser(&self.loading())
    }

    /// Latents after all steps.
    fn run(&mut self, prompt: &EncodedPrompt, noise: Tensor<4>, settings: &Settings) -> Result<Tensor<4>, PipelineError> {
        self.pipeline.denoise(prompt, &Start::from_noise(noise), settings, &mut ignore)
    }

    fn decoded(&self, latents: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        let decoder = self.pipeline.model().autoencoder().load_decoder(&self.loading_autoencoder())?;
        Ok(decoder.decode(latents, Tiling::Whole))
    }

    fn encoded(&self, image: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        self.pipeline.model().autoencoder().encode_image(image, &self.loading_autoencoder())
    }
}

/// What one evaluation of the transformer gives.
struct Evaluated {
    /// Tokens of the image after every block.
    blocks: Vec<Vec<f32>>,
    velocity: Tensor<4>,
}

impl Evaluated {
    fn of(denoiser: &dyn Denoiser, latents: Tensor<4>, conditioning: &Conditioning) -> Result<Self, Box<dyn Error>> {
        let input = DenoiserInput { latents, sigmas: &[SIGMA], conditioning, distilled_guidance: None, modulations: None };
        let mut tokens = AfterBlocks(Vec::new());
        let velocity = denoiser.velocity(&input, &[], &mut tokens)?;
        let blocks = tokens.0.into_iter().map(numbers).collect::<Result<_, _>>()?;
        Ok(Self { blocks, velocity })
    }
}

/// Keeps the tokens of the image after every block.
struct AfterBlocks(Vec<Tensor<3>>);

impl BlockHook for AfterBlocks {
    fn after(&mut self, _block: &BlockPlace, state: &mut dyn BlockState) -> BlockFlow {
        self.0.push(state.image_tokens());
        BlockFlow::Continue
    }
}

/// The same numbers on another device.
fn on<const D: usize>(tensor: &Tensor<D>, device: &Device) -> Tensor<D> {
    Tensor::from_data(tensor.to_data(), (device, DType::F32))
}

fn error<const D: usize>(found: Tensor<D>, right: Tensor<D>) -> Result<f64, Box<dyn Error>> {
    Ok(relative_error(&numbers(found)?, &numbers(right)?))
}
