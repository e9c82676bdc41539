//! Ports of containers, published as Docker does it: passed on to a host of its own, behind rules of iptables.

use std::io;
use std::net::SocketAddr;

use lab::{Host, PortState, Service, connect, has_tool};

use crate::life;
use crate::support::{SOON, Scene, skip};

/// Docker's rules for a container whose port 80 is published as 8080.
fn docker(iptables: &str, address: &str, network: &str) -> String {
    let destination = if address.contains(':') { format!("[{address}]:80") } else { format!("{address}:80") };
    let loopback = if address.contains(':') { "::1/128" } else { "127.0.0.0/8" };
    format!(
        "i='{iptables} -w'
        $i -t nat -N DOCKER
        $i -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
        $i -t nat -A OUTPUT ! -d {loopback} -m addrtype --dst-type LOCAL -j DOCKER
        $i -t nat -A POSTROUTING -s {network} ! -o docker0 -j MASQUERADE
        $i -t nat -A DOCKER -i docker0 -j RETURN
        $i -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination {destination}
        for chain in DOCKER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 DOCKER-USER; do $i -N $chain; done
        $i -P FORWARD DROP
        $i -A FORWARD -j DOCKER-USER
        $i -A FORWARD -j DOCKER-ISOLATION-STAGE-1
        $i -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        $i -A FORWARD -o docker0 -j DOCKER
        $i -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
        $i -A FORWARD -i docker0 -o docker0 -j ACCEPT
        $i -A DOCKER -d {address} ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
        $i -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
        $i -A DOCKER-ISOLATION-STAGE-1 -j RETURN
        $i -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
        $i -A DOCKER-ISOLATION-STAGE-2 -j RETURN
        $i -A DOCKER-USER -j RETURN
        "
    )
}

/// What Docker's manual advises to whoever wants no published port open to the world.
fn closed_by_the_user(iptables: &str) -> String {
    format!(
        "{iptables} -w -F DOCKER-USER
        {iptables} -w -A DOCKER-USER -i eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        {iptables} -w -A DOCKER-USER -i eth0 -j DROP
        "
    )
}

/// A server with a container on it.
struct Published {
    scene: Scene,
    _container: Host,
    _web: Service,
}

impl Published {
    fn new(iptables: [&str; 2]) -> io::Result<Self> {
        let scene = Scene::new()?;
        let container = Host::new("container")?;
        let server = scene.server();
        connect(server, "docker0", &container, "eth0")?;
        server.ip(
            "addr add 172.17.0.1/16 dev docker0\naddr add fd17::1/64 dev docker0 nodad\nlink set docker0 up",
        )?;
        container
            .ip("addr add 172.17.0.2/16 dev eth0\naddr add fd17::2/64 dev eth0 nodad\nlink set eth0 up
             route add default via 172.17.0.1\nroute add default via fd17::1")?;
        server.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
        let [v4, v6] = iptables;
        server.sh(&docker(v4, "172.17.0.2", "172.17.0.0/16"))?;
        server.sh(&docker(v6, "fd17::2", "fd17::/64"))?;
        let web = Service::start(&container, 80)?;
        let published = Self { scene, _container: container, _web: web };
        let stranger = published.scene.stranger();
        for target in published.targets() {
            stranger.wait_until_port(target, PortState::Open, SOON)?;
        }
        Ok(published)
    }

    fn targets(&self) -> [SocketAddr; 2] {
        [self.scene.server().at4(8080), self.scene.server().at6(8080)]
    }
}

const ON_NFTABLES: [&str; 2] = ["iptables-nft", "ip6tables-nft"];
const LEGACY: [&str; 2] = ["iptables-legacy", "ip6tables-legacy"];

/// Docker itself lets everybody in: the guard is what keeps them out.
pub(crate) fn a_published_port() -> io::Result<()> {
    let published = Published::new(ON_NFTABLES)?;
    let mut daemon = published.scene.knockd(&life::doors("8080/tcp", ""))?;
    life::play(&published.scene, &mut daemon, &published.targets())
}

pub(crate) fn a_published_port_that_the_user_has_closed() -> io::Result<()> {
    let published = Published::new(ON_NFTABLES)?;
    for iptables in ON_NFTABLES {
        published.scene.server().sh(&closed_by_the_user(iptables))?;
    }
    let mut daemon = published.scene.knockd(&life::doors("8080/tcp", ""))?;
    life::play(&published.scene, &mut daemon, &published.targets())?;
    let listed =
        published.scene.server().sh("iptables-nft -S DOCKER-USER; iptables-nft-save; ip6tables-nft-save")?;
    assert!(listed.contains("-A DOCKER-USER -m mark --mark 0x10000000/0x10000000"), "{listed}");
    Ok(())
}

pub(crate) fn a_published_port_by_iptables_legacy() -> io::Result<()> {
    if !has_tool("iptables-legacy") || Scene::new()?.server().sh("iptables-legacy -w -t nat -L").is_err() {
        skip("this kernel has no iptables-legacy");
        return Ok(());
    }
    let published = Published::new(LEGACY)?;
    for iptables in LEGACY {
        published.scene.server().sh(&closed_by_the_user(iptables))?;
    }
    let mut daemon = published.scene.knockd(&life::doors("8080/tcp", ""))?;
    life::play(&published.scene, &mut daemon, &published.targets())
}
