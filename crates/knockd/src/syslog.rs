//! `UseSyslog`: lines for the system's log, as Debian's knockd sends them by `syslog(3)`.

use std::os::unix::net::UnixDatagram;

use jiff::ZonedDateTime;

const SOCKET: &str = "/dev/log";
/// Facility daemon (3), severity notice (5): RFC 3164, section 4.1.1.
const PRIORITY: u8 = 3 << 3 | 5;

/// A connection to the system's log, made anew when the log daemon was restarted.
pub(crate) struct Syslog(Option<UnixDatagram>);

impl Syslog {
    pub(crate) fn new() -> Self {
        Self(connect())
    }

    /// Sends a line. Where the log daemon does not take it, it is lost: knocking goes on.
    pub(crate) fn send(&mut self, time: &ZonedDateTime, message: &str) {
        let line = format!("<{PRIORITY}>{} knockd: {message}", time.strftime("%b %e %H:%M:%S"));
        let sent = |socket: &UnixDatagram| socket.send(line.as_bytes()).is_ok();
        if !self.0.as_ref().is_some_and(sent) {
            self.0 = connect();
            self.0.as_ref().map(sent);
        }
    }
}

fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(SOCKET).ok()?;
    Some(socket)
}
