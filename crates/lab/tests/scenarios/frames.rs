//! IPv6, and packets as few programs send them: tagged, with extension headers and options, in fragments.

mod rules;
mod shared;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use lab::{Daemon, Extension, Frame, Sender, Service};

use crate::support::{DROPPING, OPEN, SOON, SSH, STOP, Scene, count, side_by_side, skip};

const PORTS: [u16; 3] = [7142, 8319, 9623];
/// A door for frames, and one behind which everything sent before has been seen.
const DOORS: &str = "[options]
[SSH]
sequence = 7142,8319,9623
tcpflags = syn
{OPEN}
[sentinel]
sequence = 5555:udp
command = true
";

/// Where the knock at a port comes from: from another port each, as from most programs.
fn source_port(port: u16) -> u16 {
    port + 30_000
}

/// A scene with a sender of frames on its wire.
struct Wire {
    scene: Scene,
    daemon: Daemon,
    sender: Sender,
    /// The sequence number of the next SYN: no two are alike, as with real clients.
    number: AtomicU32,
}

impl Wire {
    fn new() -> io::Result<Self> {
        Self::beside("")
    }

    /// The same with more doors.
    fn beside(doors: &str) -> io::Result<Self> {
        let scene = Scene::new(DROPPING)?;
        let daemon = scene.knockd(&format!("{}\n{doors}", DOORS.replace("{OPEN}", OPEN)))?;
        let sender = Sender::open(scene.guest(), "eth0", scene.server(), "eth0")?;
        Ok(Self { scene, daemon, sender, number: AtomicU32::new(1_000) })
    }

    /// The guest's and the server's ends of a SYN by IPv4.
    fn ends4(&self, port: u16) -> (SocketAddr, SocketAddr) {
        (self.scene.guest().at4(source_port(port)), self.scene.server().at4(port))
    }

    fn ends6(&self, port: u16) -> (SocketAddr, SocketAddr) {
        (self.scene.guest().at6(source_port(port)), self.scene.server().at6(port))
    }

    fn syn(&self, (source, destination): (SocketAddr, SocketAddr)) -> Frame {
        Frame::tcp(source, destination).numbers(self.number.fetch_add(1_000, Ordering::Relaxed), 0)
    }

    /// Three SYNs by IPv4, each made into what the case is about.
    fn knock4(&self, dress: impl Fn(Frame) -> Frame) -> io::Result<()> {
        PORTS.iter().try_for_each(|port| self.sender.send(&dress(self.syn(self.ends4(*port)))))
    }

    fn knock6(&self, dress: impl Fn(Frame) -> Frame) -> io::Result<()> {
        PORTS.iter().try_for_each(|port| self.sender.send(&dress(self.syn(self.ends6(*port)))))
    }

    /// The knock just sent opens the guest's way; then it is shut again.
    fn assert_opened(&self, what: &str, target: SocketAddr) -> io::Result<()> {
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
        self.scene.assert_opens(target).map_err(told)?;
        self.scene.expel()
    }

    /// Nothing of what was sent so far has counted.
    fn assert_passed_over(&self, what: &str) -> io::Result<()> {
        let mark = self.daemon.mark();
        self.scene.guest().knock(self.scene.server().ip4(), "5555:udp")?;
        self.daemon.wait_for_line_after(mark, "sentinel: OPEN SESAME", SOON)?;
        assert_eq!(count(&self.daemon, "SSH: Stage"), 0, "{what} counted:\n{}", self.daemon.text());
        Ok(())
    }
}

/// A way to send a SYN.
type Dress = fn(Frame) -> Frame;

/// Each of these opens the guest's way, all by the same family.
fn assert_all_open(by_ipv6: bool, cases: Vec<(&str, Dress)>) -> io::Result<()> {
    side_by_side(cases, |(what, dress)| {
        let wire = Wire::new()?;
        let target = if by_ipv6 { wire.scene.ssh6() } else { wire.scene.ssh4() };
        wire.scene.assert_shut(target);
        if by_ipv6 {
            wire.knock6(dress)?
        } else {
            wire.knock4(dress)?
        }
        wire.assert_opened(what, target)
    })
}

