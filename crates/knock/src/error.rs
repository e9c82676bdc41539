//! Everything that can keep a knock from being sent, and the exit code of each.

use std::fmt;
use std::io;

use knock_core::sequence::Fault;

use crate::hosts;
use crate::one_time;
use crate::resolve::Family;
use crate::send::Unsent;
use crate::verdict::Unopened;

/// Why `knock` ends with a code other than 0.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line is wrong; the text says how. Nothing was sent.
    Usage(String),
    /// A port on the command line is wrong. Nothing was sent.
    Port {
        /// Which of the ports, the first being 1.
        number: usize,
        /// The argument.
        text: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The one-time file gives no sequence, or could not be marked.
    OneTime(one_time::Error),
    /// There is no key to knock with; the text says why. Nothing was sent.
    Key(String),
    /// The name has no address at all. Nothing was sent.
    Unresolved {
        /// The host's name.
        host: String,
        /// What the resolver says.
        cause: io::Error,
    },
    /// The name has addresses, but none of the family that was asked for. Nothing was sent.
    NoAddress {
        /// The host's name.
        host: String,
        /// What was asked for.
        family: Family,
    },
    /// The file of hosts does not say what to do. Nothing was sent.
    Hosts(hosts::Error),
    /// A knock did not leave this machine; those before it did.
    Unsent(Unsent),
    /// The port that was to open did not; every knock was sent.
    Unopened(Box<Unopened>),
    /// The connection that the knock was for broke.
    Broken(io::Error),
}

impl Error {
    /// What the process ends with: 1 the request is wrong, 2 the host was not resolved, 3 a knock was not sent, 4 the port
    /// did not open, 5 its connection broke.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Port { .. } | Self::OneTime(_) | Self::Key(_) | Self::Hosts(_) => 1,
            Self::Unresolved { .. } | Self::NoAddress { .. } => 2,
            Self::Unsent(_) => 3,
            Self::Unopened(_) => 4,
            Self::Broken(_) => 5,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Port { number, text, fault } => {
                write!(f, "port {number}, \"{text}\": {fault}; nothing was sent")
            }
            Self::OneTime(error) => error.fmt(f),
            Self::Key(why) => write!(f, "{why}; nothing was sent"),
            Self::Unresolved { host, cause } => write!(f, "cannot resolve \"{host}\": {cause}"),
            Self::NoAddress { host, family } => {
                let option = if *family == Family::V4 { "-4" } else { "-6" };
                write!(f, "\"{host}\" has no {family} address, and {option} or --source asks for one")
            }
            Self::Hosts(error) => error.fmt(f),
            Self::Unsent(unsent) => unsent.fmt(f),
            Self::Unopened(unopened) => unopened.fmt(f),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<one_time::Error> for Error {
    fn from(error: one_time::Error) -> Self {
        Self::OneTime(error)
    }
}

impl From<hosts::Error> for Error {
    fn from(error: hosts::Error) -> Self {
        Self::Hosts(error)
    }
}

impl From<Unopened> for Error {
    fn from(unopened: Unopened) -> Self {
        Self::Unopened(Box::new(unopened))
    }
}

impl From<Unsent> for Error {
    fn from(unsent: Unsent) -> Self {
        Self::Unsent(unsent)
    }
}
