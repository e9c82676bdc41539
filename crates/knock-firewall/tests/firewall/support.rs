//! Hosts with our table, and doors for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use knock_core::config::{DEFAULT_MARK, DoorKey, Established, Native, PortRange, Widen};
use knock_core::knock::Protocol;
use knock_core::network::Network;
use knock_firewall::{Change, Element, Gate, Layout, Table};
use lab::{Host, wait_until};

pub(crate) const SOON: Duration = Duration::from_secs(5);

pub(crate) fn key(name: &str) -> DoorKey {
    DoorKey { name: name.into(), namesake: 0 }
}

/// A door that opens ports such as `22/tcp, 60000-61000/udp`.
pub(crate) fn gate(name: &str, ports: &str) -> Gate {
    let native = Native {
        ports: ports.split(", ").map(range).collect(),
        open_for: None,
        established: Established::Keep,
        widen: Widen::default(),
    };
    Gate { door: key(name), native, target: None }
}

pub(crate) fn cutting(mut gate: Gate) -> Gate {
    gate.native.established = Established::Cut;
    gate
}

pub(crate) fn widened(mut gate: Gate, v4: u8, v6: u8) -> Gate {
    gate.native.widen = Widen { v4, v6 };
    gate
}

pub(crate) fn at(mut gate: Gate, target: IpAddr) -> Gate {
    gate.target = Some(target);
    gate
}

fn range(text: &str) -> PortRange {
    let (ports, protocol) = text.split_once('/').unwrap();
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let protocol = if protocol == "tcp" { Protocol::Tcp } else { Protocol::Udp };
    PortRange { protocol, first: first.parse().unwrap(), last: last.parse().unwrap() }
}

pub(crate) fn guarded(gates: impl IntoIterator<Item = Gate>) -> Layout {
    Layout { gates: gates.into_iter().collect(), mark: DEFAULT_MARK, guard: true }
}

pub(crate) fn unguarded(gates: impl IntoIterator<Item = Gate>) -> Layout {
    Layout { guard: false, ..guarded(gates) }
}

/// A table on a host.
pub(crate) fn table(host: &Host) -> Table {
    host.run(|| Table::open().unwrap())
}

/// The same, with this layout and no grants.
pub(crate) fn table_with(host: &Host, layout: &Layout) -> Table {
    let mut table = table(host);
    table.replace(layout, &[]).unwrap();
    table
}

pub(crate) fn open(table: &mut Table, door: &str, address: IpAddr, left: Option<Duration>) {
    open_network(table, door, Network::host(address), left);
}

pub(crate) fn open_network(table: &mut Table, door: &str, network: Network, left: Option<Duration>) {
    table.apply(&[Change::Open(Element { door: &key(door), network, left })]).unwrap();
}

pub(crate) fn close(table: &mut Table, door: &str, address: IpAddr) {
    table.apply(&[Change::Close { door: &key(door), network: Network::host(address) }]).unwrap();
}

/// What comes to some UDP ports of a host.
pub(crate) struct Mailbox {
    socket: UdpSocket,
}

impl Mailbox {
    pub(crate) fn open(host: &Host, port: u16) -> io::Result<Self> {
        let socket = host.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    pub(crate) fn count(&self) -> usize {
        std::iter::from_fn(|| self.socket.recv_from(&mut [0; 64]).ok()).count()
    }

    pub(crate) fn wait(&self) -> io::Result<()> {
        wait_until("a datagram", SOON, || self.count() > 0)
    }
}

/// Sends a datagram from a fresh port.
pub(crate) fn datagram(from: &Host, to: SocketAddr) -> io::Result<()> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = from.run(|| UdpSocket::bind((any, 0)))?;
    socket.set_broadcast(true)?;
    socket.send_to(b"x", to).map(drop)
}
