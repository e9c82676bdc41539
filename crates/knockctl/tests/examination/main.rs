//! `knockctl doctor` and `knockctl try` on hosts made of network namespaces, with real firewalls and a real daemon.
//!
//! The programs under test are those of the same build: `cargo build -p knockd -p knockctl` first.

#[cfg(test)]
mod doctor;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trial;
