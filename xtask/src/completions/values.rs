//! What a value can be, and the shell command that lists it.

use std::iter::once;

use clap::{Arg, Command};

/// What stands behind an option, or at a place of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file's path.
    File,
    /// A network interface.
    Interface,
    /// A door of the running daemon.
    Door,
    /// An address that has something open, or that is knocking.
    Address,
    /// A host of the client's own configuration, or any.
    Host,
    /// Nothing that anybody could list.
    Other,
}

/// All that each shell needs a way for.
const KINDS: [(Kind, &str); 5] = [
    (Kind::File, "files"),
    (Kind::Interface, "interfaces"),
    (Kind::Door, "doors"),
    (Kind::Address, "addresses"),
    (Kind::Host, "hosts"),
];

impl Kind {
    /// Found by what the help calls the value.
    pub(super) fn of(argument: &Arg) -> Self {
        let id = argument.get_id().as_str().to_uppercase();
        match argument
            .get_value_names()
            .and_then(|names| names.first())
            .map_or(id.as_str(), |name| name.as_str())
        {
            "FILE" | "PATH" => Self::File,
            "IF" => Self::Interface,
            "DOOR" => Self::Door,
            // Those of `--from` and the like are the reader's own, which the daemon need not know.
            "ADDRESS" if argument.is_positional() => Self::Address,
            "HOST" => Self::Host,
            _ => Self::Other,
        }
    }

    /// What a script calls it; empty for [`Kind::Other`].
    pub(super) fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// A line for any shell that prints the values, one a line. Nothing is printed where nobody knows them, as when the
    /// daemon cannot be asked. It is empty where each shell has its own way.
    pub(super) fn listed(self) -> String {
        match self {
            Self::Interface => "ls /sys/class/net 2>/dev/null".into(),
            Self::Door => of_the_daemon("doors", "name"),
            Self::Address => {
                format!("{}; {}", of_the_daemon("grants", "network"), of_the_daemon("attempts", "source"))
            }
            Self::Host => "knock --list 2>/dev/null | cut -d ' ' -f 1".into(),
            Self::File | Self::Other => String::new(),
        }
    }
}

/// The kinds of value that a command takes, with what scripts call them.
pub(super) fn of_command(command: &Command) -> impl Iterator<Item = (Kind, &'static str)> {
    let arguments: Vec<_> =
        once(command).chain(command.get_subcommands()).flat_map(Command::get_arguments).collect();
    KINDS.into_iter().filter(move |(kind, _)| arguments.iter().any(|argument| Kind::of(argument) == *kind))
}

/// A name with a quote or a backslash in it is cut short: nobody types it either.
fn of_the_daemon(request: &str, field: &str) -> String {
    format!("knockctl --json {request} 2>/dev/null | grep -o '\"{field}\":\"[^\"]*\"' | cut -d '\"' -f 4")
}

/// An option as it can be typed.
pub(super) fn spellings(argument: &Arg) -> Vec<String> {
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long_and_visible_aliases().unwrap_or_default();
    short.into_iter().chain(long.iter().map(|long| format!("--{long}"))).collect()
}
