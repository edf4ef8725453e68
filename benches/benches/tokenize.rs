//! Making the tokenizers of CLIP and T5, and bringing a prompt to tokens.
//!
//! ```sh
//! cargo bench -p diffusion-benches --bench tokenize
//! ```

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use diffusion_models::clip::ClipTokenizer;
use diffusion_models::t5::T5Tokenizer;

const PROMPT: &str = "an astronaut in a red suit rides a white horse along the shore of a lake at dusk, snow-covered mountains \
                      behind, long shadows, reflections in the water, photograph, 35 mm, soft light, high detail";
/// Tokens of CLIP, and of T5 in Stable Diffusion 3.
const CLIP_LEN: usize = 77;
const T5_LEN: usize = 256;

fn tokenize(criterion: &mut Criterion) {
    criterion.bench_function("tokenizer/clip", |bencher| bencher.iter(|| ClipTokenizer::embedded_clip_l().unwrap()));
    criterion.bench_function("tokenizer/t5", |bencher| bencher.iter(|| T5Tokenizer::embedded().unwrap()));
    let (clip, t5) = (ClipTokenizer::embedded_clip_l().unwrap(), T5Tokenizer::embedded().unwrap());
    criterion.bench_function("tokenize/clip", |bencher| bencher.iter(|| clip.encode(PROMPT, CLIP_LEN).unwrap()));
    criterion.bench_function("tokenize/t5", |bencher| bencher.iter(|| t5.encode(PROMPT, T5_LEN).unwrap()));
}

criterion_group! {
    name = group;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = tokenize
}
criterion_main!(group);
