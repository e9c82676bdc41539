//! Ready-made networks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::host::{Host, connect};
use crate::wait::timed_out;

/// How long a new network may take until a datagram gets through.
const SETTLE: Duration = Duration::from_secs(5);
/// How long one datagram is waited for before the next is sent.
const RETRY: Duration = Duration::from_millis(10);

/// A server and its clients on one network, ready to talk. On each host the interface is `eth0`.
///
/// The server is 10.9.0.1/16 and fd09::1/64; the clients are 10.9.1.1, 10.9.1.2, ... and fd09::1:1, fd09::1:2, ...;
/// everything else a client routes to the server and the server to the first client, so that a further address on
/// either needs no route. In 10.9.0.0/16, what is not in 10.9.0.0/23 is free for a test's own addresses.
#[derive(Debug)]
pub struct Lab {
    server: Host,
    clients: Vec<Host>,
    /// Held for its bridge alone.
    _switch: Option<Host>,
}

impl Lab {
    /// One client and the server, joined by one cable.
    ///
    /// # Errors
    /// What making the hosts says, or `TimedOut` when nothing gets through.
    pub fn pair() -> io::Result<Self> {
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        connect(&client, "eth0", &server, "eth0")?;
        Self::address(server, vec![client], None)
    }

    /// `count` clients (1 to 250) and the server, joined by a switch.
    ///
    /// # Errors
    /// What making the hosts says, or `TimedOut` when nothing gets through.
    ///
    /// # Panics
    /// When `count` is not from 1 to 250.
    pub fn with_clients(count: u8) -> io::Result<Self> {
        assert!((1..=250).contains(&count), "a lab has 1 to 250 clients, not {count}");
        let switch = Host::new("switch")?;
        switch.ip("link add bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set bridge up")?;
        let server = plug(&switch, "server")?;
        let clients = (1..=count).map(|number| plug(&switch, &format!("client{number}")));
        let clients = clients.collect::<io::Result<_>>()?;
        Self::address(server, clients, Some(switch))
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Host {
        &self.server
    }

    /// The first client.
    #[must_use]
    pub fn client(&self) -> &Host {
        &self.clients[0]
    }

    /// All clients.
    #[must_use]
    pub fn clients(&self) -> &[Host] {
        &self.clients
    }

    fn address(mut server: Host, mut clients: Vec<Host>, switch: Option<Host>) -> io::Result<Self> {
        server.assign("eth0", Ipv4Addr::new(10, 9, 0, 1), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1))?;
        for (client, number) in clients.iter_mut().zip(1..) {
            let ip6 = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 1, number);
            let [_, last] = number.to_be_bytes();
            client.assign("eth0", Ipv4Addr::new(10, 9, 1, last), ip6)?;
            route(client, &server)?;
        }
        let lab = Self { server, clients, _switch: switch };
        route(&lab.server, lab.client())?;
        lab.settle()?;
        Ok(lab)
    }

    /// Sends datagrams until they get through: a new interface drops what comes before its queue is attached. It also
    /// leaves both ends with the other's hardware address, so that a test's first packet is the first packet.
    fn settle(&self) -> io::Result<()> {
        for client in &self.clients {
            reach(client, &self.server, self.server.ip4())?;
            reach(client, &self.server, self.server.ip6())?;
        }
        Ok(())
    }
}

/// A host with its `eth0` in the switch.
fn plug(switch: &Host, name: &str) -> io::Result<Host> {
    let host = Host::new(name)?;
    connect(switch, name, &host, "eth0")?;
    switch.ip(&format!("link set {name} master bridge\nlink set {name} up"))?;
    Ok(host)
}

fn route(host: &Host, by: &Host) -> io::Result<()> {
    host.ip(&format!("route add default via {}\nroute add default via {}", by.ip4(), by.ip6()))?;
    Ok(())
}

fn reach(from: &Host, to: &Host, address: IpAddr) -> io::Result<()> {
    let answering = to.run(|| UdpSocket::bind((address, 0)))?;
    let asking = from.run(|| UdpSocket::bind(unspecified(address)))?;
    answering.set_read_timeout(Some(RETRY))?;
    asking.set_read_timeout(Some(RETRY))?;
    let target = answering.local_addr()?;
    let deadline = Instant::now() + SETTLE;
    while Instant::now() < deadline {
        if exchange(&asking, &answering, target).is_ok() {
            return Ok(());
        }
    }
    Err(timed_out(&format!("nothing gets from {} to {address}", from.name())))
}

fn exchange(asking: &UdpSocket, answering: &UdpSocket, target: SocketAddr) -> io::Result<()> {
    let mut byte = [0];
    asking.send_to(&byte, target)?;
    let (_, sender) = answering.recv_from(&mut byte)?;
    answering.send_to(&byte, sender)?;
    asking.recv(&mut byte)?;
    Ok(())
}

fn unspecified(like: IpAddr) -> SocketAddr {
    match like {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
