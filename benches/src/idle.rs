//! What traffic costs a daemon that is none of its business.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lab::{Frame, Sender};

use crate::THEIRS;
use crate::sample::tell;
use crate::scratch::Scratch;
use crate::seed;
use crate::server::{self, Server};

/// How often a packet comes.
const PACE: Duration = Duration::from_micros(50);
/// How many different ports they go to, from this one on; none is knocked.
const OTHERS: Range<u16> = 20_000..21_000;
/// The door's first port, by TCP.
const FIRST: Range<u16> = 7142..7143;

/// Measures and prints.
pub(crate) fn run(quick: bool) -> io::Result<()> {
    let (count, time) =
        if quick { (1_000, Duration::from_millis(300)) } else { (10_000, Duration::from_secs(5)) };
    println!("| traffic | packets | in | processor time | ticks | voluntary wake-ups |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let theirs = Server::start(Path::new(THEIRS), false, &server::commands(), Scratch::on_disk()?)?;
    measure("Debian's knockd, to ports that nobody knocks", &theirs, OTHERS, time)?;
    measure("Debian's knockd, every other packet to the door's first port", &theirs, FIRST, time)?;
    drop(theirs);
    let files = Scratch::on_disk()?;
    let state = server::state(files.path());
    std::fs::create_dir(&state)?;
    seed::write(&state, count)?;
    let ours = Server::start(&lab::binary("knockd")?, true, &server::native(seed::LASTS), files)?;
    measure(&format!("ours with {count} grants, to ports that nobody knocks"), &ours, OTHERS, time)?;
    measure("ours, every other packet to the door's first port", &ours, FIRST, time)?;
    println!();
    Ok(())
}

fn measure(name: &str, server: &Server, ports: Range<u16>, time: Duration) -> io::Result<()> {
    // What its start has left to do is over then.
    thread::sleep(time / 5);
    let before = (server.busy()?, server.ticks()?, server.wakes()?);
    let packets = annoy(server, ports, time)?;
    let after = (server.busy()?, server.ticks()?, server.wakes()?);
    println!(
        "| {name} | {packets} | {} | {} | {} | {} |",
        tell(time),
        tell(after.0.saturating_sub(before.0)),
        after.1.saturating_sub(before.1),
        after.2.saturating_sub(before.2)
    );
    Ok(())
}

/// Sends SYNs and datagrams to these ports in turn; how many.
fn annoy(server: &Server, ports: Range<u16>, time: Duration) -> io::Result<u64> {
    let (client, host) = (server.lab.client(), server.lab.server());
    let sender = Sender::open(client, "eth0", host, "eth0")?;
    let (own, peer) = sender.hardware_addresses();
    let from = |port: u16| SocketAddr::new(client.ip4(), port);
    let both = |port| {
        [Frame::tcp(from(port), host.at4(port)), Frame::udp(from(port), host.at4(port))]
            .map(|frame| frame.bytes(own, peer))
    };
    let frames: Vec<_> = ports.flat_map(both).collect();
    let (begin, mut sent) = (Instant::now(), 0_u64);
    for (frame, due) in frames.iter().cycle().zip(0_u32..) {
        let due = PACE * due;
        if due >= time {
            break;
        }
        if let Some(left) = due.checked_sub(begin.elapsed()) {
            thread::sleep(left);
        }
        sender.send_bytes(frame)?;
        sent += 1;
    }
    Ok(sent)
}
