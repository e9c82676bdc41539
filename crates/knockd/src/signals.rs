//! Signals, as something to poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGHUP.
    Reload,
    /// SIGINT or SIGTERM, with the number, which is also the exit status.
    End(u8),
    /// SIGCHLD: some command has ended.
    Reap,
}

/// Receives the daemon's signals.
pub(crate) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    pub(crate) fn receive() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let signals = [SIGHUP, SIGINT, SIGTERM, SIGCHLD];
        Ok(Self(SignalDelivery::with_pipe(read, write, SignalOnly, signals)?))
    }

    /// The signals that have come since the last call.
    pub(crate) fn pending(&mut self) -> Vec<Request> {
        let request = |signal| match signal {
            SIGHUP => Request::Reload,
            SIGCHLD => Request::Reap,
            number => Request::End(u8::try_from(number).unwrap_or(1)),
        };
        self.0.pending().map(request).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}
