//! The packet socket that knocks are heard with (`packet(7)`).

#![allow(unsafe_code, reason = "sockaddr_ll and recvmmsg have no safe wrapper")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::filter::{Filter, Wanted};
use crate::socket::{self, Control, auxiliary_data};

/// How much of a packet is copied: enough for the longest datagrams that are looked into, behind chains of headers.
const CAPTURE_LENGTH: usize = 1024;

/// How many packets are fetched with one system call.
pub const BATCH: usize = 64;

/// Either makes it needless, or impossible, to check a packet's transport checksum.
const TRUSTED: u32 = libc::TP_STATUS_CSUMNOTREADY | libc::TP_STATUS_CSUM_VALID;

/// How many bytes the kernel may spend on packets that wait for us: it doubles this, and counts 768 for a small packet,
/// so that they are some 5,000. That is what a flood sends while another process has the processor for 10 ms, and what
/// is looked at in 5 ms: in a longer queue knocks would only wait longer. The memory is not taken before it is needed.
const RECEIVE_BUFFER: usize = 2 << 20;

/// A packet as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The interface's index.
    pub interface: u32,
    /// It went to this machine's hardware address, where there are such; otherwise to another machine's.
    pub to_us: bool,
    /// What the kernel says that `bytes` begin with, an EtherType; see [`knock_core::packet::Frame`].
    pub ether_type: u16,
    /// The packet from its network header (or an inner VLAN tag) on, or its beginning.
    pub bytes: &'a [u8],
    /// How long it was on the wire, counted from where `bytes` begin.
    pub wire_length: usize,
    /// The kernel or the hardware has checked the transport checksum, or it is not filled in because the packet has
    /// not left the machine.
    pub checksum_trusted: bool,
}

/// A socket that hears what comes in on all interfaces of its network namespace and passes the kernel filter, which is
/// ours to change. [`Capture`] takes what it hears, in another process if need be.
///
/// It is one cooked socket (`SOCK_DGRAM`), so that there are no link-layer types to know, and none that ends with an
/// interface; which interfaces count is a matter of the filter.
pub struct Listener {
    socket: OwnedFd,
    filter: Filter,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open(wanted: &Wanted) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0: nothing comes in before the filter is there and the socket is bound.
        let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
        socket::set_packet_option(socket.as_fd(), libc::PACKET_IGNORE_OUTGOING)?;
        socket::set_packet_option(socket.as_fd(), libc::PACKET_AUXDATA)?;
        socket::set_receive_buffer(&socket, RECEIVE_BUFFER)?;
        let mut listening = Self { socket, filter: Filter::default() };
        listening.set_filter(wanted)?;
        socket::bind_to_interface(listening.socket.as_fd(), 0)?;
        Ok(listening)
    }

    /// Exchanges the filter; no packet is lost in between. Where memory for filters is short (`net.core.optmem_max`)
    /// more may pass than is wanted, for a moment or for good.
    ///
    /// # Errors
    /// Where the kernel takes not even the coarsest filter.
    pub fn set_filter(&mut self, wanted: &Wanted) -> io::Result<()> {
        self.filter.set(self.socket.as_fd(), wanted)
    }

    /// Another descriptor of the socket, for [`Capture`].
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }
}

/// Takes what a [`Listener`] hears. No privilege is needed for that.
pub struct Capture {
    socket: OwnedFd,
    buffers: Box<[[u8; CAPTURE_LENGTH]; BATCH]>,
}

impl Capture {
    /// Takes from this descriptor, which [`Listener::share`] made.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, buffers: Box::new([[0; CAPTURE_LENGTH]; BATCH]) }
    }

    /// How many packets have passed the filter and found no room since this was asked last.
    ///
    /// # Errors
    /// None that a packet socket has.
    pub fn lost(&self) -> io::Result<u32> {
        socket::lost_packets(self.socket.as_fd())
    }

    /// Hands over the packets that have come in, [`BATCH`] of them at most; how many there were.
    ///
    /// # Errors
    /// What `recvmmsg(2)` says; that nothing has come in is no error.
    pub fn receive(&mut self, mut each: impl FnMut(&Packet<'_>)) -> io::Result<usize> {
        // SAFETY: all zeros is a valid `sockaddr_ll`, `iovec` and `mmsghdr`: integers and null pointers.
        let mut senders: [libc::sockaddr_ll; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut controls = [Control::default(); BATCH];
        let slots = messages.iter_mut().zip(&mut parts).zip(&mut senders).zip(self.buffers.iter_mut());
        for ((((message, part), sender), buffer), control) in slots.zip(&mut controls) {
            control.attach(&mut message.msg_hdr);
            part.iov_base = buffer.as_mut_ptr().cast();
            part.iov_len = buffer.len();
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = (&raw mut *sender).cast();
            message.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        }
        // SAFETY: each message points to one buffer, one address and one control area of our own, alive and as long as
        // it says, and there are `BATCH` messages.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_TRUNC as _,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        };
        for ((message, sender), buffer) in messages.iter().zip(&senders).zip(self.buffers.iter()).take(count)
        {
            let wire_length = message.msg_len as usize;
            // SAFETY: the kernel has just filled in this message, and its control area is still alive.
            let auxiliary = unsafe { auxiliary_data(&message.msg_hdr) };
            each(&Packet {
                interface: u32::try_from(sender.sll_ifindex).unwrap_or_default(),
                to_us: sender.sll_pkttype == libc::PACKET_HOST,
                ether_type: u16::from_be(sender.sll_protocol),
                bytes: buffer.get(..wire_length.min(CAPTURE_LENGTH)).unwrap_or_default(),
                wire_length,
                checksum_trusted: auxiliary.is_some_and(|data| data.tp_status & TRUSTED != 0),
            });
        }
        Ok(count)
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
