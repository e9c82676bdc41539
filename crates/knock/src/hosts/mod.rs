//! The file of hosts: names for what would otherwise be typed, `~/.config/knock/config.toml`.
//!
//! ```text
//! place ─► bytes ─► read (tables, keys, values) ─► hosts ─► the one that is meant
//! ```
//!
//! Nothing in it is guessed at: a key that is unknown, or a value that is none, makes the whole file unusable.

mod place;
mod read;
mod write;

pub(crate) use place::open_to_others;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use knock_core::config::nearest::nearest;
use knock_core::spa::Enrolment;

use crate::request::Method;
use crate::settings::Settings;

/// The hosts of a file.
#[derive(Debug)]
pub(crate) struct Hosts {
    path: PathBuf,
    hosts: Vec<Host>,
}

/// A host that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// What it is called.
    pub(crate) name: String,
    /// Where it is: a name that resolves, or an address.
    pub(crate) host: String,
    /// How it is knocked at; with a key, at the first of the doors.
    pub(crate) method: Method,
    /// The doors that a key can knock at.
    pub(crate) doors: Vec<String>,
    /// How; the file's defaults included.
    pub(crate) settings: Settings,
}

/// Why no host was found.
#[derive(Debug)]
pub(crate) enum Error {
    /// The environment does not say where the user's files are.
    NoHome,
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file is wrong: each mistake in a line of its own, with its place.
    Wrong(Vec<String>),
    /// No host has this name.
    Unknown {
        /// What was looked for.
        name: String,
        /// Where.
        path: PathBuf,
        /// A name that is like it.
        near: Option<String>,
    },
    /// The file cannot be written.
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A host was not added; the text says why not.
    NotAdded(String),
    /// A host has no door of this name.
    NoDoor {
        /// What was looked for.
        door: String,
        /// The host's name.
        name: String,
        /// The doors that it has.
        doors: Vec<String>,
    },
    /// Several hosts could be meant.
    Ambiguous {
        /// What was looked for.
        name: String,
        /// Where.
        path: PathBuf,
        /// The names of all of them.
        names: Vec<String>,
    },
}

impl Host {
    /// Its door of this name.
    ///
    /// # Errors
    /// Where the file does not name it.
    pub(crate) fn door(&self, door: &str) -> Result<&String, Error> {
        let found = self.doors.iter().find(|name| *name == door);
        found.ok_or_else(|| Error::NoDoor {
            door: door.to_owned(),
            name: self.name.clone(),
            doors: self.doors.clone(),
        })
    }
}

impl Hosts {
    /// Reads the file at `path`, or the user's own where there is none.
    ///
    /// # Errors
    /// Where it cannot be found or read, or has a mistake.
    pub(crate) fn load(path: Option<PathBuf>) -> Result<Self, Error> {
        let path = path.or_else(place::of_user).ok_or(Error::NoHome)?;
        let unreadable = |cause| Error::Unreadable { path: path.clone(), cause };
        let bytes = fs::read(&path).map_err(unreadable)?;
        let hosts = read::read(&path, &bytes).map_err(Error::Wrong)?;
        Ok(Self { path, hosts })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What others than the file's owner can do with it, as in "others can read it".
    pub(crate) fn open_to_others(&self) -> Option<&'static str> {
        open_to_others(&self.path)
    }

    /// The hosts, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }

    /// The host of this name; in another case where there is none in this.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn named(&self, name: &str) -> Result<&Host, Error> {
        self.by_name(name).ok_or_else(|| self.unknown(name))
    }

    /// The host that is meant by a connection to `port` of `host`: the one of this name; otherwise the one at this
    /// address, and of several the one that is to open this port.
    ///
    /// # Errors
    /// Where there is none, or where there are several.
    pub(crate) fn behind(&self, host: &str, port: u16) -> Result<&Host, Error> {
        if let Some(named) = self.by_name(host) {
            return Ok(named);
        }
        let there: Vec<_> = self.iter().filter(|entry| entry.host.eq_ignore_ascii_case(host)).collect();
        let opening: Vec<_> =
            there.iter().copied().filter(|entry| entry.settings.verify == Some(port)).collect();
        match (opening.as_slice(), there.as_slice()) {
            ([only], _) | (_, [only]) => Ok(only),
            (_, []) => Err(self.unknown(host)),
            (_, several) => Err(self.ambiguous(host, several)),
        }
    }

    fn by_name(&self, name: &str) -> Option<&Host> {
        let exactly = self.iter().find(|host| host.name == name);
        exactly.or_else(|| self.iter().find(|host| host.name.eq_ignore_ascii_case(name)))
    }

    fn unknown(&self, name: &str) -> Error {
        let near = nearest(name, self.iter().map(|host| host.name.as_str())).map(str::to_owned);
        Error::Unknown { name: name.to_owned(), path: self.path.clone(), near }
    }

    fn ambiguous(&self, name: &str, several: &[&Host]) -> Error {
        let names = several.iter().map(|host| host.name.clone()).collect();
        Error::Ambiguous { name: name.to_owned(), path: self.path.clone(), names }
    }
}

