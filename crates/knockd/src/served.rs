//! The ports at which this host serves something.
//!
//! A packet to one of them does not tell a scanner from a knocker: a browser, a VPN or a second `ssh` of the knocker's
//! goes there as well, and datagrams of a flow look like any others. So they spoil nothing; all other ports do.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _};
use std::time::Duration;

use knock_core::config::PortRange;
use knock_core::knock::Protocol;
use knock_core::sequence::Step;
use knock_core::time::Timestamp;

use crate::pace::Pace;

/// How long a socket counts as there.
const FRESH: Duration = Duration::from_secs(1);
/// In a flood it is looked once in so long whether a socket is there by now.
const PAUSE: Duration = Duration::from_millis(10);
/// How many looks may follow each other at once.
const AT_ONCE: u32 = 50;
/// At most so many lines are read of each table: a host may have very many sockets.
const LINES: usize = 16_384;
/// The tables of `proc(5)`, and the state in which a socket of theirs serves: `TCP_LISTEN`; for UDP, any.
const TABLES: [(&str, Protocol, Option<&str>); 4] = [
    ("/proc/self/net/tcp", Protocol::Tcp, Some("0A")),
    ("/proc/self/net/tcp6", Protocol::Tcp, Some("0A")),
    ("/proc/self/net/udp", Protocol::Udp, None),
    ("/proc/self/net/udp6", Protocol::Udp, None),
];

/// What is served, read when it is asked for.
pub(crate) struct Served {
    /// The ports of native doors: what they let in may be served by another host.
    doors: Vec<PortRange>,
    sockets: HashSet<Step>,
    read: Option<Timestamp>,
    pace: Pace,
    tables: Vec<(BufReader<File>, Protocol, Option<&'static str>)>,
}

impl Served {
    /// Opens the tables, those that there are.
    pub(crate) fn new(doors: Vec<PortRange>) -> Self {
        let open = |(path, protocol, state)| Some((BufReader::new(File::open(path).ok()?), protocol, state));
        let tables = TABLES.into_iter().filter_map(open).collect();
        Self { doors, sockets: HashSet::new(), read: None, pace: Pace::new(PAUSE, AT_ONCE), tables }
    }

    /// These ports of doors count from now on.
    pub(crate) fn set_doors(&mut self, doors: Vec<PortRange>) {
        self.doors = doors;
    }

    /// Whether something is served there.
    pub(crate) fn contains(&mut self, step: Step, now: Timestamp) -> bool {
        if self.doors.iter().any(|range| range.contains(step.protocol, step.port)) {
            return true;
        }
        let known = self.sockets.contains(&step) && self.read.is_some_and(|read| now.since(read) < FRESH);
        // It may have come a moment ago, to wait for this very packet.
        if !known && self.pace.wait(now).is_none() {
            self.pace.done(now);
            self.read = Some(now);
            self.read_sockets();
        }
        self.sockets.contains(&step)
    }

    fn read_sockets(&mut self) {
        self.sockets.clear();
        for (table, protocol, state) in &mut self.tables {
            // What cannot be read serves nothing: the strict side.
            if let Ok(ports) = read(table, *state) {
                let steps = ports.into_iter().map(|port| Step { port, protocol: *protocol });
                self.sockets.extend(steps);
            }
        }
    }
}

/// The local ports of a table's sockets in this state, or in any. Those that listen stand first, and reading ends behind
/// them.
fn read(table: &mut BufReader<File>, state: Option<&str>) -> io::Result<Vec<u16>> {
    table.rewind()?;
    let mut ports = Vec::new();
    for line in table.lines().skip(1).take(LINES) {
        let line = line?;
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, is_in) = (fields.next(), fields.next(), fields.next());
        if state.is_some_and(|state| is_in != Some(state)) {
            break;
        }
        let port = local.and_then(|local| u16::from_str_radix(local.rsplit(':').next()?, 16).ok());
        ports.extend(port);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn tcp(port: u16) -> Step {
        Step { port, protocol: Protocol::Tcp }
    }

    fn udp(port: u16) -> Step {
        Step { port, protocol: Protocol::Udp }
    }

    #[test]
    fn knows_what_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = |address: io::Result<std::net::SocketAddr>| address.unwrap().port();
        let (listens, datagrams) = (port(listener.local_addr()), port(socket.local_addr()));
        let mut served = Served::new(Vec::new());
        let now = Timestamp::from_millis(5000);
        assert!(served.contains(tcp(listens), now));
        assert!(served.contains(udp(datagrams), now));
        assert!(!served.contains(tcp(port(connected.local_addr())), now), "a connection serves nothing");
        drop((listener, socket, connected));
        assert!(served.contains(tcp(listens), now), "read of late");
        assert!(!served.contains(tcp(listens), now + FRESH));
        assert!(!served.contains(udp(datagrams), now + FRESH));
    }

    #[test]
    fn knows_what_doors_open() {
        let range = PortRange { protocol: Protocol::Udp, first: 61_000, last: 61_002 };
        let mut served = Served::new(vec![range]);
        let now = Timestamp::ZERO;
        assert!(served.contains(udp(61_001), now) && !served.contains(tcp(61_001), now));
        served.set_doors(Vec::new());
        assert!(!served.contains(udp(61_001), now));
    }
}
