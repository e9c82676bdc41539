//! The machine's interfaces, addresses and default routes, and word of their changes (`rtnetlink(7)`).
//!
//! The kernel's messages are read by hand for the few attributes that matter, so that one which a later kernel adds
//! or changes makes nobody deaf.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::netlink::{Messages, Netlink, attributes, behind, ip, text, u16_at, u32_at};

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it; another one when it comes back after it was deleted.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// The bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// The interface that it is a VLAN of.
    pub vlan_of: Option<u32>,
    /// Its addresses, with the lengths of their prefixes.
    pub addresses: BTreeSet<(IpAddr, u8)>,
    /// Whether a default route, of IPv4 or IPv6, leads through it.
    pub default_route: bool,
}

/// Whether default routes are of interest. A router may have a million other routes, all of which are then looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// [`Link::default_route`] is kept up to date.
    Followed,
    /// [`Link::default_route`] is never set.
    Ignored,
}

/// Hears of changes of links.
pub struct Links {
    changes: Netlink,
}

impl Links {
    /// Begins to listen for changes; of routes only with `Routes::Followed`.
    ///
    /// # Errors
    /// Where the kernel has no rtnetlink.
    pub fn open(routes: Routes) -> io::Result<Self> {
        const LINKS: [u32; 3] = [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];
        const ROUTES: [u32; 2] = [libc::RTNLGRP_IPV4_ROUTE, libc::RTNLGRP_IPV6_ROUTE];
        let mut changes = Netlink::open(libc::NETLINK_ROUTE)?;
        changes.set_non_blocking()?;
        let of_routes = ROUTES.into_iter().filter(|_| routes == Routes::Followed);
        for group in LINKS.into_iter().chain(of_routes) {
            changes.join(group)?;
        }
        Ok(Self { changes })
    }

    /// Whether something has changed since the last call. What changed is for [`read`] to say: word of it may get
    /// lost, the state does not.
    pub fn changed(&self) -> bool {
        let (mut changed, mut buffer) = (false, Vec::new());
        loop {
            match self.changes.receive(&mut buffer) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return changed,
                // So much has happened that the kernel could not tell it all.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

/// The links as they are, in the order of their indexes.
///
/// # Errors
/// Where rtnetlink cannot be asked.
pub fn read(routes: Routes) -> io::Result<Vec<Link>> {
    let socket = Netlink::open(libc::NETLINK_ROUTE)?;
    let mut links = Vec::new();
    dump(&socket, libc::RTM_GETLINK, |message| links.extend(link(message)))?;
    dump(&socket, libc::RTM_GETADDR, |message| {
        if let Some((index, address)) = address(message) {
            edit(&mut links, index, |link| {
                link.addresses.insert(address);
            });
        }
    })?;
    if routes == Routes::Followed {
        dump(&socket, libc::RTM_GETROUTE, |message| {
            for index in default_route(message) {
                edit(&mut links, index, |link| link.default_route = true);
            }
        })?;
    }
    links.sort_by_key(|link| link.index);
    Ok(links)
}

fn edit(links: &mut [Link], index: u32, change: impl FnOnce(&mut Link)) {
    if let Some(link) = links.iter_mut().find(|link| link.index == index) {
        change(link);
    }
}

/// Asks for all objects of a kind and hands over each message's body.
fn dump(socket: &Netlink, request: u16, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    // A body of zeros asks for all families.
    let mut message = Messages::new();
    message.add((request, libc::NLM_F_DUMP, 0), &[0; 16], |_| {});
    match socket.dump(&message, |message| each(message.body)) {
        // Word of the change is on its way.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        done => done,
    }
}

/// An `ifinfomsg` and its attributes.
fn link(message: &[u8]) -> Option<Link> {
    const HEADER: usize = 16;
    let flags = u32_at(message, 8)? as i32;
    let mut link = Link {
        index: u32_at(message, 4)?,
        up: flags & libc::IFF_UP != 0,
        loopback: flags & libc::IFF_LOOPBACK != 0,
        ..Link::default()
    };
    let (mut parent, mut vlan, mut elsewhere) = (None, false, false);
    for (kind, value) in attributes(message.get(HEADER..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_MASTER => link.master = u32_at(value, 0),
            libc::IFLA_LINK => parent = u32_at(value, 0),
            libc::IFLA_LINK_NETNSID => elsewhere = true,
            libc::IFLA_LINKINFO => {
                vlan = attributes(value)
                    .any(|(kind, value)| kind == libc::IFLA_INFO_KIND && text(value) == "vlan");
            }
            _ => {}
        }
    }
    link.vlan_of = parent.filter(|_| vlan && !elsewhere);
    Some(link)
}

/// An `ifaddrmsg` and its attributes.
fn address(message: &[u8]) -> Option<(u32, (IpAddr, u8))> {
    const HEADER: usize = 8;
    let (prefix, index) = (*message.get(1)?, u32_at(message, 4)?);
    let (mut local, mut address) = (None, None);
    for (kind, value) in attributes(message.get(HEADER..)?) {
        match kind {
            libc::IFA_LOCAL => local = ip(value),
            libc::IFA_ADDRESS => address = ip(value),
            _ => {}
        }
    }
    // On a point-to-point link `IFA_ADDRESS` is the peer's.
    Some((index, (local.or(address)?, prefix)))
}

/// An `rtmsg` and its attributes: the interfaces that a default route leads through.
fn default_route(message: &[u8]) -> Vec<u32> {
    const HEADER: usize = 12;
    let family = message.first().copied().map(i32::from);
    let unicast = message.get(7) == Some(&libc::RTN_UNICAST);
    let to_all = message.get(1) == Some(&0);
    if !unicast || !to_all || !matches!(family, Some(libc::AF_INET | libc::AF_INET6)) {
        return Vec::new();
    }
    let mut interfaces = Vec::new();
    for (kind, value) in attributes(message.get(HEADER..).unwrap_or_default()) {
        match kind {
            libc::RTA_OIF => interfaces.extend(u32_at(value, 0)),
            libc::RTA_MULTIPATH => interfaces.extend(next_hops(value)),
            _ => {}
        }
    }
    interfaces
}

/// The interfaces of a list of `rtnexthop`.
fn next_hops(mut bytes: &[u8]) -> Vec<u32> {
    let mut interfaces = Vec::new();
    while let (Some(length), Some(index)) = (u16_at(bytes, 0), u32_at(bytes, 4)) {
        interfaces.push(index);
        bytes = behind(bytes, usize::from(length).max(8));
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_loopback_interface() {
        let links = read(Routes::Followed).unwrap();
        let lo = links.iter().find(|link| link.loopback).expect("every namespace has one");
        assert_eq!(lo.name, "lo");
        assert!(!lo.default_route);
    }

    #[test]
    fn a_next_hop_without_a_length_does_not_stand_still() {
        assert_eq!(next_hops(&[0; 16]).len(), 2);
    }
}
