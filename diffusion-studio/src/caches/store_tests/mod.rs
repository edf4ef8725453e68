//! Files in stores: a folder, and S3.

mod faults;
mod sweeps;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use object_store::ObjectStore;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::fake_s3::{BUCKET, FakeS3};
use super::{FileCache, FileCacheError, Files, Previews, SharedFiles, StoreUrl, check_store};

const FILE: [u8; 2048] = [7; 2048];

/// Machines that share a store.
struct Machines {
    runtime: Runtime,
    store: Arc<dyn ObjectStore>,
    folder: TempDir,
    s3: Option<FakeS3>,
}

impl Machines {
    fn with_folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url: StoreUrl = folder.path().join("store").to_str().unwrap().parse().unwrap();
        Self { runtime: Runtime::new().unwrap(), store: url.open().unwrap(), folder, s3: None }
    }

    fn with_s3() -> (Self, FakeS3) {
        let (runtime, folder) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        let s3 = FakeS3::start(runtime.handle());
        let url: StoreUrl = format!("s3://{BUCKET}/some/prefix").parse().unwrap();
        let store = url.open_with(s3.settings()).unwrap();
        (Self { runtime, store, folder, s3: Some(s3.clone()) }, s3)
    }

    fn both() -> [Self; 2] {
        [Self::with_folder(), Self::with_s3().0]
    }

    /// Pictures as another machine has them, with an empty cache.
    fn pictures(&self) -> SharedFiles {
        let cache = FileCache::open(self.folder.path().join(Uuid::new_v4().to_string()), 6 << 10).unwrap();
        SharedFiles::new(self.store.clone(), "pictures", cache, self.runtime.handle().clone())
    }

    /// The names of all objects.
    fn names(&self) -> Vec<String> {
        if let Some(s3) = &self.s3 {
            return s3.keys().iter().map(|key| key.strip_prefix("some/prefix/").unwrap().to_owned()).collect();
        }
        let mut names = Vec::new();
        for kind in fs::read_dir(self.folder.path().join("store")).unwrap().map(Result::unwrap) {
            let kind_name = kind.file_name().into_string().unwrap();
            for file in fs::read_dir(kind.path()).unwrap() {
                names.push(format!("{kind_name}/{}", file.unwrap().file_name().into_string().unwrap()));
            }
        }
        names.sort();
        names
    }
}

fn is_unreachable<T>(outcome: &Result<T, FileCacheError>) -> bool {
    matches!(outcome, Err(FileCacheError::Unreachable(_)))
}

#[test]
fn what_one_machine_writes_another_reads_from_the_store_and_then_from_its_cache() {
    for machines in Machines::both() {
        let (one, other) = (machines.pictures(), machines.pictures());
        assert_eq!((other.read("a.png").unwrap(), other.contains("a.png").unwrap()), (None, false));
        one.write("a.png", &FILE).unwrap();
        one.write("empty", &[]).unwrap();
        assert_eq!(machines.names(), ["pictures/a.png", "pictures/empty"]);
        assert!(other.contains("a.png").unwrap());
        assert_eq!(other.bytes(), 0);
        assert_eq!((other.read("a.png").unwrap().unwrap(), other.bytes()), (FILE.to_vec(), 2 << 10));
        assert_eq!(other.read("empty").unwrap().unwrap(), [0_u8; 0]);
        machines.pictures().remove("a.png").unwrap();
        assert!(!one.contains("a.png").unwrap());
        one.write("a.png", &FILE).unwrap();
        assert!(other.contains("a.png").unwrap(), "what only a cache has is written again");
        one.remove("a.png").unwrap();
        one.remove("a.png").unwrap();
        assert_eq!((one.read("a.png").unwrap(), one.contains("a.png").unwrap()), (None, false));
        assert_eq!(other.read("a.png").unwrap().unwrap(), FILE, "its own cache has it");
    }
}

#[test]
fn a_name_that_many_write_at_once_is_whole_at_all_times() {
    let picture: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    for machines in Machines::both() {
        std::thread::scope(|scope| {
            for _ in 0..6 {
                let (writer, picture) = (machines.pictures(), &picture);
                scope.spawn(move || (0..3).for_each(|_| writer.write("a", picture).unwrap()));
                let readers = [machines.pictures(), machines.pictures()];
                scope.spawn(move || {
                    for bytes in readers.iter().filter_map(|reader| reader.read("a").unwrap()) {
                        assert!(bytes == *picture);
                    }
                });
            }
        });
        assert!(machines.pictures().read("a").unwrap().unwrap() == picture);
        assert_eq!(machines.names(), ["pictures/a"], "nothing unfinished is left");
    }
}

#[test]
fn a_store_is_checked_before_use_and_nothing_is_left_of_it() {
    for machines in Machines::both() {
        machines.runtime.block_on(check_store(&machines.store)).unwrap();
        assert_eq!(machines.names(), [""; 0]);
    }
}

#[test]
fn what_the_cache_loses_the_store_still_has() {
    for machines in Machines::both() {
        let files = machines.pictures();
        for name in ["a", "b", "c", "d", "e"] {
            files.write(name, &FILE).unwrap();
        }
        assert_eq!(files.bytes(), 6 << 10);
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(files.read(name).unwrap().unwrap(), FILE);
        }
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused_before_the_store_is_asked() {
    let (machines, s3) = Machines::with_s3();
    let files = machines.pictures();
    for name in ["..", "../a", "a/b", "/a", "", ".a", "a%2Fb", "a b", "a#1"] {
        assert_eq!((files.read(name).unwrap(), files.contains(name).unwrap()), (None, false), "{name}");
        files.remove(name).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| files.write(name, &FILE))).is_err(), "{name}");
    }
    assert_eq!(s3.requests(), [""; 0]);
}

#[test]
fn files_of_one_machine_and_of_several_are_used_alike() {
    let machines = Machines::with_folder();
    let local = FileCache::open(machines.folder.path().join("local"), 6 << 10).unwrap();
    for files in [Files::Local(local), Files::Shared(machines.pictures())] {
        assert_eq!((files.read("a").unwrap(), files.contains("a").unwrap()), (None, false));
        files.write("a", &FILE).unwrap();
        assert_eq!((files.read("a").unwrap().unwrap(), files.bytes()), (FILE.to_vec(), 2 << 10));
        assert!(files.contains("a").unwrap());
        files.remove("a").unwrap();
        assert_eq!((files.read("a").unwrap(), files.contains("a").unwrap()), (None, false));
    }
}

#[test]
fn a_preview_takes_the_place_of_the_one_before() {
    for machines in Machines::both() {
        let (previews, job) = (Previews::new(machines.store.clone()), Uuid::new_v4());
        machines.runtime.block_on(async {
            assert_eq!(previews.get(job).await.unwrap(), None);
            previews.put(job, vec![1; 100]).await.unwrap();
            previews.put(job, vec![2; 50]).await.unwrap();
            assert_eq!(previews.get(job).await.unwrap().unwrap(), [2; 50]);
            assert_eq!(machines.names(), [format!("previews/{job}.png")]);
            previews.remove(job).await.unwrap();
            previews.remove(job).await.unwrap();
            assert_eq!(previews.get(job).await.unwrap(), None);
        });
    }
}
