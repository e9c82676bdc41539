//! The files of keys that a configuration names, each once, with the doors that it is for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use knock_core::config::{Config, Door, Secret, Source};
use knock_core::spa::{AuthorizedKey, KeyFile, read_keys};

use super::calendar::to_unix;
use crate::failure::Failure;
use crate::file::{Found, Purpose, resolved};
use crate::output::tell;

/// Public keys are no secret; who can change the file lets in whom they like.
const PURPOSE: Purpose =
    Purpose { mode: 0o644, denied: 0, command: "enroll", missing: "", read_only: "nothing was changed" };
/// Others may write.
const WRITABLE: u32 = 0o022;

/// A file of keys.
pub(crate) struct Page {
    /// The file, as it was found.
    pub(crate) found: Found,
    /// As the configuration names it.
    pub(crate) name: PathBuf,
    /// The doors that it is for.
    pub(crate) doors: Vec<String>,
    /// What it holds.
    pub(crate) keys: KeyFile,
}

impl Page {
    fn new(found: Found, named: &BTreeMap<PathBuf, (PathBuf, Vec<String>)>) -> Self {
        let (name, doors) =
            named.get(&found.path).cloned().unwrap_or_else(|| (found.path.clone(), Vec::new()));
        let keys = read_keys(&String::from_utf8_lossy(&found.bytes), &to_unix);
        Self { found, name, doors, keys }
    }

    /// The doors that a key of this file opens.
    pub(crate) fn doors_of(&self, key: &AuthorizedKey) -> Vec<String> {
        self.doors.iter().filter(|door| key.opens(door)).cloned().collect()
    }

    /// Each mistake with its place: `FILE:LINE:COLUMN: …`.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        if !self.is_text() {
            return vec![format!(
                "{}: the file is not UTF-8 text, so knockd takes no key from it",
                self.name.display()
            )];
        }
        let source = Source::new(self.name.display().to_string(), String::from_utf8_lossy(&self.found.bytes));
        self.keys.mistakes.iter().map(|mistake| source.line(mistake)).collect()
    }

    /// Whether it is text at all.
    pub(super) fn is_text(&self) -> bool {
        str::from_utf8(&self.found.bytes).is_ok()
    }

    /// Whether others can change it.
    fn is_open_to_others(&self) -> bool {
        self.found.mode().is_some_and(|mode| mode & WRITABLE != 0)
    }

    /// Tells what is wrong with it.
    pub(super) fn tell_mistakes(&self) {
        self.mistakes().iter().for_each(|mistake| tell(mistake));
        let name = self.name.display();
        if self.is_open_to_others() {
            tell(&format!(
                "warning: {name} can be changed by other users, so knockd takes no key from it: chmod go-w {name}"
            ));
        }
        if !self.found.is_trusted() {
            tell(&format!(
                "warning: {name} belongs to another user, so knockd takes no key from it: chown root {name}"
            ));
        }
    }
}

/// The doors with keys, each with its file.
pub(super) fn doors(config: &Config) -> impl Iterator<Item = (&Door, &PathBuf)> {
    config.doors.iter().filter_map(|door| match &door.secret {
        Secret::Keys(file) => Some((door, file)),
        _ => None,
    })
}

/// How many keys there are; what cannot be read has none.
pub(crate) fn count(config: &Config) -> usize {
    read(config).map_or(0, |pages| pages.iter().map(|page| page.keys.keys.len()).sum())
}

/// All files, to look at.
pub(crate) fn read(config: &Config) -> Result<Vec<Page>, Failure> {
    let named = named(config, &[])?;
    named.keys().map(|path| Found::read(path, PURPOSE)).map(|found| Ok(Page::new(found?, &named))).collect()
}

/// All files, to change some: nobody else who asks does so meanwhile. Those of the `needed` doors can be made.
pub(super) fn hold(config: &Config, needed: &[&str]) -> Result<Vec<Page>, Failure> {
    let named = named(config, needed)?;
    let paths: Vec<_> = named.keys().cloned().collect();
    Ok(Found::hold_all(&paths, PURPOSE)?.into_iter().map(|found| Page::new(found, &named)).collect())
}

/// The files themselves, with their names and doors. Where one that is not needed cannot be, that is told.
fn named(config: &Config, needed: &[&str]) -> Result<BTreeMap<PathBuf, (PathBuf, Vec<String>)>, Failure> {
    let mut named: BTreeMap<PathBuf, (PathBuf, Vec<String>)> = BTreeMap::new();
    for (door, file) in doors(config) {
        let name = &door.key.name;
        match path_of(file) {
            Ok(path) => named.entry(path).or_insert_with(|| (file.clone(), Vec::new())).1.push(name.clone()),
            Err(failure) if needed.contains(&name.as_str()) => return Err(failure),
            Err(failure) => tell(&format!("warning: door {name}: {failure}")),
        }
    }
    Ok(named)
}

fn path_of(file: &Path) -> Result<PathBuf, Failure> {
    resolved(file, PURPOSE)
}
