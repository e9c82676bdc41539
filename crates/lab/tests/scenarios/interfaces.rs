//! Which interfaces are listened on, and of which kinds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::{Daemon, Host, Process, Service, connect, has_tool, wait_until};

use crate::support::{
    DROPPING, OPEN, SOON, SSH, STOP, Scene, count, heard_after, knockd, side_by_side, skip, start,
};

const DOOR: &str = "[door]\nsequence = 7142,8319\ncommand = echo %IP% >> {dir}/ran\n";

/// A server between two networks, `eth0` (10.9.0.1) and `eth1` (10.10.0.1), with a client in each.
struct TwoNetworks {
    server: Host,
    clients: [Host; 2],
}

impl TwoNetworks {
    fn new() -> io::Result<Self> {
        let site = Self { server: Host::new("server")?, clients: [Host::new("a")?, Host::new("b")?] };
        for (client, number) in site.clients.iter().zip(0..) {
            connect(client, "eth0", &site.server, &format!("eth{number}"))?;
            let network = 9 + number;
            client.ip(&format!(
                "addr add 10.{network}.1.1/16 dev eth0\nlink set eth0 up\nroute add default via 10.{network}.0.1"
            ))?;
            site.server
                .ip(&format!("addr add 10.{network}.0.1/16 dev eth{number}\nlink set eth{number} up"))?;
        }
        Ok(site)
    }

    fn knockd(&self, options: &str) -> io::Result<Daemon> {
        start(&self.server, &format!("[options]\nlogfile = {{dir}}/knockd.log\n{options}\n{DOOR}"))
    }

    fn address(&self, network: usize) -> IpAddr {
        [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 10, 0, 1)][network].into()
    }

    fn assert_hears(&self, daemon: &Daemon, network: usize) -> io::Result<()> {
        let knock = || self.clients[network].knock(self.address(network), "7142,8319");
        let healed = heard_after(Instant::now(), daemon, knock)?;
        assert!(healed <= Duration::from_secs(1), "network {network} is heard after {healed:?} only");
        Ok(())
    }

    /// What comes by `deaf` is not heard, while the other network is.
    fn assert_deaf(&self, daemon: &Daemon, deaf: usize) -> io::Result<()> {
        let before = count(daemon, &format!("10.{}.1.1: door: Stage", 9 + deaf));
        self.clients[deaf].knock(self.address(deaf), "7142,8319")?;
        self.assert_hears(daemon, 1 - deaf)?;
        assert_eq!(count(daemon, &format!("10.{}.1.1: door: Stage", 9 + deaf)), before);
        Ok(())
    }
}

#[test]
fn one_of_two() -> io::Result<()> {
    let site = TwoNetworks::new()?;
    let daemon = site.knockd("interface = eth1")?;
    daemon.wait_for_log("starting up, listening on eth1", SOON)?;
    site.assert_deaf(&daemon, 0)
}

#[test]
fn list_pattern_and_any() -> io::Result<()> {
    side_by_side(["eth0,eth1", "eth1, eth0", "et*", "eth?", "any"], |interface| {
        let site = TwoNetworks::new()?;
        let daemon = site.knockd(&format!("interface = {interface}"))?;
        site.assert_hears(&daemon, 0)?;
        site.assert_hears(&daemon, 1)?;
        daemon.wait_for_log("starting up, listening on", SOON)
    })
}

/// An interface that fits the pattern later.
#[test]
fn pattern_and_any_take_what_comes_later() -> io::Result<()> {
    side_by_side(["et*", "any"], |interface| {
        let site = TwoNetworks::new()?;
        let daemon = site.knockd(&format!("interface = {interface}"))?;
        let late = Host::new("late")?;
        connect(&late, "eth0", &site.server, "eth7")?;
        site.server.ip("addr add 10.11.0.1/16 dev eth7\nlink set eth7 up")?;
        late.ip("addr add 10.11.1.1/16 dev eth0\nlink set eth0 up")?;
        let knock = || late.knock(Ipv4Addr::new(10, 11, 0, 1).into(), "7142,8319");
        heard_after(Instant::now(), &daemon, knock)?;
        daemon.wait_for_log("10.11.1.1: door: OPEN SESAME", SOON)
    })
}

