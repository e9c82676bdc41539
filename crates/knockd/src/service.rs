//! Word for the service manager that started the daemon, if it wants any (`sd_notify(3)`).

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use knock_core::time::Timestamp;
use sd_notify::NotifyState;

/// What of the environment is meant for the daemon alone and for none of its commands.
pub(crate) const VARIABLES: [&str; 3] = [SOCKET, "WATCHDOG_USEC", "WATCHDOG_PID"];
/// Where the manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How long is waited for a manager that is busy: no door waits longer for it.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often what the daemon does is told anew at most.
const PACE: Duration = Duration::from_secs(1);
/// In the time that the manager waits for a sign of life so many are given.
const SIGNS: u32 = 3;

/// Tells the service manager how the daemon is.
pub(crate) struct Service {
    /// Where the manager listens, if it does.
    manager: Option<OsString>,
    /// What was told last, and when.
    told: (String, Timestamp),
}

impl Service {
    /// The one that the environment names, if any.
    pub(crate) fn new() -> Self {
        Self { manager: env::var_os(SOCKET), told: (String::new(), Timestamp::ZERO) }
    }

    /// How often the manager wants a sign of life at least, if it wants any.
    pub(crate) fn pulse() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|time| time / SIGNS)
    }

    /// The daemon does its work.
    pub(crate) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The daemon reads its configuration anew, until it is ready.
    pub(crate) fn reloading(&self) {
        if let Ok(time) = NotifyState::monotonic_usec_now() {
            self.tell(&[NotifyState::Reloading, time]);
        }
    }

    /// The daemon is about to end.
    pub(crate) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("closing what is open")]);
    }

    /// A sign of life.
    pub(crate) fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// What the daemon does, for people; not too often.
    pub(crate) fn status(&mut self, now: Timestamp, status: impl FnOnce() -> String) {
        if self.manager.is_none() || now.since(self.told.1) < PACE {
            return;
        }
        let status = status();
        if status != self.told.0 {
            self.tell(&[NotifyState::Status(&status)]);
            self.told = (status, now);
        }
    }

    /// Where nobody listens, nobody has to.
    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(name) = &self.manager else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        let _ = send(name, message.as_bytes());
    }
}

fn send(name: &OsStr, message: &[u8]) -> io::Result<()> {
    let manager = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }?;
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(message, &manager).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_hangs_holds_nothing_up() {
        let name = format!("toctoc-service-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let name = format!("@{name}");
        send(name.as_ref(), b"READY=1\n").unwrap();
        // Its queue is full at some time.
        while send(name.as_ref(), b"STATUS=x\n").is_ok() {}
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\n");
    }
}
