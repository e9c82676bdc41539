//! Files that are read, and replaced as a whole or not at all.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;
use crate::random::number;

/// The largest file that the daemon reads, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// The mode of a file that is not in its place yet.
const DRAFT: u32 = 0o600;

/// What a file is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    /// The mode of one that is new.
    pub(crate) mode: u32,
    /// What others may not do with it, whatever its mode says.
    pub(crate) denied: u32,
    /// The command that wants it.
    pub(crate) command: &'static str,
    /// What to do where its directory is not there; empty where it is to be made.
    pub(crate) missing: &'static str,
    /// What to do where nothing can be written.
    pub(crate) read_only: &'static str,
}

/// A file as it was found.
pub(crate) struct Found {
    /// The file itself, symbolic links followed.
    pub(crate) path: PathBuf,
    /// What is in it; nothing where it is not there.
    pub(crate) bytes: Vec<u8>,
    metadata: Option<Metadata>,
    purpose: Purpose,
    /// Its directory, held by the one who is to change something.
    directory: Option<Rc<File>>,
}

/// What is to take a file's place, written already.
pub(crate) struct Prepared<'a> {
    found: &'a Found,
    draft: Draft,
    mode: Option<u32>,
}

impl Found {
    /// Reads what a file holds; that it is not there is no error.
    pub(crate) fn read(path: &Path, purpose: Purpose) -> Result<Self, Failure> {
        Self::read_resolved(resolved(path, purpose)?, purpose, None)
    }

    /// The same, to replace it: whoever does this too waits. Editors do not ask, so what they do is looked for as well.
    pub(crate) fn hold(path: &Path, purpose: Purpose) -> Result<Self, Failure> {
        let path = resolved(path, purpose)?;
        let directory = hold_directory(&path, purpose)?;
        Self::read_resolved(path, purpose, Some(Rc::new(directory)))
    }

    /// The same for several files; paths that lead to one file give one. They are in the order of their names, which is that
    /// of waiting, too, so that nobody waits for another who waits.
    pub(crate) fn hold_all(paths: &[PathBuf], purpose: Purpose) -> Result<Vec<Self>, Failure> {
        let files: BTreeSet<_> =
            paths.iter().map(|path| resolved(path, purpose)).collect::<Result<_, _>>()?;
        let mut directories: BTreeMap<PathBuf, Rc<File>> = BTreeMap::new();
        for file in &files {
            let parent = file.parent().unwrap_or(Path::new("/")).to_owned();
            if let Entry::Vacant(place) = directories.entry(parent) {
                place.insert(Rc::new(hold_directory(file, purpose)?));
            }
        }
        let found = |file: PathBuf| {
            let parent = file.parent().unwrap_or(Path::new("/"));
            let directory = directories.get(parent).map(Rc::clone);
            Self::read_resolved(file, purpose, directory)
        };
        files.into_iter().map(found).collect()
    }

