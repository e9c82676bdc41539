//! Who gets in and who does not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::{Host, Lab, PortState, Service, Session, connect};

use crate::support::{
    Mailbox, SOON, at, close, cutting, datagram, gate, guarded, open, open_network, table_with, unguarded,
    widened,
};

#[test]
fn a_guarded_port_opens_for_the_granted_address_alone() -> io::Result<()> {
    let lab = Lab::with_clients(2)?;
    let (server, [friend, stranger]) = (lab.server(), lab.clients()) else { unreachable!() };
    let _ssh = Service::start(server, 22)?;
    let _web = Service::start(server, 80)?;
    let mut table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    for (address, port) in [(friend.ip4(), server.at4(22)), (friend.ip6(), server.at6(22))] {
        assert_eq!(friend.probe(port), PortState::Filtered);
        open(&mut table, "ssh", address, None);
        assert_eq!(friend.probe(port), PortState::Open);
        assert_eq!(stranger.probe(port), PortState::Filtered);
        close(&mut table, "ssh", address);
        assert_eq!(friend.probe(port), PortState::Filtered);
    }
    assert_eq!(stranger.probe(server.at4(80)), PortState::Open, "other ports are none of ours");
    assert_eq!(stranger.probe(server.at6(80)), PortState::Open);
    Ok(())
}

#[test]
fn an_ipv6_grant_opens_the_link_local_address_too() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    let mut table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    let (target, source) = (link_local(client, server)?, link_local(client, client)?.ip());
    assert_eq!(client.probe(target), PortState::Filtered);
    open(&mut table, "ssh", source, None);
    assert_eq!(client.probe(target), PortState::Open);
    Ok(())
}

/// The link-local address of `of`, as `from` reaches it.
fn link_local(from: &Host, of: &Host) -> io::Result<SocketAddr> {
    let index: u32 = from
        .sh("cat /sys/class/net/eth0/ifindex 2>/dev/null; ip -o link show eth0 | cut -d: -f1")?
        .lines()
        .last()
        .and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| io::Error::other("no index of eth0"))?;
    let shown = of.sh("ip -o -6 addr show dev eth0 scope link | sed -E 's/.*inet6 ([^/]*).*/\\1/'")?;
    let address = shown.trim().parse().map_err(io::Error::other)?;
    Ok(std::net::SocketAddrV6::new(address, 22, 0, index).into())
}

#[test]
fn the_kernel_closes_by_itself() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    let mut table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    open(&mut table, "ssh", client.ip4(), Some(Duration::from_secs(2)));
    drop(table);
    let mut session = Session::open(client, server.at4(22))?;
    client.wait_until_port(server.at4(22), PortState::Filtered, SOON)?;
    session.echo("a connection that was made goes on")
}

#[test]
fn opening_again_lengthens_and_shortens() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let mut table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    let left = |table: &mut knock_firewall::Table| table.elements().unwrap().pop().map(|(.., left)| left);
    for (time, range) in [(100, 90..=100), (1000, 990..=1000), (10, 1..=10)] {
        open(&mut table, "ssh", client.ip4(), Some(Duration::from_secs(time)));
        let left = left(&mut table).flatten().unwrap();
        assert!(range.contains(&left.as_secs()), "{left:?} after {time}");
    }
    open(&mut table, "ssh", client.ip4(), None);
    assert_eq!(left(&mut table), Some(None), "until closed");
    close(&mut table, "ssh", client.ip4());
    close(&mut table, "ssh", client.ip4());
    assert_eq!(left(&mut table), None);
    Ok(())
}

#[test]
fn a_widened_door_opens_for_the_network() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    client.ip(
        "addr add 10.9.4.7/16 dev eth0\naddr add 10.9.4.200/16 dev eth0\naddr add 10.9.5.7/16 dev eth0",
    )?;
    let _ssh = Service::start(server, 22)?;
    let wide = widened(gate("ssh", "22/tcp"), 24, 120);
    let mut table = table_with(server, &guarded([wide.clone()]));
    open_network(&mut table, "ssh", wide.native.widen.around("10.9.4.7".parse().unwrap()), None);
    for (source, state) in
        [("10.9.4.7", PortState::Open), ("10.9.4.200", PortState::Open), ("10.9.5.7", PortState::Filtered)]
    {
        client.ip(&format!("route replace {}/32 dev eth0 src {source}", server.ip4()))?;
        assert_eq!(client.probe(server.at4(22)), state, "{source}");
    }
    assert_eq!(client.probe(server.at6(22)), PortState::Filtered);
    open_network(&mut table, "ssh", wide.native.widen.around("fd09::1:ff".parse().unwrap()), None);
    assert_eq!(client.probe(server.at6(22)), PortState::Open);
    Ok(())
}

