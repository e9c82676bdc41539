//! Directories that are gone when they are dropped.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A directory of its own for one test, readable by its owner alone and removed on drop.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one under the system's directory for temporary files.
    ///
    /// # Errors
    /// What creating a directory there says.
    pub fn new() -> io::Result<Self> {
        let base = std::env::temp_dir();
        let process = std::process::id();
        for number in 0.. {
            let path = base.join(format!("lab-{process}-{number}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                result => return result.map(|()| Self(path)),
            }
        }
        unreachable!("the numbers do not end before the disk is full")
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it and returns its path.
    ///
    /// # Errors
    /// What writing says.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// The text of a file in it, empty while there is none.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.0.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What a straggling child still writes there is no reason to fail a test that is over.
        let _ = fs::remove_dir_all(&self.0);
    }
}
