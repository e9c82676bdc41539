//! Who may knock with an SSH key: `knockctl enroll`, `knockctl revoke`, `knockctl keys`.
//!
//! ```text
//! configuration ─► doors with keys ─► pages (authorized_keys) ─► a line more, lines fewer ─► files
//!                                        └─► what the client needs, in one line
//! ```
//!
//! The daemon looks at the files' time stamps at each knock: what is written here counts at once.

mod calendar;
mod enroll;
mod entry;
mod list;
mod pages;
mod public_key;
mod revoke;

pub(crate) use calendar::{now, shown};
pub(crate) use enroll::Wish as Enrolling;
pub(crate) use list::run as list;
pub(crate) use pages::{Page, count, read};
pub(crate) use revoke::{Wish as Revoking, run as revoke};

pub(crate) use enroll::run as enroll;
