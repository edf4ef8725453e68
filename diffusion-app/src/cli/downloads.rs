//! Downloads on the terminal.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::progress::Verbosity;
use crate::hub::HubEvent;

/// Bytes of a repository, with the time that is left.
const BYTES: &str = "downloading [{bar:30}] {bytes}/{total_bytes}, {elapsed} gone, {eta} left";
/// What takes no longer has no bar.
const SHORT: Duration = Duration::from_secs(2);

/// Downloads on the terminal: a line for each repository, and a bar for what takes longer than two seconds.
#[derive(Debug)]
pub struct Downloads {
    verbosity: Verbosity,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Downloads {
    /// Nothing yet.
    pub fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, began: Instant::now(), bar: None }
    }

    /// Show what a hub tells.
    pub fn show(&mut self, event: &HubEvent<'_>) {
        match *event {
            HubEvent::Started { repository, files, bytes } => {
                self.began = Instant::now();
                let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
                self.say(&format!("downloading {files} of {repository}, {}", HumanBytes(bytes)));
            }
            HubEvent::Progress { done, total } if self.verbosity == Verbosity::Normal => self.move_to(done, total),
            HubEvent::Finished { repository, bytes } => {
                self.bar = None;
                let seconds = self.began.elapsed().as_secs_f64();
                self.say(&format!("downloaded {repository}, {} in {seconds:.1} s", HumanBytes(bytes)));
            }
            HubEvent::Waiting { file } => self.say(&format!("another program downloads {file}; waiting for it")),
            HubEvent::Resuming { file, at } => {
                self.say(&format!("the connection broke; going on with {file} at {}", HumanBytes(at)));
            }
            HubEvent::FromCache { repository } => {
                self.say(&format!("the hub cannot be reached; drawing with {repository} as it is in the cache"));
            }
            _ => {}
        }
    }

    fn move_to(&mut self, done: u64, total: u64) {
        if self.bar.is_none() && self.began.elapsed() >= SHORT {
            let style = ProgressStyle::with_template(BYTES).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_elapsed(self.began.elapsed());
            bar.set_position(done);
            // What an earlier run left there says nothing about the speed of this one.
            bar.reset_eta();
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.verbosity.note(line)),
            None => self.verbosity.note(line),
        }
    }
}

impl Drop for Downloads {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_download_has_no_bar_and_a_long_one_shows_where_it_is() {
        ProgressStyle::with_template(BYTES).unwrap();
        let mut downloads = Downloads::new(Verbosity::Normal);
        downloads.show(&HubEvent::Progress { done: 1, total: 10 });
        assert!(downloads.bar.is_none());
        downloads.began = Instant::now().checked_sub(SHORT).unwrap();
        downloads.show(&HubEvent::Progress { done: 4, total: 10 });
        let bar = downloads.bar.as_ref().unwrap();
        assert_eq!((bar.position(), bar.length()), (4, Some(10)));
        downloads.show(&HubEvent::Finished { repository: "org/name", bytes: 10 });
        assert!(downloads.bar.is_none());
    }
}
