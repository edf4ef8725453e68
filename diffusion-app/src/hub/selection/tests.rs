use super::super::listing::RepositoryFile;
use super::*;

const INDEX: &str = r#"{"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors",
    "b": "diffusion_pytorch_model-00002-of-00002.safetensors"}}"#;

/// A repository as they are published: the folder, single files beside it, and weights of other frameworks.
const PUBLISHED: [&str; 33] = [
    "README.md",
    "model_index.json",
    "sd3.5_large.safetensors",
    "text_encoders/clip_l.safetensors",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder/flax_model.msgpack",
    "text_encoder_2/config.json",
    "text_encoder_2/model.safetensors",
    "text_encoder_2/pytorch_model.bin",
    "text_encoder_3/config.json",
    "text_encoder_3/model.safetensors",
    "text_encoder_3/model.onnx",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "tokenizer_2/merges.txt",
    "tokenizer_2/tokenizer_config.json",
    "tokenizer_2/tokenizer.json",
    "tokenizer_2/vocab.json",
    "tokenizer_3/special_tokens_map.json",
    "tokenizer_3/spiece.model",
    "tokenizer_3/tokenizer.json",
    "tokenizer_3/tokenizer_config.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
    "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

/// The `model_index.json` of a fixture, as published ones are.
fn model_index(fixture: &str) -> String {
    let path = format!("{}/../fixtures/{fixture}/model_index.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn sd3() -> String {
    model_index("sd3")
}

fn flux() -> String {
    model_index("flux-dev")
}

fn listing(files: &[&str]) -> Listing {
    let file = |path: &&str| RepositoryFile { path: (*path).to_owned(), size: 100 };
    Listing { commit: String::new(), files: files.iter().map(file).collect() }
}

fn select_from(files: &[&str], index: &str, reference: &str, purpose: &Use) -> Result<Selection, HubError> {
    let reference = HubReference::parse(reference).unwrap();
    let mut read = |file: &str| Ok(if file.ends_with("model_index.json") { index } else { INDEX }.as_bytes().to_vec());
    select(&reference, purpose, &listing(files), &mut read)
}

fn model(replaced: &[(ComponentId, Replaced)]) -> Use {
    Use::Model(replaced.iter().copied().collect())
}

/// What is picked of a published repository, by folder.
fn folders(index: &str, replaced: &[(ComponentId, Replaced)]) -> Vec<String> {
    let selected = select_from(&PUBLISHED, index, "org/name", &model(replaced)).unwrap();
    assert_eq!(selected.opened, "");
    selected.files.into_iter().collect()
}

#[test]
fn of_a_diffusers_folder_only_what_is_read_is_picked() {
    let picked = folders(&sd3(), &[]);
    let not_wanted = [
        "README.md",
        "sd3.5_large.safetensors",
        "text_encoders/clip_l.safetensors",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/flax_model.msgpack",
        "text_encoder_2/pytorch_model.bin",
        "text_encoder_3/model.onnx",
        "tokenizer_3/spiece.model",
    ];
    let mut expected: Vec<&str> = PUBLISHED.into_iter().filter(|file| !not_wanted.contains(file)).collect();
    expected.sort_unstable();
    assert_eq!(picked, expected);
}

#[test]
fn without_t5_nothing_of_t5_is_picked() {
    let picked = folders(&sd3(), &[(T5XXL, Replaced::ByNothing)]);
    assert!(!picked.iter().any(|file| file.starts_with("text_encoder_3/") || file.starts_with("tokenizer_3/")), "{picked:?}");
    let of_flux = folders(&flux(), &[(T5XXL, Replaced::ByNothing)]);
    assert!(!of_flux.iter().any(|file| file.contains("encoder_2/") || file.contains("tokenizer_2/")), "{of_flux:?}");
    assert!(of_flux.iter().any(|file| file == "text_encoder/model.safetensors"));
}

#[test]
fn what_comes_from_elsewhere_keeps_its_configuration_and_tokenizer() {
    let picked = folders(&sd3(), &[(T5XXL, Replaced::ByAnother), (VAE, Replaced::ByAnother)]);
    let of = |folder: &str| picked.iter().filter(|file| file.starts_with(folder)).cloned().collect::<Vec<_>>();
    assert_eq!(of("text_encoder_3/"), ["text_encoder_3/config.json"]);
    assert_eq!(of("vae/"), ["vae/config.json"]);
    assert_eq!(of("tokenizer_3/").len(), 3);
}

#[test]
fn a_component_is_found_in_a_model_in_its_own_repository_and_in_a_folder() {
    let component = |reference: &str, index: &str, id| {
        let selected = select_from(&PUBLISHED, index, reference, &Use::Component(id)).unwrap();
        (selected.opened, selected.files.into_iter().filter(|file| file.ends_with(".safetensors")).count())
    };
    assert_eq!(component("org/name", &sd3(), T5XXL), ("text_encoder_3".to_owned(), 1));
    assert_eq!(component("org/name", &flux(), T5XXL), ("text_encoder_2".to_owned(), 1));
    assert_eq!(component("org/name", &sd3(), VAE), ("vae".to_owned(), 1));
    assert_eq!(component("org/name:transformer", &sd3(), TRANSFORMER), ("transformer".to_owned(), 2));
    let own = select_from(&["config.json", "diffusion_pytorch_model.safetensors"], "", "org/name", &Use::Component(VAE)).unwrap();
    assert_eq!((own.opened.as_str(), own.files.len()), ("", 2));
    let missing = select_from(&PUBLISHED, &flux(), "org/name", &Use::Component(CLIP_G)).unwrap_err();
    assert!(missing.to_string().contains("names no CLIP-G"), "{missing}");
}

#[test]
fn a_file_is_picked_alone_and_an_index_with_its_shards() {
    let file = select_from(&PUBLISHED, &sd3(), "org/name:sd3.5_large.safetensors", &model(&[])).unwrap();
    assert_eq!((file.opened.as_str(), file.files.len()), ("sd3.5_large.safetensors", 1));
    let index = "org/name:transformer/diffusion_pytorch_model.safetensors.index.json";
    assert_eq!(select_from(&PUBLISHED, &sd3(), index, &model(&[])).unwrap().files.len(), 3);
    let incomplete: Vec<&str> = PUBLISHED.into_iter().filter(|file| !file.contains("00002-of-00002")).collect();
    let error = select_from(&incomplete, &sd3(), "org/name", &model(&[])).unwrap_err().to_string();
    assert!(error.contains("incomplete") && error.contains("00002-of-00002"), "{error}");
}

#[test]
fn a_repository_of_several_files_lists_them() {
    let quantised = ["README.md", "flux1-dev-Q4_0.gguf", "flux1-dev-Q8_0.gguf"];
    let error = select_from(&quantised, "", "org/name", &model(&[])).unwrap_err().to_string();
    assert!(error.contains("after a colon") && error.contains("flux1-dev-Q4_0.gguf, flux1-dev-Q8_0.gguf"), "{error}");
    let one = select_from(&quantised[..2], "", "org/name", &model(&[])).unwrap();
    assert_eq!(one.opened, "flux1-dev-Q4_0.gguf");
    let none = select_from(&["README.md", "pytorch_model.bin"], "", "org/name", &model(&[])).unwrap_err().to_string();
    assert!(none.contains("has no model_index.json"), "{none}");
}

#[test]
fn a_misspelt_file_is_answered_with_the_ones_that_are_like_it() {
    let error = select_from(&["flux1-dev-Q8_0.gguf", "README.md"], "", "org/name:flux1-dev-q8.gguf", &model(&[])).unwrap_err();
    assert!(error.to_string().contains("did you mean flux1-dev-Q8_0.gguf?"), "{error}");
}

#[test]
fn loras_are_found_by_name_or_where_there_is_one_file() {
    let lora = |files: &[&str], reference: &str| select_from(files, "", reference, &Use::Lora);
    let peft = lora(&["adapter_config.json", "adapter_model.safetensors", "other.safetensors"], "org/name").unwrap();
    assert_eq!((peft.opened.as_str(), peft.files.len()), ("adapter_model.safetensors", 2));
    assert_eq!(lora(&["README.md", "style.safetensors"], "org/name").unwrap().opened, "style.safetensors");
    assert!(lora(&["a.safetensors", "b.safetensors"], "org/name").is_err());
    assert_eq!(lora(&["a.safetensors", "b.safetensors"], "org/name:b.safetensors").unwrap().opened, "b.safetensors");
}

#[test]
fn indexes_that_are_none_are_refused_by_name() {
    let error = select_from(&PUBLISHED, "[]", "org/name", &model(&[])).unwrap_err().to_string();
    assert!(error.contains("model_index.json of org/name is not"), "{error}");
}
