//! What is counted or timed for the whole process: one test at a time, and no other beside them.

#[path = "../studio/client.rs"]
#[allow(dead_code, reason = "a part of it is for other tests")]
mod client;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use client::{Server, User, small};

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn prompts_encoded(user: &User) -> f64 {
    user.metric("studio_prompts_encoded").await
}

/// Reference: leejet/stable-diffusion.cpp #1774, huggingface/diffusers #10078, ComfyUI #15275.
#[test]
fn an_equal_prompt_calls_no_encoder() {
    let _alone = alone();
    runtime().block_on(async {
        let server = Server::start().await;
        let user = server.browser().await;
        user.draw(&small("a yellow triangle", 1)).await;
        let first = prompts_encoded(&user).await;
        assert!(first >= 2.0, "the prompt, and the negative one");
        // Another user's, and with other settings.
        server.browser().await.draw(&small("a yellow triangle", 2)).await;
        let mut longer = small("a yellow triangle", 3);
        longer["steps"] = json!(3);
        user.draw(&longer).await;
        assert_eq!(prompts_encoded(&user).await, first);

        // After a restart, too.
        let data = server.end().await;
        let server = Server::on(data, |_| {}).await;
        let user = server.browser().await;
        user.draw(&small("a yellow triangle", 4)).await;
        assert_eq!(prompts_encoded(&user).await, first);
        user.draw(&small("a purple triangle", 5)).await;
        assert_eq!(prompts_encoded(&user).await, first + 1.0);
    });
}

/// Reference: gradio #6651. Whoever shares this machine makes single rounds slower than what was measured, so the median counts.
#[test]
fn the_estimate_of_mixed_jobs_is_within_a_quarter_after_they_were_measured() {
    const ROUNDS: u64 = 7;
    let _alone = alone();
    runtime().block_on(async {
        let server = Server::start().await;
        let user = server.browser().await;
        let kinds: [fn(u64) -> Value; 3] = [|seed| kind(seed, 128, 20), |seed| kind(seed, 256, 10), |seed| kind(seed, 192, 40)];
        for seed in 0..3 {
            for kind in kinds {
                user.draw(&kind(seed)).await;
            }
        }
        let mut ratios = Vec::new();
        for round in 1..=ROUNDS {
            let mut ids = Vec::new();
            for kind in kinds.iter().chain(&kinds) {
                ids.push(user.submit(&kind(100 * round + ids.len() as u64)).await);
            }
            let last = ids.last().unwrap();
            let (job, asked) = (user.job(last).await, std::time::Instant::now());
            let expected = job["eta_seconds"].as_f64().unwrap_or_else(|| panic!("all kinds were measured: {job}"));
            assert!(job["wait_seconds"].as_f64().unwrap() < expected, "{job}");
            user.ended(last).await;
            ratios.push(asked.elapsed().as_secs_f64() / expected);
        }
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        assert!((0.75..1.25).contains(&median), "jobs took these shares of what was expected: {ratios:?}");
    });
}

fn kind(seed: u64, side: u64, steps: u64) -> Value {
    json!({ "prompt": "a disc", "seed": seed, "steps": steps, "width": side, "height": side })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
