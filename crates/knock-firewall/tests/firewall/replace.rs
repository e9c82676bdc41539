//! The table as a whole: put in place, kept, watched, removed.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use knock_core::network::Network;
use knock_firewall::{Change, Changes, Element, Monitor, Reason};
use lab::{Host, Lab, PortState, Service, wait_until};

use crate::support::{Mailbox, SOON, cutting, gate, guarded, key, open, table, table_with, unguarded};

fn element(door: &knock_core::config::DoorKey, address: IpAddr) -> Element<'_> {
    Element { door, network: Network::host(address), left: Some(Duration::from_secs(600)) }
}

#[test]
fn a_hundred_thousand_grants_and_two_thousand_doors_fit() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _service = Service::start(server, 3999)?;
    let doors: Vec<_> =
        (0..2_000).map(|number| gate(&format!("door{number}"), &format!("{}/tcp", 2_000 + number))).collect();
    let addresses = (0..50_000_u32).flat_map(|number| {
        let v6 = std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(number));
        [IpAddr::V4((0x0b00_0000 + number).into()), v6.into()]
    });
    let elements: Vec<_> = addresses
        .chain([client.ip4()])
        .enumerate()
        .map(|(number, address)| element(&doors[(number + 1_999) % 2_000].door, address))
        .collect();
    let mut table = table(server);
    table.replace(&guarded(doors.clone()), &elements).unwrap();
    assert!(table.is_intact().unwrap());
    assert_eq!(table.elements().unwrap().len(), 100_001);
    assert_eq!(client.probe(server.at4(3999)), PortState::Open, "the last door");
    assert_eq!(client.probe(server.at6(3999)), PortState::Filtered);
    Ok(())
}

#[test]
fn replacing_leaves_no_gap() -> io::Result<()> {
    let lab = Lab::with_clients(2)?;
    let (server, [friend, stranger]) = (lab.server(), lab.clients()) else { unreachable!() };
    let doors = [gate("udp", "5000/udp"), cutting(gate("other", "5002/udp"))];
    let (udp, layout) = (key("udp"), guarded(doors.clone()));
    let grants = [element(&udp, friend.ip4())];
    let mut table = table(server);
    table.replace(&layout, &grants).unwrap();
    let service = server.run(|| UdpSocket::bind("0.0.0.0:5000"))?;
    service.set_read_timeout(Some(Duration::from_millis(20)))?;
    let (going, from_friend, from_stranger) =
        (AtomicBool::new(true), AtomicUsize::new(0), AtomicUsize::new(0));
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in [friend, stranger] {
            let (going, sent) = (&going, &sent);
            scope.spawn(move || {
                client.enter();
                while going.load(Ordering::Relaxed) {
                    // A new connection each, so that the guard sees it.
                    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                    socket.send_to(b"x", server.at4(5000)).unwrap();
                    sent.fetch_add(usize::from(client.ip4() == friend.ip4()), Ordering::Relaxed);
                    thread::sleep(Duration::from_micros(200));
                }
            });
        }
        scope.spawn(|| {
            loop {
                match service.recv_from(&mut [0; 8]) {
                    Ok((_, source)) if source.ip() == friend.ip4() => {
                        from_friend.fetch_add(1, Ordering::Relaxed)
                    }
                    Ok(_) => from_stranger.fetch_add(1, Ordering::Relaxed),
                    Err(_) if going.load(Ordering::Relaxed) => 0,
                    Err(_) => return,
                };
            }
        });
        for number in 0..200 {
            let layout = if number % 2 == 0 { guarded([doors[0].clone()]) } else { layout.clone() };
            table.replace(&layout, &grants).unwrap();
        }
        going.store(false, Ordering::Relaxed);
    });
    assert_eq!(from_stranger.into_inner(), 0);
    assert_eq!(from_friend.into_inner(), sent.into_inner(), "every datagram of the granted address has come");
    Ok(())
}

#[test]
fn whatever_was_there_is_replaced() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    let layout = guarded([gate("ssh", "22/tcp")]);
    let others = [
        "table inet knockd { flags dormant; }",
        "table inet knockd { chain doors { type filter hook input priority 7; policy drop; }; }",
        "table inet knockd { chain doors { jump far; }; chain far { drop; }; }",
        "table inet knockd { map m { type inet_service : verdict; elements = { 22 : jump far }; }
            chain far { tcp dport vmap @m; }; chain more { type filter hook output priority 0; policy drop; }; }",
        "table inet knockd { set ssh_v4 { type ipv6_addr; flags interval; }; counter c { packets 0 bytes 0; }; }",
        "table inet knockd { set s { type ipv4_addr; flags dynamic; };
            chain doors { type filter hook prerouting priority mangle; add @s { ip saddr }; }; }",
    ];
    for other in others {
        server.nft(&format!("flush ruleset; {other}"))?;
        let mut table = table(server);
        table.replace(&layout, &[]).unwrap_or_else(|error| panic!("{other}: {error}"));
        assert!(table.is_intact().unwrap(), "{other}");
        assert_eq!(client.probe(server.at4(22)), PortState::Filtered, "{other}");
        open(&mut table, "ssh", client.ip4(), None);
        assert_eq!(client.probe(server.at4(22)), PortState::Open, "{other}");
    }
    Ok(())
}

