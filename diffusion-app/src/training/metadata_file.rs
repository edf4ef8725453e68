//! Captions in `metadata.jsonl`, as the Hugging Face hub's folders of images have them.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use diffusion_core::files::Shown;
use serde_json::Value;

use super::folder_problems::FolderProblem;

/// Name of the file.
pub(super) const METADATA: &str = "metadata.jsonl";

/// A picture that a line names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) caption: String,
}

/// The captions in the text of a file, by the names of pictures, with `/` between folders; what is wrong with lines goes to
/// `problems`.
///
/// A line is an object with `file_name`, and with `text` or else `caption`. Whatever else it has is left alone.
pub(super) fn parse(text: &str, problems: &mut Vec<FolderProblem>) -> BTreeMap<String, Line> {
    let mut lines = BTreeMap::<String, Line>::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let parsed = parse_line(line).and_then(|(name, caption)| match lines.get(&name) {
            Some(earlier) => Err(format!("{} has a line already, line {}", Shown(&name), earlier.number)),
            None => Ok((name, caption)),
        });
        match parsed {
            Ok((name, caption)) => drop(lines.insert(name, Line { number, caption })),
            Err(problem) => problems.push(FolderProblem::Metadata { line: number, problem }),
        }
    }
    lines
}

/// The name of a picture, and its caption.
fn parse_line(line: &str) -> Result<(String, String), String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("it is no JSON ({error})"))?;
    let name = value.get("file_name").and_then(Value::as_str).ok_or("it has no \"file_name\"")?;
    let caption = ["text", "caption"].into_iter().find_map(|key| value.get(key)).and_then(Value::as_str);
    let outside = || format!("{} is no path to a picture below the folder", Shown(name));
    let mut parts = Vec::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => parts.extend(part.to_str()),
            Component::CurDir => {}
            _ => return Err(outside()),
        }
    }
    if parts.is_empty() {
        return Err(outside());
    }
    let caption = caption.ok_or_else(|| format!("{} has neither \"text\" nor \"caption\"", Shown(name)))?;
    Ok((parts.join("/"), caption.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_pictures_and_their_captions() {
        let mut problems = Vec::new();
        let text = "{\"file_name\": \"b.png\", \"text\": \"a fox\", \"caption\": \"not this\", \"width\": 3}\r\n\n\
                    {\"file_name\": \"./train/a.png\", \"caption\": \"snow\"}\n";
        let line = |number, caption: &str| Line { number, caption: caption.to_owned() };
        let expected = [("b.png".to_owned(), line(1, "a fox")), ("train/a.png".to_owned(), line(3, "snow"))];
        assert_eq!(parse(text, &mut problems), expected.into());
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn every_line_that_is_wrong_is_named() {
        for (line, words) in [
            ("{\"file_name\": \"a.png\", \"text\":", "line 2: it is no JSON"),
            ("[1]", "it has no \"file_name\""),
            ("{\"text\": \"a fox\"}", "it has no \"file_name\""),
            ("{\"file_name\": 3, \"text\": \"a fox\"}", "it has no \"file_name\""),
            ("{\"file_name\": \"b.png\"}", "b.png has neither \"text\" nor \"caption\""),
            ("{\"file_name\": \"b.png\", \"text\": [\"a fox\"]}", "neither"),
            ("{\"file_name\": \"../b.png\", \"text\": \"a fox\"}", "no path to a picture below the folder"),
            ("{\"file_name\": \"/b.png\", \"text\": \"a fox\"}", "no path to a picture"),
            ("{\"file_name\": \"\", \"text\": \"a fox\"}", "no path to a picture"),
            ("{\"file_name\": \"./a.png\", \"text\": \"a fox\"}", "a.png has a line already, line 1"),
        ] {
            let mut problems = Vec::new();
            let text = format!("{{\"file_name\": \"a.png\", \"text\": \"snow\"}}\n{line}\n");
            assert_eq!(parse(&text, &mut problems).len(), 1);
            let [problem] = &*problems else { panic!("{problems:?}") };
            assert!(problem.to_string().contains(words), "{problem}");
        }
    }
}
