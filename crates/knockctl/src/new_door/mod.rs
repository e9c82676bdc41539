//! `knockctl new-door`: a door with a random sequence behind the others, and what to type to use it.
//!
//! ```text
//! machine, configuration ─► ports ─► sequence ─► section ─► file
//!                                       └─► instructions, QR code
//! ```
//!
//! The daemon is asked for nothing but where its configuration is: it need not run.

mod instructions;
mod ports;
mod section;
mod sequence;
mod wish;

use std::io::{self, IsTerminal as _};
use std::path::Path;

use knock_core::config::{self, Config, Severity};
use knock_core::sequence::Step;
use knock_core::way_in::{WayIn, way_in};
use serde::Serialize;

pub(crate) use instructions::quoted;
pub(crate) use wish::Wish;

use crate::administrator::Administrator;
use crate::commands::Context;
use crate::configuration::{Daemon, place, tell_remarks, usable};
use crate::failure::Failure;
use crate::file::{Found, Purpose};
use crate::output::{print, printable_json, tell};
use crate::{qr, random, server};
use instructions::Instructions;

/// The configuration: sequences are secrets.
pub(crate) const CONFIGURATION: Purpose = Purpose {
    mode: 0o600,
    denied: 0o007,
    command: "new-door",
    missing: "-c names another configuration",
    read_only: "with --print the door is shown, to be put there by hand",
};

/// Makes the door, and tells how to use it.
pub(crate) fn run(context: &Context, wish: &Wish) -> Result<(), Failure> {
    let (daemon, path) = place(context)?;
    let found =
        if wish.print { Found::read(&path, CONFIGURATION) } else { Found::hold(&path, CONFIGURATION) }?;
    let name = path.display().to_string();
    let parsed = config::parse(&name, &found.bytes);
    let before = usable(&parsed, 0, &format!("{name} has mistakes already"))?;
    section::check(wish, &parsed, before)?;
    let count = wish.ports.map_or(section::enough(before.options.strict), usize::from);
    let pool = ports::Avoided::here(before, &wish.open.0).pool();
    let steps = sequence::draw(count, &pool, &mut random::number)?;
    let section = section::section(wish, &steps);
    let content = section::appended(found.exists().then_some(&found.bytes), &section);
    let parsed = config::parse(&name, &content);
    let after = usable(&parsed, found.bytes.len(), "the door cannot be added")?;
    if !section::is_what_was_meant(before, after, wish, &steps) {
        return Err(Failure::Refused(format!(
            "{name} would not hold what was asked for: nothing was written"
        )));
    }
    tell_remarks(&parsed, Severity::Warning, found.bytes.len());
    if !wish.print {
        write(&found, &content)?;
    }
    let administrator = Administrator::find();
    warn(administrator, before, after);
    let server =
        wish.server.clone().or_else(|| server::guess(administrator).map(|address| address.to_string()));
    let made = Made { wish, path: &path, steps: &steps, section: &section, server };
    made.tell(context, &daemon, administrator)
}

/// The door, and where it is.
struct Made<'a> {
    wish: &'a Wish,
    path: &'a Path,
    steps: &'a [Step],
    section: &'a str,
    server: Option<String>,
}

/// The same for programs.
#[derive(Serialize)]
struct Told<'a> {
    door: &'a str,
    /// Absent where it was not written.
    config: Option<String>,
    sequence: Vec<String>,
    opens: Vec<String>,
    open_for: &'a str,
    server: Option<&'a str>,
    knock: String,
    client: String,
    section: &'a str,
}

impl Made<'_> {
    fn tell(
        &self,
        context: &Context,
        daemon: &Daemon,
        administrator: Option<Administrator>,
    ) -> Result<(), Failure> {
        let instructions = Instructions {
            wish: self.wish,
            path: self.path,
            steps: self.steps,
            server: self.server.as_deref(),
            daemon,
            options: context.options(),
            ssh: administrator.map(|administrator| administrator.port),
        };
        if context.json {
            return print(&format!("{}\n", printable_json(&self.json(&instructions))));
        }
        let is_terminal = io::stdout().is_terminal();
        if !is_terminal && !self.wish.print {
            tell(
                "the sequence, a secret, goes where standard output goes: delete it there when it is not needed",
            );
        }
        let text = if self.wish.print { self.section.to_owned() } else { instructions.text() };
        let shows_code = self.wish.qr || is_terminal && !self.wish.no_qr && !self.wish.print;
        let code = if shows_code {
            qr::shown(&instructions.knock(), "The knock for a phone's camera, a secret as well", is_terminal)
        } else {
            String::new()
        };
        print(&format!("{text}{code}"))
    }

    fn json(&self, instructions: &Instructions<'_>) -> String {
        let told = Told {
            door: &self.wish.name,
            config: (!self.wish.print).then(|| self.path.display().to_string()),
            sequence: self.steps.iter().map(ToString::to_string).collect(),
            opens: self.wish.open.0.iter().map(ToString::to_string).collect(),
            open_for: &self.wish.open_for,
            server: self.server.as_deref(),
            knock: instructions.knock(),
            client: instructions.entry(),
            section: self.section,
        };
        serde_json::to_string(&told).unwrap_or_default()
    }
}

fn write(found: &Found, content: &[u8]) -> Result<(), Failure> {
    if let Some(mode) = found.replace(content)? {
        tell(&format!(
            "{} could be read by everybody on this machine; sequences are secrets, so its mode is {mode:03o} now",
            found.path.display()
        ));
    }
    Ok(())
}

/// Tells who is connected to this machine what becomes of their way in.
fn warn(administrator: Option<Administrator>, before: &Config, after: &Config) {
    let Some(Administrator { address, port, .. }) = administrator else { return };
    let way = |config: &Config| way_in(&config.doors, config.options.guard, address, Some(port));
    match (way(before), way(after)) {
        (_, WayIn::None) => tell(&format!(
            "warning: {address}, from where you are connected, has no way in to port {port} with this configuration: the port is \
             guarded, and no door opens it for this address"
        )),
        (then, WayIn::Door(door)) if then != WayIn::Door(door.clone()) && after.options.guard => {
            tell(&format!(
                "warning: you are connected to port {port}: from the reload on new connections to it need the knock of {door}; the \
             ones that are open go on, so keep one"
            ))
        }
        _ => {}
    }
}