/// With no interface named, the default route's is taken, also when it changes.
#[test]
fn none_named() -> io::Result<()> {
    let site = TwoNetworks::new()?;
    site.server.ip(
        "link set eth0 down\nlink set eth0 name lan0\nlink set lan0 up\nroute add default via 10.10.1.1",
    )?;
    let daemon = site.knockd("")?;
    daemon.wait_for_log("starting up, listening on eth1", SOON)?;
    site.assert_deaf(&daemon, 0)?;
    site.server.ip("route replace default via 10.9.1.1")?;
    site.assert_hears(&daemon, 0)?;
    daemon.wait_for_log("lan0: the interface is there, listening", SOON)?;
    site.assert_deaf(&daemon, 1)
}

/// As in many files that name no interface: `eth0` is what knockd has always taken.
#[test]
fn none_named_and_no_default_route() -> io::Result<()> {
    let site = TwoNetworks::new()?;
    let daemon = site.knockd("")?;
    site.assert_deaf(&daemon, 1)
}

#[test]
fn option_goes_before_the_file() -> io::Result<()> {
    let site = TwoNetworks::new()?;
    let config = format!("[options]\ninterface = eth0\n{DOOR}");
    let daemon = knockd()?.config(config).args(["-i", "eth1"]).start(&site.server)?;
    site.assert_deaf(&daemon, 0)
}

#[test]
fn loopback_of_both_families() -> io::Result<()> {
    let host = Host::new("alone")?;
    let _ssh = Service::start(&host, SSH)?;
    host.nft(DROPPING)?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319:udp,9623\ncmd_timeout = 1\n{OPEN}{STOP}");
    let _daemon = knockd()?.config(config).args(["-i", "lo"]).start(&host)?;
    for address in ["127.0.0.1", "::1"] {
        let target = SocketAddr::new(address.parse().map_err(io::Error::other)?, SSH);
        assert_ne!(host.probe(target), lab::PortState::Open);
        host.knock(target.ip(), "7142,8319:udp,9623")?;
        host.wait_until_open(target, SOON)?;
        host.wait_until_closed(target, SOON)?;
    }
    Ok(())
}

/// The host knocks at its own address, which goes by the loopback interface.
#[test]
fn any_hears_the_host_itself_once() -> io::Result<()> {
    let site = TwoNetworks::new()?;
    let daemon = site.knockd("interface = any")?;
    site.server.knock(site.address(0), "7142,8319")?;
    daemon.wait_for_line("10.9.0.1: door: OPEN SESAME", SOON)?;
    site.assert_hears(&daemon, 1)?;
    assert_eq!(count(&daemon, "10.9.0.1: door: Stage 1"), 1);
    Ok(())
}

/// A knock at a server whose cable is a port of a bridge, on which its address stands, is heard.
fn assert_heard_by_bridge(interface: &str, bridge: &str) -> io::Result<()> {
    let (client, server) = (Host::new("client")?, Host::new("server")?);
    connect(&client, "eth0", &server, "eth0")?;
    server.ip(&format!(
        "link add br0 {bridge} type bridge stp_state 0 forward_delay 0
         link set eth0 master br0
         link set eth0 up
         addr add 10.9.0.1/16 dev br0
         link set br0 up"
    ))?;
    client.ip("addr add 10.9.1.1/16 dev eth0\nlink set eth0 up")?;
    let daemon = start(&server, &format!("[options]\ninterface = {interface}\n{DOOR}"))?;
    heard_after(Instant::now(), &daemon, || client.knock([10, 9, 0, 1].into(), "7142,8319"))?;
    assert_eq!(count(&daemon, "OPEN SESAME"), 1, "{}", daemon.text());
    Ok(())
}

const OWN_ADDRESS: &str = "address 02:00:00:00:0b:01";

#[test]
fn bridge() -> io::Result<()> {
    assert_heard_by_bridge("br0", "")?;
    assert_heard_by_bridge("br0", OWN_ADDRESS)
}

#[test]
fn bridge_where_everything_is_listened_on() -> io::Result<()> {
    assert_heard_by_bridge("any", "")?;
    assert_heard_by_bridge("any", OWN_ADDRESS)
}

