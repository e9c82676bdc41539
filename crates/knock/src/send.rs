//! Knocks leave the machine: one SYN or one datagram each, no more.
//!
//! A TCP knock is a connection that is begun and given up at once. The socket is closed before an answer can
//! count, so the SYN is never sent again, whether the port is open, refused or filtered: a second SYN would be a
//! second knock. A UDP knock is one datagram of one NUL byte, what `knock` 0.8 sends, or one that was signed.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use knock_core::knock::Protocol;
use knock_core::sequence::Step;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

const DATAGRAM: [u8; 1] = [0];

/// How knocks are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    /// The address to send from; the system chooses where there is none.
    pub(crate) source: Option<IpAddr>,
    /// How long to wait between two knocks.
    pub(crate) gap: Duration,
    /// How long to wait behind the last.
    pub(crate) rest: Duration,
}

/// A knock that did not leave this machine, and the end of its sequence with it.
#[derive(Debug)]
pub(crate) struct Unsent {
    number: usize,
    of: usize,
    step: Step,
    target: SocketAddr,
    source: Option<IpAddr>,
    trouble: Trouble,
}

#[derive(Debug)]
enum Trouble {
    /// The system has no such sockets: it was built or started without IPv6.
    NoSocket(io::Error),
    /// The address to send from is of no interface of this machine.
    ForeignSource,
    Failed(io::Error),
}

