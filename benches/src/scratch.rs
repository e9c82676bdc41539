//! Directories on a file system of one's choice, gone when they are dropped.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::statfs;

/// Where Linux has a file system in memory.
const MEMORY: &str = "/dev/shm";
/// `statfs(2)`'s number of it.
const TMPFS: u64 = 0x0102_1994;
/// And of the usual ones.
const NAMES: [(u64, &str); 5] = [
    (TMPFS, "tmpfs"),
    (0xef53, "ext4"),
    (0x9123_683e, "btrfs"),
    (0x5846_5342, "xfs"),
    (0x794c_7630, "overlayfs"),
];

/// A directory of its own, removed on drop.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Where this program is: that is a disk, on most machines.
    pub(crate) fn on_disk() -> io::Result<Self> {
        let program = env::current_exe()?;
        Self::under(program.parent().unwrap_or(Path::new("/")))
    }

    /// In memory.
    pub(crate) fn in_memory() -> io::Result<Self> {
        Self::under(Path::new(MEMORY))
    }

    fn under(base: &Path) -> io::Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("bench-{}-{number}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The kind of file system that it is on.
    pub(crate) fn kind(&self) -> String {
        let number = statfs(&self.0).map_or(0, |found| found.f_type as u64);
        let name = NAMES.iter().find(|(known, _)| *known == number);
        name.map_or_else(|| format!("file system {number:#x}"), |(_, name)| (*name).to_owned())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
