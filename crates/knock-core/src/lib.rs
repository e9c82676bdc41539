//! The rules of port knocking, without a network, a clock or a disk.
//!
//! Events and the time go in, decisions come out:
//!
//! ```text
//! bytes of a file   ─► config ─► doors
//! bytes of a packet ─► packet ─► tracker ─► openings ─► doorkeeper ─► commands to run
//! ```
//!
//! Nothing in here does I/O or reads a clock, so that every rule can be tested with made-up packets and
//! made-up time.

mod allowance;
pub mod config;
pub mod control;
pub mod doorkeeper;
#[cfg(feature = "fwknop")]
pub mod fwknop;
pub mod history;
pub mod journal;
pub mod knock;
pub mod ledger;
pub mod network;
pub mod one_time;
pub mod packet;
pub mod quota;
pub mod rolling;
pub mod sequence;
pub mod spa;
pub mod time;
pub mod tracker;
pub mod way_in;
