//! What `nft` shows of our table, and what it makes of it.

use std::io;
use std::time::Duration;

use knock_core::config::DoorKey;
use knock_core::network::Network;
use knock_firewall::Element;
use lab::Host;

use crate::support::{at, cutting, gate, guarded, key, table, unguarded, widened};

/// As `nft` lists it, without what differs from run to run.
fn listed(host: &Host) -> io::Result<String> {
    host.sh("nft list table inet knockd | sed -E 's/ expires [0-9a-z]+//'")
}

#[test]
fn the_table_reads_well() -> io::Result<()> {
    let host = Host::new("server")?;
    let doors = [
        gate("ssh", "22/tcp"),
        cutting(widened(gate("mosh", "22/tcp, 60000-61000/udp"), 24, 56)),
        at(gate("web", "80/tcp"), "10.9.0.7".parse().unwrap()),
    ];
    let grant = Element {
        door: &key("ssh"),
        network: "192.0.2.7".parse().unwrap(),
        left: Some(Duration::from_secs(3600)),
    };
    let forever = Element { left: None, network: "2001:db8::7".parse().unwrap(), ..grant };
    let mut table = table(&host);
    table.replace(&guarded(doors), &[grant, forever]).unwrap();
    let listing = listed(&host)?;
    assert_eq!(listing, include_str!("listing.nft"), "{listing}");
    Ok(())
}

#[test]
fn nft_reads_what_it_lists() -> io::Result<()> {
    let host = Host::new("server")?;
    let mut table = table(&host);
    let names =
        ["ssh", "a b", "1", "\"quoted\"", "line\nbreak", "ümläut", "", "add", "-", "x_v4", "$(reboot)"];
    let mut doors: Vec<_> = names.iter().map(|name| gate(name, "22/tcp, 5000-5010/udp")).collect();
    doors.extend((1..4).map(|namesake| {
        let mut door = gate("ssh", "443/tcp");
        door.door.namesake = namesake;
        door
    }));
    doors.push(gate(&"long".repeat(100), "22/tcp"));
    doors.push(at(cutting(gate("target", "1-65535/tcp")), "2001:db8::1".parse().unwrap()));
    for layout in [guarded(doors.clone()), unguarded(doors)] {
        table.replace(&layout, &[]).unwrap();
        let before = listed(&host)?;
        host.sh("nft list ruleset > /dev/null; nft list ruleset | sed '1i flush ruleset' | nft -f -")?;
        assert_eq!(listed(&host)?, before);
    }
    Ok(())
}

#[test]
fn grants_are_told() -> io::Result<()> {
    let host = Host::new("server")?;
    let mut table = table(&host);
    let namesake = DoorKey { name: "ssh".into(), namesake: 1 };
    let mut second = gate("ssh", "23/tcp");
    second.door = namesake.clone();
    let network: Network = "192.0.2.0/24".parse().unwrap();
    let elements = [
        Element { door: &key("ssh"), network, left: None },
        Element {
            door: &namesake,
            network: "2001:db8::7".parse().unwrap(),
            left: Some(Duration::from_secs(60)),
        },
    ];
    table.replace(&guarded([widened(gate("ssh", "22/tcp"), 24, 64), second]), &elements).unwrap();
    let mut found = table.elements().unwrap();
    found.sort();
    let [(first, address, None), (other, other_address, Some(left))] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((first, *address), (&key("ssh"), network.address()));
    assert_eq!((other, *other_address), (&namesake, "2001:db8::7".parse().unwrap()));
    assert!((Duration::from_secs(50)..=Duration::from_secs(60)).contains(left), "{left:?}");
    Ok(())
}
