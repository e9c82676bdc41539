//! The file of a door's keys: OpenSSH's `authorized_keys` (`sshd(8)`), with options of our own.
//!
//! ```text
//! doors="ssh,web",expiry-time="20270101",from="192.0.2.0/24",max-open="1h" ssh-ed25519 AAAA... alice
//! ```
//!
//! A line that cannot be read counts for nothing, and is told; the others count, as with `sshd`. Options of OpenSSH's that
//! say what a session may do mean nothing to a knock, and are passed over.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use super::signature::SshKey;
use crate::config::nearest::nearest;
use crate::config::{self, Diagnostic};
use crate::network::Network;
use crate::sequence::Fault;

/// The most keys that a file can have.
pub const MAX_KEYS: usize = 10_000;

/// Options that may stand in such a file and say nothing of knocks.
const OF_SESSIONS: [&str; 22] = [
    "agent-forwarding",
    "command",
    "environment",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-user-rc",
    "no-x11-forwarding",
    "permitlisten",
    "permitopen",
    "port-forwarding",
    "principals",
    "pty",
    "restrict",
    "tunnel",
    "user-rc",
    "x11-forwarding",
    "cert-authority",
    "no-touch-required",
    "verify-required",
    "expiry-time",
    "from",
];
/// Options of ours.
const OWN: [&str; 2] = ["doors", "max-open"];

/// Who may knock, and under which conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizedKey {
    /// The key.
    pub key: SshKey,
    /// The comment behind it; where there is none, its fingerprint.
    pub name: String,
    /// `doors`: of the doors with this file only these; `None` for all.
    pub doors: Option<Vec<String>>,
    /// `expiry-time`: not from this moment on, in seconds since 1970, UTC.
    pub until: Option<i64>,
    /// `from`: only from these networks, and from none that is denied; from everywhere where it is empty.
    pub from: Vec<From>,
    /// `max-open`: how long a door stays open at most, whatever the knock asks for.
    pub max_open: Option<Duration>,
    /// A token must have been touched: always, but with `no-touch-required`.
    pub touch: bool,
    /// `verify-required`: a token must have known whom by.
    pub verify: bool,
    /// Its line in the file, counted from 1.
    pub line: usize,
}

/// An entry of `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct From {
    /// Nobody from there, whatever else allows it.
    pub denied: bool,
    /// From there.
    pub network: Network,
}

impl AuthorizedKey {
    /// Whether it may knock at this door.
    pub fn opens(&self, door: &str) -> bool {
        self.doors.as_ref().is_none_or(|doors| doors.iter().any(|name| name == door))
    }

    /// Whether it may knock from this address.
    pub fn comes_from(&self, address: IpAddr) -> bool {
        let names = |denied| move |from: &&From| from.denied == denied && from.network.contains(address);
        self.from.is_empty()
            || (self.from.iter().any(|from| names(false)(&from))
                && !self.from.iter().any(|from| names(true)(&from)))
    }
}

/// A day and a time as `expiry-time` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 1970 to 9999.
    pub year: i16,
    /// 1 to 12.
    pub month: i8,
    /// 1 to 31.
    pub day: i8,
    /// 0 to 23.
    pub hour: i8,
    /// 0 to 59.
    pub minute: i8,
    /// 0 to 59.
    pub second: i8,
    /// In UTC, and not in the server's time zone.
    pub utc: bool,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFile {
    /// The keys, in the file's order.
    pub keys: Vec<AuthorizedKey>,
    /// What is wrong with other lines; the places are counted from the file's beginning.
    pub mistakes: Vec<Diagnostic>,
}

/// Reads a file; `to_unix` makes seconds since 1970 of a time, where there is such a time.
pub fn read_keys(text: &str, to_unix: &dyn Fn(Civil) -> Option<i64>) -> KeyFile {
    let mut file = KeyFile::default();
    let mut seen = HashSet::new();
    let mut offset = 0;
    for (number, with_end) in text.split_inclusive('\n').enumerate() {
        let line = with_end.trim();
        let start = offset + (with_end.len() - with_end.trim_start().len());
        offset += with_end.len();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if file.keys.len() >= MAX_KEYS {
            let found = format!("more than {MAX_KEYS} keys: the rest is not read");
            file.mistakes.push(Diagnostic::error(start..start + line.len(), found, "fewer keys"));
            break;
        }
        match (Line { text: line, to_unix }).read(number + 1) {
            Ok(key) if !seen.insert(key.key.fingerprint()) => {
                let found = format!(
                    "the key of {} stands in this file before: this line counts for nothing",
                    key.name
                );
                let fault = Fault::new(0..line.len(), found, "each key once");
                file.mistakes.push(Diagnostic::from_fault(fault.shifted(start)));
            }
            Ok(key) => file.keys.push(key),
            Err(fault) => file.mistakes.push(Diagnostic::from_fault(fault.shifted(start))),
        }
    }
    file
}

