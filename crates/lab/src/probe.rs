//! What a port looks like from elsewhere.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::wait::timed_out;

/// How long an answer is waited for: far longer than a busy machine needs, shorter than TCP's first repetition.
const ANSWER: Duration = Duration::from_millis(300);
/// How long after one attempt the next is made.
const PAUSE: Duration = Duration::from_millis(10);

/// What a connection attempt meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortState {
    /// It connects.
    Open,
    /// It is refused: by a reset, or by an ICMP error. The latter is not reliable: Linux as the client passes over an
    /// ICMP error that comes back while it is still in `connect`, and the port then seems filtered. A firewall that is
    /// to be told from a dropping one rejects `with tcp reset`.
    Closed,
    /// Nothing answers.
    Filtered,
}

impl Host {
    /// Tries one TCP connection from this host, and gives it up at once. A filtered port takes 0.3 s to tell.
    ///
    /// # Panics
    /// When this host cannot even try, as without a route.
    #[must_use]
    pub fn probe(&self, target: SocketAddr) -> PortState {
        match self.run(|| TcpStream::connect_timeout(&target, ANSWER)) {
            Ok(_) => PortState::Open,
            Err(error) => state_of(&error).unwrap_or_else(|| panic!("{} to {target}: {error}", self.name())),
        }
    }

    /// Tries again and again until the port is `wanted`.
    ///
    /// # Errors
    /// `TimedOut` when it is not `within` this time, with what it was instead.
    pub fn wait_until_port(&self, target: SocketAddr, wanted: PortState, within: Duration) -> io::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let state = self.probe(target);
            if state == wanted {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(timed_out(&format!("{target} is {state:?}, not {wanted:?}, after {within:?}")));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Waits until connections to `target` succeed.
    ///
    /// # Errors
    /// `TimedOut` when they do not `within` this time.
    pub fn wait_until_open(&self, target: SocketAddr, within: Duration) -> io::Result<()> {
        self.wait_until_port(target, PortState::Open, within)
    }

    /// Waits until connections to `target` no longer succeed, whether refused or unanswered.
    ///
    /// # Errors
    /// `TimedOut` when they still do after this time.
    pub fn wait_until_closed(&self, target: SocketAddr, within: Duration) -> io::Result<()> {
        let deadline = Instant::now() + within;
        while self.probe(target) == PortState::Open {
            if Instant::now() >= deadline {
                return Err(timed_out(&format!("{target} is still open after {within:?}")));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

fn state_of(error: &io::Error) -> Option<PortState> {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Some(PortState::Closed),
        // Both an ICMP answer of a firewall that rejects.
        ErrorKind::HostUnreachable | ErrorKind::PermissionDenied => Some(PortState::Closed),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Some(PortState::Filtered),
        _ => None,
    }
}
