//! What a client needs to know to knock at a server, in one line.
//!
//! ```text
//! knock://server.example.org:62201/ssh,web?host-key=KEY&verify=22&key=SHA256:...
//! ```
//!
//! Nothing in it is a secret that opens anything.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::DEFAULT_PORT;
use super::host_key::HostPublicKey;
use super::request::MAX_DOOR_NAME;
use super::signature::Fingerprint;

/// What such a line begins with.
pub const SCHEME: &str = "knock://";

/// What a client needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The server's name or address.
    pub host: String,
    /// The UDP port at which knocks arrive.
    pub port: u16,
    /// The doors that may be knocked at; at least one.
    pub doors: Vec<String>,
    /// The server's knock key.
    pub host_key: HostPublicKey,
    /// The TCP port that is open then.
    pub verify: Option<u16>,
    /// The fingerprint of the user's key, `SHA256:...`, as `ssh-keygen -l` shows it.
    pub key: Option<String>,
}

impl fmt::Display for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, doors, host_key, verify, key } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { escaped(host) };
        let doors = doors.iter().map(|door| escaped(door)).collect::<Vec<_>>().join(",");
        write!(f, "{SCHEME}{host}")?;
        if *port != DEFAULT_PORT {
            write!(f, ":{port}")?;
        }
        write!(f, "/{doors}?host-key={host_key}")?;
        if let Some(verify) = verify {
            write!(f, "&verify={verify}")?;
        }
        match key {
            Some(key) => write!(f, "&key={}", escaped(key)),
            None => Ok(()),
        }
    }
}

/// Reads the line; the error says what is wrong with it.
impl FromStr for Enrolment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.trim().strip_prefix(SCHEME).ok_or_else(|| {
            format!("expected a line that begins with {SCHEME}, as knockctl enroll prints it")
        })?;
        let (place, query) = rest.split_once('?').ok_or("the line has no ?host-key=...: is it whole?")?;
        let (server, doors) = place.split_once('/').ok_or("the line names no door behind the host")?;
        let (host, port) = server_of(server)?;
        let doors = doors.split(',').map(door).collect::<Result<Vec<_>, _>>()?;
        let (mut host_key, mut verify, mut key) = (None, None, None);
        let mut seen = BTreeSet::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = unescaped(value)?;
            if !seen.insert(name) {
                return Err(format!("{name} stands twice in the line: whose is it?"));
            }
            match name {
                "host-key" => {
                    host_key = Some(value.parse().map_err(|error| format!("host-key: {error}"))?);
                }
                "verify" => verify = Some(number(&value)?),
                "key" => key = Some(fingerprint(value)?),
                // A later version may say more.
                _ => {}
            }
        }
        let host_key = host_key.ok_or("the line has no host-key=...: is it whole?")?;
        Ok(Self { host, port, doors, host_key, verify, key })
    }
}

fn server_of(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host.to_owned(), None),
        Some((host, rest)) => {
            let port = rest.strip_prefix(':').ok_or_else(|| format!("{rest:?} is no port"))?;
            (host.to_owned(), Some(port))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (unescaped(host)?, Some(port)),
            None => (unescaped(text)?, None),
        },
    };
    // It ends up in command lines and files.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    if host.is_empty() || host.starts_with('-') || !host.bytes().all(fits) {
        return Err(format!("{host:?} is no host"));
    }
    Ok((host, port.map_or(Ok(DEFAULT_PORT), number)?))
}

/// The client takes what begins otherwise for a file's name.
fn fingerprint(text: String) -> Result<String, String> {
    match text.parse::<Fingerprint>() {
        Ok(_) => Ok(text),
        Err(expected) => Err(format!("key: {expected}")),
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{text:?} is no port"))
}

fn door(text: &str) -> Result<String, String> {
    let door = unescaped(text)?;
    let fits = !door.is_empty() && door.len() <= MAX_DOOR_NAME && !door.contains(char::is_control);
    if fits { Ok(door) } else { Err(format!("{door:?} is no door's name")) }
}

/// RFC 3986, section 2.1.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:+/".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

fn unescaped(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not written as in an address");
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                value.and_then(|value| u8::try_from(value).ok()).ok_or_else(wrong)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}
