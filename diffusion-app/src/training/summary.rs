//! What there is to learn from, in numbers.

use std::fmt::{self, Display};

use super::bucket::Bucket;
use super::data_warning::DataWarning;

/// What there is to learn from, in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSummary {
    /// Number of pictures.
    pub pictures: usize,
    /// Number of class pictures.
    pub class_pictures: usize,
    /// Buckets that are in use, from the narrowest, and how many pictures are learnt in each.
    pub buckets: Vec<(Bucket, usize)>,
    /// Number of pictures in an epoch: at all resolutions, and repeated.
    pub epoch_pictures: usize,
    /// Number of batches in an epoch.
    pub epoch_batches: usize,
    /// Words of captions.
    pub words: WordCounts,
    /// What may not be meant.
    pub warnings: Vec<DataWarning>,
}

/// Lengths of captions in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordCounts {
    /// Of the shortest.
    pub least: usize,
    /// Half of the captions have at most as many.
    pub median: usize,
    /// Of the longest.
    pub most: usize,
}

impl WordCounts {
    /// Of captions, at least one.
    pub(super) fn of<'a>(captions: impl Iterator<Item = &'a str>) -> Self {
        let mut words: Vec<usize> = captions.map(|caption| caption.split_whitespace().count()).collect();
        words.sort_unstable();
        let at = |place: usize| words.get(place).copied().unwrap_or(0);
        Self { least: at(0), median: at(words.len().saturating_sub(1) / 2), most: at(words.len().saturating_sub(1)) }
    }
}

impl DataSummary {
    /// How many epochs so many batches are.
    pub fn epochs(&self, batches: usize) -> f64 {
        batches as f64 / self.epoch_batches as f64
    }

    /// The bucket with most pixels, which takes the most memory.
    pub fn largest_bucket(&self) -> Option<Bucket> {
        self.buckets.iter().map(|(bucket, _)| *bucket).max_by_key(|bucket| bucket.width * bucket.height)
    }
}

impl Display for DataSummary {
    /// A line without the warnings: `40 pictures (128 x 128: 40), captions of 5 to 17 words, 40 batches an epoch`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        write!(f, "{}", counted(self.pictures, "picture", "pictures"))?;
        for (index, (bucket, count)) in self.buckets.iter().enumerate() {
            write!(f, "{}{bucket}: {count}", if index == 0 { " (" } else { ", " })?;
        }
        write!(f, "), ")?;
        if self.class_pictures > 0 {
            write!(f, "{}, ", counted(self.class_pictures, "class picture", "class pictures"))?;
        }
        match self.words {
            WordCounts { least, most, .. } if least == most => write!(f, "captions of {}", counted(most, "word", "words"))?,
            WordCounts { least, most, .. } => write!(f, "captions of {least} to {most} words")?,
        }
        write!(f, ", {} an epoch", counted(self.epoch_batches, "batch", "batches"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_a_line() {
        let words = WordCounts::of(["a b c", "a", "a b", "a b c d e f"].into_iter());
        assert_eq!(words, WordCounts { least: 1, median: 2, most: 6 });
        let [small, large] = [128, 256].map(|side| Bucket { width: side, height: 128 });
        let summary = DataSummary {
            pictures: 4,
            class_pictures: 1,
            buckets: vec![(small, 4), (large, 2)],
            epoch_pictures: 6,
            epoch_batches: 3,
            words,
            warnings: Vec::new(),
        };
        let expected = "4 pictures (128 x 128: 4, 256 x 128: 2), 1 class picture, captions of 1 to 6 words, 3 batches an epoch";
        assert_eq!(summary.to_string(), expected);
        assert_eq!((summary.epochs(12), summary.largest_bucket()), (4.0, Some(large)));
    }
}
