//! A Postgres for a test.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A Postgres of a test's own, on the loopback, which ends with it.
pub(crate) struct Postgres {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    process: Option<Child>,
}

/// Whom it runs as where the test is the administrator, as whom it refuses to run.
const NOBODY: u32 = 65534;
const PATIENCE: Duration = Duration::from_secs(30);

impl Postgres {
    /// An empty database. A machine that loses power is no part of tests.
    pub(crate) fn start() -> Self {
        Self::start_with(&["-c", "fsync=off"])
    }

    /// An empty database with more options.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if is_administrator() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let made = command("initdb")
            .arg("-D")
            .arg(folder.path().join("data"))
            .args(["-U", "studio", "--auth=trust", "--no-sync", "-E", "UTF8", "--no-locale"])
            .stdout(Stdio::null())
            .current_dir("/")
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut postgres = Self { folder, port: free_port(), options, process: None };
        postgres.begin();
        postgres
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("postgres://studio@127.0.0.1:{}/postgres", self.port)
    }

    /// Start it on the data that are there.
    pub(crate) fn begin(&mut self) {
        let log = std::fs::File::create(std::env::temp_dir().join(format!("studio-test-postgres-{}.log", self.port))).unwrap();
        let process = command("postgres")
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .arg("-k")
            .arg(self.folder.path())
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(log)
            .current_dir("/")
            .spawn()
            .unwrap();
        self.process = Some(process);
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "Postgres does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// End it without waiting for anybody.
    pub(crate) fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // Immediate shutdown: as if it had crashed, but no child is left.
        let signalled = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status().unwrap();
        assert!(signalled.success());
        process.wait().unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end();
        let log = std::env::temp_dir().join(format!("studio-test-postgres-{}.log", self.port));
        let _ = std::fs::remove_file(log);
    }
}

fn is_administrator() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// A program of Postgres.
fn command(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    if is_administrator() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Where the programs of Postgres are: on Debian, not where others are.
fn programs() -> PathBuf {
    let newest =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).max();
    newest.filter(|folder| folder.join("initdb").is_file()).unwrap_or_else(|| {
        let asked = Command::new("pg_config").arg("--bindir").output();
        let folder = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Path::new(&folder.expect("these tests need Postgres: on Debian, the package postgresql")).to_owned()
    })
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
