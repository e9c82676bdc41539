//! Which of the machine's interfaces are listened on, and at which addresses.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::IpAddr;

use knock_core::config::Interfaces;
use knock_linux::links::{self, Link, Links, Routes};

use crate::reading::Listened;

/// The interfaces that are listened on, as they are now.
#[derive(Default)]
pub(crate) struct Watched {
    wanted: Interfaces,
    /// Names of interfaces that are listened on for a while, beside those.
    guests: BTreeSet<String>,
    by_index: BTreeMap<u32, Link>,
    /// All addresses that can be knocked at without a `Target`.
    addresses: HashSet<IpAddr>,
    /// All addresses of this machine.
    own: HashSet<IpAddr>,
}

impl Watched {
    fn new(wanted: Interfaces, guests: BTreeSet<String>, links: &[Link]) -> Self {
        let is_wanted =
            |link: &&Link| wanted.matches(&link.name, link.default_route) || guests.contains(&link.name);
        let by_index: BTreeMap<_, _> =
            links.iter().filter(is_wanted).map(|link| (link.index, link.clone())).collect();
        let stacked = stacked_on(&by_index, links);
        let counts = |link: &&Link| stacked.contains(&link.index);
        let addresses = links.iter().filter(counts).flat_map(|link| &link.addresses);
        let addresses = addresses.map(|(address, _)| *address).collect();
        let own = links.iter().flat_map(|link| &link.addresses).map(|(address, _)| *address).collect();
        Self { wanted, guests, by_index, addresses, own }
    }

    /// Looks for the interfaces that are there now; `guests` are listened on for a while.
    pub(crate) fn find(wanted: Interfaces, guests: BTreeSet<String>) -> io::Result<Self> {
        let links = links::read(routes(&wanted))?;
        Ok(Self::new(wanted, guests, &links))
    }

    /// The same wish on the interfaces that are there now, with other guests.
    pub(crate) fn find_again(&self, guests: BTreeSet<String>) -> io::Result<Self> {
        Self::find(self.wanted.clone(), guests)
    }

    /// The interfaces that are listened on.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.by_index.values()
    }

    /// Listens for changes of what [`Watched::find`] would find.
    pub(crate) fn follow(wanted: &Interfaces) -> io::Result<Links> {
        Links::open(routes(wanted))
    }

    /// For the kernel filter: the interfaces' indexes, `None` for all.
    pub(crate) fn indexes(&self) -> Option<BTreeSet<u32>> {
        (self.wanted != Interfaces::Any).then(|| self.heard().collect())
    }

    /// The interfaces, and the bridges that they are ports of: on the port a packet to the bridge's own hardware address
    /// looks as if it were for another host.
    fn heard(&self) -> impl Iterator<Item = u32> {
        self.by_index.iter().flat_map(|(index, link)| [Some(*index), link.master]).flatten()
    }

    /// The same for the reading half.
    pub(crate) fn listened(&self) -> Listened {
        let loopback = self.by_index.values().filter(|link| link.loopback).map(|link| link.index);
        let nets = self.by_index.values().flat_map(|link| &link.addresses);
        let nets = nets.filter_map(|(address, prefix)| match address {
            IpAddr::V4(address) => Some((*address, *prefix)),
            IpAddr::V6(_) => None,
        });
        Listened {
            interfaces: self.indexes(),
            loopback: loopback.collect(),
            addresses: self.addresses.clone(),
            own: self.own.clone(),
            nets: nets.collect(),
        }
    }

    /// What is listened on, for people.
    pub(crate) fn names(&self) -> String {
        match &self.wanted {
            Interfaces::Default if !self.by_index.is_empty() => {
                let names: Vec<_> = self.by_index.values().map(|link| link.name.as_str()).collect();
                names.join(", ")
            }
            wanted => wanted.to_string(),
        }
    }

    /// What keeps this from hearing anything.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let is_there = |name: &str| self.by_index.values().any(|link| link.name == name);
        let missing = self.wanted.literal_names().filter(|name| !is_there(name));
        let missing = missing.map(|name| format!("{name}: no such interface yet, waiting for it"));
        let nothing = (self.by_index.is_empty() && self.wanted.literal_names().next().is_none()).then(|| {
            match &self.wanted {
                Interfaces::Default => "there is no default route yet, waiting for one".to_owned(),
                wanted => format!("no interface fits {wanted} yet, waiting for one"),
            }
        });
        let states = self.by_index.values().filter(|link| !link.loopback).filter_map(|link| {
            let trouble = match (link.up, self.wanted == Interfaces::Any) {
                (_, true) => return None,
                (false, _) => "the interface is down",
                (true, _) if self.addresses.is_empty() => "no address to knock at yet, waiting for one",
                _ => return None,
            };
            Some(format!("{}: {trouble}", link.name))
        });
        missing.chain(nothing).chain(states).collect()
    }

    /// What has changed since `before`, for the log.
    pub(crate) fn changes(&self, before: &Self) -> Vec<String> {
        let mut told = Vec::new();
        let gone = before.by_index.values().filter(|link| !self.by_index.contains_key(&link.index));
        for link in gone.filter(|link| !before.guests.contains(&link.name)) {
            told.push(format!("{}: the interface is gone, waiting for it", link.name));
        }
        for (index, link) in &self.by_index {
            match before.by_index.get(index) {
                None => told.push(format!("{}: the interface is there, listening", link.name)),
                Some(old) => told.extend(changes_of(old, link)),
            }
        }
        told
    }
}

