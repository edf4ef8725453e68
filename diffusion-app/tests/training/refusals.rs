//! Bad input: all of it is named before anything is encoded.

use std::fs;
use std::ops::ControlFlow;

use diffusion_app::training::{
    CaptionSource, ClassPictures, DataError, DataEvent, DataSettings, FolderProblem, MAX_CAPTION, PictureFolder,
};

use crate::common::{Folder, pictures, pipeline, read};

fn problems(folder: &Folder) -> Vec<FolderProblem> {
    match pictures(folder, |_| ()).unwrap_err() {
        DataError::Problems(found) => {
            assert_eq!(found.folder, folder.path());
            found.problems
        }
        other => panic!("{other:?}"),
    }
}

/// The only problem of a folder with a good picture besides.
#[track_caller]
fn refused(prepare: impl FnOnce(&Folder) -> &Folder, words: &str) {
    let folder = Folder::new();
    folder.captioned("good", 64, 64);
    prepare(&folder);
    let problems = problems(&folder);
    let [problem] = &*problems else { panic!("{problems:?}") };
    assert!(problem.to_string().contains(words), "{problem}");
}

#[test]
fn an_empty_folder_is_refused_and_one_that_is_not_there() {
    let folder = Folder::new();
    assert!(matches!(&*problems(&folder), [FolderProblem::Empty]));
    folder.text("notes.md", "nothing");
    let error = pictures(&folder, |folder| folder.captions = CaptionSource::Prompt("a fox".to_owned())).unwrap_err();
    assert!(error.to_string().contains("there is no picture in it"), "{error}");
    let error = pictures(&folder, |pictures| pictures.path = folder.at("nowhere/deep")).unwrap_err();
    assert!(matches!(error, DataError::Folder { .. }));
}

#[test]
fn pictures_and_captions_without_each_other_are_refused() {
    refused(|folder| folder.picture("a.png", 64, 64), "a.png has no caption: there is no a.txt");
    refused(|folder| folder.text("b.txt", "a fox"), "b.txt is a caption without a picture: there is no b.png");
    refused(|folder| folder.text("5_x/b.txt", "a fox"), "5_x/b.txt is a caption without a picture");
    refused(|folder| folder.picture("good.jpg", 64, 64), "good.jpg and good.png have the same name but for its end");
    refused(|folder| folder.text("good.caption", "a fox"), "good.png has two captions: good.caption and good.txt");
}

#[test]
fn captions_that_cannot_be_learnt_are_refused() {
    refused(|folder| folder.text("good.txt", " \n\n"), "the caption of good.png is empty");
    refused(
        |folder| folder.text("good.txt", "a [trigger] in the snow"),
        "the caption of good.png has [trigger] in it, and no trigger word is given",
    );
    let long = "word ".repeat(10_000);
    let words = format!("the caption of good.png has 49999 characters, and at most {MAX_CAPTION} are read");
    refused(|folder| folder.text("good.txt", &long), &words);
    refused(|folder| folder.bytes("good.txt", &[0xff, b'a']), "the caption of good.png cannot be read");
    refused(|folder| folder.bytes("good.txt", &vec![b'a'; 2 << 20]), "the caption of good.png cannot be read");
}

#[test]
fn pictures_that_cannot_be_learnt_are_refused() {
    refused(|folder| folder.text("good.png", "no picture"), "is no image that can be read");
    refused(|folder| folder.text("a.heic", "\0\0\0 ftypheic").text("a.txt", "a fox"), "a.heic is no image that can be read");
    let cut = fs::read(Folder::new().picture("good.png", 64, 64).at("good.png")).unwrap();
    refused(|folder| folder.bytes("good.png", &cut[..cut.len() / 2]), "good.png is cut off");
    let tiny = "tiny.png has 31 x 200 pixels, and no side may have fewer than 32";
    refused(|folder| folder.captioned("tiny", 31, 200), tiny);
}

/// A `metadata.jsonl` with a line for the good picture, and more.
fn with_lines(lines: &str) -> impl FnOnce(&Folder) -> &Folder {
    let lines = format!("{{\"file_name\": \"good.png\", \"text\": \"a fox\"}}\n{lines}\n");
    move |folder| {
        fs::remove_file(folder.at("good.txt")).unwrap();
        folder.text("metadata.jsonl", &lines)
    }
}

