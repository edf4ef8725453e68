//! Which pictures are in which batch.

use std::collections::BTreeMap;

use diffusion_lora::train::TrainingRandom;

use super::bucket::Bucket;
use super::streams;

/// Pictures in batches, epoch after epoch: in an epoch every picture comes as often as it is repeated, in an order of its own.
///
/// A batch has pictures of one bucket. So the last one of a bucket may be smaller.
#[derive(Clone, Debug)]
pub(super) struct Epochs {
    seed: u64,
    batch_size: usize,
    /// Pictures of each bucket, repeated.
    buckets: Vec<Vec<usize>>,
    /// The batches of the epoch that was last asked for.
    last: Option<(usize, Vec<Vec<usize>>)>,
}

impl Epochs {
    /// Pictures are numbered as they come: the bucket of each, and how often it is repeated.
    pub(super) fn new(seed: u64, batch_size: usize, pictures: impl IntoIterator<Item = (Bucket, usize)>) -> Self {
        let mut buckets = BTreeMap::<Bucket, Vec<usize>>::new();
        for (picture, (bucket, repeats)) in pictures.into_iter().enumerate() {
            buckets.entry(bucket).or_default().extend(std::iter::repeat_n(picture, repeats));
        }
        Self { seed, batch_size, buckets: buckets.into_values().collect(), last: None }
    }

    /// Number of batches in an epoch.
    pub(super) fn len(&self) -> usize {
        self.buckets.iter().map(|pictures| pictures.len().div_ceil(self.batch_size)).sum()
    }

    /// The pictures of a batch.
    ///
    /// # Panics
    /// If there are no pictures.
    pub(super) fn batch(&mut self, index: usize) -> Vec<usize> {
        let (epoch, place) = (index / self.len(), index % self.len());
        match &self.last {
            Some((last, batches)) if *last == epoch => batches[place].clone(),
            _ => {
                let batches = self.batches(epoch);
                let batch = batches[place].clone();
                self.last = Some((epoch, batches));
                batch
            }
        }
    }

    fn batches(&self, epoch: usize) -> Vec<Vec<usize>> {
        let mut random = TrainingRandom::new(self.seed, streams::ORDER, epoch as u64);
        let mut batches = Vec::with_capacity(self.len());
        for pictures in &self.buckets {
            let mut pictures = pictures.clone();
            random.shuffle(&mut pictures);
            batches.extend(pictures.chunks(self.batch_size).map(<[usize]>::to_vec));
        }
        let mut order: Vec<usize> = (0..batches.len()).collect();
        random.shuffle(&mut order);
        order.into_iter().map(|batch| std::mem::take(&mut batches[batch])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Bucket = Bucket { width: 128, height: 64 };
    const TALL: Bucket = Bucket { width: 64, height: 128 };

    fn epochs(seed: u64, batch_size: usize) -> Epochs {
        let repeats = |picture| if picture == 3 { 4 } else { 1 };
        Epochs::new(seed, batch_size, (0..9).map(|picture| (if picture % 3 == 0 { WIDE } else { TALL }, repeats(picture))))
    }

    #[test]
    fn an_epoch_has_every_picture_as_often_as_it_is_repeated() {
        for batch_size in [1, 2, 4, 100] {
            let mut epochs = epochs(1, batch_size);
            assert_eq!(epochs.len(), 6_usize.div_ceil(batch_size) * 2);
            for epoch in 0..3 {
                let batches: Vec<_> = (0..epochs.len()).map(|place| epochs.batch(epoch * epochs.len() + place)).collect();
                let small = batches.iter().filter(|batch| batch.len() < batch_size).count();
                assert!(small <= 2 && batches.iter().all(|batch| (1..=batch_size).contains(&batch.len())));
                assert!(batches.iter().all(|batch| batch.iter().all(|picture| (picture % 3 == 0) == (batch[0] % 3 == 0))));
                let mut pictures = batches.concat();
                pictures.sort_unstable();
                assert_eq!(pictures, [0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 7, 8]);
            }
        }
    }

    #[test]
    fn batches_depend_on_seed_and_number_alone() {
        let forwards = |seed| {
            let mut epochs = epochs(seed, 2);
            (0..60).map(|index| epochs.batch(index)).collect::<Vec<_>>()
        };
        let expected = forwards(1);
        let mut asked_backwards = epochs(1, 2);
        for index in (0..60).rev() {
            assert_eq!(asked_backwards.batch(index), expected[index]);
        }
        assert_ne!(forwards(2), expected);
        // Epochs have orders of their own.
        assert_ne!(expected[..6], expected[6..12]);
    }
}
