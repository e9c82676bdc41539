//! Fish: what clap makes, with our values in the places where it has none.

use std::collections::BTreeSet;
use std::iter::once;

use clap::{Arg, Command};
use clap_complete::Shell;

use super::values::{Kind, spellings};

/// What stands in every script that has places.
const FUNCTION: &str = include_str!("completion.fish");

/// The script of a command; [`super::run`] says where it goes.
pub(super) fn script(command: &Command) -> String {
    let name = command.get_name();
    let mut script = Vec::new();
    clap_complete::generate(Shell::Fish, &mut command.clone(), name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let options = once(command).chain(command.get_subcommands()).flat_map(Command::get_opts);
    let script = options.fold(script, |script, option| with_values(&script, option));
    // Files are offered only where they are asked for. But before a command fish does not see that it stands behind an
    // option that has a file.
    let no_files = match command.has_subcommands() {
        true => format!("complete -c {name} -n 'test (__fish_{name}_place) -ge 1' -f\n"),
        false => format!("complete -c {name} -f\n"),
    };
    format!("{script}{}{no_files}{}", place_function(command), places(command))
}

/// clap ends an option whose value it does not know with `-r`.
fn with_values(script: &str, option: &Arg) -> String {
    let long = format!(" -l {} ", option.get_long().unwrap_or_default());
    let values = match Kind::of(option).listed() {
        listed if listed.is_empty() => " -f".into(),
        listed => format!(" -f -a {}", quoted(&format!("({listed})"))),
    };
    let replaced = |line: &str| match line.ends_with(" -r") && line.contains(&long) {
        true => format!("{line}{values}\n"),
        false => format!("{line}\n"),
    };
    script.lines().map(replaced).collect()
}

/// What stands at each place of the command, and of those below it.
fn places(command: &Command) -> String {
    let name = command.get_name();
    let own = command.get_positionals().enumerate();
    let own = own.filter_map(|(place, argument)| line(name, &at(name, place), Kind::of(argument)));
    let below = command.get_subcommands().flat_map(|below| {
        let is_it = format!("__fish_{name}_using_subcommand {}; and ", below.get_name());
        let places = below.get_positionals().enumerate();
        places.filter_map(move |(place, argument)| {
            line(name, &(is_it.clone() + &at(name, place + 1)), Kind::of(argument))
        })
    });
    own.chain(below).collect()
}

fn at(command: &str, place: usize) -> String {
    format!("test (__fish_{command}_place) -eq {place}")
}

/// Nothing where nobody knows what may stand there; files are what fish offers then by itself.
fn line(command: &str, condition: &str, kind: Kind) -> Option<String> {
    let listed = match kind {
        Kind::Other => return None,
        Kind::File => return Some(format!("complete -c {command} -n {} -F\n", quoted(condition))),
        Kind::Host => format!("{}; __fish_print_hostnames", kind.listed()),
        kind => kind.listed(),
    };
    Some(format!("complete -c {command} -n {} -f -a {}\n", quoted(condition), quoted(&format!("({listed})"))))
}

/// The function that [`at`] asks.
fn place_function(command: &Command) -> String {
    let all = once(command).chain(command.get_subcommands()).flat_map(Command::get_opts);
    let valued: BTreeSet<_> = all.flat_map(spellings).collect();
    let valued = valued.into_iter().collect::<Vec<_>>().join(" ");
    FUNCTION.replace("COMMAND", command.get_name()).replace("VALUED", &valued)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
