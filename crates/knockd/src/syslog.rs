//! `UseSyslog`: lines for the system's log, as Debian's knockd sends them by `syslog(3)`.

use jiff::ZonedDateTime;

use crate::log::{Datagrams, Level};

/// Where the system's log takes lines.
pub(crate) const SOCKET: &str = "/dev/log";
/// Facility daemon: RFC 3164, section 4.1.1.
const FACILITY: u8 = 3;

/// A connection to the system's log.
pub(crate) struct Syslog(Datagrams);

impl Syslog {
    pub(crate) fn new() -> Self {
        Self(Datagrams::to(SOCKET))
    }

    /// Sends a line. Where the log daemon does not take it, it is lost: knocking goes on.
    pub(crate) fn send(&mut self, time: &ZonedDateTime, level: Level, line: &str) {
        let priority = FACILITY << 3 | level as u8;
        let line = format!("<{priority}>{} knockd: {line}", time.strftime("%b %e %H:%M:%S"));
        self.0.send(line.as_bytes());
    }
}
