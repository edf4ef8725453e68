//! Pictures with captions, as the training of adapters learns from them.
//!
//! 1. [`DataSettings::read`] looks at every picture and caption of a [`PictureFolder`], and tells all that is wrong at once.
//! 2. [`TrainingPictures::encode`] encodes them, once: into a [`TrainingCache`] on disk. Text encoders and autoencoder are in no
//!    memory afterwards.
//! 3. [`TrainingSet`] gives batches, each of which follows from the seed and its number. Where text encoders are trained along,
//!    [`LiveCaptions`] has captions encoded again by them.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use burn::tensor::Device;
//! use diffusion_app::training::{CaptionSource, DataSettings, NoiseLevels, PictureFolder, TrainingCache};
//! use diffusion_lora::train::Batches;
//! use diffusion_models::{Pipeline, PipelineOptions};
//!
//! # #[cfg(all(feature = "embedded-model", feature = "flex"))]
//! # {
//! let folder = tempfile::tempdir()?;
//! # let pictures = folder.path().join("pictures");
//! # std::fs::create_dir(&pictures)?;
//! # image::RgbImage::from_pixel(90, 64, image::Rgb([9, 99, 200])).save(pictures.join("a.png"))?;
//! let mut pipeline = Pipeline::open(&diffusion_app::embedded_model()?, &PipelineOptions::new(&Device::default()))?;
//!
//! let captions = CaptionSource::Prompt("a small blue square".to_owned());
//! let pictures = PictureFolder { captions, ..PictureFolder::new(pictures) };
//! let settings = DataSettings { resolutions: vec![64], caption_dropout: 0.1, ..DataSettings::new(pictures, pipeline.info()) };
//! let mut observer = |_| ControlFlow::Continue(());
//! let pictures = settings.read(pipeline.info(), &mut observer)?;
//! println!("{}", pictures.summary()); // 1 picture (64 x 64: 1), captions of 4 words, 1 batch an epoch
//!
//! let cache = TrainingCache::open(&folder.path().join("cache"), "this build, on this processor")?;
//! let levels = NoiseLevels::new(|random, _tokens| random.uniform());
//! let mut set = pictures.encode(&mut pipeline, &cache, levels, &mut observer)?;
//! assert_eq!(set.batch(1000)?.latents.dims(), [1, 16, 8, 8]);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bucket;
mod caption;
mod data_error;
mod data_event;
mod data_settings;
mod data_warning;
mod encode;
mod epochs;
mod fingerprint;
mod fit;
mod folder_problems;
mod gradient_check;
mod latents_entry;
mod listing;
mod live_captions;
mod memory_plan;
mod metadata_file;
mod noise_levels;
mod picture;
mod picture_folder;
mod streams;
mod summary;
mod training_cache;
mod training_pictures;
mod training_set;

pub use bucket::{Bucket, Buckets};
pub use caption::MAX_CAPTION;
pub use data_error::DataError;
pub use data_event::{DataEvent, DataObserver};
pub use data_settings::{ClassPictures, DataSettings};
pub use data_warning::DataWarning;
pub use fingerprint::{Change, Contents, Fingerprint};
pub use folder_problems::{FolderProblem, FolderProblems};
pub use gradient_check::{WrongGradients, check_gradients};
pub use latents_entry::ReadLatentsError;
pub use live_captions::LiveCaptions;
pub use memory_plan::{MemoryFactors, MemoryPlan, StageMemory};
pub use noise_levels::NoiseLevels;
pub use picture::Picture;
pub use picture_folder::{CaptionSource, PictureFolder, Pictures};
pub use summary::{DataSummary, WordCounts};
pub use training_cache::TrainingCache;
pub use training_pictures::TrainingPictures;
pub use training_set::{BatchError, TrainingSet};
