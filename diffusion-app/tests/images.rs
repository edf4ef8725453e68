//! Images and masks as people have them, and as somebody made them to break the program.

use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};

use diffusion_app::image_file::{
    ImageFileError, OutputFormat, ReadImageError, check_image_file, decode_image, decode_mask, write_image,
};
use image::codecs::gif::GifEncoder;
use image::codecs::webp::WebPEncoder;
use image::{Delay, DynamicImage, ExtendedColorType, Frame, ImageEncoder, ImageFormat, Rgb, RgbImage};

const SIZE: (u32, u32) = (48, 64);

fn photograph() -> RgbImage {
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| Rgb([(5 * x) as u8, (4 * y) as u8, (7 * x * y) as u8]))
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(photograph()).write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn read(bytes: &[u8]) -> Result<Vec<u8>, ReadImageError> {
    let path = Path::new("photograph");
    let mask = decode_mask(bytes, path, SIZE.0 as usize, SIZE.1 as usize).map(drop);
    let image = decode_image(bytes, path, SIZE.0 as usize, SIZE.1 as usize).map(|(image, _)| image.pixels);
    assert_eq!(mask.is_ok(), image.is_ok());
    image
}

#[test]
fn files_that_are_cut_off_are_refused_in_every_format() {
    for (format, tail) in [
        // Ends of files that hold nothing of the image.
        (ImageFormat::Png, 12),
        (ImageFormat::Gif, 4),
        (ImageFormat::Jpeg, 0),
        (ImageFormat::WebP, 0),
        (ImageFormat::Bmp, 0),
        (ImageFormat::Tiff, 0),
    ] {
        let whole = encoded(format);
        assert!(read(&whole).is_ok(), "{format:?}");
        let step = if format == ImageFormat::Jpeg { 1 } else { 41 };
        for length in (0..whole.len() - tail).step_by(step).chain([whole.len() - tail - 1]) {
            let error = read(&whole[..length]).expect_err("it ends early").to_string();
            assert!(error.contains("photograph"), "{error}");
            if length > whole.len() / 2 {
                assert!(error.contains("photograph is cut off"), "{format:?}, {length} of {}: {error}", whole.len());
            }
        }
    }
}

/// Cameras put previews before the image, and whole other images behind it.
#[test]
fn a_jpeg_ends_at_its_own_end_mark() {
    let whole = encoded(ImageFormat::Jpeg);
    let expected = read(&whole).unwrap();
    assert!(read(&[&whole[..], b"and more \xff\xd8\xff"].concat()).unwrap() == expected);
    let preview = [b"\xff\xe1\0\x0e".as_slice(), b"Preview\0\xff\xd9\xff\xd9"].concat();
    let with_preview = [&whole[..2], &preview, &whole[2..]].concat();
    assert!(read(&with_preview).unwrap() == expected);
    assert!(matches!(read(&with_preview[..with_preview.len() - 2]), Err(ReadImageError::Cut { .. })));
}

#[test]
fn the_first_frame_of_an_animation_counts() {
    let mut file = Vec::new();
    let mut encoder = GifEncoder::new(&mut file);
    for level in [255, 0] {
        let image = image::RgbaImage::from_pixel(SIZE.0, SIZE.1, image::Rgba([level, level, level, 255]));
        encoder.encode_frame(Frame::from_parts(image, 0, 0, Delay::from_numer_denom_ms(100, 1))).unwrap();
    }
    drop(encoder);
    assert!(read(&file).unwrap().iter().all(|&level| level == 255));
}

