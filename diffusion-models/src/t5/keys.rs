//! Names of T5's weights: those of transformers, and those of llama.cpp, which GGUF files have.

use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap};

/// The token table, under the name that the decoder shares and under the encoder's own; files hold one or both.
pub(super) const SHARED_TABLE: &str = "shared.weight";
pub(super) const ENCODER_TABLE: &str = "encoder.embed_tokens.weight";

const TABLE: &[(&str, &str)] = &[
    ("shared", "token_embedding"),
    ("encoder.embed_tokens", "token_embedding"),
    ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias", "relative_position_bias"),
    ("encoder.block.{i}.layer.0.layer_norm", "blocks.{i}.attention_norm"),
    ("encoder.block.{i}.layer.0.SelfAttention.q", "blocks.{i}.query"),
    ("encoder.block.{i}.layer.0.SelfAttention.k", "blocks.{i}.key"),
    ("encoder.block.{i}.layer.0.SelfAttention.v", "blocks.{i}.value"),
    ("encoder.block.{i}.layer.0.SelfAttention.o", "blocks.{i}.attention_output"),
    ("encoder.block.{i}.layer.1.layer_norm", "blocks.{i}.feed_forward_norm"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wi_0", "blocks.{i}.feed_forward_gate"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wi_1", "blocks.{i}.feed_forward_input"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wo", "blocks.{i}.feed_forward_output"),
    ("encoder.final_layer_norm", "final_norm"),
];

/// llama.cpp's names of the encoder, and those of transformers.
const LLAMA_CPP: &[(&str, &str)] = &[
    ("token_embd", "shared"),
    ("enc.output_norm", "encoder.final_layer_norm"),
    ("enc.blk.{i}.attn_norm", "encoder.block.{i}.layer.0.layer_norm"),
    ("enc.blk.{i}.attn_q", "encoder.block.{i}.layer.0.SelfAttention.q"),
    ("enc.blk.{i}.attn_k", "encoder.block.{i}.layer.0.SelfAttention.k"),
    ("enc.blk.{i}.attn_v", "encoder.block.{i}.layer.0.SelfAttention.v"),
    ("enc.blk.{i}.attn_o", "encoder.block.{i}.layer.0.SelfAttention.o"),
    ("enc.blk.{i}.attn_rel_b", "encoder.block.{i}.layer.0.SelfAttention.relative_attention_bias"),
    ("enc.blk.{i}.ffn_norm", "encoder.block.{i}.layer.1.layer_norm"),
    ("enc.blk.{i}.ffn_gate", "encoder.block.{i}.layer.1.DenseReluDense.wi_0"),
    ("enc.blk.{i}.ffn_up", "encoder.block.{i}.layer.1.DenseReluDense.wi_1"),
    ("enc.blk.{i}.ffn_down", "encoder.block.{i}.layer.1.DenseReluDense.wo"),
];

/// The checkpoint under transformers' names, whichever it has. The decoder of a whole T5, which no image model uses, is left out.
pub(crate) fn with_transformers_names(checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
    if !checkpoint.tensors().any(|(name, _)| name.starts_with("enc.blk.")) {
        return Ok(checkpoint);
    }
    checkpoint.renamed(&KeyMap::new().rename_all(LLAMA_CPP).ignore("dec").ignore("output"))
}

/// Tensors that encoding texts has no use for: the tokenizer's model, which some files carry beside the weights, what `ComfyUI`
/// writes with every text encoder, and the decoder of a whole T5 with its head.
///
/// Reference: transformers `modeling_t5.py` at 5.23 (`T5EncoderModel._keys_to_ignore_on_load_unexpected`).
const WITHOUT_USE: [&str; 4] = ["spiece_model", "logit_scale", "decoder", "lm_head"];

pub(super) fn key_map() -> KeyMap {
    WITHOUT_USE.into_iter().fold(KeyMap::new().rename_all(TABLE), KeyMap::ignore)
}

#[cfg(test)]
mod tests {
    use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
    use diffusion_core::format::Format;

    use super::*;
    use crate::common::data;

    #[test]
    fn t5_has_the_names_of_transformers() {
        let checkpoint = with_transformers_names(Checkpoint::open(&data("tiny_t5.gguf")).unwrap()).unwrap();
        let layers = [
            "0.layer_norm",
            "0.SelfAttention.q",
            "0.SelfAttention.k",
            "0.SelfAttention.v",
            "0.SelfAttention.o",
            "1.layer_norm",
            "1.DenseReluDense.wi_0",
            "1.DenseReluDense.wi_1",
            "1.DenseReluDense.wo",
        ];
        let blocks = (0..2).flat_map(|block| layers.map(|layer| format!("encoder.block.{block}.layer.{layer}.weight")));
        let bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight".to_owned();
        let expected = ["shared.weight".to_owned(), "encoder.final_layer_norm.weight".to_owned()].into_iter();
        let expected: Vec<String> = expected.chain(blocks).chain([bias]).collect();
        // The file numbers its tensors in the order of llama.cpp.
        for (place, name) in expected.iter().enumerate() {
            let values = checkpoint.get(name).unwrap_or_else(|| panic!("no {name}")).to_f32().unwrap();
            assert_eq!(values, [place as f32], "{name}");
        }
        assert_eq!(checkpoint.tensors().count(), expected.len());
        let query = checkpoint.get("encoder.block.1.layer.0.SelfAttention.q.weight").unwrap();
        assert_eq!(query.name(), "enc.blk.1.attn_q.weight");
    }

    #[test]
    fn t5_is_known_by_its_names_and_its_decoder_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t5.gguf");
        let names = ["enc.blk.0.attn_q.weight", "dec.blk.0.attn_q.weight", "output.weight"];
        let spec = |name: &str| TensorSpec { name: name.to_owned(), shape: vec![8], format: Format::F32 };
        let mut writer = CheckpointWriter::create(&path, Container::Gguf, names.map(spec).into(), None).unwrap();
        for _ in names {
            writer.append(&[0; 32]).unwrap();
        }
        writer.finish().unwrap();
        let checkpoint = with_transformers_names(Checkpoint::open(&path).unwrap()).unwrap();
        let names: Vec<&str> = checkpoint.tensors().map(|(name, _)| name).collect();
        assert_eq!(names, ["encoder.block.0.layer.0.SelfAttention.q.weight"]);
    }
}