#[test]
fn changes_by_others_are_noticed() -> io::Result<()> {
    let host = Host::new("server")?;
    let mut table = table(&host);
    let monitor = host.run(|| Monitor::open(table.port()).unwrap());
    let layout = guarded([gate("ssh", "22/tcp")]);
    assert!(!table.is_intact().unwrap(), "there is none yet");
    let changes = [
        "nft delete table inet knockd",
        "nft flush ruleset",
        "nft flush chain inet knockd tcp_22",
        "nft add rule inet knockd doors accept",
        "nft insert rule inet knockd doors accept",
        "nft delete rule inet knockd doors handle $(nft -a list chain inet knockd doors | sed -n 's/.*jump.*handle //p')",
        "nft add set inet knockd more '{ type ipv4_addr; }'",
        "nft add table inet knockd '{ flags dormant; }'",
    ];
    for change in changes {
        table.replace(&layout, &[]).unwrap();
        open(&mut table, "ssh", [192, 0, 2, 7].into(), None);
        assert!(table.is_intact().unwrap());
        assert_eq!(monitor.changes(), Changes::default(), "our own changes are no news");
        host.sh(change)?;
        assert!(!table.is_intact().unwrap(), "{change}");
        assert!(monitor.changes().ours, "{change}");
    }
    table.replace(&layout, &[]).unwrap();
    let _ = monitor.changes();
    host.nft("table ip other { set s { type ipv4_addr; }; chain c { accept; }; }")?;
    assert_eq!(monitor.changes(), Changes { others: true, ..Changes::default() });
    host.nft("add element ip other s { 192.0.2.7 }")?;
    assert_eq!(monitor.changes(), Changes::default(), "elements of others are none of ours");
    host.nft("add element inet knockd ssh_v4 { 192.0.2.7 }")?;
    assert_eq!(monitor.changes(), Changes { ours: true, ..Changes::default() });
    assert!(table.is_intact().unwrap());
    Ok(())
}

#[test]
fn word_that_gets_lost_is_told_of() -> io::Result<()> {
    let host = Host::new("server")?;
    let mut table = table(&host);
    let monitor = host.run(|| Monitor::open(table.port()).unwrap());
    let doors: Vec<_> =
        (0..500).map(|number| gate(&format!("d{number}"), &format!("{}/tcp", 1_000 + number))).collect();
    for _ in 0..40 {
        table.replace(&guarded(doors.clone()), &[]).unwrap();
    }
    let Changes { ours, lost, .. } = monitor.changes();
    assert!(lost && !ours, "all of it was our own");
    assert!(table.is_intact().unwrap());
    assert_eq!(monitor.changes(), Changes::default());
    Ok(())
}

#[test]
fn the_table_goes_when_it_is_told_to() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    let mut table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    assert_eq!(client.probe(server.at4(22)), PortState::Filtered);
    table.remove().unwrap();
    table.remove().unwrap();
    assert_eq!(client.probe(server.at4(22)), PortState::Open);
    assert_eq!(server.sh("nft list ruleset")?, "");
    Ok(())
}

#[test]
fn a_grant_without_its_table_is_an_error() -> io::Result<()> {
    let host = Host::new("server")?;
    let mut table = table_with(&host, &guarded([gate("ssh", "22/tcp")]));
    let (ssh, web) = (key("ssh"), key("web"));
    let address = IpAddr::from([192, 0, 2, 7]);
    let error = table.apply(&[Change::Open(element(&web, address))]).unwrap_err();
    assert!(matches!(error.reason(), Reason::UnknownDoor(door) if *door == web), "{error}");
    let error = table.replace(&unguarded([]), &[element(&ssh, address)]).unwrap_err();
    assert!(matches!(error.reason(), Reason::UnknownDoor(_)), "{error}");
    host.sh("nft flush ruleset")?;
    let error = table.apply(&[Change::Open(element(&ssh, address))]).unwrap_err();
    assert_eq!(error.errno(), Some(2), "{error}");
    assert!(
        error.to_string().starts_with("cannot open or close doors in the table inet knockd: "),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_reload_while_somebody_else_works_gets_through() -> io::Result<()> {
    let host = Host::new("server")?;
    let mut table = table(&host);
    let going = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            while going.load(Ordering::Relaxed) {
                // Fails where there is no table to add to.
                let _ = host.sh("nft add chain inet knockd more; nft flush table inet knockd; nft add set inet knockd s '{ type ipv4_addr; }'");
            }
        });
        for _ in 0..100 {
            table.replace(&guarded([gate("ssh", "22/tcp")]), &[]).unwrap();
        }
        going.store(false, Ordering::Relaxed);
    });
    table.replace(&guarded([gate("ssh", "22/tcp")]), &[]).unwrap();
    wait_until("the table is as it should be", SOON, || table.is_intact().unwrap())
}

#[test]
fn an_unprivileged_process_is_told_what_it_needs() -> io::Result<()> {
    let lab = Lab::pair()?;
    let _mailbox = Mailbox::open(lab.server(), 5000)?;
    let result = lab.server().run(|| {
        // Of this thread alone.
        rustix::thread::set_capabilities(
            None,
            rustix::thread::CapabilitySets {
                effective: rustix::thread::CapabilitySet::empty(),
                permitted: rustix::thread::CapabilitySet::empty(),
                inheritable: rustix::thread::CapabilitySet::empty(),
            },
        )
        .unwrap();
        knock_firewall::Table::open().unwrap().replace(&guarded([gate("ssh", "22/tcp")]), &[])
    });
    let error = result.unwrap_err();
    assert!(matches!(error.reason(), Reason::Denied), "{error}");
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    Ok(())
}
