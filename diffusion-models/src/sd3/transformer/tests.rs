//! Every stage of one call of the transformer, as diffusers computes it: `fixtures/sd3/stages.safetensors`.
//!
//! Each stage gets the reference's input, so that an error shows where it is made.

use diffusion_core::Precision;
use diffusion_core::ops::Activation;

use super::*;
use crate::common::{assert_close, fixture, tensor};

/// Both sides compute in f32 from the same stored values and sum in different orders, which shows at 1e-6; a weight in the
/// wrong place shows above 2e-4 (`fixtures/README.md`).
const TOLERANCE: f64 = 1e-4;

/// The transformer of the fixture in one of its layouts, and the reference.
struct Stages {
    layout: &'static str,
    transformer: Sd3Transformer,
    outputs: Checkpoint,
    reference: Checkpoint,
    device: Device,
}

impl Stages {
    fn in_both_layouts() -> [Self; 2] {
        let single_file = Checkpoint::open(&fixture("sd3/original.safetensors")).unwrap().under("model.diffusion_model.");
        let folder = Checkpoint::open(&fixture("sd3/transformer")).unwrap();
        let config = Sd3Config::from_json(&fixture("sd3/transformer/config.json")).unwrap();
        [("folder", folder), ("single file", single_file)].map(|(layout, checkpoint)| {
            let device = Device::flex();
            Self {
                layout,
                transformer: Sd3Transformer::load(checkpoint, &config, &Loading::new(Precision::f32(), &device)).unwrap(),
                outputs: Checkpoint::open(&fixture("sd3/stages.safetensors")).unwrap(),
                reference: Checkpoint::open(&fixture("sd3/reference.safetensors")).unwrap(),
                device,
            }
        })
    }

    fn reference<const D: usize>(&self, name: &str) -> Tensor<D> {
        tensor(&self.reference, name, &self.device)
    }

    /// The output of a module, under diffusers' name for it.
    fn stage<const D: usize>(&self, name: &str) -> Tensor<D> {
        tensor(&self.outputs, &format!("transformer.{name}"), &self.device)
    }

    #[track_caller]
    fn assert_stage<const D: usize>(&self, name: &str, found: Tensor<D>) {
        assert_close(&format!("{name}, {}", self.layout), found, self.stage(name), TOLERANCE);
    }

    /// What all blocks are modulated by.
    fn activated(&self) -> Tensor<2> {
        Activation::Silu.apply(self.stage("time_text_embed"))
    }
}

#[test]
fn patches_are_embedded_as_in_the_reference() {
    for stages in Stages::in_both_layouts() {
        let patches = stages.transformer.patch_embedding.forward(stages.reference("noise"));
        stages.assert_stage("pos_embed.proj", patches);
    }
}

#[test]
fn patches_get_the_positions_of_the_reference() {
    for stages in Stages::in_both_layouts() {
        stages.assert_stage("pos_embed", stages.transformer.embed_patches(stages.reference("noise")));
    }
}

#[test]
fn timestep_and_pooled_text_are_embedded_as_in_the_reference() {
    for stages in Stages::in_both_layouts() {
        let transformer = &stages.transformer;
        let timestep = timestep_embeddings([1000.0].into_iter(), FloatDType::F32, &stages.device);
        let pooled = transformer.pooled_embedding.forward(stages.reference("pooled_prompt_embeds"));
        stages.assert_stage("time_text_embed", transformer.timestep_embedding.forward(timestep) + pooled);
    }
}

#[test]
fn text_tokens_are_projected_as_in_the_reference() {
    for stages in Stages::in_both_layouts() {
        let text = stages.transformer.text_projection.forward(stages.reference::<3>("prompt_embeds"));
        stages.assert_stage("context_embedder", text);
    }
}

#[test]
fn every_block_gives_the_tokens_of_the_reference() {
    for stages in Stages::in_both_layouts() {
        let mut image: Tensor<3> = stages.stage("pos_embed");
        let mut text: Tensor<3> = stages.stage("context_embedder");
        let last = stages.transformer.blocks.len() - 1;
        for (index, block) in stages.transformer.blocks.iter().enumerate() {
            let [of_image, of_text] = block.modulation_layers().map(|(_, layer)| layer.forward_exactly(stages.activated()));
            let (found_image, found_text) = block.attend(image, text.clone(), [&of_image, &of_text]);
            let name = |stream: &str| format!("transformer_blocks.{index}.{stream}");
            stages.assert_stage(&name("hidden_states"), found_image);
            image = stages.stage(&name("hidden_states"));
            // The last block's text has no reader, and the reference does not compute it.
            if index < last {
                stages.assert_stage(&name("encoder_hidden_states"), found_text);
                text = stages.stage(&name("encoder_hidden_states"));
            }
        }
    }
}

#[test]
fn final_layer_gives_the_patches_of_the_reference() {
    for stages in Stages::in_both_layouts() {
        let transformer = &stages.transformer;
        let image = stages.stage("transformer_blocks.3.hidden_states");
        let [shift, scale] = modulations(&transformer.final_modulation.forward_exactly(stages.activated()));
        stages.assert_stage("norm_out", modulated_norm(image, &shift, &scale));
        stages.assert_stage("proj_out", transformer.final_projection.forward(stages.stage::<3>("norm_out")));
    }
}

#[test]
fn patches_are_joined_to_the_velocity_of_the_reference() {
    for stages in Stages::in_both_layouts() {
        let [_, _, height, width] = stages.reference::<4>("noise").dims();
        let joined = stages.transformer.join_patches(stages.stage("proj_out"), [height, width]);
        assert_close("velocity_0", joined, stages.reference("velocity_0"), TOLERANCE);
    }
}

#[test]
#[should_panic(expected = "16 x 1 patches for a position table of 15 x 15")]
fn an_image_beyond_the_position_table_panics() {
    let [stages, _] = Stages::in_both_layouts();
    stages.transformer.embed_patches(Tensor::zeros([1, 16, 32, 2], &stages.device));
}
