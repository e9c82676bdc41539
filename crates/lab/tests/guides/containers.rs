//! Ports that containers publish, and the daemon as a container.

use std::io;

use lab::{Host, PortState, Service, connect, wait_until};

use crate::block::{blocks_of, text_of};
use crate::place::Place;
use crate::town::{SOON, Town, lab};
use crate::walk::Walk;

/// Docker's rules for a container's port 80 that is published as 8080, by IPv4; and what its manual advises to whoever
/// wants no published port open to the world.
const DOCKER: &str = "
    i='iptables -w'
    $i -t nat -N DOCKER
    $i -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
    $i -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
    $i -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
    $i -N DOCKER
    $i -N DOCKER-USER
    $i -P FORWARD DROP
    $i -A FORWARD -j DOCKER-USER
    $i -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $i -A FORWARD -o docker0 -j DOCKER
    $i -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
    $i -A DOCKER -d 172.17.0.2 ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
    $i -A DOCKER-USER -j RETURN
";
const CLOSED_BY_THE_USER: &str = "
    iptables -w -F DOCKER-USER
    iptables -w -A DOCKER-USER -i eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables -w -A DOCKER-USER -i eth0 -j DROP
";

#[test]
fn a_published_port_has_a_door() -> io::Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let town = Town::with_service(&lab)?;
    let mut walk = Walk::through("docs/containers.md", &town)?;
    let (container, server) = (Host::new("container")?, &town.server);
    let _web = publish(server, &container)?;
    let published = [server.host().at4(8080), server.host().at6(8080)];
    let states = |town: &Town<'_>| published.map(|target| town.probe(target));
    let (open, guarded) = ([PortState::Open; 2], [PortState::Filtered; 2]);
    town.make_package_s_door()?;
    server.sh("systemctl start knockd")?;
    assert_eq!(states(&town), open);

    walk.step("knockctl new-door web")?;
    walk.sequence("40213,7718:udp,25001,31337:udp", "web")?;
    assert_eq!(states(&town), guarded);
    walk.step("knock -d 100 --verify 8080")?;
    // By the family that the client takes.
    assert_eq!(states(&town), [PortState::Filtered, PortState::Open]);
    walk.step("knockctl confirm")?;

    server.sh(CLOSED_BY_THE_USER)?;
    let is_told = || server.sh("iptables -S DOCKER-USER").is_ok_and(|rules| rules.contains("0x10000000"));
    wait_until("the rule in DOCKER-USER", SOON, is_told)?;
    let rules = walk.step("iptables -S DOCKER-USER")?;
    assert!(rules.lines().nth(1).is_some_and(|rule| rule.contains("0x10000000")), "{rules}");
    let sequence = town.sequence("web")?.replace(',', " ");
    town.client.sh(&format!("knock --both server.example.org {sequence} -d 20"))?;
    wait_until("a published port that opens", SOON, || states(&town) == open)?;

    // From the container the machine's own guarded port is guarded, too.
    assert_eq!(container.probe(([172, 17, 0, 1], 22).into()), PortState::Filtered);

    for part in ["podman build", "podman run"] {
        walk.elsewhere("sh podman", part);
    }
    walk.end();
    Ok(())
}

fn publish(server: &Place<'_>, container: &Host) -> io::Result<[Service; 2]> {
    connect(server.host(), "docker0", container, "eth0")?;
    server.host().ip("addr add 172.17.0.1/16 dev docker0\nlink set docker0 up")?;
    container.ip("addr add 172.17.0.2/16 dev eth0\nlink set eth0 up\nroute add default via 172.17.0.1")?;
    server.sh("sysctl -qw net.ipv4.ip_forward=1")?;
    server.sh(DOCKER)?;
    // By IPv6 a process of Docker's listens and passes on, as the container has none.
    let proxy = Service::bind(server.host(), server.host().at6(8080))?;
    Ok([Service::start(container, 80)?, proxy])
}

/// The commands are those that stand beside what is built.
#[test]
fn the_daemon_in_a_container_is_started_as_the_file_says() -> io::Result<()> {
    let file = text_of("packaging/oci/Containerfile")?;
    let remarks: Vec<_> = file.lines().filter_map(|line| line.strip_prefix('#')).map(str::trim).collect();
    let blocks = blocks_of("docs/containers.md")?;
    let lines = blocks.iter().filter(|block| block.mark == "sh podman").flat_map(|block| block.text.lines());
    let lines: Vec<_> = lines.map(str::trim).collect();
    assert!(lines.len() >= 6, "{lines:?}");
    for line in lines {
        assert!(remarks.contains(&line), "packaging/oci/Containerfile has no {line}");
    }
    Ok(())
}
