//! Doors that are opened with keys, by one datagram, beside fwknop's.

mod costs;
mod knocker;

use std::io;

/// Measures and prints.
pub(crate) fn run(quick: bool) -> io::Result<()> {
    costs::run(quick)
}
