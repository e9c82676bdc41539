//! Network namespaces: make one, enter one, hold one.
//!
//! A namespace lives as long as something refers to it: a thread in it, a process in it, or the descriptor that the
//! functions here return. Nothing is written to `/run/netns`.
//!
//! All of these act on the **calling thread** alone, the way Linux does. Call them on a thread that exists for it.

#![allow(unsafe_code, reason = "rustix marks unshare unsafe for flags that are not used here")]

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Moves the calling thread into a new, empty network namespace and returns a descriptor of it.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` (root, or root in a user namespace), and whatever opening `/proc` says.
pub fn create() -> io::Result<OwnedFd> {
    // SAFETY: `CLONE_NEWNET` changes which network stack the thread's later calls see. What makes `unshare` unsafe is
    // `CLONE_FILES`, which would invalidate descriptors that other threads believe they share; it is not asked for.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
    current()
}

/// Returns a descriptor of the network namespace that the calling thread is in.
///
/// # Errors
/// Whatever opening `/proc/thread-self/ns/net` says, such as `ENOENT` where `/proc` is not mounted.
pub fn current() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// Moves the calling thread into the network namespace that `namespace` is a descriptor of.
///
/// Sockets that the thread opened before stay where they were opened.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` when the descriptor is not one of a network namespace.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    let kind = Some(LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace, kind).map_err(io::Error::from)
}
