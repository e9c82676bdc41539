//! The configuration file: read, and replaced as a whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::random::number;
use crate::failure::Failure;

/// The largest file that the daemon reads, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// The mode of a file that is new.
const NEW: u32 = 0o600;
/// What others may do with a file that holds sequences: nothing.
const OTHERS: u32 = 0o007;

/// A configuration as it was found.
pub(super) struct Found {
    /// The file itself, symbolic links followed.
    pub(super) path: PathBuf,
    /// What is in it; nothing where it is not there.
    pub(super) bytes: Vec<u8>,
    metadata: Option<Metadata>,
    /// Its directory, held by the one who is to change something.
    directory: Option<File>,
}

impl Found {
    /// Reads what a file holds; that it is not there is no error.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        Self::read_resolved(resolved(path)?, None)
    }

    /// The same, to replace it: whoever does this too waits. Editors do not ask, so what they do is looked for as well.
    pub(super) fn hold(path: &Path) -> Result<Self, Failure> {
        let path = resolved(path)?;
        let unwritable = |error| refused(&path, "cannot be written", &error);
        let directory = File::open(path.parent().unwrap_or(Path::new("/"))).map_err(unwritable)?;
        flock(&directory, FlockOperation::LockExclusive).map_err(|error| unwritable(error.into()))?;
        Self::read_resolved(path, Some(directory))
    }

    fn read_resolved(path: PathBuf, directory: Option<File>) -> Result<Self, Failure> {
        match read(&path) {
            Ok((bytes, metadata)) => Ok(Self { path, bytes, metadata: Some(metadata), directory }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path, bytes: Vec::new(), metadata: None, directory })
            }
            Err(error) => Err(refused(&path, "cannot be read", &error)),
        }
    }

    /// Whether there is such a file.
    pub(super) const fn exists(&self) -> bool {
        self.metadata.is_some()
    }

    /// Puts other content in its place, with the same mode and owner. Where the machine stops in between, the file is the
    /// old or the new one. Tells the mode where it changes: others may read no sequences.
    pub(super) fn replace(&self, content: &[u8]) -> Result<Option<u32>, Failure> {
        let unwritable = |error: io::Error| refused(&self.path, "cannot be written", &error);
        let draft = Draft::create(&self.path)?;
        let mode = self.write(&draft, content).map_err(unwritable)?;
        if !self.is_as_found() {
            let found =
                format!("{} has changed meanwhile: nothing was written, try again", self.path.display());
            return Err(Failure::Refused(found));
        }
        draft.take_the_place_of(&self.path).map_err(unwritable)?;
        // The name, too, is to be there after a loss of power.
        self.directory.as_ref().map_or(Ok(()), File::sync_all).map_err(unwritable)?;
        Ok(mode)
    }

    fn write(&self, draft: &Draft, content: &[u8]) -> io::Result<Option<u32>> {
        let mut file = &draft.file;
        let mut changed = None;
        if let Some(old) = &self.metadata {
            let new = file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(file, Some(old.uid()), Some(old.gid()))?;
            }
            let mode = old.mode() & 0o7777;
            changed = (mode & OTHERS != 0).then_some(mode & !OTHERS);
            file.set_permissions(Permissions::from_mode(mode & !OTHERS))?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        Ok(changed)
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

/// A file beside the one that it is to replace; gone when it is dropped, unless it has.
struct Draft {
    file: File,
    path: PathBuf,
}

impl Draft {
    fn create(beside: &Path) -> Result<Self, Failure> {
        let mut name = OsString::from(".");
        name.push(beside.file_name().unwrap_or_default());
        name.push(format!(".{:08x}", number()?));
        let path = beside.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(NEW).open(&path);
        let file = file.map_err(|error| refused(beside, "cannot be written", &error))?;
        Ok(Self { file, path })
    }

    fn take_the_place_of(&self, other: &Path) -> io::Result<()> {
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
fn resolved(path: &Path) -> Result<PathBuf, Failure> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let (parent, name) =
                (absolute.parent().unwrap_or(Path::new("/")), absolute.file_name().unwrap_or_default());
            let parent =
                fs::canonicalize(parent).map_err(|error| refused(parent, "cannot be found", &error))?;
            Ok(parent.join(name))
        }
        Err(error) => Err(refused(path, "cannot be found", &error)),
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

fn refused(path: &Path, what: &str, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => " (only root may: sudo knockctl new-door …)",
        io::ErrorKind::NotFound => " (-c names another configuration)",
        io::ErrorKind::ResourceBusy | io::ErrorKind::ReadOnlyFilesystem => {
            " (with --print the door is shown, to be put there by hand)"
        }
        _ => "",
    };
    Failure::Refused(format!("{} {what}: {error}{remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use lab::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("knockd.conf");
        let found = Found::hold(&path).unwrap();
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
            let found = Found::hold(&link).unwrap();
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
        let found = Found::hold(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        let Err(Failure::Refused(why)) = found.replace(b"ours") else { panic!("it was written") };
        assert!(why.contains("has changed meanwhile"), "{why}");
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        drop(found);
        let nothing = Found::hold(&directory.path().join("other")).unwrap();
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
            assert!(Found::read(path).is_err(), "{}", path.display());
        }
    }
}
