//! Our table, `inet knockd`: guards the doors' ports and marks whom a door lets in.
//!
//! `nft list table inet knockd` shows it.

mod inventory;
mod layout;
mod rules;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use knock_core::config::DoorKey;
use knock_core::network::Network;

use crate::error::{Error, Reason};
use crate::nft::{Family, Key, Link, Set, Transaction};
use inventory::Inventory;
pub use layout::{Gate, Layout};
use layout::{SetNames, set_names};

/// The table's name; its family is `inet`.
pub const TABLE: &str = "knockd";

/// How many elements go into one message, whose list is at most 64 KiB long.
const ELEMENTS_A_MESSAGE: usize = 1000;
/// How many changes go into one transaction.
const CHANGES_A_TRANSACTION: usize = 500;
/// How often a change is tried again that another one came in between of.
const ATTEMPTS: usize = 5;

/// A grant as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// The door that is open.
    pub door: &'a DoorKey,
    /// For whom: of the door's `widen` around some address.
    pub network: Network,
    /// How long, rounded up to a millisecond, at least one; `None` until it is closed.
    pub left: Option<Duration>,
}

/// What happens to a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// It opens; where it is open already, the new time counts from now.
    Open(Element<'a>),
    /// It closes; where it is closed already, it stays so.
    Close {
        /// The door.
        door: &'a DoorKey,
        /// For whom.
        network: Network,
    },
}

/// Whose table `inet knockd` there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none, or nothing in it.
    Nothing,
    /// A daemon made it.
    Ours,
    /// Somebody else made it, for something else.
    Foreign,
}

/// Our table in the network namespace of the thread that opened it.
///
/// Dropping it leaves the table in place.
pub struct Table {
    link: Link,
    sets: HashMap<DoorKey, SetNames>,
    /// What is there when nobody has changed it.
    expected: Option<Inventory>,
}

impl Table {
    /// Opens the way to the kernel; the table comes with [`replace`](Self::replace).
    ///
    /// # Errors
    /// Where the kernel has no nfnetlink.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { link: Link::open()?, sets: HashMap::new(), expected: None })
    }

    /// The number by which the kernel's messages tell changes made here from those of others.
    pub fn port(&self) -> u32 {
        self.link.port()
    }

    /// Whose table of this name there is.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn found(&mut self) -> Result<Found, Error> {
        let there = Inventory::read(&mut self.link)?;
        Ok(match (there.is_empty(), there.has_our_chain()) {
            (true, _) => Found::Nothing,
            (false, true) => Found::Ours,
            (false, false) => Found::Foreign,
        })
    }

    /// Puts the table in place of whatever table of this name there is, with these grants and no others, at once: there
    /// is no moment in which a port is unguarded or a grant does not count.
    ///
    /// # Errors
    /// Without `CAP_NET_ADMIN`, where the kernel lacks nf_tables, and where an element's door is not in the layout. What
    /// was there then stays.
    pub fn replace(&mut self, layout: &Layout, elements: &[Element<'_>]) -> Result<(), Error> {
        const DOING: &str = "put the table inet knockd in place";
        let sets = set_names(&layout.gates);
        let by_set = by_set(DOING, &sets, elements)?;
        let old = Inventory::read(&mut self.link)?;
        let mut result = self.rewrite(DOING, |change| clear(&old, change), layout, &by_set);
        // It is none of ours, or somebody else has changed it since: so all of it goes.
        if matches!(&result, Err(error) if !matches!(error.reason(), Reason::Denied | Reason::NoRoom(_))) {
            result = self.rewrite(DOING, discard, layout, &by_set);
        }
        result?;
        self.sets = sets;
        self.expected = Some(Inventory::read(&mut self.link)?);
        Ok(())
    }

    fn rewrite(
        &mut self,
        doing: &'static str,
        clear: impl FnOnce(&mut Transaction<'_>),
        layout: &Layout,
        by_set: &BySet<'_>,
    ) -> Result<(), Error> {
        let mut change = self.link.begin(Family::INET, TABLE);
        clear(&mut change);
        write_sets(layout, &mut change);
        for (set, elements) in by_set {
            for some in elements.chunks(ELEMENTS_A_MESSAGE) {
                change.add_elements(set, some.iter().copied());
            }
        }
        rules::write(layout, &mut change);
        self.link.commit(doing, change)
    }

    /// Opens and closes doors, in this order. Each is done at once; of many, some hundred at a time.
    ///
    /// # Errors
    /// Without `CAP_NET_ADMIN`; where a door is not in the layout; where somebody has removed the table (`ENOENT`),
    /// which [`replace`](Self::replace) puts back. Some of the changes may then have been made.
    pub fn apply(&mut self, changes: &[Change<'_>]) -> Result<(), Error> {
        changes.chunks(CHANGES_A_TRANSACTION).try_for_each(|some| self.apply_at_once(some))
    }

    fn apply_at_once(&mut self, changes: &[Change<'_>]) -> Result<(), Error> {
        const DOING: &str = "open or close doors in the table inet knockd";
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            let mut transaction = self.link.begin(Family::INET, TABLE);
            for change in changes {
                write_change(DOING, &self.sets, change, &mut transaction)?;
            }
            result = self.link.commit(DOING, transaction);
            // An element whose time ran out between being added again and being deleted.
            if !matches!(&result, Err(error) if error.errno() == Some(libc::ENOENT)) {
                break;
            }
        }
        result
    }

    /// Whether the table is as [`replace`](Self::replace) has left it: all its chains, sets and rules, and nothing else.
    /// Elements are not looked at.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn is_intact(&mut self) -> Result<bool, Error> {
        let Some(expected) = &self.expected else { return Ok(false) };
        Ok(Inventory::read(&mut self.link)? == *expected)
    }

    /// Who may in: for each door the addresses, which of a network are its first, and the time left, `None` until closed.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn elements(&mut self) -> Result<Vec<(DoorKey, IpAddr, Option<Duration>)>, Error> {
        let mut found = Vec::new();
        for (door, names) in &self.sets {
            for set in [&names.v4, &names.v6] {
                let elements = inventory::elements(&mut self.link, set)?;
                found.extend(elements.into_iter().map(|(address, left)| (door.clone(), address, left)));
            }
        }
        Ok(found)
    }

    /// Takes the table away, if it is there: nothing is guarded and nobody is marked any more.
    ///
    /// # Errors
    /// Without `CAP_NET_ADMIN`.
    pub fn remove(&mut self) -> Result<(), Error> {
        let mut change = self.link.begin(Family::INET, TABLE);
        change.add_table();
        change.delete_table();
        self.link.commit("remove the table inet knockd", change)?;
        self.expected = None;
        self.sets.clear();
        Ok(())
    }
}

