//! Settings: a reload, a link, a refusal.

use thirtyfour::prelude::*;

use crate::page::{MANY_STEPS, Page, Screen};

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_everything() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    page.fill("#steps", "2").await?;
    page.draw().await?;
    page.click(".tile-actions [title='Use as start']").await?;
    page.until("the start is shown", "document.querySelector('#start-image').naturalWidth === 128").await?;
    page.click("#mask-edit").await?;
    // The brush works by keyboard as well.
    let canvas = page.element("#brush-canvas").await?;
    canvas.send_keys(Key::Down + " ").await?;
    page.click("#brush-done").await?;
    page.until("the mask is shown", "!document.querySelector('#start-mask').hidden").await?;
    page.fill("#prompt", "the letter K in red on a cyan background").await?;
    page.fill("#negative", "blue").await?;
    page.fill("#steps", MANY_STEPS).await?;
    page.fill("#guidance-scale", "3.5").await?;
    page.fill("#seed", "77").await?;
    page.click("#draw").await?;
    page.until_count(".job", 1).await?;

    page.reload().await?;
    page.until_count(".job", 1).await?;
    let expected = [
        ("#prompt", "the letter K in red on a cyan background"),
        ("#negative", "blue"),
        ("#steps", MANY_STEPS),
        ("#guidance-scale", "3.5"),
        ("#seed", "77"),
    ];
    for (css, value) in expected {
        assert_eq!(page.value_of(css).await?, value, "{css}");
    }
    page.until("the start is there", "document.querySelector('#start-image').naturalWidth === 128").await?;
    page.until("the mask is there", "!document.querySelector('#start-mask').hidden").await?;
    page.screenshot("reloaded").await?;
    page.until_count(".tile", 2).await?;
    page.reload().await?;
    page.until_count(".tile", 2).await?;
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_holds_the_settings() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    page.goto("#prompt=a+tree+%26+a+house&steps=7&seed=9&seed_locked=true&guidance.method=apg&width=64").await?;
    page.reload().await?;
    assert_eq!(page.value_of("#prompt").await?, "a tree & a house");
    assert_eq!(page.value_of("#steps").await?, "7");
    assert_eq!(page.value_of("#seed").await?, "9");
    assert_eq!(page.value_of("#width").await?, "64");
    assert_eq!(page.value_of("#guidance-method").await?, "apg");
    let address: String = page.value("location.hash").await?;
    assert_eq!(address, "", "what is changed later is not taken back by a reload");
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_shown_at_its_field() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    page.unfold("advanced").await?;
    page.fill("#guidance-rescale", "7").await?;
    page.click("[data-fold=advanced] > summary").await?;
    page.until("the fold is closed", "!document.querySelector('[data-fold=advanced]').open").await?;
    page.element("#prompt").await?.send_keys(Key::Control + Key::Enter).await?;
    page.until("the field has the focus", "document.activeElement.id === 'guidance-rescale'").await?;
    assert_eq!(page.value::<String>("document.activeElement.getAttribute('aria-invalid')").await?, "true");
    assert!(!page.text("#field-problem").await?.is_empty());
    page.screenshot("refusal").await?;
    page.fill("#guidance-rescale", "0.5").await?;
    page.until_count("#field-problem", 0).await?;
    page.fill("#steps", "2").await?;
    page.draw().await?;
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_theme_stays_as_chosen() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    let paper = "getComputedStyle(document.body.parentElement).backgroundColor";
    let light: String = page.value(paper).await?;
    page.click("#theme").await?;
    let dark: String = page.value(paper).await?;
    assert_ne!(light, dark);
    page.reload().await?;
    assert_eq!(page.value::<String>(paper).await?, dark);
    page.screenshot("dark").await?;
    page.close().await
}
