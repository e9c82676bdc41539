//! The Linux side of toctoc: every system call that no crate wraps safely, behind a safe interface.
//!
//! This is the only crate of the workspace that holds `unsafe`; each block says why it is sound.

pub mod burst;
pub mod capture;
pub mod clock;
pub mod confinement;
pub mod filter;
pub mod links;
pub mod memory;
pub mod namespace;
pub mod netlink;
pub mod peer;
mod probe;
pub mod process;
pub mod raw;
mod socket;
pub mod sockets;
pub mod time_sync;
