//! Batches: what is in them, and that they follow from their number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use burn::tensor::{Device, Tensor};
use diffusion_app::training::{ClassPictures, DataSettings, LiveCaptions, PictureFolder, TrainingSet};
use diffusion_core::weights::{ComponentPatches, PatchMode, PatchWeights, WeightPatches};
use diffusion_lora::train::{Batches, Method, Part, Targets, TrainedAdapter};
use diffusion_models::components::CLIP_L;
use diffusion_models::{Conditioning, Settings, ignore};

use crate::common::{Folder, batch, bits, encoded, pipeline};

/// A set of six pictures in three buckets, some of them repeated, with all that is drawn.
fn everything(folder: &Folder, class: &Folder) -> DataSettings {
    for (stem, width, height) in
        [("a", 64, 64), ("b", 64, 64), ("c", 128, 64), ("3_x/d", 64, 64), ("2_y/e", 128, 64), ("f", 40, 40)]
    {
        folder.captioned(stem, width, height);
    }
    class.captioned("p", 96, 64).captioned("q", 128, 128);
    let class_pictures = Some(ClassPictures { folder: PictureFolder::new(class.path()), weight: 0.25 });
    DataSettings { class_pictures, flips: true, caption_dropout: 0.3, batch_size: 2, seed: 9, ..folder.settings() }
}

#[test]
fn a_batch_follows_from_its_number_in_whatever_order_and_process() {
    let (folder, class, kept) = (Folder::new(), Folder::new(), Folder::new());
    let settings = everything(&folder, &class);
    let mut set = encoded(&settings, &kept);
    let expected: Vec<_> = (0..20).map(|index| bits(&batch(&mut set, index))).collect();
    for index in (0..20).rev().chain([7, 7, 19, 0]) {
        assert!(bits(&batch(&mut set, index)) == expected[index], "{index}");
    }
    let mut opened_again = encoded(&settings, &kept);
    assert!(bits(&batch(&mut opened_again, 13)) == expected[13]);
    let mut other = encoded(&DataSettings { seed: 10, ..settings }, &kept);
    assert!((0..20).all(|index| bits(&batch(&mut other, index)) != expected[index]));
    assert!((1..20).all(|index| expected[index] != expected[0]));
}

