//! Every program that people knock with, at ports that a firewall keeps silent about and at ports that refuse.

use std::io;
use std::time::Duration;

use lab::{Capture, Seen, TcpFlags};

use crate::support::{DROPPING, OPEN, REFUSING, Scene, knock, side_by_side};

const PORTS: [u16; 3] = [7142, 8319, 9623];

/// A shell script that runs `one` for each port, whatever comes of it; `$port` is the port, `$host` the server.
fn each_port(one: &str) -> String {
    format!("host=10.9.0.1\nfor port in 7142 8319 9623; do {one} || true; done")
}

/// Lets the guest run `script`, at dropped and at refused ports; it gets in, and nobody else.
fn opens_by(protocol: &str, script: &str) -> io::Result<()> {
    side_by_side([DROPPING, REFUSING], |rules| opens_through(rules, protocol, script))
}

fn opens_through(rules: &str, protocol: &str, script: &str) -> io::Result<()> {
    let scene = Scene::new(rules)?;
    let flags = if protocol == "tcp" { "tcpflags = syn" } else { "" };
    let sequence = PORTS.map(|port| format!("{port}:{protocol}")).join(",");
    let config = format!("[options]\n[SSH]\nsequence = {sequence}\nseq_timeout = 15\n{flags}\n{OPEN}");
    let _daemon = scene.knockd(&config)?;
    scene.assert_shut(scene.ssh4());
    scene.guest().sh(script)?;
    scene.assert_opens(scene.ssh4())?;
    scene.expel()
}

#[test]
fn our_knock() -> io::Result<()> {
    let knock = knock()?;
    let cases = [
        ("tcp", "10.9.0.1 7142 8319 9623"),
        ("tcp", "-d 50 -v 10.9.0.1 7142:tcp 8319:tcp 9623:tcp"),
        ("udp", "-u 10.9.0.1 7142 8319 9623"),
    ];
    side_by_side(cases, |(protocol, arguments)| opens_by(protocol, &format!("{knock} {arguments}")))
}

#[test]
fn debians_knock() -> io::Result<()> {
    let cases = [("tcp", "-d 50 10.9.0.1 7142 8319 9623"), ("udp", "-u -d 50 10.9.0.1 7142 8319 9623")];
    side_by_side(cases, |(protocol, arguments)| opens_by(protocol, &format!("/usr/bin/knock {arguments}")))
}

#[test]
fn netcat() -> io::Result<()> {
    opens_by("tcp", &each_port("nc -z -w1 $host $port"))
}

#[test]
fn netcat_by_udp() -> io::Result<()> {
    opens_by("udp", &each_port("echo knock | timeout 0.3 nc -u $host $port"))
}

/// It sends several datagrams to each port to find out whether somebody is there.
#[test]
fn netcat_that_scans_by_udp() -> io::Result<()> {
    opens_through(DROPPING, "udp", &each_port("timeout 1.5 nc -v -z -u -w1 $host $port 2>/dev/null"))
}

#[test]
fn telnet() -> io::Result<()> {
    opens_by("tcp", &each_port("timeout 0.3 telnet $host $port </dev/null >/dev/null 2>&1"))
}

#[test]
fn the_shell_alone() -> io::Result<()> {
    opens_by("tcp", &each_port("timeout 0.3 bash -c \"exec 3<>/dev/tcp/$host/$port\" 2>/dev/null"))
}

/// A client that waits for an answer: its SYN is sent again, once a second, before the next port gets its first.
#[test]
fn client_that_waits_for_an_answer_and_repeats_itself() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319,9623\ntcpflags = syn\n{OPEN}");
    let _daemon = scene.knockd(&config)?;
    let capture = Capture::open(scene.server(), "eth0")?;
    scene.assert_shut(scene.ssh4());
    scene.guest().sh(&each_port("timeout 1.4 bash -c \"exec 3<>/dev/tcp/$host/$port\" 2>/dev/null"))?;
    scene.assert_opens(scene.ssh4())?;
    let to =
        |port: u16| move |seen: &&Seen| seen.destination.port() == port && seen.flags.contains(TcpFlags::SYN);
    let seen = capture.seen()?;
    for port in PORTS {
        assert!(seen.iter().filter(to(port)).count() >= 2, "no SYN to {port} was repeated");
    }
    Ok(())
}

#[test]
fn client_that_knocks_once_a_second() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let _daemon = scene.knockd(&slow_door())?;
    scene.assert_shut(scene.ssh4());
    let address = scene.server().ip4();
    scene.guest().knock_from(None, address, "7142,8319,9623", Duration::from_secs(1))?;
    scene.assert_opens(scene.ssh4())
}

/// What a phone's clients do that leave all their connections waiting: a SYN is repeated, a second after it was sent,
/// when the next port has been knocked already.
#[test]
fn client_whose_repetitions_come_behind_later_knocks() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let _daemon = scene.knockd(&slow_door())?;
    scene.assert_shut(scene.ssh4());
    let script = "for port in 7142 8319 9623; do
            timeout 2 bash -c \"exec 3<>/dev/tcp/10.9.0.1/$port\" 2>/dev/null & sleep 0.8
        done; wait || true";
    scene.guest().sh(script)?;
    scene.assert_opens(scene.ssh4())
}

fn slow_door() -> String {
    format!("[options]\n[SSH]\nsequence = 7142,8319,9623\ntcpflags = syn\nseq_timeout = 15\n{OPEN}")
}
