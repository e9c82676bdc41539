//! What a datagram costs that opens nothing, on its whole way.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use knock_core::spa::{DEFAULT_PORT, LENGTH, Supported, gate};
use lab::{Random, Sent, Sources, Volley};

use super::contender::{Contender, Ear};
use crate::floods::dropped;
use crate::machine;
use crate::processors::{End, at};
use crate::sample::tell;
use crate::scratch::Scratch;

/// How many datagrams are made beforehand, and sent again and again.
const MADE: usize = 8192;
/// Datagrams a second: as many as nobody need lose, and as fast as it goes.
const PACES: [Option<u32>; 2] = [Some(20_000), None];
const OPEN_FOR: Duration = Duration::from_secs(1);
/// How busy a daemon is that cannot do more.
const SATURATED: f64 = 0.95;

/// Contents, and where they claim to come from.
type Datagrams = Vec<(Ipv4Addr, Vec<u8>)>;

/// What is sent.
#[derive(Clone, Copy)]
enum Kind {
    /// Bytes without a meaning, so many.
    Junk(usize),
    /// As long as a knock, with a gate that is right.
    Gated,
    /// A user's request, sealed, with a signature that is wrong.
    Forged,
    /// As long as a packet of fwknop's, and of the letters that it is made of.
    Text,
    /// One good knock.
    Replay,
}

const KINDS: [(&str, Kind); 6] = [
    ("junk of another length", Kind::Junk(200)),
    ("junk of 320 bytes", Kind::Junk(LENGTH)),
    ("with the server's public key: the gate is right", Kind::Gated),
    ("with a user's public key as well: the signature is wrong", Kind::Forged),
    ("text as long as a packet of fwknop's", Kind::Text),
    ("one good knock, again and again", Kind::Replay),
];

/// Measures and prints.
pub(super) fn run(quick: bool) -> io::Result<()> {
    let time = if quick { Duration::from_millis(200) } else { Duration::from_secs(3) };
    println!(
        "| datagrams from random sources | to | pace | processor time each | refused a second on one processor |"
    );
    println!("| --- | --- | ---: | ---: | ---: |");
    for (name, kind) in KINDS {
        for start in STARTS {
            for pace in PACES {
                let contender = start()?;
                if let Some(datagrams) = datagrams(kind, &contender)? {
                    let outcome = flood(&contender, datagrams, pace, time)?;
                    println!(
                        "| {name} | {} | {} |",
                        contender.name,
                        outcome.cells(pace, contender.is_ours())
                    );
                }
            }
        }
    }
    println!();
    Ok(())
}

const STARTS: [fn() -> io::Result<Contender>; 4] = [
    || Contender::theirs("fwknopd, by pcap", Ear::Pcap, OPEN_FOR, Scratch::on_disk()?),
    || Contender::theirs("fwknopd, as a UDP server", Ear::Udp, OPEN_FOR, Scratch::on_disk()?),
    || Contender::with_key("ours, SSH keys", Supported::Ed25519, OPEN_FOR, Scratch::on_disk()?),
    || Contender::with_fwknop("ours, fwknop's client", OPEN_FOR, Scratch::on_disk()?),
];

/// `None` where this says nothing to that daemon.
fn datagrams(kind: Kind, contender: &Contender) -> io::Result<Option<Datagrams>> {
    let has_keys = contender.host_key().is_some();
    let is_for_it = match kind {
        Kind::Junk(length) => has_keys || length != LENGTH,
        Kind::Gated | Kind::Forged => has_keys,
        Kind::Text => !has_keys,
        Kind::Replay => true,
    };
    if !is_for_it {
        return Ok(None);
    }
    let packet = contender.knock(contender.prober().fresh_source())?;
    if matches!(kind, Kind::Replay) {
        contender.prober().send(&contender.prober().datagram(
            contender.prober().fresh_source(),
            DEFAULT_PORT,
            packet.clone(),
        ))?;
    }
    let contents: io::Result<Vec<_>> =
        (0..MADE).map(|number| content(kind, contender, number, &packet)).collect();
    Ok(Some(Sources::Random.addresses().zip(contents?).collect()))
}

fn content(kind: Kind, contender: &Contender, number: usize, packet: &[u8]) -> io::Result<Vec<u8>> {
    Ok(match (kind, contender.host_key(), contender.user()) {
        (Kind::Junk(length), ..) => junk(number, length),
        (Kind::Gated, Some(host), _) => {
            let rest = junk(number, LENGTH - 16);
            [&gate(&rest, host.public())[..], &rest].concat()
        }
        (Kind::Forged, Some(host), Some(user)) => {
            let signature = user.sign(b"something else")?;
            user.forged("door", host.public(), &signature)?.to_vec()
        }
        (Kind::Text, ..) => {
            const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            junk(number, packet.len()).iter().map(|byte| LETTERS[usize::from(byte % 64)]).collect()
        }
        _ => packet.to_vec(),
    })
}

fn junk(number: usize, length: usize) -> Vec<u8> {
    let mut random = Random::new(number as u64);
    std::iter::repeat_with(|| random.next().to_be_bytes()).flatten().take(length).collect()
}

struct Outcome {
    sent: Sent,
    busy: Duration,
    lost: u64,
}

impl Outcome {
    fn cells(&self, pace: Option<u32>, is_ours: bool) -> String {
        let time = self.sent.time.as_secs_f64();
        let taken = self.sent.packets.saturating_sub(if is_ours { self.lost } else { 0 });
        let (each, busy) = (self.busy.as_secs_f64() / taken.max(1) as f64, self.busy.as_secs_f64() / time);
        let pace = pace.map_or_else(
            || format!("{:.0},000 a second", self.sent.packets as f64 / time / 1e3),
            |pace| format!("{pace} a second"),
        );
        let rate = if self.busy < Duration::from_millis(1) {
            "it is not woken".into()
        } else {
            format!("{:.0}", 1.0 / each)
        };
        let lost = self.lost as f64 / self.sent.packets.max(1) as f64 * 100.0;
        let mut words = format!("{pace} | {}", tell(Duration::from_secs_f64(each)));
        if is_ours && lost >= 1.0 {
            words += &format!(", {lost:.0} % lost");
        } else if !is_ours && busy > SATURATED {
            words += ", and more than it can take";
        }
        format!("{words} | {rate}")
    }
}

fn flood(
    contender: &Contender,
    datagrams: Datagrams,
    pace: Option<u32>,
    time: Duration,
) -> io::Result<Outcome> {
    let (client, host) = (contender.lab().client(), contender.lab().server());
    let mut volley = Volley::open((client, "eth0"), (host, "eth0"), DEFAULT_PORT, datagrams)?;
    machine::rest();
    let before = (contender.busy()?, dropped(host)?);
    let sent = at(End::Client, || volley.run(pace, |now| Ok(now < time)))?;
    let after = (contender.busy()?, dropped(host)?);
    Ok(Outcome { sent, busy: after.0.saturating_sub(before.0), lost: after.1.saturating_sub(before.1) })
}