#[test]
fn lines_that_name_nothing_or_twice_are_refused() {
    refused(with_lines("{\"file_name\": \"b.png\", \"text\": \"a fox\"}"), "metadata.jsonl, line 2: there is no picture b.png");
    refused(with_lines("{\"file_name\": \"x/b.png\", \"text\": \"a fox\"}"), "line 2: there is no picture x/b.png");
    refused(with_lines("{\"file_name\": \"good.png\", \"text\": \"a fox\"}"), "line 2: good.png has a line already, line 1");
    refused(with_lines("{\"file_name\": \"good.png\""), "metadata.jsonl, line 2: it is no JSON");
    refused(
        |folder| with_lines("")(folder).picture("b.png", 64, 64),
        "b.png has no caption: there is no line for it in metadata.jsonl",
    );
    refused(
        |folder| with_lines("")(folder).text("good.txt", "a fox"),
        "good.png has two captions: line 1 of metadata.jsonl and good.txt",
    );
    refused(|folder| folder.captioned("3_x/a", 64, 64).text("3_x/metadata.jsonl", "{}"), "3_x/metadata.jsonl is not read");
    let empty = "{\"file_name\": \"good.png\", \"text\": \" \"}";
    refused(|folder| with_lines("")(folder).text("metadata.jsonl", empty), "the caption of good.png is empty");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let folder = Folder::new();
    for index in 0..8 {
        folder.picture(&format!("{index}.png"), 64, 64);
    }
    folder.text("x.txt", "a fox").captioned("tiny", 8, 8).captioned("broken", 64, 64).text("broken.png", "no picture");
    folder.captioned("empty", 64, 64).text("empty.txt", "");
    let error = pictures(&folder, |_| ()).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 12, "{error}");
    assert!(lines[0].ends_with("has 12 problems:"));
    assert!(lines[1].contains("0.png has no caption") && lines[8].contains("7.png has no caption"));
    assert_eq!(lines[11], "  and 2 more");
}

#[test]
fn settings_outside_their_range_are_refused() {
    let folder = Folder::new();
    folder.captioned("a", 64, 64);
    let refused = |change: fn(&mut DataSettings), words: &str| {
        let mut settings = folder.settings();
        change(&mut settings);
        let error = read(&settings).unwrap_err();
        assert!(matches!(error, DataError::Setting(_)) && error.to_string().contains(words), "{error}");
    };
    refused(|settings| settings.batch_size = 0, "batch size is 0, expected 1 to 1024");
    refused(|settings| settings.caption_dropout = 1.5, "caption dropout is 1.5");
    refused(|settings| settings.caption_dropout = f64::NAN, "caption dropout is NaN");
    refused(|settings| settings.resolutions = vec![512], "resolution is 512, expected 32 to 256 pixels");
    refused(|settings| settings.max_sequence_length = 33, "maximum sequence length is 33, expected 1 to 32");
    refused(|settings| settings.bucket_step = 24, "step of the buckets is 24");
    refused(|settings| settings.pictures.trigger = Some(" ".to_owned()), "trigger word is empty");
    refused(|settings| settings.pictures.captions = CaptionSource::Prompt(String::new()), "the caption of all pictures is empty");
    let class = |weight, path: &std::path::Path| Some(ClassPictures { folder: PictureFolder::new(path), weight });
    let mut settings = folder.settings();
    settings.class_pictures = class(-1.0, folder.path());
    assert!(read(&settings).unwrap_err().to_string().contains("weight of class pictures is -1"));
}

#[test]
fn class_pictures_are_large_enough_to_go_beside_the_others() {
    let (folder, class) = (Folder::new(), Folder::new());
    folder.captioned("wide", 160, 40);
    class.captioned("class", 64, 64);
    let mut settings = folder.settings();
    settings.class_pictures = Some(ClassPictures { folder: PictureFolder::new(class.path()), weight: 1.0 });
    let error = read(&settings).unwrap_err();
    assert!(error.to_string().contains("no class picture has 128 x 32 pixels or more"), "{error}");
    class.captioned("larger", 128, 128);
    assert_eq!(read(&settings).unwrap().class_pictures().len(), 2);
}

#[test]
fn looking_at_pictures_can_be_cancelled() {
    let folder = Folder::new();
    folder.captioned("a", 64, 64).captioned("b", 64, 64);
    let mut seen = Vec::new();
    let mut observer = |event| {
        seen.push(event);
        ControlFlow::Break(())
    };
    let error = folder.settings().read(pipeline().info(), &mut observer).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert_eq!(seen, [DataEvent::Checked { done: 1, total: 2 }]);
}
