//! `knock`, the client: sends the knocks of a sequence, in order, and says honestly whether they left, and whether the
//! port behind the door is open.
//!
//! ```text
//! arguments ─► cli ─► request ─► resolve ─► addresses ─┐
//!               └► hosts ─┘ └──► one_time ─► steps ────┴─► knocking ─► send ─► opening ─► one_time: mark the line
//!                                                                                  └────► verdict, or relay
//! ```
//!
//! No knock leaves the machine before every argument has been checked, the name resolved and the one-time file
//! opened for writing. No part of it knows Linux: it builds wherever std and sockets do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use knock_core::sequence::MAX_STEPS;

use crate::cli::{Invocation, Named, USAGE};
use crate::error::Error;
use crate::hosts::Hosts;
use crate::knocking::Knock;
use crate::one_time::Line;
use crate::output::{note, show, tell};
use crate::request::{Method, Purpose, Request, Signed};
use crate::resolve::Host;
use crate::verdict::Opened;

mod add;
mod cli;
mod clock;
mod error;
mod hosts;
mod keys;
mod knocking;
mod one_time;
mod opening;
mod output;
mod relay;
mod request;
mod resolve;
mod rolling;
mod send;
mod settings;
mod signing;
mod verdict;

pub use cli::command;

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
        Invocation::Add(addition) => add::add(addition)?,
        Invocation::List(file) => show(&load(file)?.to_string()),
        Invocation::ShowRolling(file) => show(&rolling::shown(&file)?),
        Invocation::Knock(request) => {
            warn_of_too_many(&request);
            knock(&request)?;
        }
        Invocation::Named(named) => knock(&look_up(&named)?)?,
    }
    Ok(())
}

/// What the file of hosts says of a name.
fn look_up(named: &Named) -> Result<Request, Error> {
    let hosts = load(named.config.clone()).map_err(|error| unnamed(named, error))?;
    let host = match named.relay {
        Some(port) => hosts.behind(&named.name, port),
        None => hosts.named(&named.name),
    };
    named.at(host.map_err(|error| unnamed(named, error))?)
}

/// Who gave no ports may have meant no name of a file.
fn unnamed(named: &Named, error: hosts::Error) -> Error {
    let is_misunderstood = named.relay.is_none() && named.config.is_none() && error.is_no_file();
    if is_misunderstood {
        Error::Usage(format!("no ports are given for \"{}\", and {error}\n\nUsage: {USAGE}", named.name))
    } else {
        error.into()
    }
}

/// Sequences are passwords.
fn load(file: Option<PathBuf>) -> Result<Hosts, hosts::Error> {
    let hosts = Hosts::load(file)?;
    if let Some(deed) = hosts.open_to_others() {
        let path = hosts.path().display();
        tell(format!("warning: others can {deed} {path}, and a sequence is a password: chmod 600 {path}"));
    }
    Ok(hosts)
}

fn knock(request: &Request) -> Result<(), Error> {
    let opened = match &request.method {
        Method::Sequence(steps) => knock_at(request, &resolve(request)?, Knock::Sequence(steps))?,
        Method::OneTime(file) => knock_once(request, &resolve(request)?, file)?,
        Method::Rolling(file) => {
            let key = rolling::load(file)?;
            // A clock that is wrong is told before the name is looked up.
            rolling::steps(&key)?;
            knock_at(request, &resolve(request)?, Knock::Rolling(&key))?
        }
        Method::Signed(signed) => knock_signed(request, signed)?,
    };
    match opened {
        Some(opened) if matches!(request.purpose, Purpose::Relay(_)) => {
            relay::run(opened.connection.stream).map_err(Error::Broken)
        }
        Some(opened) => {
            tell_of(&opened);
            Ok(())
        }
        None => Ok(()),
    }
}

fn resolve(request: &Request) -> Result<Host, Error> {
    Host::resolve(&request.host, request.wanted)
}

/// The key comes first: without one the name need not even be looked up.
fn knock_signed(request: &Request, signed: &Signed) -> Result<Option<Opened>, Error> {
    let signer = signing::signer(signed)?;
    let Signed { server, port, door, .. } = signed;
    note(
        request,
        format!(
            "door \"{door}\" of {} at UDP port {port}, whose key is {server}; signed with {signer}",
            request.host
        ),
    );
    knock_at(request, &resolve(request)?, Knock::Signed(signed, &signer))
}

/// The line is marked only after its whole sequence was sent, and has opened the door where that can be seen; see
/// [`one_time`] for why.
fn knock_once(request: &Request, host: &Host, file: &Path) -> Result<Option<Opened>, Error> {
    let line = Line::take(file, || tell("waiting for another knock that uses the same one-time file"))?;
    match knock_at(request, host, Knock::Sequence(line.sequence().steps())) {
        Err(Error::Unopened(unopened)) if unopened.has_an_open_door() => {
            line.mark()?;
            Err(Error::Unopened(unopened))
        }
        Err(Error::Unopened(unopened)) => Err(unopened.with_unused(line.place()).into()),
        sent => {
            let opened = sent?;
            line.mark()?;
            Ok(opened)
        }
    }
}

fn knock_at(request: &Request, host: &Host, knock: Knock<'_>) -> Result<Option<Opened>, Error> {
    match request.purpose {
        Purpose::Nothing => knocking::once(request, host, knock).map(|()| None),
        Purpose::Verify(awaited) | Purpose::Relay(awaited) => {
            knocking::until_open(request, awaited, host, knock).map(Some)
        }
    }
}

fn tell_of(opened: &Opened) {
    show(&format!("{opened}\n"));
    if let Some(doubt) = opened.doubt() {
        tell(format!("note: {doubt}"));
    }
}

/// Remarks on the ports of the command line only: a one-time file cannot hold a longer sequence, nor can a host's.
fn warn_of_too_many(request: &Request) {
    match &request.method {
        Method::Sequence(steps) if steps.len() > MAX_STEPS => {
            tell(format!("note: {} ports; a door of knockd has at most {MAX_STEPS}", steps.len()));
        }
        _ => {}
    }
}
