//! A door's file of one-time sequences.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use knock_core::config::{Diagnostic, MAX_ERRORS, Source};
use knock_core::one_time::{self, Unused};
use knock_core::sequence::Sequence;

use crate::configuration::{Remark, read};

/// How many sequences behind the one in force are looked ahead to.
///
/// The kernel filter lets their ports through too, so that a knock right behind another is not lost while the sequence
/// changes.
const AHEAD: usize = 8;

/// Sequences that were used but could not be marked so, by their files.
pub(crate) type Unmarked = HashMap<PathBuf, HashSet<Sequence>>;

/// The file, and which of its sequences is in force.
pub(crate) struct OneTimeFile {
    path: PathBuf,
    current: Option<Unused>,
    unmarked: HashSet<Sequence>,
}

/// What the file has to offer.
pub(crate) struct LoadedFile {
    /// The first that is unused, and some of those that follow.
    pub(crate) sequences: Vec<Sequence>,
    /// What is wrong with other lines.
    pub(crate) remarks: Vec<Remark>,
}

impl OneTimeFile {
    pub(crate) fn new(path: PathBuf, unmarked: HashSet<Sequence>) -> Self {
        Self { path, current: None, unmarked }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The sequences that must not be good again, though they look unused.
    pub(crate) fn unmarked(&self) -> &HashSet<Sequence> {
        &self.unmarked
    }

    /// Reads the file and takes its first unused sequence into force.
    ///
    /// # Errors
    /// Where it cannot be read or is no text.
    pub(crate) fn load(&mut self) -> io::Result<LoadedFile> {
        let text = self.text()?;
        let (mut unused, bad) = one_time::read(&text);
        unused.retain(|line| !self.unmarked.contains(&line.sequence));
        let source = Rc::new(Source::new(self.path.display().to_string(), text));
        let remarks = bad.into_iter().map(|bad| (source.clone(), Diagnostic::from_fault(bad.fault)));
        let sequences = unused.iter().take(1 + AHEAD).map(|line| line.sequence.clone()).collect();
        self.current = unused.into_iter().next();
        Ok(LoadedFile { sequences, remarks: remarks.take(MAX_ERRORS).collect() })
    }

    /// Marks the sequence in force as used, whatever then becomes of the mark: it is not offered again.
    ///
    /// # Errors
    /// Where the mark could not be written; after a restart the sequence would be good again.
    pub(crate) fn mark_used(&mut self) -> io::Result<()> {
        let Some(used) = self.current.take() else { return Ok(()) };
        let outcome = self.mark(&used);
        if outcome.is_err() {
            self.unmarked.insert(used.sequence);
        }
        outcome
    }

    fn mark(&self, used: &Unused) -> io::Result<()> {
        // The file may have been edited meanwhile: only the very line is marked.
        let (unused, _) = one_time::read(&self.text()?);
        let Some(line) = unused.iter().find(|line| line.sequence == used.sequence) else { return Ok(()) };
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.write_all_at(&[one_time::USED], line.offset as u64)?;
        file.sync_data()
    }

    fn text(&self) -> io::Result<String> {
        let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8 text");
        String::from_utf8(read(&self.path)?).map_err(not_text)
    }
}

/// What is logged when a door has no sequence left.
pub(crate) fn used_up(door: &str) -> String {
    format!("no more sequences left in the one time sequences file for door {door} --> disabling the door")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> OneTimeFile {
        let path = std::env::temp_dir().join(format!("knockd-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        OneTimeFile::new(path, HashSet::new())
    }

    fn next(file: &mut OneTimeFile) -> Option<String> {
        file.load().unwrap().sequences.first().map(|sequence| sequence.to_string())
    }

    #[test]
    fn each_sequence_is_used_once() {
        let mut file = file("once", "# mine\n 1,2\n 3:udp\n");
        assert_eq!(next(&mut file).as_deref(), Some("1:tcp,2:tcp"));
        file.mark_used().unwrap();
        assert_eq!(next(&mut file).as_deref(), Some("3:udp"));
        file.mark_used().unwrap();
        assert_eq!(next(&mut file), None);
        assert_eq!(std::fs::read_to_string(&file.path).unwrap(), "# mine\n#1,2\n#3:udp\n");
        std::fs::remove_file(&file.path).unwrap();
    }

    #[test]
    fn a_line_that_moved_is_marked_where_it_is() {
        let mut file = file("moved", " 1,2\n 3,4\n");
        next(&mut file);
        std::fs::write(&file.path, "# new\n 3,4\n 1,2\n").unwrap();
        file.mark_used().unwrap();
        assert_eq!(std::fs::read_to_string(&file.path).unwrap(), "# new\n 3,4\n#1,2\n");
        std::fs::remove_file(&file.path).unwrap();
    }

    #[test]
    fn what_cannot_be_marked_is_not_offered_again() {
        let mut file = file("unmarked", "1\n2\n");
        next(&mut file);
        let gone = file.path.with_extension("gone");
        std::fs::rename(&file.path, &gone).unwrap();
        assert!(file.mark_used().is_err());
        std::fs::rename(&gone, &file.path).unwrap();
        assert_eq!(next(&mut file).as_deref(), Some("2:tcp"));
        std::fs::remove_file(&file.path).unwrap();
    }
}
