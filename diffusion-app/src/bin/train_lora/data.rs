//! The pictures, from the command line.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use diffusion_app::cli::{Verbosity, say};
use diffusion_app::prompt_cache::{maker, training_folder};
use diffusion_app::training::{
    CaptionSource, ClassPictures, DataEvent, DataSettings, DataWarning, NoiseLevels, PictureFolder, TrainingCache,
    TrainingPictures, TrainingSet,
};
use diffusion_models::Pipeline;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};

use crate::arguments::{Arguments, DataOptions};
use crate::settings::RunSettings;

/// Read and check the pictures, if there are some.
pub(crate) fn read(
    arguments: &Arguments,
    settings: &RunSettings,
    pipeline: &Pipeline,
    verbosity: Verbosity,
) -> Result<Option<TrainingPictures>, Box<dyn Error>> {
    let options = &arguments.data;
    let Some(folder) = &options.data else { return Ok(None) };
    let info = pipeline.info();
    let captions = |prompt: &Option<String>| prompt.clone().map_or(CaptionSource::Folder, CaptionSource::Prompt);
    let pictures =
        PictureFolder { captions: captions(&options.prompt), trigger: options.trigger.clone(), ..PictureFolder::new(folder) };
    let class_pictures = options.class_data.as_ref().map(|folder| ClassPictures {
        folder: PictureFolder { captions: captions(&options.class_prompt), ..PictureFolder::new(folder) },
        weight: options.prior_weight,
    });
    let DataOptions { resolution, bucket_step, flip, .. } = options;
    let defaults = DataSettings::new(pictures, info);
    let of_run = DataSettings {
        class_pictures,
        resolutions: if resolution.is_empty() { defaults.resolutions.clone() } else { resolution.clone() },
        bucket_step: bucket_step.unwrap_or(defaults.bucket_step),
        flips: *flip,
        caption_dropout: settings.caption_dropout,
        batch_size: arguments.batch_size(),
        seed: arguments.steps.seed,
        ..defaults
    };
    let bar = Bar::new(verbosity);
    Ok(Some(of_run.read(info, &mut |event| bar.show(event))?))
}

/// Encode the pictures and captions that were not encoded before. Text encoders and autoencoder are gone afterwards.
pub(crate) fn encode(
    arguments: &Arguments,
    settings: &RunSettings,
    pictures: &TrainingPictures,
    pipeline: &mut Pipeline,
    verbosity: Verbosity,
) -> Result<TrainingSet, Box<dyn Error>> {
    let folder = match &arguments.data.cache_dir {
        Some(folder) => folder.clone(),
        None => training_folder().map_err(|error| format!("no folder for encoded pictures: {error}; give --cache-dir DIR"))?,
    };
    let maker = maker(arguments.model.device, pipeline.device())?;
    let cache = TrainingCache::open(&folder, maker)?;
    let levels = NoiseLevels::from(settings.levels);
    let bar = Bar::new(verbosity);
    let set = pictures.encode(pipeline, &cache, levels, &mut |event| bar.show(event))?;
    drop(bar);
    // What is known only now.
    let told = pictures.summary().warnings;
    set.summary().warnings.iter().filter(|warning| !told.contains(warning)).for_each(warn);
    Ok(set)
}

/// Tell what may not be meant.
pub(crate) fn warn(warning: &DataWarning) {
    say(format_args!("warning: {warning}"));
}

/// What is learnt from, for a later run that goes on with this one.
pub(crate) fn identify(
    arguments: &Arguments,
    pictures: Option<&TrainingPictures>,
    identity: &mut BTreeMap<String, String>,
) -> Result<(), Box<dyn Error>> {
    if let Some(path) = &arguments.data.batches {
        identity.insert("batches".to_owned(), hash_of_file(path)?);
    }
    let Some(pictures) = pictures else { return Ok(()) };
    let fingerprint = pictures.fingerprint();
    let contents = [
        ("pictures", Some(&fingerprint.pictures)),
        ("captions", Some(&fingerprint.captions)),
        ("class pictures", fingerprint.class_pictures.as_ref()),
        ("captions of class pictures", fingerprint.class_captions.as_ref()),
    ];
    for (name, contents) in contents {
        if let Some(contents) = contents {
            identity.insert(name.to_owned(), format!("{} ({})", contents.count, &contents.sha256[..12]));
        }
    }
    identity.extend(fingerprint.settings);
    Ok(())
}

/// What the model is: the names, shapes and first values of everything that it consists of, wherever it lies.
pub(crate) fn identify_model(pipeline: &Pipeline, identity: &mut BTreeMap<String, String>) -> Result<(), Box<dyn Error>> {
    /// Bytes of a tensor that are looked at: training changes all of them.
    const LOOKED_AT: usize = 4096;
    for file in pipeline.model().components() {
        let mut state = Sha256::new();
        file.checkpoint().check_unchanged()?;
        for (name, tensor) in file.checkpoint().tensors() {
            let bytes = tensor.bytes();
            state.update(format!("{name} {:?} {:?} {:?}", tensor.shape(), tensor.format(), tensor.scale()));
            state.update(&bytes[..bytes.len().min(LOOKED_AT)]);
        }
        identity.insert(format!("the model's {}", file.component().id.name()), digits(state));
    }
    Ok(())
}

/// A hash of a file, in hexadecimal digits.
pub(crate) fn hash_of_file(path: &Path) -> Result<String, Box<dyn Error>> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let (mut file, mut state, mut part) = (File::open(path).map_err(named)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part).map_err(named)? {
            0 => break,
            len => state.update(&part[..len]),
        }
    }
    Ok(digits(state))
}

/// Enough hexadecimal digits of a hash to tell it from others.
fn digits(state: Sha256) -> String {
    state.finalize()[..8].iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}

/// Progress of checking and encoding.
struct Bar(ProgressBar);

impl Bar {
    fn new(verbosity: Verbosity) -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}, {elapsed} gone, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        if verbosity == Verbosity::Quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self(bar)
    }

    fn show(&self, event: DataEvent) -> ControlFlow<()> {
        let (doing, done, total) = match event {
            DataEvent::Checked { done, total } => ("checking pictures".to_owned(), done, total),
            DataEvent::Loading { component, done, total } => (format!("loading {component}"), done, total),
            DataEvent::Caption { done, total } => ("encoding captions".to_owned(), done, total),
            DataEvent::Picture { done, total } => ("encoding pictures".to_owned(), done, total),
            _ => return ControlFlow::Continue(()),
        };
        if self.0.message() != doing {
            self.0.reset();
            self.0.set_message(doing);
        }
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
        ControlFlow::Continue(())
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
