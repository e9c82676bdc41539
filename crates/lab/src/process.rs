//! A child process that does not outlive its test.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::root::with_tools;
use crate::wait::timed_out;

/// A child of this process, killed and reaped on drop.
///
/// Only the child itself: what it started in turn is its own affair.
#[derive(Debug)]
pub struct Process {
    child: Child,
    handle: OwnedFd,
    name: String,
}

impl Process {
    /// Spawns `command` in the calling thread's namespaces; [`Host::spawn`](crate::Host::spawn) is this in a host.
    ///
    /// # Errors
    /// What spawning says, with the program's name.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        with_tools(command);
        let child =
            command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Self { child, handle, name })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `ESRCH` when it has ended and been reaped.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // By descriptor, not by id: never another process that got the same number since.
        pidfd_send_signal(&self.handle, signal).map_err(io::Error::from)
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// What waiting says.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// `TimedOut` when it still runs after this time.
    pub fn wait_exit(&mut self, within: Duration) -> io::Result<ExitStatus> {
        let timeout = Timespec::try_from(within).ok();
        let mut ended = [PollFd::new(&self.handle, PollFlags::IN)];
        if self.child.try_wait()?.is_none() && poll(&mut ended, timeout.as_ref())? == 0 {
            return Err(timed_out(&format!("{} still runs after {within:?}", self.name)));
        }
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
