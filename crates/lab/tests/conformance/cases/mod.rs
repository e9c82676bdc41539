//! The cases, by what they are about.

use crate::case::Case;

mod basics;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [basics::cases()].into_iter().flatten().collect()
}
