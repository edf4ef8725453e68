//! The page as a test sees it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use image::RgbImage;
use serde::de::DeserializeOwned;
use serde_json::json;
use tempfile::TempDir;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, LoggingPrefsLogLevel};

use crate::lora_file::write_lora;
use crate::programs::{Chromedriver, Studio};

/// Machines that build besides are slow.
const PATIENCE: Duration = Duration::from_secs(90);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Steps that take long enough to watch them. The miniature takes milliseconds for one.
pub(crate) const MANY_STEPS: &str = "400";

/// What the browser is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Screen {
    /// A window of 1440 x 900.
    Wide,
    /// A phone, with this many pixels across.
    Phone(u32),
}

/// A browser that shows the page of a server of its own. The driver is dropped before the programs.
pub(crate) struct Page {
    pub(crate) driver: WebDriver,
    pub(crate) studio: Studio,
    _chromedriver: Chromedriver,
    _loras: TempDir,
}

impl Page {
    /// Show the page for the first time.
    pub(crate) async fn open(screen: Screen) -> WebDriverResult<Self> {
        let loras = tempfile::tempdir()?;
        write_lora(&loras.path().join("wobble.safetensors"));
        let studio = Studio::start(loras.path());
        let chromedriver = Chromedriver::start();
        let driver = WebDriver::new(&chromedriver.address, capabilities(screen)?).await?;
        let page = Self { driver, studio, _chromedriver: chromedriver, _loras: loras };
        page.goto("").await?;
        Ok(page)
    }

    /// Show the page at this address, which begins with what follows the server's.
    pub(crate) async fn goto(&self, path: &str) -> WebDriverResult<()> {
        self.driver.goto(format!("{}{path}", self.studio.address)).await?;
        self.until_ready().await
    }

    pub(crate) async fn reload(&self) -> WebDriverResult<()> {
        self.driver.refresh().await?;
        self.until_ready().await
    }

    async fn until_ready(&self) -> WebDriverResult<()> {
        self.until("the page is ready", "document.documentElement.dataset.ready === 'true'").await
    }

    /// The end of a test: neither the page nor its security policy has anything to complain about.
    pub(crate) async fn close(self) -> WebDriverResult<()> {
        let log = self.driver.browser_log().await?;
        // Refusals of the server are listed as well, and belong to some tests.
        let complaints: Vec<_> = log.iter().filter(|entry| entry.source.as_deref() != Some("network")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        self.driver.clone().quit().await
    }

    /// What an expression of JavaScript gives.
    pub(crate) async fn value<T: DeserializeOwned>(&self, expression: &str) -> WebDriverResult<T> {
        self.driver.execute(format!("return {expression};"), Vec::new()).await?.convert()
    }

    pub(crate) async fn text(&self, css: &str) -> WebDriverResult<String> {
        self.value(&format!("document.querySelector({css:?}).textContent")).await
    }

    pub(crate) async fn value_of(&self, css: &str) -> WebDriverResult<String> {
        self.value(&format!("document.querySelector({css:?}).value")).await
    }

    pub(crate) async fn count(&self, css: &str) -> WebDriverResult<usize> {
        self.value(&format!("document.querySelectorAll({css:?}).length")).await
    }

    /// Wait until an expression is true. With a screenshot if that takes too long.
    pub(crate) async fn until(&self, what: &str, expression: &str) -> WebDriverResult<()> {
        let start = Instant::now();
        while !self.value::<bool>(&format!("Boolean({expression})")).await? {
            if start.elapsed() > PATIENCE {
                self.screenshot("failure").await?;
                panic!("{what}: still not after {PATIENCE:?}; notices: {}", self.text("#notices").await?);
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Ok(())
    }

    pub(crate) async fn until_count(&self, css: &str, count: usize) -> WebDriverResult<()> {
        let expression = format!("document.querySelectorAll({css:?}).length === {count}");
        self.until(&format!("there are {count} of {css}"), &expression).await
    }

    /// An element, in the middle of what is seen, where nothing covers it.
    pub(crate) async fn element(&self, css: &str) -> WebDriverResult<WebElement> {
        let element = self.driver.find(By::Css(css)).await?;
        let scroll = "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })";
        self.driver.execute(scroll, vec![element.to_json()?]).await?;
        Ok(element)
    }

    pub(crate) async fn click(&self, css: &str) -> WebDriverResult<()> {
        self.element(css).await?.click().await
    }

    /// Type a text in place of what a field holds.
    pub(crate) async fn fill(&self, css: &str, text: &str) -> WebDriverResult<()> {
        let field = self.element(css).await?;
        field.send_keys(Key::Control + "a").await?;
        field.send_keys(text).await
    }

    /// Press a key wherever the focus is.
    pub(crate) async fn press(&self, key: Key) -> WebDriverResult<()> {
        self.driver.action_chain().send_keys(key.value().to_string()).perform().await
    }

    /// Open one of the folds of the settings.
    pub(crate) async fn unfold(&self, name: &str) -> WebDriverResult<()> {
        let fold = format!("[data-fold={name}]");
        if !self.value::<bool>(&format!("document.querySelector({fold:?}).open")).await? {
            self.click(&format!("{fold} > summary")).await?;
        }
        Ok(())
    }

    /// Draw with a seed that stays, and wait for the picture, which is the newest one.
    pub(crate) async fn draw(&self) -> WebDriverResult<RgbImage> {
        let before = self.count(".tile").await?;
        self.click("#draw").await?;
        self.until_count(".tile", before + 1).await?;
        self.newest_picture().await
    }

    pub(crate) async fn newest_picture(&self) -> WebDriverResult<RgbImage> {
        let address: String = self.value("document.querySelector('.tile img').src").await?;
        let bytes = reqwest::get(address).await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        Ok(image::load_from_memory(&bytes).unwrap().to_rgb8())
    }

    /// Keep what is seen, for people to look at.
    pub(crate) async fn screenshot(&self, name: &str) -> WebDriverResult<()> {
        let folder = env::var_os("STUDIO_SCREENSHOTS").map_or_else(|| env::temp_dir().join("studio-screenshots"), PathBuf::from);
        fs::create_dir_all(&folder)?;
        self.driver.screenshot(&folder.join(format!("{name}.png"))).await
    }
}

fn capabilities(screen: Screen) -> WebDriverResult<ChromeCapabilities> {
    let mut capabilities = DesiredCapabilities::chrome();
    // The sandbox needs what containers do not give.
    for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"] {
        capabilities.add_arg(argument)?;
    }
    match screen {
        Screen::Wide => capabilities.add_arg("--window-size=1440,900")?,
        Screen::Phone(width) => {
            let metrics = json!({ "width": width, "height": 740, "pixelRatio": 2, "touch": true, "mobile": true });
            capabilities.add_experimental_option("mobileEmulation", json!({ "deviceMetrics": metrics }))?;
        }
    }
    capabilities.set_browser_log_level(LoggingPrefsLogLevel::Warning)?;
    Ok(capabilities)
}
