//! Files on their way into the cache.

use std::fs;
use std::path::{Path, PathBuf};

use diffusion_app::hub::{Hub, HubError, HubEvent, HubOptions, HubReference, Network, Use};
use tempfile::TempDir;

use crate::server::{COMMIT, Server, TOKEN, sha256};

const REPOSITORY: &str = "org/name";
const FILE: &str = "model.gguf";

/// More than arrives in one piece.
fn bytes() -> Vec<u8> {
    (0..300_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

struct Case {
    server: Server,
    cache: TempDir,
    token: Option<&'static str>,
}

impl Case {
    fn new() -> Self {
        let server = Server::start().with_file(REPOSITORY, FILE, &bytes()).with_file(REPOSITORY, "README.md", b"words");
        Self { server, cache: tempfile::tempdir().unwrap(), token: None }
    }

    fn options(&self) -> HubOptions {
        HubOptions {
            endpoint: self.server.endpoint(),
            cache: self.cache.path().to_owned(),
            token: self.token.map(str::to_owned),
            network: Network::Online,
        }
    }

    fn fetch(&self) -> Result<(PathBuf, Vec<String>), HubError> {
        fetch_from(self.options(), "org/name:model.gguf")
    }

    fn repository(&self) -> PathBuf {
        self.cache.path().join("models--org--name")
    }

    fn incomplete(&self) -> PathBuf {
        self.repository().join("blobs").join(format!("{}.incomplete", sha256(&bytes())))
    }
}

fn fetch_from(options: HubOptions, reference: &str) -> Result<(PathBuf, Vec<String>), HubError> {
    let reference = HubReference::parse(reference).unwrap();
    let mut events = Vec::new();
    let mut observer = |event: HubEvent<'_>| events.push(format!("{event:?}"));
    let path = Hub::new(options).fetch(&reference, &Use::Model(std::collections::BTreeMap::new()), &mut observer)?;
    Ok((path, events))
}

fn said(error: &HubError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn a_file_comes_into_the_cache_in_the_shared_layout() {
    let case = Case::new();
    let (path, events) = case.fetch().unwrap();
    assert_eq!(path, case.repository().join("snapshots").join(COMMIT).join(FILE));
    assert_eq!(fs::read(&path).unwrap(), bytes());
    assert_eq!(fs::read_to_string(case.repository().join("refs/main")).unwrap(), COMMIT);
    let blob = case.repository().join("blobs").join(sha256(&bytes()));
    assert_eq!(path.canonicalize().unwrap(), blob.canonicalize().unwrap());
    #[cfg(unix)]
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../../blobs").join(sha256(&bytes())));
    assert!(!case.incomplete().exists());
    assert!(events[0].contains("Started") && events.last().unwrap().contains("Finished"), "{events:?}");
    assert!(!case.server.requests().iter().any(|request| request.contains("README")));
    // Asked once more, the hub only says that nothing has changed.
    let (again, events) = case.fetch().unwrap();
    assert!(again == path && events.is_empty());
    assert!(case.server.requests().iter().all(|request| request.contains("/api/")));
}

#[test]
fn a_broken_connection_goes_on_where_it_broke() {
    let case = Case::new();
    case.server.state().cut = Some((FILE.to_owned(), 100_000, 3));
    let (path, events) = case.fetch().unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes());
    assert!(events.iter().any(|event| event.contains("Resuming")), "{events:?}");
    let requests = case.server.requests();
    let ranges: Vec<_> =
        requests.iter().filter(|request| request.starts_with("GET /cdn") && request.contains(" from ")).collect();
    assert_eq!(ranges.len(), 3, "{requests:?}");
    assert!(ranges[0].ends_with("from 100000") && ranges[2].ends_with("from 300000"), "{ranges:?}");
}

#[test]
fn a_download_that_was_given_up_goes_on_in_the_next_run() {
    let case = Case::new();
    // The first answer is cut, and those after it bring nothing.
    case.server.state().cut = Some((FILE.to_owned(), 100_000, 1));
    let (first, server) = (100_000, &case.server);
    let error = {
        let cut_to_nothing = || server.state().cut = Some((FILE.to_owned(), 0, usize::MAX));
        let reference = HubReference::parse("org/name:model.gguf").unwrap();
        let mut observer = |event: HubEvent<'_>| {
            if matches!(event, HubEvent::Resuming { .. }) {
                cut_to_nothing();
            }
        };
        Hub::new(case.options()).fetch(&reference, &Use::Lora, &mut observer).unwrap_err()
    };
    said(&error, &["broke off at 100000 of 1200000 bytes", "the same command goes on"]);
    assert_eq!(fs::metadata(case.incomplete()).unwrap().len(), first);
    assert!(!case.repository().join("snapshots").exists());
    server.requests();
    server.state().cut = None;
    let (path, _) = case.fetch().unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes());
    assert!(server.requests().iter().any(|request| request.ends_with("from 100000")));
}