#[test]
fn vlan_tags_do_not_hide_a_knock() -> io::Result<()> {
    let cases: Vec<(&str, Dress)> = vec![
        ("802.1Q", |frame| frame.vlan(5)),
        ("a priority tag", |frame| frame.vlan(0)),
        ("QinQ", |frame| frame.service_vlan(6).vlan(7)),
        ("two 802.1Q tags", |frame| frame.vlan(6).vlan(7)),
    ];
    assert_all_open(false, cases.clone())?;
    assert_all_open(true, cases)
}

/// A VLAN whose address stands on an interface of its own, listened to at the interface below.
#[test]
fn vlan_interface_knocked_through_its_parent() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    if let Err(error) = scene.server().ip("link add link eth0 name probe type vlan id 9") {
        skip(&format!("this kernel has no VLAN interfaces: {error}"));
        return Ok(());
    }
    for (host, address) in [(scene.server(), "10.5.0.1/24"), (scene.guest(), "10.5.0.2/24")] {
        host.ip(&format!(
            "link add link eth0 name eth0.5 type vlan id 5
             addr add {address} dev eth0.5
             link set eth0.5 up"
        ))?;
    }
    for interface in ["eth0", "eth0.5", "any"] {
        let config = format!(
            "[options]\ninterface = {interface}\n[SSH]\nsequence = 7142,8319,9623\ntcpflags = syn\n{OPEN}"
        );
        let daemon = scene.knockd(&config)?;
        let target = SocketAddr::from(([10, 5, 0, 1], SSH));
        scene.assert_shut(target);
        scene.guest().knock(target.ip(), "7142,8319,9623")?;
        scene.guest().wait_until_open(target, SOON)?;
        assert_eq!(count(&daemon, "Stage 1"), 1, "on {interface} one knock is one knock");
        scene.expel()?;
    }
    Ok(())
}

#[test]
fn ipv4_options_do_not_hide_a_knock() -> io::Result<()> {
    assert_all_open(
        false,
        vec![
            ("four bytes", |frame| frame.ip_options(&[1; 4])),
            ("as many as there can be", |frame| frame.ip_options(&[1; 40])),
        ],
    )
}

#[test]
fn extension_headers_do_not_hide_a_knock() -> io::Result<()> {
    assert_all_open(
        true,
        vec![
            ("hop by hop", |frame| frame.extension(Extension::HopByHop(1))),
            ("destination options", |frame| frame.extension(Extension::DestinationOptions(2))),
            ("routing", |frame| frame.extension(Extension::Routing(1))),
            ("an atomic fragment", |frame| frame.extension(Extension::AtomicFragment)),
            ("authentication", |frame| frame.extension(Extension::Authentication)),
            ("all of them", |frame| {
                frame
                    .extension(Extension::HopByHop(3))
                    .extension(Extension::DestinationOptions(1))
                    .extension(Extension::Routing(2))
                    .extension(Extension::AtomicFragment)
                    .extension(Extension::Authentication)
                    .extension(Extension::DestinationOptions(1))
            }),
        ],
    )
}

/// The first fragment has the ports in it, and counts; those after it have other bytes there, and do not.
#[test]
fn first_fragments_knock_and_later_ones_do_not() -> io::Result<()> {
    let wire = Wire::new()?;
    wire.scene.assert_shut(wire.scene.ssh4());
    let pieces = |ends: (SocketAddr, SocketAddr)| {
        let (from, to) = wire.sender.hardware_addresses();
        Frame::tcp(ends.0, ends.1).payload([b'x'; 60]).fragments(24, from, to)
    };
    // A later fragment whose bytes look like the header of a SYN to the first port: a piece of a datagram that holds
    // a whole segment.
    let (from, to) = wire.sender.hardware_addresses();
    for port in PORTS {
        let (source, destination) = wire.ends4(port);
        let inner = Frame::tcp(source, destination).bytes(from, to)[34..].to_vec();
        let carrier =
            Frame::udp(source, wire.scene.server().at4(4444)).payload([vec![0; 16], inner].concat());
        wire.sender.send_bytes(&carrier.fragments(24, from, to)[1])?;
    }
    wire.assert_passed_over("a later fragment")?;
    for (target, ends) in [
        (wire.scene.ssh4(), PORTS.map(|port| wire.ends4(port))),
        (wire.scene.ssh6(), PORTS.map(|port| wire.ends6(port))),
    ] {
        for ends in ends {
            pieces(ends).iter().try_for_each(|piece| wire.sender.send_bytes(piece))?;
        }
        wire.assert_opened("fragments", target)?;
    }
    Ok(())
}

