//! How many doors are opened in a second, for as many addresses.

use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use knock_core::spa::{DEFAULT_PORT, Supported};
use lab::wait_until;

use super::contender::{Contender, Ear};
use crate::machine;
use crate::processors::{End, at};
use crate::sample::Samples;
use crate::scratch::Scratch;
use crate::server::SOON;

/// So many knock at once: no more than strangers may in a moment, and than are remembered of one secret.
const AT_ONCE: usize = 50;
/// How long nobody knocks behind that: the allowance for strangers is as large as before, and fwknop counts seconds.
const PAUSE: Duration = Duration::from_millis(1500);
/// Longer than all of them take.
const OPEN_FOR: Duration = Duration::from_secs(3600);

/// Measures and prints.
pub(super) fn run(quick: bool) -> io::Result<()> {
    let runs = if quick { 1 } else { 10 };
    let (disk, memory) = (Scratch::on_disk, Scratch::in_memory);
    println!(
        "| one opening of {AT_ONCE} that are knocked for at once | median | p10 .. p90 | runs | a second |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    tell(runs, Contender::theirs("fwknopd, by pcap", Ear::Pcap, OPEN_FOR, disk()?)?)?;
    tell(runs, Contender::theirs("fwknopd, as a UDP server", Ear::Udp, OPEN_FOR, disk()?)?)?;
    tell(runs, Contender::with_key("ours, ed25519, on disk", Supported::Ed25519, OPEN_FOR, disk()?)?)?;
    tell(runs, Contender::with_key("ours, ed25519, in memory", Supported::Ed25519, OPEN_FOR, memory()?)?)?;
    tell(runs, Contender::with_key("ours, ecdsa-p256, on disk", Supported::EcdsaP256, OPEN_FOR, disk()?)?)?;
    tell(runs, Contender::with_fwknop("ours, fwknop's client, on disk", OPEN_FOR, disk()?)?)?;
    println!();
    Ok(())
}

fn tell(runs: usize, contender: Contender) -> io::Result<()> {
    let mut samples = Samples::default();
    for _ in 0..runs {
        samples
            .add(open(&contender).map_err(|error| io::Error::other(format!("{}: {error}", contender.name)))?);
        thread::sleep(PAUSE);
    }
    let rate = 1.0 / samples.median().as_secs_f64().max(1e-9);
    println!("| {} | {} | {rate:.0} |", contender.name, samples.cells());
    Ok(())
}

/// How long each takes on average, from the first packet until the last address is let in.
fn open(contender: &Contender) -> io::Result<Duration> {
    let prober = contender.prober();
    let sources: Vec<IpAddr> = (0..AT_ONCE).map(|_| prober.fresh_source()).collect();
    let knock = |source: &IpAddr| Ok(prober.datagram(*source, DEFAULT_PORT, contender.knock(*source)?));
    let knocks = sources.iter().map(knock).collect::<io::Result<Vec<_>>>()?;
    let last = sources.last().copied().ok_or_else(|| io::Error::other("nobody knocks"))?;
    machine::rest();
    let time = at(End::Client, || {
        let begin = Instant::now();
        knocks.iter().try_for_each(|knock| prober.send(knock))?;
        while !prober.lets_in(last)? {
            if begin.elapsed() > SOON {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the last is not let in"));
            }
        }
        Ok(begin.elapsed())
    })?;
    for source in sources {
        wait_until(&format!("{source} let in"), SOON, || prober.lets_in(source).unwrap_or(false))?;
    }
    Ok(time / AT_ONCE as u32)
}
