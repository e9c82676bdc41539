//! Floods of datagrams with a content: made beforehand, and sent again and again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use knock_linux::burst::BurstSocket;

use crate::flood::{Sent, at_pace};
use crate::frame::Frame;
use crate::host::Host;
use crate::sender::Sender;

/// Datagrams to one port, ready to be sent.
#[derive(Debug)]
pub struct Volley {
    socket: BurstSocket,
    /// One behind the other, each this long.
    frames: Vec<u8>,
    length: usize,
    /// Where the next begins.
    next: usize,
}

impl Volley {
    /// On `interface` of `from`, to a UDP port of the IPv4 address of `to`: datagrams from these addresses, with this
    /// content, all of one length.
    ///
    /// # Errors
    /// `ENODEV` without such an interface, `InvalidInput` where there is none or they differ in length.
    pub fn open(
        (from, interface): (&Host, &str),
        (to, peer_interface): (&Host, &str),
        port: u16,
        datagrams: impl IntoIterator<Item = (Ipv4Addr, Vec<u8>)>,
    ) -> io::Result<Self> {
        let (own, peer) = Sender::open(from, interface, to, peer_interface)?.hardware_addresses();
        let socket = from.run(|| BurstSocket::open(interface))?;
        let target = to.at4(port);
        let (mut frames, mut length) = (Vec::new(), None);
        for (source, content) in datagrams {
            let frame = Frame::udp(SocketAddr::new(source.into(), 40_000), target).payload(content);
            let frame = frame.bytes(own, peer);
            if *length.get_or_insert(frame.len()) != frame.len() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "datagrams of different lengths"));
            }
            frames.extend(frame);
        }
        let length = length.ok_or(io::Error::new(io::ErrorKind::InvalidInput, "no datagram"))?;
        Ok(Self { socket, frames, length, next: 0 })
    }

    /// Sends them in turn, as [`Flood::run`](crate::Flood::run) does.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface is down, and what `between` says.
    pub fn run(
        &mut self,
        pace: Option<u32>,
        between: impl FnMut(Duration) -> io::Result<bool>,
    ) -> io::Result<Sent> {
        at_pace(pace, between, |count| {
            let rest = self.frames.get(self.next..).unwrap_or_default();
            let burst = rest.get(..count * self.length).unwrap_or(rest);
            let sent = self.socket.send(burst, self.length)?;
            self.next = (self.next + sent * self.length) % self.frames.len();
            Ok(sent as u64)
        })
    }
}
