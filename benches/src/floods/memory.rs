//! Memory under a flood, and afterwards.

use std::io;
use std::thread;
use std::time::Duration;

use super::measure::{Scale, flood};
use super::{OPEN_FOR, scenario, start_ours, start_theirs};
use crate::server::{self, Server};

/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(60);
/// How long afterwards it is looked again: longer than a sequence may take.
const AFTERWARDS: Duration = Duration::from_secs(25);

/// Measures and prints.
pub(super) fn run(scale: Scale) -> io::Result<()> {
    let (time, afterwards) = if scale.quick { (scale.time, scale.time) } else { (FLOOD, AFTERWARDS) };
    let scale = Scale { time, ..scale };
    println!(
        "| resident memory, {} s of first knocks, 100,000 a second | before | at most | {} s later |",
        time.as_secs_f64(),
        afterwards.as_secs_f64()
    );
    println!("| --- | ---: | ---: | ---: |");
    measure("Debian's knockd", &start_theirs(&server::commands())?, scale, afterwards)?;
    measure("ours", &start_ours(&server::native(OPEN_FOR))?, scale, afterwards)?;
    println!();
    Ok(())
}

fn measure(name: &str, server: &Server, scale: Scale, afterwards: Duration) -> io::Result<()> {
    let before = server.resident()?;
    flood(server, &scenario::first_knocks(Some(100_000)), scale)?;
    thread::sleep(afterwards);
    println!("| {name} | {before} KiB | {} KiB | {} KiB |", server.most_resident()?, server.resident()?);
    Ok(())
}
