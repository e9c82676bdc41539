//! The directory of what outlasts the daemon. One daemon at a time has it.

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// How long the lock is waited for, and how often it is tried in that time.
const PATIENCE: Duration = Duration::from_millis(500);
const PACE: Duration = Duration::from_millis(5);

/// The directory, whether it is there or not.
pub(crate) struct StateDirectory {
    path: PathBuf,
    /// As long as one of the files in it is in use.
    held: RefCell<Weak<File>>,
}

impl StateDirectory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, held: RefCell::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it where it is not there, and locks it as long as what is returned is kept.
    ///
    /// # Errors
    /// Where another daemon has it, or it cannot be made.
    pub(crate) fn hold(&self) -> io::Result<Rc<File>> {
        if !self.path.is_dir() {
            fs::create_dir_all(self.path.parent().unwrap_or(&self.path))?;
            DirBuilder::new().mode(0o700).create(&self.path)?;
        }
        let directory = File::open(&self.path)?;
        if let Some(held) = self.held.borrow().upgrade()
            && is_same(&held, &directory)?
        {
            return Ok(held);
        }
        flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::other(
                "another knockd has locked its directory; a second one needs a state_directory of its own",
            )
        })?;
        let directory = Rc::new(directory);
        self.held.replace(Rc::downgrade(&directory));
        Ok(directory)
    }

    /// Waits for the lock, but not long: a daemon that was killed while it started a command holds it until that runs.
    pub(crate) fn wait_for_lock(&self) {
        let Ok(directory) = File::open(&self.path) else { return };
        let deadline = Instant::now() + PATIENCE;
        while flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err()
            && Instant::now() < deadline
        {
            thread::sleep(PACE);
        }
    }
}

/// It may have been taken away and made again.
fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
