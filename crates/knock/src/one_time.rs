//! The next unused line of a one-time file: taken, knocked, then marked.
//!
//! When to mark? The daemon marks its own line when the whole sequence has arrived, and waits for that line until
//! then. So does this client:
//!
//! - a sequence that could not be sent completely stays unused on both sides;
//! - were the client to end between sending and marking, it would be one line behind: the next knock sends a used
//!   sequence, which opens nothing, and the one after it opens. Marked first, it would be one line ahead of the
//!   daemon, which would wait for a line that nobody ever sends.
//!
//! Where the port behind the door is looked at, the mark waits for it to be open, since that alone shows that the daemon
//! has used the line. If it does not open, the sequence has hardly arrived, and the same line is knocked again.
//!
//! The file is opened for writing and locked before anything is sent, and stays locked until the line is marked:
//! another client waits, then takes the next line. Nothing but the mark is ever written.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use knock_core::config::Source;
use knock_core::one_time::{USED, Unused, read};
use knock_core::sequence::{Fault, Sequence};

/// A line in use; the file is locked as long as this lives.
#[derive(Debug)]
pub(crate) struct Line {
    file: File,
    place: Place,
    unused: Unused,
}

/// Where in a file something stands; lines and columns (in characters) count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    path: PathBuf,
    line: usize,
    column: usize,
}

impl Place {
    fn of(path: &Path, text: &str, offset: usize) -> Self {
        let (line, column) = Source::new("", text).position(offset);
        Self { path: path.to_owned(), line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// What is wrong with a one-time file.
#[derive(Debug)]
pub(crate) enum Error {
    /// It cannot be opened for reading and writing, locked or read. Nothing was sent.
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A line is neither a sequence nor a comment. Nothing was sent.
    BadLine {
        /// Where.
        place: Place,
        /// What stands there, and what should.
        fault: Fault,
    },
    /// Every line has been used. Nothing was sent.
    NoneLeft(PathBuf),
    /// The sequence was sent, but its line still looks unused.
    Unmarked {
        /// Where the mark belongs.
        place: Place,
        /// What the system says.
        cause: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { path, cause } => {
                write!(f, "cannot use the one-time file {}: {cause}; nothing was sent", path.display())
            }
            Self::BadLine { place, fault } => write!(f, "{place}: {fault}; nothing was sent"),
            Self::NoneLeft(path) => {
                write!(
                    f,
                    "no unused line is left in {}; add sequences here and on the server",
                    path.display()
                )
            }
            Self::Unmarked { place, cause } => {
                write!(
                    f,
                    "{place}: the sequence was sent, but could not be marked as used: {cause}; put a # there"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

impl Line {
    /// Opens and locks the file at `path` and takes its first unused line. `wait` is called once where another
    /// process holds the lock, before waiting for it.
    ///
    /// # Errors
    /// Where the file cannot be read and written, has a bad line anywhere, or has no unused line.
    pub(crate) fn take(path: &Path, wait: impl FnOnce()) -> Result<Self, Error> {
        let unusable = |cause| Error::Unusable { path: path.to_owned(), cause };
        let mut file = open(path).map_err(unusable)?;
        lock(&file, wait).map_err(unusable)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unusable)?;
        let text = decode(path, bytes)?;
        let unused = next_unused(path, &text)?;
        Ok(Self { file, place: Place::of(path, &text, unused.offset), unused })
    }

    /// What is to be knocked.
    pub(crate) const fn sequence(&self) -> &Sequence {
        &self.unused.sequence
    }

    /// Where the mark belongs.
    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Marks the line as used, on the disk before this returns.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub(crate) fn mark(mut self) -> Result<(), Error> {
        let offset = self.unused.offset as u64;
        write_mark(&mut self.file, offset).map_err(|cause| Error::Unmarked { place: self.place, cause })
    }
}

/// A pipe or a device would be waited for, and cannot be marked.
fn open(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    File::options().read(true).write(true).open(path)
}

fn lock(file: &File, wait: impl FnOnce()) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            wait();
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        let fault = Fault::new(valid..valid + 1, "a byte that is not UTF-8", "ports, or a comment in UTF-8");
        Error::BadLine { place: Place::of(path, &text, valid), fault }
    })
}

fn next_unused(path: &Path, text: &str) -> Result<Unused, Error> {
    let (unused, bad) = read(text);
    if let Some(first) = bad.into_iter().next() {
        let place = Place::of(path, text, first.fault.span.start);
        return Err(Error::BadLine { place, fault: first.fault });
    }
    unused.into_iter().next().ok_or_else(|| Error::NoneLeft(path.to_owned()))
}

fn write_mark(file: &mut File, offset: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&[USED])?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str) -> Result<Unused, Error> {
        next_unused(Path::new("file"), text)
    }

    #[test]
    fn takes_the_first_line_that_is_left() {
        let unused = next("# mine\n#1,2\n3,4:udp\n5\n").unwrap();
        assert_eq!((unused.offset, unused.sequence.to_string()), (12, "3:tcp,4:udp".into()));
    }

    #[test]
    fn a_bad_line_anywhere_stops_it() {
        let error = next("1,2\n 3,x\n").unwrap_err().to_string();
        assert!(error.starts_with("file:2:4: \"x\" is no port; expected a port"), "{error}");
    }

    #[test]
    fn says_that_nothing_is_left() {
        let error = next("#1,2\n\n").unwrap_err().to_string();
        assert!(error.starts_with("no unused line is left in file"), "{error}");
    }

    #[test]
    fn places_count_characters() {
        let place = |text: &str, offset| Place::of(Path::new("f"), text, offset).to_string();
        assert_eq!(place("ab\nc", 0), "f:1:1");
        assert_eq!(place("ab\nc", 3), "f:2:1");
        assert_eq!(place("é x", 3), "f:1:3");
        assert_eq!(place("ab", 9), "f:1:3");
    }

    #[test]
    fn other_encodings_are_refused_where_they_begin() {
        let error = decode(Path::new("f"), b"1\n# caf\xe9\n".to_vec()).unwrap_err().to_string();
        assert!(error.starts_with("f:2:6: a byte that is not UTF-8"), "{error}");
    }
}
