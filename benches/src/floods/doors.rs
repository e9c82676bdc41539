//! Many doors: how long the start takes, and what the traffic costs that is for none of them.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Daemon, Random};

use super::measure::{Scale, flood};
use super::scenario::{self, grouped};
use super::{OPEN_FOR, start_ours, start_theirs};
use crate::THEIRS;
use crate::sample::{Samples, tell};
use crate::scratch::Scratch;
use crate::server::{self, SOON};

/// How many knocks open one of the doors.
const LENGTH: usize = 4;

/// Measures and prints.
pub(super) fn run(scale: Scale) -> io::Result<()> {
    let counts: &[u32] = if scale.quick { &[1, 10] } else { &[1, 10, 100, 500, 2_000] };
    println!(
        "| doors, with irrelevant traffic, 500,000 a second | start of Debian's | of ours | a packet, Debian's | ours | \
         let in by Debian's | by ours |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for count in counts {
        let (more, named) = more_doors(count - 1);
        let theirs = measure(false, &(server::commands() + &more), &named, scale)?;
        let ours = measure(true, &(server::native(OPEN_FOR) + &more), &named, scale)?;
        let pairs: [fn(&Cells) -> &str; 3] =
            [|cells| &cells.start, |cells| &cells.cost, |cells| &cells.honest];
        let cells = pairs.map(|cell| format!("{} | {}", cell(&theirs), cell(&ours))).join(" | ");
        println!("| {} | {cells} |", grouped(*count));
    }
    println!();
    Ok(())
}

/// What is told of one daemon.
struct Cells {
    start: String,
    cost: String,
    honest: String,
}

fn measure(is_ours: bool, doors: &str, named: &BTreeSet<u16>, scale: Scale) -> io::Result<Cells> {
    let start = match start_time(is_ours, doors, if scale.quick { 1 } else { 3 }) {
        Ok(time) => tell(time),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let start = format!("not within {} s", SOON.as_secs());
            return Ok(Cells { start, cost: String::new(), honest: String::new() });
        }
        Err(error) => return Err(error),
    };
    let server = if is_ours { start_ours(doors)? } else { start_theirs(doors)? };
    let outcome = flood(&server, &scenario::irrelevant(named), scale)?;
    Ok(Cells { start, cost: outcome.cost(None), honest: outcome.honest.to_string() })
}

/// From starting the program to "listening on": the median of some starts.
pub(super) fn start_time(is_ours: bool, doors: &str, starts: u32) -> io::Result<Duration> {
    let program = if is_ours { lab::binary("knockd")? } else { Path::new(THEIRS).to_owned() };
    let (lab, files) = (server::firewalled()?, Scratch::on_disk()?);
    let config = server::config(is_ours, doors, files.path());
    let mut samples = Samples::default();
    for _ in 0..starts {
        let builder = Daemon::of(&program).config(&config).args(["-i", "eth0"]);
        let begin = Instant::now();
        let daemon = builder.spawn(lab.server())?;
        samples.add(daemon.wait_for_line("listening on", SOON)?.at.saturating_duration_since(begin));
    }
    Ok(samples.median())
}

/// So many doors of random ports, and these ports.
fn more_doors(count: u32) -> (String, BTreeSet<u16>) {
    let (mut random, mut named) = (Random::new(u64::from(count)), BTreeSet::new());
    let mut step = || {
        let port = random.below(usize::from(u16::MAX)) as u16 + 1;
        named.insert(port);
        format!("{port}{}", if random.below(2) == 0 { "" } else { ":udp" })
    };
    let mut door = |number| {
        let steps: Vec<_> = (0..LENGTH).map(|_| step()).collect();
        let sequence = steps.join(",");
        format!(
            "[door{number}]\nsequence = {sequence}\nseq_timeout = 5\ntcpflags = syn\ncommand = /bin/true\n"
        )
    };
    let doors = (1..=count).map(&mut door).collect();
    (doors, named)
}