#[test]
fn a_batch_has_pictures_of_one_bucket_and_class_pictures_after_them() {
    let (folder, class, kept) = (Folder::new(), Folder::new(), Folder::new());
    let mut set = encoded(&everything(&folder, &class), &kept);
    let summary = set.summary().clone();
    let buckets: Vec<_> = summary.buckets.iter().map(|(bucket, count)| (bucket.width, bucket.height, *count)).collect();
    assert_eq!(buckets, [(32, 32, 1), (64, 64, 3), (96, 32, 2)]);
    // a, b and d three times; c and e twice; f.
    assert_eq!((summary.epoch_pictures, summary.epoch_batches), (9, 3 + 2 + 1));
    let mut counts = BTreeMap::<String, usize>::new();
    for index in 0..summary.epoch_batches {
        let batch = batch(&mut set, index);
        let [pictures, channels, height, width] = batch.latents.dims();
        let half = pictures / 2;
        assert_eq!((channels, batch.noise.dims()), (16, batch.latents.dims()));
        assert!((1..=2).contains(&half) && pictures == 2 * half);
        assert_eq!([batch.names.len(), batch.weights.len(), batch.sigmas.len(), batch.conditioning.batch_size()], [pictures; 4]);
        let each = 1.0 / half as f64;
        assert_eq!(batch.weights, [vec![each; half], vec![0.25 * each; half]].concat());
        // The level tells the number of tokens here.
        let tokens = (height / 2 * (width / 2)) as f64;
        assert!(batch.sigmas.iter().all(|level| (0.0..1.0).contains(&(level - 1000.0 * tokens))));
        let (own, of_class) = batch.names.split_at(half);
        assert!(own.iter().all(|name| name.starts_with(folder.path().to_str().unwrap())));
        assert!(of_class.iter().all(|name| name.starts_with(class.path().to_str().unwrap())));
        for name in own {
            *counts.entry(name[folder.path().to_str().unwrap().len() + 1..].to_owned()).or_default() += 1;
        }
    }
    let expected = [("2_y/e.png", 2), ("3_x/d.png", 3), ("a.png", 1), ("b.png", 1), ("c.png", 1), ("f.png", 1)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

/// Dropped captions and those of class pictures are encoded again, too; what is not patched stays as it is in the cache.
#[test]
fn captions_are_encoded_again_with_the_text_encoders_of_now() {
    let (folder, class, kept) = (Folder::new(), Folder::new(), Folder::new());
    let mut set = encoded(&everything(&folder, &class), &kept);
    let encoders = pipeline().load_clip_encoders(&mut ignore).unwrap();
    let mut captions = BTreeSet::new();
    for index in 0..10 {
        let live = LiveCaptions::new(&mut set, &*encoders).batch(index).unwrap();
        captions.extend(live.captions.iter().cloned());
        assert!(bits(&live) == bits(&batch(&mut set, index)), "{index}");
    }
    for caption in ["", "a picture of a", "a picture of p"] {
        assert!(captions.contains(caption), "{captions:?}");
    }

    let target = pipeline().patch_targets().into_iter().find(|target| target.component == CLIP_L).unwrap();
    let layer = Targets::Attention.layers_of(&target).remove(0);
    let [rows, columns] = layer.shape;
    let ones = |shape: [usize; 2]| Tensor::<2>::ones(shape, &Device::flex());
    let parts = vec![(Part::Down, ones([1, columns])), (Part::Up, ones([rows, 1]))];
    let adapter = TrainedAdapter::from_parts(CLIP_L, layer, Method::Lora, 1, 1.0, parts);
    let patches = WeightPatches::from_iter([(adapter.layer.parameter.clone(), adapter.patch(None))]);
    let patched = encoders.patched(&ComponentPatches::from([(CLIP_L, patches)]), PatchMode::Attach).unwrap();
    let (live, known) = (LiveCaptions::new(&mut set, &*patched).batch(0).unwrap(), batch(&mut set, 0));
    assert_ne!(live.conditioning.pooled.to_data(), known.conditioning.pooled.to_data());
    // T5's tokens are the last.
    let last = |conditioning: Conditioning| {
        let len = conditioning.tokens.dims()[1];
        conditioning.tokens.narrow(1, len - 1, 1).into_data()
    };
    assert_eq!(last(live.conditioning), last(known.conditioning));
}

/// How often a batch's first caption is each of these texts.
fn captions(set: &mut TrainingSet, texts: &[&str], batches: usize) -> Vec<usize> {
    let mut pipeline = pipeline();
    let settings = Settings { guidance_scale: 1.0, ..pipeline.default_settings() };
    let encoded: Vec<_> = texts
        .iter()
        .map(|text| pipeline.encode_prompt(text, "", &settings, &mut ignore).unwrap().positive.tokens.to_data())
        .collect();
    let mut counts = vec![0; texts.len()];
    for index in 0..batches {
        let tokens = batch(set, index).conditioning.tokens.to_data();
        counts[encoded.iter().position(|text| *text == tokens).unwrap()] += 1;
    }
    counts
}

#[test]
fn captions_are_dropped_as_often_as_asked() {
    let (folder, kept) = (Folder::new(), Folder::new());
    folder.captioned("a", 64, 64);
    let with = |caption_dropout| DataSettings { caption_dropout, ..folder.settings() };
    for (dropout, expected) in [(0.0, 0..=0), (0.3, 42..=78), (1.0, 200..=200)] {
        let counts = captions(&mut encoded(&with(dropout), &kept), &["", "a picture of a"], 200);
        // Three standard deviations are 19.
        assert!(expected.contains(&counts[0]), "{dropout}: {counts:?}");
    }
}

#[test]
fn half_of_the_pictures_are_mirrored_if_asked() {
    let (folder, mirrored, kept) = (Folder::new(), Folder::new(), Folder::new());
    folder.captioned("a", 64, 64);
    let picture = image::open(folder.at("a.png")).unwrap();
    picture.fliph().save(mirrored.at("a.png")).unwrap();
    fs::copy(folder.at("a.txt"), mirrored.at("a.txt")).unwrap();
    let mut plain = encoded(&folder.settings(), &kept);
    let mut turned = encoded(&mirrored.settings(), &kept);
    let mut flipped = encoded(&DataSettings { flips: true, ..folder.settings() }, &kept);
    let mut counts = [0; 2];
    for index in 0..100 {
        let found = batch(&mut flipped, index).latents.to_data();
        let expected = [&mut plain, &mut turned].map(|set| batch(set, index).latents.to_data());
        assert!(expected[0] != expected[1]);
        counts[expected.iter().position(|latents| *latents == found).unwrap()] += 1;
    }
    // Three standard deviations are 15.
    assert!(counts.iter().all(|count| (35..=65).contains(count)), "{counts:?}");
}

#[test]
fn noise_is_normal_and_nobody_elses() {
    let (folder, kept) = (Folder::new(), Folder::new());
    folder.captioned("a", 64, 64).captioned("b", 64, 64);
    let mut set = encoded(&DataSettings { batch_size: 2, ..folder.settings() }, &kept);
    let noise: Vec<f32> =
        (0..16).flat_map(|index| batch(&mut set, index).noise.into_data().try_into_vec::<f32>().unwrap()).collect();
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / noise.len() as f64;
    let numbers = || noise.iter().map(|&number| f64::from(number));
    // Five standard deviations of 32768 numbers.
    assert!(mean(&mut numbers()).abs() < 0.028);
    assert!((mean(&mut numbers().map(|number| number * number)) - 1.0).abs() < 0.04);
    // Pictures of a batch, and batches, have noise of their own.
    let parts: Vec<&[f32]> = noise.chunks(1024).collect();
    assert!((1..parts.len()).all(|index| parts[..index].iter().all(|part| part[0] != parts[index][0])));
}
