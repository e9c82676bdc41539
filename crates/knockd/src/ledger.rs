//! The file in which every use of a key is written down, before it opens anything; see [`knock_core::ledger`].
//!
//! What must never be forgotten is never written over: the file is replaced as a whole, or a line is added to it, and a use
//! counts when its line is on the disk. Where that cannot be, nothing opens by it.
//!
//! A file that is not what was written is kept under another name and goes on with what can be read of it; and whatever may
//! have been used until now is refused. That shuts out everybody who knocks with a key, for two minutes: long enough to
//! be noticed, too short to be locked out by it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use knock_core::ledger::{Holder, LINE, Ledger as Uses, Refusal, Use, WINDOW, encode, header, replay};

use crate::book::{ASIDE, Book};
use crate::state_directory::StateDirectory;
use crate::wall_clock;

/// The ledger's name in the state directory.
const NAME: &str = "used";

/// The ledger of the daemon that runs.
pub(crate) struct Ledger {
    directory: Rc<StateDirectory>,
    state: State,
}

enum State {
    /// It cannot be kept, so no key opens anything.
    Failing(String),
    InUse(Book, Uses),
}

/// Why a use opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not good.
    NotGood(Refusal),
    /// It could not be written down; in words.
    NotWritten(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGood(refusal) => refusal.fmt(f),
            Self::NotWritten(reason) => f.write_str(reason),
        }
    }
}

impl Ledger {
    /// A ledger that is not open yet, in this directory.
    pub(crate) fn new(directory: Rc<StateDirectory>) -> Self {
        Self { directory, state: State::Failing("the ledger has not been opened".into()) }
    }

    /// The file's name.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }

    /// Why it cannot be kept. It has to be opened again, until that succeeds.
    pub(crate) fn failure(&self) -> Option<&str> {
        match &self.state {
            State::Failing(reason) => Some(reason),
            State::InUse(..) => None,
        }
    }

    /// Opens and reads it, and writes it anew; tells what somebody has to know. `now`: the time of day, in nanoseconds
    /// since 1970.
    ///
    /// # Errors
    /// Where it cannot be kept; in words.
    pub(crate) fn open(&mut self, now: u64) -> Result<Vec<String>, String> {
        match self.read(now) {
            Ok((book, uses, told)) => {
                self.state = State::InUse(book, uses);
                Ok(told)
            }
            Err(error) => {
                let reason = format!("the ledger {} cannot be used: {error}", self.path().display());
                self.state = State::Failing(reason.clone());
                Err(reason)
            }
        }
    }

    fn read(&self, now: u64) -> io::Result<(Book, Uses, Vec<String>)> {
        let (mut book, bytes) = Book::open(&self.directory, NAME)?;
        let read = replay(&bytes);
        let mut uses = read.ledger;
        let mut told = Vec::new();
        let path = self.path();
        if let Some(bytes) = read.torn {
            book.find_lacking();
            told.push(format!(
                "warning: {}: the last {bytes} bytes are no whole record and do not count",
                path.display()
            ));
        }
        if let Some(fault) = read.fault {
            book.find_lacking();
            // The clock may have been set back since something was used.
            let last = book.written().map_or(now, |written| wall_clock::nanoseconds_of(written).max(now));
            let until = uses.raise_all(last);
            told.push(format!("error: {}: {fault}: {}; {}", path.display(), doubt(until, now), keep(&path)));
        }
        if let Err(error) = book.rewrite(&whole(&uses)) {
            told.push(format!("warning: {}", cannot_write(&path, &error)));
        }
        Ok((book, uses, told))
    }

    /// Uses a key, where that is good: when this returns, that is on the disk, and will not be good again.
    ///
    /// # Errors
    /// Where it is not good, or cannot be written down: then nothing may open by it.
    pub(crate) fn take(&mut self, holder: Holder, used: Use) -> Result<(), Refused> {
        let path = self.path();
        let (book, uses) = match &mut self.state {
            State::Failing(reason) => return Err(Refused::NotWritten(reason.clone())),
            State::InUse(book, uses) => (book, uses),
        };
        let record = uses.check(holder, used).map_err(Refused::NotGood)?;
        let mut line = Vec::with_capacity(LINE);
        encode(&record, &mut line);
        let written = book.add(&line, true, || whole(uses));
        written.map_err(|error| Refused::NotWritten(cannot_write(&path, &error)))?;
        uses.add(record);
        Ok(())
    }

    /// Whether it is known that a use is not good; where the ledger cannot be kept, nothing is.
    pub(crate) fn knows(&self, holder: Holder, used: Use) -> bool {
        matches!(&self.state, State::InUse(_, uses) if uses.check(holder, used).is_err())
    }

    /// Forgets those who are no longer configured, when nothing that they used can be good at the time of day `now`, in
    /// nanoseconds since 1970. They stand in the file until it is written anew.
    pub(crate) fn retain(&mut self, is_configured: impl Fn(&Holder) -> bool, now: u64) {
        if let State::InUse(_, uses) = &mut self.state {
            uses.retain(is_configured, now);
        }
    }
}

fn whole(uses: &Uses) -> Vec<u8> {
    let mut bytes = header();
    uses.records().for_each(|record| encode(&record, &mut bytes));
    bytes
}

/// What a file that is not what was written comes to.
fn doubt(until: u64, now: u64) -> String {
    let left = Duration::from_nanos(until.saturating_sub(now));
    let seconds = left.as_secs() + 1;
    let mut told = format!("a knock that was used may be missing, so no key opens a door for {seconds} s");
    if left > WINDOW {
        told += ", since the file was written at a time that is still to come. If the clock is right now, stop knockd, remove \
                 the file and start it again after two minutes";
    }
    told
}

/// Keeps the file as it is under another name as well, for somebody to look at. Under its own it stays until it is replaced:
/// without any, a daemon that starts would take everything for unused.
fn keep(path: &Path) -> String {
    let aside = path.with_extension(ASIDE);
    let _ = fs::remove_file(&aside);
    match fs::hard_link(path, &aside) {
        Ok(()) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("it could not be kept: {error}"),
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("the ledger {} cannot be written: {error}", path.display())
}

#[cfg(test)]
mod tests;
