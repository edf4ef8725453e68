//! Lines on standard output and standard error, which may be closed pipes, full devices, or terminals that obey escapes.

use std::fmt::Display;
use std::io::{self, Write, stderr, stdout};

use diffusion_core::files::acts;

/// Why a program's results could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output; is the disk that it goes to full?")]
pub struct PrintError {
    /// What the operating system says.
    pub source: io::Error,
}

/// Print a line, or several, of a program's results to standard output.
///
/// A reader that has seen enough, as in `| head`, is no error. What the line holds of control characters is escaped, as
/// [`printable`] says.
///
/// # Errors
/// [`PrintError`] if it cannot be written, to a full disk for instance.
pub fn print(line: impl Display) -> Result<(), PrintError> {
    write_line(&mut stdout().lock(), line).or_else(|source| match source.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(PrintError { source }),
    })
}

/// Say a line, or several, to the user on standard error: progress, warnings, what went wrong.
///
/// Nobody may listen, which must not end the work: a line that cannot be written is dropped. Control characters are escaped,
/// as [`printable`] says.
pub fn say(line: impl Display) {
    let _ = write_line(&mut stderr().lock(), line);
}

/// A text without anything that a terminal obeys: control characters, which names in files may hold, are escaped as in Rust's
/// strings, and so are those that turn the direction of writing. Ends of lines and tabs stay.
///
/// ```
/// assert_eq!(diffusion_app::cli::printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\n");
/// ```
pub fn printable(text: impl Display) -> String {
    text.to_string().chars().fold(String::new(), |mut text, c| {
        if acts(c) && !matches!(c, '\n' | '\t') {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
        text
    })
}

/// In one piece, so that lines of several threads do not mix.
fn write_line(to: &mut impl Write, line: impl Display) -> io::Result<()> {
    let mut line = printable(line);
    line.push('\n');
    to.write_all(line.as_bytes())?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_written() {
        let mut written = Vec::new();
        write_line(&mut written, "\u{1b}]0;title\u{7}\r\u{9b}2J \u{202e}gnp.exe\u{2066}\n\tcafé 猫 🙂").unwrap();
        let expected = "\\u{1b}]0;title\\u{7}\\r\\u{9b}2J \\u{202e}gnp.exe\\u{2066}\n\tcafé 猫 🙂\n";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_no_panic() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(write_line(&mut Full, "a line").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
