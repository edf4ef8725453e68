//! What tells one set of pictures, captions and settings from another.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::data_settings::DataSettings;
use super::picture::Picture;
use super::picture_folder::Pictures;
use crate::digest::Digest;

/// What a run learns from, for a later one that goes on with it: contents and settings, and neither paths nor times of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The pictures.
    pub pictures: Contents,
    /// Their captions.
    pub captions: Contents,
    /// Class pictures, if there are any.
    pub class_pictures: Option<Contents>,
    /// Their captions.
    pub class_captions: Option<Contents>,
    /// Names and values of settings.
    pub settings: Vec<(String, String)>,
}

/// A number of things, and what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// How many there are.
    pub count: usize,
    /// SHA-256 of names and contents, in hexadecimal digits.
    pub sha256: String,
}

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub what: String,
    /// How it was.
    pub before: String,
    /// How it is.
    pub now: String,
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, before, now } = self;
        if before == now {
            return write!(f, "{what}: other contents in {now}");
        }
        write!(f, "{what}: {before} before, {now} now")
    }
}

impl Fingerprint {
    pub(super) fn new(settings: &DataSettings, pictures: &Pictures, class_pictures: Option<&Pictures>) -> Self {
        Self {
            pictures: Contents::of_pictures(pictures),
            captions: Contents::of_captions(pictures),
            class_pictures: class_pictures.map(Contents::of_pictures),
            class_captions: class_pictures.map(Contents::of_captions),
            settings: named(settings),
        }
    }

    /// SHA-256 of the whole, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        let contents = [Some(&self.pictures), Some(&self.captions), self.class_pictures.as_ref(), self.class_captions.as_ref()];
        let contents = contents.into_iter().fold(Digest::default(), |digest, contents| match contents {
            Some(Contents { count, sha256 }) => digest.with_number(*count).with(sha256),
            None => digest.with_number(0),
        });
        self.settings.iter().fold(contents, |digest, (name, value)| digest.with(name).with(value)).hex()
    }

    /// What is not as it was; nothing if a run can go on.
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut compare = |what: &str, before: Option<&Contents>, now: Option<&Contents>| {
            if before != now {
                let count = |contents: Option<&Contents>| contents.map_or_else(|| "none".to_owned(), |one| one.count.to_string());
                changes.push(Change { what: what.to_owned(), before: count(before), now: count(now) });
            }
        };
        compare("pictures", Some(&before.pictures), Some(&self.pictures));
        compare("captions", Some(&before.captions), Some(&self.captions));
        compare("class pictures", before.class_pictures.as_ref(), self.class_pictures.as_ref());
        compare("captions of class pictures", before.class_captions.as_ref(), self.class_captions.as_ref());
        // A setting that only one of them has counts, too.
        let value_in = |settings: &[(String, String)], name: &str| {
            settings.iter().find(|(other, _)| other == name).map_or_else(|| "none".to_owned(), |(_, value)| value.clone())
        };
        let only_before = before.settings.iter().filter(|(name, _)| self.settings.iter().all(|(other, _)| other != name));
        for (name, _) in self.settings.iter().chain(only_before) {
            let (before, now) = (value_in(&before.settings, name), value_in(&self.settings, name));
            if before != now {
                changes.push(Change { what: name.clone(), before, now });
            }
        }
        changes
    }
}

impl Contents {
    fn of_pictures(pictures: &Pictures) -> Self {
        Self::of(pictures, |digest, picture| digest.with(&picture.sha256).with_number(picture.repeats))
    }

    fn of_captions(pictures: &Pictures) -> Self {
        Self::of(pictures, |digest, picture| digest.with(&picture.caption))
    }

    fn of(pictures: &Pictures, add: impl Fn(Digest, &Picture) -> Digest) -> Self {
        let all = pictures.pictures.iter();
        let sha256 = all.fold(Digest::default(), |digest, picture| add(digest.with(&picture.name), picture)).hex();
        Self { count: pictures.pictures.len(), sha256 }
    }
}

/// The settings that batches depend on, except for the folders, whose contents count.
fn named(settings: &DataSettings) -> Vec<(String, String)> {
    let DataSettings {
        pictures: _,
        class_pictures,
        resolutions,
        bucket_step,
        flips,
        caption_dropout,
        batch_size,
        seed,
        max_sequence_length,
        tiling,
    } = settings;
    let mut resolutions = resolutions.clone();
    resolutions.sort_unstable();
    resolutions.dedup();
    let resolutions: Vec<String> = resolutions.iter().map(ToString::to_string).collect();
    let weight = class_pictures.as_ref().map_or_else(|| "none".to_owned(), |class| class.weight.to_string());
    [
        ("resolutions", resolutions.join(", ")),
        ("step of the buckets", bucket_step.to_string()),
        ("flips", if *flips { "yes" } else { "no" }.to_owned()),
        ("caption dropout", caption_dropout.to_string()),
        ("batch size", batch_size.to_string()),
        ("weight of class pictures", weight),
        ("seed of the pictures", seed.to_string()),
        ("maximum sequence length", max_sequence_length.to_string()),
        ("tiling", format!("{tiling:?}").to_lowercase()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
