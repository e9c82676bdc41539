//! `knockctl enroll`: lets a key knock, and says in one line what its client needs to know.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::{ArgAction, Args};
use jiff::ZonedDateTime;
use knock_core::config::{self, Config, Door};
use knock_core::knock::Protocol;
use knock_core::spa::{AuthorizedKey, Enrolment, HostPublicKey};
use serde::Serialize;

use super::entry::{self, Limits, fingerprint, with_line};
use super::pages::{self, Page};
use super::public_key::{self, PublicKey};
use super::{calendar, pages::doors};
use crate::administrator::Administrator;
use crate::commands::Context;
use crate::configuration;
use crate::failure::Failure;
use crate::new_door::quoted;
use crate::output::{print, printable, printable_json};
use crate::{host_key, qr, server};

/// Whose key, and what it may do.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// What the key is called in the log, and by 'knockctl revoke'
    #[arg(value_parser = entry::name)]
    name: String,
    /// The file of the public key, such as id_ed25519.pub; - is standard input
    #[arg(value_name = "KEYFILE", required_unless_present = "again")]
    key: Option<PathBuf>,
    /// The doors that it may knock at [default: the only one with authorized_keys]
    #[arg(long, value_name = "DOORS", value_delimiter = ',')]
    doors: Vec<String>,
    /// How long a door may be open for it at most, whatever its client asks for, such as 1h
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    most: Option<String>,
    /// Its last day, such as 20271231 or 30d
    #[arg(long, value_name = "DAY", value_parser = day)]
    expires: Option<String>,
    /// The networks that it may knock from, such as 192.0.2.0/24,2001:db8::/32
    #[arg(long, value_name = "NETWORKS", value_parser = entry::networks)]
    from: Option<String>,
    /// This server's name or address for the client [default: its public address, if it has one]
    #[arg(long, value_name = "HOST", value_parser = server::host)]
    host: Option<String>,
    /// Print the line of a key that is enrolled already, and change nothing
    #[arg(long, conflicts_with_all = ["key", "doors", "most", "expires", "from"])]
    again: bool,
    /// Show the QR code although nobody may see it [default: on a terminal]
    #[arg(long, overrides_with = "no_qr")]
    qr: bool,
    /// Show no QR code
    #[arg(long, action = ArgAction::SetTrue, overrides_with = "qr")]
    no_qr: bool,
}

/// The same for programs.
#[derive(Serialize)]
struct Told {
    name: String,
    fingerprint: String,
    doors: Vec<String>,
    files: Vec<String>,
    host_key: String,
    /// What `knock add` takes.
    line: String,
}

/// A key that may knock now.
struct Enrolled<'a> {
    fingerprint: String,
    doors: Vec<&'a Door>,
    files: Vec<PathBuf>,
}

/// Lets the key knock, or says again what its client needs.
pub(crate) fn run(context: &Context, wish: &Wish) -> Result<(), Failure> {
    let key = wish.key.as_deref().map(public_key::read).transpose()?;
    let config = configuration::read(context)?;
    let host = host(wish)?;
    let enrolled = match &key {
        Some(key) => new(&config, wish, key)?,
        None => found(&config, &wish.name)?,
    };
    let (host_key, _) = host_key::find_or_make(&host_key::file_of(&config))?;
    tell(context, wish, &enrolled, &enrolment(&enrolled, host, host_key)?)
}

/// What the client calls this server: without it the line is no use.
fn host(wish: &Wish) -> Result<String, Failure> {
    let guess = || server::guess(Administrator::find()).map(|address| address.to_string());
    wish.host.clone().or_else(guess).ok_or_else(|| {
        let found = "this server has no public address: nothing was changed";
        Failure::Refused(format!("{found}; say what the client calls it: --host server.example.org"))
    })
}

