//! `knockctl`, the administrator's tool: one question to the daemon, one answer on the terminal.
//!
//! ```text
//! arguments ─► cli ─► commands ─► request ─► client ─► daemon
//!                         └◄── answer ◄────────┘
//!                         └─► text or JSON ─► output
//! ```
//!
//! It knows nothing of its own: all that it tells, it was told over the control socket. Only `doctor` and `try` look for
//! themselves.

mod administrator;
mod cli;
mod client;
mod commands;
mod doctor;
mod failure;
mod output;
mod outside;
mod socket;
mod table;
mod times;
mod try_door;

use std::process::ExitCode;

use cli::Command;
use commands::Context;
use failure::Failure;

/// Does what the command line asks for.
pub fn run() -> ExitCode {
    let arguments = match cli::parse() {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let socket = socket::find(&arguments);
    let context = Context { socket, config: arguments.config, json: arguments.json };
    match perform(arguments.command, &context) {
        Ok(()) | Err(Failure::NobodyReads) => ExitCode::SUCCESS,
        Err(Failure::Told) => ExitCode::FAILURE,
        Err(failure) => {
            output::tell(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Show(command) => command.run(context),
        Command::Change(command) => command.run(context),
        Command::Follow(command) => command.run(context),
        Command::Examine(command) => command.run(context),
    }
}
