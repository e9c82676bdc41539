//! The command line. Each group of commands has a module of its own, which says what they take.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{change, examine, follow, show};

/// Asks knockd what it knows, and tells it what to do.
#[derive(Debug, Parser)]
#[command(
    name = "knockctl",
    version = concat!(env!("CARGO_PKG_VERSION"), " (toctoc)"),
    infer_long_args = true,
    after_help = "Exit status: 0 done, 1 knockd says no or cannot be reached, or a problem was found, 2 wrong usage.\n\
                  All of this is explained in docs/knockctl.md."
)]
pub(crate) struct Arguments {
    /// The daemon's control socket
    #[arg(short, long, value_name = "PATH", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// The daemon's configuration, whose control_socket counts where -s is unsaid
    #[arg(short, long, value_name = "FILE", global = true, default_value = "/etc/knockd.conf")]
    pub(crate) config: PathBuf,
    /// Print the daemon's answer as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Show(show::Command),
    #[command(flatten)]
    Change(change::Command),
    #[command(flatten)]
    Follow(follow::Command),
    #[command(flatten)]
    Examine(examine::Command),
}

/// The arguments, or what to exit with when they are help, version or wrong.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    Arguments::try_parse().map_err(|error| {
        // What cannot be printed has nobody who reads it.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn clap_agrees_with_itself() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_stand_anywhere() {
        for line in
            ["knockctl -s /x --json grants", "knockctl grants --json -s /x", "knockctl --js grants --soc=/x"]
        {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!((arguments.socket, arguments.json), (Some("/x".into()), true), "{line}");
            assert!(matches!(arguments.command, Command::Show(show::Command::Grants)));
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let lines =
            ["", "grant", "open ssh", "open ssh 192.0.2", "open ssh 192.0.2.7 --for 0", "close", "watch x"];
        for line in lines {
            let words = std::iter::once("knockctl").chain(line.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }
}
