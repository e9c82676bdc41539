//! A door's file of one-time sequences.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use knock_core::config::{Diagnostic, MAX_ERRORS, Source};
use knock_core::one_time::{self, BadLine, Unused};
use knock_core::sequence::Sequence;

use crate::configuration::{Remark, read_file};

/// How many sequences behind the one in force are looked ahead to.
///
/// The kernel filter lets their ports through too, so that a knock right behind another is not lost while the sequence
/// changes.
const AHEAD: usize = 8;

/// Sequences that were used but could not be marked so, by their files.
pub(crate) type Unmarked = HashMap<PathBuf, HashSet<Sequence>>;

/// The file, and what of it is in force.
pub(crate) struct OneTimeFile {
    path: PathBuf,
    /// The sequence in force, and some of those that follow.
    upcoming: VecDeque<Unused>,
    unmarked: HashSet<Sequence>,
}

impl OneTimeFile {
    pub(crate) fn new(path: PathBuf, unmarked: HashSet<Sequence>) -> Self {
        Self { path, upcoming: VecDeque::new(), unmarked }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The sequences that must not be good again, though they look unused.
    pub(crate) fn unmarked(&self) -> &HashSet<Sequence> {
        &self.unmarked
    }

    /// The sequence in force, and some of those that follow.
    pub(crate) fn sequences(&self) -> Vec<Sequence> {
        self.upcoming.iter().map(|line| line.sequence.clone()).collect()
    }

    /// Reads the file and takes its first unused sequence into force; tells what is wrong with other lines.
    ///
    /// # Errors
    /// Where it cannot be read or is no text; then what is known of it stays.
    pub(crate) fn load(&mut self) -> io::Result<Vec<Remark>> {
        let text = self.text()?;
        let (mut unused, bad) = one_time::read(&text);
        unused.retain(|line| !self.unmarked.contains(&line.sequence));
        self.upcoming = unused.into_iter().take(1 + AHEAD).collect();
        let source = Rc::new(Source::new(self.path.display().to_string(), text));
        let remark = |bad: BadLine| (source.clone(), Diagnostic::from_fault(bad.fault));
        Ok(bad.into_iter().take(MAX_ERRORS).map(remark).collect())
    }

    /// Marks the sequence in force as used, whatever then becomes of the mark: it is not offered again.
    ///
    /// # Errors
    /// Where the mark could not be written; after a restart the sequence would be good again.
    pub(crate) fn mark_used(&mut self) -> io::Result<()> {
        let Some(used) = self.upcoming.pop_front() else { return Ok(()) };
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
        String::from_utf8(read_file(&self.path)?).map_err(not_text)
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
        file.load().unwrap();
        file.sequences().first().map(|sequence| sequence.to_string())
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
        assert!(file.load().is_err());
        assert_eq!(file.sequences().len(), 1, "what was read before stays known");
        std::fs::rename(&gone, &file.path).unwrap();
        assert_eq!(next(&mut file).as_deref(), Some("2:tcp"));
        std::fs::remove_file(&file.path).unwrap();
    }
}
