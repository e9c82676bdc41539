//! The documents for newcomers hold what they promise: each of their commands is typed here as it stands there, on a
//! server and a client of the laboratory's, and what the text says of it is looked at.
//!
//! What a code block is and where it is typed stands behind its three backquotes: `sh server`, `sh client`; a file has its
//! path there, too. `sh debian` is for apt and systemd: these are typed on a Debian of their own, where there is one (see
//! the tests of the package). `text` is what the command before it has to print. The service manager and `sudo` of the
//! server are small scripts, which do what the real ones do here.
//!
//! All of it needs root: it is left out in a user namespace, where sshd cannot work.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod block;
mod containers;
mod debian;
mod firewalls;
mod first_door;
mod ipv6;
mod lock_out;
mod moving;
mod place;
mod project;
mod ssh_keys;
mod town;
mod translations;
mod walk;
