//! Who is at the other end of a socket of this machine (`SO_PEERCRED` of `unix(7)`).

#![allow(unsafe_code, reason = "the safe wrapper takes for granted that the peer has a process id here")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _};

use crate::socket::check;

/// The process that connected, or listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id; none where it has none in our namespace, as one outside of a container.
    pub process: Option<u32>,
    /// Its user, as our namespace calls it.
    pub user: u32,
}

/// Tells who it is.
///
/// # Errors
/// `ENOTCONN` or `EINVAL` where nobody is there.
pub fn peer(socket: &impl AsFd) -> io::Result<Peer> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = mem::size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the value is a `ucred` that outlives the call, and the length is its own.
    check(unsafe {
        let value = (&raw mut found).cast();
        let socket = socket.as_fd().as_raw_fd();
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, value, &raw mut length)
    })?;
    Ok(Peer { process: u32::try_from(found.pid).ok().filter(|id| *id != 0), user: found.uid })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_is_ours() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(peer(&one).unwrap(), Peer { process: Some(std::process::id()), user: own });
    }
}
