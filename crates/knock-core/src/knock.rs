//! The knock: the one packet that counts.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::sequence::Step;

/// A transport protocol that a port can be knocked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Protocol {
    /// The number in an IP header's protocol field.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The control bits of a TCP header that `TCPFlags` can name (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// FIN: no more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// SYN: synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// RST: reset the connection.
    pub const RST: Self = Self(0x04);
    /// PSH: push.
    pub const PSH: Self = Self(0x08);
    /// ACK: the acknowledgement field is significant.
    pub const ACK: Self = Self(0x10);
    /// URG: the urgent pointer is significant.
    pub const URG: Self = Self(0x20);

    /// Each flag by its name, as `TCPFlags` writes it.
    pub const NAMES: [(&str, Self); 6] = [
        ("fin", Self::FIN),
        ("syn", Self::SYN),
        ("rst", Self::RST),
        ("psh", Self::PSH),
        ("ack", Self::ACK),
        ("urg", Self::URG),
    ];

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(_, flag)| self.contains(*flag)).map(|(name, _)| name)
    }

    /// From the byte at offset 13 of a TCP header; the bits above URG are left out.
    pub const fn from_header_byte(byte: u8) -> Self {
        Self(byte & 0x3f)
    }

    /// The bits as they stand in the header.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every bit of `other` is set here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some bit of `other` is set here.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The bits set in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits set here but not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A packet that may be part of a sequence, as far as the rules look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock {
    /// Who knocks.
    pub source: IpAddr,
    /// The address that was knocked at.
    pub destination: IpAddr,
    /// The port and protocol that were hit.
    pub step: Step,
    /// The TCP flags; none for UDP.
    pub flags: TcpFlags,
    /// What a retransmission or a duplicate of the same packet has in common with it, and the next knock of the same
    /// source has not: both ports, and sequence number (TCP) or IP identification and checksum (UDP). The source port is
    /// in the highest 16 bits.
    pub fingerprint: u64,
}

impl Knock {
    /// The address and port that it comes from.
    pub const fn from(&self) -> SocketAddr {
        SocketAddr::new(self.source, (self.fingerprint >> 48) as u16)
    }

    /// The address and port that it goes to.
    pub const fn to(&self) -> SocketAddr {
        SocketAddr::new(self.destination, self.step.port)
    }
}
