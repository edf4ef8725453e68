//! Drawing: preview, place in the queue, cancelling, other tabs.

use thirtyfour::prelude::*;

use crate::page::{MANY_STEPS, Page, Screen};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_visit_draws_at_the_press_of_a_button() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    assert!(!page.value_of("#prompt").await?.is_empty());
    assert!(page.value::<bool>("!document.querySelector('#welcome').hidden").await?);
    page.until("memory is told", "/MB|GB/.test(document.querySelector('#plan-line').textContent)").await?;
    page.screenshot("first-visit").await?;
    let picture = page.draw().await?;
    assert_eq!(picture.dimensions(), (128, 128));
    assert!(page.value::<bool>("document.querySelector('#welcome').hidden").await?);
    // Now it is known how long one takes.
    page.fill("#prompt", "a tree on the grass at sunset").await?;
    page.until("time is told", "/about \\d+ s|under a second/.test(document.querySelector('#plan-line').textContent)").await?;
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_watched_while_it_is_drawn_and_others_wait() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    page.fill("#steps", MANY_STEPS).await?;
    page.click("#draw").await?;
    page.until_count(".job", 1).await?;
    page.fill("#prompt", "a boat with a white sail on the sea at night, a full moon in the sky").await?;
    page.click("#draw").await?;
    page.until_count(".job", 2).await?;

    page.until("a preview is there", "document.querySelector('.job .preview')?.naturalWidth > 0").await?;
    page.until("a step is told", "/^Step \\d+ of 400$/.test(document.querySelector('.stage').textContent)").await?;
    page.until("its pace is told", "/s a step/.test(document.querySelector('.times').textContent)").await?;
    page.until("the time left is told", "/ready in/.test(document.querySelector('.times').textContent)").await?;
    assert_eq!(page.text(".job:last-child .stage").await?, "Waiting: 1 before it");
    page.screenshot("drawing").await?;
    let step = "Number(document.querySelector('.stage').textContent.split(' ')[1])";
    let first: f64 = page.value(step).await?;
    page.until("steps go on", &format!("document.querySelectorAll('.job').length < 2 || {step} > {first}")).await?;
    let title = page.driver.title().await?;
    assert!(title.ends_with(" % · Studio"), "{title}");

    page.until_count(".tile", 2).await?;
    page.until_count(".job", 0).await?;
    assert!(page.text(".tile .tile-prompt").await?.starts_with("a boat"));
    page.screenshot("gallery").await?;
    page.click(".tile-picture").await?;
    page.until("the large view is open", "document.querySelector('#viewer').open").await?;
    let shown = "document.querySelector('#viewer-image').alt";
    let newest: String = page.value(shown).await?;
    page.press(Key::Right).await?;
    page.until("the arrow key goes on", &format!("{shown} !== {newest:?}")).await?;
    page.screenshot("large-view").await?;
    page.press(Key::Escape).await?;
    page.until("Escape closes it", "!document.querySelector('#viewer').open").await?;
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_a_running_and_a_waiting_job() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    page.fill("#steps", MANY_STEPS).await?;
    page.click("#draw").await?;
    page.until_count(".job", 1).await?;
    page.click("#draw").await?;
    page.until_count(".job", 2).await?;
    page.until("the first is drawn", "/^Step/.test(document.querySelector('.stage').textContent)").await?;
    page.click(".job:last-child .cancel").await?;
    page.until_count(".job", 1).await?;
    page.click(".job .cancel").await?;
    page.until_count(".job", 0).await?;
    assert_eq!(page.count(".tile").await?, 0);
    // The worker is free for the next one.
    page.fill("#steps", "2").await?;
    page.draw().await?;
    assert_eq!(page.count(".tile").await?, 1);
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_seen_in_a_second_tab_and_outlives_the_first() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    let first = page.driver.window().await?;
    page.fill("#steps", MANY_STEPS).await?;
    page.click("#draw").await?;
    page.until_count(".job", 1).await?;

    let second = page.driver.new_tab().await?;
    page.driver.switch_to_window(second.clone()).await?;
    page.goto("").await?;
    page.until_count(".job", 1).await?;
    page.until("it is told how far it is", "/^Step/.test(document.querySelector('.stage').textContent)").await?;
    page.driver.switch_to_window(first).await?;
    page.driver.close_window().await?;
    page.driver.switch_to_window(second).await?;
    page.until_count(".tile", 1).await?;
    page.until_count(".job", 0).await?;
    page.close().await
}
