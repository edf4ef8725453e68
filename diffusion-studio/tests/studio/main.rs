//! A server on the loopback, asked as clients ask.

mod bad_input;
mod cancelling;
mod client;
mod drawing;
mod fairness;
mod fuzz;
mod lasting;
mod loras;
mod operation;
mod page;
mod privacy;
mod repeats;
mod security;
