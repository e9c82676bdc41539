//! `--check`: everything there is to say about the configuration, without opening anything.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use knock_core::config::advice::{AppendedRule, appended_rules, futile_append, on_append};
use knock_core::config::{Config, Diagnostic, Door, Severity};
use knock_linux::links::{self, Routes};

use crate::cli::Arguments;
use crate::configuration::{self, Loaded, Occasion};
use crate::log;

/// Prints all errors and warnings; succeeds where the configuration can be used.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let loaded = match std::env::current_dir().map_err(|error| format!("the working directory: {error}")) {
        Ok(base) => configuration::load(arguments, &base, Occasion::Check),
        Err(error) => Err(error),
    };
    match loaded {
        Ok(mut loaded) => {
            let config = loaded.config.as_ref();
            let rules = config.map(on_appended_rules).unwrap_or_default();
            let programs = config.map(on_missing_programs).unwrap_or_default();
            let source = loaded.source.clone();
            let interfaces = config.map(on_missing_interfaces).unwrap_or_default();
            let found = rules.into_iter().chain(programs).chain(interfaces);
            loaded.remarks.extend(found.map(|diagnostic| (source.clone(), diagnostic)));
            print_all(&loaded);
            summary(&loaded)
        }
        Err(error) => {
            log::tell(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Shows the remarks with the lines that they are about, on standard error.
pub(crate) fn print_all(loaded: &Loaded) {
    let mut error_output = std::io::stderr().lock();
    let colour = error_output.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for (source, diagnostic) in &loaded.remarks {
        // Whoever closed standard error does not want to read it.
        let _ = writeln!(error_output, "{}\n", source.snippet(diagnostic, colour));
    }
}

fn summary(loaded: &Loaded) -> ExitCode {
    let count = |severity| loaded.remarks.iter().filter(|(_, remark)| remark.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let doors = loaded.config.as_ref().map_or(0, |config| config.doors.len());
    let verdict = if errors == 0 {
        format!("can be used, with {}", number(doors, "door"))
    } else {
        "cannot be used".into()
    };
    let counts = format!("{}, {}", number(errors, "error"), number(warnings, "warning"));
    // As above.
    let _ = writeln!(std::io::stdout(), "{}: {verdict}: {counts}", loaded.source.name());
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What can be said of `iptables -A` in start commands, by the chains as they are now.
fn on_appended_rules(config: &Config) -> Vec<Diagnostic> {
    let mut listings = HashMap::new();
    let mut diagnostics = Vec::new();
    for door in &config.doors {
        for (command, span) in door.start_commands() {
            for rule in appended_rules(command) {
                let key = (rule.program.clone(), rule.table.clone(), rule.chain.clone());
                let listing = listings.entry(key).or_insert_with(|| list(&rule));
                if let Some(reason) = listing.as_ref().and_then(|listing| futile_append(&rule.chain, listing))
                {
                    diagnostics.push(on_append(&rule, span.start, &reason));
                }
            }
        }
    }
    diagnostics
}

/// Programs of start commands, named with their path, that this machine does not have.
fn on_missing_programs(config: &Config) -> Vec<Diagnostic> {
    let commands = config.doors.iter().flat_map(Door::start_commands);
    let missing = commands.filter_map(|(command, span)| {
        let program = command.split_whitespace().next()?;
        let plain =
            program.starts_with('/') && !program.contains(['%', '$', '"', '\'', ';', '|', '&', '(', ')']);
        (plain && !Path::new(program).exists()).then(|| {
            let span = span.start..span.start + program.len();
            Diagnostic::warning(span, format!("there is no {program} here"), "the shell could not run it")
        })
    });
    missing.collect()
}

/// Interfaces that are named and that this machine does not have, at least not now.
fn on_missing_interfaces(config: &Config) -> Vec<Diagnostic> {
    let options = &config.options;
    let (Some(interfaces), Some(span)) = (&options.interfaces, &options.interfaces_span) else {
        return Vec::new();
    };
    // Where they cannot be asked for, nothing can be said of them.
    let Ok(links) = links::read(Routes::Ignored) else { return Vec::new() };
    let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
    let missing = interfaces.literal_names().filter(|name| !names.contains(name));
    missing
        .map(|name| {
            let help = format!("nobody can knock there before it comes; there are: {}", names.join(", "));
            Diagnostic::warning(span.clone(), format!("there is no interface {name} here"), help)
        })
        .collect()
}

/// What the chain holds, where the system's own program can be asked; it changes nothing.
fn list(rule: &AppendedRule) -> Option<String> {
    let mut command = Command::new(&rule.program);
    let output = command
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(["-t", &rule.table, "-S", &rule.chain])
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
