//! Captions that are encoded whenever they are learnt.

use diffusion_core::network::Conditioning;
use diffusion_lora::train::{Batch, Batches};
use diffusion_models::PromptEncoder;

use super::training_set::{BatchError, TrainingSet};

/// Batches of a [`TrainingSet`], whose captions are encoded again with text encoders that are trained along. What T5 says of them
/// comes from the [`TrainingCache`](super::TrainingCache).
#[derive(Debug)]
pub struct LiveCaptions<'a> {
    set: &'a mut TrainingSet,
    encoders: &'a dyn PromptEncoder,
}

impl<'a> LiveCaptions<'a> {
    /// The batches of `set`, with captions as `encoders` encode them.
    pub fn new(set: &'a mut TrainingSet, encoders: &'a dyn PromptEncoder) -> Self {
        Self { set, encoders }
    }
}

impl Batches for LiveCaptions<'_> {
    type Error = BatchError;

    fn batch(&mut self, index: usize) -> Result<Batch, BatchError> {
        let batch = self.set.batch(index)?;
        let encoded = batch.captions.iter().zip(0..).map(|(caption, row)| {
            let Conditioning { tokens, pooled } = &batch.conditioning;
            let known = Conditioning { tokens: tokens.clone().narrow(0, row, 1), pooled: pooled.clone().narrow(0, row, 1) };
            self.encoders.encode_again(caption, &known)
        });
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
        Ok(Batch { conditioning: Conditioning::batch(&encoded.iter().collect::<Vec<_>>()), ..batch })
    }
}
