//! Checkpoints in several files, and the names of files in a folder.

use std::path::Path;

use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use tempfile::TempDir;

use crate::files::{assert_names, f32_bytes, safetensors, values};

/// A folder with these files: (name, names of tensors with the value that they all have).
fn folder(shards: &[(&str, &[(&str, f32)])], index: &str, weight_map: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, tensors) in shards {
        let numbers: Vec<_> = tensors.iter().map(|(_, value)| f32_bytes(&[*value])).collect();
        let tensors: Vec<_> =
            tensors.iter().zip(&numbers).map(|((name, _), bytes)| (*name, "F32", &[1][..], &bytes[..])).collect();
        std::fs::write(folder.path().join(file), safetensors(&tensors)).unwrap();
    }
    if !index.is_empty() {
        std::fs::write(folder.path().join(index), format!("{{\"metadata\":{{}},\"weight_map\":{{{weight_map}}}}}")).unwrap();
    }
    folder
}

const INDEX: &str = "model.safetensors.index.json";
const X_IN_A_Y_IN_B: &str = r#""x":"a.safetensors","y":"b.safetensors""#;

fn refused(folder: &TempDir, named: &[&str]) -> CheckpointError {
    let error = Checkpoint::open(&folder.path().join(INDEX)).unwrap_err();
    assert_names(&error, INDEX, named);
    error
}

