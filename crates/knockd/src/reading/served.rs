//! Whether this host serves something where a packet goes.
//!
//! A packet to what is served does not tell a scanner from a knocker: a browser, a VPN or a second `ssh` of the knocker's
//! goes there as well, and datagrams of a flow look like any others. So they spoil nothing; those to all other ports do.

mod tables;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::time::Duration;

use knock_core::config::PortRange;
use knock_core::knock::{Knock, Protocol};
use knock_core::sequence::Step;
use knock_core::time::Timestamp;
use knock_linux::sockets::Sockets;

use crate::pace::Pace;
use tables::Tables;

/// How long a flow of packets that is served counts as served: a knocker's VPN sends thousands a second.
const FRESH: Duration = Duration::from_secs(1);
/// How many flows are remembered.
const FLOWS: usize = 256;
/// How many ports of doors count as served, whether or not something is there: with very many of them nothing would be
/// left that spoils.
const DOORS: usize = 2000;
/// In a flood the kernel is asked once in so long: an answer costs it some microseconds.
const PAUSE: Duration = Duration::from_micros(100);
/// How often it may be asked at once.
const AT_ONCE: u32 = 100;

/// What is served, looked up when it is asked for.
pub(crate) struct Served {
    /// The ports of native doors: what they let in may be served by another host.
    doors: Vec<PortRange>,
    flows: HashMap<Flow, Timestamp>,
    lookup: Lookup,
    pace: Pace,
}

/// Packets from one socket to another.
type Flow = (Protocol, SocketAddr, SocketAddr);

/// How sockets are found.
enum Lookup {
    /// The one that would take the packet.
    Kernel(Sockets),
    /// Any that has its port, where the kernel does not tell that one.
    Tables(Tables),
}

impl Served {
    /// Asks the kernel if it can be asked.
    pub(crate) fn new(doors: Vec<PortRange>) -> Self {
        let lookup = Sockets::open().map_or_else(|_| Lookup::Tables(Tables::open()), Lookup::Kernel);
        Self { doors: bounded(doors), flows: HashMap::new(), lookup, pace: Pace::new(PAUSE, AT_ONCE) }
    }

    /// The descriptor of the socket through which the kernel is asked.
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        match &self.lookup {
            Lookup::Kernel(sockets) => Some(sockets.as_fd().as_raw_fd()),
            Lookup::Tables(_) => None,
        }
    }

    /// These ports of doors count from now on.
    pub(crate) fn set_doors(&mut self, doors: Vec<PortRange>) {
        self.doors = bounded(doors);
    }

    /// Whether something serves this packet, which has come in on the interface with this index. Where the kernel was
    /// asked too often or does not answer, nothing does: the strict side.
    pub(crate) fn contains(&mut self, knock: &Knock, interface: u32, now: Timestamp) -> bool {
        let step = knock.step;
        if self.doors.iter().any(|range| range.contains(step.protocol, step.port)) {
            return true;
        }
        let flow = (step.protocol, knock.from(), knock.to());
        if self.flows.get(&flow).is_some_and(|found| now.since(*found) < FRESH) {
            return true;
        }
        let found = self.find(flow, interface, now);
        if found {
            if self.flows.len() >= FLOWS {
                self.flows.clear();
            }
            self.flows.insert(flow, now);
        }
        found
    }

    fn find(&mut self, (protocol, from, to): Flow, interface: u32, now: Timestamp) -> bool {
        match &mut self.lookup {
            Lookup::Tables(tables) => tables.contain(Step { port: to.port(), protocol }, now),
            Lookup::Kernel(_) if self.pace.wait(now).is_some() => false,
            Lookup::Kernel(sockets) => {
                self.pace.done(now);
                sockets.take(protocol, from, to, interface).unwrap_or(false)
            }
        }
    }
}

