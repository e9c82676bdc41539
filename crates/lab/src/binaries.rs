//! Where the programs under test are.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

/// Finds a built program of the workspace, such as `knockd`, next to the running test.
///
/// The environment can name another: `LAB_KNOCKD=/usr/sbin/knockd` for `knockd`, and so on.
///
/// # Errors
/// `NotFound` when it has not been built: `cargo xtask test` builds all of them, plain `cargo test` does not.
pub fn binary(name: &str) -> io::Result<PathBuf> {
    if let Some(path) = env::var_os(format!("LAB_{}", name.to_uppercase())) {
        return Ok(path.into());
    }
    let path = directory(&env::current_exe()?).join(name);
    if path.is_file() {
        return Ok(path);
    }
    let message = format!("{} is not there: `cargo build --workspace` makes it", path.display());
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}

/// Tests run from `target/debug/deps`, the tasks from `target/debug`, where the programs are.
fn directory(executable: &Path) -> &Path {
    let directory = executable.parent().unwrap_or(executable);
    let is_inner = directory.ends_with("deps") || directory.ends_with("examples");
    if is_inner { directory.parent().unwrap_or(directory) } else { directory }
}