#[test]
fn a_tensor_comes_from_the_shard_that_the_index_names() {
    for copy_first in [false, true] {
        let (a, b): (&[_], &[_]) = (&[("x", 1.0), ("y", 2.0)], &[("x", 4.0), ("y", 3.0)]);
        let (map, expected) =
            if copy_first { (r#""x":"b.safetensors","y":"a.safetensors""#, [4.0, 2.0]) } else { (X_IN_A_Y_IN_B, [1.0, 3.0]) };
        let folder = folder(&[("a.safetensors", a), ("b.safetensors", b)], INDEX, map);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!([values(&checkpoint, "x")[0], values(&checkpoint, "y")[0]], expected);
        assert_eq!(checkpoint.tensors().count(), 2);
    }
}

#[test]
fn what_index_and_shards_disagree_about_is_named() {
    let lacking = folder(&[("a.safetensors", &[("x", 1.0), ("y", 2.0)]), ("b.safetensors", &[("z", 3.0)])], INDEX, X_IN_A_Y_IN_B);
    let error = refused(&lacking, &["tensor y", "b.safetensors", "download"]);
    assert!(matches!(error, CheckpointError::TensorNotInShard { .. }));

    let beyond = folder(&[("a.safetensors", &[("x", 1.0)]), ("b.safetensors", &[("y", 2.0), ("z", 3.0)])], INDEX, X_IN_A_Y_IN_B);
    let error = refused(&beyond, &["tensor z", "b.safetensors", "download"]);
    assert!(matches!(error, CheckpointError::TensorNotInIndex { .. }));

    let missing = folder(&[("a.safetensors", &[("x", 1.0)])], INDEX, X_IN_A_Y_IN_B);
    assert!(matches!(refused(&missing, &["b.safetensors", "download"]), CheckpointError::MissingShard { .. }));
}

#[test]
fn shards_lie_beside_their_index_and_nowhere_else() {
    let outer = folder(&[("secret.safetensors", &[("x", 1.0)])], "", "");
    std::fs::create_dir(outer.path().join("model")).unwrap();
    let absolute = outer.path().join("secret.safetensors");
    for shard in ["../secret.safetensors", absolute.to_str().unwrap(), "", "."] {
        let map = format!(r#"{{"weight_map":{{"x":{shard:?}}}}}"#);
        let index = outer.path().join("model").join(INDEX);
        std::fs::write(&index, map).unwrap();
        let error = Checkpoint::open(&index).unwrap_err();
        assert!(matches!(error, CheckpointError::MissingShard { .. }), "{shard}: {error}");
    }
}

#[test]
fn variants_are_found_in_every_order_in_which_they_were_named() {
    let [one, two]: [&[_]; 2] = [&[("x", 1.0)], &[("y", 2.0)]];
    for stem in ["diffusion_pytorch_model", "model"] {
        for (index, shard) in [
            ("{stem}.safetensors.index.fp16.json", "{stem}.fp16-0000{i}-of-00002.safetensors"),
            ("{stem}.safetensors.index.fp16.json", "{stem}-0000{i}-of-00002.fp16.safetensors"),
            ("{stem}.fp16.safetensors.index.json", "{stem}.fp16-0000{i}-of-00002.safetensors"),
            ("{stem}.safetensors.index.bf16.json", "{stem}.bf16-0000{i}-of-00002.safetensors"),
            ("{stem}.safetensors.index.json", "{stem}-0000{i}-of-00002.safetensors"),
        ] {
            let [first, second] = ["1", "2"].map(|i| shard.replace("{stem}", stem).replace("{i}", i));
            let map = format!(r#""x":"{first}","y":"{second}""#);
            let folder = folder(&[(&first, one), (&second, two)], &index.replace("{stem}", stem), &map);
            assert_eq!(Checkpoint::open(folder.path()).unwrap().tensors().count(), 2, "{index} {shard}");
        }
        for variant in ["fp16", "bf16", "fp32"] {
            let folder = folder(&[(&format!("{stem}.{variant}.safetensors"), one)], "", "");
            assert_eq!(Checkpoint::open(folder.path()).unwrap().tensors().count(), 1, "{variant}");
        }
    }
}

#[test]
fn what_has_no_variant_goes_first_unless_its_shards_were_not_downloaded() {
    let both = folder(&[("model.safetensors", &[("x", 1.0)]), ("model.fp16.safetensors", &[("x", 2.0)])], "", "");
    assert_eq!(values(&Checkpoint::open(both.path()).unwrap(), "x"), [1.0]);
    let of_variant = folder(&[("model.fp16.safetensors", &[("x", 2.0)])], INDEX, X_IN_A_Y_IN_B);
    assert_eq!(values(&Checkpoint::open(of_variant.path()).unwrap(), "x"), [2.0]);
    let nothing = folder(&[], INDEX, X_IN_A_Y_IN_B);
    assert_names(&Checkpoint::open(nothing.path()).unwrap_err(), INDEX, &["a.safetensors", "download"]);
}

#[test]
fn a_folder_says_what_it_has_in_place_of_weights() {
    let shard = folder(&[("model-00001-of-00002.safetensors", &[("x", 1.0)])], "", "");
    let error = Checkpoint::open(shard.path()).unwrap_err();
    assert_names(&error, "model-00001-of-00002.safetensors", &["no index", ".safetensors.index.json"]);

    let pytorch = tempfile::tempdir().unwrap();
    std::fs::write(
        pytorch.path().join("pytorch_model.bin"),
        b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\0a/data.pkl",
    )
    .unwrap();
    let error = Checkpoint::open(pytorch.path()).unwrap_err();
    assert_names(&error, "pytorch_model.bin", &["PyTorch", "weights_only=True"]);

    let empty = tempfile::tempdir().unwrap();
    assert_names(&Checkpoint::open(empty.path()).unwrap_err(), "no weights", &["model.safetensors"]);
    std::fs::write(empty.path().join("model_index.json"), "{}").unwrap();
    assert_names(&Checkpoint::open(empty.path()).unwrap_err(), "a whole model", &["such as", "transformer"]);
}

#[test]
fn names_of_strangers_do_nothing_to_a_terminal() {
    let map = r#""x\u001b[2J":"a\u0007.safetensors""#;
    let folder = folder(&[("a.safetensors", &[("x", 1.0)])], INDEX, map);
    let missing = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(missing.contains(r"a\u{7}.safetensors"), "{missing}");
    let folder = self::folder(&[("a.safetensors", &[("x", 1.0)])], INDEX, &map.replace("\\u0007", ""));
    let lacking = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(lacking.contains(r"x\u{1b}[2J") && !lacking.contains('\u{1b}'), "{lacking}");
}

#[test]
fn what_is_no_index_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model_index.json");
    for content in [r#"{"_class_name": "AnyPipeline"}"#, "[]", "", r#"{"weight_map": {"x": 1}}"#, "{"] {
        std::fs::write(&path, content).unwrap();
        let error = Checkpoint::open(&path).unwrap_err();
        assert!(matches!(error, CheckpointError::Json { .. }));
        assert_names(&error, "model_index.json", &["shard index", "folder itself"]);
    }
    std::fs::write(&path, "\u{feff}{\"weight_map\": {}}").unwrap();
    assert!(Checkpoint::open(&path).unwrap().is_empty());
    assert!(matches!(Checkpoint::open(Path::new("nowhere.json")).unwrap_err(), CheckpointError::Open { .. }));
}
