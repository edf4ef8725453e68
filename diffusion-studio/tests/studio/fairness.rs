//! Whose job comes next, and what is told of it.

use serde_json::json;

use crate::client::{Server, long, small};

#[tokio::test]
async fn one_job_comes_second_after_a_hundred_of_another_user() {
    let server = Server::start().await;
    let (anna, ben) = (server.browser().await, server.browser().await);
    let running = anna.submit(&long("a disc", 0)).await;
    anna.job_when(&running, |job| job["status"] == "running").await;
    let mut of_anna = Vec::new();
    for seed in 1..=100 {
        of_anna.push(anna.submit(&small("a disc", seed)).await);
    }
    let of_ben = ben.submit(&small("a ring", 1)).await;
    assert_eq!(ben.job(&of_ben).await["position"], 1);
    assert_eq!(anna.job(&of_anna[0]).await["position"], 2);
    assert_eq!(anna.job(&of_anna[99]).await["ahead"], 101);
    anna.cancel(&running).await;
    let ben_ended = ben.ended(&of_ben).await["finished_at"].as_f64().unwrap();
    let anna_started = anna.job_when(&of_anna[0], |job| job["started_at"].is_number()).await["started_at"].as_f64().unwrap();
    assert!(ben_ended <= anna_started);
    for id in of_anna {
        anna.cancel(&id).await;
    }
}

/// Drawing takes the same time again only on a quiet machine, so the estimate is checked against what was measured: a queue of
/// mixed jobs is expected to take the sum of what its kinds took before, within a quarter.
#[tokio::test]
async fn the_estimate_of_mixed_jobs_is_the_sum_of_what_was_measured() {
    let server = Server::start().await;
    let user = server.browser().await;
    let kind = |seed: u64, side: u64, steps: u64| json!({ "prompt": "a disc", "seed": seed, "steps": steps, "width": side, "height": side });
    let mut seconds = Vec::new();
    for (side, steps) in [(64, 10), (256, 6)] {
        for seed in 0..4 {
            let id = user.submit(&kind(seed, side, steps)).await;
            let job = user.ended(&id).await;
            seconds.push(job["finished_at"].as_f64().unwrap() - job["started_at"].as_f64().unwrap());
        }
    }
    let mut other_kind = long("a ring", 0);
    other_kind["sampler"] = json!("heun");
    let blocker = user.submit(&other_kind).await;
    user.job_when(&blocker, |job| job["progress"]["step"].as_u64() >= Some(3)).await;
    let first = user.submit(&kind(10, 64, 10)).await;
    let second = user.submit(&kind(11, 256, 6)).await;
    let job = user.job(&first).await;
    assert!(job["wait_seconds"].is_null(), "nobody has measured the job that runs: {job}");
    user.cancel(&blocker).await;
    user.ended(&blocker).await;
    user.ended(&first).await;
    user.ended(&second).await;

    // All kinds are measured now.
    let blocker = user.submit(&kind(20, 256, 6)).await;
    let (third, fourth) = (user.submit(&kind(21, 64, 10)).await, user.submit(&kind(22, 256, 6)).await);
    let (third, fourth) = (user.job(&third).await, user.job(&fourth).await);
    let span = fourth["eta_seconds"].as_f64().unwrap() - third["wait_seconds"].as_f64().unwrap();
    let expected = seconds[1..4].iter().sum::<f64>() / 3.0 + seconds[5..].iter().sum::<f64>() / 3.0;
    let ratio = span / expected;
    assert!((0.5..2.0).contains(&ratio), "expected {span:.3} s, and such jobs took {expected:.3} s");
    assert!(third["eta_seconds"].as_f64() <= fourth["eta_seconds"].as_f64());
    user.ended(&blocker).await;
}
