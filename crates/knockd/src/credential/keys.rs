//! A door's `authorized_keys`, as the file is at the moment.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use knock_core::config::{Diagnostic, MAX_ERRORS, Severity, Source};
use knock_core::spa::{AuthorizedKey, Civil, read_keys};

use super::is_trusted;
use crate::configuration::{Remark, read_file, reason};

/// The file, and what of it is in force.
pub(crate) struct KeysFile {
    path: PathBuf,
    keys: Vec<AuthorizedKey>,
    /// Which state of the file that is.
    state: Option<State>,
    /// Why it cannot be used, which was told.
    failed: Option<String>,
}

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self {
            place: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl KeysFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, keys: Vec::new(), state: None, failed: None }
    }

    /// Who may knock.
    pub(crate) fn keys(&self) -> &[AuthorizedKey] {
        &self.keys
    }

    /// Reads the file; tells what is wrong with lines, which count for nothing.
    ///
    /// # Errors
    /// Where it cannot be used; then nobody may knock. In words.
    pub(crate) fn load(&mut self) -> Result<Vec<Remark>, String> {
        self.keys.clear();
        self.state = None;
        let name = self.path.display().to_string();
        let failed = |error: io::Error| format!("{name}: {}", reason(&error));
        let metadata = fs::metadata(&self.path).map_err(failed)?;
        // Not only while it is as it is: made good, it is looked at again.
        self.state = Some(State::of(&metadata));
        check(&self.path, &metadata)?;
        let bytes = read_file(&self.path).map_err(|error| {
            // That may be over with no change of the file.
            self.state = None;
            failed(error)
        })?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{name}: the file is not UTF-8 text"))?;
        let file = read_keys(&text, &to_unix);
        self.keys = file.keys;
        let source = Rc::new(Source::new(name, text));
        let mistakes = file.mistakes.into_iter().take(MAX_ERRORS);
        // The other lines count: nobody is shut out by a line of somebody else's.
        let warning = |mistake| Diagnostic { severity: Severity::Warning, ..mistake };
        Ok(mistakes.map(|mistake| (source.clone(), warning(mistake))).collect())
    }

    /// Reads the file again where it has changed; tells what there is to tell, a line each.
    pub(crate) fn refresh(&mut self) -> Vec<String> {
        let state = fs::metadata(&self.path).ok().map(|metadata| State::of(&metadata));
        if state == self.state && (state.is_some() || self.failed.is_some()) {
            return Vec::new();
        }
        match self.load() {
            Ok(remarks) => {
                self.failed = None;
                let name = self.path.display();
                let read = format!("{name} was read anew, keys: {}", self.keys.len());
                let mistakes = remarks.iter().map(|(source, mistake)| source.line(mistake));
                std::iter::once(read).chain(mistakes).collect()
            }
            Err(error) if self.failed.as_ref() == Some(&error) => Vec::new(),
            Err(error) => {
                self.failed = Some(error.clone());
                vec![format!("error: {error}; until then nobody can knock with a key of this file")]
            }
        }
    }
}

/// As with `sshd`: what others can write decides nothing.
fn check(path: &Path, metadata: &Metadata) -> Result<(), String> {
    let name = path.display();
    if metadata.mode() & 0o022 != 0 {
        return Err(format!(
            "{name}: others can write into this file, so anybody could add a key: chmod go-w {name}"
        ));
    }
    if !is_trusted(metadata.uid()) {
        return Err(format!("{name}: it belongs to another user, who could add a key: chown root {name}"));
    }
    Ok(())
}

/// Seconds since 1970 of a time, in the machine's time zone where it is not in UTC.
fn to_unix(civil: Civil) -> Option<i64> {
    let Civil { year, month, day, hour, minute, second, utc } = civil;
    let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    zone.to_timestamp(time).ok().map(|time| time.as_second())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILTGPDYuUYtmaagnrrD1xMdyV8E0iFH8ncgEZKOwUpN";

    #[test]
    fn follows_its_file() {
        let path = std::env::temp_dir().join(format!("knockd-keys-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let mut file = KeysFile::new(path.clone());
        assert!(file.load().is_err());
        assert_eq!(file.refresh().len(), 1);
        assert_eq!(file.refresh().len(), 0, "it is told once");
        fs::write(&path, format!("{KEY} alice\nnonsense\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(file.refresh().len(), 2);
        assert_eq!(file.keys().len(), 1);
        assert_eq!(file.refresh().len(), 0);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(file.refresh()[0].contains("chmod go-w"));
        assert!(file.keys().is_empty());
        fs::remove_file(&path).unwrap();
        assert_eq!(file.refresh().len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_tried_again() {
        // It is there, and reading from its beginning is an error.
        let mut file = KeysFile::new("/proc/self/mem".into());
        assert!(file.refresh()[0].contains("nobody can knock"));
        assert_eq!(file.refresh().len(), 0, "it is told once");
        assert!(file.state.is_none(), "it may be readable the next time without any change");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let utc =
            |year, month, day| to_unix(Civil { year, month, day, hour: 12, minute: 0, second: 0, utc: true });
        assert_eq!(utc(2027, 1, 1), Some(1_798_804_800));
        assert_eq!(utc(2027, 2, 30), None);
    }
}
