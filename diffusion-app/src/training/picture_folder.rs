//! A folder of pictures with captions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use diffusion_core::SettingError;
use diffusion_core::files::{Shown, read_text};

use super::bucket::Buckets;
use super::caption::{finished, read_caption};
use super::data_error::DataError;
use super::data_event::DataObserver;
use super::data_warning::DataWarning;
use super::folder_problems::{FolderProblem, FolderProblems};
use super::listing::{Found, Listing, RepeatedFolder};
use super::metadata_file::{METADATA, parse};
use super::picture::{Captioned, Picture, check_pictures};

/// Where the captions of a folder's pictures come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaptionSource {
    /// From the folder: `metadata.jsonl` if there is one, or else a text beside each picture (`a.txt` or `a.caption` for `a.png`).
    /// In a folder named like `10_sks dog`, `sks dog` is the caption of pictures without a text.
    #[default]
    Folder,
    /// This text for all pictures.
    Prompt(String),
}

/// A folder of pictures with captions.
///
/// Pictures lie in the folder itself, in folders below it whose names are like `10_sks dog`, which come ten times in an epoch,
/// and wherever `metadata.jsonl` names some. Every format that [`image_file`](crate::image_file) reads will do; pictures are turned
/// as their EXIF data say, and laid on white.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureFolder {
    /// The folder.
    pub path: PathBuf,
    /// Where captions come from.
    pub captions: CaptionSource,
    /// A word for what is to be learnt. It takes the place of `[trigger]` in captions, and comes first in those that have neither
    /// `[trigger]` nor the word.
    pub trigger: Option<String>,
}

/// The pictures of a folder, in the order of their names, with nothing wrong.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// The folder.
    pub folder: PathBuf,
    /// The pictures, at least one.
    pub pictures: Vec<Picture>,
    /// What is not wrong, but may not be meant.
    pub warnings: Vec<DataWarning>,
}

impl PictureFolder {
    /// A folder with captions of its own and no trigger word.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), captions: CaptionSource::Folder, trigger: None }
    }

    /// The pictures and captions of the folder. Every picture is read, and everything is checked.
    ///
    /// # Errors
    /// [`DataError::Problems`] with all that is wrong with the folder, [`DataError::Folder`] if it cannot be listed,
    /// [`DataError::Setting`] if the prompt for all pictures or the trigger word is empty, [`DataError::Cancelled`].
    pub fn read(&self, buckets: &Buckets, observer: DataObserver<'_>) -> Result<Pictures, DataError> {
        let trigger = self.trigger.as_deref();
        if trigger.is_some_and(|trigger| trigger.trim().is_empty()) {
            return Err(SettingError::new("trigger word", "at least one letter", "empty").into());
        }
        let mut reading = Reading { top: &self.path, trigger, problems: Vec::new(), warnings: Vec::new() };
        let captioned = match &self.captions {
            CaptionSource::Folder => reading.by_folder()?,
            CaptionSource::Prompt(prompt) => {
                let caption = finished(prompt, trigger).map_err(|flaw| {
                    let problem = flaw.of("all pictures").to_string();
                    SettingError::new("prompt for all pictures", "a caption", problem)
                })?;
                reading.with_prompt(&caption)?
            }
        };
        let Reading { mut problems, mut warnings, .. } = reading;
        let pictures = check_pictures(captioned, buckets, &mut problems, &mut warnings, observer)?;
        if problems.is_empty() {
            return Ok(Pictures { folder: self.path.clone(), pictures, warnings });
        }
        Err(FolderProblems { folder: self.path.clone(), problems }.into())
    }
}

/// A folder while it is read.
struct Reading<'a> {
    top: &'a Path,
    trigger: Option<&'a str>,
    problems: Vec<FolderProblem>,
    warnings: Vec<DataWarning>,
}

/// A listed folder, and what its name says.
struct Listed {
    listing: Listing,
    repeated: Option<RepeatedFolder>,
}