#[test]
fn frames_for_others_do_not_knock() -> io::Result<()> {
    let wire = Wire::new()?;
    wire.scene.assert_shut(wire.scene.ssh4());
    let elsewhere = SocketAddr::from(([10, 9, 77, 77], 0));

    wire.knock4(|frame| frame.to_hardware([2, 0, 0, 0, 0, 0x77]))?;
    wire.assert_passed_over("a frame for another machine")?;
    wire.knock4(|frame| frame.to_hardware([0xff; 6]))?;
    wire.assert_passed_over("a broadcast frame")?;
    for port in PORTS {
        let mut destination = elsewhere;
        destination.set_port(port);
        wire.sender.send(&Frame::tcp(wire.scene.guest().at4(source_port(port)), destination))?;
    }
    wire.assert_passed_over("a packet for another address")?;
    wire.knock4(|frame| frame)?;
    wire.assert_opened("the same, for this host", wire.scene.ssh4())
}

/// A door with a target hears what goes to other machines; that is no reason for the doors beside it to do so.
#[test]
fn frames_for_others_knock_only_where_there_is_a_target() -> io::Result<()> {
    let wire = Wire::beside("[elsewhere]\nsequence = 4444\ntarget = 10.9.77.77\n")?;
    let to_other = |frame: Frame| frame.to_hardware([2, 0, 0, 0, 0, 0x77]);
    wire.knock4(to_other)?;
    wire.assert_passed_over("a frame for another machine")?;
    let target = SocketAddr::from(([10, 9, 77, 77], 4444));
    wire.sender.send(&to_other(wire.syn((wire.scene.guest().at4(40_000), target))))?;
    wire.daemon.wait_for_line("elsewhere: OPEN SESAME", SOON)?;
    Ok(())
}

/// What nobody can be: an opening for it would be one for nobody, or for all.
#[test]
fn sources_that_nobody_has_do_not_knock() -> io::Result<()> {
    let wire = Wire::new()?;
    let server = wire.scene.server();
    let sources4 = [[0, 0, 0, 0], [127, 0, 0, 1], [255, 255, 255, 255], [224, 0, 0, 1]];
    let sources6 = ["::", "::1", "ff02::1", "::ffff:10.9.1.1"];
    for port in PORTS {
        for source in sources4 {
            wire.sender.send(&Frame::tcp((source, source_port(port)).into(), server.at4(port)))?;
        }
        for source in sources6 {
            let source = SocketAddr::new(source.parse().map_err(io::Error::other)?, source_port(port));
            wire.sender.send(&Frame::tcp(source, server.at6(port)))?;
        }
    }
    wire.assert_passed_over("a source that nobody has")
}

/// A packet that says it is from the host itself has not come from it: the kernel drops it.
#[test]
fn hosts_own_address_does_not_knock_from_outside() -> io::Result<()> {
    let wire = Wire::new()?;
    let server = wire.scene.server();
    for port in PORTS {
        wire.sender.send(&Frame::tcp(server.at4(source_port(port)), server.at4(port)))?;
        wire.sender.send(&Frame::tcp(server.at6(source_port(port)), server.at6(port)))?;
    }
    wire.assert_passed_over("the host's own address")
}

