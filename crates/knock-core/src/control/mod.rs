//! The control socket's protocol: what `knockctl` and other programs ask the daemon, and what it answers.
//!
//! A connection is one question: a line of JSON with a [`Request`], answered by a line of JSON with an [`Answer`].
//! After [`Request::Watch`] more lines follow, one an event. `docs/knockctl.md` describes it for programs.

mod answer;
mod request;
mod values;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub use answer::{
    Accept, AcceptState, Answer, Attempt, AttemptState, Commands, Door, DoorSecret, Event, EventKind, Grant,
    GrantState, Interface, Journal, JournalState, Layer, LayerState, Native, Overload, Past, ReadingProcess,
    Status, TableState,
};
pub use request::Request;
pub use values::Seconds;

/// The longest request, in bytes, its line's end not counted.
pub const MAX_REQUEST: usize = 64 << 10;

/// Where the socket is when nothing says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/knockd/knockd.sock";

/// The socket's name in a directory that is the daemon's own.
const NAME: &str = "knockd.sock";

/// Where the socket is: where `control_socket` says, else in the directory that the service manager made
/// (`RUNTIME_DIRECTORY`, of whose directories the first counts; systemd.exec(5)), else [`DEFAULT_SOCKET`].
pub fn socket_path(configured: Option<&Path>, runtime_directory: Option<&OsStr>) -> PathBuf {
    if let Some(path) = configured {
        return path.to_owned();
    }
    let first = runtime_directory.and_then(|directories| std::env::split_paths(directories).next());
    match first {
        Some(directory) if directory.is_absolute() => directory.join(NAME),
        _ => DEFAULT_SOCKET.into(),
    }
}

#[cfg(test)]
mod tests;
