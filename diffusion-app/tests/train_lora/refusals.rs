//! Whatever can be known to be wrong is told before the first step, and nothing is left behind.

use std::fs;

use super::{Folder, SMALL, fixture};

/// Fails unless pictures are refused in these words after `change`.
#[track_caller]
fn refuses_pictures(change: impl FnOnce(&Folder), words: &[&str]) {
    let folder = Folder::with_pictures();
    change(&folder);
    folder.refuses(&[SMALL, &["--steps", "1"][..]].concat(), words);
    assert!(folder.files().is_empty(), "{:?}", folder.files());
}

#[test]
fn pictures_that_cannot_be_learnt_are_refused() {
    let remove = |name: &'static str| move |folder: &Folder| fs::remove_file(folder.path(name)).unwrap();
    refuses_pictures(remove("pictures/a.txt"), &["pictures", "a.png has no caption: there is no a.txt"]);
    refuses_pictures(remove("pictures/a.png"), &["a.txt is a caption without a picture"]);
    refuses_pictures(|folder| folder.text("pictures/a.png", "no picture"), &["a.png is no image that can be read"]);
    refuses_pictures(|folder| folder.picture("a", [31, 200]), &["a.png has 31 x 200 pixels"]);
    refuses_pictures(|folder| folder.text("pictures/a.jpg", ""), &["a.jpg and a.png have the same name"]);
    refuses_pictures(|folder| folder.text("pictures/a.txt", ""), &["the caption of a.png is empty"]);
    let long = "word ".repeat(10_000);
    refuses_pictures(|folder| folder.text("pictures/a.txt", &long), &["the caption of a.png has 49999 characters"]);
    let all = |folder: &Folder| {
        fs::remove_dir_all(folder.path("pictures")).unwrap();
        fs::create_dir(folder.path("pictures")).unwrap();
    };
    refuses_pictures(all, &["pictures", "there is no picture in it"]);
    refuses_pictures(|folder| fs::remove_dir_all(folder.path("pictures")).unwrap(), &["pictures"]);
}

#[test]
fn a_caption_that_is_cut_is_told() {
    let folder = Folder::with_pictures();
    folder.text("pictures/a.txt", &"a red circle left of a blue square ".repeat(20));
    let said = folder.train(&[SMALL, &["--steps", "1"][..]].concat());
    assert!(said.contains("warning: the caption of a.png: "), "{said}");
}

#[test]
fn options_that_cannot_work_are_refused() {
    let folder = Folder::with_pictures();
    fs::create_dir(folder.path("pictures/folder.safetensors")).unwrap();
    let model = fixture("sd3");
    let of_flux = fixture("flux-dev/training/start.safetensors");
    let cases: &[(&[&str], &[&str])] = &[
        (&["--output", "nowhere/o.safetensors"], &["cannot write nowhere/o.safetensors; choose a folder that exists"]),
        (&["--output", "pictures/folder.safetensors"], &["folder.safetensors; it is a folder"]),
        (&["--output", "o.png"], &["--output is o.png; end it in .safetensors"]),
        (&["--output", "-"], &["--output is -; end it in .safetensors"]),
        (&["--log", "nowhere/log.jsonl"], &["cannot write nowhere/log.jsonl"]),
        (&["--chart", "nowhere/chart.svg"], &["cannot write nowhere/chart.svg"]),
        (&["--log", "lora.safetensors"], &["--output and --log are both lora.safetensors; give them two names"]),
        (&["--log", "same", "--chart", "same"], &["--log and --chart are both same; give them two names"]),
        (&["--targets", "nothing"], &["no layer of the model has a name in which nothing is found"]),
        (&["--targets", "("], &["no regular expression"]),
        (&["--rank-of", "nothing=4"], &["no layer that is trained has a name in which nothing is found"]),
        (
            &["--targets", "all", "--method", "lokr"],
            &["rows of transformer_blocks.7.norm1_context.linear stand in another order"],
        ),
        (&["--guidance", "1"], &["this model takes no guidance"]),
        (&["--model", "nowhere"], &["nowhere"]),
        (&["--model", &model, "--assistant-lora", &of_flux], &["does not fit this model"]),
        (&["--class-data", "nowhere"], &["nowhere"]),
        (&["--batches", "b.safetensors"], &["cannot be used with"]),
        (&["--bucket-step", "24"], &["step of the buckets is 24"]),
    ];
    for (options, words) in cases {
        folder.refuses(&[SMALL, &["--steps", "1"], *options].concat(), words);
        assert!(folder.files().is_empty(), "{options:?}: {:?}", folder.files());
    }
    let mut large = SMALL.to_vec();
    large[3] = "4096";
    folder.refuses(&large, &["resolution is 4096"]);
    folder.refuses(&[&SMALL[..4], &["--model", &model, "--init-lora", &of_flux]].concat(), &["does not fit this model"]);
    folder.refuses(&["--steps", "1"], &["--data"]);
    assert!(folder.files().is_empty(), "{:?}", folder.files());
}