fn new<'a>(config: &'a Config, wish: &Wish, key: &PublicKey) -> Result<Enrolled<'a>, Failure> {
    let doors = wanted(config, &wish.doors)?;
    port(&doors)?;
    // Without it the line would be missing after the file was written.
    host_key::find_or_make(&host_key::file_of(config))?;
    let names: Vec<_> = doors.iter().map(|door| door.key.name.as_str()).collect();
    let pages = pages::hold(config, &names)?;
    pages.iter().for_each(Page::tell_mistakes);
    check(&pages, &names, &wish.name, key)?;
    let limits = Limits { expiry: wish.expires.clone(), from: wish.from.clone(), most: wish.most.clone() };
    let mut prepared = Vec::new();
    let mut files = Vec::new();
    for page in &pages {
        let of_page: Vec<_> =
            page.doors.iter().filter(|door| names.contains(&door.as_str())).cloned().collect();
        if of_page.is_empty() {
            continue;
        }
        if !page.is_text() {
            return Err(Failure::Refused("nothing was changed: a line more would not count".into()));
        }
        let line = entry::line(&wish.name, key, &of_page, &limits).map_err(Failure::Refused)?;
        prepared.push(page.found.prepare(&with_line(&page.found.bytes, &line))?);
        files.push(page.name.clone());
    }
    prepared.into_iter().try_for_each(|prepared| prepared.put().map(drop))?;
    Ok(Enrolled { fingerprint: key.key.fingerprint().to_string(), doors, files })
}

/// A key that may knock already.
fn found<'a>(config: &'a Config, name: &str) -> Result<Enrolled<'a>, Failure> {
    let pages = pages::read(config)?;
    let called = |page: &Page| -> Vec<AuthorizedKey> {
        page.keys.keys.iter().filter(|key| entry::is_called(key, name)).cloned().collect()
    };
    let keys: Vec<_> =
        pages.iter().flat_map(|page| called(page).into_iter().map(move |key| (page, key))).collect();
    let Some((_, first)) = keys.first() else {
        let remedy = "knockctl keys lists those that may knock";
        return Err(Failure::Refused(format!("no key is called \"{name}\"; {remedy}")));
    };
    if keys.iter().any(|(_, key)| key.key != first.key) {
        let found = format!("more than one key is called \"{name}\"");
        return Err(Failure::Refused(format!("{found}: say the fingerprint, which knockctl keys lists")));
    }
    let opens = |door: &&Door| keys.iter().any(|(page, key)| page.doors_of(key).contains(&door.key.name));
    let doors: Vec<_> = doors(config).map(|(door, _)| door).filter(opens).collect();
    if doors.is_empty() {
        return Err(Failure::Refused(format!("the key of {name} opens no door that there is (doors)")));
    }
    let files = keys.iter().map(|(page, _)| page.name.clone()).collect();
    Ok(Enrolled { fingerprint: fingerprint(first), doors, files })
}

/// The doors that are asked for, or the only one.
fn wanted<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Door>, Failure> {
    let with_keys: Vec<_> = doors(config).map(|(door, _)| door).collect();
    let there: Vec<_> = with_keys.iter().map(|door| door.key.name.as_str()).collect();
    let there = there.join(", ");
    let refused = |why: String| Err(Failure::Refused(format!("{why}: nothing was changed")));
    match (names, with_keys.as_slice()) {
        (_, []) => refused(
            "no door has keys; write authorized_keys = /etc/knockd/authorized_keys into a door's section, in the place of its \
             Sequence; then enroll a key, and then knockctl reload --confirm 60"
                .into(),
        ),
        ([], [door]) => Ok(vec![door]),
        ([], _) => refused(format!("more than one door has keys ({there}); say which: --doors NAME,NAME")),
        (names, _) => {
            let mut wanted: Vec<&Door> = Vec::new();
            for name in names.iter().map(|name| name.trim()) {
                let Some(door) = with_keys.iter().find(|door| door.key.name == name) else {
                    return refused(no_such_door(config, name, &there));
                };
                if !wanted.iter().any(|other| other.key == door.key) {
                    wanted.push(door);
                }
            }
            Ok(wanted)
        }
    }
}

fn no_such_door(config: &Config, name: &str, there: &str) -> String {
    match config.doors.iter().find(|door| door.key.name == name) {
        Some(door) => format!(
            "the door \"{name}\" has {}, so no SSH key opens it; doors with authorized_keys: {there}",
            door.secret.directive()
        ),
        None => format!("there is no door \"{name}\" with keys; there are: {there}"),
    }
}

