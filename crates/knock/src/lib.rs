//! `knock`, the client: sends the knocks of a sequence, in order, and says honestly whether they left.
//!
//! ```text
//! arguments ─► cli ─► request ─► resolve ─► addresses ─┐
//!                        └────► one_time ─► steps ─────┴─► send ─► one_time: mark the line
//! ```
//!
//! No knock leaves the machine before every argument has been checked, the name resolved and the one-time file
//! opened for writing. No part of it knows Linux: it builds wherever std and sockets do.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use knock_core::sequence::{MAX_STEPS, Step};

use crate::cli::{Invocation, Ports, Request};
use crate::error::Error;
use crate::one_time::Line;
use crate::resolve::Host;
use crate::send::{Sender, Unsent};

mod cli;
mod error;
mod one_time;
mod resolve;
mod send;

/// Does what the command line asks for; the first of `arguments` is the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match cli::parse(arguments).and_then(perform) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn perform(invocation: Invocation) -> Result<(), Error> {
    match invocation {
        Invocation::Print(text) => show(&text),
        Invocation::Knock(request) => knock(&request)?,
    }
    Ok(())
}

fn knock(request: &Request) -> Result<(), Error> {
    let host = Host::resolve(&request.host, request.wanted)?;
    match &request.ports {
        Ports::Given(steps) => {
            warn_of_too_many(steps.len());
            knock_at(request, &host, steps)
        }
        Ports::OneTime(file) => knock_once(request, &host, file),
    }
}

/// The line is marked only after its whole sequence was sent; see [`one_time`] for why.
fn knock_once(request: &Request, host: &Host, file: &Path) -> Result<(), Error> {
    let line = Line::take(file, || tell("waiting for another knock that uses the same one-time file"))?;
    knock_at(request, host, line.sequence().steps())?;
    Ok(line.mark()?)
}

/// Knocks at each address of `host`. An address that this machine has no way to is passed over where another is left.
fn knock_at(request: &Request, host: &Host, steps: &[Step]) -> Result<(), Error> {
    note_missing_family(request, host);
    let sender = Sender { source: request.source, gap: request.gap };
    let mut unreached: Option<Unsent> = None;
    let mut sent = false;
    for &address in host.addresses() {
        match sender.send(address, steps, |step| announce(request, host, address, step)) {
            Ok(()) => sent = true,
            Err(unsent) if unsent.has_no_way() => unreached = Some(unsent),
            Err(unsent) => return Err(unsent.into()),
        }
    }
    match unreached {
        Some(unsent) if !sent => Err(unsent.into()),
        Some(unsent) => {
            note(request, unsent);
            Ok(())
        }
        None => Ok(()),
    }
}

fn announce(request: &Request, host: &Host, address: SocketAddr, step: Step) {
    if request.verbose {
        show(&format!("hitting {} {}:{}\n", step.protocol, host.shown(address.ip()), step.port));
    }
}

fn note_missing_family(request: &Request, host: &Host) {
    if let Some(family) = host.missing() {
        note(request, format!("\"{}\" has no {family} address", request.host));
    }
}

/// Remarks on the ports of the command line only: a one-time file cannot hold a longer sequence.
fn warn_of_too_many(ports: usize) {
    if ports > MAX_STEPS {
        tell(format!("note: {ports} ports; a door of knockd has at most {MAX_STEPS}"));
    }
}

/// What `-v` alone shows and scripts that read `hitting` lines do not expect goes to standard error.
fn note(request: &Request, remark: impl std::fmt::Display) {
    if request.verbose {
        tell(format!("note: {remark}"));
    }
}

/// A reader that went away must not cut a sequence short, so nobody asks whether it worked.
fn show(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn tell(message: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "knock: {message}");
}
