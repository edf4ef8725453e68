//! The programs with names of repositories.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::fixture;
use crate::server::{COMMIT, Server, TOKEN};

const PROMPT: &str = "a prompt";

/// A user of the hub: a folder to work in, and the home of the cache.
struct User {
    folder: TempDir,
    endpoint: String,
}

impl User {
    fn of(server: &Server) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), endpoint: server.endpoint() }
    }

    fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for variable in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH", "HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
            command.env_remove(variable);
        }
        command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
        command.env("HF_HOME", self.folder.path().join("hf")).env("HF_ENDPOINT", &self.endpoint).current_dir(&self.folder);
        command
    }

    fn txt2img(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_txt2img"));
        command.args(["--width", "96", "--height", "48", "--steps", "1", "--seed", "3", PROMPT]).args(arguments);
        command
    }

    /// The image, and what was said.
    #[track_caller]
    fn draw(&self, arguments: &[&str]) -> (Vec<u8>, String) {
        drawn(&self.folder, self.txt2img(arguments))
    }

    fn cached(&self, repository: &str) -> Vec<String> {
        let snapshot = format!("hf/hub/models--{}/snapshots/{COMMIT}", repository.replace('/', "--"));
        let mut files = Vec::new();
        list(&self.folder.path().join(snapshot), "", &mut files);
        files.sort();
        files
    }
}

fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{path}/"), files);
        } else {
            files.push(path);
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn drawn(folder: &TempDir, mut command: Command) -> (Vec<u8>, String) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let image = folder.path().join("output.png");
    let bytes = fs::read(&image).unwrap();
    fs::remove_file(image).unwrap();
    (bytes, stderr(&output))
}

#[track_caller]
fn refused(mut command: Command, words: &[&str]) {
    let output = command.output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("retry exhausted"), "{said}");
}

fn sd3() -> Server {
    Server::start().with_folder("org/sd3", &fixture("sd3"))
}

#[test]
fn a_run_from_a_name_downloads_and_draws_and_the_next_one_needs_no_hub() {
    let server = sd3();
    let user = User::of(&server);
    let (first, said) = user.draw(&["--model", "org/sd3"]);
    assert!(said.contains("downloading") && said.contains("of org/sd3"), "{said}");
    let cached = user.cached("org/sd3");
    assert!(cached.contains(&"transformer/diffusion_pytorch_model.safetensors".to_owned()), "{cached:?}");
    for other in ["original.safetensors", "reference.safetensors", "reference.json", "stages.safetensors", "lora/"] {
        assert!(!cached.iter().any(|file| file.starts_with(other)), "{other}: {cached:?}");
    }
    // The same from the folder on disk, but for the name in its text.
    let folder = fixture("sd3");
    let (from_folder, _) = user.draw(&["--model", folder.to_str().unwrap()]);
    assert_eq!(image::load_from_memory(&first).unwrap(), image::load_from_memory(&from_folder).unwrap());

    server.stop();
    let (second, said) = user.draw(&["--model", "org/sd3"]);
    assert!(second == first, "another image from the cache");
    assert!(said.contains("cannot be reached") && !said.contains("downloading"), "{said}");
    let mut offline = user.txt2img(&["--model", "org/sd3"]);
    offline.env("HF_HUB_OFFLINE", "1");
    assert!(drawn(&user.folder, offline).0 == first);
    assert!(String::from_utf8_lossy(&first).contains("Model: sd3"));
}

#[test]
fn a_model_in_shards_and_one_of_the_other_family_are_drawn_with() {
    let server = Server::start().with_folder("org/large", &fixture("sd3-large")).with_folder("org/flux", &fixture("flux-dev"));
    let user = User::of(&server);
    for (name, folder) in [("org/large", "sd3-large"), ("org/flux", "flux-dev")] {
        let (from_hub, _) = user.draw(&["--model", name]);
        let (from_folder, _) = user.draw(&["--model", fixture(folder).to_str().unwrap()]);
        assert_eq!(image::load_from_memory(&from_hub).unwrap(), image::load_from_memory(&from_folder).unwrap());
    }
    assert!(user.cached("org/large").iter().any(|file| file.ends_with("00002-of-00002.safetensors")));
}

#[test]
fn without_t5_no_t5_is_downloaded_and_the_next_run_with_it_fetches_it() {
    let server = sd3();
    let user = User::of(&server);
    let (without, _) = user.draw(&["--model", "org/sd3", "--t5xxl", "none"]);
    assert!(!user.cached("org/sd3").iter().any(|file| file.contains("_3/")), "{:?}", user.cached("org/sd3"));
    assert!(!server.requests().iter().any(|request| request.contains("_3/")));
    let (with, said) = user.draw(&["--model", "org/sd3"]);
    assert!(with != without && said.contains("downloading"), "{said}");
    let (again, _) = user.draw(&["--model", "org/sd3", "--t5xxl", "none"]);
    assert!(again == without);
    let encoders = ["--clip-l", "none", "--clip-g", "none", "--t5xxl", "none"];
    refused(user.txt2img(&[&["--model", "org/sd3"], &encoders[..]].concat()), &["holds none of CLIP-L, CLIP-G, T5"]);
}