/// Empties the table, but keeps the chain that the kernel calls: of an old one and a new one side by side, a packet
/// could meet the new before it has its rules and the old after it has lost them.
fn clear(old: &Inventory, change: &mut Transaction<'_>) {
    change.add_table();
    change.add_base_chain(rules::DOORS, rules::PLACE);
    change.delete_rules();
    old.chains.iter().filter(|chain| *chain != rules::DOORS).for_each(|chain| change.delete_chain(chain));
    old.sets.iter().for_each(|set| change.delete_set(set));
}

fn discard(change: &mut Transaction<'_>) {
    change.add_table();
    change.delete_table();
    change.add_table();
    change.add_base_chain(rules::DOORS, rules::PLACE);
}

fn write_sets(layout: &Layout, change: &mut Transaction<'_>) {
    let mut ids = 1..;
    for gate in &layout.gates {
        let names = SetNames::of(&gate.door);
        for (key, id) in [Key::Ipv4, Key::Ipv6].into_iter().zip(&mut ids) {
            change.add_set(&Set { name: names.for_key(key), key }, id);
        }
    }
}

/// Who may in, by the names of sets.
type BySet<'s> = HashMap<&'s str, Vec<(IpAddr, Option<Duration>)>>;

fn by_set<'s>(
    doing: &'static str,
    sets: &'s HashMap<DoorKey, SetNames>,
    elements: &[Element<'_>],
) -> Result<BySet<'s>, Error> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for Element { door, network, left } in elements {
        let address = network.address();
        found.entry(set_for(doing, sets, door, address)?).or_default().push((address, *left));
    }
    Ok(found)
}

fn set_for<'s>(
    doing: &'static str,
    sets: &'s HashMap<DoorKey, SetNames>,
    door: &DoorKey,
    address: IpAddr,
) -> Result<&'s str, Error> {
    let names = sets.get(door).ok_or_else(|| Error::unknown_door(doing, door))?;
    Ok(names.for_address(address))
}

fn write_change(
    doing: &'static str,
    sets: &HashMap<DoorKey, SetNames>,
    change: &Change<'_>,
    transaction: &mut Transaction<'_>,
) -> Result<(), Error> {
    let (door, network, left) = match *change {
        Change::Open(Element { door, network, left }) => (door, network, Some(left)),
        Change::Close { door, network } => (door, network, None),
    };
    let address = network.address();
    let set = set_for(doing, sets, door, address)?;
    // Added first, so that there is one to delete; only newer kernels change the time of one that is there.
    transaction.add_elements(set, [(address, left.flatten())]);
    transaction.delete_element(set, address);
    if let Some(left) = left {
        transaction.add_elements(set, [(address, left)]);
    }
    Ok(())
}
