//! The file that tells the daemon's process id.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A process id file, removed with this value.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes this process's id.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn write(path: PathBuf) -> io::Result<Self> {
        fs::write(&path, format!("{}\n", std::process::id()))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = format!("{}\n", std::process::id());
        // Another daemon may have taken the file over.
        if fs::read_to_string(&self.0).is_ok_and(|text| text == ours) {
            // Nobody is left to tell.
            let _ = fs::remove_file(&self.0);
        }
    }
}
