//! `metrics_file`: the metrics as a file, for node_exporter's textfile collector.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use knock_core::time::Timestamp;

/// How often the file is written: its age tells that the daemon is alive.
const PACE: Duration = Duration::from_secs(30);
/// Everybody may read it.
const MODE: u32 = 0o644;

/// The file, where there is to be one.
#[derive(Default)]
pub(crate) struct MetricsFile {
    path: Option<PathBuf>,
    due: Option<Timestamp>,
    /// It was written.
    is_ours: bool,
    /// It could not be written, which was told.
    told: bool,
}

impl MetricsFile {
    /// Writes to this file from now on. What was written to another one goes: it would say for ever that the daemon runs, and
    /// of two files with the same series the collector takes neither.
    pub(crate) fn set_path(&mut self, path: Option<&Path>) {
        if let Some(old) = self.path.as_deref().filter(|old| self.is_ours && Some(*old) != path) {
            // Where it is gone already, nothing is to be done.
            let _ = fs::remove_file(old);
        }
        let is_ours = self.is_ours && self.path.as_deref() == path;
        *self =
            Self { path: path.map(Path::to_owned), due: path.map(|_| Timestamp::ZERO), is_ours, told: false };
    }

    /// When it is to be written.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.due
    }

    /// Whether it is to be written now.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Writes it, where there is one; what is to be said of that.
    pub(crate) fn write(&mut self, text: &str, now: Timestamp) -> Option<String> {
        let path = self.path.as_ref()?;
        self.due = Some(now + PACE);
        let written = replace(path, text);
        let failed = written.is_err();
        self.is_ours |= !failed;
        let news = failed != std::mem::replace(&mut self.told, failed);
        let name = path.display();
        news.then(|| match written {
            Ok(()) => format!("the metrics file {name} is written again"),
            Err(error) => format!(
                "warning: the metrics file {name} cannot be written, trying anew: {error}; expected a file in a \
                 directory that is there, as node_exporter has it"
            ),
        })
    }
}

/// Puts a file in the place of another, so that whoever reads finds the one or the other as a whole.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // /dev/null is not to become a file.
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file() && !there.is_symlink()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // The collector takes what ends with .prom.
    name.push(".new");
    let new = path.with_file_name(name);
    // The directory may be somebody else's: whatever they put there is not followed.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
    let written = file
        .set_permissions(Permissions::from_mode(MODE))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use lab::TempDir;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(5000);

    #[test]
    fn everybody_reads_the_whole_of_it() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("knockd.prom");
        let mut file = MetricsFile::default();
        file.set_path(Some(&path));
        assert!(file.is_due(START));
        assert_eq!(file.write("first\n", START), None);
        let first = File::open(&path).unwrap();
        assert_eq!(file.write("second\n", START), None);
        assert_eq!(io::read_to_string(first).unwrap(), "first\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!((file.is_due(START), file.next_deadline()), (false, Some(START + PACE)));
    }

    #[test]
    fn a_link_that_somebody_put_there_is_not_followed() {
        let directory = TempDir::new().unwrap();
        let victim = directory.write("victim", "precious").unwrap();
        let path = directory.path().join("knockd.prom");
        symlink(&victim, &path).unwrap();
        symlink(&victim, directory.path().join("knockd.prom.new")).unwrap();
        let mut file = MetricsFile::default();
        file.set_path(Some(&path));
        assert_eq!(file.write("metrics\n", START), None);
        assert_eq!(
            (directory.read("victim"), directory.read("knockd.prom")),
            ("precious".into(), "metrics\n".into())
        );
    }

    #[test]
    fn that_it_fails_is_told_once_and_that_it_works_again_too() {
        let directory = TempDir::new().unwrap();
        let missing = directory.path().join("missing");
        let mut file = MetricsFile::default();
        file.set_path(Some(&missing.join("knockd.prom")));
        assert!(file.write("", START).unwrap().contains("cannot be written"));
        assert_eq!(file.write("", START), None);
        fs::create_dir(missing).unwrap();
        assert!(file.write("", START).unwrap().contains("is written again"));
        assert_eq!(file.write("", START), None);
    }

    #[test]
    fn another_file_takes_the_place_of_the_first() {
        let directory = TempDir::new().unwrap();
        let [first, second] = ["a.prom", "b.prom"].map(|name| directory.path().join(name));
        let theirs = directory.write("theirs.prom", "theirs").unwrap();
        let mut file = MetricsFile::default();
        file.set_path(Some(&theirs));
        for path in [&first, &first, &second] {
            file.set_path(Some(path));
            assert_eq!(file.write("", START), None);
        }
        assert!(!first.exists() && second.exists() && theirs.exists());
        file.set_path(None);
        assert!(!second.exists());
    }

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("pipe");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut file = MetricsFile::default();
        file.set_path(Some(&path));
        assert!(file.write("", START).unwrap().contains("it is no regular file"));
        assert!(!fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn without_a_path_nothing_is_due() {
        let mut file = MetricsFile::default();
        assert_eq!((file.next_deadline(), file.write("", START)), (None, None));
    }
}
