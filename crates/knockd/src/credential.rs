//! What a door is opened with, at hand: read from the files that the configuration names.

mod keys;
mod rolling;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

#[cfg(feature = "fwknop")]
use knock_core::fwknop::{FwknopKeys, KeyFile as FwknopFile};
use knock_core::rolling::RollingKey;
use knock_core::spa::HostKey;
use zeroize::Zeroizing;

use crate::configuration::{read_file, reason};
use crate::one_time::OneTimeFile;

pub(crate) use keys::KeysFile;
pub(crate) use rolling::{Rolling, SLOTS};

/// What a door is opened with.
pub(crate) enum Credential {
    /// Nothing that can be used: nobody can knock.
    Missing,
    /// A sequence that stands in the configuration.
    Sequence,
    /// The next of a file of sequences.
    OneTime(OneTimeFile),
    /// The sequence of the moment.
    Rolling(Rolling),
    /// An SSH key.
    Keys(KeysFile),
    /// The keys of fwknop's clients.
    #[cfg(feature = "fwknop")]
    Fwknop(Box<Fwknop>),
}

/// The keys of a door for fwknop's clients.
#[cfg(feature = "fwknop")]
pub(crate) struct Fwknop {
    pub(crate) keys: FwknopKeys,
    /// The content of both files, for the reading half.
    pub(crate) files: [Zeroizing<Vec<u8>>; 2],
}

impl Credential {
    /// Whether there is something to knock with.
    pub(crate) fn is_at_hand(&self) -> bool {
        match self {
            Self::OneTime(file) => !file.sequences().is_empty(),
            Self::Keys(file) => !file.keys().is_empty(),
            Self::Missing => false,
            _ => true,
        }
    }

    pub(crate) const fn one_time(&self) -> Option<&OneTimeFile> {
        match self {
            Self::OneTime(file) => Some(file),
            _ => None,
        }
    }

    pub(crate) const fn rolling(&self) -> Option<&Rolling> {
        match self {
            Self::Rolling(rolling) => Some(rolling),
            _ => None,
        }
    }
}

/// The server's key.
///
/// # Errors
/// Where there is none that can be used; in words.
pub(crate) fn host_key(path: &Path) -> Result<HostKey, String> {
    let text =
        secret_text(path).map_err(|why| format!("{why}; knockctl host-key makes one where there is none"))?;
    HostKey::from_text(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// A door's rolling key.
///
/// # Errors
/// As [`host_key`].
pub(crate) fn rolling_key(path: &Path) -> Result<RollingKey, String> {
    let text = secret_text(path)?;
    RollingKey::from_text(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The keys of fwknop's clients.
///
/// # Errors
/// As [`host_key`].
#[cfg(feature = "fwknop")]
pub(crate) fn fwknop(key: &Path, hmac: &Path) -> Result<Fwknop, String> {
    let files = [secret(key)?, secret(hmac)?];
    let keys = FwknopKeys::parse(&files[0], &files[1]).map_err(|fault| {
        let path = if fault.file == FwknopFile::Key { key } else { hmac };
        format!("{}: {fault}", path.display())
    })?;
    Ok(Fwknop { keys, files })
}

fn secret_text(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = secret(path)?;
    let text = str::from_utf8(&bytes).map_err(|_| format!("{}: it is no text", path.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// What stands in a file that nobody else may read: as with `ssh`, one that others can read is not used.
fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let name = path.display();
    let failed = |error: io::Error| format!("{name}: {}", reason(&error));
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(format!("{name}: others can read this secret, or change it: chmod 600 {name}"));
    }
    if !is_trusted(metadata.uid()) {
        return Err(format!("{name}: it belongs to another user: chown root {name}"));
    }
    read_file(path).map(Zeroizing::new).map_err(failed)
}

/// Whose files decide who gets in: root's and the daemon's own.
fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}
