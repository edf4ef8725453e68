use std::error::Error;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::tokenizer::tests::{awkward_text, cut, mini};

/// A folder with a copy of some files of the miniature's `tokenizer_2`.
fn copy_of_mini(names: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in names {
        fs::copy(mini("tokenizer_2").join(name), dir.path().join(name)).unwrap();
    }
    dir
}

fn encode(tokenizer: &ClipTokenizer, text: &str, length: usize) -> Vec<u32> {
    tokenizer.encode(text, length).unwrap().ids
}

#[cfg(feature = "embedded-tokenizers")]
#[test]
fn ids_are_those_of_transformers() {
    // transformers 5.23.0, CLIPTokenizer on the same files of CLIP-L; those of CLIP-G differ where there is a "!".
    let vectors: [(&str, &[u32]); 10] = [
        ("", &[]),
        ("a photo of a cat", &[320, 1125, 539, 320, 2368]),
        ("A cat holding a sign that says hello world", &[320, 2368, 5050, 320, 2292, 682, 1563, 3306, 1002]),
        ("  double  spaces, trailing ", &[3200, 9006, 267, 37427]),
        ("naïve café №1 — 10:30!", &[1097, 35689, 563, 15304, 8604, 500, 272, 2005, 272, 271, 281, 274, 271, 256]),
        ("it's 2024\nnew line", &[585, 568, 273, 271, 273, 275, 686, 1148]),
        (
            "ｆｕｌｌｗｉｄｔｈ",
            &[
                171, 121, 228, 171, 121, 243, 171, 121, 234, 171, 121, 234, 171, 121, 245, 171, 121, 231, 171, 121, 226, 171,
                121, 242, 171, 121, 486,
            ],
        ),
        ("emoji 🙂 test", &[16327, 14860, 1628]),
        ("wow!!! a cat!", &[2781, 995, 320, 2368, 256]),
        ("A <|STARTOFTEXT|> <|ENDOFTEXT|> b", &[320, 49406, 27, 347, 40786, 4160, 91, 285, 321]),
    ];
    let (clip_l, clip_g) = (ClipTokenizer::embedded_clip_l().unwrap(), ClipTokenizer::embedded_clip_g().unwrap());
    for (text, tokens) in vectors {
        let mut ids = vec![49406];
        ids.extend(tokens);
        ids.push(49407);
        let encoding = Encoding { ids, truncated: None };
        assert_eq!(clip_l.encode(text, encoding.ids.len()).unwrap(), encoding, "{text:?}");
        if !text.contains('!') {
            assert_eq!(clip_g.encode(text, encoding.ids.len()).unwrap(), encoding, "{text:?}");
        }
    }
}

#[cfg(feature = "embedded-tokenizers")]
#[test]
fn exclamation_marks_are_padding_in_clip_g_alone() {
    let (clip_l, clip_g) = (ClipTokenizer::embedded_clip_l().unwrap(), ClipTokenizer::embedded_clip_g().unwrap());
    assert_eq!(encode(&clip_l, "hello!", 6), [49406, 3306, 256, 49407, 49407, 49407]);
    assert_eq!(encode(&clip_g, "hello!", 6), [49406, 3306, 0, 49407, 0, 0]);
    assert_eq!(encode(&clip_g, "wow!!! a cat!", 9), [49406, 2781, 0, 0, 0, 320, 2368, 0, 49407]);
}

#[cfg(feature = "embedded-tokenizers")]
#[test]
fn embedded_tokenizers_have_the_published_numbers() {
    for (tokenizer, pad) in [(ClipTokenizer::embedded_clip_l().unwrap(), 49407), (ClipTokenizer::embedded_clip_g().unwrap(), 0)] {
        let numbers = (tokenizer.max_length(), tokenizer.eos_id(), tokenizer.pad_id(), tokenizer.vocab_size());
        assert_eq!(numbers, (77, 49407, pad, 49408));
    }
}

#[test]
fn miniature_gives_the_reference_ids() {
    let first = ClipTokenizer::from_dir(&mini("tokenizer")).unwrap();
    let second = ClipTokenizer::from_dir(&mini("tokenizer_2")).unwrap();
    assert_eq!((first.max_length(), first.eos_id(), first.pad_id(), first.vocab_size()), (24, 739, 739, 740));
    assert_eq!((second.max_length(), second.eos_id(), second.pad_id(), second.vocab_size()), (24, 739, 0, 740));

    let prompt = "a red house in the snow at night, a full moon in the sky";
    let mut ids = vec![738, 266, 343, 380, 306, 298, 403, 307, 382, 269, 266, 421, 355, 306, 298, 330, 739];
    ids.resize(24, 739);
    assert_eq!(encode(&first, prompt, 24), ids);
    ids.truncate(17);
    ids.resize(24, 0);
    assert_eq!(encode(&second, prompt, 24), ids);

    let prompt = "a small red star above the Blue sea, at night! (3 boats)";
    let mut ids = vec![738, 266, 393, 343, 405, 449, 298, 350, 400, 269, 307, 382, 520, 526, 287, 347, 64, 83, 265, 527, 739];
    ids.resize(24, 739);
    assert_eq!(encode(&first, prompt, 24), ids);
    ids.truncate(21);
    ids.resize(24, 0);
    ids[12] = 0;
    assert_eq!(encode(&second, prompt, 24), ids);
}

