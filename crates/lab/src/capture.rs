//! What arrives on an interface.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use knock_linux::raw::{PacketSocket, Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use crate::frame::TcpFlags;
use crate::host::Host;
use crate::wait::timed_out;

/// Room in the kernel for what nobody has taken yet, in bytes: ten thousand frames or so.
const ROOM: usize = 16 << 20;
/// The longest frame: what a network card may put together to.
const LONGEST: usize = 1 << 16;
/// Destination and source, before the type of an Ethernet frame.
const HARDWARE_ADDRESSES: usize = 12;

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One TCP segment or UDP datagram that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its VLANs, outermost first.
    pub vlans: Vec<u16>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it says it is from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Its TCP flags; none for UDP.
    pub flags: TcpFlags,
    /// What follows the TCP or UDP header.
    pub payload: Vec<u8>,
    /// The frame, VLAN tags and all.
    pub frame: Vec<u8>,
}

/// All that two clients which do the same have in common, as in `tcp 10.9.0.1:7000 SYN` or
/// `udp [fd09::1]:7000 "abc"`: not the source, whose port is random, nor sequence numbers.
impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.protocol, self.destination)?;
        if self.protocol == Protocol::Tcp {
            write!(formatter, " {}", self.flags)?;
        }
        if !self.payload.is_empty() {
            write!(formatter, " \"{}\"", self.payload.escape_ascii())?;
        }
        Ok(())
    }
}

/// Listens to what arrives on one interface, before any firewall, from the moment that it is opened.
///
/// The kernel keeps the frames until they are asked for.
#[derive(Debug)]
pub struct Capture {
    socket: PacketSocket,
    seen: Mutex<Vec<Seen>>,
}

impl Capture {
    /// Begins to listen on `interface` of `host`.
    ///
    /// # Errors
    /// `ENODEV` without such an interface.
    pub fn open(host: &Host, interface: &str) -> io::Result<Self> {
        let socket = host.run(|| PacketSocket::open(interface))?;
        // Only the machine's own root may exceed the system's limit; others get what that allows.
        if sockopt::set_socket_recv_buffer_size_force(&socket, ROOM).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, ROOM)?;
        }
        Ok(Self { socket, seen: Mutex::new(Vec::new()) })
    }

    /// All TCP and UDP that has arrived since the capture began. What else there is (ARP, ICMP, fragments that do
    /// not begin a datagram) is left out.
    ///
    /// # Errors
    /// What receiving says.
    pub fn seen(&self) -> io::Result<Vec<Seen>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = vec![0; LONGEST];
        loop {
            match self.socket.receive(&mut buffer) {
                Ok(received) => seen.extend(read(&whole(&buffer, &received))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(seen.clone()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until `enough` says that what has arrived is enough, and returns all of it.
    ///
    /// # Errors
    /// `TimedOut` when it is not `within` this time, with what did arrive.
    pub fn wait_for(&self, within: Duration, enough: impl Fn(&[Seen]) -> bool) -> io::Result<Vec<Seen>> {
        let deadline = Instant::now() + within;
        loop {
            let seen = self.seen()?;
            if enough(&seen) {
                return Ok(seen);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                let list: String = seen.iter().map(|seen| format!("\n  {seen}")).collect();
                return Err(timed_out(&format!("not captured within {within:?}; only:{list}")));
            };
            poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Timespec::try_from(left).ok().as_ref())?;
        }
    }

    /// Waits until `count` segments and datagrams have arrived.
    ///
    /// # Errors
    /// As [`wait_for`](Self::wait_for).
    pub fn wait_for_count(&self, count: usize, within: Duration) -> io::Result<Vec<Seen>> {
        self.wait_for(within, |seen| seen.len() >= count)
    }
}

/// The frame as it was on the wire: with the tag that the kernel took off.
fn whole(buffer: &[u8], received: &Received) -> Vec<u8> {
    let frame = &buffer[..received.length];
    let Some((ethertype, tag)) = received.vlan.filter(|_| frame.len() >= HARDWARE_ADDRESSES) else {
        return frame.to_vec();
    };
    let (addresses, rest) = frame.split_at(HARDWARE_ADDRESSES);
    [addresses, &ethertype.to_be_bytes(), &tag.to_be_bytes(), rest].concat()
}

fn read(frame: &[u8]) -> Option<Seen> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (source, destination) = addresses(packet.net.as_ref()?)?;
    let (protocol, ports, flags, payload) = match packet.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => {
            (Protocol::Tcp, (tcp.source_port(), tcp.destination_port()), flags(tcp), tcp.payload())
        }
        TransportSlice::Udp(udp) => {
            (Protocol::Udp, (udp.source_port(), udp.destination_port()), TcpFlags::NONE, udp.payload())
        }
        _ => return None,
    };
    Some(Seen {
        vlans: packet.vlan_ids().iter().map(|id| id.value()).collect(),
        protocol,
        source: SocketAddr::new(source, ports.0),
        destination: SocketAddr::new(destination, ports.1),
        flags,
        payload: payload.to_vec(),
        frame: frame.to_vec(),
    })
}

fn addresses(net: &NetSlice<'_>) -> Option<(IpAddr, IpAddr)> {
    match net {
        NetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Arp(_) => None,
    }
}

/// The byte of flags, which etherparse only shows one by one.
fn flags(tcp: &TcpSlice<'_>) -> TcpFlags {
    const AT: usize = 13;
    TcpFlags(tcp.slice()[AT])
}
