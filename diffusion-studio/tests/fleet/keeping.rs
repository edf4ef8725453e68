//! What is kept, and for how long.

use std::time::Duration;

use reqwest::{Method, StatusCode};

use crate::client::small;
use crate::programs::{Fleet, Visitor};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_it_may_be_is_forgotten() {
    let fleet = Fleet::new();
    let first = fleet.front("first").await;
    let _worker = fleet.worker("worker");
    let anna = Visitor::new(&[first.url()], 0).await;
    let old = anna.at(&first).draw(&small("a ring", 1)).await;
    let new = anna.at(&first).draw(&small("a ring", 2)).await;
    // Forty days go by for the one of them.
    let file = std::fs::read_dir(fleet.store().join("pictures")).unwrap().flatten().map(|entry| entry.path());
    let name = old["images"][0]["url"].as_str().unwrap().split('/').nth(2).unwrap().to_owned();
    let file = file.into_iter().find(|path| path.display().to_string().contains(&name)).unwrap();
    let forty_days = Duration::from_hours(40 * 24);
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(std::time::SystemTime::now() - forty_days).unwrap();
    let database = fleet.database().await;
    let age = "UPDATE studio.jobs SET finished_at = finished_at - $1 WHERE id = $2::uuid";
    let age = sqlx::query(age).bind(forty_days.as_secs_f64()).bind(old["id"].as_str().unwrap());
    assert_eq!(age.execute(&database).await.unwrap().rows_affected(), 1);
    sqlx::query("DELETE FROM studio.settings WHERE name = 'forgotten_at'").execute(&database).await.unwrap();
    // Whoever comes next cleans up.
    let second = fleet.front("second").await;
    second.until_told("old files were removed from the store").await;
    let at = anna.at(&second);
    let listed = at.get("/api/v1/history").await;
    let listed: Vec<&str> = listed["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(listed, [new["id"].as_str().unwrap()]);
    let gone = at.send(Method::GET, old["images"][0]["url"].as_str().unwrap(), None).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    at.bytes(new["images"][0]["url"].as_str().unwrap()).await;
}
