//! What a datagram costs that opens nothing, on its whole way.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
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
/// Longer than all of it takes.
const OPEN_FOR: Duration = Duration::from_secs(600);
/// How many knock honestly meanwhile, once each, who have not been in before.
const HONEST: u32 = 20;
/// How long they wait at the end.
const PATIENCE: Duration = Duration::from_secs(2);

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
        "| datagrams from random sources | to | pace | of a processor | each | a second on one processor | let in |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
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
    /// So many honest knocks opened the door.
    let_in: usize,
}

impl Outcome {
    fn cells(&self, pace: Option<u32>, is_ours: bool) -> String {
        let (time, busy) = (self.sent.time.as_secs_f64(), self.busy.as_secs_f64());
        let rate = pace.map_or_else(
            || format!("{:.0},000 a second", self.sent.packets as f64 / time / 1e3),
            |pace| format!("{pace} a second"),
        );
        let cost = if is_ours { self.cost() } else { " | ".into() };
        format!("{rate} | {:.0} % | {cost} | {} of {HONEST}", busy / time * 100.0, self.let_in)
    }

    /// Of each datagram that was taken, and how many that makes in a second. fwknop's server does not tell how many it takes.
    fn cost(&self) -> String {
        if self.busy < Duration::from_millis(1) {
            return "the kernel drops it | any number".into();
        }
        let taken = self.sent.packets.saturating_sub(self.lost).max(1) as f64;
        let lost = self.lost as f64 / self.sent.packets.max(1) as f64 * 100.0;
        let mut words = tell(Duration::from_secs_f64(self.busy.as_secs_f64() / taken));
        if lost >= 1.0 {
            words += &format!(", {lost:.0} % lost");
        }
        format!("{words} | {:.0}", taken / self.busy.as_secs_f64())
    }
}

fn flood(
    contender: &Contender,
    datagrams: Datagrams,
    pace: Option<u32>,
    time: Duration,
) -> io::Result<Outcome> {
    let (client, host, prober) = (contender.lab().client(), contender.lab().server(), contender.prober());
    let mut volley = Volley::open((client, "eth0"), (host, "eth0"), DEFAULT_PORT, datagrams)?;
    let sources: Vec<_> = (0..HONEST).map(|_| prober.fresh_source()).collect();
    let knock = |source: &IpAddr| Ok(prober.datagram(*source, DEFAULT_PORT, contender.knock(*source)?));
    let knocks = sources.iter().map(knock).collect::<io::Result<Vec<_>>>()?;
    let mut knocks = (1..).map(|turn| time * turn / (HONEST + 1)).zip(&knocks).peekable();
    machine::rest();
    let before = (contender.busy()?, dropped(host)?);
    let sent = at(End::Client, || {
        volley.run(pace, |now| {
            if let Some((_, knock)) = knocks.next_if(|(due, _)| *due <= now) {
                prober.send(knock)?;
            }
            Ok(now < time)
        })
    })?;
    let after = (contender.busy()?, dropped(host)?);
    thread::sleep(PATIENCE);
    let let_in = sources.iter().filter(|source| prober.lets_in(**source).is_ok_and(|open| open)).count();
    let (busy, lost) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    Ok(Outcome { sent, busy, lost, let_in })
}