#[test]
fn port_of_a_bridge() -> io::Result<()> {
    assert_heard_by_bridge("eth0", "")
}

/// As systemd makes them: with a hardware address that is not the port's.
#[test]
fn port_of_a_bridge_with_a_hardware_address_of_its_own() -> io::Result<()> {
    assert_heard_by_bridge("eth0", OWN_ADDRESS)
}

/// Passes packets between a tun device of its own and the socket at its standard input.
const TUNNEL: &str = r#"
    open(my $tun, "+<", "/dev/net/tun") or die "/dev/net/tun: $!";
    my $request = pack("a16 S x22", "tun0", 0x1001);
    ioctl($tun, 0x400454ca, $request) or die "TUNSETIFF: $!";
    open(my $peer, "+<&=0") or die "the peer: $!";
    while (1) {
        my $ready = "";
        vec($ready, fileno($_), 1) = 1 for $tun, $peer;
        select($ready, undef, undef, undef) > 0 or next;
        for my $way ([$tun, $peer], [$peer, $tun]) {
            my ($from, $to) = @$way;
            next unless vec($ready, fileno($from), 1);
            my $packet = "";
            sysread($from, $packet, 65535) and syswrite($to, $packet);
        }
    }
"#;

/// One end of a tunnel on `host`.
fn tunnel(host: &Host, socket: UnixDatagram) -> io::Result<Process> {
    let process =
        host.spawn(Command::new("perl").args(["-e", TUNNEL]).stdin(Stdio::from(OwnedFd::from(socket))))?;
    wait_until("tun0", SOON, || host.ip("link show tun0").is_ok())?;
    Ok(process)
}

/// A device without link-layer headers, whose address is one of a pair: a VPN's, or like a modem's. It comes after
/// the daemon.
#[test]
fn tunnel_that_comes_later() -> io::Result<()> {
    if !Path::new("/dev/net/tun").exists() || !has_tool("perl") {
        skip("this needs /dev/net/tun and perl");
        return Ok(());
    }
    let (client, server) = (Host::new("client")?, Host::new("server")?);
    let _ssh = Service::start(&server, SSH)?;
    server.nft(DROPPING)?;
    let config = format!(
        "[options]\nlogfile = {{dir}}/knockd.log\ninterface = tun*\n[SSH]\nsequence = 7142,8319:udp\ncmd_timeout = 1\n{OPEN}{STOP}"
    );
    let daemon = start(&server, &config)?;
    daemon.wait_for_log("no interface fits tun* yet", SOON)?;

    let (here, there) = UnixDatagram::pair()?;
    let _ends = [tunnel(&client, here)?, tunnel(&server, there)?];
    client.ip(
        "addr add 10.8.0.2 peer 10.8.0.1 dev tun0\naddr add fd08::2/64 dev tun0 nodad\nlink set tun0 up",
    )?;
    server.ip(
        "addr add 10.8.0.1 peer 10.8.0.2 dev tun0\naddr add fd08::1/64 dev tun0 nodad\nlink set tun0 up",
    )?;
    for address in ["10.8.0.1", "fd08::1"] {
        let target = SocketAddr::new(address.parse().map_err(io::Error::other)?, SSH);
        assert_ne!(client.probe(target), lab::PortState::Open);
        heard_after(Instant::now(), &daemon, || client.knock(target.ip(), "7142,8319:udp"))?;
        client.wait_until_open(target, SOON)?;
        client.wait_until_closed(target, SOON)?;
    }
    daemon.wait_for_log("tun0: the interface is there, listening", SOON)
}

/// One cable, two networks on it: a knock on one is not counted twice because two interfaces are listened on.
#[test]
fn knock_is_counted_once_where_everything_is_listened_on() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&format!("[options]\ninterface = any\n[SSH]\nsequence = 7142,8319\n{OPEN}"))?;
    scene.assert_shut(scene.ssh4());
    scene.knock("7142,8319")?;
    scene.assert_opens(scene.ssh4())?;
    assert_eq!((count(&daemon, "Stage"), count(&daemon, "OPEN SESAME")), (2, 1));
    Ok(())
}
