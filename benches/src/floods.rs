//! What a daemon does while it is flooded: what a packet costs it, and whether who knocks honestly is let in.

mod bare;
mod doors;
mod footprint;
mod honest;
mod measure;
mod memory;
mod plot;
mod scenario;

use std::io;
use std::path::Path;
use std::time::Duration;

pub(crate) use bare::{ARGUMENT as RECEIVE, receive};
pub(crate) use measure::dropped;

use crate::THEIRS;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use measure::{Outcome, Scale};
use scenario::Scenario;

/// How long a door that was opened stays open.
const OPEN_FOR: Duration = Duration::from_secs(1);

/// One flood, met by everybody.
struct Row {
    scenario: Scenario,
    bare: Outcome,
    theirs: Outcome,
    ours: Outcome,
}

/// Measures and prints; a full run draws `docs/floods.svg` as well.
pub(crate) fn run(quick: bool) -> io::Result<()> {
    let scale = Scale::of(quick);
    let scenarios = if quick { scenario::some() } else { scenario::all() };
    let rows =
        scenarios.into_iter().map(|scenario| compare(scenario, scale)).collect::<io::Result<Vec<_>>>()?;
    print(&rows);
    doors::run(scale)?;
    memory::run(scale)?;
    footprint::run(quick)?;
    let picture = plot::draw(&rows);
    if quick { Ok(()) } else { plot::keep(&picture) }
}

fn compare(scenario: Scenario, scale: Scale) -> io::Result<Row> {
    let bare = measure::flood_bare(&scenario, scale)?;
    let theirs = measure::flood(&start_theirs(&server::commands())?, &scenario, scale)?;
    let ours = measure::flood(&start_ours(&server::native(OPEN_FOR))?, &scenario, scale)?;
    Ok(Row { scenario, bare, theirs, ours })
}

fn start_theirs(doors: &str) -> io::Result<Server> {
    Server::start(Path::new(THEIRS), false, doors, Scratch::on_disk()?)
}

fn start_ours(doors: &str) -> io::Result<Server> {
    Server::start(&lab::binary("knockd")?, true, doors, Scratch::on_disk()?)
}

fn print(rows: &[Row]) {
    println!(
        "| traffic | a bare receive loop | Debian's knockd | ours | let in by Debian's | let in by ours |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for Row { scenario, bare, theirs, ours } in rows {
        let costs = [bare, theirs, ours].map(|outcome| outcome.cost(scenario.pace)).join(" | ");
        let Scenario { name, rate, .. } = scenario;
        println!("| {name}, {rate} | {costs} | {} | {} |", theirs.honest, ours.honest);
    }
    println!();
}
