//! Who may read what is secret: modes and owners of the daemon's files.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use knock_core::config::{Config, Secret};

use crate::host_key;

/// So much of a log's end is searched for secrets.
const LOG_END: u64 = 1 << 20;
/// The state directory where nothing else is said.
const STATE_DIRECTORY: &str = "/var/lib/knockd";

/// A file of the daemon's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) owner: u32,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Configuration,
    OneTimeSequences,
    /// A key of which sequences are made.
    RollingKey,
    /// A key of fwknop's clients.
    FwknopKey,
    /// Public keys.
    AuthorizedKeys,
    /// The server's own key.
    HostKey,
    StateDirectory,
    Socket,
    /// A log in which a sequence stands.
    TellingLog,
}

/// The files that are there.
pub(crate) fn read(config_path: &Path, config: Option<&Config>, socket: &Path) -> Vec<File> {
    let mut files = vec![(config_path.to_owned(), Kind::Configuration), (socket.to_owned(), Kind::Socket)];
    if let Some(config) = config {
        let state = config.options.state_directory.clone().unwrap_or_else(|| STATE_DIRECTORY.into());
        files.push((state, Kind::StateDirectory));
        for secret in config.doors.iter().map(|door| &door.secret) {
            let Some(kind) = kind(secret) else { continue };
            files.extend(secret.files().into_iter().map(|path| (path.clone(), kind)));
            files.extend((kind == Kind::AuthorizedKeys).then(|| (host_key::file_of(config), Kind::HostKey)));
        }
        let mut seen = BTreeSet::new();
        files.retain(|(path, _)| seen.insert(path.clone()));
        let log = config.options.log_file.clone().filter(|log| tells(log, config));
        files.extend(log.map(|log| (log, Kind::TellingLog)));
    }
    files.into_iter().filter_map(|(path, kind)| file(path, kind)).collect()
}

/// What the files of a secret are for.
const fn kind(secret: &Secret) -> Option<Kind> {
    match secret {
        Secret::Fixed(_) => None,
        Secret::OneTime(_) => Some(Kind::OneTimeSequences),
        Secret::Rolling(_) => Some(Kind::RollingKey),
        Secret::Keys(_) => Some(Kind::AuthorizedKeys),
        Secret::Fwknop { .. } => Some(Kind::FwknopKey),
    }
}

fn file(path: PathBuf, kind: Kind) -> Option<File> {
    let metadata = fs::metadata(&path).ok()?;
    Some(File { path, kind, mode: metadata.mode() & 0o7777, owner: metadata.uid() })
}

/// Whether a sequence stands in a log.
fn tells(log: &Path, config: &Config) -> bool {
    let Some(text) = end(log) else { return false };
    config.doors.iter().filter_map(|door| door.secret.fixed()).any(|sequence| {
        let steps: Vec<_> = sequence.steps().iter().map(ToString::to_string).collect();
        steps.len() > 1 && [",", ", "].iter().any(|between| text.contains(&steps.join(between)))
    })
}

fn end(path: &Path) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_END).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