    fn read_resolved(path: PathBuf, purpose: Purpose, directory: Option<Rc<File>>) -> Result<Self, Failure> {
        match read(&path) {
            Ok((bytes, metadata)) => Ok(Self { path, bytes, metadata: Some(metadata), purpose, directory }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path, bytes: Vec::new(), metadata: None, purpose, directory })
            }
            Err(error) => Err(refused(&path, "cannot be read", &error, purpose)),
        }
    }

    /// Whether there is such a file.
    pub(crate) const fn exists(&self) -> bool {
        self.metadata.is_some()
    }

    /// Its mode, where it is there.
    pub(crate) fn mode(&self) -> Option<u32> {
        self.metadata.as_ref().map(|metadata| metadata.mode() & 0o7777)
    }

    /// Whether it belongs to root or to the one who asks, or is not there.
    pub(crate) fn is_trusted(&self) -> bool {
        self.metadata.as_ref().is_none_or(|metadata| is_trusted(metadata.uid()))
    }

    /// Puts other content in its place, with the same mode and owner. Where the machine stops in between, the file is the
    /// old or the new one. Tells the mode where it changes: others may do no more than the purpose allows.
    pub(crate) fn replace(&self, content: &[u8]) -> Result<Option<u32>, Failure> {
        self.prepare(content)?.put()
    }

    /// Writes what is to take its place: what can go wrong has gone wrong then, but for what somebody else does.
    pub(crate) fn prepare(&self, content: &[u8]) -> Result<Prepared<'_>, Failure> {
        let draft = Draft::create(&self.path, self.purpose)?;
        let mode = self.write(&draft, content).map_err(|error| self.unwritable(&error))?;
        Ok(Prepared { found: self, draft, mode })
    }

    fn write(&self, draft: &Draft, content: &[u8]) -> io::Result<Option<u32>> {
        let mut file = &draft.file;
        let denied = self.purpose.denied;
        let mut changed = None;
        let mode = match &self.metadata {
            None => self.purpose.mode,
            Some(old) => {
                let new = file.metadata()?;
                if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                    fchown(file, Some(old.uid()), Some(old.gid()))?;
                }
                let mode = old.mode() & 0o7777;
                changed = (mode & denied != 0).then_some(mode & !denied);
                mode & !denied
            }
        };
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        Ok(changed)
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        refused(&self.path, "cannot be written", error, self.purpose)
    }

    fn is_as_found(&self) -> bool {
        match (read(&self.path), &self.metadata) {
            (Ok((bytes, now)), Some(then)) => {
                bytes == self.bytes && (now.dev(), now.ino()) == (then.dev(), then.ino())
            }
            (Err(error), None) => error.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

impl Prepared<'_> {
    /// Puts it there.
    pub(crate) fn put(self) -> Result<Option<u32>, Failure> {
        let found = self.found;
        if !found.is_as_found() {
            let told =
                format!("{} has changed meanwhile: nothing was written, try again", found.path.display());
            return Err(Failure::Refused(told));
        }
        self.draft.take_the_place_of(&found.path).map_err(|error| found.unwritable(&error))?;
        // The name, too, is to be there after a loss of power.
        let synced = found.directory.as_ref().map_or(Ok(()), |directory| directory.sync_all());
        synced.map_err(|error| found.unwritable(&error))?;
        Ok(self.mode)
    }
}

/// Whose files decide who gets in: the daemon takes no others.
pub(crate) fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

/// Waits until nobody else changes something in a file's directory.
pub(crate) fn hold_directory(path: &Path, purpose: Purpose) -> Result<File, Failure> {
    let unwritable = |error| refused(path, "cannot be written", &error, purpose);
    let directory = File::open(path.parent().unwrap_or(Path::new("/"))).map_err(unwritable)?;
    flock(&directory, FlockOperation::LockExclusive).map_err(|error| unwritable(error.into()))?;
    Ok(directory)
}

/// A file beside the one that it is to replace; gone when it is dropped, unless it has.
pub(crate) struct Draft {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl Draft {
    /// Its owner's alone, and empty.
    pub(crate) fn create(beside: &Path, purpose: Purpose) -> Result<Self, Failure> {
        let mut name = OsString::from(".");
        name.push(beside.file_name().unwrap_or_default());
        name.push(format!(".{:08x}", number()?));
        let path = beside.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(DRAFT).open(&path);
        let file = file.map_err(|error| refused(beside, "cannot be written", &error, purpose))?;
        Ok(Self { file, path })
    }

    /// Gives it the other's name.
    pub(crate) fn take_the_place_of(&self, other: &Path) -> io::Result<()> {
        fs::rename(&self.path, other)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Where it took the other's place there is nothing under this name any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// The path without symbolic links.
pub(crate) fn resolved(path: &Path, purpose: Purpose) -> Result<PathBuf, Failure> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let (parent, name) =
                (absolute.parent().unwrap_or(Path::new("/")), absolute.file_name().unwrap_or_default());
            let parent = fs::canonicalize(parent)
                .map_err(|error| refused(parent, "cannot be found", &error, purpose))?;
            Ok(parent.join(name))
        }
        Err(error) => Err(refused(path, "cannot be found", &error, purpose)),
    }
}

/// A regular file's content: from anything else one might wait for ever.
fn read(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok((bytes, metadata))
}

/// What the system says of a file, and what to do about it.
pub(crate) fn refused(path: &Path, what: &str, error: &io::Error, purpose: Purpose) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => format!(" (only root may: sudo knockctl {} …)", purpose.command),
        io::ErrorKind::NotFound if path.is_symlink() => " (it is a link that leads nowhere)".into(),
        io::ErrorKind::NotFound if purpose.missing.is_empty() => {
            format!(" (make it first: mkdir -m 755 {})", path.display())
        }
        io::ErrorKind::NotFound => format!(" ({})", purpose.missing),
        io::ErrorKind::ResourceBusy | io::ErrorKind::ReadOnlyFilesystem if !purpose.read_only.is_empty() => {
            format!(" ({})", purpose.read_only)
        }
        _ => String::new(),
    };
    Failure::Refused(format!("{} {what}: {error}{remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use lab::TempDir;

    use super::*;
    use crate::new_door::CONFIGURATION;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("knockd.conf");
        let found = Found::hold(&path, CONFIGURATION).unwrap();
        assert!(!found.exists());
        assert_eq!(found.replace(b"new").unwrap(), None);
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
    }

    #[test]
    fn mode_and_link_stay() {
        let directory = TempDir::new().unwrap();
        let path = directory.write("real", "old").unwrap();
        let link = directory.path().join("link");
        symlink("real", &link).unwrap();
        for (before, after, told) in [(0o640, 0o640, None), (0o600, 0o600, None), (0o644, 0o640, Some(0o640))]
        {
            fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            let found = Found::hold(&link, CONFIGURATION).unwrap();
            assert_eq!(found.replace(format!("{before}").as_bytes()).unwrap(), told);
            assert_eq!((fs::read_to_string(&path).unwrap(), mode(&path)), (before.to_string(), after));
            assert!(link.is_symlink());
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_is_kept() {
        let directory = TempDir::new().unwrap();
        let path = directory.write("knockd.conf", "old").unwrap();
        let found = Found::hold(&path, CONFIGURATION).unwrap();
        fs::write(&path, "theirs").unwrap();
        let Err(Failure::Refused(why)) = found.replace(b"ours") else { panic!("it was written") };
        assert!(why.contains("has changed meanwhile"), "{why}");
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        drop(found);
        let nothing = Found::hold(&directory.path().join("other"), CONFIGURATION).unwrap();
        directory.write("other", "theirs").unwrap();
        assert!(nothing.replace(b"ours").is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = TempDir::new().unwrap();
        let dangling = directory.path().join("dangling");
        symlink("nowhere", &dangling).unwrap();
        for path in [directory.path(), &dangling, Path::new("/nowhere/knockd.conf"), Path::new("/dev/zero")] {
            assert!(Found::read(path, CONFIGURATION).is_err(), "{}", path.display());
        }
    }
}
