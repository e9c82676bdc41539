//! `UseSyslog`: lines for the system's log, as Debian's knockd sends them by `syslog(3)`.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use jiff::ZonedDateTime;

const SOCKET: &str = "/dev/log";
/// Facility daemon (3), severity notice (5): RFC 3164, section 4.1.1.
const PRIORITY: u8 = 3 << 3 | 5;

/// How long is waited for the log daemon to take a line: it may be busy, and its queue holds but ten lines unless the
/// system says otherwise (`net.unix.max_dgram_qlen`).
const PATIENCE: Duration = Duration::from_millis(20);
/// How long after it has not taken one no other is tried: a log daemon that hangs must not hold knocks up.
const REST: Duration = Duration::from_secs(1);

/// A connection to the system's log, made anew when the log daemon was restarted.
pub(crate) struct Syslog {
    socket: Option<UnixDatagram>,
    hangs_since: Option<Instant>,
}

impl Syslog {
    pub(crate) fn new() -> Self {
        Self { socket: connect(), hangs_since: None }
    }

    /// Sends a line. Where the log daemon does not take it, it is lost: knocking goes on.
    pub(crate) fn send(&mut self, time: &ZonedDateTime, message: &str) {
        if self.hangs_since.is_some_and(|since| since.elapsed() < REST) {
            return;
        }
        let line = format!("<{PRIORITY}>{} knockd: {message}", time.strftime("%b %e %H:%M:%S"));
        let mut sent = self.try_to_send(&line);
        if sent.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            self.socket = connect();
            sent = self.try_to_send(&line);
        }
        let hangs = sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.hangs_since = hangs.then(Instant::now);
    }

    fn try_to_send(&self, line: &str) -> io::Result<usize> {
        self.socket
            .as_ref()
            .map_or(Err(io::ErrorKind::NotConnected.into()), |socket| socket.send(line.as_bytes()))
    }
}

fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    socket.connect(SOCKET).ok()?;
    Some(socket)
}
