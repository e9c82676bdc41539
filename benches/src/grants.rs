//! What a hundred thousand grants in force do to the next one, to memory, to the journal, and to the list of them.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::opening::Bare;
use crate::sample::Samples;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::{seed, socket};

/// A daemon with grants, and a bare table with as many.
struct Crowd {
    count: u32,
    server: Server,
    bare: Bare,
    /// In KiB, before anything was asked.
    resident: u64,
    knocked: Samples,
    applied: Samples,
}

impl Crowd {
    fn new(count: u32) -> io::Result<Self> {
        let files = Scratch::on_disk()?;
        let state = server::state(files.path());
        std::fs::create_dir(&state)?;
        seed::write(&state, count)?;
        let server = Server::start(&lab::binary("knockd")?, true, &server::native(seed::LASTS), files)?;
        let (bare, resident) = (Bare::new(count)?, server.resident()?);
        Ok(Self { count, server, bare, resident, knocked: Samples::default(), applied: Samples::default() })
    }
}

/// Measures and prints.
pub(crate) fn run(quick: bool) -> io::Result<()> {
    let (counts, rounds, lists) =
        if quick { ([0, 1_000, 2_000], 2, 1) } else { ([0, 10_000, 100_000], 100, 10) };
    let mut crowds = counts.into_iter().map(Crowd::new).collect::<io::Result<Vec<_>>>()?;
    for _ in 0..rounds {
        for crowd in &mut crowds {
            crowd.knocked.add(crowd.server.open_one()?.1.time);
            crowd.applied.add(crowd.bare.open_one(seed::LASTS)?.1.time);
        }
    }
    print_openings(&crowds);
    println!("| listing grants | median | p10 .. p90 | runs | bytes |\n| --- | ---: | ---: | ---: | ---: |");
    crowds.iter().try_for_each(|crowd| list(crowd, lists))?;
    println!("\n| grants | resident memory | after the lists | journal |\n| ---: | ---: | ---: | ---: |");
    for Crowd { count, server, resident, .. } in &crowds {
        let (now, journal) = (server.resident()?, seed::length(&server.state())? / 1024);
        println!("| {count} | {resident} KiB | {now} KiB | {journal} KiB |");
    }
    println!();
    Ok(())
}

fn print_openings(crowds: &[Crowd]) {
    let Some(empty) = crowds.first() else { return };
    println!(
        "| one more, with so many grants | median | p10 .. p90 | runs | times as long as with none | p10 .. p90 |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for Crowd { count, knocked, applied, .. } in crowds {
        println!(
            "| {count}, last knock to open port | {} | {} |",
            knocked.cells(),
            knocked.times(&empty.knocked)
        );
        println!(
            "| {count}, netlink element alone | {} | {} |",
            applied.cells(),
            applied.times(&empty.applied)
        );
    }
    println!();
}

fn list(crowd: &Crowd, runs: usize) -> io::Result<()> {
    let (count, socket) = (crowd.count, crowd.server.socket());
    let (mut asked, mut called, mut bytes) = (Samples::default(), Samples::default(), 0);
    for _ in 0..runs {
        let begin = Instant::now();
        let answer = socket::ask(&socket, r#"{"request":"grants"}"#)?;
        asked.add(begin.elapsed());
        complete(&answer, count)?;
        bytes = answer.len();
        let begin = Instant::now();
        let answer = knockctl(&socket)?;
        called.add(begin.elapsed());
        complete(&answer, count)?;
    }
    println!("| {count}, by the socket | {} | {bytes} |", asked.cells());
    println!("| {count}, `knockctl grants --json` | {} | {bytes} |", called.cells());
    Ok(())
}

fn knockctl(socket: &Path) -> io::Result<String> {
    let mut command = Command::new(lab::binary("knockctl")?);
    let output = command.arg("--socket").arg(socket).args(["--json", "grants"]).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("knockctl: {}", String::from_utf8_lossy(&output.stderr))))
}

/// The list has at least those that were seeded.
fn complete(answer: &str, count: u32) -> io::Result<()> {
    let found = socket::count(answer)?;
    if found >= count as usize {
        return Ok(());
    }
    Err(io::Error::other(format!("{found} grants are listed, not {count}")))
}
