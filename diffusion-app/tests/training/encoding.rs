//! Encoding once, on disk.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burn::tensor::Device;
use diffusion_app::training::{DataError, DataEvent, DataWarning, TrainingSet};
use diffusion_core::image::RgbImage;
use diffusion_models::{Pipeline, PipelineOptions, ignore};

use crate::common::{Folder, batch, bits, cache, encoded, go_on, levels, pipeline, read};

fn kept(folder: &Folder, prefix: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect();
    files.sort();
    files
}

fn all_bits(set: &mut TrainingSet) -> Vec<Vec<u64>> {
    (0..4).map(|index| bits(&batch(set, index))).collect()
}

#[test]
fn everything_is_encoded_once_and_nothing_stays_in_memory() {
    let (folder, kept_in) = (Folder::new(), Folder::new());
    folder.captioned("a", 64, 64).captioned("b", 200, 100);
    let mut settings = folder.settings();
    (settings.resolutions, settings.caption_dropout, settings.flips) = (vec![64, 96], 0.5, true);
    let pictures = read(&settings).unwrap();
    let mut expected = None;
    for run in 0..2 {
        let (mut pipeline, mut events) = (pipeline(), Vec::new());
        let mut observer = |event| {
            events.push(event);
            ControlFlow::Continue(())
        };
        let mut set = pictures.encode(&mut pipeline, &cache(&kept_in), levels(), &mut observer).unwrap();
        assert!(!pipeline.has_prompt_encoder());
        let loads = events.iter().filter(|event| matches!(event, DataEvent::Loading { .. })).count();
        assert_eq!(loads > 0, run == 0, "{events:?}");
        let told: Vec<_> = events.into_iter().filter(|event| !matches!(event, DataEvent::Loading { .. })).collect();
        let caption = |done| DataEvent::Caption { done, total: 3 };
        let picture = |done| DataEvent::Picture { done, total: 2 };
        assert_eq!(told, [caption(1), caption(2), caption(3), picture(1), picture(2)]);
        // The empty caption is one; a picture in one bucket and a picture in two, all of them on both sides.
        assert_eq!((kept(&kept_in, "prompt-").len(), kept(&kept_in, "latents-").len()), (3, 6));
        assert!(*expected.get_or_insert_with(|| all_bits(&mut set)) == all_bits(&mut set));
    }
    settings.caption_dropout = 0.0;
    let without_empty = Folder::new();
    encoded(&settings, &without_empty);
    assert_eq!(kept(&without_empty, "prompt-").len(), 2);
}

#[test]
fn encoding_goes_on_where_it_was_ended() {
    let (folder, whole, interrupted) = (Folder::new(), Folder::new(), Folder::new());
    folder.captioned("a", 64, 64).captioned("b", 96, 64).captioned("c", 64, 96);
    let settings = folder.settings();
    let expected = all_bits(&mut encoded(&settings, &whole));
    let pictures = read(&settings).unwrap();
    let (mut runs, mut encoded_before) = (0, Vec::new());
    let mut set = loop {
        // Every run ends at its second event of this kind.
        let mut left = 2;
        let mut observer = |event| {
            left -= usize::from(matches!(event, DataEvent::Caption { .. } | DataEvent::Picture { .. }));
            if left == 0 && runs < 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if runs == 3 {
            break pictures.encode(&mut pipeline(), &cache(&interrupted), levels(), &mut go_on).unwrap();
        }
        let error = pictures.encode(&mut pipeline(), &cache(&interrupted), levels(), &mut observer).unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        let times = |path: PathBuf| (fs::metadata(&path).unwrap().len(), path);
        let now: Vec<_> = kept(&interrupted, "").into_iter().map(times).collect();
        assert!(encoded_before.iter().all(|file| now.contains(file)));
        encoded_before = now;
        runs += 1;
    };
    assert_eq!(encoded_before.len(), 2, "captions come first");
    assert!(all_bits(&mut set) == expected);

    // Pictures that are encoded are not encoded again.
    let [first, second, third] = &*kept(&interrupted, "latents-") else { panic!() };
    let written = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let before = [written(first), written(third)];
    fs::remove_file(second).unwrap();
    let mut set = pictures.encode(&mut pipeline(), &cache(&interrupted), levels(), &mut go_on).unwrap();
    assert_eq!([written(first), written(third)], before);
    assert!(all_bits(&mut set) == expected);
}

#[test]
fn what_is_damaged_is_encoded_again_and_told_while_it_is_used() {
    let (folder, kept_in) = (Folder::new(), Folder::new());
    folder.captioned("a", 64, 64);
    let settings = folder.settings();
    let mut set = encoded(&settings, &kept_in);
    let expected = all_bits(&mut set);
    for prefix in ["latents-", "prompt-"] {
        let path = kept(&kept_in, prefix).remove(0);
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], &[&whole[..whole.len() - 1], &[!whole[whole.len() - 1]]].concat(), b""] {
            fs::write(&path, damaged).unwrap();
            let error = diffusion_lora::train::Batches::batch(&mut set, 0).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()) && error.contains("is no undamaged"), "{error}");
            assert!(all_bits(&mut encoded(&settings, &kept_in)) == expected);
            assert_eq!(fs::read(&path).unwrap().len(), whole.len());
        }
    }
    fs::remove_file(kept(&kept_in, "latents-").remove(0)).unwrap();
    let error = diffusion_lora::train::Batches::batch(&mut set, 0).unwrap_err();
    assert!(error.to_string().contains("cannot read the encoded picture"), "{error}");
}

