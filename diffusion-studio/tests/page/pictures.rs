//! What decides a picture: LoRAs, a start with a mask, the settings of another picture.

use thirtyfour::prelude::*;

use crate::lora_file::TRIGGER;
use crate::page::{Page, Screen};

#[tokio::test(flavor = "multi_thread")]
async fn the_slider_of_a_lora_changes_the_picture() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    page.fill("#steps", "8").await?;
    page.fill("#seed", "5").await?;
    let plain = page.draw().await?;

    page.unfold("loras").await?;
    page.fill("#lora-search", "no such name").await?;
    page.until_count("#lora-list li", 0).await?;
    page.fill("#lora-search", TRIGGER).await?;
    page.until_count("#lora-list li", 1).await?;
    page.click(".lora-add").await?;
    page.until_count(".chosen-lora", 1).await?;
    let full = page.draw().await?;
    let slider = page.element(".chosen-lora input[type=range]").await?;
    for _ in 0..10 {
        slider.send_keys(Key::Left).await?;
    }
    assert_eq!(page.value_of(".chosen-lora input[type=number]").await?, "0.5");
    page.screenshot("loras").await?;
    let half = page.draw().await?;
    assert!(plain != full && full != half && half != plain);

    page.click(".chosen-lora .chip").await?;
    assert!(page.value_of("#prompt").await?.ends_with(TRIGGER));
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_comes_from_the_cache_as_a_picture_of_its_own() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    page.fill("#steps", "4").await?;
    page.fill("#seed", "5").await?;
    let first = page.draw().await?;
    let repeat = page.draw().await?;
    assert!(first == repeat);
    page.until("it is told", "document.querySelector('#notices').textContent.includes('drawn before')").await?;
    page.click(".tile-actions [title=Delete]").await?;
    page.click("#question-yes").await?;
    page.until_count(".tile", 1).await?;
    assert!(page.newest_picture().await? == first);
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brush_says_what_is_drawn_anew() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    page.fill("#steps", "8").await?;
    page.fill("#seed", "3").await?;
    let start = page.draw().await?;
    page.click(".tile-actions [title='Use as start']").await?;
    page.until("the start is shown", "document.querySelector('#start-image').naturalWidth === 128").await?;

    page.click("#mask-edit").await?;
    let canvas = page.element("#brush-canvas").await?;
    let width = canvas.rect().await?.width as i64;
    let stroke = page.driver.action_chain().move_to_element_with_offset(&canvas, -width / 4, 0).click_and_hold();
    stroke.move_by_offset(width / 4, 0).move_by_offset(width / 4, 0).release().perform().await?;
    page.until("the stroke can be taken back", "!document.querySelector('#brush-undo').disabled").await?;
    page.screenshot("brush").await?;
    page.click("#brush-done").await?;
    page.until("the mask is shown", "!document.querySelector('#start-mask').hidden").await?;

    page.fill("#strength", "1").await?;
    page.fill("#prompt", "a large purple heart on a yellow background").await?;
    let redrawn = page.draw().await?;
    let differs = |x, y| start.get_pixel(x, y) != redrawn.get_pixel(x, y);
    let row_differs = |y: u32| (0..128).filter(|&x| differs(x, y)).count();
    // The brush is 12 % wide, so the stroke is within 8 pixels of the middle.
    assert_eq!((0..48).chain(80..128).map(row_differs).sum::<usize>(), 0, "what is not painted stays, to the bit");
    assert!(row_differs(64) > 48, "{} pixels changed", row_differs(64));
    page.screenshot("inpainted").await?;

    page.click("#mask-edit").await?;
    page.click("#brush-invert").await?;
    page.click("#brush-undo").await?;
    page.click("#brush-clear").await?;
    page.click("#brush-done").await?;
    page.until("nothing is masked", "document.querySelector('#start-mask').hidden").await?;
    page.click("#start-remove").await?;
    page.until("there is no start", "!document.querySelector('#start-choose').hidden").await?;

    // A picture brings back the start and the mask that it was drawn from.
    page.fill("#prompt", "something else").await?;
    page.click(".tile-actions [title='Again with these']").await?;
    page.until("the start is back", "document.querySelector('#start-image').naturalWidth === 128").await?;
    page.until("the mask is back", "!document.querySelector('#start-mask').hidden").await?;
    assert!(page.draw().await? == redrawn);
    page.close().await
}

/// Drops the newest picture onto the page, as a file manager would.
const DROP_NEWEST: &str = "
    const drop = async () => {
        const response = await fetch(document.querySelector('.tile img').src);
        const transfer = new DataTransfer();
        transfer.items.add(new File([await response.blob()], 'picture.png', { type: 'image/png' }));
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
    };
    drop().then(arguments[0]);";

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_picture_gives_its_settings() -> WebDriverResult<()> {
    let page = Page::open(Screen::Wide).await?;
    page.fill("#prompt", "a yellow house on the sand by day").await?;
    page.fill("#steps", "6").await?;
    page.fill("#seed", "11").await?;
    let picture = page.draw().await?;
    page.fill("#prompt", "something else").await?;
    page.fill("#steps", "3").await?;
    page.fill("#seed", "12").await?;

    page.driver.execute_async(DROP_NEWEST, Vec::new()).await?;
    page.until("it is asked what to do", "document.querySelector('#dropped').open").await?;
    assert!(page.text("#dropped-parameters").await?.contains("Seed: 11"));
    page.screenshot("dropped").await?;
    page.click("#dropped-settings").await?;
    assert_eq!(page.value_of("#prompt").await?, "a yellow house on the sand by day");
    assert_eq!(page.value_of("#steps").await?, "6");
    assert_eq!(page.value_of("#seed").await?, "11");
    assert!(page.draw().await? == picture);
    page.close().await
}
