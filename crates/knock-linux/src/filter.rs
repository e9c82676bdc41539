//! The kernel filter: passes the packets which may be knocks, and few others.
//!
//! It may pass too much, never too little: what it passes is decoded and checked again.
//!
//! It comes in two forms, made of the same description (`filter/program.rs`). A *classic* program (`bpf(4)`, and the
//! kernel's `networking/filter.rst`) searches the ports in its own code; every kernel takes it from whoever may open a
//! packet socket. An *extended* one (`bpf(2)`) looks them up in a table beside it: it tells any number of ports apart,
//! at the same cost, and what changes is written into the table. The classic form serves a few doors, and all where
//! the kernel does not let us have the other; then it is coarser where it would be too long.

mod assembly;
mod bpf;
mod classic;
mod extended;
mod keys;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use knock_core::config::FlagRule;
use knock_core::sequence::Step;

use extended::Extended;
use program::{Lookup, program};

/// The most sources of [`Wanted::watched`]; more are cut off.
pub const MAX_WATCHED: usize = 64;

/// The longest classic program that is preferred. Two of them, the old and the new, find room in what kernels before
/// Linux 6.7 let a socket have (`net.core.optmem_max`, 20 KiB). It is not for watched sources: these change often.
const SHORT: usize = 800;

/// What may pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Indexes of the interfaces; `None` for all.
    pub interfaces: Option<BTreeSet<u32>>,
    /// Also packets that are addressed to other machines' hardware addresses, for doors with a `Target`.
    pub other_hosts: bool,
    /// Whether IPv6 may pass.
    pub ipv6: bool,
    /// The ports of all doors.
    pub steps: BTreeSet<Step>,
    /// UDP ports among `steps` at which only datagrams with so many bytes of data are of use; beyond a few of them all pass.
    pub lengths: BTreeMap<u16, u16>,
    /// What every door asks of a TCP packet's flags.
    pub flags: FlagRule,
    /// From these sources each datagram and each TCP packet with SYN and without ACK passes, whatever its port and
    /// `flags`; the first [`MAX_WATCHED`] of them.
    pub watched: BTreeSet<IpAddr>,
    /// For a second after each packet to one of `steps` its source is watched, too, without our help: so nothing that
    /// comes behind it is missed until we have seen it. Only where the kernel lets us have the extended form.
    pub follow: bool,
}

/// The filter of one socket.
#[derive(Default)]
pub(crate) struct Filter {
    /// In force, unless a classic one is.
    extended: Option<Extended>,
}

impl Filter {
    /// Exchanges the filter; no packet is lost in between, and none let through but where [`classic::attach`] says so.
    ///
    /// # Errors
    /// Where the kernel takes not even the coarsest.
    pub(crate) fn set(&mut self, socket: BorrowedFd<'_>, wanted: &Wanted) -> io::Result<()> {
        let code = program(wanted, Lookup::Table);
        if self.extended.as_ref().is_some_and(|filter| filter.is(&code) && filter.fill(wanted).is_ok()) {
            return Ok(());
        }
        let short = !wanted.follow && wanted.watched.is_empty() && classic::exact(wanted).len() <= SHORT;
        let attach = || Extended::new(code, wanted)?.attach(socket);
        if !short && let Ok(extended) = attach() {
            self.extended = Some(extended);
            return Ok(());
        }
        classic::attach(socket, wanted)?;
        self.extended = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
