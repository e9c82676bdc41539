//! From the packet to the open port.

use std::io;
use std::thread;
use std::time::Duration;

use knock_core::spa::{DEFAULT_PORT, Supported};
use lab::wait_until;

use super::contender::{Contender, Ear};
use crate::machine;
use crate::prober::Race;
use crate::sample::{Samples, tell};
use crate::scratch::Scratch;
use crate::server::SOON;

/// How long a door stays open here.
const OPEN_FOR: Duration = Duration::from_secs(1);
/// How often fwknop's server takes what has come in from the kernel.
const FWKNOPD_LOOKS: Duration = Duration::from_millis(100);

/// Measures and prints.
pub(super) fn run(quick: bool) -> io::Result<()> {
    let rounds = if quick { 2 } else { 100 };
    let mut contenders: Vec<_> =
        contenders()?.into_iter().map(|contender| (contender, Samples::default())).collect();
    let mut gaps = Samples::default();
    for round in 0..rounds {
        let mut opened = Vec::new();
        // Another one begins each time.
        let count = contenders.len();
        for index in (0..count).map(|index| (index + round) % count) {
            let Some((contender, samples)) = contenders.get_mut(index) else { continue };
            let pause = FWKNOPD_LOOKS * ((round * 37 % 50) as u32) / 50;
            let (source, race) = race(contender, pause)
                .map_err(|error| io::Error::other(format!("{}: {error}", contender.name)))?;
            samples.add(race.time);
            gaps.add(race.gap);
            opened.push((index, source));
        }
        for (index, source) in opened {
            let Some((contender, _)) = contenders.get(index) else { continue };
            let shut = || contender.prober().lets_in(source).is_ok_and(|open| !open);
            wait_until(&format!("{source} let in no longer"), SOON, shut)?;
        }
    }
    print(&contenders, &gaps);
    Ok(())
}

fn contenders() -> io::Result<Vec<Contender>> {
    let (disk, memory) = (Scratch::on_disk, Scratch::in_memory);
    Ok(vec![
        Contender::theirs("fwknopd, by pcap", Ear::Pcap, OPEN_FOR, disk()?)?,
        Contender::theirs("fwknopd, as a UDP server", Ear::Udp, OPEN_FOR, disk()?)?,
        Contender::with_key("ours, ed25519, on disk", Supported::Ed25519, OPEN_FOR, disk()?)?,
        Contender::with_key("ours, ed25519, in memory", Supported::Ed25519, OPEN_FOR, memory()?)?,
        Contender::with_key("ours, ecdsa-p256, on disk", Supported::EcdsaP256, OPEN_FOR, disk()?)?,
        Contender::with_key("ours, ecdsa-p256, in memory", Supported::EcdsaP256, OPEN_FOR, memory()?)?,
        Contender::with_fwknop("ours, fwknop's client, on disk", OPEN_FOR, disk()?)?,
        Contender::with_fwknop("ours, fwknop's client, in memory", OPEN_FOR, memory()?)?,
    ])
}

fn race(contender: &Contender, pause: Duration) -> io::Result<(std::net::IpAddr, Race)> {
    let prober = contender.prober();
    let source = prober.fresh_source();
    if prober.lets_in(source)? {
        return Err(io::Error::other(format!("{source} is let in without a knock")));
    }
    let knock = prober.datagram(source, DEFAULT_PORT, contender.knock(source)?);
    thread::sleep(pause);
    machine::rest();
    Ok((source, prober.race(source, SOON, || prober.send(&knock))?))
}

fn print(contenders: &[(Contender, Samples)], gaps: &Samples) {
    let Some((_, theirs)) = contenders.first() else { return };
    println!(
        "| packet to open port | median | p10 .. p90 | runs | fwknopd by pcap takes so many times as long | p10 .. p90 |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (Contender { name, .. }, samples) in contenders {
        println!("| {name} | {} | {} |", samples.cells(), theirs.times(samples));
    }
    println!("\nBetween two probes: {} (median).\n", tell(gaps.median()));
}
