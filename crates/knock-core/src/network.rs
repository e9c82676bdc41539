//! Networks: an address with the length of its prefix (RFC 4632, RFC 4291 section 2.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that begin with the same bits. A single address is a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    /// The bits behind the prefix are zero.
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of `address` with a prefix of so many bits, at most 32 or 128; more count as that many.
    pub fn of(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(bits(address));
        Self { address: masked(address, prefix), prefix }
    }

    /// The network of one address alone.
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix: bits(address) }
    }

    /// Who counts as one where there are budgets: an IPv4 address, or all of an IPv6 network of 64 bits, which is the
    /// least that a site has (RFC 6177) and more addresses than can be counted.
    pub fn party(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::host(address),
            IpAddr::V6(_) => Self::of(address, 64),
        }
    }

    /// Its first address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits all its addresses have in common.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether an address is of this network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.address
    }

    /// Whether it is one address.
    pub fn is_host(self) -> bool {
        self.prefix == bits(self.address)
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// An address alone where it is one, `ADDRESS/PREFIX` otherwise.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            return self.address.fmt(f);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The text is neither an address nor `ADDRESS/PREFIX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNetwork;

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither an address nor a network such as 192.0.2.0/24 or 2001:db8::/32")
    }
}

impl std::error::Error for NoNetwork {}

/// Bits behind the prefix are passed over: `192.0.2.7/24` is `192.0.2.0/24`.
impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse().map(Self::host).map_err(|_| NoNetwork);
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        match prefix.parse::<u8>() {
            Ok(prefix) if digits && prefix <= bits(address) => Ok(Self::of(address, prefix)),
            _ => Err(NoNetwork),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_networks() {
        for (text, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::7/64", "2001:db8::/64"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
        for bad in ["", "192.0.2", "192.0.2.7/33", "::/129", "192.0.2.7/", "192.0.2.7/+8", "192.0.2.7/8/8"] {
            assert_eq!(bad.parse::<Network>(), Err(NoNetwork), "{bad}");
        }
    }

    #[test]
    fn contains_its_own_family_alone() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.1".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
        let half: Network = "128.0.0.0/1".parse().unwrap();
        assert!(half.contains("203.0.113.1".parse().unwrap()));
        assert!(!half.contains("10.0.0.1".parse().unwrap()));
    }
}
