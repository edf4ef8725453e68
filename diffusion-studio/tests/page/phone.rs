//! The page on a phone.

use thirtyfour::prelude::*;

use crate::page::{Page, Screen};

/// What is wider than the screen.
const TOO_WIDE: &str = "[...document.querySelectorAll('body *')]
    .filter((element) => element.offsetParent && element.getBoundingClientRect().right > innerWidth + 1)
    .map((element) => element.outerHTML.slice(0, 120))";

/// What a finger does not hit well.
const TOO_SMALL: &str = "[...document.querySelectorAll('button, select, summary, a.button, input')]
    .filter((element) => element.offsetParent && !element.closest('.visually-hidden, label') && element.offsetHeight < 40)
    .map((element) => element.outerHTML.slice(0, 120))";

async fn assert_fits(page: &Page) -> WebDriverResult<()> {
    assert!(page.value::<bool>("document.documentElement.scrollWidth <= innerWidth").await?);
    for wrong in [TOO_WIDE, TOO_SMALL] {
        assert_eq!(page.value::<Vec<String>>(wrong).await?, Vec::<String>::new());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wider_than_a_small_phone_or_too_small_for_a_finger() -> WebDriverResult<()> {
    let page = Page::open(Screen::Phone(360)).await?;
    assert_eq!(page.value::<u32>("innerWidth").await?, 360);
    assert_fits(&page).await?;
    page.screenshot("phone").await?;
    for fold in ["picture", "loras", "start", "advanced"] {
        page.unfold(fold).await?;
        assert_fits(&page).await?;
    }
    page.click(".lora-add").await?;
    assert_fits(&page).await?;
    page.screenshot("phone-settings").await?;
    page.fill("#steps", "20").await?;
    page.draw().await?;
    assert_fits(&page).await?;
    page.screenshot("phone-gallery").await?;
    page.click(".tile-picture").await?;
    assert_fits(&page).await?;
    page.screenshot("phone-large-view").await?;
    page.click("#viewer-close").await?;
    page.click(".tile-actions [title='Use as start']").await?;
    page.click("#mask-edit").await?;
    assert_fits(&page).await?;
    page.screenshot("phone-brush").await?;
    page.close().await
}
