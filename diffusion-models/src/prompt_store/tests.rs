use std::hash::Hash;
use std::time::Duration;

use burn::tensor::{Tensor, TensorData};

use super::*;

const WIDTHS: [usize; 2] = [6, 3];

fn key(name: &str) -> PromptKey {
    let mut state = KeyHasher::default();
    name.hash(&mut state);
    state.key()
}

/// Numbers whose bits are easily lost among them.
fn conditioning(seed: f32) -> Conditioning {
    let device = Device::flex();
    let mut tokens = [-0.0, f32::MIN_POSITIVE / 3.0, f32::MAX, 1.0 + f32::EPSILON].repeat(3);
    tokens[0] = seed;
    let pooled = vec![seed, -1.0, 0.1];
    Conditioning {
        tokens: Tensor::from_data(TensorData::new(tokens, [1, 2, 6]), &device),
        pooled: Tensor::from_data(TensorData::new(pooled, [1, 3]), &device),
    }
}

fn bits(conditioning: &Conditioning) -> Vec<u32> {
    let values = |data: TensorData| data.as_slice::<f32>().unwrap().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    [values(conditioning.tokens.to_data()), values(conditioning.pooled.to_data())].concat()
}

fn get(store: &PromptStore, name: &str) -> Result<Option<Vec<u32>>, PromptStoreError> {
    Ok(store.get(&key(name), WIDTHS, &Device::flex())?.as_ref().map(bits))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Say of a text that it was used so long ago.
fn age(store: &PromptStore, name: &str, seconds: u64) {
    let file = File::options().write(true).open(store.path_of(&key(name))).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

#[test]
fn what_is_kept_is_found_to_the_bit_under_its_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder");
    let store = PromptStore::open(&path, "maker").unwrap();
    assert_eq!(names(&path), Vec::<String>::new());
    assert_eq!(get(&store, "a").unwrap(), None);
    store.keep(&key("a"), &conditioning(2.0)).unwrap();
    assert_eq!(get(&store, "a").unwrap(), Some(bits(&conditioning(2.0))));
    assert_eq!(get(&store, "b").unwrap(), None);
    assert_eq!(names(&path), [format!("prompt-{}.safetensors", key("a"))]);
    let read = read_encoded_prompt(&store.path_of(&key("a")), &Device::flex()).unwrap();
    assert_eq!(bits(&read), bits(&conditioning(2.0)));
}

#[test]
fn texts_with_numbers_that_are_not_finite_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = PromptStore::open(folder.path(), "maker").unwrap();
    for seed in [f32::NAN, f32::INFINITY] {
        store.keep(&key("a"), &conditioning(seed)).unwrap();
    }
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn the_texts_that_were_not_asked_for_the_longest_leave_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let others = ["model.safetensors", "prompt-of-mine.safetensors", "notes.txt"];
    for other in others {
        fs::write(folder.path().join(other), vec![0; 10_000]).unwrap();
    }
    let size = encoded_file::bytes(&key("a"), &conditioning(1.0)).unwrap().len() as u64;
    let store = PromptStore::open(folder.path(), "maker").unwrap().with_limit(3 * size);
    for (name, seconds) in [("a", 500), ("b", 400), ("c", 300)] {
        store.keep(&key(name), &conditioning(1.0)).unwrap();
        age(&store, name, seconds);
    }
    // Its use makes it young again.
    assert!(get(&store, "a").unwrap().is_some());
    store.keep(&key("d"), &conditioning(1.0)).unwrap();
    let kept = |store: &PromptStore| ["a", "b", "c", "d", "e"].map(|name| get(store, name).unwrap().is_some());
    assert_eq!(kept(&store), [true, false, true, true, false]);
    // A store with less room makes it when it keeps something.
    let smaller = store.clone().with_limit(size);
    smaller.keep(&key("e"), &conditioning(1.0)).unwrap();
    assert_eq!(kept(&smaller), [false, false, false, false, true]);
    // What does not fit at all leaves the others alone.
    store.with_limit(size - 1).keep(&key("a"), &conditioning(1.0)).unwrap();
    assert_eq!(kept(&smaller), [false, false, false, false, true]);
    assert!(others.iter().all(|other| folder.path().join(other).exists()));
}

#[test]
fn what_is_damaged_or_of_another_is_told_and_then_replaced() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("header too small", |path| fs::write(path, "").map(drop).unwrap()),
        ("prompt", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("checksum", |path| {
            let mut bytes = fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("another text", |path| {
            let bytes = encoded_file::bytes(&key("b"), &conditioning(3.0)).unwrap();
            fs::write(path, bytes).unwrap();
        }),
        ("does not say", |path| {
            let (shape, data) = (vec![1], [0; 4]);
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &data).unwrap();
            fs::write(path, safetensors::serialize([("tokens", view)], None).unwrap()).unwrap();
        }),
        ("shapes", |path| {
            let Conditioning { tokens, pooled } = conditioning(3.0);
            let wide = Conditioning { tokens: tokens.reshape([1, 1, 12]), pooled };
            fs::write(path, encoded_file::bytes(&key("a"), &wide).unwrap()).unwrap();
        }),
    ];
    let folder = tempfile::tempdir().unwrap();
    let store = PromptStore::open(folder.path(), "maker").unwrap();
    store.keep(&key("a"), &conditioning(2.0)).unwrap();
    let path = store.path_of(&key("a"));
    for (said, damage) in damages {
        damage(&path);
        let error = get(&store, "a").unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains(said), "{said}: {error}");
        store.keep(&key("a"), &conditioning(2.0)).unwrap();
        assert_eq!(get(&store, "a").unwrap(), Some(bits(&conditioning(2.0))), "{said}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(get(&store, "a"), Err(PromptStoreError::Read { .. })));
    assert!(matches!(store.keep(&key("a"), &conditioning(2.0)), Err(PromptStoreError::Write { .. })));
}

/// Readers see a whole text or none, while others write it, and while room is made.
#[test]
fn many_may_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let size = encoded_file::bytes(&key("a"), &conditioning(1.0)).unwrap().len() as u64;
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let store = PromptStore::open(folder.path(), "maker").unwrap().with_limit(3 * size);
            scope.spawn(move || {
                for round in 0..40 {
                    let name = ["a", "b", "c", "d", "e"][(worker + round) % 5];
                    let expected = conditioning((name.as_bytes()[0]).into());
                    if let Some(found) = get(&store, name).unwrap() {
                        assert_eq!(found, bits(&expected));
                    } else {
                        store.keep(&key(name), &expected).unwrap();
                    }
                }
            });
        }
    });
    let left = names(folder.path());
    assert!(!left.is_empty() && left.len() <= 3, "{left:?}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    // Also the superuser cannot make a folder in a file.
    for path in [file.clone(), file.join("folder")] {
        let error = PromptStore::open(&path, "maker").unwrap_err();
        assert!(matches!(error, PromptStoreError::Folder { .. }) && error.to_string().contains(&path.display().to_string()));
    }
}

#[cfg(unix)]
#[test]
fn others_can_read_neither_the_folder_nor_its_files() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new");
    let store = PromptStore::open(&new, "maker").unwrap();
    store.keep(&key("a"), &conditioning(1.0)).unwrap();
    assert_eq!((mode(&new), mode(&store.path_of(&key("a")))), (0o700, 0o600));
    // A folder that was there keeps its permissions.
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).unwrap();
    let store = PromptStore::open(&shared, "maker").unwrap();
    store.keep(&key("a"), &conditioning(1.0)).unwrap();
    assert_eq!((mode(&shared), mode(&store.path_of(&key("a")))), (0o755, 0o600));
}
