//! The ports of this host's sockets, read from the tables of `proc(5)`: for kernels that do not tell of single sockets.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _};
use std::time::Duration;

use knock_core::knock::Protocol;
use knock_core::sequence::Step;
use knock_core::time::Timestamp;
use knock_linux::clock;

/// How long what was read counts: reading takes a long time where there are many sockets.
const FRESH: Duration = Duration::from_secs(1);
/// At most so many lines are read of each table.
const LINES: usize = 16_384;
/// The tables, and the state in which a socket of theirs serves: `TCP_LISTEN`; for UDP, any.
const TABLES: [(&str, Protocol, Option<&str>); 4] = [
    ("/proc/self/net/tcp", Protocol::Tcp, Some("0A")),
    ("/proc/self/net/tcp6", Protocol::Tcp, Some("0A")),
    ("/proc/self/net/udp", Protocol::Udp, None),
    ("/proc/self/net/udp6", Protocol::Udp, None),
];

/// The sockets, read once in a while when they are asked for.
pub(super) struct Tables {
    tables: Vec<(BufReader<File>, Protocol, Option<&'static str>)>,
    sockets: HashSet<Step>,
    /// When reading them ended.
    read: Option<Timestamp>,
}

impl Tables {
    /// Opens the tables, those that there are.
    pub(super) fn open() -> Self {
        let open = |(path, protocol, state)| Some((BufReader::new(File::open(path).ok()?), protocol, state));
        let tables = TABLES.into_iter().filter_map(open).collect();
        Self { tables, sockets: HashSet::new(), read: None }
    }

    /// Whether some socket had this port at the last look, which is a second old at most.
    pub(super) fn contain(&mut self, step: Step, now: Timestamp) -> bool {
        if self.read.is_none_or(|read| now.since(read) >= FRESH) {
            self.read_sockets();
            self.read = Some(clock::now());
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
    use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn hold_what_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let step =
            |protocol, address: io::Result<SocketAddr>| Step { protocol, port: address.unwrap().port() };
        let listens = step(Protocol::Tcp, listener.local_addr());
        let datagrams = step(Protocol::Udp, socket.local_addr());
        let connection = step(Protocol::Tcp, connected.local_addr());
        let mut tables = Tables::open();
        let now = clock::now();
        assert!(tables.contain(listens, now) && tables.contain(datagrams, now));
        assert!(!tables.contain(connection, now), "a connection serves nothing");
        drop((listener, socket, connected));
        assert!(tables.contain(listens, now), "read of late");
        let later = clock::now() + FRESH;
        assert!(!tables.contain(listens, later) && !tables.contain(datagrams, later));
    }
}