/// These interfaces, and the bridges, bonds and VLANs that are made of them, however high.
fn stacked_on(by_index: &BTreeMap<u32, Link>, links: &[Link]) -> BTreeSet<u32> {
    let mut stacked: BTreeSet<_> = by_index.keys().copied().collect();
    loop {
        let masters =
            links.iter().filter(|link| stacked.contains(&link.index)).filter_map(|link| link.master);
        let vlans = links.iter().filter(|link| link.vlan_of.is_some_and(|parent| stacked.contains(&parent)));
        let more: BTreeSet<_> = masters.chain(vlans.map(|link| link.index)).collect();
        if more.is_subset(&stacked) {
            return stacked;
        }
        stacked.extend(more);
    }
}

/// Default routes matter where no interface is named.
fn routes(wanted: &Interfaces) -> Routes {
    if *wanted == Interfaces::Default { Routes::Followed } else { Routes::Ignored }
}

fn changes_of(old: &Link, new: &Link) -> Vec<String> {
    let name = &new.name;
    let mut told = Vec::new();
    if old.name != *name {
        told.push(format!("{name}: the interface was {} before", old.name));
    }
    if old.up != new.up {
        told.push(format!("{name}: the interface is {}", if new.up { "up" } else { "down" }));
    }
    let gone = old.addresses.difference(&new.addresses);
    told.extend(gone.map(|(address, _)| format!("{name}: the address {address} is gone")));
    let come = new.addresses.difference(&old.addresses);
    told.extend(come.map(|(address, _)| format!("{name}: the address {address} is there")));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, addresses: &[&str]) -> Link {
        let addresses = addresses.iter().map(|address| (address.parse().unwrap(), 24)).collect();
        Link { index, name: name.into(), up: true, addresses, ..Link::default() }
    }

    fn watch(wanted: &str, links: &[Link]) -> Watched {
        Watched::new(Interfaces::parse(wanted).unwrap(), BTreeSet::new(), links)
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn addresses_of_a_bridge_count_on_its_ports_and_those_of_vlans_on_their_parent() {
        let links = [
            Link { master: Some(3), ..link(1, "eth0", &["192.0.2.1"]) },
            link(2, "eth1", &["192.0.2.2"]),
            link(3, "br0", &["192.0.2.3"]),
            Link { vlan_of: Some(1), ..link(4, "eth0.5", &["192.0.2.4"]) },
            Link { vlan_of: Some(3), ..link(5, "br0.5", &["192.0.2.5"]) },
        ];
        let watched = watch("eth0", &links);
        for (address, expected) in [
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("192.0.2.3", true),
            ("192.0.2.4", true),
            ("192.0.2.5", true),
        ] {
            assert_eq!(watched.listened().is_local(at(address)), expected, "{address}");
        }
        assert_eq!(watched.indexes(), Some(BTreeSet::from([1, 3])));
        let listened = watched.listened();
        assert!(listened.hears(1) && listened.hears(3) && !listened.hears(2));
        assert!(listened.is_own(at("192.0.2.2")) && !listened.is_own(at("192.0.2.6")));
    }

    #[test]
    fn a_net_s_own_address_and_its_broadcast_are_no_hosts() {
        let watched = watch("eth0", &[link(1, "eth0", &["192.0.2.1", "2001:db8::1"])]);
        for (address, expected) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.2.7", false),
            ("192.0.3.0", false),
            ("2001:db8::", false),
        ] {
            assert_eq!(watched.listened().is_no_host(at(address)), expected, "{address}");
        }
    }

    #[test]
    fn all_of_the_loopback_net_is_local() {
        let links =
            [Link { loopback: true, ..link(1, "lo", &["127.0.0.1"]) }, link(2, "eth0", &["192.0.2.1"])];
        assert!(watch("lo", &links).listened().is_local(at("127.0.0.53")));
        assert!(!watch("eth0", &links).listened().is_local(at("127.0.0.53")));
        assert_eq!(watch("any", &links).indexes(), None);
    }

    #[test]
    fn tells_what_is_missing_and_what_changes() {
        let nothing = watch("eth0,wg*", &[]);
        assert_eq!(nothing.troubles(), ["eth0: no such interface yet, waiting for it"]);
        assert_eq!(watch("wg*", &[]).troubles(), ["no interface fits wg* yet, waiting for one"]);
        let there = watch("eth0,wg*", &[link(7, "eth0", &[])]);
        assert_eq!(there.changes(&nothing), ["eth0: the interface is there, listening"]);
        assert_eq!(there.troubles(), ["eth0: no address to knock at yet, waiting for one"]);
        let addressed = watch("eth0,wg*", &[link(7, "eth0", &["192.0.2.1"])]);
        assert_eq!(addressed.changes(&there), ["eth0: the address 192.0.2.1 is there"]);
        assert_eq!(addressed.troubles(), [""; 0]);
        let down = watch("eth0,wg*", &[Link { up: false, ..link(7, "eth0", &[]) }]);
        assert_eq!(
            down.changes(&addressed),
            ["eth0: the interface is down", "eth0: the address 192.0.2.1 is gone"]
        );
        assert_eq!(nothing.changes(&down), ["eth0: the interface is gone, waiting for it"]);
    }
}