impl Trouble {
    fn into_error(self) -> io::Error {
        match self {
            Self::ForeignSource => io::ErrorKind::AddrNotAvailable.into(),
            Self::NoSocket(error) | Self::Failed(error) => error,
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Sender {
    /// Knocks `steps` at `target`, whatever its port, and calls `before` before each.
    ///
    /// # Errors
    /// At the first knock that cannot be sent; those behind it are not tried.
    pub(crate) fn send(
        &self,
        target: SocketAddr,
        steps: &[Step],
        mut before: impl FnMut(Step),
    ) -> Result<(), Unsent> {
        for (index, &step) in steps.iter().enumerate() {
            before(step);
            let target = with_port(target, step.port);
            self.knock(target, step.protocol).map_err(|trouble| Unsent {
                number: index + 1,
                of: steps.len(),
                step,
                target,
                source: self.source,
                trouble,
            })?;
            sleep(if index + 1 < steps.len() { self.gap } else { self.rest });
        }
        Ok(())
    }

    /// Sends one datagram to `target`.
    ///
    /// # Errors
    /// Where it cannot be sent.
    pub(crate) fn send_datagram(&self, target: SocketAddr, datagram: &[u8]) -> Result<(), Unsent> {
        let sent = self.socket(target, Protocol::Udp).and_then(|socket| {
            socket.send_to(datagram, &target.into())?;
            Ok(())
        });
        sent.map_err(|trouble| self.unsent(target, trouble))?;
        sleep(self.rest);
        Ok(())
    }

    /// The address that what goes to `target` comes from; nothing is sent.
    ///
    /// # Errors
    /// Where nothing can go there.
    pub(crate) fn own_address(&self, target: SocketAddr) -> Result<IpAddr, Unsent> {
        let own = || {
            let socket = self.socket(target, Protocol::Udp)?;
            socket.connect(&target.into())?;
            let own = socket.local_addr()?.as_socket();
            own.map(|own| own.ip()).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable).into())
        };
        own().map_err(|trouble| self.unsent(target, trouble))
    }

    /// The only datagram was not sent.
    fn unsent(&self, target: SocketAddr, trouble: Trouble) -> Unsent {
        let step = Step { port: target.port(), protocol: Protocol::Udp };
        Unsent { number: 1, of: 1, step, target, source: self.source, trouble }
    }

    /// Begins a connection to `target` that is not given up, and does not wait for it.
    ///
    /// # Errors
    /// What the system says, be it that the other side refuses.
    pub(crate) fn connect(&self, target: SocketAddr) -> io::Result<Socket> {
        let socket = self.socket(target, Protocol::Tcp).map_err(Trouble::into_error)?;
        match begin_to_connect(&socket, target) {
            Err(error) if !is_unanswered(&error) => Err(error),
            _ => Ok(socket),
        }
    }

    fn knock(&self, target: SocketAddr, protocol: Protocol) -> Result<(), Trouble> {
        let socket = self.socket(target, protocol)?;
        let sent = match protocol {
            Protocol::Tcp => begin_to_connect(&socket, target),
            Protocol::Udp => socket.send_to(&DATAGRAM, &target.into()).map(drop),
        };
        match sent {
            Err(error) if !was_sent(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn socket(&self, target: SocketAddr, protocol: Protocol) -> Result<Socket, Trouble> {
        let (kind, number) = match protocol {
            Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
            Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
        };
        let socket =
            Socket::new(Domain::for_address(target), kind, Some(number)).map_err(Trouble::NoSocket)?;
        if let Some(source) = self.source {
            bind(&socket, source, target)?;
        }
        Ok(socket)
    }
}

fn begin_to_connect(socket: &Socket, target: SocketAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.connect(&target.into())
}

/// A knock that the other side refuses, or whose answer is not there yet, was sent.
fn was_sent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused || is_unanswered(error)
}

/// Unix says `EINPROGRESS`, Windows `WouldBlock`.
fn is_unanswered(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || Errno::from_io_error(error) == Some(Errno::INPROGRESS)
}

fn bind(socket: &Socket, source: IpAddr, target: SocketAddr) -> Result<(), Trouble> {
    match socket.bind(&sending_address(source, target).into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Err(Trouble::ForeignSource),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

/// A link-local source needs an interface, and can only be on the target's.
fn sending_address(source: IpAddr, target: SocketAddr) -> SocketAddr {
    let mut address = SocketAddr::new(source, 0);
    if let (SocketAddr::V6(address), SocketAddr::V6(target)) = (&mut address, target) {
        address.set_scope_id(target.scope_id());
    }
    address
}

/// `address` with another port.
pub(crate) fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

impl Unsent {
    /// Whether this machine has no way to the target at all, so that nothing of the sequence was sent.
    pub(crate) fn has_no_way(&self) -> bool {
        use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
        let no_way = match &self.trouble {
            Trouble::NoSocket(_) => true,
            Trouble::ForeignSource => false,
            Trouble::Failed(error) => {
                matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkUnreachable)
            }
        };
        self.number == 1 && no_way
    }

    fn advice(&self, kind: io::ErrorKind) -> String {
        match (kind, self.source) {
            (io::ErrorKind::PermissionDenied, _) => {
                "; a firewall or a route of this machine forbids it".into()
            }
            _ if lacks_interface(self.target) => {
                "; a link-local address needs its interface: fe80::1%eth0".into()
            }
            (io::ErrorKind::InvalidInput, Some(source)) => {
                format!("; it cannot be reached from {source} (--source)")
            }
            _ => String::new(),
        }
    }
}

fn lacks_interface(target: SocketAddr) -> bool {
    matches!(target, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0)
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, of, step, target, trouble, .. } = self;
        write!(f, "{} {target} (knock {number} of {of}) could not be sent: ", step.protocol)?;
        match trouble {
            Trouble::ForeignSource => f.write_str("--source is no address of this machine"),
            Trouble::NoSocket(error) => error.fmt(f),
            Trouble::Failed(error) => write!(f, "{error}{}", self.advice(error.kind())),
        }
    }
}

impl std::error::Error for Unsent {}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsent(number: usize, target: &str, error: io::ErrorKind) -> Unsent {
        let step = Step::parse("7:udp").unwrap();
        let trouble = Trouble::Failed(error.into());
        Unsent { number, of: 3, step, target: target.parse().unwrap(), source: None, trouble }
    }

    #[test]
    fn an_answer_that_is_not_there_yet_is_no_failure() {
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionRefused] {
            assert!(was_sent(&kind.into()), "{kind}");
        }
        for kind in [io::ErrorKind::NetworkUnreachable, io::ErrorKind::PermissionDenied] {
            assert!(!was_sent(&kind.into()), "{kind}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn unix_says_in_progress() {
        assert!(was_sent(&Errno::INPROGRESS.into()));
    }

    #[test]
    fn a_link_local_source_is_on_the_targets_interface() {
        let target = SocketAddr::V6(std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3));
        let SocketAddr::V6(source) = sending_address("fe80::2".parse().unwrap(), target) else {
            panic!("no IPv6")
        };
        assert_eq!(source.scope_id(), 3);
        assert_eq!(source.port(), 0);
    }

    #[test]
    fn only_a_sequence_that_never_began_can_be_passed_over() {
        let no_way = |number, kind| unsent(number, "192.0.2.1:7", kind).has_no_way();
        assert!(no_way(1, io::ErrorKind::NetworkUnreachable));
        assert!(!no_way(2, io::ErrorKind::NetworkUnreachable));
        assert!(!no_way(1, io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn says_what_to_do() {
        let forbidden = unsent(2, "192.0.2.1:7", io::ErrorKind::PermissionDenied).to_string();
        assert!(forbidden.starts_with("udp 192.0.2.1:7 (knock 2 of 3) could not be sent: "), "{forbidden}");
        assert!(forbidden.contains("firewall"), "{forbidden}");
        let link_local = unsent(1, "[fe80::1]:7", io::ErrorKind::InvalidInput).to_string();
        assert!(link_local.contains("fe80::1%eth0"), "{link_local}");
    }
}