#[test]
fn ranges_of_udp_open() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let mut table = table_with(server, &guarded([gate("mosh", "60000-60010/udp")]));
    let inside = [60000, 60005, 60010].map(|port| Mailbox::open(server, port).unwrap());
    let outside = [59999, 60011].map(|port| Mailbox::open(server, port).unwrap());
    for of in [SocketAddr::is_ipv4, SocketAddr::is_ipv6] {
        let send_all = || {
            // The last one is outside: when it has come, the others would have.
            for port in [60000, 60005, 60010, 59999, 60011] {
                let targets = [server.at4(port), server.at6(port)];
                datagram(client, targets.into_iter().find(of).unwrap()).unwrap();
            }
            outside.iter().try_for_each(Mailbox::wait)
        };
        send_all()?;
        assert_eq!(inside.each_ref().map(Mailbox::count), [0; 3]);
        let source = [client.at4(1), client.at6(1)].into_iter().find(of).unwrap().ip();
        open(&mut table, "mosh", source, None);
        send_all()?;
        assert_eq!(inside.each_ref().map(Mailbox::count), [1; 3]);
    }
    Ok(())
}

#[test]
fn broadcast_is_guarded() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let mut table = table_with(server, &guarded([gate("udp", "5000/udp")]));
    let (guarded, free) = (Mailbox::open(server, 5000)?, Mailbox::open(server, 5001)?);
    let send = || {
        for port in [5000, 5001] {
            datagram(client, (IpAddr::from([10, 9, 255, 255]), port).into())?;
        }
        free.wait()
    };
    send()?;
    assert_eq!(guarded.count(), 0);
    open(&mut table, "udp", client.ip4(), None);
    send()?;
    assert_eq!(guarded.count(), 1);
    Ok(())
}

#[test]
fn established_is_kept_or_cut() -> io::Result<()> {
    for guard in [true, false] {
        let lab = Lab::pair()?;
        let (server, client) = (lab.server(), lab.client());
        let (_kept, _cut) = (Service::start(server, 22)?, Service::start(server, 23)?);
        let mut layout = guarded([gate("keep", "22/tcp"), cutting(gate("cut", "23/tcp"))]);
        layout.guard = guard;
        let mut table = table_with(server, &layout);
        for door in ["keep", "cut"] {
            open(&mut table, door, client.ip4(), None);
            open(&mut table, door, client.ip6(), None);
        }
        let mut kept = [Session::open(client, server.at4(22))?, Session::open(client, server.at6(22))?];
        let mut cut = [Session::open(client, server.at4(23))?, Session::open(client, server.at6(23))?];
        kept.iter_mut().chain(&mut cut).try_for_each(|session| session.echo("while open"))?;
        let grants: Vec<_> = table.elements().unwrap();
        let elements: Vec<_> = grants
            .iter()
            .map(|(door, address, left)| knock_firewall::Element {
                door,
                network: knock_core::network::Network::host(*address),
                left: *left,
            })
            .collect();
        table.replace(&layout, &elements).unwrap();
        kept.iter_mut().chain(&mut cut).try_for_each(|session| session.echo("a reload cuts nobody"))?;
        for door in ["keep", "cut"] {
            close(&mut table, door, client.ip4());
            close(&mut table, door, client.ip6());
        }
        kept.iter_mut().try_for_each(|session| session.echo("closed"))?;
        let ended = cut.iter_mut().all(|session| session.echo("closed").is_err());
        assert!(ended, "guard = {guard}: a connection that should be cut goes on");
    }
    Ok(())
}

/// Where no other rule has asked for conntrack, it knows nothing of older connections.
#[test]
fn a_connection_older_than_the_table_is_kept_or_cut() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let (_kept, _cut) = (Service::start(server, 22)?, Service::start(server, 23)?);
    let mut kept = [Session::open(client, server.at4(22))?, Session::open(client, server.at6(22))?];
    let mut cut = Session::open(client, server.at4(23))?;
    let _table = table_with(server, &guarded([gate("keep", "22/tcp"), cutting(gate("cut", "23/tcp"))]));
    for session in &mut kept {
        session.echo("the client speaks first")?;
    }
    assert!(cut.echo("nobody let it in").is_err());
    assert_eq!(client.probe(server.at4(22)), PortState::Filtered);
    Ok(())
}

