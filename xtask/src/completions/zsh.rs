//! Zsh: what clap makes, with our values in the places where it has none.

use clap::{Arg, Command};
use clap_complete::Shell;

use super::values::{Kind, of_command};

/// The script of a command; [`super::run`] says where it goes.
pub(super) fn script(command: &Command) -> String {
    let name = command.get_name();
    let mut script = Vec::new();
    clap_complete::generate(Shell::Zsh, &mut command.clone(), name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let arguments =
        std::iter::once(command).chain(command.get_subcommands()).flat_map(Command::get_arguments);
    let script = arguments.fold(script, |script, argument| with_values(&script, name, argument));
    // The functions are there before the script's last lines call for them.
    let end = script.rfind("\nif [ \"$funcstack[1]\"").unwrap_or(script.len());
    let (begin, end) = script.split_at(end);
    format!("{begin}\n{}{end}", functions(command))
}

/// clap writes `:NAME:_default` for an option's value, and `:id -- help:_default` for a place.
fn with_values(script: &str, command: &str, argument: &Arg) -> String {
    let action = match Kind::of(argument) {
        Kind::File => "_files".into(),
        Kind::Interface => "_net_interfaces".into(),
        Kind::Other => " ".into(),
        kind => format!("_{command}_{}", kind.name()),
    };
    let names = argument.get_value_names().unwrap_or_default();
    let is_it = |line: &str| match argument.is_positional() {
        true => line.contains(&format!(":{} -- ", argument.get_id())),
        false => names.first().is_some_and(|name| line.contains(&format!("]:{name}:"))),
    };
    let replaced = |line: &str| match line.rsplit_once(":_default'") {
        Some((begin, end)) if is_it(line) => format!("{begin}:{action}'{end}\n"),
        _ => format!("{line}\n"),
    };
    script.lines().map(replaced).collect()
}

fn functions(command: &Command) -> String {
    let name = command.get_name();
    let dynamic =
        of_command(command).filter(|(kind, _)| [Kind::Door, Kind::Address, Kind::Host].contains(kind));
    let function = |(kind, values): (Kind, &str)| {
        let hosts = if kind == Kind::Host { "    _hosts && ret=0\n" } else { "" };
        format!(
            "_{name}_{values}() {{\n    local -a names\n    local expl ret=1\n    names=(${{(f)\"$({})\"}})\n    \
             _wanted {values} expl {values} compadd -a names && ret=0\n{hosts}    return ret\n}}\n\n",
            kind.listed()
        )
    };
    dynamic.map(function).collect()
}