#[test]
fn other_contents_makers_and_sizes_are_encoded_anew() {
    let (folder, kept_in) = (Folder::new(), Folder::new());
    folder.captioned("a", 80, 64);
    let mut settings = folder.settings();
    let count = || kept(&kept_in, "latents-").len();
    encoded(&settings, &kept_in);
    assert_eq!(count(), 1);
    settings.resolutions = vec![32];
    encoded(&settings, &kept_in);
    assert_eq!(count(), 2);
    folder.picture("a.png", 81, 64);
    encoded(&settings, &kept_in);
    assert_eq!(count(), 3);
    // Neither the name nor the time of a picture counts.
    fs::rename(folder.at("a.png"), folder.at("b.png")).unwrap();
    fs::rename(folder.at("a.txt"), folder.at("b.txt")).unwrap();
    fs::File::options().write(true).open(folder.at("b.png")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    encoded(&settings, &kept_in);
    assert_eq!(count(), 3);
    let other = diffusion_app::training::TrainingCache::open(kept_in.path(), "another build").unwrap();
    read(&settings).unwrap().encode(&mut pipeline(), &other, levels(), &mut go_on).unwrap();
    assert_eq!(count(), 4);
}

#[test]
fn a_picture_that_changes_between_looking_and_encoding_is_told() {
    let (folder, kept_in) = (Folder::new(), Folder::new());
    folder.captioned("a", 64, 64);
    let pictures = read(&folder.settings()).unwrap();
    folder.picture("a.png", 65, 64);
    let error = pictures.encode(&mut pipeline(), &cache(&kept_in), levels(), &mut go_on).unwrap_err();
    assert!(matches!(&error, DataError::Changed { path } if *path == folder.at("a.png")), "{error}");
}

/// An autoencoder whose last bias is not a number, as one in 16 bits that overflows.
#[test]
fn latents_that_are_not_finite_name_the_picture_and_are_not_kept() {
    let (folder, kept_in, model) = (Folder::new(), Folder::new(), Folder::new());
    folder.captioned("a", 64, 64);
    copy_folder(&diffusion_app::embedded_model().unwrap(), model.path());
    let file = model.at("vae/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let names: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let place = |end: usize| header + names["encoder.conv_out.bias"]["data_offsets"][end].as_u64().unwrap() as usize;
    // In every format of floating-point numbers.
    bytes[place(0)..place(1)].fill(0xff);
    fs::write(&file, bytes).unwrap();
    let mut pipeline = Pipeline::open(model.path(), &PipelineOptions::new(&Device::flex())).unwrap();
    let error = read(&folder.settings()).unwrap().encode(&mut pipeline, &cache(&kept_in), levels(), &mut go_on).unwrap_err();
    assert!(matches!(&error, DataError::NotFinite { path } if *path == folder.at("a.png")), "{error}");
    assert_eq!(kept(&kept_in, "latents-").len(), 0);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_cache_that_cannot_be_made_is_told() {
    let folder = Folder::new();
    folder.text("file", "");
    let error = diffusion_app::training::TrainingCache::open(&folder.path().join("file/cache"), "these tests").unwrap_err();
    assert!(matches!(error, DataError::Cache { .. }));
}

#[test]
fn captions_that_are_cut_are_told() {
    let (folder, kept_in) = (Folder::new(), Folder::new());
    let long = "a fox in the snow under the moon ".repeat(20);
    folder.captioned("a", 64, 64).captioned("b", 64, 64).text("b.txt", &long);
    let set = encoded(&folder.settings(), &kept_in);
    let cut = set.summary().warnings.iter();
    let names: Vec<_> =
        cut.map(|warning| if let DataWarning::CaptionCut { picture, .. } = warning { picture } else { panic!() }).collect();
    assert!(!names.is_empty() && names.iter().all(|name| *name == "b.png"), "{names:?}");
    let told = set.summary().warnings[0].to_string();
    assert!(
        told.starts_with("the caption of b.png: the prompt is longer than") && told.contains("it does not see the end"),
        "{told}"
    );
}

/// The mean of what is drawn is what the pipeline starts from when it is given the picture.
#[test]
fn latents_are_those_of_the_pipeline_and_drawn_anew_in_every_batch() {
    let (folder, kept_in) = (Folder::new(), Folder::new());
    folder.captioned("a", 64, 64);
    let mut set = encoded(&folder.settings(), &kept_in);
    let pixels = image::open(folder.at("a.png")).unwrap().into_rgb8().into_raw();
    let image = RgbImage { width: 64, height: 64, pixels };
    let mean = pipeline().encode_image(&image, &mut ignore).unwrap();
    let samples: Vec<_> = (0..64).map(|index| batch(&mut set, index).latents - mean.clone()).collect();
    let deviation = samples[0].clone().powi_scalar(2).mean().sqrt().into_scalar::<f32>();
    assert!(deviation > 1e-4, "{deviation}");
    // Means of 64 samples stray by an eighth of a deviation.
    let average = samples.iter().cloned().reduce(|sum, sample| sum + sample).unwrap() / 64.0;
    let average = average.powi_scalar(2).mean().sqrt().into_scalar::<f32>();
    assert!((average / deviation - 0.125).abs() < 0.02, "{}", average / deviation);
}
