//! The port-knock daemon.
//!
//! ```text
//! capture ─► reading (decode, tracker, seals) ─► openings ─► acting (signatures, doorkeeper) ─► native, commands
//!            a process of its own              channel           └─► journal, ledger, one-time files
//! ```
//!
//! The reading half meets strangers' bytes, in a process that has no power. The acting half believes it nothing but
//! "this door, this address", and checks both; the signature of a knock it verifies itself. They share nothing; what
//! passes between them are words one way and orders the other.

mod acting;
mod audit;
mod book;
pub mod channel;
mod check;
mod cli;
mod commands;
mod configuration;
mod control;
mod credential;
mod daemon;
mod journal;
mod ledger;
mod log;
mod lookup;
mod metrics;
mod native;
mod one_time;
mod owner;
mod pace;
mod pid_file;
mod reader;
mod reading;
mod service;
mod signals;
mod state_directory;
mod syslog;
mod wall_clock;
mod watched;

use std::process::ExitCode;

pub use cli::command;
#[cfg(feature = "fwknop")]
pub use reading::FwknopDoor;
pub use reading::{Datagrams, Hands, Listened};

/// Runs the daemon, or what else the command line asks for.
pub fn run() -> ExitCode {
    run_with(None)
}

/// The same, but that the reading half, once it is confined, does this and nothing else: to see what somebody can do who
/// has taken it over.
pub fn run_taken_over(misbehave: fn(Hands)) -> ExitCode {
    run_with(Some(misbehave))
}

fn run_with(taken_over: Option<fn(Hands)>) -> ExitCode {
    if reading::is_meant() {
        return reading::run(taken_over);
    }
    let arguments = match cli::parse() {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    if arguments.check { check::run(&arguments) } else { daemon::run(&arguments) }
}
