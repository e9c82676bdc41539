//! `knockctl doctor`: looks at the whole machine, says what keeps doors from doing what they are there for, and what to
//! type. It changes nothing.
//!
//! ```text
//! configuration, socket, packet filter, links, files ─► facts ─► checks ─► findings ─► report
//! ```

mod boot;
mod checks;
mod facts;
mod files;
mod finding;
mod kernel;
mod keys;
mod ports;
mod process;
mod remedy;
mod report;
mod rules;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use knock_core::config::{self, Config, Severity as Weight};
use knock_core::control::{Answer, Door, Request, Status, TableState};
use knock_linux::links::{self, Routes};
use knock_linux::time_sync;

pub(crate) use facts::Reach;
use facts::{Facts, Reached, Table};
use finding::Severity;
use ports::Port;
pub(crate) use rules::read::{PATH, listing};

use crate::client::ask;
use crate::commands::Context;
use crate::failure::Failure;
use crate::output::{print, printable_json};
use crate::outside::{self, Outside};

/// So many ports are tried at most.
const MAX_TRIED: usize = 64;

/// Examines the machine and tells what was found. `tries` asks for real connection attempts.
pub(crate) fn run(context: &Context, tries: bool) -> Result<(), Failure> {
    outside::need_root("doctor")?;
    let sections = checks::examine(&read(context, tries));
    print(&match context.json {
        true => format!("{}\n", printable_json(&report::json(&sections))),
        false => report::text(&sections),
    })?;
    match report::count(&sections, Severity::Problem) {
        0 => Ok(()),
        _ => Err(Failure::Told),
    }
}

fn read(context: &Context, tries: bool) -> Facts {
    let config = configuration(&context.config);
    let ports = config.as_ref().map(ports::of).unwrap_or_default();
    let has_native_doors = ports.iter().any(|port| port.native);
    let daemon = status(&context.socket).map_err(|failure| failure.to_string());
    let table = kernel::has_our_table();
    let (ruleset, filter_troubles) = rules::read::read();
    let id = daemon.as_ref().ok().map(|status| status.pid);
    let process = id.map(process::read).unwrap_or_default();
    let mut facts = Facts {
        config_path: absolute(&context.config),
        lacking: kernel::lacking(id, has_native_doors, &table),
        table: table_state(daemon.as_ref().ok(), table.unwrap_or(false)),
        doors: doors(&context.socket).unwrap_or_default(),
        files: files::read(&context.config, config.as_ref().ok(), &context.socket),
        keys: keys::read(config.as_ref().ok()),
        config,
        ports,
        ruleset,
        filter_troubles,
        daemon,
        links: links::read(Routes::Followed).unwrap_or_default(),
        clock: time_sync::is_synchronised().ok(),
        boot: boot::read(Path::new("/"), process.program.as_deref()),
        process,
        reached: Vec::new(),
        not_tried: None,
    };
    if tries && has_native_doors {
        match Outside::make() {
            Ok(outside) => facts.reached = try_all(&facts.ports, &outside),
            Err(why) => facts.not_tried = Some(why),
        }
    }
    facts
}

/// The daemon tells its own in full.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn configuration(path: &Path) -> Result<Config, Vec<String>> {
    let bytes = fs::read(path).map_err(|error| vec![error.to_string()])?;
    let parsed = config::parse(&path.display().to_string(), &bytes);
    let errors = parsed.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Weight::Error);
    let errors = errors.map(|diagnostic| parsed.source.line(diagnostic)).collect();
    parsed.config.ok_or(errors)
}

/// How the daemon is.
pub(crate) fn status(socket: &Path) -> Result<Status, Failure> {
    match ask(socket, &Request::Status {})?.answer {
        Answer::Status(status) => Ok(*status),
        _ => Err(Failure::NotUnderstood("it belongs to another request".into())),
    }
}

/// The daemon's doors, with their sequences.
pub(crate) fn doors(socket: &Path) -> Result<Vec<Door>, Failure> {
    match ask(socket, &Request::Doors { secrets: true })?.answer {
        Answer::Doors { doors } => Ok(doors),
        _ => Err(Failure::NotUnderstood("it belongs to another request".into())),
    }
}

fn table_state(status: Option<&Status>, is_there: bool) -> Table {
    let by_daemon = status.and_then(|status| status.native.as_ref()).map(|native| native.table);
    match (is_there, by_daemon) {
        (false, _) => Table::Missing,
        (true, Some(TableState::Missing)) => Table::Changed,
        (true, _) => Table::InPlace,
    }
}

/// Connects to all ports that are guarded, without a knock.
fn try_all(ports: &[Port], outside: &Outside) -> Vec<Reached> {
    let is_tried = |port: &&Port| port.native && port.target.is_none() && port.protocol_name() == "tcp";
    let ports = ports.iter().filter(is_tried).take(MAX_TRIED);
    let tries: Vec<_> = ports.flat_map(|port| outside.ways().map(move |way| (port, way))).collect();
    let targets: Vec<_> = tries.iter().map(|(port, way)| (way.inside, port.first).into()).collect();
    let met = outside.connect_all(&targets);
    let reached = |(((port, way), target), reach): (((&Port, outside::Way), _), Reach)| Reached {
        door: port.door.clone(),
        from: way.outside,
        target,
        reach,
    };
    tries.into_iter().zip(targets).zip(met).map(reached).collect()
}

/// The ports that a door's command opens, so far as it names them in a manner that is known; those of TCP.
pub(crate) fn ports_of_command(command: &str) -> Vec<u16> {
    let tcp = |(protocol, port)| (protocol == knock_core::knock::Protocol::Tcp).then_some(port);
    ports::named(command).into_iter().filter_map(tcp).collect()
}

/// Whether the daemon passes over IPv6.
pub(crate) fn passes_over_ipv6(status: &Status) -> bool {
    process::read(status.pid).only_ipv4
}

/// How many rules ask for an interface other than loopback.
pub(crate) fn rules_of_interfaces() -> usize {
    let (ruleset, _) = rules::read::read();
    let asks = |what: &rules::What| matches!(what, rules::What::Interface(names) if names.iter().any(|name| name != "lo"));
    let rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
    rules.filter(|rule| rule.conditions.iter().any(|condition| asks(&condition.what))).count()
}
