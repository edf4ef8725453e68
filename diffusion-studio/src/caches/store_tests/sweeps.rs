//! Removing what is old.

use std::fs;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{FILE, Machines};
use crate::caches::fake_s3::{Fault, NEW, OLD};
use crate::caches::previews::PREVIEWS;
use crate::caches::sweep::Swept;
use crate::caches::{Previews, sweep};

/// A sweep on a thread of the runtime, as the studio runs it.
fn sweep_kind(machines: &Machines, kind: &'static str, is_needed: impl Fn(&str) -> bool + Send + Sync + 'static) -> Swept {
    let (store, before) = (machines.store.clone(), SystemTime::now() - Duration::from_hours(24));
    let sweep = async move { sweep(store, kind, before, is_needed).await };
    machines.runtime.block_on(machines.runtime.spawn(sweep)).unwrap()
}

#[test]
fn old_objects_go_and_new_needed_and_failing_ones_stay() {
    let (machines, s3) = Machines::with_s3();
    let files = machines.pictures();
    assert_eq!(sweep_kind(&machines, "pictures", |_| false), Swept::default());
    s3.set_clock(OLD);
    for i in 0..8 {
        files.write(&format!("old-{i}"), &FILE).unwrap();
    }
    machines.runtime.block_on(Previews::new(machines.store.clone()).put(Uuid::nil(), vec![1])).unwrap();
    s3.set_clock(NEW);
    files.write("new", &FILE).unwrap();
    files.write("old-7", &FILE).unwrap();
    s3.fail(Fault::Refuse("old-2"));
    s3.requests();
    assert_eq!(sweep_kind(&machines, "pictures", |name| name == "old-0"), Swept { removed: 5, failed: 1 });
    assert!(!s3.requests().contains(&"HEAD some/prefix/pictures/new".to_owned()), "the listing tells ages");
    let left = ["pictures/new", "pictures/old-0", "pictures/old-2", "pictures/old-7"].map(str::to_owned);
    assert_eq!(machines.names()[..4], left);
    assert_eq!(machines.names().len(), 5, "other kinds stay");
    assert_eq!(sweep_kind(&machines, PREVIEWS, |_| false), Swept { removed: 1, failed: 0 });
    s3.fail(Fault::Status(403));
    assert_eq!(sweep_kind(&machines, "pictures", |_| false), Swept { removed: 0, failed: 1 });
    s3.fail(Fault::None);
    assert_eq!(sweep_kind(&machines, "pictures", |name| name == "old-0"), Swept { removed: 1, failed: 0 });
}

#[test]
fn a_file_that_is_written_again_during_a_sweep_stays() {
    let machines = Machines::with_folder();
    assert_eq!(sweep_kind(&machines, "pictures", |_| false), Swept::default(), "there is no folder yet");
    let old = SystemTime::now() - Duration::from_hours(48);
    for name in ["a", "b", "c"] {
        machines.pictures().write(name, &FILE).unwrap();
        let path = machines.folder.path().join("store/pictures").join(name);
        fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    let path = machines.folder.path().join("store/pictures/b");
    let write_again = move |name: &str| {
        if name == "b" {
            fs::write(&path, FILE).unwrap();
        }
        false
    };
    assert_eq!(sweep_kind(&machines, "pictures", write_again), Swept { removed: 2, failed: 0 });
    assert_eq!(machines.names(), ["pictures/b"]);
}

#[test]
fn a_sweep_ends_when_the_store_keeps_failing() {
    let (machines, s3) = Machines::with_s3();
    s3.set_clock(OLD);
    for i in 0..50 {
        machines.pictures().write(&format!("old-{i:02}"), &FILE).unwrap();
    }
    s3.fail(Fault::Refuse("old"));
    assert_eq!(sweep_kind(&machines, "pictures", |_| false), Swept { removed: 0, failed: 32 });
}