/// Smaller ranges first, as many as fit.
fn bounded(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    let size = |range: &PortRange| usize::from(range.last.saturating_sub(range.first)) + 1;
    ranges.sort_by_key(|range| (size(range), *range));
    ranges.dedup();
    let mut ports = 0;
    ranges.retain(|range| {
        ports += size(range);
        ports <= DOORS
    });
    ranges
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use knock_core::knock::TcpFlags;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5000);
    /// When what was found is forgotten.
    const LATER: Timestamp = Timestamp::from_millis(6000);
    /// The loopback interface's index, in every network namespace.
    const LOOPBACK: u32 = 1;

    fn packet(protocol: Protocol, from: SocketAddr, to: SocketAddr) -> Knock {
        Knock {
            source: from.ip(),
            destination: to.ip(),
            step: Step { port: to.port(), protocol },
            flags: TcpFlags::default(),
            fingerprint: u64::from(from.port()) << 48,
        }
    }

    fn at(address: &str, port: u16) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), port)
    }

    /// Whether a packet from some port of the same host is served.
    fn serves(served: &mut Served, protocol: Protocol, to: SocketAddr) -> bool {
        serves_at(NOW, served, protocol, to)
    }

    fn serves_at(now: Timestamp, served: &mut Served, protocol: Protocol, to: SocketAddr) -> bool {
        served.contains(&packet(protocol, SocketAddr::new(to.ip(), 9), to), LOOPBACK, now)
    }

    #[test]
    fn knows_what_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (tcp, udp) = (listener.local_addr().unwrap(), socket.local_addr().unwrap());
        let mut served = Served::new(Vec::new());
        assert!(serves(&mut served, Protocol::Tcp, tcp) && serves(&mut served, Protocol::Udp, udp));
        assert!(!serves(&mut served, Protocol::Udp, tcp) && !serves(&mut served, Protocol::Tcp, udp));
        assert!(!serves(&mut served, Protocol::Tcp, at("127.0.0.2", tcp.port())), "another address");
        assert!(!serves(&mut served, Protocol::Udp, at("127.0.0.1", udp.port())), "another family");
        let own = connected.local_addr().unwrap();
        assert!(!serves(&mut served, Protocol::Tcp, own), "a connection serves nothing");
        drop((listener, socket, connected));
        assert!(serves(&mut served, Protocol::Tcp, tcp), "found of late");
        assert!(!serves_at(LATER, &mut served, Protocol::Tcp, tcp));
        assert!(!serves_at(LATER, &mut served, Protocol::Udp, udp));
    }

    #[test]
    fn knows_what_listens_at_all_addresses_of_both_families() {
        let (listener, socket) = (TcpListener::bind("[::]:0").unwrap(), UdpSocket::bind("[::]:0").unwrap());
        let (tcp, udp) = (listener.local_addr().unwrap().port(), socket.local_addr().unwrap().port());
        let mut served = Served::new(Vec::new());
        for address in ["127.0.0.1", "127.0.0.2", "::1"] {
            assert!(serves(&mut served, Protocol::Tcp, at(address, tcp)), "{address}");
            assert!(serves(&mut served, Protocol::Udp, at(address, udp)), "{address}");
        }
    }

    #[test]
    fn knows_who_waits_for_an_answer() {
        for host in ["127.0.0.1", "::1"] {
            let (asking, asked) = (UdpSocket::bind(at(host, 0)).unwrap(), at(host, 53));
            asking.connect(asked).unwrap();
            let own = asking.local_addr().unwrap();
            let mut served = Served::new(Vec::new());
            assert!(served.contains(&packet(Protocol::Udp, asked, own), LOOPBACK, NOW));
            assert!(
                !served.contains(&packet(Protocol::Udp, at(host, 54), own), LOOPBACK, NOW),
                "nobody asked"
            );
            drop(asking);
            assert!(!served.contains(&packet(Protocol::Udp, asked, own), LOOPBACK, LATER));
        }
    }

    #[test]
    fn in_a_flood_nothing_is_served_beyond_what_may_be_asked() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        let mut served = Served::new(Vec::new());
        let from = |port: u32| packet(Protocol::Udp, at("127.0.0.1", 1000 + port as u16), to);
        let answers: Vec<_> = (0..=AT_ONCE).map(|port| served.contains(&from(port), LOOPBACK, NOW)).collect();
        assert_eq!(answers.iter().filter(|served| **served).count(), AT_ONCE as usize);
        assert!(!served.contains(&from(AT_ONCE), LOOPBACK, NOW));
        assert!(served.contains(&from(0), LOOPBACK, NOW), "this flow is known");
        assert!(served.contains(&from(AT_ONCE), LOOPBACK, NOW + PAUSE));
    }

    #[test]
    fn knows_what_doors_open() {
        let range = PortRange { protocol: Protocol::Udp, first: 61_000, last: 61_002 };
        let mut served = Served::new(vec![range]);
        let to = at("192.0.2.1", 61_001);
        assert!(serves(&mut served, Protocol::Udp, to) && !serves(&mut served, Protocol::Tcp, to));
        served.set_doors(Vec::new());
        assert!(!serves(&mut served, Protocol::Udp, to));
        let all = PortRange { protocol: Protocol::Udp, first: 1, last: u16::MAX };
        served.set_doors(vec![all, range]);
        assert!(serves(&mut served, Protocol::Udp, to));
        assert!(!serves(&mut served, Protocol::Udp, at("192.0.2.1", 7)), "too many");
    }
}
