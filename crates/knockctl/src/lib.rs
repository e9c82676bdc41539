//! `knockctl`, the administrator's tool: one question to the daemon, one answer on the terminal.
//!
//! ```text
//! arguments ─► cli ─► commands ─► request ─► client ─► daemon
//!                         └◄── answer ◄────────┘
//!                         └─► text or JSON ─► output
//! ```
//!
//! It knows nothing of its own: all that it tells, it was told over the control socket. Only `doctor` and `try` look for
//! themselves, and `new-door`, `enroll` and `revoke` write what the
//! daemon reads.

mod administrator;
mod cli;
mod client;
mod commands;
mod configuration;
mod doctor;
mod failure;
mod file;
mod host_key;
mod keys;
mod new_door;
mod output;
mod outside;
mod qr;
mod random;
mod server;
mod socket;
mod table;
mod times;
mod top;
mod try_door;

use std::process::ExitCode;

use cli::Command;
pub use cli::command;
use commands::Context;
use failure::Failure;

/// Does what the command line asks for.
pub fn run() -> ExitCode {
    let arguments = match cli::parse() {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let socket = socket::find(&arguments);
    let context = Context {
        socket,
        socket_is_named: arguments.socket.is_some(),
        config: arguments.config().to_owned(),
        config_is_named: arguments.config.is_some(),
        json: arguments.json,
    };
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
        Command::Make(command) => command.run(context),
        Command::Keys(command) => command.run(context),
        Command::Metrics(command) => command.run(context),
    }
}
