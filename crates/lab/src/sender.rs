//! Sending frames as they are.

use std::io;

use knock_linux::raw::PacketSocket;

use crate::frame::Frame;
use crate::host::Host;

/// Sends frames from one interface to another on the same wire, whatever addresses they pretend to come from.
#[derive(Debug)]
pub struct Sender {
    socket: PacketSocket,
    peer: [u8; 6],
}

impl Sender {
    /// A sender on `interface` of `from`, to `peer_interface` of `to`.
    ///
    /// # Errors
    /// `ENODEV` without such an interface.
    pub fn open(from: &Host, interface: &str, to: &Host, peer_interface: &str) -> io::Result<Self> {
        let socket = from.run(|| PacketSocket::open(interface))?;
        let peer = to.run(|| PacketSocket::open(peer_interface))?.hardware_address();
        Ok(Self { socket, peer })
    }

    /// The Ethernet addresses of this end and the other.
    #[must_use]
    pub fn hardware_addresses(&self) -> ([u8; 6], [u8; 6]) {
        (self.socket.hardware_address(), self.peer)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// `EMSGSIZE` when it is longer than the interface takes.
    pub fn send(&self, frame: &Frame) -> io::Result<()> {
        self.send_bytes(&frame.bytes(self.socket.hardware_address(), self.peer))
    }

    /// Sends a frame's datagram in fragments of `size` bytes (a multiple of 8) of IP payload each, in order.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_fragments(&self, frame: &Frame, size: usize) -> io::Result<()> {
        let pieces = frame.fragments(size, self.socket.hardware_address(), self.peer);
        pieces.iter().try_for_each(|piece| self.send_bytes(piece))
    }

    /// Sends any bytes as a frame.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_bytes(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame)
    }
}
