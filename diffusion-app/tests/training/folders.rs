//! What folders say.

use std::collections::BTreeMap;
use std::fs;

use diffusion_app::training::{CaptionSource, DataWarning, Pictures};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, Luma, Rgba};

use crate::common::{Folder, batch, encoded, pictures, read};

/// Name, caption and repeats of the pictures.
fn found(pictures: &Pictures) -> Vec<(&str, &str, usize)> {
    pictures.pictures.iter().map(|picture| (&*picture.name, &*picture.caption, picture.repeats)).collect()
}

#[test]
fn captions_lie_beside_pictures_and_pictures_are_in_the_order_of_their_names() {
    let folder = Folder::new();
    folder.captioned("b", 64, 64).captioned("a", 70, 80).picture("C.JPG", 64, 64).text("C.caption", "a fox\nin the snow\n");
    folder.text("notes.md", "not a caption").picture(".hidden.png", 64, 64);
    let pictures = pictures(&folder, |_| ()).unwrap();
    let expected = [("C.JPG", "a fox in the snow", 1), ("a.png", "a picture of a", 1), ("b.png", "a picture of b", 1)];
    assert_eq!(found(&pictures), expected);
    assert_eq!((pictures.pictures[1].width, pictures.pictures[1].height), (70, 80));
    assert_eq!(pictures.warnings, []);
}

#[test]
fn names_of_folders_say_how_often_pictures_come_and_what_they_show() {
    let folder = Folder::new();
    folder
        .picture("10_sks dog/a.png", 64, 64)
        .captioned("10_sks dog/b", 64, 64)
        .captioned("2_cats/a", 64, 64)
        .captioned("z", 64, 64);
    folder.captioned("samples/x", 64, 64);
    let pictures = pictures(&folder, |_| ()).unwrap();
    let expected = [
        ("10_sks dog/a.png", "sks dog", 10),
        ("10_sks dog/b.png", "a picture of 10_sks dog/b", 10),
        ("2_cats/a.png", "a picture of 2_cats/a", 2),
        ("z.png", "a picture of z", 1),
    ];
    assert_eq!(found(&pictures), expected);
    assert_eq!(pictures.warnings, [DataWarning::PassedOver { folder: "samples".to_owned() }]);
}

#[test]
fn metadata_names_pictures_wherever_they_lie() {
    let folder = Folder::new();
    folder.picture("train/deep/b.png", 64, 64).picture("5_x/c.png", 64, 64).picture("a.png", 64, 64);
    let lines = [("train/deep/b.png", "text"), ("a.png", "caption"), ("5_x/c.png", "text")];
    let lines = lines.map(|(name, key)| format!("{{\"file_name\": \"{name}\", \"{key}\": \"a fox in {name}\"}}\n"));
    folder.text("metadata.jsonl", &lines.concat());
    let pictures = pictures(&folder, |_| ()).unwrap();
    let expected = [
        ("5_x/c.png", "a fox in 5_x/c.png", 5),
        ("a.png", "a fox in a.png", 1),
        ("train/deep/b.png", "a fox in train/deep/b.png", 1),
    ];
    assert_eq!(found(&pictures), expected);
}

#[test]
fn one_prompt_may_serve_all_pictures() {
    let folder = Folder::new();
    folder.captioned("a", 64, 64).picture("b.png", 64, 64).picture("3_x/c.png", 64, 64);
    let prompt = |folder: &mut diffusion_app::training::PictureFolder| {
        folder.captions = CaptionSource::Prompt("a  photo of [trigger]".to_owned());
        folder.trigger = Some("sks dog".to_owned());
    };
    let pictures = pictures(&folder, prompt).unwrap();
    let caption = "a photo of sks dog";
    assert_eq!(found(&pictures), [("3_x/c.png", caption, 3), ("a.png", caption, 1), ("b.png", caption, 1)]);
    assert_eq!(pictures.warnings, [DataWarning::UnusedCaptions { folder: folder.path().to_owned(), count: 1 }]);
    assert!(pictures.warnings[0].to_string().contains("1 file with captions in"));
}

