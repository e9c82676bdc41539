//! The command line. Each group of commands has a module of its own, which says what they take.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands::{change, examine, follow, keys, make, metrics, show};

/// The daemon's configuration when nothing is said.
pub(crate) const CONFIG: &str = "/etc/knockd.conf";

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
    /// The daemon's configuration, whose control_socket counts where -s is unsaid [default: /etc/knockd.conf]
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
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
    #[command(flatten)]
    Make(make::Command),
    #[command(flatten)]
    Keys(keys::Command),
    #[command(flatten)]
    Metrics(metrics::Command),
}

impl Arguments {
    /// The daemon's configuration.
    pub(crate) fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(CONFIG))
    }
}

/// The command line as a whole, for completions and manual pages.
pub fn command() -> clap::Command {
    Arguments::command()
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
    use super::*;

    #[test]
    fn clap_agrees_with_itself() {
        command().debug_assert();
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
    fn what_the_document_types_is_understood() {
        let document = include_str!("../../../docs/knockctl.md");
        let typed = document
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("server").strip_prefix(['$', '#']));
        let lines: Vec<_> = typed.filter(|line| line.starts_with(" knockctl ")).collect();
        assert!(lines.len() >= 6, "{lines:?}");
        for line in lines {
            let words = line.split('|').next().unwrap_or_default().split_whitespace();
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
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
