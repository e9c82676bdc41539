//! A log daemon's socket, and how long is waited for it.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// How long is waited for the log daemon to take a line: it may be busy, and its queue holds but ten lines unless the
/// system says otherwise (`net.unix.max_dgram_qlen`).
const PATIENCE: Duration = Duration::from_millis(20);
/// How long after it has not taken one no other is tried: a log daemon that hangs must not hold knocks up.
const REST: Duration = Duration::from_secs(1);

/// A connection to a log daemon, made anew when that was restarted.
pub(crate) struct Datagrams {
    path: &'static str,
    socket: Option<UnixDatagram>,
    hangs_since: Option<Instant>,
}

impl Datagrams {
    pub(crate) fn to(path: &'static str) -> Self {
        Self { path, socket: connect(path), hangs_since: None }
    }

    /// Sends a line. Where the log daemon does not take it, it is lost: knocking goes on.
    pub(crate) fn send(&mut self, line: &[u8]) {
        if self.hangs_since.is_some_and(|since| since.elapsed() < REST) {
            return;
        }
        let mut sent = self.try_to_send(line);
        if sent.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            self.socket = connect(self.path);
            sent = self.try_to_send(line);
        }
        let hangs = sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.hangs_since = hangs.then(Instant::now);
    }

    fn try_to_send(&self, line: &[u8]) -> io::Result<usize> {
        self.socket.as_ref().map_or(Err(io::ErrorKind::NotConnected.into()), |socket| socket.send(line))
    }
}

fn connect(path: &str) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    socket.connect(path).ok()?;
    Some(socket)
}
