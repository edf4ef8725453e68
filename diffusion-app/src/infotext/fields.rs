//! Fields `Key: value, Key: "quoted, value"` in one line.

use std::fmt::{self, Write};

/// Write a field. Values that would not be read again are quoted as strings of JSON.
pub(super) fn write_field(f: &mut fmt::Formatter<'_>, key: &str, value: &str) -> fmt::Result {
    let is_plain = !value.contains([',', ':', '\n', '\r']) && !value.starts_with(['"', '[', '{']) && value.trim() == value;
    if is_plain {
        return write!(f, "{key}: {value}");
    }
    write!(f, "{key}: \"")?;
    for c in value.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            // Plain values have been trimmed where they are read, and such characters are no part of strings in JSON.
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// The fields of a line. What is no field is passed over.
pub(super) fn read_fields(line: &str) -> Vec<(&str, String)> {
    let mut fields = Vec::new();
    let mut rest = line;
    while let Some((key, after)) = key(rest) {
        let (value, after) = value(after.trim_start());
        fields.push((key, value));
        rest = after;
    }
    fields
}

/// The next key, and what follows its colon.
fn key(mut rest: &str) -> Option<(&str, &str)> {
    loop {
        let colon = rest.find(':')?;
        // Between fields there may be text without a colon, which ends in a comma.
        let key = rest[..colon].rsplit(',').next().unwrap_or_default().trim_start();
        let after = &rest[colon + 1..];
        if is_key(key) {
            return Some((key, after));
        }
        rest = after;
    }
}

fn is_key(key: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut chars = key.chars();
    chars.next().is_some_and(is_word) && !chars.as_str().is_empty() && chars.all(|c| is_word(c) || matches!(c, ' ' | '-' | '/'))
}

/// The value that a text begins with, and what follows the comma after it.
fn value(text: &str) -> (String, &str) {
    let is_end = |end: &usize| matches!(text[*end..].trim_start().chars().next(), None | Some(','));
    let end_of_quoted = end_of_string(text).filter(is_end);
    if let Some(end) = end_of_quoted
        && let Ok(value) = serde_json::from_str(&text[..end])
    {
        return (value, after_comma(&text[end..]));
    }
    // Lists and objects of JSON stand there without quotes, too: CivitAI writes what it knows so.
    let end = end_of_nested(text).filter(is_end).or_else(|| text.find(',')).unwrap_or(text.len());
    (text[..end].trim().to_owned(), after_comma(&text[end..]))
}

fn after_comma(text: &str) -> &str {
    text.trim_start().strip_prefix(',').unwrap_or_default()
}

/// Where a string of JSON ends that the text begins with.
fn end_of_string(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('"')?;
    let mut is_escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(1 + at + 1),
            _ => {}
        }
    }
    None
}

/// Where a list or an object of JSON ends that the text begins with.
fn end_of_nested(text: &str) -> Option<usize> {
    if !text.starts_with(['[', '{']) {
        return None;
    }
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.checked_sub(1)?,
            '"' => {
                at += end_of_string(&text[at..])?;
                continue;
            }
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return Some(at);
        }
    }
    None
}
