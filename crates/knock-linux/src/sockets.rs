//! Whether a socket of this host would take a packet (`sock_diag(7)`).
//!
//! The kernel is asked for the one socket that it would hand this very packet to. It looks that up as it does for each
//! packet that comes in, so an answer takes as long with 10,000 sockets as with none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use knock_core::knock::Protocol;

use crate::netlink::{Message, Messages, Netlink, messages, u32_at};

/// The message that asks for sockets and the one that tells of one (`linux/sock_diag.h`).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Sockets in every state.
const ALL_STATES: u32 = u32::MAX;
/// Sockets in no state: none.
const NO_STATES: u32 = 0;
/// Any address and port.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Asks the kernel about the sockets of one network namespace.
pub struct Sockets {
    socket: Netlink,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Sockets {
    /// Gets ready to ask about the sockets of the calling thread's network namespace.
    ///
    /// # Errors
    /// `ENOENT` where the kernel does not tell of both TCP and UDP (`CONFIG_INET_DIAG`, `CONFIG_INET_UDP_DIAG`), and
    /// what `socket(2)` says where a sandbox forbids it.
    pub fn open() -> io::Result<Self> {
        let socket = Netlink::open(libc::NETLINK_SOCK_DIAG)?;
        let mut sockets = Self { socket, sequence: 0, buffer: Vec::new() };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            sockets.try_protocol(protocol.number())?;
        }
        Ok(sockets)
    }

    /// Whether a socket would take a packet that goes from here to there and has come in on the interface with this
    /// index: one that listens there, at this address or any; a UDP socket that is bound there; or the other end of
    /// the connection that the packet belongs to. A socket that is bound to an interface takes what comes in on that.
    ///
    /// # Errors
    /// What the kernel says, such as `ENOMEM`.
    pub fn take(
        &mut self,
        protocol: Protocol,
        from: SocketAddr,
        to: SocketAddr,
        interface: u32,
    ) -> io::Result<bool> {
        // Of UDP the kernel wants the two ends the other way round ("swapped for historical reasons", `udp_dump_one`).
        let (own, peer) = match protocol {
            Protocol::Tcp => (to, from),
            Protocol::Udp => (from, to),
        };
        let request = request(protocol.number(), ALL_STATES, own, peer, interface);
        match self.ask(0, &request) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            answer => answer.map(|()| true),
        }
    }

    /// Fails where the kernel does not tell of a protocol. Asked for a single socket it would say that there is none.
    fn try_protocol(&mut self, number: u8) -> io::Result<()> {
        self.ask(libc::NLM_F_DUMP, &request(number, NO_STATES, NOBODY, NOBODY, 0))
    }

    /// Sends a request. Its answer is there when it is sent; those before it may be some that were not awaited.
    fn ask(&mut self, flags: i32, request: &[u8]) -> io::Result<()> {
        let Self { socket, sequence, buffer } = self;
        *sequence = sequence.wrapping_add(1);
        let mut message = Messages::new();
        message.add((SOCK_DIAG_BY_FAMILY, flags, *sequence), request, |_| {});
        socket.send(message.as_bytes())?;
        loop {
            let mut answers = messages(socket.receive_now(buffer)?);
            if let Some(answer) = answers.find(|answer| answer.sequence == *sequence) {
                return verdict(answer);
            }
        }
    }
}

impl AsFd for Sockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An `inet_diag_req_v2` (`linux/inet_diag.h`).
fn request(
    protocol: u8,
    states: u32,
    source: SocketAddr,
    destination: SocketAddr,
    interface: u32,
) -> Vec<u8> {
    /// Whatever the socket's cookie is.
    const NO_COOKIE: [u8; 8] = [0xff; 8];
    let family = if source.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let mut request = vec![family as u8, protocol, 0, 0];
    request.extend(states.to_ne_bytes());
    request.extend(source.port().to_be_bytes());
    request.extend(destination.port().to_be_bytes());
    request.extend(words(source.ip()));
    request.extend(words(destination.ip()));
    request.extend(interface.to_ne_bytes());
    request.extend(NO_COOKIE);
    request
}

