//! What arrives at another host, packet by packet, from this client and from knock 0.8.
//!
//! Needs root (or `unshare -Urnm`) and Debian's package `knockd`.
#![cfg(target_os = "linux")]

#[cfg(test)]
mod alone;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod names;
#[cfg(test)]
mod net;
