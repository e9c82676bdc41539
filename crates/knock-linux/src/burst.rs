//! Frames sent as fast as the kernel takes them, for the lab's floods.

#![allow(unsafe_code, reason = "sendmmsg and packet options have no safe wrapper")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::socket;

/// The most frames that one system call sends.
pub const BATCH: usize = 64;

/// A raw packet socket that only sends, past the interface's queue.
///
/// It stays with the namespace that it was opened in when another thread uses it.
#[derive(Debug)]
pub struct BurstSocket {
    socket: OwnedFd,
    interface: u32,
}

impl BurstSocket {
    /// Opens a socket on `interface` in the calling thread's network namespace.
    ///
    /// # Errors
    /// `ENODEV` without such an interface, `EPERM` without `CAP_NET_RAW`.
    pub fn open(interface: &str) -> io::Result<Self> {
        // Protocol 0: it receives nothing.
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        socket::set_packet_option(socket.as_fd(), libc::PACKET_QDISC_BYPASS)?;
        let interface = rustix::net::netdevice::name_to_index(&socket, interface)?;
        Ok(Self { socket, interface })
    }

    /// Sends frames, Ethernet header first, that lie one behind the other in `bytes`, each `length` bytes long; at most
    /// [`BATCH`] of them. Tells how many went: fewer where the interface has no room for more.
    ///
    /// # Errors
    /// `EMSGSIZE` above the interface's MTU, `ENETDOWN` when it is down, `ENOBUFS` where there is no room for one.
    pub fn send(&self, bytes: &[u8], length: usize) -> io::Result<usize> {
        // SAFETY: all zeros is a valid `sockaddr_ll`, `iovec` and `mmsghdr`: integers and null pointers.
        let mut target: libc::sockaddr_ll = unsafe { mem::zeroed() };
        target.sll_family = libc::AF_PACKET as _;
        target.sll_ifindex = self.interface as _;
        // SAFETY: as above.
        let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let frames = bytes.chunks_exact(length.max(1));
        let count = frames.len().min(BATCH);
        for ((message, part), frame) in messages.iter_mut().zip(&mut parts).zip(frames) {
            // The kernel only reads what it sends.
            part.iov_base = frame.as_ptr().cast_mut().cast();
            part.iov_len = frame.len();
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = (&raw mut target).cast();
            message.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        }
        // SAFETY: each of the first `count` messages, at most `BATCH`, points to one part of `bytes` and to `target`,
        // alive and as long as it says.
        let sent = unsafe {
            libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count as libc::c_uint, 0)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
