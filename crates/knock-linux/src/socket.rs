//! What packet sockets have in common.

#![allow(unsafe_code, reason = "sockaddr_ll and packet options have no safe wrapper")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Every protocol, in network byte order, as a packet socket's address wants it.
const ALL_PROTOCOLS: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Turns an on-off option of a packet socket on.
pub(crate) fn set_packet_option(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: the value is an `int` that outlives the call, and the length is its own.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), length)
    };
    check(done)
}

/// How many packets found no room at a packet socket since this was asked last (`PACKET_STATISTICS` in `packet(7)`).
pub(crate) fn lost_packets(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = mem::size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into a structure of that size, which outlives the call.
    let done = unsafe {
        let value = (&raw mut statistics).cast();
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            value,
            &raw mut length,
        )
    };
    check(done)?;
    Ok(statistics.tp_drops)
}

/// Lets the kernel spend so many bytes on what waits to be received: beyond the system's limit where we may
/// (`CAP_NET_ADMIN`), otherwise up to it.
pub(crate) fn set_receive_buffer(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, bytes)
        .or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(socket, bytes))
        .map_err(io::Error::from)
}

/// Lets a packet socket receive all protocols of the interface with this index; 0 is for all interfaces.
pub(crate) fn bind_to_interface(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    // SAFETY: all zeros is a valid `sockaddr_ll`: integers and an array of bytes.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as _;
    address.sll_protocol = ALL_PROTOCOLS;
    address.sll_ifindex = index as _;
    let length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address outlives the call and the length is its own.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })
}

/// Room for what the kernel tells of one packet beside its bytes, aligned as `cmsghdr` must be.
#[derive(Clone, Copy)]
#[repr(align(8))]
pub(crate) struct Control([u8; 64]);

impl Default for Control {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl Control {
    /// Lets `recvmsg` fill this in.
    pub(crate) fn attach(&mut self, message: &mut libc::msghdr) {
        message.msg_control = self.0.as_mut_ptr().cast();
        message.msg_controllen = self.0.len() as _;
    }
}

/// What `PACKET_AUXDATA` tells of a received packet.
///
/// # Safety
/// `message` must be as `recvmsg` left it, its control area still alive and as long as it says.
pub(crate) unsafe fn auxiliary_data(message: &libc::msghdr) -> Option<libc::tpacket_auxdata> {
    // SAFETY: by the caller's promise the control area holds well-formed headers.
    let mut header: *const libc::cmsghdr = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: `header` points to a header in the control area, which is aligned for it.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: the kernel puts one `tpacket_auxdata` behind a header of this kind, in the same area; it may be
            // unaligned.
            return Some(unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() });
        }
        // SAFETY: as above; `header` is one of this message.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// A system call's result as an error where it is negative.
pub(crate) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
