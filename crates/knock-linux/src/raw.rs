//! A packet socket on one interface that sends and receives whole link-layer frames.
//!
//! The daemon's capture has needs of its own; this is the plain instrument of the tests and the lab: what is sent is
//! what stands on the wire, and what arrives is seen before any firewall, with the VLAN tag that the kernel took off.

#![allow(unsafe_code, reason = "sockaddr_ll, packet options and ancillary data have no safe wrapper")]

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use crate::socket::{self, Control, auxiliary_data};

/// A raw packet socket bound to one interface of the namespace that it was opened in.
///
/// It stays with that namespace when another thread uses it.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    hardware_address: [u8; 6],
}

/// One frame as [`PacketSocket::receive`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes written to the buffer, beginning with the Ethernet header.
    pub length: usize,
    /// The outermost VLAN tag (TPID and TCI, host byte order), which the kernel keeps beside the frame, not in it.
    pub vlan: Option<(u16, u16)>,
}

impl PacketSocket {
    /// Opens a socket on `interface` in the calling thread's network namespace.
    ///
    /// It never sees what this host sends, only what comes in.
    ///
    /// # Errors
    /// `ENODEV` without such an interface, `EPERM` without `CAP_NET_RAW`.
    pub fn open(interface: &str) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0: nothing is received before the socket is bound to its interface.
        let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        socket::set_packet_option(socket.as_fd(), libc::PACKET_AUXDATA)?;
        socket::set_packet_option(socket.as_fd(), libc::PACKET_IGNORE_OUTGOING)?;
        let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
        socket::bind_to_interface(socket.as_fd(), index)?;
        let hardware_address = hardware_address(socket.as_fd())?;
        Ok(Self { socket, hardware_address })
    }

    /// The interface's own Ethernet address; zeros where it has none.
    #[must_use]
    pub fn hardware_address(&self) -> [u8; 6] {
        self.hardware_address
    }

    /// Sends one frame, Ethernet header first, as it stands.
    ///
    /// # Errors
    /// `EMSGSIZE` above the interface's MTU, `ENETDOWN` when it is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.socket, frame, SendFlags::empty())?;
        Ok(())
    }

    /// Takes the next frame that has arrived; longer ones than `buffer` are cut.
    ///
    /// # Errors
    /// `WouldBlock` when none is there: the socket never waits, poll it for that.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = Control::default();
        // SAFETY: all zeros is a valid `msghdr`: null pointers and lengths of zero.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        control.attach(&mut message);
        // SAFETY: `message` points to one buffer and one control area, both alive and as long as it says.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has just filled in `message`, and its control area is still alive.
        let vlan = unsafe { auxiliary_data(&message) }.as_ref().and_then(tag);
        Ok(Received { length, vlan })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn tag(data: &libc::tpacket_auxdata) -> Option<(u16, u16)> {
    let valid = data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
    valid.then_some((data.tp_vlan_tpid, data.tp_vlan_tci))
}

fn hardware_address(socket: BorrowedFd<'_>) -> io::Result<[u8; 6]> {
    let mut address = MaybeUninit::<libc::sockaddr_ll>::zeroed();
    let mut length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `length` says how much room there is, and the kernel writes no more.
    socket::check(unsafe {
        libc::getsockname(socket.as_raw_fd(), address.as_mut_ptr().cast(), &raw mut length)
    })?;
    // SAFETY: zeroed first, so every byte is initialised however many the kernel wrote.
    let address = unsafe { address.assume_init() };
    let [a, b, c, d, e, f, ..] = address.sll_addr;
    Ok([a, b, c, d, e, f])
}
