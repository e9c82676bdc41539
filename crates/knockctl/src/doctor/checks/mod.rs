//! What the facts mean. All of it is a function of the facts alone.

pub(crate) mod doors;
pub(crate) mod filter;
mod forwarding;
mod keys;
pub(crate) mod machine;
mod open;

use super::facts::Facts;
use super::finding::Section;

/// The whole examination.
pub(crate) fn examine(facts: &Facts) -> Vec<Section> {
    let checks: [fn(&Facts) -> Section; 8] = [
        doors::daemon,
        filter::examine,
        machine::interfaces,
        doors::doors,
        machine::files,
        machine::boot,
        machine::clock,
        machine::kernel,
    ];
    checks.iter().map(|check| check(facts)).collect()
}
