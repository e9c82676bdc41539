//! A disk of a few hundred kilobytes for the daemon's state, which can be filled up and write-protected.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::{DaemonBuilder, Process, TempDir};

use crate::support::{SOON, wrapped};

/// What fills it up.
const FILLER: &str = "filler";

/// A small file system of its own, which only the daemons see that are started on it.
pub(crate) struct Disk {
    directory: TempDir,
    /// Where it is mounted.
    mounted: PathBuf,
    /// Its mount namespace.
    holder: Process,
}

impl Disk {
    /// Mounts one of so many KiB.
    pub(crate) fn new(kilobytes: u32) -> io::Result<Self> {
        let directory = TempDir::new()?;
        let mounted = directory.path().join("disk");
        fs::create_dir(&mounted)?;
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k tmpfs \"$0\" && mkdir \"$0/state\" && exec sleep 1000"
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", &script]).arg(&mounted);
        let disk = Self { holder: Process::spawn(&mut unshare)?, directory, mounted };
        lab::wait_until("the disk", SOON, || disk.seen_from_here().join("state").is_dir())?;
        Ok(disk)
    }

    /// Our daemon with its state on this disk.
    pub(crate) fn knockd(&self) -> io::Result<DaemonBuilder> {
        let script = format!("exec nsenter --mount --target {} -- {{knockd}} \"$@\"", self.holder.id());
        Ok(wrapped(&self.directory, &script)?.env("STATE_DIRECTORY", self.mounted.join("state")))
    }

    /// The journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.seen_from_here().join("state/grants")
    }

    fn seen_from_here(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.mounted.strip_prefix("/").unwrap_or(Path::new("")))
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let mut filler = File::create(self.seen_from_here().join(FILLER))?;
        loop {
            match filler.write_all(&[0; 4096]) {
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                outcome => outcome?,
            }
        }
    }

    /// Leaves so many KiB on it.
    pub(crate) fn fill_all_but(&self, kilobytes: u64) -> io::Result<()> {
        self.fill()?;
        let filler = File::options().write(true).open(self.seen_from_here().join(FILLER))?;
        filler.set_len(filler.metadata()?.len().saturating_sub(1024 * kilobytes))
    }

    /// Makes room again.
    pub(crate) fn free(&self) -> io::Result<()> {
        fs::remove_file(self.seen_from_here().join(FILLER))
    }

    /// Whether it may be written to; `EBUSY` while a daemon has its journal open.
    pub(crate) fn set_writable(&self, writable: bool) -> io::Result<()> {
        let mode = if writable { "remount,rw" } else { "remount,ro" };
        let target = self.holder.id().to_string();
        let mut mount = Command::new("nsenter");
        mount.args(["--mount", "--target", &target, "--", "mount", "-o", mode]).arg(&self.mounted);
        let output = mount.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(io::Error::other(said)) }
    }
}
