//! The commands, a module for each group.

pub(crate) mod change;
pub(crate) mod examine;
pub(crate) mod follow;
pub(crate) mod show;

use std::path::PathBuf;

use knock_core::control::{Answer, Request};

use crate::client::{Reply, ask};
use crate::failure::Failure;
use crate::output::{print, printable_json};

/// What all commands go by.
pub(crate) struct Context {
    /// The daemon's socket.
    pub(crate) socket: PathBuf,
    /// The daemon's configuration.
    pub(crate) config: PathBuf,
    /// Whether the answer is printed as it came.
    pub(crate) json: bool,
}

impl Context {
    /// Asks, and prints what `render` makes of the answer; it knows none but those to its own request.
    fn tell(&self, request: &Request, render: impl Fn(&Answer) -> Option<String>) -> Result<(), Failure> {
        let reply = ask(&self.socket, request)?;
        self.show(&reply, render)
    }

    /// Prints a line of the daemon.
    fn show(&self, reply: &Reply, render: impl Fn(&Answer) -> Option<String>) -> Result<(), Failure> {
        let rendered = render(&reply.answer);
        match rendered {
            None => Err(Failure::NotUnderstood("it belongs to another request".into())),
            Some(_) if self.json => print(&format!("{}\n", printable_json(&reply.line))),
            Some(text) => print(&text),
        }
    }
}
