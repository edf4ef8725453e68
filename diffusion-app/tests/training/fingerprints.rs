//! What a run that goes on has to find again.

use diffusion_app::training::{ClassPictures, DataSettings, Fingerprint, PictureFolder};

use crate::common::{Folder, read};

fn fingerprint(settings: &DataSettings) -> Fingerprint {
    read(settings).unwrap().fingerprint()
}

fn make(folder: &Folder) -> DataSettings {
    folder.captioned("a", 64, 64).captioned("3_x/b", 64, 64);
    folder.settings()
}

#[test]
fn the_same_contents_have_one_fingerprint_wherever_they_lie() {
    let (first, second) = (Folder::new(), Folder::new());
    let (before, now) = (fingerprint(&make(&first)), fingerprint(&make(&second)));
    assert_eq!((&now, now.changes_since(&before), now.sha256()), (&before, Vec::new(), before.sha256()));
    let text = serde_json::to_string(&before).unwrap();
    assert!(!text.contains(first.path().to_str().unwrap()));
    assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), before);
}

#[test]
fn whatever_changed_is_told() {
    let class = Folder::new();
    class.captioned("p", 64, 64);
    let class_folder = PictureFolder::new(class.path());
    let changed = |change: &dyn Fn(&Folder, &mut DataSettings), expected: &[&str]| {
        let folder = Folder::new();
        let mut settings = make(&folder);
        let before = fingerprint(&settings);
        change(&folder, &mut settings);
        let now = fingerprint(&settings);
        let told: Vec<String> = now.changes_since(&before).iter().map(ToString::to_string).collect();
        assert_eq!(told, expected);
        assert_eq!(now.sha256() == before.sha256(), expected.is_empty());
    };
    changed(&|_, _| (), &[]);
    changed(&|folder, _| _ = folder.picture("a.png", 65, 64), &["pictures: other contents in 2"]);
    changed(&|folder, _| _ = folder.text("a.txt", "a fox"), &["captions: other contents in 2"]);
    changed(&|folder, _| _ = folder.captioned("c", 64, 64), &["pictures: 2 before, 3 now", "captions: 2 before, 3 now"]);
    let renamed = |folder: &Folder, _: &mut DataSettings| std::fs::rename(folder.at("3_x"), folder.at("4_x")).unwrap();
    changed(&renamed, &["pictures: other contents in 2", "captions: other contents in 2"]);
    changed(&|_, settings| settings.pictures.trigger = Some("sks".to_owned()), &["captions: other contents in 2"]);
    changed(&|_, settings| settings.resolutions = vec![64, 64], &[]);
    changed(&|_, settings| settings.resolutions = vec![64, 32], &["resolutions: 64 before, 32, 64 now"]);
    changed(&|_, settings| settings.flips = true, &["flips: no before, yes now"]);
    changed(&|_, settings| settings.seed = 3, &["seed of the pictures: 0 before, 3 now"]);
    changed(&|_, settings| settings.batch_size = 3, &["batch size: 1 before, 3 now"]);
    changed(&|_, settings| settings.caption_dropout = 0.1, &["caption dropout: 0 before, 0.1 now"]);
    changed(&|_, settings| settings.bucket_step = 64, &["step of the buckets: 32 before, 64 now"]);
    changed(&|_, settings| settings.max_sequence_length = 20, &["maximum sequence length: 32 before, 20 now"]);
    changed(&|_, settings| settings.tiling = diffusion_models::Tiling::Tiled, &["tiling: whole before, tiled now"]);
    let with_class = |_: &Folder, settings: &mut DataSettings| {
        settings.class_pictures = Some(ClassPictures { folder: class_folder.clone(), weight: 0.5 });
    };
    let expected = [
        "class pictures: none before, 1 now",
        "captions of class pictures: none before, 1 now",
        "weight of class pictures: none before, 0.5 now",
    ];
    changed(&with_class, &expected);
}
