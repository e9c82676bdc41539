//! What can go wrong with the kernel's firewall, and what to do about it.

use std::error;
use std::fmt;
use std::io;

use knock_core::config::DoorKey;
use knock_linux::netlink::Failure;

/// Something about the firewall could not be done.
#[derive(Debug)]
pub struct Error {
    doing: &'static str,
    reason: Reason,
}

/// Why.
#[derive(Debug)]
pub enum Reason {
    /// The process may not change this network's firewall.
    Denied,
    /// The kernel lacks nf_tables, or a part of it.
    Unsupported(io::Error),
    /// The kernel has no room for it.
    NoRoom(io::Error),
    /// The layout in place has no such door.
    UnknownDoor(DoorKey),
    /// A program has failed; what it said.
    Program(String),
    /// Anything else, with the kernel's own words where it has some.
    Kernel(io::Error, Option<String>),
}

impl Error {
    pub(crate) fn unknown_door(doing: &'static str, door: &DoorKey) -> Self {
        Self { doing, reason: Reason::UnknownDoor(door.clone()) }
    }

    pub(crate) fn refused(doing: &'static str, failure: Failure) -> Self {
        let Failure { error, words } = failure;
        let reason = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if words.is_none() => Reason::Denied,
            Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => Reason::Unsupported(error),
            Some(libc::ENOSPC | libc::ENFILE | libc::EMFILE | libc::ENOMEM | libc::EMSGSIZE) => {
                Reason::NoRoom(error)
            }
            _ => Reason::Kernel(error, words),
        };
        Self { doing, reason }
    }

    pub(crate) fn system(doing: &'static str, error: io::Error) -> Self {
        Self::refused(doing, Failure { error, words: None })
    }

    pub(crate) fn program(doing: &'static str, failure: impl fmt::Display) -> Self {
        Self { doing, reason: Reason::Program(failure.to_string()) }
    }

    /// Why it could not be done.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The kernel's `errno`, where it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match &self.reason {
            Reason::Denied => Some(libc::EPERM),
            Reason::UnknownDoor(_) | Reason::Program(_) => None,
            Reason::Unsupported(error) | Reason::NoRoom(error) | Reason::Kernel(error, _) => {
                error.raw_os_error()
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: ", self.doing)?;
        match &self.reason {
            Reason::Denied => f.write_str("not permitted; it needs root, or the capability CAP_NET_ADMIN"),
            Reason::Unsupported(error) => write!(
                f,
                "{error}; the kernel lacks nf_tables or a part of it: load the modules nf_tables, nft_ct and \
                 nft_fib_inet, or use a kernel that has them (Linux 5.2 or later)"
            ),
            Reason::NoRoom(error) => {
                write!(f, "{error}; the kernel has no room for it: fewer doors or grants, or more memory")
            }
            Reason::UnknownDoor(door) => write!(f, "no door named {door} is in the table"),
            Reason::Program(said) => f.write_str(said),
            Reason::Kernel(error, Some(words)) => write!(f, "{error} ({words})"),
            Reason::Kernel(error, None) => error.fmt(f),
        }
    }
}

impl error::Error for Error {}