struct Line<'a> {
    text: &'a str,
    to_unix: &'a dyn Fn(Civil) -> Option<i64>,
}

impl Line<'_> {
    fn read(&self, line: usize) -> Result<AuthorizedKey, Fault> {
        let (options, key) = split(self.text)?;
        let (data, comment) = public_key(self.text, key.clone())?;
        let mut read = AuthorizedKey {
            name: if comment.is_empty() { data.fingerprint().to_string() } else { comment },
            key: data,
            doors: None,
            until: None,
            from: Vec::new(),
            max_open: None,
            touch: true,
            verify: false,
            line,
        };
        let mut seen = HashSet::new();
        for option in options {
            if !seen.insert(option.name.to_ascii_lowercase()) && option.value.is_some() {
                let found = format!("{} stands twice", option.name);
                return Err(Fault::new(option.span, found, "each option once"));
            }
            self.set(&mut read, &option)?;
        }
        Ok(read)
    }

    fn set(&self, key: &mut AuthorizedKey, option: &Option_) -> Result<(), Fault> {
        match option.name.to_ascii_lowercase().as_str() {
            "doors" => key.doors = Some(doors(option.value()?)?),
            "max-open" => {
                let (value, start) = option.value()?;
                key.max_open = Some(config::duration(value).map_err(|fault| fault.shifted(start))?);
            }
            "expiry-time" => key.until = Some(self.time(option.value()?)?),
            "from" => key.from = networks(option.value()?)?,
            "no-touch-required" => key.touch = false,
            "verify-required" => key.verify = true,
            "cert-authority" => {
                return Err(Fault::new(
                    option.span.clone(),
                    "a certificate authority",
                    "the keys themselves",
                ));
            }
            name if OF_SESSIONS.contains(&name) => {}
            name => {
                let near = nearest(name, OWN.into_iter().chain(OF_SESSIONS));
                let expected = near.map_or_else(
                    || "doors, max-open, expiry-time or from".into(),
                    |near| format!("perhaps {near}"),
                );
                return Err(Fault::new(option.span.clone(), format!("unknown option \"{name}\""), expected));
            }
        }
        Ok(())
    }

    fn time(&self, (text, start): (&str, usize)) -> Result<i64, Fault> {
        let time = civil(text).and_then(|civil| (self.to_unix)(civil));
        time.ok_or_else(|| {
            let expected = "YYYYMMDD or YYYYMMDDHHMM[SS], with a Z behind it for UTC";
            Fault::new(start..start + text.len(), format!("\"{text}\" is no time"), expected)
        })
    }
}

fn civil(text: &str) -> Option<Civil> {
    let utc = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("UTC"));
    let (digits, utc) = utc.map_or((text, false), |digits| (digits, true));
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range: Range<usize>| digits.get(range).map_or(Some(0), |part| part.parse::<i16>().ok());
    let small = |range| number(range).and_then(|number| i8::try_from(number).ok());
    let civil = Civil {
        year: number(0..4)?,
        month: small(4..6)?,
        day: small(6..8)?,
        hour: small(8..10)?,
        minute: small(10..12)?,
        second: small(12..14)?,
        utc,
    };
    (civil.year >= 1970).then_some(civil)
}

fn doors((text, start): (&str, usize)) -> Result<Vec<String>, Fault> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        let expected = "names of doors with commas between them";
        return Err(Fault::new(start..start + text.len(), "a door without a name", expected));
    }
    Ok(names)
}

fn networks((text, start): (&str, usize)) -> Result<Vec<From>, Fault> {
    let mut at = start;
    let mut networks = Vec::new();
    for part in text.split(',') {
        let (entry, denied) = part.trim().strip_prefix('!').map_or((part.trim(), false), |rest| (rest, true));
        let network = entry.parse().map_err(|_| {
            let expected = "addresses and networks, such as 192.0.2.0/24, each with an optional ! before it";
            Fault::new(
                at..at + part.len(),
                format!("\"{entry}\" is no network; names are not looked up"),
                expected,
            )
        })?;
        networks.push(From { denied, network });
        at += part.len() + 1;
    }
    Ok(networks)
}