#[test]
fn a_hub_that_knows_no_ranges_sends_the_file_again() {
    let case = Case::new();
    case.server.state().ignores_ranges = true;
    case.server.state().cut = Some((FILE.to_owned(), 100_000, 1));
    assert_eq!(fs::read(case.fetch().unwrap().0).unwrap(), bytes());
}

#[test]
fn what_is_left_of_another_file_is_not_taken_for_the_beginning() {
    for left in [vec![7; 1000], vec![7; 2_000_000], vec![7; bytes().len()]] {
        let case = Case::new();
        fs::create_dir_all(case.incomplete().parent().unwrap()).unwrap();
        fs::write(case.incomplete(), &left).unwrap();
        match case.fetch() {
            Ok((path, _)) => assert_eq!(fs::read(path).unwrap(), bytes()),
            Err(error) => {
                said(&error, &["checksum"]);
                assert_eq!(fs::read(case.fetch().unwrap().0).unwrap(), bytes());
            }
        }
    }
}

#[test]
fn a_file_with_another_checksum_is_not_kept() {
    let case = Case::new();
    case.server.state().corrupt = Some(FILE.to_owned());
    let error = case.fetch().unwrap_err();
    said(&error, &["model.gguf of org/name came in damaged", &sha256(&bytes()), "not kept", "try again"]);
    assert!(!case.incomplete().exists() && !case.repository().join("snapshots").exists());
    case.server.state().corrupt = None;
    assert_eq!(fs::read(case.fetch().unwrap().0).unwrap(), bytes());
}

#[test]
fn a_gated_model_says_which_page_to_accept_and_how_to_log_in() {
    let mut case = Case::new();
    case.server.state().gated = vec![REPOSITORY.to_owned()];
    let page = format!("Open {}/org/name and accept them", case.server.endpoint());
    let error = case.fetch().unwrap_err();
    said(&error, &["org/name is a gated model", &page, "hf auth login", "HF_TOKEN"]);
    assert!(!error.to_string().contains("has no access"));
    case.token = Some("hf_other");
    said(&case.fetch().unwrap_err(), &["gated", "the token that is set now has no access"]);
    case.token = Some(TOKEN);
    assert_eq!(fs::read(case.fetch().unwrap().0).unwrap(), bytes());
    assert!(!case.server.state().leaked, "the token went to another host");
}

#[test]
fn names_that_do_not_exist_are_told_apart() {
    let case = Case::new();
    let error = |reference: &str| fetch_from(case.options(), reference).unwrap_err();
    said(&error("org/mane"), &["has no model org/mane", "no file or folder of that name here", "spelling", "private"]);
    said(&error("org/name@v9"), &["org/name has no revision \"v9\"", "/org/name/tree/main"]);
    said(&error("org/name:modle.gguf"), &["org/name:modle.gguf does not exist", "did you mean model.gguf?"]);
    assert!(!case.cache.path().join("models--org--mane").exists());
}