/// Headers of files that claim more than they hold, or more than is read: nothing is decoded, and no memory taken for it.
#[test]
fn what_an_image_claims_is_checked_before_it_is_decoded() {
    let bmp = |side: u32, compression: u32, bits: u16| {
        let header = [b"BM".as_slice(), &1100_u32.to_le_bytes(), &[0; 4], &1078_u32.to_le_bytes()].concat();
        let format = [&1_u16.to_le_bytes()[..], &bits.to_le_bytes(), &compression.to_le_bytes()].concat();
        [header, [40, side, side].map(u32::to_le_bytes).concat(), format, vec![0; 20 + 1024], vec![0, 1]].concat()
    };
    let gif = |side: u16| {
        [
            b"GIF89a".as_slice(),
            &[side.to_le_bytes(); 2].concat(),
            b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0",
            &[side.to_le_bytes(); 2].concat(),
            b"\0\x02\x02L\x01\0;",
        ]
        .concat()
    };
    let jpeg = |side: u16| {
        let frame =
            [b"\xff\xc0\0\x11\x08".as_slice(), &[side.to_be_bytes(); 2].concat(), b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"];
        [b"\xff\xd8".as_slice(), &frame.concat(), b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0", &[0; 16], b"\xff\xd9"].concat()
    };
    let png = |side: u32| {
        let mut bytes = encoded(ImageFormat::Png);
        bytes[16..24].copy_from_slice(&[side.to_be_bytes(); 2].concat());
        let header = crc32fast::hash(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&header.to_be_bytes());
        bytes
    };
    let tiff = |side: u32| {
        let mut bytes = encoded(ImageFormat::Tiff);
        let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let num_entries = usize::from(u16::from_le_bytes(bytes[directory..directory + 2].try_into().unwrap()));
        for at in (0..num_entries).map(|entry| directory + 2 + 12 * entry) {
            // Width, height, and rows of a strip.
            if [256_u16, 257, 278].contains(&u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())) {
                bytes[at + 2..at + 4].copy_from_slice(&4_u16.to_le_bytes());
                bytes[at + 8..at + 12].copy_from_slice(&side.to_le_bytes());
            }
        }
        bytes
    };
    // A key frame of VP8, and a canvas of 16 x 16 pixels around it.
    let frame = |side: u16| {
        let frame = [b"\x30\x01\0\x9d\x01\x2a".as_slice(), &[side.to_le_bytes(); 2].concat(), &[0; 30]].concat();
        [b"VP8 ".as_slice(), &(frame.len() as u32).to_le_bytes(), &frame].concat()
    };
    let riff = |chunks: &[u8]| [b"RIFF".as_slice(), &(chunks.len() as u32 + 4).to_le_bytes(), b"WEBP", chunks].concat();
    let canvas = [b"VP8X\x0a\0\0\0".as_slice(), &[0, 0, 0, 0, 15, 0, 0, 15, 0, 0]].concat();
    for (name, bytes, expected) in [
        ("BMP", bmp(60_000, 0, 24), "60000 x 60000 pixels; at most 16384 a side and 268 megapixels"),
        ("BMP", bmp(30_000, 1, 8), "30000 x 30000 pixels; at most"),
        ("BMP", bmp(16_000, 0, 24), "which 1080 bytes cannot hold"),
        ("BMP", bmp(16_000, 1, 8), "which 1080 bytes cannot hold"),
        ("GIF", gif(65_535), "65535 x 65535 pixels; at most"),
        ("GIF", gif(16_000), "cannot hold"),
        ("JPEG", jpeg(65_500), "65500 x 65500 pixels; at most"),
        ("JPEG", jpeg(16_000), "cannot hold"),
        ("PNG", png(60_000), "60000 x 60000 pixels; at most"),
        ("PNG", png(16_000), "cannot hold"),
        ("TIFF", tiff(1 << 31), "2147483648 x 2147483648 pixels; at most"),
        ("TIFF", tiff(16_000), "cannot hold"),
        ("WebP", riff(&frame(16_383)), "claims to have 16383 x 16383 pixels"),
        ("WebP", riff(&[canvas, frame(16_383)].concat()), "cannot hold"),
    ] {
        let began = Instant::now();
        let error = read(&bytes).expect_err(name).to_string();
        assert!(error.contains("photograph") && error.contains(expected), "{name}: {error}");
        assert!(began.elapsed() < Duration::from_secs(2), "{name}");
    }
}

/// Sizes of parts, which decoders take memory for.
#[test]
fn parts_end_where_the_file_does() {
    let mut webp = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut webp);
    encoder.set_exif_metadata(b"II*\0\x08\0\0\0\0\0\0\0\0\0".to_vec()).unwrap();
    encoder.write_image(photograph().as_raw(), SIZE.0, SIZE.1, ExtendedColorType::Rgb8).unwrap();
    assert!(read(&webp).is_ok());
    let exif = webp.windows(4).position(|window| window == b"EXIF").unwrap();
    webp[exif + 4..exif + 8].copy_from_slice(&0xfff0_0000_u32.to_le_bytes());
    assert!(matches!(read(&webp), Err(ReadImageError::Cut { .. })));

    let mut tiff = encoded(ImageFormat::Tiff);
    let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    let num_entries = usize::from(u16::from_le_bytes(tiff[directory..directory + 2].try_into().unwrap()));
    for entry in 0..num_entries {
        let at = directory + 2 + 12 * entry + 4;
        let before = tiff[at..at + 4].to_vec();
        tiff[at..at + 4].copy_from_slice(&0x5000_0000_u32.to_le_bytes());
        assert!(matches!(read(&tiff), Err(ReadImageError::Cut { .. })), "{entry}");
        tiff[at..at + 4].copy_from_slice(&before);
    }
    tiff[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(read(&tiff).is_err());
}

/// Large ones that are even, such as masks.
#[test]
fn images_that_pack_well_are_read() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let mask = RgbImage::from_fn(3000, 2000, |x, y| Rgb([if x < 50 + y { 0 } else { 255 }; 3]));
        let mut file = Cursor::new(Vec::new());
        DynamicImage::from(mask).write_to(&mut file, format).unwrap();
        assert!(read(file.get_ref()).is_ok(), "{format:?}, {} bytes", file.get_ref().len());
    }
    let mut file = Cursor::new(Vec::new());
    image::GrayImage::new(4096, 4096).write_to(&mut file, ImageFormat::Png).unwrap();
    assert!(read(file.get_ref()).is_ok(), "{} bytes", file.get_ref().len());
}

#[test]
fn every_format_that_is_written_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
    let image = diffusion_core::image::RgbImage { width, height, pixels: photograph().into_raw() };
    for (name, format) in [("a.png", OutputFormat::Png), ("a.Jpg", OutputFormat::Jpeg), ("a.webp", OutputFormat::WebP)] {
        let path = folder.path().join(name);
        assert_eq!(OutputFormat::of(&path).unwrap(), format);
        write_image(&path, &image, "un café, 猫 🙂\nSteps: 2").unwrap();
        let found = read(&std::fs::read(&path).unwrap()).unwrap();
        let exact = format != OutputFormat::Jpeg;
        assert_eq!(found == image.pixels, exact, "{name}");
    }
    let refused = |name: &str, width, parameters: &str| match check_image_file(Path::new(name), width, 16, parameters) {
        Err(error @ (ImageFileError::Extension { .. } | ImageFileError::Room { .. })) => error.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    assert!(refused("a.bmp", 16, "").contains("cannot tell the format of a.bmp from its name; end it in .png, .jpg"));
    assert!(refused("a.jpg", 70_000, "").contains("a.jpg cannot be written: the format ends at 65535 pixels a side"));
    assert!(refused("a.webp", 20_000, "").contains("16384 pixels a side; write a .png"));
    assert!(refused("a.jpg", 16, &"x".repeat(32_738)).contains("the prompt is longer"));
    check_image_file(Path::new("a.jpg"), 16, 16, &"x".repeat(32_737)).unwrap();
}
