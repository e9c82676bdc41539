//! Finding out whether a system call would end the process.

#![allow(unsafe_code, reason = "fork is beyond the compiler's checks")]

use std::io;

use rustix::thread::{SecureComputingMode, secure_computing_mode};

use crate::socket::check;

/// Whether what this does ends nobody. A filter of system calls (`seccomp(2)`), as service managers and containers have
/// them, mostly answers with an error, but may end the process. Under one a child is sent ahead; it must do nothing but
/// system calls where the process has several threads.
pub(crate) fn is_survived(what: impl FnOnce()) -> bool {
    let filtered = secure_computing_mode().is_ok_and(|mode| mode == SecureComputingMode::Filter);
    !filtered || a_child_survives(what).unwrap_or(false)
}

fn a_child_survives(what: impl FnOnce()) -> io::Result<bool> {
    // SAFETY: the child does what it is to do and ends; by the caller's promise it needs no lock that another thread of
    // ours holds.
    let child = unsafe { libc::fork() };
    if child == 0 {
        what();
        // SAFETY: ending is what a child does.
        unsafe { libc::_exit(0) }
    }
    check(child)?;
    let mut status = 0;
    // SAFETY: the status is our own and outlives the call.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(libc::WIFEXITED(status))
}
