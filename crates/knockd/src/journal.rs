//! The file in which every grant is written down; see [`knock_core::journal`].
//!
//! One daemon at a time has it: the state directory is locked as long as it runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use knock_core::journal::{Clocks, Entry, HEADER, Record, Replay, encode, replay};
use knock_linux::clock;

use crate::book::{ASIDE, Book};
use crate::state_directory::StateDirectory;
use crate::wall_clock;

/// The journal's name in the state directory.
const NAME: &str = "grants";

/// The journal of the daemon that runs.
pub(crate) struct Journal {
    directory: Rc<StateDirectory>,
    state: State,
    boot: String,
}

enum State {
    /// Nobody asked for a journal, and none can be kept.
    Off,
    /// It cannot be kept, so nothing opens.
    Failing(String),
    InUse(Book),
}

impl Journal {
    /// A journal that is not open yet, in this directory.
    pub(crate) fn new(directory: PathBuf) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let closed = State::Failing("it has not been opened".into());
        let directory = Rc::new(StateDirectory::new(directory));
        Self { directory, state: closed, boot: boot.trim().to_owned() }
    }

    /// The state directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The same, for what else is kept in it.
    pub(crate) fn state_directory(&self) -> Rc<StateDirectory> {
        self.directory.clone()
    }

    /// The file's name.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }

    /// The clocks as they are.
    pub(crate) fn clocks(&self) -> Clocks {
        Clocks { boot: self.boot.clone(), now: clock::now(), wall: wall_clock::milliseconds() }
    }

    /// Opens and reads it. What is in it stays there until [`Journal::rewrite`].
    ///
    /// # Errors
    /// Where it cannot be kept; in words.
    pub(crate) fn open(&mut self) -> Result<Replay, String> {
        match self.read() {
            Ok((book, replay)) => {
                self.state = State::InUse(book);
                Ok(replay)
            }
            Err(error) => {
                let reason = format!("the journal {} cannot be used: {error}", self.path().display());
                self.state = State::Failing(reason.clone());
                Err(reason)
            }
        }
    }

    /// Waits for the lock, but not long: a daemon that was killed while it started a command holds it until that runs.
    pub(crate) fn wait_for_lock(&self) {
        self.directory.wait_for_lock();
    }

    /// Goes without one.
    pub(crate) fn switch_off(&mut self) {
        self.state = State::Off;
    }

    /// Whether it is open.
    pub(crate) const fn in_use(&self) -> bool {
        matches!(self.state, State::InUse(_))
    }

    /// Why it cannot be kept.
    pub(crate) fn failure(&self) -> Option<&str> {
        match &self.state {
            State::Failing(reason) => Some(reason),
            State::Off | State::InUse(_) => None,
        }
    }

    fn read(&self) -> io::Result<(Book, Replay)> {
        let (mut book, bytes) = Book::open(&self.directory, NAME)?;
        let replay = replay(&bytes, &self.clocks());
        if replay.torn.is_some() || replay.fault.is_some() {
            book.find_lacking();
        }
        Ok((book, replay))
    }

    /// Keeps the file as it is under another name, for somebody to look at; tells the name. It has to be written anew.
    pub(crate) fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.path().with_extension(ASIDE);
        fs::rename(self.path(), &aside)?;
        Ok(aside)
    }

    /// Writes a grant down. `durable`: it is on the disk before this returns.
    ///
    /// # Errors
    /// Where that is not possible; in words.
    pub(crate) fn record(
        &mut self,
        record: &Record,
        durable: bool,
        entries: impl Iterator<Item = Entry>,
    ) -> Result<(), String> {
        let clocks = self.clocks();
        let book = match &mut self.state {
            State::Off => return Ok(()),
            State::Failing(reason) => return Err(reason.clone()),
            State::InUse(book) => book,
        };
        let mut line = Vec::new();
        encode(record, &clocks, &mut line);
        let written = book.add(&line, durable, || whole(entries, &clocks));
        written.map_err(|error| cannot_write(&self.path(), &error))
    }

    /// Writes it anew where it lacks something.
    ///
    /// # Errors
    /// Where that is not possible; in words.
    pub(crate) fn mend(&mut self, entries: impl Iterator<Item = Entry>) -> Result<(), String> {
        match &self.state {
            State::InUse(book) if book.is_lacking() => self.rewrite(entries),
            _ => Ok(()),
        }
    }

    /// Writes down that a grant has ended. Where that is not possible, what the file says is made void: another daemon
    /// would close everything that it finds there.
    ///
    /// # Errors
    /// Where it could not be written down; in words.
    pub(crate) fn record_end(
        &mut self,
        record: &Record,
        entries: impl Iterator<Item = Entry>,
    ) -> Result<(), String> {
        let outcome = self.record(record, false, entries);
        if let (Err(_), State::InUse(book)) = (&outcome, &mut self.state) {
            book.make_void();
        }
        outcome
    }

    /// Writes the journal anew, with these grants and nothing else.
    ///
    /// # Errors
    /// Where that is not possible and the journal is not good as it is; in words.
    pub(crate) fn rewrite(&mut self, entries: impl Iterator<Item = Entry>) -> Result<(), String> {
        let clocks = self.clocks();
        let book = match &mut self.state {
            State::Off => return Ok(()),
            State::Failing(reason) => return Err(reason.clone()),
            State::InUse(book) => book,
        };
        match book.rewrite(&whole(entries, &clocks)) {
            Err(error) if book.is_lacking() => Err(cannot_write(&self.path(), &error)),
            _ => Ok(()),
        }
    }

    /// Whether something was written that is not known to be on the disk.
    pub(crate) const fn is_unsynced(&self) -> bool {
        matches!(&self.state, State::InUse(book) if book.is_unsynced())
    }

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// Where the disk fails; in words.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        let State::InUse(book) = &mut self.state else { return Ok(()) };
        book.sync().map_err(|error| cannot_write(&self.directory.path().join(NAME), &error))
    }
}

/// A journal of these grants.
fn whole(entries: impl Iterator<Item = Entry>, clocks: &Clocks) -> Vec<u8> {
    let mut bytes = HEADER.as_bytes().to_vec();
    for entry in entries {
        encode(&Record::Grant(entry), clocks, &mut bytes);
    }
    bytes
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("the journal {} cannot be written: {error}", path.display())
}

#[cfg(test)]
mod tests;