impl Reading<'_> {
    /// The pictures, each with a caption of its own.
    fn by_folder(&mut self) -> Result<Vec<Captioned>, DataError> {
        let top = self.list("")?;
        if let Some(metadata) = top.listing.metadata.clone() {
            return self.by_metadata(top, &metadata);
        }
        let mut captioned = Vec::new();
        for listed in self.with_repeated(top)? {
            self.by_texts(&listed, &mut captioned);
        }
        self.refuse_empty(&captioned);
        Ok(captioned)
    }

    /// All pictures with one caption.
    fn with_prompt(&mut self, caption: &str) -> Result<Vec<Captioned>, DataError> {
        let top = self.list("")?;
        let mut captioned = Vec::new();
        let mut unused = usize::from(top.listing.metadata.is_some());
        for Listed { listing, repeated } in self.with_repeated(top)? {
            let stems: BTreeSet<&str> = listing.pictures.iter().map(Found::stem).collect();
            unused += listing.captions.iter().filter(|caption| stems.contains(caption.stem())).count();
            let repeats = repeated.map_or(1, |repeated| repeated.repeats);
            let with_caption = |found| Captioned { found, caption: caption.to_owned(), repeats };
            captioned.extend(listing.pictures.into_iter().map(with_caption));
        }
        if unused > 0 {
            self.warnings.push(DataWarning::UnusedCaptions { folder: self.top.to_owned(), count: unused });
        }
        self.refuse_empty(&captioned);
        Ok(captioned)
    }

    /// The pictures that `metadata.jsonl` names. Others in the folders where those lie have no caption.
    fn by_metadata(&mut self, top: Listed, metadata: &Found) -> Result<Vec<Captioned>, DataError> {
        let text = match read_text(&metadata.path) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(FolderProblem::Metadata { line: 1, problem: format!("it cannot be read ({error})") });
                return Ok(Vec::new());
            }
        };
        let mut lines = parse(&text, &mut self.problems);
        let folder_of = |name: &str| name.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let mut folders: BTreeSet<String> = lines.keys().map(|name| folder_of(name)).collect();
        folders.remove("");
        let mut listed = self.with_repeated(top)?;
        folders.retain(|folder| self.top.join(folder).is_dir());
        self.warnings.retain(|warning| !matches!(warning, DataWarning::PassedOver { folder } if folders.contains(folder)));
        // Those with repeats are listed.
        for folder in folders.into_iter().filter(|folder| folder.contains('/') || RepeatedFolder::of(folder).is_none()) {
            listed.push(self.list(&folder)?);
        }
        let mut captioned = Vec::new();
        for Listed { listing, repeated } in listed {
            let repeats = repeated.map_or(1, |repeated| repeated.repeats);
            let texts: BTreeMap<&str, &Found> = listing.captions.iter().map(|text| (text.stem(), text)).collect();
            for found in listing.pictures.iter().cloned() {
                let Some(line) = lines.remove(&found.name) else {
                    let expected = format!("line for it in {METADATA}");
                    self.problems.push(FolderProblem::NoCaption { picture: found.name, expected });
                    continue;
                };
                if let Some(text) = texts.get(found.stem()) {
                    let first = format!("line {} of {METADATA}", line.number);
                    self.problems.push(FolderProblem::TwoCaptions { picture: found.name, first, second: text.name.clone() });
                    continue;
                }
                match finished(&line.caption, self.trigger) {
                    Ok(caption) => captioned.push(Captioned { found, caption, repeats }),
                    Err(flaw) => self.problems.push(flaw.of(&found.name)),
                }
            }
        }
        for (name, line) in lines {
            let problem = format!("there is no picture {}", Shown(&name));
            self.problems.push(FolderProblem::Metadata { line: line.number, problem });
        }
        self.refuse_empty(&captioned);
        Ok(captioned)
    }

    /// The pictures of a folder that have texts beside them, or a folder whose name is their caption.
    fn by_texts(&mut self, listed: &Listed, captioned: &mut Vec<Captioned>) {
        let Listed { listing, repeated } = listed;
        let repeats = repeated.as_ref().map_or(1, |repeated| repeated.repeats);
        let mut texts = BTreeMap::<&str, Vec<&Found>>::new();
        for text in &listing.captions {
            texts.entry(text.stem()).or_default().push(text);
        }
        let mut pictures = BTreeMap::<&str, Vec<&Found>>::new();
        for picture in &listing.pictures {
            pictures.entry(picture.stem()).or_default().push(picture);
        }
        for (stem, found) in &pictures {
            for (first, second) in found.iter().zip(&found[1..]) {
                self.problems.push(FolderProblem::SameStem { first: first.name.clone(), second: second.name.clone() });
            }
            let [found] = &**found else { continue };
            let caption = match (texts.get(stem).map(|texts| &**texts), repeated) {
                (Some([first, second, ..]), _) => {
                    let (first, second) = (first.name.clone(), second.name.clone());
                    self.problems.push(FolderProblem::TwoCaptions { picture: found.name.clone(), first, second });
                    continue;
                }
                (Some([text]), _) => read_caption(&text.path, self.trigger),
                (_, Some(repeated)) => finished(&repeated.caption, self.trigger),
                _ => {
                    let expected = format!("{stem}.txt");
                    self.problems.push(FolderProblem::NoCaption { picture: found.name.clone(), expected });
                    continue;
                }
            };
            match caption {
                Ok(caption) => captioned.push(Captioned { found: (*found).clone(), caption, repeats }),
                Err(flaw) => self.problems.push(flaw.of(&found.name)),
            }
        }
        for text in listing.captions.iter().filter(|text| !pictures.contains_key(text.stem())) {
            self.problems.push(FolderProblem::NoPicture { caption: text.name.clone(), stem: text.stem().to_owned() });
        }
    }

    /// The folder at the top, and those in it whose names say how often their pictures come. The others are passed over.
    fn with_repeated(&mut self, top: Listed) -> Result<Vec<Listed>, DataError> {
        let folders = top.listing.folders.clone();
        let mut listed = vec![top];
        for folder in folders {
            if RepeatedFolder::of(&folder).is_none() {
                self.warnings.push(DataWarning::PassedOver { folder });
                continue;
            }
            let below = self.list(&folder)?;
            if let Some(metadata) = &below.listing.metadata {
                self.problems.push(FolderProblem::LowMetadata { name: metadata.name.clone() });
            }
            listed.push(below);
        }
        Ok(listed)
    }

    fn list(&self, name: &str) -> Result<Listed, DataError> {
        let listing = Listing::of(self.top, name).map_err(|source| DataError::Folder { folder: self.top.join(name), source })?;
        Ok(Listed { listing, repeated: RepeatedFolder::of(name) })
    }

    fn refuse_empty(&mut self, captioned: &[Captioned]) {
        if captioned.is_empty() && self.problems.is_empty() {
            self.problems.push(FolderProblem::Empty);
        }
    }
}
