//! How a client may call this machine.

use std::net::{IpAddr, Ipv4Addr};

use knock_linux::links::{self, Link, Routes};

use crate::administrator::Administrator;

/// What stands in examples where nothing better is known.
pub(crate) const PLACEHOLDER: &str = "SERVER";

/// The address by which it is found from anywhere: the one that the administrator is connected to, else one of an interface
/// that a default route leads through. A private address is none: what it is called outside is not known here.
pub(crate) fn guess(administrator: Option<Administrator>) -> Option<IpAddr> {
    let connected = administrator.map(|administrator| administrator.server);
    let links = links::read(Routes::Followed).unwrap_or_default();
    connected.filter(is_public).or_else(|| of_links(&links))
}

/// IPv4 first: more clients have it.
fn of_links(links: &[Link]) -> Option<IpAddr> {
    let outward = links.iter().filter(|link| link.default_route);
    let addresses = outward.flat_map(|link| &link.addresses).map(|(address, _)| *address);
    addresses.filter(is_public).min_by_key(IpAddr::is_ipv6)
}

/// A name or an address that a shell takes as it is.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if text.is_empty() || text.starts_with('-') || !text.chars().all(fits) {
        return Err("expected a name or an address, such as server.example.org".into());
    }
    Ok(text.to_owned())
}

fn is_public(address: &IpAddr) -> bool {
    /// Carriers' own (RFC 6598).
    const SHARED: (Ipv4Addr, u32) = (Ipv4Addr::new(100, 64, 0, 0), 0xffc0_0000);
    match address {
        IpAddr::V4(address) => {
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_broadcast()
                || address.to_bits() & SHARED.1 == SHARED.0.to_bits())
        }
        // Global unicast (RFC 4291): 2000::/3.
        IpAddr::V6(address) => address.segments()[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_no_use_outside() {
        for (address, public) in [
            ("192.0.2.1", true),
            ("100.63.0.1", true),
            ("100.64.0.1", false),
            ("10.9.0.1", false),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("2001:db8::1", true),
            ("fd09::1", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_public(&address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn the_way_out_counts() {
        let link = |default_route, addresses: &[&str]| Link {
            default_route,
            addresses: addresses.iter().map(|address| (address.parse().unwrap(), 24)).collect(),
            ..Link::default()
        };
        let of = |links: &[Link]| of_links(links).map(|address| address.to_string());
        let inner = link(false, &["192.0.2.9"]);
        assert_eq!(
            of(&[inner.clone(), link(true, &["10.0.0.1", "2001:db8::1", "192.0.2.1"])]),
            Some("192.0.2.1".into())
        );
        assert_eq!(of(&[inner, link(true, &["10.0.0.1", "fe80::1"])]), None);
    }

    #[test]
    fn hosts_are_harmless_to_a_shell() {
        for good in ["server.example.org", "192.0.2.1", "2001:db8::1", "fe80::1%eth0"] {
            assert_eq!(host(good).as_deref(), Ok(good));
        }
        for bad in ["", "-x", "a b", "a;b", "$(a)", "a\n"] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }
}
