//! A host's name becomes the addresses to knock at: once, for the whole sequence.
//!
//! A name with several addresses may be answered in another order each time it is asked; a knock that asked for
//! each port would be split over several machines.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::error::Error;

/// A version of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

impl Family {
    /// The one that `address` belongs to.
    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    fn first(self, addresses: &[SocketAddr]) -> Option<SocketAddr> {
        addresses.iter().copied().find(|address| Self::of(address.ip()) == self)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Which of a host's addresses are knocked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The one that the resolver puts first.
    First,
    /// The first of this family.
    Only(Family),
    /// The first of each family.
    Both,
}

impl Wanted {
    /// The chosen addresses, in the resolver's order: the best first.
    fn choose(self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        match self {
            Self::First => addresses.first().copied().into_iter().collect(),
            Self::Only(family) => family.first(addresses).into_iter().collect(),
            Self::Both => {
                let mut chosen: Vec<_> = [Family::V4, Family::V6]
                    .into_iter()
                    .filter_map(|family| family.first(addresses))
                    .collect();
                chosen.sort_by_key(|chosen| addresses.iter().position(|address| address == chosen));
                chosen
            }
        }
    }
}

/// Where to knock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    addresses: Vec<SocketAddr>,
    missing: Option<Family>,
    /// A family that it has and that is not knocked at.
    left_out: Option<Family>,
    scope: Option<String>,
}

impl Host {
    /// Asks the system's resolver; an address in digits, with a scope or without (`fe80::1%eth0`), is its own answer.
    ///
    /// # Errors
    /// Where the name has no address, or none of the wanted family.
    pub(crate) fn resolve(name: &str, wanted: Wanted) -> Result<Self, Error> {
        let found = look_up(name)?;
        let addresses = wanted.choose(&found);
        match (addresses.as_slice(), wanted) {
            ([], Wanted::Only(family)) => Err(Error::NoAddress { host: name.to_owned(), family }),
            (chosen, _) => {
                let missing = missing(chosen, wanted);
                let left_out =
                    found.iter().map(of).find(|family| !chosen.iter().map(of).any(|it| it == *family));
                let scope = name.split_once('%').map(|(_, scope)| scope.to_owned());
                Ok(Self { addresses, missing, left_out, scope })
            }
        }
    }

    /// What to knock at, each with the whole sequence; at least one. The ports are 0.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The family that was wanted besides the other, and that the host does not have.
    pub(crate) const fn missing(&self) -> Option<Family> {
        self.missing
    }

    /// A family that the host has addresses of, of which none is knocked at.
    pub(crate) const fn left_out(&self) -> Option<Family> {
        self.left_out
    }

    /// `address` as it is shown: with the scope that the user wrote.
    pub(crate) fn shown(&self, address: IpAddr) -> String {
        match &self.scope {
            Some(scope) => format!("{address}%{scope}"),
            None => address.to_string(),
        }
    }
}

fn of(address: &SocketAddr) -> Family {
    Family::of(address.ip())
}

fn missing(chosen: &[SocketAddr], wanted: Wanted) -> Option<Family> {
    match (wanted, chosen) {
        (Wanted::Both, [SocketAddr::V4(_)]) => Some(Family::V6),
        (Wanted::Both, [SocketAddr::V6(_)]) => Some(Family::V4),
        _ => None,
    }
}

fn look_up(name: &str) -> Result<Vec<SocketAddr>, Error> {
    let unresolved = |cause| Error::Unresolved { host: name.to_owned(), cause };
    let found: Vec<_> = (name, 0).to_socket_addrs().map_err(unresolved)?.collect();
    if found.is_empty() { Err(unresolved(std::io::ErrorKind::NotFound.into())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect()
    }

    fn chosen(wanted: Wanted, text: &[&str]) -> Vec<String> {
        wanted.choose(&addresses(text)).iter().map(|address| address.ip().to_string()).collect()
    }

    #[test]
    fn keeps_the_resolvers_order() {
        let mixed = ["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"];
        assert_eq!(chosen(Wanted::First, &mixed), ["2001:db8::1"]);
        assert_eq!(chosen(Wanted::Only(Family::V4), &mixed), ["192.0.2.1"]);
        assert_eq!(chosen(Wanted::Only(Family::V6), &mixed), ["2001:db8::1"]);
        assert_eq!(chosen(Wanted::Both, &mixed), ["2001:db8::1", "192.0.2.1"]);
        assert_eq!(chosen(Wanted::Both, &["192.0.2.1", "2001:db8::1"]), ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn says_which_family_is_missing() {
        assert_eq!(Host::resolve("::1", Wanted::Both).unwrap().missing(), Some(Family::V4));
        assert_eq!(Host::resolve("127.0.0.1", Wanted::Both).unwrap().missing(), Some(Family::V6));
        assert_eq!(Host::resolve("127.0.0.1", Wanted::First).unwrap().missing(), None);
    }

    #[test]
    fn refuses_the_other_family() {
        let error = Host::resolve("127.0.0.1", Wanted::Only(Family::V6)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("\"127.0.0.1\" has no IPv6 address"), "{error}");
    }

    #[test]
    fn shows_the_scope_that_was_written() {
        let host = Host {
            addresses: addresses(&["fe80::1"]),
            missing: None,
            left_out: None,
            scope: Some("eth0".into()),
        };
        assert_eq!(host.shown(host.addresses()[0].ip()), "fe80::1%eth0");
    }
}
