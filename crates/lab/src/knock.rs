//! A knocking client of the laboratory's own, so that the daemon's tests need no other program.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::CpuSet;

use crate::host::Host;

impl Host {
    /// Knocks on `ports` of `target` in this order: `7000,8000:udp,9000:tcp`; TCP when unsaid.
    ///
    /// # Errors
    /// `InvalidInput` for anything else than such a list, or what sending says.
    pub fn knock(&self, target: IpAddr, ports: &str) -> io::Result<()> {
        self.knock_from(None, target, ports, Duration::ZERO)
    }

    /// As [`knock`](Self::knock), from one of this host's addresses (or the one that routing chooses) and with a
    /// pause between two knocks.
    ///
    /// # Errors
    /// As [`knock`](Self::knock), and when `source` is not an address of this host.
    pub fn knock_from(
        &self,
        source: Option<IpAddr>,
        target: IpAddr,
        ports: &str,
        pause: Duration,
    ) -> io::Result<()> {
        let knocks = parse(ports)?;
        let source = SocketAddr::new(source.unwrap_or_else(|| unspecified(target)), 0);
        self.run(|| {
            stay_on_one_processor();
            for (index, (port, is_udp)) in knocks.into_iter().enumerate() {
                if index > 0 && !pause.is_zero() {
                    thread::sleep(pause);
                }
                let target = SocketAddr::new(target, port);
                if is_udp { datagram(source, target)? } else { syn(source, target)? }
            }
            Ok(())
        })
    }
}

/// Packets sent from two processors may overtake each other, and the order is what a knock is about.
fn stay_on_one_processor() {
    let mut here = CpuSet::new();
    here.set(rustix::thread::sched_getcpu());
    // Where that is not allowed, the order is only very likely.
    let _ = rustix::thread::sched_setaffinity(None, &here);
}

fn datagram(source: SocketAddr, target: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(source)?.send_to(&[], target)?;
    Ok(())
}

/// Sends one SYN and forgets the connection: whatever answers, no handshake is completed.
fn syn(source: SocketAddr, target: SocketAddr) -> io::Result<()> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &source)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn parse(ports: &str) -> io::Result<Vec<(u16, bool)>> {
    ports.split([',', ' ']).filter(|word| !word.is_empty()).map(parse_one).collect()
}

fn parse_one(word: &str) -> io::Result<(u16, bool)> {
    let (port, protocol) = word.split_once(':').unwrap_or((word, "tcp"));
    match (port.parse(), protocol) {
        (Ok(port), "tcp") => Ok((port, false)),
        (Ok(port), "udp") => Ok((port, true)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no port to knock on: {word}"))),
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
