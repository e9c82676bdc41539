//! Being root, or root enough.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set in the environment of what has been started again, so that it is not started for ever.
const INSIDE: &str = "LAB_IN_USER_NAMESPACE";
/// Where the tools of an administrator are, which is not in every user's path.
const ADMINISTRATORS: &str = "/usr/local/sbin:/usr/sbin:/sbin";
/// Starts a program with an empty `/run`, where some insist on writing; without, where mounting is not allowed.
const WITH_RUN: &str = "mount -t tmpfs tmpfs /run 2>/dev/null; exec \"$@\"";

/// Whether this process is root, be it of a user namespace, and so may make network namespaces.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes sure that the process is root: at once when it is, otherwise by starting it again with the same arguments,
/// as [`as_root`] does.
///
/// For the beginning of `main`: only a process with a single thread can change its user namespace, and starting again
/// forgets everything that was done before. The network is out of reach then.
///
/// # Errors
/// When there is no `unshare`, or when it has not helped. A refusal to make user namespaces is told by `unshare`,
/// whose exit status then is the process's.
pub fn become_root() -> io::Result<()> {
    if is_root() {
        return Ok(());
    }
    if env::var_os(INSIDE).is_some() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not root, even in a user namespace"));
    }
    let mut again = Command::new(env::current_exe()?);
    again.args(env::args_os().skip(1));
    let error = as_root(&again).exec();
    Err(io::Error::new(error.kind(), format!("unshare (util-linux): {error}")))
}

/// The same program and arguments, to be run as root: as it is for root, otherwise in a user namespace of its own
/// (`unshare -Urnm`), which needs no privilege where the kernel's settings allow it.
///
/// In it the program has no network but what it makes itself. Of `command`, only program, arguments, environment and
/// directory are taken over.
#[must_use]
pub fn as_root(command: &Command) -> Command {
    let mut wrapped = if is_root() { Command::new(command.get_program()) } else { unshare(command) };
    wrapped.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    with_tools(&mut wrapped);
    wrapped
}

/// Whether a program is installed where this crate looks for it: in the path, or among an administrator's tools.
#[must_use]
pub fn has_tool(program: &str) -> bool {
    env::split_paths(&tool_path()).any(|directory| directory.join(program).is_file())
}

fn unshare(command: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--net", "--mount", "--", "sh", "-c", WITH_RUN, "lab"]);
    unshare.arg(command.get_program()).env(INSIDE, "1");
    unshare
}

/// Lets a command find `ip` and `nft`, unless it has a path of its own.
pub(crate) fn with_tools(command: &mut Command) {
    if command.get_envs().any(|(name, _)| name == "PATH") {
        return;
    }
    command.env("PATH", tool_path());
}

fn tool_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    path.push(":");
    path.push(ADMINISTRATORS);
    path
}
