//! Where the file of hosts is, and who can get at it.

use std::env;
use std::path::{Path, PathBuf};

/// The file's directory and name below the user's configuration.
const FILE: &str = "knock/config.toml";

/// The user's own file: below `$XDG_CONFIG_HOME` or `~/.config`, on Windows below `%APPDATA%`.
pub(super) fn of_user() -> Option<PathBuf> {
    let base = if cfg!(windows) { directory("APPDATA") } else { directory("XDG_CONFIG_HOME") };
    base.or_else(|| env::home_dir().map(|home| home.join(".config"))).map(|base| base.join(FILE))
}

/// A relative one counts for nothing, as the XDG Base Directory Specification says.
fn directory(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// A path as the file writes it: `~/` is the user's home, and what is relative begins at the file's own directory.
pub(super) fn expand(text: &str, base: &Path) -> PathBuf {
    let home = text.strip_prefix("~/").and_then(|rest| Some(env::home_dir()?.join(rest)));
    home.unwrap_or_else(|| base.join(text))
}

/// What others than its owner may do with the file at `path`, where there are such rights.
#[cfg(unix)]
pub(crate) fn open_to_others(path: &Path) -> Option<&'static str> {
    use std::os::unix::fs::PermissionsExt as _;
    const READ: u32 = 0o044;
    const WRITE: u32 = 0o022;
    let mode = path.metadata().ok()?.permissions().mode();
    match (mode & WRITE != 0, mode & READ != 0) {
        (true, _) => Some("change"),
        (_, true) => Some("read"),
        _ => None,
    }
}

/// A user's files are their own there.
#[cfg(not(unix))]
pub(crate) const fn open_to_others(_: &Path) -> Option<&'static str> {
    None
}
