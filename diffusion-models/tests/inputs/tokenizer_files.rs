//! Tokenizer files that are not what they say.

use std::fs;

use serde_json::{Value, json};

use super::{Folder, assert_says};

/// The largest id counts, not the number of entries.
#[test]
fn a_vocabulary_with_ids_beyond_the_encoders_is_refused() {
    let folder = Folder::copy_of("sd3");
    for id in [740_u32, u32::MAX] {
        folder.set("tokenizer/vocab.json", "an-entry-that-no-merge-makes", id);
        let said = folder.refusal();
        assert_says(&said, &["text_encoder/config.json", "vocab_size is 740", &format!("at least {}", u64::from(id) + 1)]);
    }
}

#[test]
fn merges_of_what_is_not_in_the_vocabulary_are_refused() {
    let folder = Folder::copy_of("sd3");
    let merges = fs::read_to_string(folder.path("tokenizer/merges.txt")).unwrap();
    let vocab: Value = serde_json::from_str(&fs::read_to_string(folder.path("tokenizer/vocab.json")).unwrap()).unwrap();
    let longest = vocab.as_object().unwrap().keys().max_by_key(|token| token.len()).unwrap().clone();
    for merge in [format!("{longest} {longest}"), format!("{longest} nothing")] {
        fs::write(folder.path("tokenizer/merges.txt"), format!("{merges}\n{merge}\n")).unwrap();
        assert_says(&folder.refusal(), &["tokenizer/merges.txt", "the merge of", "which is not in it"]);
    }
}

#[test]
fn lengths_of_tokenizers_that_cannot_be_are_refused() {
    for (folder_name, value) in [("tokenizer", json!(1)), ("tokenizer_2", json!(-5)), ("tokenizer_3", json!(0))] {
        let folder = Folder::copy_of("sd3");
        folder.set(&format!("{folder_name}/tokenizer_config.json"), "model_max_length", value);
        assert_says(&folder.refusal(), &[folder_name, "tokenizer_config.json: model_max_length", "at least 3"]);
    }
    // More than the positions of the encoder.
    let folder = Folder::copy_of("flux-dev");
    folder.set("tokenizer/tokenizer_config.json", "model_max_length", 25);
    assert_says(&folder.refusal(), &["text_encoder/config.json", "max_position_embeddings is 24", "at least 25"]);
}

/// Their results lie side by side.
#[test]
fn clips_that_see_different_numbers_of_tokens_are_refused() {
    let folder = Folder::copy_of("sd3");
    folder.set("tokenizer/tokenizer_config.json", "model_max_length", 7);
    assert_says(&folder.refusal(), &["tokenizer/tokenizer_config.json", "model_max_length is 7", "expected 24", "CLIP-G"]);
    // Alone it is drawn with, as diffusers does.
    let folder = Folder::copy_of("flux-dev");
    folder.set("tokenizer/tokenizer_config.json", "model_max_length", 7);
    folder.open().unwrap();
}

#[test]
fn a_table_of_replacements_that_lies_about_its_size_is_refused() {
    let folder = Folder::copy_of("sd3");
    let path = folder.path("tokenizer_3/tokenizer.json");
    let good: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    // Four gigabytes of units; a root that leads nowhere; nothing at all; no base64.
    for table in ["/////wAAAAA=", "BAAAAAAQAAA=", "AAAAAA==", "%"] {
        let mut damaged = good.clone();
        damaged["normalizer"] =
            json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": table}]});
        fs::write(&path, damaged.to_string()).unwrap();
        assert_says(&folder.refusal(), &["tokenizer_3/tokenizer.json", "table of character replacements"]);
    }
}

#[test]
fn a_vocabulary_that_is_none_is_refused() {
    let folder = Folder::copy_of("sd3");
    let path = folder.path("tokenizer_3/tokenizer.json");
    let good: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (entry, value) in [
        ("vocab", json!([])),
        ("vocab", json!([["a"]])),
        ("vocab", json!({"a": 1})),
        ("unk_id", json!(1_000_000)),
        ("unk_id", json!(-1)),
        ("type", json!("WordPiece")),
    ] {
        let mut damaged = good.clone();
        damaged["model"][entry] = value;
        fs::write(&path, damaged.to_string()).unwrap();
        assert_says(&folder.refusal(), &["tokenizer_3/tokenizer.json"]);
    }
}
