//! What the daemon tells: its log in each form, what others read in it, and its metrics.
//!
//! The programs under test are those of the same build: `cargo build -p knockd` first.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fail2ban;
mod journal;
mod json;
mod metrics;
mod prometheus;
mod support;
