//! `<lora:NAME:WEIGHT>` in prompts, as all programs around AUTOMATIC1111's choose LoRAs.

/// A LoRA that a prompt names.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraTag {
    /// Its name.
    pub name: String,
    /// How strong it is; 1 is what it was trained with.
    pub weight: f64,
}

/// A tag that says something else than a name and a weight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tag:?} does not name a LoRA and its weight, as in <lora:style:0.8>")]
pub struct LoraTagError {
    /// The tag.
    pub tag: String,
}

/// The prompt without its tags, and what they say.
///
/// `<lora:NAME>` stands for the weight 1; a weight of its own for text encoders, `<lora:NAME:TEXT:NETWORK>`, must be the same one.
///
/// # Errors
/// [`LoraTagError`] if a weight is no finite number, the name is empty, or the tag says more.
pub fn take_lora_tags(prompt: &str) -> Result<(String, Vec<LoraTag>), LoraTagError> {
    // LyCORIS had an extension with a tag of its own, once.
    const STARTS: [&str; 2] = ["<lora:", "<lyco:"];
    let (mut text, mut tags) = (String::with_capacity(prompt.len()), Vec::new());
    let mut rest = prompt;
    while let Some((start, inner, after)) = next_tag(rest, &STARTS) {
        text.push_str(&rest[..start]);
        tags.push(tag(inner).ok_or_else(|| LoraTagError { tag: rest[start..rest.len() - after.len()].to_owned() })?);
        rest = after;
        // One of the two spaces around a tag is its own.
        if text.is_empty() || text.ends_with(char::is_whitespace) {
            rest = rest.strip_prefix(' ').unwrap_or(rest);
        }
        if rest.is_empty() {
            text.truncate(text.trim_end().len());
        }
    }
    text.push_str(rest);
    Ok((text, tags))
}

/// Where a tag begins, what is in it, and what follows it.
fn next_tag<'a>(text: &'a str, starts: &[&str]) -> Option<(usize, &'a str, &'a str)> {
    let (start, name) = starts.iter().filter_map(|name| Some((text.find(name)?, name))).min()?;
    let inside = &text[start + name.len()..];
    let end = inside.find('>')?;
    Some((start, &inside[..end], &inside[end + 1..]))
}

fn tag(inner: &str) -> Option<LoraTag> {
    let mut parts = inner.split(':').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let mut weights = parts.map(|part| part.parse().ok().filter(|weight: &f64| weight.is_finite()));
    let weight = weights.next().unwrap_or(Some(1.0))?;
    let is_all = match (weights.next(), weights.next()) {
        (None, _) => true,
        (Some(network), None) => network == Some(weight),
        _ => false,
    };
    is_all.then_some(LoraTag { name, weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(prompt: &str) -> (String, Vec<(String, f64)>) {
        let (text, tags) = take_lora_tags(prompt).unwrap();
        (text, tags.into_iter().map(|tag| (tag.name, tag.weight)).collect())
    }

    #[test]
    fn tags_leave_the_prompt_with_the_space_before_them() {
        let one = |text: &str, weight| (text.to_owned(), vec![("ink".to_owned(), weight)]);
        assert_eq!(taken("a ring <lora:ink:0.7>"), one("a ring", 0.7));
        assert_eq!(taken("a ring <lora:ink> on white"), one("a ring on white", 1.0));
        assert_eq!(taken("<lora:ink:-1>a ring"), one("a ring", -1.0));
        assert_eq!(taken("<lyco: ink :.5:0.5> a ring\n"), one("a ring\n", 0.5));
        assert_eq!(taken("a < b, <b>, <lora:"), ("a < b, <b>, <lora:".to_owned(), vec![]));
        let (text, tags) = taken("a <lora:ink:1> ring <lora:two words:0.25> <lyco:ink:2>");
        assert_eq!(text, "a ring");
        assert_eq!(tags, [("ink".to_owned(), 1.0), ("two words".to_owned(), 0.25), ("ink".to_owned(), 2.0)]);
    }

    #[test]
    fn tags_that_say_something_else_are_named() {
        for tag in ["<lora::1>", "<lora:ink:strong>", "<lora:ink:nan>", "<lora:ink:1:0.5>", "<lora:ink:1:1:lbw=XYZ>", "<lora:>"] {
            let error = take_lora_tags(&format!("a ring {tag}, red")).unwrap_err();
            assert_eq!(error.tag, tag);
            assert!(error.to_string().contains("as in <lora:style:0.8>"));
        }
    }
}
