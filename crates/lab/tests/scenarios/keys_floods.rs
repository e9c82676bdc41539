//! Floods of datagrams at a server with keys, by whoever does not know its public key and by whoever does; and who knocks
//! honestly meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use knock_core::spa::{HostPublicKey, LENGTH, Sealing, gate};
use lab::{Random, Sources, Volley, wait_until};

use crate::floods::{LONGEST, ONE_AT_A_TIME, PACE, overload, resident};
use crate::keys::{DOOR, PORT, Server, User};
use crate::support::{SOON, count};

/// How many datagrams are made beforehand.
const MADE: usize = 4096;
/// So many lines are left out before it is looked how many are not.
const LEFT_OUT: u64 = 20_000;
/// No more lines than this are logged meanwhile.
const LINES: usize = 5_000;
/// Nor does the memory grow by more, in KiB.
const GROWTH: u64 = 19 << 10;
/// How long after a knock it is knocked again.
const AGAIN: Duration = Duration::from_millis(200);

/// A door that is opened with a sequence.
const SEQUENCE_DOOR: &str =
    "[sequence]\nsequence = 7142,8319:udp,9623\ntcpflags = syn\nopen = 80/tcp\nopen_for = 100s\n";

/// What a stranger sends.
type Datagrams = Vec<(Ipv4Addr, Vec<u8>)>;

/// These contents, in turn, from these sources.
fn from(sources: Sources, content: impl FnMut(usize) -> Vec<u8>) -> Datagrams {
    sources.addresses().zip((0..MADE).map(content)).collect()
}

/// As long as a knock.
fn junk(number: usize) -> Vec<u8> {
    let mut random = Random::new(number as u64);
    (0..LENGTH / 8).flat_map(|_| random.next().to_be_bytes()).collect()
}

/// The same with a gate that is right.
fn gated(host: &HostPublicKey, number: usize) -> Vec<u8> {
    let junk = junk(number);
    let rest = junk.get(16..).unwrap_or_default();
    [&gate(rest, host)[..], rest].concat()
}

/// What the user asks for, sealed to the server, and signed by nobody who may.
fn forged(user: &User, host: &HostPublicKey, signature: &[u8], number: usize) -> Vec<u8> {
    let mut random = [0x5a; 32];
    random[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let sealing = Sealing::begin(&user.request("ssh"), host, random).unwrap();
    sealing.finish(signature).unwrap().to_vec()
}

fn start() -> io::Result<(User, Server)> {
    let alice = User::new("alice", 1);
    let server = Server::with_doors(&alice.line(), &format!("{DOOR}{SEQUENCE_DOOR}"))?;
    Ok((alice, server))
}

/// Does `work` while a stranger sends these.
fn flooded(server: &Server, datagrams: Datagrams, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (stranger, target) = (server.scene.stranger(), server.scene.server());
    let mut volley = Volley::open((stranger, "eth0"), (target, "eth0"), PORT, datagrams)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope
            .spawn(|| volley.run(Some(PACE), |time| Ok(!over.load(Ordering::Relaxed) && time < LONGEST)));
        let outcome = work();
        over.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap_or_else(|_| Err(io::Error::other("the flood panicked")));
        outcome.and(sent.map(drop))
    })
}

/// Whoever knocks honestly gets in, with a key and with a sequence, and neither log nor memory grows with the flood.
fn hurts_nobody(alice: &User, server: &Server, datagrams: Datagrams) -> io::Result<()> {
    let before = resident(&server.daemon)?;
    flooded(server, datagrams, || {
        wait_until("many lines are left out", SOON, || {
            overload(&server.daemon, "lines_left_out").is_ok_and(|lines| lines > LEFT_OUT)
        })?;
        knock_until_told(server, "ssh: OPEN SESAME (alice)", || {
            server.knock(alice, server.scene.guest()).map(drop)
        })?;
        server.scene.assert_opens(server.scene.ssh4())?;
        knock_until_told(server, "sequence: OPEN SESAME", || server.scene.knock("7142,8319:udp,9623"))
    })?;
    let lines = server.daemon.log().lines().count();
    assert!(lines < LINES, "{lines} lines");
    let after = resident(&server.daemon)?;
    assert!(after.saturating_sub(before) < GROWTH, "from {before} to {after} KiB");
    assert_eq!(count(&server.daemon, "the reading process ended"), 0, "{}", server.daemon.text());
    Ok(())
}

/// Knocks, and knocks again: as the client does, which has no answer.
fn knock_until_told(server: &Server, line: &str, knock: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let (so_far, deadline) = (count(&server.daemon, line), Instant::now() + SOON);
    loop {
        knock()?;
        match server.daemon.wait_for_lines(so_far + 1, line, AGAIN) {
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}

/// So that the server knows where alice is.
fn knock_beforehand(alice: &User, server: &Server) -> io::Result<Vec<u8>> {
    let knock = server.knock(alice, server.scene.guest())?;
    server.daemon.wait_for_lines(1, "ssh: OPEN SESAME (alice)", SOON)?;
    Ok(knock.to_vec())
}

#[test]
fn junk_hurts_nobody() -> io::Result<()> {
    let (alice, server) = start()?;
    hurts_nobody(&alice, &server, from(Sources::Random, junk))
}

#[test]
fn one_who_knows_the_public_key_hurts_nobody() -> io::Result<()> {
    let (alice, server) = start()?;
    let villain = Sources::One(Ipv4Addr::new(198, 51, 100, 7));
    hurts_nobody(&alice, &server, from(villain, |number| gated(server.host.public(), number)))
}

#[test]
fn many_who_know_the_public_key_hurt_nobody() -> io::Result<()> {
    let (alice, server) = start()?;
    hurts_nobody(&alice, &server, from(Sources::Random, |number| gated(server.host.public(), number)))
}

/// Public keys are public. Who has been in lately has a part of the server that nobody else takes.
#[test]
fn who_knows_a_user_s_key_hurts_nobody() -> io::Result<()> {
    let (alice, server) = start()?;
    knock_beforehand(&alice, &server)?;
    let mallory = User::new("mallory", 9);
    let signature = mallory.signature(b"something else");
    let datagrams = from(Sources::Random, |number| forged(&alice, server.host.public(), &signature, number));
    hurts_nobody(&alice, &server, datagrams)?;
    assert!(count(&server.daemon, "the signature is not one of the key") > 0, "{}", server.daemon.text());
    Ok(())
}

/// Whoever has seen a knock can send it again from everywhere, also from where it came from.
#[test]
fn replays_hurt_nobody_and_open_nothing() -> io::Result<()> {
    let (alice, server) = start()?;
    let knock = knock_beforehand(&alice, &server)?;
    let IpAddr::V4(guest) = server.scene.guest().ip4() else { return Err(io::Error::other("no IPv4")) };
    let mut datagrams = from(Sources::Random, |_| knock.clone());
    datagrams.iter_mut().step_by(16).for_each(|(source, _)| *source = guest);
    hurts_nobody(&alice, &server, datagrams)?;
    assert_eq!(
        server.daemon.file("told").lines().filter(|line| !line.ends_with(&guest.to_string())).count(),
        0
    );
    assert!(count(&server.daemon, "this very knock was used before") > 0, "{}", server.daemon.text());
    Ok(())
}
