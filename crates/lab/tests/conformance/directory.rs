//! The directory of a run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lab::TempDir;

/// A directory whose name no other run gets, even when this one is long over: what a daemon leaves behind, such as a
/// command that sleeps, may write to it at any time.
pub(crate) struct Directory {
    path: PathBuf,
    outer: TempDir,
}

impl Directory {
    pub(crate) fn new() -> io::Result<Self> {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let outer = TempDir::new()?;
        let path = outer.path().join(format!("run{}", RUNS.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path)?;
        Ok(Self { path, outer })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> io::Result<()> {
        self.outer.write(&self.inner(name), content)?;
        Ok(())
    }

    /// The text of a file, empty while there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        self.outer.read(&self.inner(name))
    }

    fn inner(&self, name: &str) -> String {
        self.path.join(name).to_string_lossy().into_owned()
    }
}
