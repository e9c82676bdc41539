//! The port-knock daemon.
//!
//! ```text
//! capture ─► reading (decode, tracker) ─► openings ─► acting (doorkeeper) ─► native, commands
//!                                                          └─► journal, one-time files
//! ```
//!
//! The reading half meets strangers' bytes. The acting half believes it nothing but "this door, this address", and
//! checks both. They share nothing; what passes between them are reports one way and sequences the other.

mod acting;
mod audit;
mod check;
mod cli;
mod commands;
mod configuration;
mod control;
mod daemon;
mod journal;
mod log;
mod lookup;
mod metrics;
mod native;
mod one_time;
mod owner;
mod pace;
mod pid_file;
mod reading;
mod served;
mod signals;
mod syslog;
mod watched;

use std::process::ExitCode;

pub use cli::command;

/// Runs the daemon, or what else the command line asks for.
pub fn run() -> ExitCode {
    let arguments = match cli::parse() {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    if arguments.check { check::run(&arguments) } else { daemon::run(&arguments) }
}
