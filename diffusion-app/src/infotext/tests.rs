use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Infotext {
    let Ok(infotext) = text.parse();
    infotext
}

/// As AUTOMATIC1111 1.10 writes it.
#[test]
fn what_the_web_interface_writes_is_read_and_written_again() {
    let text = "two\nlines, (red:1.2) <lora:ink:0.7>\nNegative prompt: blurry,\n\nugly\nSteps: 28, Sampler: DPM++ 2M, Schedule type: Karras, \
                CFG scale: 4.5, Seed: 965400086, Size: 1024x768, Model hash: 45dee52b, Model: sd3.5_medium, Denoising strength: 0.6, \
                Clip skip: 2, Hires upscale: 2, TI hashes: \"a: b, c: d\", Lora hashes: \"ink: 0123abcd, two words: 4567\", \
                Version: v1.10.1";
    let infotext = read(text);
    let expected = Infotext {
        prompt: "two\nlines, (red:1.2) <lora:ink:0.7>".to_owned(),
        negative_prompt: "blurry,\n\nugly".to_owned(),
        steps: Some(28),
        sampler: Some("DPM++ 2M".to_owned()),
        schedule_type: Some("Karras".to_owned()),
        cfg_scale: Some(4.5),
        distilled_cfg_scale: None,
        seed: Some(965_400_086),
        size: Some((1024, 768)),
        model_hash: Some("45dee52b".to_owned()),
        model: Some("sd3.5_medium".to_owned()),
        denoising_strength: Some(0.6),
        clip_skip: Some(2),
        others: vec![("Hires upscale".to_owned(), "2".to_owned()), ("TI hashes".to_owned(), "a: b, c: d".to_owned())],
        lora_hashes: vec![("ink".to_owned(), "0123abcd".to_owned()), ("two words".to_owned(), "4567".to_owned())],
        version: Some("v1.10.1".to_owned()),
    };
    assert_eq!(infotext, expected);
    assert_eq!(infotext.to_string(), text);
}

#[test]
fn prompts_alone_are_texts_too() {
    for prompt in ["", "a ring", "a ring\nin two lines: red, and blue", "Steps\nSampler", "\n"] {
        assert_eq!(read(prompt), Infotext { prompt: prompt.to_owned(), ..Infotext::default() }, "{prompt:?}");
    }
    let both = read("a ring\r\nNegative prompt: blurry");
    assert_eq!((both.prompt.as_str(), both.negative_prompt.as_str()), ("a ring", "blurry"));
    let no_prompt = read("Negative prompt: blurry\nSteps: 2");
    assert_eq!((no_prompt.prompt.as_str(), no_prompt.negative_prompt.as_str(), no_prompt.steps), ("", "blurry", Some(2)));
    assert_eq!(read("Steps: 2, Seed: 3\n"), Infotext { steps: Some(2), seed: Some(3), ..Infotext::default() });
}

#[test]
fn what_has_another_form_is_kept_as_it_is() {
    let infotext =
        read("x\nSteps: many, Seed: -1, Size: big, CFG scale: nan, Model: a, Model: b, Lora hashes: ?, odd, Clip skip: 1");
    let others = [("Steps", "many"), ("Seed", "-1"), ("Size", "big"), ("CFG scale", "nan"), ("Model", "b"), ("Lora hashes", "?")];
    assert_eq!(infotext.others, others.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!((infotext.model.as_deref(), infotext.clip_skip), (Some("a"), Some(1)));
}

#[test]
fn lists_and_objects_stand_without_quotes() {
    let resources = r#"[{"type":"checkpoint","id":1}, {"type":"lora","weight":0.5,"name":"a ], b"}]"#;
    let infotext =
        read(&format!("x\nSteps: 2, Skip layers: [7, 8, 9], Civitai resources: {resources}, Broken: [1, Hashes: {{}}"));
    let others = [("Skip layers", "[7, 8, 9]"), ("Civitai resources", resources), ("Broken", "[1"), ("Hashes", "{}")];
    assert_eq!(infotext.others, others.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(read(&infotext.to_string()), infotext);
}

#[test]
fn quotes_that_do_not_end_are_characters() {
    let infotext = read("x\nSteps: 2, Note: \"a, b\" c, Other: \"open, Third: \"\\q\", Seed: 4");
    let others = [("Note", "\"a"), ("Other", "\"open"), ("Third", "\"\\q\"")];
    assert_eq!(infotext.others, others.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(infotext.seed, Some(4));
    assert_eq!(read(&infotext.to_string()), infotext);
}

/// What a prompt may be: lines, of which none begins as the negative prompt does.
fn prompt() -> impl Strategy<Value = String> {
    vec("[^\r\n]{0,20}", 0..4)
        .prop_map(|lines| lines.join("\n"))
        .prop_filter("is no negative prompt", |prompt| !prompt.split('\n').any(|line| line.starts_with(NEGATIVE_PROMPT)))
}

fn key() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 13] = [
        STEPS,
        SAMPLER,
        SCHEDULE_TYPE,
        CFG_SCALE,
        DISTILLED_CFG_SCALE,
        SEED,
        SIZE,
        MODEL_HASH,
        MODEL,
        DENOISING_STRENGTH,
        CLIP_SKIP,
        LORA_HASHES,
        VERSION,
    ];
    "[A-Za-zé0-9_][A-Za-z 0-9_/-]{0,8}[a-z]".prop_filter("is not known", |key| !KNOWN.contains(&key.as_str()))
}

fn number() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("is finite", |number| number.is_finite())
}

prop_compose! {
    fn infotexts()(
        prompt in prompt(),
        negative_prompt in prompt(),
        numbers in (any::<usize>(), option::of(any::<u64>()), option::of(any::<u32>()), option::of(any::<(usize, usize)>())),
        scales in (option::of(number()), option::of(number()), option::of(number())),
        names in (option::of(".*"), option::of("\\PC*"), option::of(".*"), option::of(".*"), option::of("[\\s\\S]*")),
        others in vec((key(), "[\\s\\S]{0,20}"), 0..4),
        lora_hashes in vec(("[a-z]([a-z ._-]{0,8}[a-z])?", "[0-9a-f]{1,12}"), 0..3),
    ) -> Infotext {
        let (steps, seed, clip_skip, size) = numbers;
        let (cfg_scale, distilled_cfg_scale, denoising_strength) = scales;
        let (sampler, schedule_type, model_hash, model, version) = names;
        Infotext {
            prompt, negative_prompt, steps: Some(steps), sampler, schedule_type, cfg_scale, distilled_cfg_scale, seed, size,
            model_hash, model, denoising_strength, clip_skip, others, lora_hashes, version,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(infotext in infotexts()) {
        prop_assert_eq!(read(&infotext.to_string()), infotext);
    }

    #[test]
    fn what_is_read_is_written_so_that_it_is_read_again(
        text in "[\\s\\S]{0,20}\nSteps: 3, ([a-zA-Z]{1,4}|[^\r\n]|: |, |\"|\\[|\\]){0,40}",
    ) {
        let once = read(&text);
        prop_assert_eq!(once.steps, Some(3));
        prop_assert_eq!(read(&once.to_string()), once);
    }
}
