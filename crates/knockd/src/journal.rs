//! The file in which every grant is written down; see [`knock_core::journal`].
//!
//! One daemon at a time has it: the state directory is locked as long as it runs. Room is reserved in it, so that
//! doors go on opening for a while on a full disk: the administrator may have to come in because of that.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use knock_core::journal::{Clocks, Entry, HEADER, Record, Replay, encode, replay};
use knock_linux::clock;
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock};

/// The journal's name in the state directory.
const NAME: &str = "grants";
/// What it is called while it is written anew.
const NEW: &str = "grants.new";
/// Where one is put that cannot be relied on.
const ASIDE: &str = "grants.corrupt";
/// How much room is reserved behind its end, in bytes.
const RESERVE: u64 = 256 * 1024;
/// A journal shorter than this is not written anew to save room, in bytes.
const SMALL: u64 = 128 * 1024;
/// How long the lock is waited for, and how often it is tried in that time.
const PATIENCE: Duration = Duration::from_millis(500);
const PACE: Duration = Duration::from_millis(5);
/// How long after it could not be written anew that is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest journal that is read, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// The journal of the daemon that runs.
pub(crate) struct Journal {
    directory: PathBuf,
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

/// An open journal.
struct Book {
    file: File,
    /// Holds the lock.
    _directory: File,
    /// Up to here it is good.
    length: u64,
    /// How long it was when it was last written anew.
    fresh: u64,
    /// Something was written that is not known to be on the disk.
    unsynced: bool,
    /// It is not what it should be: it must be written anew before anything else.
    lacking: bool,
    /// When that was tried last, in vain.
    tried: Option<Instant>,
}

impl Journal {
    /// A journal that is not open yet, in this directory.
    pub(crate) fn new(directory: PathBuf) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let closed = State::Failing("it has not been opened".into());
        Self { directory, state: closed, boot: boot.trim().to_owned() }
    }