#[test]
fn cutting_spares_whom_another_door_lets_in() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    let mut table = table_with(server, &guarded([cutting(gate("one", "22/tcp")), gate("two", "1-100/tcp")]));
    open(&mut table, "one", client.ip4(), None);
    open(&mut table, "two", client.ip4(), None);
    let mut session = Session::open(client, server.at4(22))?;
    close(&mut table, "one", client.ip4());
    session.echo("two is open")?;
    assert_eq!(client.probe(server.at4(22)), PortState::Open);
    close(&mut table, "two", client.ip4());
    assert!(session.echo("both are closed").is_err());
    Ok(())
}

#[test]
fn either_of_two_doors_lets_in() -> io::Result<()> {
    let lab = Lab::with_clients(3)?;
    let (server, [a, b, c]) = (lab.server(), lab.clients()) else { unreachable!() };
    let _ssh = Service::start(server, 22)?;
    let mut table = table_with(server, &guarded([gate("one", "22/tcp"), gate("two", "20-30/tcp")]));
    open(&mut table, "one", a.ip4(), None);
    open(&mut table, "two", b.ip4(), None);
    let states = [a, b, c].map(|client| client.probe(server.at4(22)));
    assert_eq!(states, [PortState::Open, PortState::Open, PortState::Filtered]);
    Ok(())
}

#[test]
fn a_target_is_guarded_alone() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    server.ip("addr add 10.9.3.1/16 dev eth0")?;
    let _ssh = Service::start(server, 22)?;
    let target: IpAddr = "10.9.3.1".parse().unwrap();
    let mut table = table_with(server, &guarded([at(gate("ssh", "22/tcp"), target)]));
    assert_eq!(client.probe((target, 22).into()), PortState::Filtered);
    assert_eq!(client.probe(server.at4(22)), PortState::Open);
    assert_eq!(client.probe(server.at6(22)), PortState::Open);
    open(&mut table, "ssh", client.ip4(), None);
    assert_eq!(client.probe((target, 22).into()), PortState::Open);
    Ok(())
}

#[test]
fn what_the_machine_says_to_itself_is_free() -> io::Result<()> {
    let lab = Lab::pair()?;
    let server = lab.server();
    let _ssh = Service::start(server, 22)?;
    let _table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    let local = [server.at4(22), server.at6(22), (IpAddr::from([127, 0, 0, 1]), 22).into()];
    for target in local {
        assert_eq!(server.probe(target), PortState::Open, "{target}");
    }
    assert_eq!(lab.client().probe(server.at4(22)), PortState::Filtered);
    Ok(())
}

#[test]
fn untracked_packets_are_guarded() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    server.nft(
        "table inet raw {
            chain pre { type filter hook prerouting priority raw; notrack; }
            chain out { type filter hook output priority raw; notrack; }
        }",
    )?;
    let mut table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    assert_eq!(client.probe(server.at4(22)), PortState::Filtered);
    assert_eq!(client.probe(server.at6(22)), PortState::Filtered);
    open(&mut table, "ssh", client.ip4(), None);
    Session::open(client, server.at4(22))?.echo("hello")
}

#[test]
fn nobody_marks_packets_but_doors() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    server.nft(
        "table inet raw { chain pre { type filter hook prerouting priority raw; meta mark set 0xffffffff; }; }
         table inet seen {
            chain in { type filter hook input priority 0; tcp dport 80 meta mark 0xefffffff accept
                       tcp dport 80 drop; };
         }",
    )?;
    let _web = Service::start(server, 80)?;
    let _table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    assert_eq!(client.probe(server.at4(22)), PortState::Filtered);
    assert_eq!(client.probe(server.at4(80)), PortState::Open, "the other bits are kept");
    Ok(())
}

