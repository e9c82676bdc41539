//! Bash: a table of what stands where, and a function that looks it up.

use clap::Command;

use super::values::{Kind, of_command, spellings};

/// What stands at the end of every script.
const FUNCTION: &str = include_str!("completion.bash");

/// The script of a command; [`super::run`] says where it goes.
pub(super) fn script(command: &Command) -> String {
    let lists = of_command(command).map(|(kind, name)| format!("        {name}) {} ;;\n", listed(kind)));
    FUNCTION
        .replace("COMMAND", command.get_name())
        .replace("    LISTS\n", &format!("    case $1 in\n{}    esac\n", lists.collect::<String>()))
        .replace("    TABLE\n", &format!("    case $1 in\n{}    esac\n", table(command)))
}

fn listed(kind: Kind) -> String {
    match kind {
        Kind::File => "compgen -f -- \"$cur\"".into(),
        Kind::Host => format!("{}; compgen -A hostname -- \"$cur\"", kind.listed()),
        kind => kind.listed(),
    }
}

/// A row for each option with a value, for each place whose values somebody knows, and for the options and commands that
/// may come.
fn table(command: &Command) -> String {
    let below = command.get_subcommands().map(|below| rows(below.get_name(), below));
    format!("{}{}", rows("", command), below.collect::<String>())
}

fn rows(name: &str, command: &Command) -> String {
    let mut rows = String::new();
    let mut row = |keys: &[String], found: &str| {
        let keys: Vec<_> = keys.iter().map(|key| format!("{name},{key}")).collect();
        rows += &format!("        {}) echo '{found}' ;;\n", keys.join("|"));
    };
    for option in command.get_opts() {
        row(&spellings(option), &format!("={}", Kind::of(option).name()));
    }
    for (place, kind) in
        command.get_positionals().map(Kind::of).enumerate().filter(|(_, kind)| *kind != Kind::Other)
    {
        row(&[place.to_string()], &format!("={}", kind.name()));
    }
    if command.has_subcommands() {
        row(&["0".into()], &command.get_subcommands().map(Command::get_name).collect::<Vec<_>>().join(" "));
    }
    row(&["-".into()], &command.get_arguments().flat_map(spellings).collect::<Vec<_>>().join(" "));
    rows
}
