//! Text of strangers on a terminal.

use std::fmt::{self, Display, Write};

/// Longer names are cut where they are shown; published names have up to 120 characters.
const MOST_SHOWN: usize = 250;

/// A name from a file, as messages show it: control characters escaped, and cut if it is very long.
///
/// ```
/// use diffusion_core::files::Shown;
///
/// assert_eq!(Shown("blocks.0\u{1b}[2J\n").to_string(), r"blocks.0\u{1b}[2J\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(MOST_SHOWN).map_or(self.0.len(), |(end, _)| end);
        write!(f, "{}{}", OneLine(&self.0[..end]), if end < self.0.len() { "…" } else { "" })
    }
}

/// Anything on one line and without effect on a terminal: control characters are escaped, and those that turn the direction of
/// writing.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<T>(pub T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(
            |char| {
                if acts(char) { write!(self.0, "{}", char.escape_default()) } else { self.0.write_char(char) }
            },
        )
    }
}

/// Whether a terminal does something else with a character than to show it: control characters, and those that turn the
/// direction of writing.
pub fn acts(char: char) -> bool {
    let turns = matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped_and_all_else_is_shown() {
        for plain in ["joint_blocks.0.x_block.attn.qkv.weight", "größe \"ä\\b\" 模型", ""] {
            assert_eq!(Shown(plain).to_string(), plain);
        }
        assert_eq!(Shown("\u{1b}]0;x\u{7}\r\n\u{9b}31m\u{202e}").to_string(), r"\u{1b}]0;x\u{7}\r\n\u{9b}31m\u{202e}");
    }

    #[test]
    fn very_long_names_are_cut_between_characters() {
        let long = "ä".repeat(1000);
        assert_eq!(Shown(&long).to_string(), format!("{}…", "ä".repeat(MOST_SHOWN)));
        assert_eq!(Shown(&long[..2 * MOST_SHOWN]).to_string(), long[..2 * MOST_SHOWN]);
        assert_eq!(OneLine(&long).to_string(), long);
    }
}
