//! Running commands and becoming a daemon.

#![allow(
    unsafe_code,
    reason = "fork, and what happens between fork and exec, are beyond the compiler's checks"
)]

use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the command run in a session of its own, with no descriptor beyond the standard three.
///
/// What we open ourselves is closed at `exec` anyway; this is for what we were started with.
pub fn detach_from_us(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only system calls are made; both are safe in a forked child, and neither
    // allocates or takes a lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            // Kernels before 5.11 lack the flag; there what we were started with stays open, as with knockd.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            Ok(())
        })
    }
}

/// Passes over what is sent to all processes of a daemon, or to a terminal's, to have them end or read anew (SIGHUP,
/// SIGINT, SIGTERM): for one that ends when another does.
pub fn ignore_requests_to_end() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        // SAFETY: to ignore a signal runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// The background half of a daemon that is still starting; see [`into_background`].
#[must_use = "the foreground waits for word"]
pub struct Starting {
    ready: PipeWriter,
}

/// Forks: the caller goes on in the background, in a session of its own, while the foreground process waits for
/// [`Starting::ready`] and then exits with 0. If the background process ends before, the foreground exits with 1.
///
/// To be called before any thread is started.
///
/// # Errors
/// `EAGAIN` or `ENOMEM` where there is no room for another process.
pub fn into_background() -> io::Result<Starting> {
    let (mut word, ready) = io::pipe()?;
    // SAFETY: by the caller's promise there is no other thread whose locks the child could find taken.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(word);
            rustix::process::setsid()?;
            Ok(Starting { ready })
        }
        _ => {
            drop(ready);
            std::process::exit(wait_for(&mut word));
        }
    }
}

fn wait_for(word: &mut PipeReader) -> i32 {
    let mut byte = [0];
    if matches!(word.read(&mut byte), Ok(1)) { 0 } else { 1 }
}

impl Starting {
    /// Lets go of the terminal and the working directory, as `daemon(3)` does, and releases the foreground.
    ///
    /// # Errors
    /// Where `/` or `/dev/null` is out of reach.
    pub fn ready(mut self) -> io::Result<()> {
        std::env::set_current_dir("/")?;
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        self.ready.write_all(&[1])
    }
}
