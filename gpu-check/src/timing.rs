//! Parts of a step at published widths, timed.

use std::error::Error;
use std::time::Instant;

use burn::tensor::{DType, Distribution, Tensor};
use diffusion_app::cli::PrintError;
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::format::Format;
use diffusion_core::network::boxed_denoiser;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::ops::{Attending, AttentionOptions, attention};
use diffusion_core::{Loading, Precision};
use diffusion_models::block_network::{BlockNetwork, NoHook};
use diffusion_models::flux::{DistilledGuidance, FluxTransformer};
use diffusion_models::sd3::Sd3Transformer;
use diffusion_models::{Conditioning, DenoiserInput};

use crate::compare::{name, numbers};
use crate::network::{weight_std, write_network};
use crate::product::projection;
use crate::table::{Case, Table};
use crate::tested::Tested;

/// Text tokens of FLUX.1, and of Stable Diffusion 3.
const TEXT_TOKENS: [usize; 2] = [512, 333];

/// Attention, products and blocks of both families.
pub(crate) fn measure(tested: &Tested, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let (flux, sd3, image) = (&tested.sizes.flux, &tested.sizes.sd3, tested.sizes.image_tokens());
    let folder = tempfile::tempdir()?;
    let flux_file = write_network(&folder.path().join("flux.safetensors"), flux, weight_std(flux.hidden_size()))?;
    let sd3_file = write_network(&folder.path().join("sd3.safetensors"), sd3, weight_std(sd3.hidden_size()))?;
    let tokens = TEXT_TOKENS.map(|text| image + text);
    let guidance = (flux.guidance == DistilledGuidance::Embedded).then_some(3.5);
    for &precision in &tested.precisions {
        let timed = Timed { tested, precision };
        timed.attention(table, "FLUX.1", [flux.num_heads, tokens[0], flux.head_dim])?;
        timed.attention(table, "SD3.5-Large", [sd3.num_heads, tokens[1], sd3.head_dim])?;
        timed.product(table, "FLUX.1", [tokens[0], flux.hidden_size(), flux.inner_size()])?;
        timed.product(table, "SD3.5-Large", [tokens[1], sd3.hidden_size(), 4 * sd3.hidden_size()])?;
        let load = |file: Checkpoint, loading: &Loading<'_>| FluxTransformer::load(file, flux, loading);
        let widths = [flux.joint_attention_dim, flux.pooled_projection_dim];
        let case = ("FLUX.1: a double and a single block", TEXT_TOKENS[0], widths, guidance);
        timed.evaluation(table, case, &flux_file, load)?;
        let load = |file: Checkpoint, loading: &Loading<'_>| Sd3Transformer::load(file, sd3, loading);
        let widths = [sd3.joint_attention_dim, sd3.pooled_projection_dim];
        timed.evaluation(table, ("SD3.5-Large: two blocks", TEXT_TOKENS[1], widths, None), &sd3_file, load)?;
    }
    Ok(())
}

/// A device in one of its precisions.
struct Timed<'a> {
    tested: &'a Tested,
    precision: Precision,
}

impl Timed<'_> {
    fn random<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&self.tested.device, DType::F32))
    }

    fn case(&self, what: String) -> Case {
        Case::new("time", what, name(self.precision))
    }

    fn attention(&self, table: &mut Table, model: &str, [heads, len, head_dim]: [usize; 3]) -> Result<(), PrintError> {
        let case = self.case(format!("{model}: attention, {heads} x {len} x {head_dim}"));
        table.measure(case, "ms", || {
            let tokens = || self.random([1, len, heads * head_dim]).cast(self.precision.compute);
            let tokens = Attending { query: tokens(), key: tokens(), value: tokens() };
            let options = AttentionOptions { products: self.precision.products, ..AttentionOptions::default() };
            let milliseconds = self.median(&|| {
                let [attended] = attention([tokens.clone()], heads, &options);
                attended
            })?;
            Ok((milliseconds, rate(4 * heads * len * len * head_dim, milliseconds)))
        })
    }

    fn product(&self, table: &mut Table, model: &str, [rows, inputs, outputs]: [usize; 3]) -> Result<(), PrintError> {
        let case = self.case(format!("{model}: product, {rows} x {inputs} by {outputs} from bf16"));
        table.measure(case, "ms", || {
            let matrix: Vec<f32> =
                TorchGenerator::new(4).normal(inputs * outputs).into_iter().map(|value| value * weight_std(inputs)).collect();
            let (layer, _) = projection(self.tested, &matrix, inputs, Format::BF16, self.precision)?;
            let input = self.random([rows, inputs]).cast(self.precision.compute);
            let milliseconds = self.median(&|| layer.forward(input.clone()))?;
            Ok((milliseconds, rate(2 * rows * inputs * outputs, milliseconds)))
        })
    }

    /// One evaluation of a network, with so many text tokens of these widths.
    fn evaluation<N: BlockNetwork + 'static>(
        &self,
        table: &mut Table,
        (what, text_tokens, [token_width, pooled_width], distilled_guidance): (&str, usize, [usize; 2], Option<f64>),
        file: &Checkpoint,
        load: impl Fn(Checkpoint, &Loading<'_>) -> Result<N, CheckpointError>,
    ) -> Result<(), PrintError> {
        let side = self.tested.sizes.side;
        let mut measure = |how: &str, captures_steps: bool| {
            table.measure(self.case(format!("{what}{how}, {side} x {side} pixels")), "ms", || {
                let loading = Loading { captures_steps, ..Loading::new(self.precision, &self.tested.device) };
                let network = boxed_denoiser(load(file.clone(), &loading)?, &loading);
                let conditioning =
                    Conditioning { tokens: self.random([1, text_tokens, token_width]), pooled: self.random([1, pooled_width]) };
                let latents = self.random([1, 16, side / 8, side / 8]);
                let input =
                    DenoiserInput { latents, sigmas: &[0.5], conditioning: &conditioning, distilled_guidance, modulations: None };
                let run = || network.velocity(&input, &[], &mut NoHook);
                // It is known to work before it is timed.
                numbers(run()?)?;
                if let Some(why) = network.why_not_captured() {
                    return Err(why.into());
                }
                let milliseconds = self.median(&|| run().unwrap_or_else(|error| panic!("{error}")))?;
                Ok((milliseconds, String::new()))
            })
        };
        measure("", false)?;
        if self.tested.has_graphs { measure(" captured", true) } else { Ok(()) }
    }

    /// The median of some runs in milliseconds, after two that find the best kernels.
    fn median<const D: usize>(&self, run: &dyn Fn() -> Tensor<D>) -> Result<f64, Box<dyn Error>> {
        for _ in 0..2 {
            drop(run());
        }
        self.tested.wait()?;
        let mut times = Vec::new();
        for _ in 0..self.tested.sizes.runs {
            let began = Instant::now();
            let result = run();
            self.tested.wait()?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            drop(result);
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }
}

fn rate(operations: usize, milliseconds: f64) -> String {
    format!("{:.2} TFLOP/s", operations as f64 / milliseconds / 1e9)
}
