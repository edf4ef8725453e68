//! Captions as they are learnt.

use std::path::Path;

use super::folder_problems::FolderProblem;
use crate::prompts_file::{PromptsFileError, read_prompts};

/// Most characters of a caption: 512 tokens, the most that a text encoder sees, have about 2500.
pub const MAX_CAPTION: usize = 10_000;

/// Where the trigger word goes.
const PLACE: &str = "[trigger]";

/// What is wrong with a caption.
#[derive(Debug)]
pub(super) enum CaptionFlaw {
    Empty,
    Long { characters: usize },
    NoTrigger,
    File(PromptsFileError),
}

impl CaptionFlaw {
    /// The caption is that of this picture.
    pub(super) fn of(self, picture: &str) -> FolderProblem {
        let picture = picture.to_owned();
        match self {
            Self::Empty => FolderProblem::EmptyCaption { picture },
            Self::Long { characters } => FolderProblem::LongCaption { picture, characters, most: MAX_CAPTION },
            Self::NoTrigger => FolderProblem::NoTrigger { picture },
            Self::File(source) => FolderProblem::Caption { picture, source },
        }
    }
}

/// The caption in a file: its lines, as one.
pub(super) fn read_caption(path: &Path, trigger: Option<&str>) -> Result<String, CaptionFlaw> {
    match read_prompts(path) {
        Ok(lines) => finished(&lines.join(" "), trigger),
        Err(PromptsFileError::Empty { .. }) => Err(CaptionFlaw::Empty),
        Err(error) => Err(CaptionFlaw::File(error)),
    }
}

/// A caption without superfluous space, with its trigger word: in place of `[trigger]`, or else in front, unless it is there.
pub(super) fn finished(text: &str, trigger: Option<&str>) -> Result<String, CaptionFlaw> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let caption = words.join(" ");
    let has_place = caption.contains(PLACE);
    let caption = match trigger {
        _ if caption.is_empty() => return Err(CaptionFlaw::Empty),
        None if has_place => return Err(CaptionFlaw::NoTrigger),
        None => caption,
        Some(trigger) if has_place => caption.replace(PLACE, trigger),
        Some(trigger) if has_word(&caption, trigger) => caption,
        Some(trigger) => format!("{trigger} {caption}"),
    };
    match caption.chars().count() {
        characters if characters > MAX_CAPTION => Err(CaptionFlaw::Long { characters }),
        _ => Ok(caption),
    }
}

/// Whether a text has a word, or several, and not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphanumeric);
    text.match_indices(word).any(|(start, found)| {
        let (before, after) = (&text[..start], &text[start + found.len()..]);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trigger_word_goes_to_its_place_or_in_front() {
        for (caption, expected) in [
            ("a photo of [trigger] in the snow", "a photo of sks dog in the snow"),
            ("[trigger], [trigger]", "sks dog, sks dog"),
            ("in the snow", "sks dog in the snow"),
            ("a sks dog, running", "a sks dog, running"),
            ("sks dog", "sks dog"),
            ("sks dogs in the snow", "sks dog sks dogs in the snow"),
            ("\u{fc}sks dog", "sks dog \u{fc}sks dog"),
            ("  in\tthe \r\n snow ", "sks dog in the snow"),
        ] {
            assert_eq!(finished(caption, Some("sks dog")).unwrap(), expected);
        }
        assert_eq!(finished(" in the  snow", None).unwrap(), "in the snow");
        assert!(matches!(finished("a [trigger]", None), Err(CaptionFlaw::NoTrigger)));
        assert!(matches!(finished(" \n", Some("sks")), Err(CaptionFlaw::Empty)));
    }

    #[test]
    fn captions_end_somewhere() {
        assert!(finished(&"\u{e9}".repeat(MAX_CAPTION), None).is_ok());
        let flaw = finished(&"word ".repeat(10_000), None).unwrap_err();
        assert!(matches!(flaw, CaptionFlaw::Long { characters: 49_999 }), "{flaw:?}");
    }

    #[test]
    fn lines_of_a_file_are_one_caption() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "\u{feff}a fox\r\n\r\nin the snow\n").unwrap();
        assert_eq!(read_caption(&path, None).unwrap(), "a fox in the snow");
        std::fs::write(&path, "\n \n").unwrap();
        assert!(matches!(read_caption(&path, None), Err(CaptionFlaw::Empty)));
        std::fs::write(&path, [b'a', 0xff]).unwrap();
        assert!(matches!(read_caption(&path, None), Err(CaptionFlaw::File(PromptsFileError::Encoding { .. }))));
    }
}