/// The names, and where each of them is; nothing that opens a door.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.iter().map(|host| host.name.chars().count()).max().unwrap_or_default();
        self.iter().try_for_each(|Host { name, host, .. }| writeln!(f, "{name:width$}  {host}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHome => {
                f.write_str("where the file of hosts is, the environment does not say: use --config FILE")
            }
            Self::Unreadable { path, cause } if cause.kind() == io::ErrorKind::NotFound => {
                write!(f, "there is no file of hosts, {}", path.display())
            }
            Self::Unreadable { path, cause } => {
                write!(f, "cannot read the hosts in {}: {cause}", path.display())
            }
            Self::Wrong(mistakes) => f.write_str(&mistakes.join("\n")),
            Self::Unknown { name, path, near } => {
                write!(f, "there is no host \"{name}\" in {}", path.display())?;
                match near {
                    Some(near) => write!(f, "; did you mean \"{near}\"?"),
                    None => Ok(()),
                }
            }
            Self::Unwritable { path, cause } => write!(f, "cannot write {}: {cause}", path.display()),
            Self::NotAdded(why) => f.write_str(why),
            Self::NoDoor { door, name, doors } => {
                let near = nearest(door, doors.iter().map(String::as_str));
                let near = near.map(|near| format!(" (did you mean \"{near}\"?)")).unwrap_or_default();
                let doors = doors.join(", ");
                write!(
                    f,
                    "the host \"{name}\" has no door \"{door}\" in the file, but {doors}{near}; if the server has it, add \
                     it to doors there"
                )
            }
            Self::Ambiguous { name, path, names } => {
                let (path, names) = (path.display(), names.join(", "));
                write!(f, "several hosts in {path} are at \"{name}\": {names}; connect by one of these names")
            }
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Whether there is no file at all.
    pub(crate) fn is_no_file(&self) -> bool {
        match self {
            Self::NoHome => true,
            Self::Unreadable { cause, .. } => cause.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// How a host was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is new.
    Now,
    /// The very same was there.
    Before,
}

/// Adds the host of a line to the file at `path`, or to the user's own; says which file that is.
///
/// # Errors
/// Where the file cannot be read or written or has a mistake, or where it has another host of this name, or another key of
/// this server.
pub(crate) fn add(
    path: Option<PathBuf>,
    name: &str,
    line: &Enrolment,
    identity: Option<&str>,
) -> Result<(PathBuf, Added), Error> {
    let path = path.or_else(place::of_user).ok_or(Error::NoHome)?;
    let unwritable = |cause| Error::Unwritable { path: path.clone(), cause };
    write::make_directory(&path).map_err(unwritable)?;
    let _lock = write::lock(&path);
    let text = existing(&path)?;
    let there = read::read(&path, text.as_bytes()).map_err(Error::Wrong)?;
    let table = write::table(name, line, identity);
    // Alone it says what it is, whatever the file says for all hosts.
    let alone = read::read(&path, table.as_bytes()).map_err(|wrong| Error::NotAdded(wrong.join("\n")))?;
    let Some(new) = alone.first() else { return Err(Error::NotAdded("it would be no host".into())) };
    refuse_other_key(&path, &there, new)?;
    if let Some(old) = there.iter().find(|old| old.name.eq_ignore_ascii_case(name)) {
        return same(&path, old, new).map(|()| (path, Added::Before));
    }
    let text = write::with_table(&text, &table);
    read::read(&path, text.as_bytes()).map_err(Error::Wrong)?;
    write::replace(&path, &text).map_err(unwritable)?;
    Ok((path, Added::Now))
}

fn existing(path: &Path) -> Result<String, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(cause) => Err(Error::Unreadable { path: path.to_owned(), cause }),
    }
}

