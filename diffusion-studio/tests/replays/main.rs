//! What real clients send, in their own words, against the whole server.
//!
//! Reference: open-webui `backend/open_webui/routers/images.py` @02530d5, `SillyTavern` `src/endpoints/stable-diffusion.js`, and the
//! packages `openai` 3.57.0 and `webuiapi` 0.9.17, whose real selves run in `scripts/clients/`.

mod a1111;
mod open_webui;
mod openai;
mod server;
mod silly_tavern;
