//! What can go wrong with a store.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{FILE, Machines, is_unreachable};
use crate::caches::fake_s3::{BUCKET, Fault};
use crate::caches::{FileCache, FileCacheError, Previews, SharedFiles, StoreUrl, check_store};

/// Everything that is asked of a store with a fault fails in time and for this reason, and works when the fault is gone.
fn check_fault(fault: Fault, reason: &str) {
    let (machines, s3) = Machines::with_s3();
    let (one, other) = (machines.pictures(), machines.pictures());
    one.write("a", &FILE).unwrap();
    s3.fail(fault);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let asked = [
            scope.spawn(|| one.write("b", &FILE).unwrap_err()),
            scope.spawn(|| other.read("a").unwrap_err()),
            scope.spawn(|| one.contains("a").unwrap_err()),
            scope.spawn(|| other.remove("c").unwrap_err()),
        ];
        for error in asked.map(|asked| asked.join().unwrap()) {
            assert!(matches!(error, FileCacheError::Unreachable(_)));
            let source = error.source().unwrap().to_string();
            assert!(source.contains(reason), "{source}");
        }
    });
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert_eq!(one.read("a").unwrap().unwrap(), FILE, "the cache needs no store");
    s3.fail(Fault::None);
    one.write("b", &FILE).unwrap();
    assert_eq!(other.read("a").unwrap().zip(other.read("b").unwrap()).unwrap(), (FILE.to_vec(), FILE.to_vec()));
}

#[test]
fn a_store_that_is_gone_is_told_in_time_and_used_again_when_it_is_back() {
    let faults = [(Fault::Hang, "no answer within 10 s"), (Fault::Status(503), "503"), (Fault::Status(403), "403")];
    std::thread::scope(|scope| {
        for (fault, reason) in faults {
            scope.spawn(move || check_fault(fault, reason));
        }
    });
}

#[test]
fn a_short_fault_is_not_noticed() {
    let (machines, s3) = Machines::with_s3();
    s3.fail(Fault::Status(503));
    std::thread::scope(|scope| {
        scope.spawn(|| machines.pictures().write("a", &FILE).unwrap());
        std::thread::sleep(Duration::from_millis(4500));
        s3.fail(Fault::None);
    });
    assert!(s3.requests().len() > 1);
    assert_eq!(machines.pictures().read("a").unwrap().unwrap(), FILE);
}

#[test]
fn a_server_that_does_not_listen_is_told_in_time() {
    let (machines, s3) = Machines::with_s3();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url: StoreUrl = format!("s3://{BUCKET}").parse().unwrap();
    let store = url.open_with(s3.settings().with_endpoint(format!("http://127.0.0.1:{port}"))).unwrap();
    let start = Instant::now();
    assert!(is_unreachable(&Machines { store, ..machines }.pictures().write("a", &FILE)));
    assert!(start.elapsed() < Duration::from_secs(12));
}

#[test]
fn a_folder_that_cannot_be_used_is_told_and_used_when_it_can() {
    let machines = Machines::with_folder();
    let (files, place) = (machines.pictures(), machines.folder.path().join("store/pictures"));
    fs::write(&place, "a file in the place of the folder").unwrap();
    assert!(is_unreachable(&files.write("a", &FILE)) && is_unreachable(&files.read("a")));
    fs::remove_file(&place).unwrap();
    files.write("a", &FILE).unwrap();
    assert_eq!(machines.pictures().read("a").unwrap().unwrap(), FILE);
}

#[test]
fn a_bucket_that_is_not_there_is_no_empty_one() {
    let (machines, s3) = Machines::with_s3();
    let url: StoreUrl = "s3://another-bucket".parse().unwrap();
    let machines = Machines { store: url.open_with(s3.settings()).unwrap(), ..machines };
    let files = machines.pictures();
    assert!(is_unreachable(&files.read("a")) && is_unreachable(&files.write("a", &FILE)));
    assert!(is_unreachable(&machines.runtime.block_on(check_store(&machines.store))));
}

#[test]
fn a_body_that_is_cut_is_completed_or_refused() {
    let (machines, s3) = Machines::with_s3();
    let picture: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    machines.pictures().write("a", &picture).unwrap();
    s3.requests();
    s3.fail(Fault::Cut(1));
    assert!(machines.pictures().read("a").unwrap().unwrap() == picture);
    assert_eq!(s3.requests(), ["GET some/prefix/pictures/a"; 2]);
    s3.fail(Fault::Cut(usize::MAX));
    let reader = machines.pictures();
    assert!(is_unreachable(&reader.read("a")));
    assert_eq!(reader.bytes(), 0, "the cache has no part of it");
    s3.fail(Fault::None);
    assert!(reader.read("a").unwrap().unwrap() == picture);
}

#[test]
fn a_full_server_is_told_as_full() {
    let (machines, s3) = Machines::with_s3();
    s3.fail(Fault::Status(507));
    assert!(matches!(machines.pictures().write("a", &FILE), Err(FileCacheError::Full(_))));
}

/// A file system of a megabyte, while it lives. None where the test may not mount one.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_unfinished_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let Some(_disk) = SmallDisk::mount(&place) else {
        return; // `store_access` tests how the error is found.
    };
    let url: StoreUrl = place.to_str().unwrap().parse().unwrap();
    let machines = Machines { store: url.open().unwrap(), ..Machines::with_folder() };
    let pictures = machines.pictures();
    assert!(matches!(pictures.write("large", &vec![1; 2 << 20]), Err(FileCacheError::Full(_))));
    assert_eq!((pictures.read("large").unwrap(), fs::read_dir(place.join("pictures")).unwrap().count()), (None, 0));
    pictures.write("small", &FILE).unwrap();
}

#[test]
fn a_cache_that_fails_does_not_matter() {
    let machines = Machines::with_folder();
    let cache = machines.folder.path().join("cache");
    let open = FileCache::open(cache.clone(), 6 << 10).unwrap();
    let files = SharedFiles::new(machines.store.clone(), "pictures", open, machines.runtime.handle().clone());
    fs::remove_dir(&cache).unwrap();
    files.write("a", &FILE).unwrap();
    assert_eq!(files.read("a").unwrap().unwrap(), FILE);
}

#[test]
fn no_form_of_a_store_tells_its_keys() {
    let (machines, s3) = Machines::with_s3();
    s3.fail(Fault::Status(403));
    let error = machines.pictures().write("a", &FILE).unwrap_err();
    let told = format!("{:?} {:?} {error:?} {error}", machines.pictures(), Previews::new(machines.store.clone()));
    let told = format!("{told} {}", error.source().unwrap());
    assert!(told.contains("403"), "{told}");
    assert!(!told.contains("very-secret") && !told.contains("key-id"), "{told}");
}
