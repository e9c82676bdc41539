//! Sequences of TCP and UDP, beside connections that live.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lab::{Host, Service, Session};

use crate::support::{DROPPING, OPEN, SOON, Scene, count};

/// Lets port 2222 in as well: something public on the same host.
const PUBLIC: &str = "insert rule inet filter input tcp dport 2222 accept";

/// Sends something on a connection to `host`'s port 2222 all the time, while `work` lasts.
fn beside_traffic(scene: &Scene, from: &Host, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let mut session = Session::open(from, scene.server().at4(2222))?;
    session.echo("before")?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let talk = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                session.echo("beside")?;
            }
            Ok(())
        });
        let outcome = work();
        over.store(true, Ordering::Relaxed);
        outcome.and(talk.join().unwrap_or_else(|_| Err(io::Error::other("the traffic's thread panicked"))))
    })
}

#[test]
fn tcp_and_udp_mixed() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&format!(
        "[options]\n[SSH]\nsequence = 7142:tcp,8319:udp,9623:TCP,7142:UDP\ntcpflags = syn\n{OPEN}"
    ))?;
    scene.assert_shut(scene.ssh4());
    // The right ports by the wrong protocols.
    scene.knock("7142,8319,9623,7142")?;
    scene.knock("7142:udp,8319:udp,9623:udp,7142:udp")?;
    scene.assert_shut(scene.ssh4());
    assert_eq!(count(&daemon, "OPEN SESAME"), 0);
    scene.knock("7142,8319:udp,9623,7142:udp")?;
    scene.assert_opens(scene.ssh4())
}

/// A connection to another port sends and receives while its owner knocks.
#[test]
fn syn_door_beside_a_connection_to_another_port() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    scene.server().nft(PUBLIC)?;
    let _public = Service::start(scene.server(), 2222)?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319,9623\ntcpflags = syn\n{OPEN}");
    let _daemon = scene.knockd(&config)?;
    scene.assert_shut(scene.ssh4());
    beside_traffic(&scene, scene.guest(), || {
        scene.knock("7142,8319,9623")?;
        scene.assert_opens(scene.ssh4())
    })
}

/// The connection's port is itself in the sequence: its segments are no SYNs and do not count.
#[test]
fn syn_door_beside_a_connection_to_a_port_of_its_sequence() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    scene.server().nft(PUBLIC)?;
    let _public = Service::start(scene.server(), 2222)?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,2222,9623\ntcpflags = syn,!ack\n{OPEN}");
    let daemon = scene.knockd(&config)?;
    scene.assert_shut(scene.ssh4());
    beside_traffic(&scene, scene.guest(), || {
        scene.knock("7142")?;
        daemon.wait_for_line("Stage 1", SOON)?;
        // The traffic alone gets no further.
        scene.assert_shut(scene.ssh4());
        assert_eq!(count(&daemon, "Stage 2"), 0, "a segment of the connection counted as a knock");
        scene.knock("2222,9623")?;
        scene.assert_opens(scene.ssh4())
    })
}

/// Without `tcpflags` every segment counts, as ever: the traffic to the second port is the second knock.
#[test]
fn door_without_flags_takes_every_segment() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    scene.server().nft(PUBLIC)?;
    let _public = Service::start(scene.server(), 2222)?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,2222,9623\n{OPEN}");
    let daemon = scene.knockd(&config)?;
    scene.assert_shut(scene.ssh4());
    beside_traffic(&scene, scene.guest(), || {
        scene.knock("7142")?;
        daemon.wait_for_line("Stage 2", SOON)?;
        scene.knock("9623")?;
        scene.assert_opens(scene.ssh4())
    })
}

/// A port of the sequence where somebody answers: handshake, greeting and end are one knock, not several.
#[test]
fn door_without_flags_knocked_by_whole_connections() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    scene.server().nft("insert rule inet filter input tcp dport { 7142, 8319, 9623 } accept")?;
    let _answering: Vec<_> = [7142, 8319, 9623]
        .iter()
        .map(|port| Service::start(scene.server(), *port))
        .collect::<io::Result<_>>()?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319,9623\n{OPEN}");
    let _daemon = scene.knockd(&config)?;
    scene.assert_shut(scene.ssh4());
    for port in [7142, 8319, 9623] {
        Session::open(scene.guest(), scene.server().at4(port))?.echo("knock")?;
    }
    scene.assert_opens(scene.ssh4())
}

/// A proxy's or a wrong guess's ports that stand in no door neither help nor hurt.
#[test]
fn ports_of_no_door_do_not_spoil_a_knock() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319,9623\ntcpflags = syn\n{OPEN}");
    let _daemon = scene.knockd(&config)?;
    scene.assert_shut(scene.ssh4());
    scene.knock("7142,80,443:udp,8319,8319:udp,53:udp,9623")?;
    scene.assert_opens(scene.ssh4())
}

/// The wrong order opens nothing, and the right one afterwards does.
#[test]
fn wrong_order_then_the_right_one() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319,9623\ntcpflags = syn\n{OPEN}");
    let daemon = scene.knockd(&config)?;
    scene.knock("9623,8319,7142,9623,8319")?;
    scene.knock("7142,9623,8319")?;
    scene.assert_shut(scene.ssh4());
    assert_eq!(count(&daemon, "OPEN SESAME"), 0);
    // Half a knock, and the whole at once again.
    scene.knock("7142,8319,7142,8319,9623")?;
    scene.assert_opens(scene.ssh4())
}

/// IPv6 has no identification: what one socket sends to one port looks the same each time.
#[test]
fn datagrams_of_one_ipv6_socket() -> io::Result<()> {
    let lab = lab::Lab::pair()?;
    let daemon = crate::support::start(
        lab.server(),
        "[options]\n[door]\nsequence = 7142:udp,8319:udp,7142:udp\ncommand = true\n",
    )?;
    let server = lab.server().ip6();
    lab.client().run(|| -> io::Result<()> {
        let socket = std::net::UdpSocket::bind("[::]:0")?;
        for port in [7142, 8319, 7142] {
            socket.send_to(&[0], (server, port))?;
        }
        Ok(())
    })?;
    daemon.wait_for_line("OPEN SESAME", SOON)?;
    Ok(())
}