#[test]
fn without_network_the_cache_is_drawn_from() {
    let case = Case::new();
    let offline = || HubOptions { network: Network::Offline, ..case.options() };
    let error = fetch_from(offline(), "org/name:model.gguf").unwrap_err();
    said(&error, &["org/name is not in the cache", "HF_HUB_OFFLINE is set"]);
    let path = case.fetch().unwrap().0;
    case.server.requests();
    assert_eq!(fetch_from(offline(), "org/name:model.gguf").unwrap().0, path);
    // A commit is what it is.
    let commit = format!("org/name@{COMMIT}:model.gguf");
    assert_eq!(fetch_from(case.options(), &commit).unwrap().0, path);
    assert!(case.server.requests().is_empty());

    case.server.stop();
    let (again, events) = case.fetch().unwrap();
    assert_eq!(again, path);
    assert!(events.iter().any(|event| event.contains("FromCache")), "{events:?}");
    let error = fetch_from(case.options(), "org/name:README.md").unwrap_err();
    said(&error, &["cannot be reached", "org/name is not in the cache as a whole", "HF_HUB_OFFLINE=1"]);
    assert!(std::error::Error::source(&error).is_some());
    said(&fetch_from(case.options(), "org/other").unwrap_err(), &["cannot be reached", "org/other is not in the cache."]);
    let error = fetch_from(offline(), "org/name:README.md").unwrap_err();
    said(&error, &["not in the cache", "README.md does not exist", "unset it"]);
}

/// The device takes no byte, as a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_nothing_half_written_is_taken_for_whole() {
    let case = Case::new();
    fs::create_dir_all(case.incomplete().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", case.incomplete()).unwrap();
    let error = case.fetch().unwrap_err();
    said(&error, &["no space left", "model.gguf of org/name", "HF_HOME", "goes on where this one stopped"]);
    assert!(!case.repository().join("snapshots").exists());
    fs::remove_file(case.incomplete()).unwrap();
    assert_eq!(fs::read(case.fetch().unwrap().0).unwrap(), bytes());
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let case = Case::new();
    fs::write(case.repository(), "a file in its place").unwrap();
    said(&case.fetch().unwrap_err(), &["cannot write", "models--org--name", "HF_HOME"]);
}

#[test]
fn programs_that_download_the_same_file_do_not_clash() {
    let case = Case::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(fs::read(case.fetch().unwrap().0).unwrap(), bytes()));
        }
    });
    let downloads = case.server.requests().iter().filter(|request| request.starts_with("GET /cdn")).count();
    assert_eq!(downloads, 1);
}

/// Names become paths, so a hub must not be able to write elsewhere.
#[test]
fn a_hub_cannot_write_outside_the_cache() {
    let case = Case::new();
    let server = Server::start()
        .with_file("org/evil", "../../../../outside.gguf", b"evil")
        .with_file("org/evil", "model_index.json", br#"{"vae": ["diffusers", "AutoencoderKL"], "../x": ["a", "b"]}"#)
        .with_file("org/evil", "vae/model.safetensors.index.json", br#"{"weight_map": {"a": "../../../../outside.gguf"}}"#);
    let options = HubOptions { endpoint: server.endpoint(), ..case.options() };
    let _ = fetch_from(options, "org/evil");
    let outside = |path: &Path| path.join("outside.gguf").exists();
    assert!(case.cache.path().ancestors().take(4).all(|folder| !outside(folder)));
    assert!(!server.requests().iter().any(|request| request.contains("outside")));
}

#[test]
fn an_address_that_is_none_is_told() {
    let case = Case::new();
    for endpoint in ["huggingface.co", "not an address"] {
        let options = HubOptions { endpoint: endpoint.to_owned(), ..case.options() };
        said(&fetch_from(options, "org/name").unwrap_err(), &["HF_ENDPOINT", endpoint]);
    }
}