/// An address as it stands in a request: one of IPv4 at the beginning.
fn words(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut words = [0; 16];
            words[..4].copy_from_slice(&address.octets());
            words
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// What an answer says: the socket or the end of a list, or why there is none. A list's end has its error with it.
fn verdict(answer: Message<'_>) -> io::Result<()> {
    let code = match i32::from(answer.kind) {
        libc::NLMSG_ERROR | libc::NLMSG_DONE => u32_at(answer.body, 0).unwrap_or_default() as i32,
        _ => 0,
    };
    if code < 0 { Err(io::Error::from_raw_os_error(code.saturating_neg())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::links::{self, Routes};

    const SOON: Duration = Duration::from_secs(20);

    fn at(address: &str, port: u16) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), port)
    }

    fn loopback() -> u32 {
        links::read(Routes::Ignored).unwrap().iter().find(|link| link.loopback).unwrap().index
    }

    /// What the kernel says about a packet of this protocol, and about one from another port.
    fn takes(protocol: Protocol, from: SocketAddr, to: SocketAddr) -> (bool, bool) {
        let mut sockets = Sockets::open().unwrap();
        let mut takes = |from| sockets.take(protocol, from, to, loopback()).unwrap();
        (takes(from), takes(SocketAddr::new(from.ip(), from.port() ^ 1)))
    }

    /// What the kernel does with a datagram: the receiver has it, or the sender is told that nobody has.
    fn is_received(sender: &UdpSocket, receiver: &UdpSocket, to: SocketAddr) -> bool {
        sender.connect(to).unwrap();
        sender.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        receiver.set_nonblocking(true).unwrap();
        sender.send(b"?").unwrap();
        let start = Instant::now();
        while start.elapsed() < SOON {
            if receiver.recv(&mut [0]).is_ok() {
                return true;
            }
            if sender.recv(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                return false;
            }
        }
        panic!("the datagram to {to} is lost");
    }

    /// A UDP socket or one that can listen, changed before it is bound.
    fn bound(kind: Type, address: SocketAddr, change: impl FnOnce(&Socket)) -> Socket {
        let socket = Socket::new(Domain::for_address(address), kind, None).unwrap();
        change(&socket);
        socket.bind(&address.into()).unwrap();
        socket
    }

    fn port(socket: &Socket) -> u16 {
        socket.local_addr().unwrap().as_socket().unwrap().port()
    }

    #[test]
    fn what_a_datagram_finds_is_told() {
        type Change = fn(&Socket);
        let as_it_is: Change = |_| {};
        let v6_only: Change = |socket| socket.set_only_v6(true).unwrap();
        let v4_too: Change = |socket| socket.set_only_v6(false).unwrap();
        let on_loopback: Change = |socket| socket.bind_device(Some(b"lo")).unwrap();
        for (address, change, to, expected) in [
            ("127.0.0.1", as_it_is, "127.0.0.1", true),
            ("0.0.0.0", as_it_is, "127.0.0.1", true),
            ("0.0.0.0", as_it_is, "127.0.0.2", true),
            ("0.0.0.0", on_loopback, "127.0.0.1", true),
            ("127.0.0.2", as_it_is, "127.0.0.1", false),
            ("0.0.0.0", as_it_is, "::1", false),
            ("::1", as_it_is, "::1", true),
            ("::", v4_too, "::1", true),
            ("::", v4_too, "127.0.0.1", true),
            ("::", v6_only, "::1", true),
            ("::", v6_only, "127.0.0.1", false),
        ] {
            let receiver: UdpSocket = bound(Type::DGRAM, at(address, 0), change).into();
            let to = at(to, receiver.local_addr().unwrap().port());
            let sender = UdpSocket::bind((to.ip(), 0)).unwrap();
            let told = takes(Protocol::Udp, sender.local_addr().unwrap(), to);
            assert_eq!(told, (expected, expected), "{address} -> {to}");
            assert_eq!(is_received(&sender, &receiver, to), expected, "{address} -> {to}");
        }
    }

    #[test]
    fn a_connected_udp_socket_takes_what_its_peer_sends() {
        for host in ["127.0.0.1", "::1"] {
            let [receiver, peer, stranger] = [(); 3].map(|()| UdpSocket::bind(at(host, 0)).unwrap());
            let [to, from, other] = [&receiver, &peer, &stranger].map(|socket| socket.local_addr().unwrap());
            receiver.connect(from).unwrap();
            assert_eq!(takes(Protocol::Udp, from, to), (true, false));
            assert_eq!(takes(Protocol::Udp, to, from), (true, true), "the peer is not connected");
            assert!(!takes(Protocol::Udp, other, to).0);
            assert!(is_received(&peer, &receiver, to) && !is_received(&stranger, &receiver, to));
        }
    }

    #[test]
    fn what_a_syn_finds_is_told() {
        for (address, v6_only, to, expected) in [
            ("127.0.0.1", false, "127.0.0.1", true),
            ("0.0.0.0", false, "127.0.0.1", true),
            ("127.0.0.2", false, "127.0.0.1", false),
            ("0.0.0.0", false, "::1", false),
            ("::1", false, "::1", true),
            ("::", false, "::1", true),
            ("::", false, "127.0.0.1", true),
            ("::", true, "127.0.0.1", false),
        ] {
            let own_kind_only = |socket: &Socket| {
                if address.contains(':') {
                    socket.set_only_v6(v6_only).unwrap();
                }
            };
            let listener = bound(Type::STREAM, at(address, 0), own_kind_only);
            let to = at(to, port(&listener));
            let client = bound(Type::STREAM, SocketAddr::new(to.ip(), 0), |_| {});
            let from = SocketAddr::new(to.ip(), port(&client));
            assert_eq!(takes(Protocol::Tcp, from, to), (false, false), "{address} does not listen yet");
            listener.listen(1).unwrap();
            assert_eq!(takes(Protocol::Tcp, from, to), (expected, expected), "{address} -> {to}");
            assert_eq!(client.connect(&to.into()).is_ok(), expected, "{address} -> {to}");
        }
    }

    #[test]
    fn a_connection_takes_what_its_peer_sends() {
        for host in ["127.0.0.1", "::1"] {
            let listener = TcpListener::bind(at(host, 0)).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let [own, peer] = [&client, &server].map(|socket| socket.local_addr().unwrap());
            assert_eq!(takes(Protocol::Tcp, peer, own), (true, false), "nobody else may connect there");
            drop(listener);
            assert_eq!(takes(Protocol::Tcp, own, peer), (true, false), "it goes on");
        }
    }

    #[test]
    fn what_is_closed_takes_nothing() {
        let (listener, socket) =
            (TcpListener::bind("[::1]:0").unwrap(), UdpSocket::bind("0.0.0.0:0").unwrap());
        let (tcp, udp) =
            (listener.local_addr().unwrap(), at("127.0.0.1", socket.local_addr().unwrap().port()));
        assert!(takes(Protocol::Tcp, at("::1", 40_000), tcp).0);
        assert!(takes(Protocol::Udp, at("127.0.0.1", 40_000), udp).0);
        drop((listener, socket));
        assert!(!takes(Protocol::Tcp, at("::1", 40_000), tcp).0);
        assert!(!takes(Protocol::Udp, at("127.0.0.1", 40_000), udp).0);
    }

    #[test]
    fn a_socket_on_one_interface_takes_nothing_from_another() {
        let on_loopback = |socket: &Socket| socket.bind_device(Some(b"lo")).unwrap();
        let (tcp, udp) = (
            bound(Type::STREAM, at("127.0.0.1", 0), on_loopback),
            bound(Type::DGRAM, at("127.0.0.1", 0), on_loopback),
        );
        tcp.listen(1).unwrap();
        let mut sockets = Sockets::open().unwrap();
        for (protocol, socket) in [(Protocol::Tcp, &tcp), (Protocol::Udp, &udp)] {
            let mut takes = |interface| {
                let to = at("127.0.0.1", port(socket));
                sockets.take(protocol, at("127.0.0.1", 40_000), to, interface).unwrap()
            };
            assert!(takes(loopback()) && !takes(loopback() + 1), "{protocol}");
        }
    }

    #[test]
    fn a_protocol_that_the_kernel_does_not_tell_of_is_an_error() {
        let mut sockets = Sockets::open().unwrap();
        let error = sockets.try_protocol(255).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }

    proptest! {
        #[test]
        fn any_packet_has_an_answer(
            udp: bool,
            from: (IpAddr, u16),
            to: (IpAddr, u16),
            interface: u32,
        ) {
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let mut sockets = Sockets::open().unwrap();
            let answer = sockets.take(protocol, from.into(), to.into(), interface);
            prop_assert!(answer.is_ok(), "{answer:?}");
        }
    }
}