/// What is sealed to a stranger's key the stranger reads, and the server does not.
fn refuse_other_key(path: &Path, there: &[Host], new: &Host) -> Result<(), Error> {
    let Method::Signed(line) = &new.method else { return Ok(()) };
    let is_other = |old: &&Host| {
        let Method::Signed(known) = &old.method else { return false };
        old.host.eq_ignore_ascii_case(&new.host) && known.port == line.port && known.server != line.server
    };
    let names: Vec<_> = there.iter().filter(is_other).map(|old| format!("[{}]", old.name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let (names, path, host) = (names.join(" and "), path.display(), &new.host);
    Err(Error::NotAdded(format!(
        "THE SERVER'S KEY HAS CHANGED: {path} has another host_key for {host} (in {names}) than the line; nothing was \
         added.\n  - if the server was made anew, or its key: compare the line with what `knockctl host-key` prints there, \
         then delete {names} from the file, and add the line again\n  - if not, the line is not from this server: do not \
         use it"
    )))
}

/// Whether nothing would change.
fn same(path: &Path, old: &Host, new: &Host) -> Result<(), Error> {
    let differing = differing(old, new);
    if differing.is_empty() {
        return Ok(());
    }
    let (path, name) = (path.display(), &old.name);
    Err(Error::NotAdded(format!(
        "{path} has a host \"{name}\", which differs in {}; nothing was added: add the line under another name with --name \
         NAME, or delete [{name}] from the file first",
        differing.join(", ")
    )))
}

fn differing(old: &Host, new: &Host) -> Vec<&'static str> {
    let (Method::Signed(known), Method::Signed(line)) = (&old.method, &new.method) else {
        return vec!["how it is knocked at"];
    };
    let differs = [
        ("host", !old.host.eq_ignore_ascii_case(&new.host)),
        ("port", known.port != line.port),
        ("host_key", known.server != line.server),
        ("doors", old.doors != new.doors),
        ("identity", known.identity != line.identity),
        ("verify", old.settings.verify != new.settings.verify),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

/// The directory that relative names in the file at `path` begin from.
fn base(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Hosts {
        let path = PathBuf::from("/home/me/config.toml");
        Hosts { hosts: read::read(&path, text.as_bytes()).unwrap(), path }
    }

    const SEVERAL: &str = "[ssh]\nhost = \"a.example\"\nsequence = \"1\"\nverify = 22\n\
        [web]\nhost = \"A.example\"\nsequence = \"2\"\nverify = 443\n\
        [other]\nhost = \"b.example\"\nsequence = \"3\"\n";

    fn behind(host: &str, port: u16) -> Result<String, String> {
        let hosts = hosts(SEVERAL);
        hosts.behind(host, port).map(|host| host.name.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn finds_by_name_before_address() {
        assert_eq!(behind("ssh", 443), Ok("ssh".into()));
        assert_eq!(behind("OTHER", 1), Ok("other".into()));
        assert_eq!(behind("b.example", 22), Ok("other".into()));
    }

    #[test]
    fn of_several_at_an_address_the_port_decides() {
        assert_eq!(behind("a.example", 22), Ok("ssh".into()));
        assert_eq!(behind("a.example", 443), Ok("web".into()));
        let refusal = behind("a.example", 80).unwrap_err();
        assert!(
            refusal.ends_with("are at \"a.example\": ssh, web; connect by one of these names"),
            "{refusal}"
        );
    }

    #[test]
    fn names_the_nearest() {
        let refusal = behind("othr", 22).unwrap_err();
        assert_eq!(refusal, "there is no host \"othr\" in /home/me/config.toml; did you mean \"other\"?");
        assert!(behind("nothing-like-it", 22).unwrap_err().ends_with("config.toml"));
    }

    #[test]
    fn lists_no_secrets() {
        assert_eq!(hosts(SEVERAL).to_string(), "other  b.example\nssh    a.example\nweb    A.example\n");
    }
}
