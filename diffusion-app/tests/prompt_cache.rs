//! `txt2img` with encoded prompts of earlier runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const PROMPT: &str = "a small yellow heart at the top on a purple background";
const FOUND: &str = "the prompt was encoded in an earlier run";

fn fixture(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path).to_str().unwrap().to_owned()
}

/// A folder to draw in, and a cache folder, which is in it unless it is shared.
struct User {
    home: TempDir,
    cache: PathBuf,
}

impl User {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { cache: home.path().join("cache"), home }
    }

    fn with_cache_of(other: &Self) -> Self {
        Self { home: tempfile::tempdir().unwrap(), cache: other.cache.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_txt2img"));
        command.env("XDG_CACHE_HOME", &self.cache).current_dir(&self.home);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.program().args(arguments).output().unwrap()
    }

    /// The latents, and what was said.
    #[track_caller]
    fn draw(&self, arguments: &[&str]) -> (Vec<u8>, String) {
        let small = ["--width", "64", "--height", "64", "--steps", "1", "--save-latents", "latents.safetensors", PROMPT];
        let output = self.run(&[&small, arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        (fs::read(self.path("latents.safetensors")).unwrap(), said)
    }

    /// Kept prompts in a folder.
    fn kept(&self, folder: &str) -> Vec<PathBuf> {
        fs::read_dir(self.path(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// The cache folder of this system follows the variable.
#[cfg(target_os = "linux")]
#[test]
fn prompts_are_kept_in_the_users_cache_folder() {
    let user = User::new();
    let (expected, said) = user.draw(&["--no-cache-prompts"]);
    assert!(!said.contains(FOUND) && !user.path("cache/diffusion/prompts").exists());
    for run in 0..2 {
        let (drawn, said) = user.draw(&[]);
        assert!(drawn == expected);
        assert_eq!(said.contains(FOUND), run == 1, "{said}");
        assert!(!said.contains("warning"), "{said}");
    }
    assert_eq!(user.kept("cache/diffusion/prompts").len(), 2, "the prompt and the negative one");
    let (drawn, said) = user.draw(&["--no-cache-prompts"]);
    assert!(drawn == expected && !said.contains(FOUND), "{said}");
    let (_, said) = user.draw(&["--negative-prompt", "fog"]);
    assert!(said.contains("1 of 2 texts read from"), "{said}");
    let (_, said) = user.draw(&["--quiet"]);
    assert_eq!(said, "");
}

#[test]
fn loras_of_text_encoders_count_with_their_strength_and_how_they_are_applied() {
    let user = User::new();
    let model = fixture("sd3");
    let lora = |strength: &str| format!("{}:{strength}", fixture("sd3/lora/text_encoders.safetensors"));
    let (strong, weak, none) = (lora("0.8"), lora("0.4"), lora("0"));
    let draw = |cache: &[&str], loras: &[&str]| user.draw(&[&["--model", &model], cache, loras].concat());
    let cache = ["--cache-prompts", "kept"];
    let cases: [(&[&str], bool); 6] = [
        (&[], false),
        (&["--lora", &strong, "--lora-mode", "merge"], false),
        (&["--lora", &strong, "--lora-mode", "attach"], false),
        (&["--lora", &weak, "--lora-mode", "attach"], false),
        (&["--lora", &weak, "--lora", &strong, "--lora-mode", "attach"], false),
        // Nothing of it is applied.
        (&["--lora", &none], true),
    ];
    for (loras, is_known) in cases {
        let (expected, _) = draw(&["--no-cache-prompts"], loras);
        for run in 0..2 {
            let (drawn, said) = draw(&cache, loras);
            assert!(drawn == expected, "{loras:?}");
            assert_eq!(said.contains(FOUND), is_known || run == 1, "{loras:?}: {said}");
        }
    }
    // A copy of the file is the same LoRA, and another one under its name is not.
    let [copy, other] = ["text_encoders", "kohya"].map(|name| fixture(&format!("sd3/lora/{name}.safetensors")));
    fs::copy(copy, user.path("copy.safetensors")).unwrap();
    assert!(draw(&cache, &["--lora", "copy.safetensors:0.8", "--lora-mode", "attach"]).1.contains(FOUND));
    fs::copy(other, user.path("copy.safetensors")).unwrap();
    // It has nothing for text encoders, so that the prompt is the one without a LoRA.
    assert!(draw(&cache, &["--lora", "copy.safetensors:0.8", "--lora-mode", "attach"]).1.contains(FOUND));
}

#[test]
fn a_damaged_prompt_is_a_warning_and_is_written_again() {
    let user = User::new();
    let cache = ["--cache-prompts", "kept"];
    let (expected, _) = user.draw(&cache);
    let path = user.kept("kept").remove(0);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 7]).unwrap();
    let (drawn, said) = user.draw(&cache);
    assert!(drawn == expected);
    assert!(said.contains("warning: ") && said.contains(path.file_name().unwrap().to_str().unwrap()), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().len(), whole.len() as u64);
    assert!(user.draw(&cache).1.contains(FOUND));
}

#[test]
fn only_a_folder_that_was_asked_for_has_to_be_there_to_be_written() {
    let user = User::new();
    fs::write(user.path("file"), "").unwrap();
    let output = user.run(&["--cache-prompts", "file", PROMPT]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot keep encoded prompts in file") && said.contains("--cache-prompts"), "{said}");
    assert!(!user.path("output.png").exists());
    let output = user.run(&["--cache-prompts", "a", "--no-cache-prompts", PROMPT]);
    assert_eq!(output.status.code(), Some(2));
    #[cfg(target_os = "linux")]
    {
        fs::create_dir_all(user.path("cache/diffusion")).unwrap();
        fs::write(user.path("cache/diffusion/prompts"), "a file in its place").unwrap();
        let (_, said) = user.draw(&[]);
        assert!(said.contains("warning: cannot keep encoded prompts in"), "{said}");
    }
}

#[test]
fn programs_that_draw_at_the_same_time_share_a_folder() {
    let user = User::new();
    let (expected, _) = user.draw(&["--no-cache-prompts"]);
    let folder = user.path("shared");
    let shared = ["--cache-prompts", folder.to_str().unwrap()];
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!(User::with_cache_of(&user).draw(&shared).0 == expected));
        }
    });
    assert_eq!(user.kept("shared").len(), 2);
    let (drawn, said) = user.draw(&shared);
    assert!(drawn == expected && said.contains(FOUND), "{said}");
}
