//! What a file says about the training that it comes from.

use std::collections::BTreeMap;

/// What a file is to say about the training that it comes from. Programs and sites that list LoRAs show it; none needs it.
///
/// Nothing is written that is not given: no time and no path, unless they are given.
///
/// Reference: Stability-AI/ModelSpec 1.0.1; kohya-ss/sd-scripts `library/sai_model_spec.py` and `train_network.py` at 48d368f.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingNotes {
    /// The model, in the words of `modelspec.architecture`: `flux-1-dev`, `stable-diffusion-3-5-large`. Without it, nothing that
    /// follows is written, except [`settings`](Self::settings).
    pub architecture: Option<String>,
    /// Whose code the names of modules come from: `modelspec.implementation`.
    pub implementation: Option<String>,
    /// What the LoRA is called.
    pub title: Option<String>,
    /// The size of pictures: `1024x1024`.
    pub resolution: Option<String>,
    /// Who trained it.
    pub author: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// Under which terms it may be used.
    pub license: Option<String>,
    /// Words to find it by, with commas between.
    pub tags: Option<String>,
    /// Words that a prompt needs for it.
    pub trigger_phrase: Option<String>,
    /// When it was trained, in ISO 8601.
    pub date: Option<String>,
    /// kohya's entries without their `ss_`: `base_model_version`, `steps`, `learning_rate`. Those of rank and alpha,
    /// `network_dim` and `network_alpha`, are written in any case.
    pub settings: BTreeMap<String, String>,
}

impl TrainingNotes {
    /// Entries of a header. `model_hash` is that of the tensors, in hexadecimal digits; `[rank, alpha]` those of most modules.
    pub(super) fn entries(&self, model_hash: &str, [rank, alpha]: [String; 2]) -> BTreeMap<String, String> {
        let settings = self.settings.iter().map(|(name, value)| (format!("ss_{name}"), value.clone()));
        let network = [("ss_network_dim", rank), ("ss_network_alpha", alpha), ("sshs_model_hash", model_hash.to_owned())];
        let network = network.into_iter().map(|(name, value)| (name.to_owned(), value));
        network.chain(settings).chain(self.model_specification(model_hash)).collect()
    }

    fn model_specification(&self, model_hash: &str) -> Vec<(String, String)> {
        let Some(architecture) = &self.architecture else { return Vec::new() };
        let given = [
            ("implementation", &self.implementation),
            ("title", &self.title),
            ("resolution", &self.resolution),
            ("author", &self.author),
            ("description", &self.description),
            ("license", &self.license),
            ("tags", &self.tags),
            ("trigger_phrase", &self.trigger_phrase),
            ("date", &self.date),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        let always = [
            ("sai_model_spec", "1.0.1".to_owned()),
            ("architecture", format!("{architecture}/lora")),
            ("hash_sha256", format!("0x{model_hash}")),
        ];
        always.into_iter().chain(given).map(|(name, value)| (format!("modelspec.{name}"), value)).collect()
    }
}
