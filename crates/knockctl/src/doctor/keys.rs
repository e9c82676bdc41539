//! Who may knock with an SSH key, so far as a door asks for one.

use std::path::Path;

use knock_core::config::{Config, Secret};

use crate::host_key;
use crate::keys::{self, Page};

/// What there is of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The server's own, where that is not there.
    pub(crate) host_key_missing: Option<String>,
    pub(crate) files: Vec<File>,
    /// Now, in seconds since 1970.
    pub(crate) now: i64,
}

/// A file of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) doors: Vec<String>,
    pub(crate) is_there: bool,
    /// Each key's name, and when its time is over.
    pub(crate) keys: Vec<(String, Option<i64>)>,
    pub(crate) mistakes: Vec<String>,
}

/// Reads the files that there are.
pub(crate) fn read(config: Option<&Config>) -> Keys {
    let now = keys::now();
    let Some(config) = config.filter(|config| config.doors.iter().any(|door| has_keys(&door.secret))) else {
        return Keys { now, ..Keys::default() };
    };
    let path = host_key::file_of(config);
    let host_key_missing = (!Path::new(&path).exists()).then(|| path.display().to_string());
    let files = keys::read(config).unwrap_or_default();
    Keys { host_key_missing, files: files.iter().map(file).collect(), now }
}

fn has_keys(secret: &Secret) -> bool {
    matches!(secret, Secret::Keys(_))
}

fn file(page: &Page) -> File {
    File {
        name: page.name.display().to_string(),
        doors: page.doors.clone(),
        is_there: page.found.exists(),
        keys: page.keys.keys.iter().map(|key| (key.name.clone(), key.until)).collect(),
        mistakes: page.mistakes(),
    }
}