/// An option as it stands in its line.
struct Option_ {
    name: String,
    /// Its value without quotes, and where that begins.
    value: Option<(String, usize)>,
    span: Range<usize>,
}

impl Option_ {
    fn value(&self) -> Result<(&str, usize), Fault> {
        let value = self.value.as_ref().map(|(value, start)| (value.as_str(), *start));
        value.filter(|(value, _)| !value.is_empty()).ok_or_else(|| {
            let expected = format!("{}=\"...\"", self.name);
            Fault::new(self.span.clone(), format!("{} has no value", self.name), expected)
        })
    }
}

/// A line's options, and where its key begins.
fn split(line: &str) -> Result<(Vec<Option_>, Range<usize>), Fault> {
    let first = line.split_whitespace().next().unwrap_or_default();
    if ["ssh-", "ecdsa-", "sk-"].iter().any(|begin| first.starts_with(begin)) && !first.contains('=') {
        return Ok((Vec::new(), 0..line.len()));
    }
    let mut options = Vec::new();
    let mut at = 0;
    loop {
        let (option, end) = option(line, at)?;
        options.push(option);
        let rest = line.get(end..).unwrap_or_default();
        match rest.chars().next() {
            Some(',') => at = end + 1,
            Some(c) if !c.is_whitespace() => {
                let expected = "a comma and another option, or a space and the key";
                return Err(Fault::new(end..line.len(), "something behind an option's value", expected));
            }
            Some(_) => {
                let start = end + (rest.len() - rest.trim_start().len());
                return Ok((options, start..line.len()));
            }
            None => {
                return Err(Fault::new(
                    0..line.len(),
                    "a line without a key",
                    "[OPTIONS] TYPE KEY [COMMENT]",
                ));
            }
        }
    }
}

/// The option that begins at this byte, and where it ends.
fn option(line: &str, start: usize) -> Result<(Option_, usize), Fault> {
    let rest = line.get(start..).unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let end = start + rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    let name = line.get(start..end).unwrap_or_default().to_owned();
    let behind = line.get(end..).unwrap_or_default();
    if name.is_empty() {
        let expected = "an option, or a key such as ssh-ed25519 AAAA... name";
        return Err(Fault::new(start..line.len(), "something that is neither an option nor a key", expected));
    }
    let Some(quoted) = behind.strip_prefix("=\"") else {
        let follows = behind.chars().next();
        if follows.is_some_and(|c| c != ',' && !c.is_whitespace()) {
            let expected = format!("{name}=\"VALUE\", in quotes");
            return Err(Fault::new(start..line.len(), "an option that is not written like one", expected));
        }
        return Ok((Option_ { name, value: None, span: start..end }, end));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                value.push('"');
            }
            '"' => {
                let after = end + 2 + at + 1;
                return Ok((Option_ { name, value: Some((value, end + 2)), span: start..after }, after));
            }
            c => value.push(c),
        }
    }
    Err(Fault::new(start..line.len(), format!("the value of {name} has no end"), "a quote behind it"))
}

fn public_key(line: &str, span: Range<usize>) -> Result<(SshKey, String), Fault> {
    let text = line.get(span.clone()).unwrap_or_default();
    let fault = |found: String, expected: &str| Fault::new(span.clone(), found, expected);
    if text.is_empty() {
        return Err(fault("a line without a key".into(), "[OPTIONS] TYPE KEY [COMMENT]"));
    }
    let mut words = text.split_whitespace();
    let key = [words.next(), words.next()].map(Option::unwrap_or_default).join(" ");
    let key = PublicKey::from_openssh(&key).map_err(|error| {
        fault(format!("no public key: {error}"), "a line of a .pub file, such as ssh-ed25519 AAAA... name")
    })?;
    let comment = words.collect::<Vec<_>>().join(" ");
    let comment = comment.chars().filter(|c| !c.is_control()).collect();
    let key = SshKey::new(key.key_data().clone())
        .map_err(|why| fault(why, "ssh-ed25519, ecdsa-sha2-nistp256 or a FIDO token's key"))?;
    Ok((key, comment))
}
