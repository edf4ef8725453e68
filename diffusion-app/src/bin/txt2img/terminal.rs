//! The terminal that previews are shown in.

use std::io::{IsTerminal, stdout};

#[cfg(feature = "terminal")]
use std::error::Error;

/// A terminal that shows images.
pub(crate) struct Terminal {
    /// Whether it answers, so that it may be asked what it can do. Nothing else ends waiting for an answer.
    #[cfg_attr(not(feature = "terminal"), expect(dead_code, reason = "only images need it"))]
    answers: bool,
}

impl Terminal {
    /// The terminal of standard output, or why nothing can be shown there.
    pub(crate) fn find() -> Result<Self, &'static str> {
        if cfg!(not(feature = "terminal")) {
            return Err("this program was built without its feature terminal");
        }
        if !stdout().is_terminal() {
            return Err("standard output is no terminal");
        }
        if cfg!(unix) && std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb") {
            return Err("the terminal shows text only (TERM=dumb)");
        }
        Ok(Self { answers: answers() })
    }
}

/// Whether the terminal says what it is when it is asked, within a fifth of a second.
#[cfg(unix)]
fn answers() -> bool {
    use std::io::{Read, Write, stdin};

    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

    /// Tenths of a second.
    const PATIENCE: u8 = 2;
    /// "Primary device attributes", which every terminal knows.
    const QUESTION: &[u8] = b"\x1b[c";
    let mut input = stdin();
    // Where answers would come from. In a pipe, there may be prompts.
    let Ok(before) = tcgetattr(&input) else { return false };
    let mut asking = before.clone();
    asking.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    asking.special_codes[SpecialCodeIndex::VMIN] = 0;
    asking.special_codes[SpecialCodeIndex::VTIME] = PATIENCE;
    if tcsetattr(&input, OptionalActions::Now, &asking).is_err() {
        return false;
    }
    let mut answer = [0; 64];
    let asked = stdout().write_all(QUESTION).and_then(|()| stdout().flush());
    let answered = asked.and_then(|()| input.read(&mut answer)).is_ok_and(|length| answer[..length].starts_with(b"\x1b[?"));
    // What is left of the answer goes too, so that nobody takes it for something typed.
    let _ = tcsetattr(&input, OptionalActions::Flush, &before);
    answered
}

/// Other systems' terminals that show images say so in the environment.
#[cfg(not(unix))]
fn answers() -> bool {
    false
}

/// Show an image in the terminal, as well as it can.
#[cfg(feature = "terminal")]
pub(crate) fn show(image: &image::DynamicImage, terminal: &Terminal) -> Result<(), Box<dyn Error>> {
    /// Columns of an image.
    const COLUMNS: u32 = 48;
    let config =
        viuer::Config { absolute_offset: false, width: Some(COLUMNS), use_kitty: terminal.answers, ..viuer::Config::default() };
    viuer::print(image, &config)?;
    Ok(())
}

#[cfg(not(feature = "terminal"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
pub(crate) fn show(_: &image::DynamicImage, _: &Terminal) -> Result<(), Box<dyn std::error::Error>> {
    Ok(())
}
