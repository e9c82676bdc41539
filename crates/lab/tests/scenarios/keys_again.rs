//! A knock with a key opens its door once, whoever sends it again, wherever, and whatever happened to the daemon in between.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Duration;

use knock_core::spa::{Address, HostKey, LENGTH};
use lab::{Daemon, Random, Signal, TempDir, wait_until};

use crate::keys::{DOOR, Server, User};
use crate::support::SOON;

const USED: &str = "not opened: this very knock was used before";

/// What has opened the door so far, by what it told and what it ran.
fn openings(server: &Server) -> (usize, usize) {
    (server.said("OPEN SESAME"), server.daemon.file("told").lines().count())
}

fn wait_for_openings(server: &Server, count: usize) -> io::Result<()> {
    wait_until("the openings", SOON, || openings(server) == (count, count)).map_err(|error| {
        io::Error::other(format!("{error}: {:?}; {}", openings(server), server.daemon.log()))
    })
}

#[test]
fn a_captured_knock_opens_nothing_again() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let mut server = Server::start(&alice.line())?;
    let knock = server.opens(&alice, server.scene.guest().ip4(), |_| {})?;
    server.refuses_bytes(server.scene.guest(), &knock, USED)?;
    // Nobody else gets in by it either.
    server.refuses_bytes(server.scene.stranger(), &knock, USED)?;
    server.stop()?;
    server.start_again()?;
    server.refuses_bytes(server.scene.guest(), &knock, USED)?;
    server.refuses_bytes(server.scene.stranger(), &knock, USED)?;
    server.daemon.kill()?;
    server.start_again()?;
    server.refuses_bytes(server.scene.stranger(), &knock, USED)?;
    wait_for_openings(&server, 1)?;
    assert_ne!(server.scene.stranger().probe(server.scene.ssh4()), lab::PortState::Open);
    // They were no fault of hers.
    server.opens(&alice, server.scene.guest().ip4(), |_| {})?;
    let explained = server.knockctl(&["explain", &server.scene.stranger().ip4().to_string()])?;
    assert!(explained.contains(USED), "{explained}");
    Ok(())
}

/// The process that has opened it knows it no longer; the one that opens doors does.
#[test]
fn not_after_the_reading_process_was_killed() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let server = Server::start(&alice.line())?;
    let knock = server.opens(&alice, server.scene.guest().ip4(), |_| {})?;
    for _ in 0..3 {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.daemon.id()))?;
        let reading = children.split_whitespace().next().and_then(|id| id.parse().ok());
        let reading = reading.and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(reading, Signal::KILL)?;
        let said = server.said("ssh: not opened");
        // It may take a moment until another listens.
        wait_until("the other has heard it", SOON, || {
            server.send(server.scene.stranger(), &knock).unwrap();
            thread::sleep(Duration::from_millis(20));
            server.said("ssh: not opened") > said
        })?;
    }
    assert_eq!(openings(&server).0, 1, "{}", server.daemon.log());
    Ok(())
}

