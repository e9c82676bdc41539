//! The commands, a module for each group.

pub(crate) mod change;
pub(crate) mod examine;
pub(crate) mod follow;
pub(crate) mod keys;
pub(crate) mod make;
pub(crate) mod metrics;
pub(crate) mod show;

use std::path::PathBuf;

use knock_core::control::{Answer, Request};

use crate::client::{Reply, ask};
use crate::failure::Failure;
use crate::new_door::quoted;
use crate::output::{print, printable_json};

/// What all commands go by.
pub(crate) struct Context {
    /// The daemon's socket.
    pub(crate) socket: PathBuf,
    /// The command line says which.
    pub(crate) socket_is_named: bool,
    /// The daemon's configuration.
    pub(crate) config: PathBuf,
    /// Likewise.
    pub(crate) config_is_named: bool,
    /// Whether the answer is printed as it came.
    pub(crate) json: bool,
}

impl Context {
    /// The options that another run needs to find the same daemon, each with a space before it.
    pub(crate) fn options(&self) -> String {
        let named = [
            ("-s", self.socket_is_named.then_some(&self.socket)),
            ("-c", self.config_is_named.then_some(&self.config)),
        ];
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let option = |(option, path): (&str, Option<&PathBuf>)| {
            path.map(|path| format!(" {option} {}", quoted(&absolute(path).display().to_string())))
        };
        named.into_iter().filter_map(option).collect()
    }

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