    /// The state directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file's name.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// The clocks as they are.
    pub(crate) fn clocks(&self) -> Clocks {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let wall = i64::try_from(wall).unwrap_or(i64::MAX);
        Clocks { boot: self.boot.clone(), now: clock::now(), wall }
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
        let Ok(directory) = File::open(&self.directory) else { return };
        let deadline = Instant::now() + PATIENCE;
        while flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err()
            && Instant::now() < deadline
        {
            thread::sleep(PACE);
        }
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
        if !self.directory.is_dir() {
            fs::create_dir_all(self.directory.parent().unwrap_or(&self.directory))?;
            DirBuilder::new().mode(0o700).create(&self.directory)?;
        }
        let directory = File::open(&self.directory)?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::other(
                "another knockd has locked its directory; a second one needs a state_directory of its own",
            )
        })?;
        let file = open(&self.path(), false)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let length = metadata.len();
        if length > MAX_FILE {
            return Err(io::Error::other(format!("it is larger than {MAX_FILE} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        let replay = replay(&bytes, &self.clocks());
        let whole = !bytes.is_empty() && replay.torn.is_none() && replay.fault.is_none();
        let book = Book {
            file,
            _directory: directory,
            length,
            fresh: length,
            unsynced: false,
            lacking: !whole,
            tried: None,
        };
        Ok((book, replay))
    }

    /// Keeps the file as it is under another name, for somebody to look at; tells the name. It has to be written anew.
    pub(crate) fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.directory.join(ASIDE);
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
        let too_long = book.length > SMALL.max(4 * book.fresh);
        if book.lacking {
            book.mend(&self.directory, entries, &clocks)
                .map_err(|error| cannot_write(&self.directory, &error))?;
        } else if too_long && book.rewrite(&self.directory, entries, &clocks).is_err() {
            // The old file will do, for as long again.
            book.fresh = book.length;
        }
        let before = book.length;
        let written = book.append(record, &clocks).and_then(|()| if durable { book.sync() } else { Ok(()) });
        written.map_err(|error| {
            book.take_back(before);
            cannot_write(&self.directory, &error)
        })
    }

    /// Writes it anew where it lacks something.
    ///
    /// # Errors
    /// Where that is not possible; in words.
    pub(crate) fn mend(&mut self, entries: impl Iterator<Item = Entry>) -> Result<(), String> {
        match &self.state {
            State::InUse(book) if book.lacking => self.rewrite(entries),
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
        match &mut self.state {
            State::Off => Ok(()),
            State::Failing(reason) => Err(reason.clone()),
            State::InUse(book) => {
                let written = book.rewrite(&self.directory, entries, &clocks);
                written.or_else(|error| {
                    if book.lacking { Err(cannot_write(&self.directory, &error)) } else { Ok(()) }
                })
            }
        }
    }

    /// Whether something was written that is not known to be on the disk.
    pub(crate) const fn is_unsynced(&self) -> bool {
        matches!(&self.state, State::InUse(book) if book.unsynced)
    }

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// Where the disk fails; in words.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        let State::InUse(book) = &mut self.state else { return Ok(()) };
        book.sync().map_err(|error| cannot_write(&self.directory, &error))
    }
}

impl Book {
    fn append(&mut self, record: &Record, clocks: &Clocks) -> io::Result<()> {
        let mut line = Vec::new();
        encode(record, clocks, &mut line);
        self.file.write_all_at(&line, self.length)?;
        self.length += line.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Cuts off what was written behind `length`: half a line must not stand between whole ones, and what was told not to
    /// be written must not be read.
    fn take_back(&mut self, length: u64) {
        self.length = length;
        self.lacking |= self.file.set_len(length).is_err();
    }

    fn sync(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.unsynced) {
            return Ok(());
        }
        // After an error nobody knows what is on the disk, and the next attempt would not tell.
        self.file.sync_data().inspect_err(|_| self.lacking = true)
    }

    /// Writes it anew, unless that was tried just now.
    fn mend(
        &mut self,
        directory: &Path,
        entries: impl Iterator<Item = Entry>,
        clocks: &Clocks,
    ) -> io::Result<()> {
        if self.tried.is_some_and(|tried| tried.elapsed() < PAUSE) {
            return Err(io::Error::other("it has to be written anew, which has failed"));
        }
        self.tried = Some(Instant::now());
        self.rewrite(directory, entries, clocks)
    }

    fn rewrite(
        &mut self,
        directory: &Path,
        entries: impl Iterator<Item = Entry>,
        clocks: &Clocks,
    ) -> io::Result<()> {
        let mut bytes = HEADER.as_bytes().to_vec();
        for entry in entries {
            encode(&Record::Grant(entry), clocks, &mut bytes);
        }
        let new = directory.join(NEW);
        // Half a file must not take the last room.
        let written = write_new(&new, &bytes, directory).inspect_err(|_| drop(fs::remove_file(&new)));
        self.file = written?;
        // Not every file system can; then a full disk is noticed when it is full.
        let length = bytes.len() as u64;
        let _ = fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, length + RESERVE);
        (self.length, self.fresh) = (length, length);
        (self.unsynced, self.lacking, self.tried) = (false, false, None);
        // Not every file system can do that, either.
        let _ = self._directory.sync_all();
        Ok(())
    }

    /// Spoils the first line in its place, which needs no room.
    fn make_void(&mut self) {
        self.lacking = true;
        let _ = self.file.write_all_at(b"#", 0).and_then(|()| self.file.sync_data());
    }
}

/// Puts a new file in place of the old one.
fn write_new(new: &Path, bytes: &[u8], directory: &Path) -> io::Result<File> {
    let file = open(new, true)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    fs::rename(new, directory.join(NAME))?;
    Ok(file)
}

fn open(path: &Path, anew: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(anew).mode(0o600).custom_flags(flags.bits() as i32);
    options.open(path)
}

fn cannot_write(directory: &Path, error: &io::Error) -> String {
    format!("the journal {} cannot be written: {error}", directory.join(NAME).display())
}

#[cfg(test)]
mod tests;