/// Whenever it dies, and however many knocks come in meanwhile.
#[test]
fn not_after_the_daemon_was_killed_at_any_moment() -> io::Result<()> {
    const ROUNDS: u8 = 8;
    // So few that each is looked at, also when all come again.
    const KNOCKS: u8 = 8;
    let alice = User::new("alice", 1);
    let mut server = Server::start(&alice.line())?;
    let mut random = Random::new(0x5eed);
    let mut sent = Vec::new();
    for round in 1..=ROUNDS {
        let address = |number| IpAddr::from([192, 0, round, number]);
        let knocks: Vec<_> = (1..=KNOCKS)
            .map(|number| {
                let mut request = alice.request("ssh");
                request.address = Address::Stated(address(number));
                alice.knock(&request, server.host.public())
            })
            .collect();
        let pause = Duration::from_micros(random.below(40_000) as u64);
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                knocks.iter().try_for_each(|knock| {
                    thread::sleep(Duration::from_micros(500));
                    server.send(server.scene.guest(), knock)
                })
            });
            thread::sleep(pause);
            server.daemon.signal(Signal::KILL)?;
            sending.join().unwrap()
        })?;
        server.daemon.kill()?;
        server.start_again()?;
        let heard = |server: &Server| server.said("ssh: OPEN SESAME") + server.said("ssh: not opened");
        let before = heard(&server);
        for knock in &knocks {
            server.send(server.scene.stranger(), knock)?;
        }
        wait_until("all are judged", SOON, || heard(&server) >= before + usize::from(KNOCKS))
            .map_err(|error| io::Error::other(format!("{error}; {}", server.daemon.log())))?;
        sent.extend((1..=KNOCKS).map(address));
    }
    let log = server.daemon.log();
    let told = server.daemon.file("told");
    let count = |text: &str, part: &str| text.lines().filter(|line| line.ends_with(part)).count();
    for address in sent {
        let opened =
            log.lines().filter(|line| line.contains(&format!(" {address}: ssh: OPEN SESAME"))).count();
        assert!(opened <= 1, "{address} was let in {opened} times; {log}");
        assert!(count(&told, &format!(" at {address}")) <= 1, "{address}; {told}");
    }
    assert!(log.contains(USED), "nothing was used before a daemon died: {log}");
    Ok(())
}

#[test]
fn not_at_another_server() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let server = Server::start(&alice.line())?;
    let knock = server.opens(&alice, server.scene.guest().ip4(), |_| {})?;
    let other = Server::with_key(HostKey::from_random(&[8; 32]), &alice.line())?;
    other.refuses_bytes(
        other.scene.guest(),
        &knock,
        "a knock: not opened: it was not sealed to this server's key",
    )?;
    other.opens(&alice, other.scene.guest().ip4(), |_| {})?;
    Ok(())
}

/// Every refusal is told, or counted.
#[test]
fn not_with_a_bit_changed() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let mut server = Server::start(&alice.line())?;
    let knock = alice.knock(&alice.request("ssh"), server.host.public());
    let guest = server.scene.guest();
    let told = |server: &Server| server.said("a knock: not opened: it was not sealed to this server's key");
    for bit in 0..LENGTH * 8 {
        let mut changed = knock;
        changed[bit / 8] ^= 1 << (bit % 8);
        server.send(guest, &changed)?;
        if bit % 64 == 63 {
            // No more than the socket holds.
            server.knockctl(&["status"])?;
        }
    }
    // It was good all the time, and has not been used.
    server.send(guest, &knock)?;
    wait_for_openings(&server, 1)?;
    server.stop()?;
    let number =
        |line: &str| line.split_whitespace().find_map(|word| word.parse::<usize>().ok()).unwrap_or(0);
    let log = server.daemon.log();
    let left_out = log
        .lines()
        .filter_map(|line| line.split_once("] ")?.1.split_once("lines were left out").map(|it| it.0));
    let left_out: usize = left_out.map(number).sum();
    assert_eq!(told(&server) + left_out, LENGTH * 8, "{log}");
    Ok(())
}

/// With what there is of the file that says what was used, it is one of these: whole, with half a line behind it, damaged.
#[test]
fn not_with_a_damaged_ledger() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let mut server = Server::start(&alice.line())?;
    let knock = server.opens(&alice, server.scene.guest().ip4(), |_| {})?;
    let path = server.daemon.directory().path().join("state/used");
    server.stop()?;
    let whole = fs::read(&path)?;
    fs::write(&path, [&whole[..], b"1234abcd use 00"].concat())?;
    server.start_again()?;
    server.daemon.wait_for_log("are no whole record and do not count", SOON)?;
    server.refuses_bytes(server.scene.guest(), &knock, USED)?;
    // Others knock on.
    server.opens(&alice, server.scene.guest().ip4(), |_| {})?;
    server.stop()?;
    let mut damaged = fs::read(&path)?;
    let last = damaged.len() - 60;
    damaged[last] ^= 1;
    fs::write(&path, damaged)?;
    server.start_again()?;
    server.daemon.wait_for_log("so no key opens a door for 1", SOON)?;
    server.refuses_bytes(server.scene.stranger(), &knock, "ssh: not opened: ")?;
    // Neither does one that nobody has seen: it says why.
    server.refuses(&alice, "ssh: not opened: it is older than what is remembered", |_| {})?;
    assert_eq!(server.said("OPEN SESAME"), 2);
    Ok(())
}