/// The UDP port that all of these doors have.
fn port(doors: &[&Door]) -> Result<u16, Failure> {
    let mut ports: Vec<_> = doors.iter().map(|door| door.spa_port).collect();
    ports.sort_unstable();
    ports.dedup();
    match ports[..] {
        [port] => Ok(port),
        _ => {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            Err(Failure::Refused(format!(
                "these doors are knocked at different ports ({}), and one line names one: give them the same spa_port, or \
                 enroll a key for each",
                ports.join(", ")
            )))
        }
    }
}

/// One key has one name, and one name has one key; each file has a key once.
fn check(pages: &[Page], doors: &[&str], name: &str, key: &PublicKey) -> Result<(), Failure> {
    for page in pages {
        let is_wanted = page.doors.iter().any(|door| doors.contains(&door.as_str()));
        for other in &page.keys.keys {
            let place = format!("{}:{}", page.name.display(), other.line);
            let is_same = other.key == key.key;
            let found = match (is_same, other.name == name) {
                (true, true) if is_wanted => format!("{name} has been enrolled with this key ({place})"),
                (true, false) => format!("this key is enrolled already, as {} ({place})", other.name),
                (false, true) => format!("another key is called {name} already ({place})"),
                _ => continue,
            };
            let remedy = match is_same {
                true => format!(
                    "knockctl enroll {0} --again prints its line; to change what it may, knockctl revoke {0} first",
                    quoted(&other.name)
                ),
                false => format!("choose another name, or knockctl revoke {} first", quoted(name)),
            };
            return Err(Failure::Refused(format!("{found}: nothing was changed; {remedy}")));
        }
    }
    Ok(())
}

fn enrolment(enrolled: &Enrolled<'_>, host: String, host_key: HostPublicKey) -> Result<Enrolment, Failure> {
    let ports = |door: &&Door| door.native.iter().flat_map(|native| native.ports.clone()).collect::<Vec<_>>();
    let first = enrolled.doors.first().map(ports).unwrap_or_default();
    Ok(Enrolment {
        host,
        port: port(&enrolled.doors)?,
        doors: enrolled.doors.iter().map(|door| door.key.name.clone()).collect(),
        host_key,
        verify: first.iter().find(|range| range.protocol == Protocol::Tcp).map(|range| range.first),
        key: Some(enrolled.fingerprint.clone()),
    })
}

fn tell(
    context: &Context,
    wish: &Wish,
    enrolled: &Enrolled<'_>,
    enrolment: &Enrolment,
) -> Result<(), Failure> {
    let line = enrolment.to_string();
    let files: Vec<_> = enrolled.files.iter().map(|file| file.display().to_string()).collect();
    if context.json {
        let told = Told {
            name: wish.name.clone(),
            fingerprint: enrolled.fingerprint.clone(),
            doors: enrolment.doors.clone(),
            files,
            host_key: enrolment.host_key.to_string(),
            line,
        };
        return print(&format!("{}\n", printable_json(&serde_json::to_string(&told).unwrap_or_default())));
    }
    let is_terminal = io::stdout().is_terminal();
    let code = match wish.qr || is_terminal && !wish.no_qr {
        true => qr::shown(&line, "The same line for a camera", is_terminal),
        false => String::new(),
    };
    print(&format!("{}{code}", text(wish, enrolled, enrolment, &files)))
}

fn text(wish: &Wish, enrolled: &Enrolled<'_>, enrolment: &Enrolment, files: &[String]) -> String {
    let limits = [
        wish.most.as_ref().map(|time| format!("for {time} at most")),
        wish.expires
            .as_deref()
            .and_then(calendar::read)
            .map(|last| format!("until {}", calendar::shown(last))),
        wish.from.as_ref().map(|from| format!("from {from}")),
    ];
    let limits: String = limits.into_iter().flatten().map(|limit| format!(", {limit}")).collect();
    format!(
        "{} may knock at {}{limits}: {} in {}.\n\nOn the machine that has the private key, once:\n\n    knock add {}\n\n\
         It says what to type from then on. This line opens nothing without that key.\n",
        printable(&wish.name),
        printable(&enrolment.doors.join(", ")),
        enrolled.fingerprint,
        printable(&files.join(" and ")),
        quoted(&enrolment.to_string()),
    )
}

fn time(text: &str) -> Result<String, String> {
    config::duration(text).map(|_| text.to_owned()).map_err(|fault| fault.to_string())
}

fn day(text: &str) -> Result<String, String> {
    calendar::expiry(text, &ZonedDateTime::now())
}