#[test]
fn components_and_loras_come_from_repositories_too() {
    let server = sd3().with_folder("org/loras", &fixture("sd3/lora")).with_folder("org/vae", &fixture("sd3/vae"));
    let user = User::of(&server);
    let folder = fixture("sd3");
    let path = |file: &str| folder.join(file).to_str().unwrap().to_owned();
    let model = path("");
    let lora = format!("{}:0.8", path("lora/kohya.safetensors"));
    let (expected, _) = user.draw(&["--model", &model, "--lora", &lora]);
    let parts = ["--vae", "org/vae", "--t5xxl", "org/sd3", "--lora", "org/loras:kohya.safetensors:0.8"];
    let (found, said) = user.draw(&[&["--model", &model], &parts[..]].concat());
    assert_eq!(image::load_from_memory(&found).unwrap(), image::load_from_memory(&expected).unwrap(), "{said}");
    assert_eq!(user.cached("org/loras"), ["kohya.safetensors"]);
    assert_eq!(user.cached("org/vae"), ["config.json", "diffusion_pytorch_model.safetensors"]);
    assert!(String::from_utf8_lossy(&found).contains("<lora:kohya:0.8>"));
    refused(user.txt2img(&["--model", &model, "--lora", "org/loras"]), &["several files", "org/loras", "kohya.safetensors"]);
}

#[test]
fn a_single_file_is_taken_from_a_repository() {
    let server = sd3();
    let user = User::of(&server);
    let config = fixture("sd3");
    let arguments = ["--model", "org/sd3:original.safetensors", "--config", config.to_str().unwrap()];
    let (_, said) = user.draw(&arguments);
    assert!(said.contains("downloading 1 file of org/sd3"), "{said}");
    assert_eq!(user.cached("org/sd3"), ["original.safetensors"]);
}

#[test]
fn tokens_come_from_the_environment_and_from_the_login() {
    let server = sd3();
    server.state().gated = vec!["org/sd3".to_owned()];
    let user = User::of(&server);
    refused(user.txt2img(&["--model", "org/sd3"]), &["error: org/sd3 is a gated model", "hf auth login"]);
    fs::create_dir_all(user.folder.path().join("hf")).unwrap();
    fs::write(user.folder.path().join("hf/token"), TOKEN).unwrap();
    let (first, _) = user.draw(&["--model", "org/sd3"]);
    fs::remove_dir_all(user.folder.path().join("hf")).unwrap();
    let mut command = user.txt2img(&["--model", "org/sd3"]);
    command.env("HF_TOKEN", TOKEN);
    assert!(drawn(&user.folder, command).0 == first);
}

#[test]
fn what_cannot_be_had_is_said_in_words() {
    let server = sd3();
    let user = User::of(&server);
    refused(user.txt2img(&["--model", "org/nothing"]), &["has no model org/nothing"]);
    refused(user.txt2img(&["--model", "flux-dve"]), &["did you mean flux-dev?", "sd3.5-large-turbo"]);
    refused(user.txt2img(&["--model", "flux-dev:q1"]), &["flux-dev:q8"]);
    refused(user.txt2img(&["--model", "./org/sd3"]), &["./org/sd3"]);
    refused(user.txt2img(&["--model", "models/sd3.safetensors"]), &["models/sd3.safetensors", "No such file"]);
    server.stop();
    refused(user.txt2img(&["--model", "org/sd3"]), &["cannot be reached", "org/sd3 is not in the cache", "because:"]);
    let mut offline = user.txt2img(&["--model", "org/sd3"]);
    offline.env("HF_HUB_OFFLINE", "1");
    refused(offline, &["org/sd3 is not in the cache", "HF_HUB_OFFLINE is set"]);
}

#[test]
fn a_path_counts_before_a_repository_of_the_same_name() {
    let server = sd3();
    let user = User::of(&server);
    let org = user.folder.path().join("org");
    fs::create_dir(&org).unwrap();
    fs::write(org.join("sd3"), "no model").unwrap();
    refused(user.txt2img(&["--model", "org/sd3"]), &["org/sd3"]);
    assert!(server.requests().is_empty());
}

#[test]
fn the_list_of_known_models_tells_which_are_in_the_cache() {
    let server = Server::start();
    let user = User::of(&server);
    let listed = || {
        let output = user.program(env!("CARGO_BIN_EXE_txt2img")).arg("--list-models").output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let line =
        |text: &str, name: &str| text.lines().find(|line| line.trim_start().starts_with(&format!("{name} "))).unwrap().to_owned();
    let text = listed();
    assert!(text.contains("Apache 2.0") && line(&text, "flux-schnell:q8").contains(" no"), "{text}");
    let (_, variant) = diffusion_app::known_models::find("flux-schnell:q8").unwrap();
    for part in variant.parts {
        let reference = part.reference();
        let root = format!("hf/hub/models--{}", reference.repository.replace('/', "--"));
        let root = user.folder.path().join(root);
        let file = root.join("snapshots").join(COMMIT).join(reference.file.unwrap());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "weights").unwrap();
        fs::create_dir_all(root.join("refs")).unwrap();
        fs::write(root.join("refs/main"), COMMIT).unwrap();
    }
    let text = listed();
    assert!(line(&text, "flux-schnell:q8").contains(" yes") && line(&text, "flux-dev:q8").contains(" no"), "{text}");
    assert!(server.requests().is_empty());
}

#[test]
fn programs_that_read_files_alone_say_how_a_repository_is_downloaded() {
    let server = sd3();
    let user = User::of(&server);
    let mut inspect = user.program(env!("CARGO_BIN_EXE_inspect"));
    inspect.arg("org/sd3:original.safetensors");
    refused(inspect, &["help: ", "hf download org/sd3 original.safetensors"]);
    let mut convert = user.program(env!("CARGO_BIN_EXE_convert"));
    convert.args(["org/sd3", "out.gguf", "--dtype", "q8_0"]);
    refused(convert, &["hf download org/sd3"]);
    assert!(server.requests().is_empty());
}
