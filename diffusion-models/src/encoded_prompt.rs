//! An encoded prompt.

use burn::tensor::Device;
use diffusion_core::network::Conditioning;

use crate::on_device::conditioning_on;
use crate::prompt_encoder::Truncation;

/// An encoded prompt, with the negative one where guidance needs it. Can be kept and used again, for any seeds.
#[derive(Clone, Debug)]
pub struct EncodedPrompt {
    /// What the image shall show.
    pub positive: Conditioning,
    /// What it shall not.
    pub negative: Option<Conditioning>,
    /// What encoders did not see of both prompts.
    pub truncated: Vec<Truncation>,
}

impl EncodedPrompt {
    /// A prompt that was encoded elsewhere.
    pub fn new(positive: Conditioning, negative: Option<Conditioning>) -> Self {
        Self { positive, negative, truncated: Vec::new() }
    }

    /// Prompts that were encoded under the same settings as one, for as many images that are drawn at once.
    ///
    /// # Panics
    /// If there are none, or their encodings differ in length.
    pub fn batch(prompts: &[&Self]) -> Self {
        let positive: Vec<&Conditioning> = prompts.iter().map(|prompt| &prompt.positive).collect();
        let negative: Option<Vec<&Conditioning>> = prompts.iter().map(|prompt| prompt.negative.as_ref()).collect();
        Self {
            positive: Conditioning::batch(&positive),
            negative: negative.map(|negative| Conditioning::batch(&negative)),
            truncated: prompts.iter().flat_map(|prompt| prompt.truncated.clone()).collect(),
        }
    }

    /// The same on a device.
    pub(crate) fn on_device(self, device: &Device) -> Self {
        let Self { positive, negative, truncated } = self;
        let negative = negative.map(|negative| conditioning_on(negative, device));
        Self { positive: conditioning_on(positive, device), negative, truncated }
    }

    /// The prompt for so many images; one prompt serves any number.
    pub(crate) fn for_images(&self, images: usize) -> Option<Self> {
        match self.positive.batch_size() {
            batch if batch == images => Some(self.clone()),
            1 => Some(Self {
                positive: self.positive.repeated(images),
                negative: self.negative.as_ref().map(|negative| negative.repeated(images)),
                truncated: self.truncated.clone(),
            }),
            _ => None,
        }
    }
}
