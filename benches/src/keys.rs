//! Doors that are opened with keys, by one datagram, beside fwknop's.

mod contender;
mod costs;
mod knocker;
mod races;
mod refusals;
mod throughput;

use std::io;

/// Measures and prints.
pub(crate) fn run(quick: bool) -> io::Result<()> {
    races::run(quick)?;
    throughput::run(quick)?;
    refusals::run(quick)?;
    costs::run(quick)
}
