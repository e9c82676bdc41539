//! A file in the state directory to which lines are added, and which is written anew when it has become long.
//!
//! Room is reserved in it, so that lines can be added for a while on a full disk: the administrator may have to come in
//! because of that.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

use crate::state_directory::StateDirectory;

/// How much room is reserved behind its end, in bytes; at least half of that, as long as there is any.
const RESERVE: u64 = 256 * 1024;
/// What the name of a book ends with that is not what was written, and is kept for somebody to look at.
pub(crate) const ASIDE: &str = "corrupt";
/// A book shorter than this is not written anew to save room, in bytes.
pub(crate) const SMALL: u64 = 128 * 1024;
/// How long after it could not be written anew that is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest book that is read, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// An open file of lines.
pub(crate) struct Book {
    path: PathBuf,
    file: File,
    /// Holds the lock.
    directory: Rc<File>,
    /// Up to here it is good.
    length: u64,
    /// How long it was when it was last written anew.
    fresh: u64,
    /// Up to here room was asked for.
    reserved: u64,
    /// Something was written that is not known to be on the disk.
    unsynced: bool,
    /// It is not what it should be: it must be written anew before anything else.
    lacking: bool,
    /// When that was tried last, in vain.
    tried: Option<Instant>,
}

impl Book {
    /// Opens the file of this name and tells what is in it; makes it where it is not there. An empty one is lacking.
    ///
    /// # Errors
    /// Where another daemon has it, and where it cannot be read and written.
    pub(crate) fn open(directory: &StateDirectory, name: &str) -> io::Result<(Self, Vec<u8>)> {
        let held = directory.hold()?;
        let path = directory.path().join(name);
        let file = open(&path, false)?;
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
        let book = Self {
            path,
            file,
            directory: held,
            length,
            fresh: length,
            reserved: length,
            unsynced: false,
            lacking: bytes.is_empty(),
            tried: None,
        };
        Ok((book, bytes))
    }

    /// Whether it must be written anew before anything else.
    pub(crate) const fn is_lacking(&self) -> bool {
        self.lacking
    }

    /// It is not what it should be.
    pub(crate) const fn find_lacking(&mut self) {
        self.lacking = true;
    }

    /// Whether something was written that is not known to be on the disk.
    pub(crate) const fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// When it was last written to, by the time of day of then.
    pub(crate) fn written(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Adds a line. `durable`: it is on the disk before this returns. `whole` is what the file has to say without it.
    ///
    /// # Errors
    /// Where it could not be written; then it is as if nothing had been, or the file is lacking.
    pub(crate) fn add(
        &mut self,
        line: &[u8],
        durable: bool,
        whole: impl FnOnce() -> Vec<u8>,
    ) -> io::Result<()> {
        if self.lacking {
            self.mend(whole)?;
        } else if self.length > SMALL.max(4 * self.fresh) && self.rewrite(&whole()).is_err() {
            if self.lacking {
                return Err(io::Error::other("it is not known whether it was written anew"));
            }
            // The old file will do, for as long again.
            self.fresh = self.length;
        }
        let before = self.length;
        let written = self.append(line).and_then(|()| if durable { self.sync() } else { Ok(()) });
        written.inspect_err(|_| self.take_back(before))
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.length + RESERVE / 2 > self.reserved {
            self.reserve();
        }
        self.file.write_all_at(line, self.length)?;
        self.length += line.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Not every file system can; then a full disk is noticed when it is full.
    fn reserve(&mut self) {
        self.reserved = self.length + RESERVE;
        let _ = fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, self.reserved);
    }

    /// Cuts off what was written behind `length`: half a line must not stand between whole ones, and what was told not to
    /// be written must not be read.
    fn take_back(&mut self, length: u64) {
        self.length = length;
        self.lacking |= self.file.set_len(length).is_err();
        // With what is cut off goes the room behind it.
        self.reserved = length;
    }

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// Where the disk fails.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.unsynced) {
            return Ok(());
        }
        // After an error nobody knows what is on the disk, and the next attempt would not tell.
        self.file.sync_data().inspect_err(|_| self.lacking = true)
    }

    /// Writes it anew, unless that was tried just now.
    fn mend(&mut self, whole: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        if self.tried.is_some_and(|tried| tried.elapsed() < PAUSE) {
            return Err(io::Error::other("it has to be written anew, which has failed"));
        }
        self.tried = Some(Instant::now());
        self.rewrite(&whole())
    }

    /// Writes it anew: on the disk there is the old file or this one, at any moment, and when this returns it is this one.
    ///
    /// # Errors
    /// Where that is not possible; then the old one is still in use, or it is lacking.
    pub(crate) fn rewrite(&mut self, whole: &[u8]) -> io::Result<()> {
        // Half a file must not take the last room.
        let new = self.path.with_extension("new");
        let written = self.write_new(&new, whole).inspect_err(|_| drop(fs::remove_file(&new)));
        self.file = written?;
        let length = whole.len() as u64;
        (self.length, self.fresh, self.unsynced) = (length, length, false);
        self.reserve();
        self.lacking = true;
        sync_directory(&self.directory)?;
        (self.lacking, self.tried) = (false, None);
        Ok(())
    }

    /// Puts a new file in place of the old one.
    fn write_new(&self, new: &Path, bytes: &[u8]) -> io::Result<File> {
        let file = open(new, true)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        fs::rename(new, &self.path)?;
        Ok(file)
    }

    /// Spoils the first line in its place, which needs no room.
    pub(crate) fn make_void(&mut self) {
        self.lacking = true;
        let _ = self.file.write_all_at(b"#", 0).and_then(|()| self.file.sync_data());
    }
}

/// Until then, a fall of the machine may bring the old file back.
fn sync_directory(directory: &File) -> io::Result<()> {
    let outcome = directory.sync_all();
    let cannot = |error: &io::Error| {
        matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS))
    };
    match outcome {
        // A file system that has no such thing.
        Err(error) if cannot(&error) => Ok(()),
        outcome => outcome,
    }
}

fn open(path: &Path, anew: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(anew).mode(0o600).custom_flags(flags.bits() as i32);
    options.open(path)
}
