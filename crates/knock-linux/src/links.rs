//! The machine's interfaces, addresses and default routes, and word of their changes (`rtnetlink(7)`).
//!
//! The kernel's messages are read by hand for the few attributes that matter, so that one which a later kernel adds
//! or changes makes nobody deaf.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

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
    changes: Socket,
}

impl Links {
    /// Begins to listen for changes; of routes only with `Routes::Followed`.
    ///
    /// # Errors
    /// Where the kernel has no rtnetlink.
    pub fn open(routes: Routes) -> io::Result<Self> {
        const LINKS: [u32; 3] = [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];
        const ROUTES: [u32; 2] = [libc::RTNLGRP_IPV4_ROUTE, libc::RTNLGRP_IPV6_ROUTE];
        let mut changes = Socket::new(NETLINK_ROUTE)?;
        changes.bind_auto()?;
        changes.set_non_blocking(true)?;
        let of_routes = ROUTES.into_iter().filter(|_| routes == Routes::Followed);
        for group in LINKS.into_iter().chain(of_routes) {
            changes.add_membership(group)?;
        }
        Ok(Self { changes })
    }

    /// Whether something has changed since the last call. What changed is for [`read`] to say: word of it may get
    /// lost, the state does not.
    pub fn changed(&self) -> bool {
        let mut changed = false;
        loop {
            match self.changes.recv(&mut Vec::with_capacity(RECEIVE_BUFFER), 0) {
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
        // netlink-sys implements `AsRawFd` alone; the borrow lives no longer than the socket.
        borrowed(&self.changes)
    }
}

#[allow(unsafe_code, reason = "netlink-sys hands out raw descriptors only")]
fn borrowed(socket: &Socket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `socket` lives, and the result borrows it.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

const RECEIVE_BUFFER: usize = 64 * 1024;

/// The links as they are, in the order of their indexes.
///
/// # Errors
/// Where rtnetlink cannot be asked.
pub fn read(routes: Routes) -> io::Result<Vec<Link>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
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
fn dump(socket: &Socket, request: u16, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    const HEADER: usize = 16;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    // A header (length, type, flags, sequence number, port) and a body of zeros, which asks for all families.
    let mut message = [0_u8; 2 * HEADER];
    message[..4].copy_from_slice(&(2 * HEADER as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&request.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    socket.send(&message, 0)?;
    loop {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some((kind, body, behind)) = next_message(rest) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => return Err(kernel_error(body)),
                _ => each(body),
            }
            rest = behind;
        }
    }
}

fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32_at(bytes, 0)? as usize;
    let kind = u16_at(bytes, 4)?;
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(aligned(length)..).unwrap_or_default()))
}

fn kernel_error(body: &[u8]) -> io::Error {
    io::Error::from_raw_os_error(u32_at(body, 0).map_or(0, |code| (code as i32).saturating_neg()))
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
        bytes = bytes.get(aligned(usize::from(length).max(8))..).unwrap_or_default();
    }
    interfaces
}

/// The attributes (type, value) of an `rtattr` list, up to the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const TYPE: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok().or_else(v4)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
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
    fn attributes_that_do_not_fit_end_the_list() {
        let good = [8, 0, 3, 0, b'l', b'o', 0, 0];
        let found: Vec<_> = attributes(&good).collect();
        assert_eq!(found, [(3, &b"lo\0\0"[..])]);
        for lying in [[9, 0, 3, 0], [3, 0, 3, 0], [0, 0, 0, 0]] {
            assert_eq!(attributes(&lying).count(), 0, "{lying:?}");
        }
        assert_eq!(next_hops(&[0; 16]).len(), 2, "a length of zero does not stand still");
    }
}
