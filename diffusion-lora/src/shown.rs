//! Names from files, as messages show them.

use std::fmt::{self, Display, Write};

/// A name that a file gives, safe for a terminal: what moves the cursor, rings, or turns the direction of writing is escaped, and
/// what is too long for a sentence is cut.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Longer than every name of a module that is published.
        const LONGEST: usize = 200;
        for character in self.0.chars().take(LONGEST) {
            match character {
                // No escape is needed where nothing is quoted.
                '\'' | '"' | '\\' => f.write_char(character)?,
                _ => Display::fmt(&character.escape_debug(), f)?,
            }
        }
        if self.0.chars().nth(LONGEST).is_some() { f.write_str("...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_names_cut() {
        assert_eq!(Shown("a.b_0\"\u{1b}[2J\u{7}\n\u{202e}é").to_string(), "a.b_0\"\\u{1b}[2J\\u{7}\\n\\u{202e}é");
        assert_eq!(Shown(&"é".repeat(201)).to_string(), "é".repeat(200) + "...");
        assert_eq!(Shown(&"é".repeat(200)).to_string(), "é".repeat(200));
    }
}
