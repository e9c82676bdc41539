//! The file of hosts: names for what would otherwise be typed, `~/.config/knock/config.toml`.
//!
//! ```text
//! place ─► bytes ─► read (tables, keys, values) ─► hosts ─► the one that is meant
//! ```
//!
//! Nothing in it is guessed at: a key that is unknown, or a value that is none, makes the whole file unusable.

mod place;
mod read;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use knock_core::config::nearest::nearest;

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
        place::open_to_others(&self.path)
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