#[test]
fn the_trigger_word_is_in_every_caption() {
    let folder = Folder::new();
    folder.picture("a.png", 64, 64).text("a.txt", "[trigger] in the snow").picture("b.png", 64, 64).text("b.txt", "a fox");
    let pictures = pictures(&folder, |folder| folder.trigger = Some("sks".to_owned())).unwrap();
    assert_eq!(found(&pictures), [("a.png", "sks in the snow", 1), ("b.png", "sks a fox", 1)]);
}

#[test]
fn what_may_not_be_meant_is_told() {
    let folder = Folder::new();
    folder.captioned("a", 64, 64).captioned("long", 640, 64).captioned("small", 40, 40);
    fs::copy(folder.at("a.png"), folder.at("copy.png")).unwrap();
    folder.text("copy.txt", "the same");
    let warnings = pictures(&folder, |_| ()).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            DataWarning::SamePicture { first: "a.png".to_owned(), second: "copy.png".to_owned() },
            // 128 x 32 of it.
            DataWarning::Cropped { picture: "long.png".to_owned(), percent: 40 },
            DataWarning::Small { count: 1, resolution: 64 },
        ]
    );
}

/// Whatever the format, the same picture gives the same latents.
#[test]
fn pictures_are_turned_laid_on_white_and_read_in_any_depth() {
    let (folder, kept) = (Folder::new(), Folder::new());
    let level = |x: u32, y: u32| if x < 48 && y < 32 { 255 } else { 2 * x as u8 };
    let plain = image::GrayImage::from_fn(96, 64, |x, y| Luma([level(x, y)]));
    image::DynamicImage::from(plain.clone()).into_rgb8().save(folder.at("a.png")).unwrap();
    plain.save(folder.at("gray.png")).unwrap();
    let deep = image::ImageBuffer::from_fn(96, 64, |x, y| Luma([u16::from(level(x, y)) * 257]));
    deep.save(folder.at("deep.png")).unwrap();
    let glass = |x, y| if level(x, y) == 255 { Rgba([0; 4]) } else { Rgba([level(x, y), level(x, y), level(x, y), 255]) };
    image::RgbaImage::from_fn(96, 64, glass).save(folder.at("glass.png")).unwrap();
    plain.save(folder.at("tiff.tiff")).unwrap();
    // A TIFF header, one entry: orientation (0x0112), a short, 6: a quarter, clockwise.
    let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0".as_slice(), &[0; 4]].concat();
    let mut encoder = PngEncoder::new(fs::File::create(folder.at("turned.png")).unwrap());
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(&image::imageops::rotate270(&plain), 64, 96, ExtendedColorType::L8).unwrap();
    // What the others would be without care.
    let black = |x, y| if level(x, y) == 255 { Luma([0]) } else { Luma([level(x, y)]) };
    image::GrayImage::from_fn(96, 64, black).save(folder.at("z-black.png")).unwrap();
    image::imageops::rotate180(&plain).save(folder.at("z-turned.png")).unwrap();

    let mut settings = folder.settings();
    settings.pictures.captions = CaptionSource::Prompt("a picture".to_owned());
    let found = read(&settings).unwrap();
    assert!(found.pictures().iter().all(|picture| (picture.width, picture.height) == (96, 64)));
    let mut set = encoded(&settings, &kept);
    let latents: BTreeMap<_, _> = (0..8)
        .map(|index| batch(&mut set, index))
        .map(|batch| (batch.names[0][folder.path().to_str().unwrap().len() + 1..].to_owned(), batch.latents))
        .collect();
    let distance = |name: &str| {
        let difference = latents[name].clone() - latents["a.png"].clone();
        difference.powi_scalar(2).mean().sqrt().into_scalar::<f32>()
    };
    let other = distance("z-black.png").min(distance("z-turned.png"));
    for name in ["gray.png", "deep.png", "glass.png", "tiff.tiff", "turned.png"] {
        // They differ by what is drawn.
        assert!(distance(name) < 0.2 * other, "{name}: {}, others: {other}", distance(name));
    }
}