#[test]
fn without_guard_doors_mark_and_close_nothing() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    let mut table = table_with(server, &unguarded([gate("ssh", "22/tcp")]));
    assert_eq!(client.probe(server.at4(22)), PortState::Open);
    server.nft(
        "table inet filter { chain input {
            type filter hook input priority filter; policy drop;
            ct state established,related accept
            meta l4proto ipv6-icmp accept
            meta mark & 0x10000000 == 0x10000000 accept
        }; }",
    )?;
    assert_eq!(client.probe(server.at4(22)), PortState::Filtered);
    open(&mut table, "ssh", client.ip4(), None);
    assert_eq!(client.probe(server.at4(22)), PortState::Open);
    Ok(())
}

/// Two hosts with a router between them, whose addresses are 10.1.0.1 and 10.2.0.1.
struct Routed {
    client: Host,
    router: Host,
    inner: Host,
}

fn routed() -> io::Result<Routed> {
    let (mut client, mut router, mut inner) =
        (Host::new("client")?, Host::new("router")?, Host::new("inner")?);
    connect(&client, "eth0", &router, "out")?;
    connect(&router, "in", &inner, "eth0")?;
    client.assign("eth0", [10, 1, 0, 2].into(), "fd01::2".parse().unwrap())?;
    inner.assign("eth0", [10, 2, 0, 2].into(), "fd02::2".parse().unwrap())?;
    router.assign("out", [10, 1, 0, 1].into(), "fd01::1".parse().unwrap())?;
    router.assign("in", [10, 2, 0, 1].into(), "fd02::1".parse().unwrap())?;
    client.ip("route add default via 10.1.0.1\nroute add default via fd01::1")?;
    inner.ip("route add default via 10.2.0.1\nroute add default via fd02::1")?;
    router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
    let there = Service::start(&inner, 7)?;
    client.wait_until_open(inner.at4(7), SOON)?;
    client.wait_until_open(inner.at6(7), SOON)?;
    drop(there);
    Ok(Routed { client, router, inner })
}

#[test]
fn what_a_router_passes_on_is_none_of_ours() -> io::Result<()> {
    let Routed { client, router, inner } = routed()?;
    let (_ssh, _own) = (Service::start(&inner, 22)?, Service::start(&router, 22)?);
    let _table = table_with(&router, &guarded([gate("ssh", "22/tcp")]));
    assert_eq!(client.probe(inner.at4(22)), PortState::Open);
    assert_eq!(client.probe(inner.at6(22)), PortState::Open);
    assert_eq!(client.probe((IpAddr::from([10, 1, 0, 1]), 22).into()), PortState::Filtered);
    assert_eq!(client.probe(router.at4(22)), PortState::Filtered);
    Ok(())
}

#[test]
fn a_published_port_is_guarded_as_the_client_sees_it() -> io::Result<()> {
    let Routed { client, router, inner } = routed()?;
    let _web = Service::start(&inner, 80)?;
    router.nft(
        "table inet nat {
            chain pre { type nat hook prerouting priority dstnat;
                fib daddr type local meta nfproto ipv4 tcp dport { 8080, 8081 } dnat ip to 10.2.0.2:80
            }
        }",
    )?;
    let mut table = table_with(&router, &guarded([cutting(gate("web", "8080/tcp"))]));
    let published = SocketAddr::from(([10, 1, 0, 1], 8080));
    assert_eq!(client.probe(published), PortState::Filtered);
    assert_eq!(client.probe(([10, 1, 0, 1], 8081).into()), PortState::Open);
    open(&mut table, "web", client.ip4(), None);
    let mut session = Session::open(&client, published)?;
    session.echo("through")?;
    close(&mut table, "web", client.ip4());
    assert!(session.echo("cut").is_err());
    assert_eq!(client.probe(published), PortState::Filtered);
    Ok(())
}

#[test]
fn a_flood_of_grants_is_for_their_addresses_alone() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    let mut table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    let door = crate::support::key("ssh");
    let changes: Vec<_> = (0..2_000_u32)
        .map(|number| IpAddr::V4((0x0b00_0000 + number).into()))
        .chain([client.ip4()])
        .map(|address| {
            knock_firewall::Change::Open(knock_firewall::Element {
                door: &door,
                network: knock_core::network::Network::host(address),
                left: Some(Duration::from_secs(600)),
            })
        })
        .collect();
    table.apply(&changes).unwrap();
    assert_eq!(table.elements().unwrap().len(), 2_001);
    assert_eq!(client.probe(server.at4(22)), PortState::Open);
    assert_eq!(client.probe(server.at6(22)), PortState::Filtered);
    Ok(())
}
