//! Front ends and workers as processes of their own, with a Postgres that the tests start.

#[path = "../studio/client.rs"]
#[allow(dead_code, reason = "a part of it is for other tests")]
mod client;
mod faults;
mod keeping;
mod many;
mod order;
mod postgres;
mod programs;
mod progress;