/// As scanners and packet builders send them: all from one port, with one sequence number.
#[test]
fn probes_that_share_source_port_and_sequence_number() -> io::Result<()> {
    let wire = Wire::new()?;
    wire.scene.assert_shut(wire.scene.ssh4());
    for port in PORTS {
        let (source, destination) = (wire.scene.guest().at4(40_000), wire.scene.server().at4(port));
        wire.sender.send(&Frame::tcp(source, destination).numbers(1, 0))?;
    }
    wire.assert_opened("one source port", wire.scene.ssh4())
}

/// Commands of their own for IPv6, by `ip6tables`.
#[test]
fn ipv6_has_its_own_commands() -> io::Result<()> {
    let rules = ["iptables", "ip6tables"].map(|program| {
        format!(
            "{program} -P INPUT DROP
             {program} -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n"
        )
    });
    let scene = Scene::with_script(&format!("{}ip6tables -A INPUT -p icmpv6 -j ACCEPT", rules.concat()))?;
    let _daemon = scene.knockd(
        "[options]
        [SSH]
        sequence = 7142,8319,9623
        cmd_timeout = 1
        start_command = iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
        stop_command = iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
        start_command_6 = ip6tables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
        stop_command_6 = ip6tables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
        ",
    )?;
    scene.assert_shut(scene.ssh6());
    scene.guest().knock(scene.server().ip6(), "7142,8319,9623")?;
    scene.assert_opens(scene.ssh6())?;
    scene.assert_shut(scene.ssh4());
    scene.assert_closes(scene.ssh6())?;
    scene.knock("7142,8319,9623")?;
    scene.assert_opens(scene.ssh4())?;
    scene.assert_shut(scene.ssh6());
    scene.assert_closes(scene.ssh4())
}

/// Without a command for IPv6 the other serves both; with an empty one nothing is done.
#[test]
fn ipv6_commands_absent_and_empty() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(
        "[options]
        [one]
        sequence = 7142,8319
        cmd_timeout = 0
        start_command = echo start %IP% >> {dir}/one
        stop_command = echo stop %IP% >> {dir}/one
        [none]
        sequence = 9142,9319
        start_command = echo start %IP% >> {dir}/none
        start_command_6 =
        ",
    )?;
    let (four, six) = (scene.server().ip4(), scene.server().ip6());
    scene.guest().knock(six, "7142,8319,9142,9319")?;
    daemon.wait_for_file("one", "start fd09::1:1\nstop fd09::1:1\n", SOON)?;
    daemon.wait_for_line("fd09::1:1: none: OPEN SESAME", SOON)?;
    scene.guest().knock(four, "9142,9319")?;
    daemon.wait_for_file("none", "start 10.9.1.1\n", SOON)?;
    assert_eq!(daemon.file("none"), "start 10.9.1.1\n");
    Ok(())
}

/// With `-4` IPv6 is as if it were not there.
#[test]
fn only_ipv4() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319\ncmd_timeout = 2\n{OPEN}{STOP}");
    let daemon = crate::support::knockd()?.config(config).arg("-4").start(scene.server())?;
    scene.guest().knock(scene.server().ip6(), "7142,8319")?;
    scene.knock("7142,8319")?;
    scene.assert_opens(scene.ssh4())?;
    scene.assert_shut(scene.ssh6());
    assert_eq!(count(&daemon, "fd09::1:1"), 0);
    Ok(())
}

/// A door with a `target` opens at that address, which need not be the host's own.
#[test]
fn target_is_the_address_to_knock_at() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let target = SocketAddr::from(([10, 9, 88, 88], SSH)).ip();
    scene.guest().ip(&format!("route add {target} via {}", scene.server().ip4()))?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319\ntarget = {target}\n{OPEN}");
    let daemon = scene.knockd(&config)?;
    let _other = Service::start(scene.server(), 80)?;
    scene.knock("7142,8319")?;
    scene.assert_shut(scene.ssh4());
    assert_eq!(count(&daemon, "Stage"), 0);
    scene.guest().knock(target, "7142,8319")?;
    scene.assert_opens(scene.ssh4())
}
