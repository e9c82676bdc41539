//! What every package holds, in a directory: `bin`, `manuals`, `completions`, `examples`, `docs`, `knockd.service`, and the
//! files that stand in the workspace's root.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{copy_all, fresh, packaging, target};
use crate::cargo::{cargo, root, succeed};

const PROGRAMS: [&str; 3] = ["knockd", "knock", "knockctl"];
/// What stands in the workspace's root and goes along.
pub(super) const FILES: [&str; 6] =
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE-APACHE", "LICENSE-MIT"];
/// What says when a package was made, for all tools that write that down
/// (<https://reproducible-builds.org/specs/source-date-epoch>).
pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Builds the release, and puts all of it into `directory`; `epoch` is when it was made.
pub(super) fn put(directory: &Path, epoch: u64) -> io::Result<()> {
    succeed(&mut cargo(&["build", "--release"]))?;
    fresh(directory)?;
    let programs = directory.join("bin");
    fs::create_dir(&programs)?;
    for program in PROGRAMS {
        fs::copy(target()?.join("release").join(program), programs.join(program))?;
    }
    for file in FILES {
        fs::copy(root().join(file), directory.join(file))?;
    }
    copy_all(&root().join("docs"), &directory.join("docs"))?;
    fs::copy(packaging("systemd/knockd.service"), directory.join("knockd.service"))?;
    copy_all(&packaging("systemd/examples"), &directory.join("examples"))?;
    for task in ["manuals", "completions"] {
        let mut command = Command::new(env::current_exe()?);
        succeed(command.arg(task).arg(directory.join(task)).env(EPOCH, epoch.to_string()))?;
    }
    Ok(())
}

/// When the release was made, in seconds since 1970: what the environment says, or when its last change was, so that the
/// same source makes the same package.
pub(super) fn epoch() -> io::Result<u64> {
    if let Some(named) = env::var_os(EPOCH) {
        let seconds = named.to_str().and_then(|text| text.parse().ok());
        return seconds
            .ok_or_else(|| io::Error::other(format!("{EPOCH} is no number of seconds since 1970")));
    }
    let change = Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()).output();
    let changed = change.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(changed.and_then(|text| text.trim().parse().ok()).unwrap_or_else(now))
}