/// Where it cannot be written down that a knock was used, it opens nothing; and the daemon goes on when it can.
#[test]
fn not_where_it_cannot_be_written_down() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let mut server = Server::start(&alice.line())?;
    let knock = server.opens(&alice, server.scene.guest().ip4(), |_| {})?;
    let state = server.daemon.directory().path().join("state");
    server.stop()?;
    fs::rename(state.join("used"), state.join("kept"))?;
    fs::create_dir(state.join("used"))?;
    server.start_again()?;
    server.refuses_bytes(server.scene.guest(), &knock, "ssh: not opened: the ledger")?;
    server.refuses(&alice, "ssh: not opened: the ledger", |_| {})?;
    fs::remove_dir(state.join("used"))?;
    fs::rename(state.join("kept"), state.join("used"))?;
    server.opens(&alice, server.scene.guest().ip4(), |_| {})?;
    server.send(server.scene.stranger(), &knock)?;
    server.refuses(&alice, "no door with keys is called", |request| request.door = "other".into())?;
    assert_eq!(server.said("OPEN SESAME"), 2);
    Ok(())
}

/// A daemon whose state is on a disk of its own, without any room.
#[test]
fn not_with_a_full_disk() -> io::Result<()> {
    let directory = TempDir::new()?;
    let script = format!(
        "#!/bin/sh\nif [ -z \"$LAB_MOUNTED\" ]; then LAB_MOUNTED=1 exec unshare --mount \"$0\" \"$@\"; fi\n\
         mkdir -p \"$STATE_DIRECTORY\"\nmount -t tmpfs -o size=64k tmpfs \"$STATE_DIRECTORY\"\n\
         head -c 1M /dev/zero > \"$STATE_DIRECTORY/filler\" 2> /dev/null\nexec {} \"$@\"\n",
        lab::binary("knockd")?.display()
    );
    let program = directory.write("starter", script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let alice = User::new("alice", 1);
    let server = Server::of(Daemon::of(program), HostKey::from_random(&[7; 32]), &alice.line(), DOOR)?;
    let knock = server.refuses(&alice, "ssh: not opened: the ledger", |_| {})?;
    let state = server.daemon.directory().path().join("state");
    let state = format!("/proc/{}/root{}", server.daemon.id(), state.display());
    fs::remove_file(format!("{state}/filler"))?;
    // It is not tried at each knock.
    wait_until("a knock that opens", SOON, || {
        server.knock(&alice, server.scene.guest()).unwrap();
        thread::sleep(Duration::from_millis(150));
        openings(&server).0 == 1
    })?;
    server.refuses_bytes(server.scene.guest(), &knock, USED)?;
    wait_for_openings(&server, 1)
}

/// It was made for one address, and has opened for it.
#[test]
fn nor_for_anybody_else() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let server = Server::start(&alice.line())?;
    let other = IpAddr::from(Ipv4Addr::new(192, 0, 2, 7));
    let knock = server.opens(&alice, other, |request| request.address = Address::Stated(other))?;
    server.refuses_bytes(server.scene.stranger(), &knock, USED)?;
    assert_eq!(server.left("ssh", &server.scene.stranger().ip4().to_string())?, None);
    assert!(server.left("ssh", "192.0.2.7")?.is_some());
    Ok(())
}
