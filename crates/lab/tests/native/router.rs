//! A router: what it passes on is for other machines.

use std::io;
use std::net::SocketAddr;

use lab::{Host, PortState, Service, Session, connect};

use crate::support::{SOON, SSH, SSH_PORT, Scene, assert_shut, side_by_side};

/// The machine behind the router that a door is for, and another one, which is nobody's business.
const INNER: [&str; 2] = ["10.20.0.2", "fd20::2"];
const OTHER: [&str; 2] = ["10.20.0.3", "fd20::3"];

/// A network behind the server, which passes on to it.
struct Routed {
    scene: Scene,
    _inner: Host,
    _ssh: Service,
}

impl Routed {
    fn new() -> io::Result<Self> {
        let scene = Scene::new()?;
        let inner = Host::new("inner")?;
        connect(scene.server(), "in0", &inner, "eth0")?;
        scene
            .server()
            .ip("addr add 10.20.0.1/24 dev in0\naddr add fd20::1/64 dev in0 nodad\nlink set in0 up")?;
        scene.server().sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
        let addresses = INNER.iter().chain(&OTHER).map(|address| match address.contains(':') {
            true => format!("addr add {address}/64 dev eth0 nodad\n"),
            false => format!("addr add {address}/24 dev eth0\n"),
        });
        let routes = "link set eth0 up\nroute add default via 10.20.0.1\nroute add default via fd20::1";
        inner.ip(&(addresses.collect::<String>() + routes))?;
        let ssh = Service::start(&inner, SSH_PORT)?;
        let routed = Self { scene, _inner: inner, _ssh: ssh };
        side_by_side([at(INNER)?, at(OTHER)?].concat(), |target| {
            routed.scene.guest().wait_until_open(target, SOON)
        })?;
        Ok(routed)
    }
}

fn at(addresses: [&str; 2]) -> io::Result<Vec<SocketAddr>> {
    let parse = |address: &str| address.parse().map(|address| SocketAddr::new(address, SSH_PORT));
    addresses.into_iter().map(parse).collect::<Result<_, _>>().map_err(io::Error::other)
}

fn all_get_in(scene: &Scene, targets: &[SocketAddr]) {
    for target in targets {
        for host in [scene.guest(), scene.stranger()] {
            assert_eq!(host.probe(*target), PortState::Open, "{target} for {}", host.name());
        }
    }
}

/// A door's target is guarded and opened; the router itself and the machine beside are not touched.
pub(crate) fn a_door_to_a_machine_behind() -> io::Result<()> {
    let routed = Routed::new()?;
    let scene = &routed.scene;
    let beside = [at(OTHER)?, scene.ssh().to_vec()].concat();
    let doors: String =
        INNER.iter().map(|target| SSH.section(&format!("target = {target}\nopen = 22/tcp"))).collect();
    let _daemon = scene.knockd(&doors)?;
    let targets = at(INNER)?;
    scene.keeping_out(&targets, || {
        side_by_side(&targets, |target| {
            scene.assert_shut(*target);
            all_get_in(scene, &beside);
            // Knocks at the router itself are not for this door.
            scene.knock(if target.is_ipv4() { scene.server().ip4() } else { scene.server().ip6() }, &SSH)?;
            scene.assert_shut(*target);
            scene.knock(target.ip(), &SSH)?;
            scene.guest().wait_until_open(*target, SOON)?;
            let mut session = Session::open(scene.guest(), *target)?;
            scene.assert_closes(*target)?;
            all_get_in(scene, &beside);
            session.echo("still in")
        })
    })
}

pub(crate) fn what_is_passed_on_is_not_guarded() -> io::Result<()> {
    let routed = Routed::new()?;
    let scene = &routed.scene;
    let _daemon = scene.knockd(&SSH.section("open = 22/tcp"))?;
    let transit = [at(INNER)?, at(OTHER)?].concat();
    side_by_side(scene.ssh(), |target| {
        scene.assert_shut(target);
        all_get_in(scene, &transit);
        scene.knock(target.ip(), &SSH)?;
        scene.assert_opens(target)?;
        all_get_in(scene, &transit);
        scene.assert_closes(target)
    })?;
    // The router's other address is the machine's own as well.
    let inside = SocketAddr::new("10.20.0.1".parse().map_err(io::Error::other)?, SSH_PORT);
    assert_shut(&[scene.guest(), scene.stranger()], inside);
    Ok(())
}
