//! Words that a LoRA was trained to answer to.

use std::collections::BTreeMap;

/// More than anybody reads.
const MOST: usize = 12;

/// The words, as the header of a file says: its trigger phrase, or the tags of the training pictures, the most frequent first.
///
/// Reference: `modelspec.trigger_phrase` in Stability-AI/ModelSpec; `ss_tag_frequency` in kohya-ss/sd-scripts `train_network.py`.
pub(super) fn triggers(metadata: &BTreeMap<String, String>) -> Vec<String> {
    let phrase = ["modelspec.trigger_phrase", "trigger_phrase", "trigger_word", "instance_prompt"];
    let phrases =
        phrase.iter().filter_map(|key| metadata.get(*key)).map(|phrase| phrase.trim()).filter(|phrase| !phrase.is_empty());
    let mut found: Vec<String> = phrases.map(str::to_owned).collect();
    found.dedup();
    if found.is_empty() {
        found = metadata.get("ss_tag_frequency").map(|json| frequent_tags(json)).unwrap_or_default();
    }
    found.truncate(MOST);
    found
}

fn frequent_tags(json: &str) -> Vec<String> {
    let sets: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_str(json).unwrap_or_default();
    let mut counts: BTreeMap<String, f64> = BTreeMap::new();
    for (tag, count) in sets.into_values().flatten() {
        *counts.entry(tag.trim().to_owned()).or_default() += count;
    }
    let mut tags: Vec<(String, f64)> = counts.into_iter().filter(|(tag, _)| !tag.is_empty()).collect();
    tags.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    tags.into_iter().map(|(tag, _)| tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> Vec<String> {
        triggers(&entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_phrase_counts_before_tags() {
        let tags = ("ss_tag_frequency", r#"{"10_cat":{"a cat":3,"red":9},"5_dog":{"a cat":7}}"#);
        assert_eq!(of(&[tags]), ["a cat", "red"]);
        assert_eq!(of(&[tags, ("modelspec.trigger_phrase", "ohwx")]), ["ohwx"]);
        assert_eq!(of(&[("ss_tag_frequency", "no json")]), Vec::<String>::new());
    }
}
