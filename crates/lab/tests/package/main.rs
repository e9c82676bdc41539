//! The Debian package, installed by apt on a Debian of its own: first, in place of Debian's knockd, upgraded, removed and
//! purged, with systemd and without. Each Debian has its own processes, files and network, and this machine sees nothing
//! of it.
//!
//! `cargo xtask test` makes the package, and the Debian that it is installed on, where `CI` is set and it is root; where
//! they are not there, nothing is tested here.

mod first;
mod machine;
mod sandbox;
mod scene;
mod systemd;
mod sysvinit;
