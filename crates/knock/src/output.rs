//! What the user is told, and on which stream.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;

use knock_core::sequence::Step;

use crate::request::{Purpose, Request};
use crate::resolve::Host;

/// Results, on standard output. A reader that went away must not cut a sequence short, so nobody asks whether it worked.
pub(crate) fn show(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Mistakes, doubts and remarks, on standard error; in one piece, since others write there, too.
pub(crate) fn tell(message: impl Display) {
    let _ = io::stderr().write_all(format!("knock: {message}\n").as_bytes());
}

/// What `-v` alone shows and scripts that read `hitting` lines do not expect goes to standard error.
pub(crate) fn note(request: &Request, remark: impl Display) {
    if request.verbose {
        tell(format!("note: {remark}"));
    }
}

/// A knock that is about to be sent, where the user wants to see it. What ssh reads must hold nothing of its own.
pub(crate) fn show_knock(request: &Request, host: &Host, address: SocketAddr, step: Step) {
    if request.verbose {
        let text = format!("hitting {} {}:{}", step.protocol, host.shown(address.ip()), step.port);
        match request.purpose {
            Purpose::Relay(_) => tell(text),
            _ => show(&format!("{text}\n")),
        }
    }
}
