//! What the kernel itself opens and closes: our nftables table, and the machine's own firewall around it.
//!
//! ```text
//! gates and grants  ─► Table   ─► table inet knockd: guards the ports, marks whom a door lets in
//! others' firewalls ─► ruleset ─► accept: one rule that lets in what is marked ─► upkeep: keeps it there
//!                      Monitor ─► word of changes of either
//! ```
//!
//! The table stays when its maker ends, and each grant in it has its time: the kernel closes by itself. Everything goes
//! over netlink; programs of the iptables family are run for tables that they have made, so that they go on reading
//! them.

pub mod accept;
mod error;
mod iptables;
mod monitor;
mod nft;
pub mod ruleset;
mod table;
mod upkeep;

pub use error::{Error, Reason};
pub use monitor::{Changes, Monitor};
pub use table::{Change, Element, Found, Gate, Layout, TABLE, Table};
pub use upkeep::{News, Upkeep};
