//! The page in a real browser: Chromium by `chromedriver`, both from the PATH, against the server as it is delivered.
//!
//! Screenshots go into the folder that `STUDIO_SCREENSHOTS` names, or into a temporary one.

mod drawing;
mod lora_file;
mod page;
mod phone;
mod pictures;
mod programs;
mod settings;
