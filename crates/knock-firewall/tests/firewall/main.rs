//! Real packets between hosts made of network namespaces, through our table and other people's firewalls.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod accept;
mod guard;
mod listing;
mod replace;
mod support;
mod tricks;