#[test]
fn truncation_keeps_both_ends_and_reports_the_rest() {
    let tokenizer = ClipTokenizer::from_dir(&mini("tokenizer_2")).unwrap();
    let encoding = tokenizer.encode("a red  House in the SNOW ", 5).unwrap();
    assert_eq!(encoding, Encoding { ids: vec![738, 266, 343, 380, 739], truncated: cut("in the SNOW", 3) });
    let encoding = tokenizer.encode("🙂", 3).unwrap();
    assert_eq!(encoding.truncated.map(|cut| cut.text).as_deref(), Some("🙂"), "a character cut in two is reported whole");
    let encoding = tokenizer.encode("a", 2).unwrap();
    assert_eq!(encoding, Encoding { ids: vec![738, 739], truncated: cut("a", 1) });
    let error = tokenizer.encode("a", 1).unwrap_err();
    assert!(matches!(error, TokenizerError::Length { length: 1, minimum: 2, .. }), "{error}");
}

#[test]
fn tokenizer_json_serves_where_the_two_files_are_absent() {
    let dir = copy_of_mini(&["tokenizer_config.json"]);
    let read = |name| fs::read_to_string(mini("tokenizer_2").join(name)).unwrap();
    let merges: Vec<String> = read("merges.txt").lines().skip(1).map(str::to_owned).collect();
    let pairs: Vec<Vec<&str>> = merges.iter().map(|merge| merge.split(' ').collect()).collect();
    let vocab: serde_json::Value = serde_json::from_str(&read("vocab.json")).unwrap();
    let original = ClipTokenizer::from_dir(&mini("tokenizer_2")).unwrap();
    let text = "a red house! <|endoftext|> in the snow";
    for merges in [serde_json::json!(merges), serde_json::json!(pairs)] {
        let json = serde_json::json!({
            "added_tokens": [{"id": 739, "content": "<|endoftext|>", "normalized": false, "special": true}],
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        });
        fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        let tokenizer = ClipTokenizer::from_dir(dir.path()).unwrap();
        assert_eq!(encode(&tokenizer, text, 24), encode(&original, text, 24));
    }
}

#[test]
fn missing_files_are_named() {
    let all = ["vocab.json", "merges.txt", "tokenizer_config.json"];
    for missing in all {
        let present: Vec<&str> = all.into_iter().filter(|name| *name != missing).collect();
        let dir = copy_of_mini(&present);
        let error = ClipTokenizer::from_dir(dir.path()).unwrap_err();
        let expected = dir.path().join(missing);
        assert!(matches!(&error, TokenizerError::Missing { path, .. } if *path == expected), "{error}");
    }
    let dir = copy_of_mini(&["vocab.json", "merges.txt", "special_tokens_map.json"]);
    assert_eq!(ClipTokenizer::from_dir(dir.path()).unwrap().max_length(), 77);
}

#[test]
fn malformed_files_are_named() {
    let broken = [
        ("vocab.json", r#"{"a": "not an id"}"#),
        ("vocab.json", "{"),
        ("merges.txt", "#version: 0.2\na b\nno-pair\n"),
        ("merges.txt", "a nonsense\n"),
        ("tokenizer_config.json", "[1]"),
    ];
    for (name, content) in broken {
        let dir = copy_of_mini(&["vocab.json", "merges.txt", "tokenizer_config.json"]);
        fs::write(dir.path().join(name), content).unwrap();
        let error = ClipTokenizer::from_dir(dir.path()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(error.source().is_some(), matches!(error, TokenizerError::Malformed { .. }), "{error}");
    }
    let dir = copy_of_mini(&["vocab.json", "merges.txt", "tokenizer_config.json"]);
    fs::write(dir.path().join("vocab.json"), b"\xff").unwrap();
    let error = ClipTokenizer::from_dir(dir.path()).unwrap_err();
    assert!(matches!(&error, TokenizerError::Read { path, .. } if path.ends_with("vocab.json")), "{error}");
}

#[test]
fn special_tokens_must_fit_the_vocabulary() {
    let wrong = [
        (r#"{"pad_token": "[PAD]"}"#, "pad_token: expected an entry `[PAD]`, found none"),
        (
            r#"{"added_tokens_decoder": {"7": {"content": "<|endoftext|>"}}}"#,
            "token `<|endoftext|>`: expected id 7, found id 739",
        ),
    ];
    for (config, message) in wrong {
        let dir = copy_of_mini(&["vocab.json", "merges.txt"]);
        fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        let error = ClipTokenizer::from_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains("vocab.json") && error.contains(message), "{error}");
    }
}

#[test]
fn tokens_added_after_the_vocabulary_are_found_in_the_text() {
    let dir = copy_of_mini(&["vocab.json", "merges.txt"]);
    let config = r#"{"added_tokens_decoder": {"740": {"content": "<my-style>"}, "741": {"content": "<my-cat>"}}}"#;
    fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    let tokenizer = ClipTokenizer::from_dir(dir.path()).unwrap();
    assert_eq!(encode(&tokenizer, "a <my-cat><my-style>", 5), [738, 266, 741, 740, 739]);
    assert_eq!(tokenizer.vocab_size(), 742);
}

proptest! {
    #[test]
    fn any_text_gives_exactly_the_length(text in awkward_text(), length in 2_usize..80) {
        thread_local!(static MINI: ClipTokenizer = ClipTokenizer::from_dir(&mini("tokenizer_2")).unwrap());
        let encoding = MINI.with(|tokenizer| tokenizer.encode(&text, length)).unwrap();
        prop_assert_eq!(encoding.ids.len(), length);
        prop_assert_eq!(encoding.ids[0], 738);
        prop_assert!(encoding.ids.contains(&739));
        prop_assert!(encoding.truncated.is_none_or(|rest| text.contains(&rest.text)));
    }
}
