//! The configuration file, and what it and the command line come to together.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use knock_core::config::{
    self, AcceptRule, Config, Diagnostic, Door, Interfaces, JournalFields, LogFormat, Secret, Severity,
    Source,
};
use knock_core::control::socket_path;
use knock_core::sequence::{Sequence, Step};
use knock_core::spa::{HOST_KEY_FILE, HostKey};

use crate::cli::Arguments;
use crate::credential::{self, Credential, KeysFile, Rolling, SLOTS};
use crate::native;
use crate::one_time::{OneTimeFile, Unmarked};
use crate::wall_clock;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

const DEFAULT_PID_FILE: &str = "/var/run/knockd.pid";

const DEFAULT_STATE_DIRECTORY: &str = "/var/lib/knockd";

/// What the daemon goes by.
pub(crate) struct Settings {
    pub(crate) interfaces: Interfaces,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) log_format: LogFormat,
    pub(crate) journal_fields: JournalFields,
    pub(crate) metrics_file: Option<PathBuf>,
    pub(crate) pid_file: PathBuf,
    pub(crate) use_syslog: bool,
    pub(crate) guard: bool,
    pub(crate) mark: u32,
    pub(crate) accept_rule: AcceptRule,
    pub(crate) state_directory: PathBuf,
    /// The configuration names it: it has to work.
    pub(crate) state_directory_is_named: bool,
    pub(crate) control_socket: PathBuf,
    /// Likewise.
    pub(crate) control_socket_is_named: bool,
    /// Where some door has keys.
    pub(crate) host_key: Option<HostKey>,
    pub(crate) doors: Vec<ReadyDoor>,
}

/// A door, and what it is opened with.
pub(crate) struct ReadyDoor {
    pub(crate) door: Door,
    pub(crate) credential: Credential,
}

/// What is knocked at a door in one of the places in which it is followed.
pub(crate) struct Followed {
    pub(crate) slot: u8,
    /// Nothing where there is none, or none left.
    pub(crate) sequence: Option<Sequence>,
    /// The ports of those that come behind it.
    pub(crate) ahead: BTreeSet<Step>,
}

impl ReadyDoor {
    /// What is to be knocked, in each place.
    pub(crate) fn followed(&self) -> Vec<Followed> {
        let one = |sequence, ahead| vec![Followed { slot: 0, sequence, ahead }];
        match &self.credential {
            Credential::Sequence => one(self.door.secret.fixed().cloned(), BTreeSet::new()),
            Credential::OneTime(file) => {
                let mut sequences = file.sequences().into_iter();
                one(sequences.next(), steps(sequences))
            }
            Credential::Rolling(rolling) => (0..SLOTS).map(|slot| rolling.followed(slot)).collect(),
            _ => one(None, BTreeSet::new()),
        }
    }
}

/// The ports of these sequences.
pub(crate) fn steps(sequences: impl IntoIterator<Item = Sequence>) -> BTreeSet<Step> {
    sequences.into_iter().flat_map(|sequence| sequence.steps().to_vec()).collect()
}

/// A diagnostic with the file that it is about.
pub(crate) type Remark = (Rc<Source>, Diagnostic);

/// What came out of reading the files.
pub(crate) struct Loaded {
    /// What stood in the configuration file.
    pub(crate) bytes: Vec<u8>,
    /// Absent where something is wrong.
    pub(crate) settings: Option<Settings>,
    pub(crate) config: Option<Config>,
    pub(crate) source: Rc<Source>,
    pub(crate) remarks: Vec<Remark>,
}

/// When the configuration is read.
#[derive(Clone, Copy)]
pub(crate) enum Occasion<'a> {
    /// Whatever can be read will do: it may be a pipe. Every mistake is one.
    Check,
    /// Likewise, but a door whose files cannot be read keeps nobody from opening another: somebody may have to come in to
    /// put it right.
    Start,
    /// The daemon must not wait for anybody.
    Reload {
        /// What of the one-time files is used up although they do not say so.
        unmarked: &'a Unmarked,
    },
}

/// Reads the configuration and the files that it names.
///
/// # Errors
/// Where the file itself cannot be read; the message names it.
pub(crate) fn load(arguments: &Arguments, base: &Path, occasion: Occasion<'_>) -> Result<Loaded, String> {
    let name = arguments.config.display().to_string();
    let path = base.join(&arguments.config);
    let (bytes, unmarked) = match occasion {
        Occasion::Check | Occasion::Start => (read(&path), &Unmarked::new()),
        Occasion::Reload { unmarked } => (read_file(&path), unmarked),
    };
    let bytes = bytes.map_err(|error| {
        format!("{name}: {}; expected a configuration file (-c names another one)", reason(&error))
    })?;
    let loaded = interpret(arguments, base, bytes, unmarked, Missing::FORBIDDEN);
    if loaded.settings.is_none() && matches!(occasion, Occasion::Start) {
        // Without a file of sequences it does not start, as knockd does not.
        let missing = Missing { keys: Severity::Warning, ..Missing::FORBIDDEN };
        let without = interpret(arguments, base, loaded.bytes.clone(), unmarked, missing);
        if without.settings.as_ref().is_some_and(Settings::has_way_in) {
            return Ok(without);
        }
    }
    Ok(loaded)
}

/// How bad it is when a file that the configuration names cannot be read.
#[derive(Clone, Copy)]
pub(crate) struct Missing {
    sequences: Severity,
    keys: Severity,
}

impl Missing {
    /// The configuration cannot be used.
    const FORBIDDEN: Self = Self { sequences: Severity::Error, keys: Severity::Error };
    /// The door cannot be used.
    pub(crate) const FORGIVEN: Self = Self { sequences: Severity::Warning, keys: Severity::Warning };
}

/// Makes of a configuration file's bytes what they say, with the files that they name.
pub(crate) fn interpret(
    arguments: &Arguments,
    base: &Path,
    bytes: Vec<u8>,
    unmarked: &Unmarked,
    missing: Missing,
) -> Loaded {
    let parsed = config::parse(&arguments.config.display().to_string(), &bytes);
    let source = Rc::new(parsed.source);
    let with_source = |diagnostic| (source.clone(), diagnostic);
    let mut remarks: Vec<Remark> = parsed.diagnostics.into_iter().map(with_source).collect();
    let settings = parsed.config.clone().and_then(|config| {
        let mut preparation = Preparation { source: &source, base, unmarked, missing, remarks: &mut remarks };
        let host_key = preparation.host_key(&config.doors, &config.options);
        let doors = config.doors.into_iter().map(|door| preparation.prepare(door)).collect();
        let failed = remarks.iter().any(|(_, diagnostic)| diagnostic.severity == Severity::Error);
        (!failed).then(|| Settings { host_key, ..settings(arguments, config.options, doors, base) })
    });
    Loaded { bytes, settings, config: parsed.config, source, remarks }
}

/// A regular file's content; from anything else one might wait for ever.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?;
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::other("this is no regular file"));
    }
    read(path)
}

/// What can be read; more than [`MAX_FILE`] is an error.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// What went wrong with a file, in words.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::IsADirectory => "this is a directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

fn settings(arguments: &Arguments, options: config::Options, doors: Vec<ReadyDoor>, base: &Path) -> Settings {
    let absolute = |path: &PathBuf| base.join(path);
    Settings {
        interfaces: arguments.interface.clone().or(options.interfaces).unwrap_or_default(),
        log_file: options.log_file.as_ref().or(arguments.logfile.as_ref()).map(absolute),
        log_format: options.log_format,
        journal_fields: options.journal_fields,
        metrics_file: options.metrics_file.as_ref().map(absolute),
        pid_file: options
            .pid_file
            .as_ref()
            .or(arguments.pidfile.as_ref())
            .map_or_else(|| DEFAULT_PID_FILE.into(), absolute),
        use_syslog: options.use_syslog,
        guard: options.guard,
        mark: options.mark,
        accept_rule: options.accept_rule,
        state_directory_is_named: options.state_directory.is_some(),
        state_directory: options.state_directory.as_ref().map_or_else(state_directory, absolute),
        control_socket_is_named: options.control_socket.is_some(),
        control_socket: socket_path(
            options.control_socket.as_ref().map(absolute).as_deref(),
            std::env::var_os("RUNTIME_DIRECTORY").as_deref(),
        ),
        host_key: None,
        doors,
    }
}

/// Where grants are written down when nothing says otherwise: in the directory that the service manager made
/// (systemd.exec(5)), or in the usual one.
fn state_directory() -> PathBuf {
    let named = std::env::var_os("STATE_DIRECTORY");
    let first = named.as_ref().and_then(|names| std::env::split_paths(names).next());
    first.filter(|path| path.is_absolute()).unwrap_or_else(|| DEFAULT_STATE_DIRECTORY.into())
}

impl Settings {
    /// Whether some door can be opened.
    fn has_way_in(&self) -> bool {
        let is_sealed = |ready: &ReadyDoor| matches!(ready.credential, Credential::Keys(_));
        let can_open = |ready: &ReadyDoor| !is_sealed(ready) || self.host_key.is_some();
        self.doors.iter().any(|ready| ready.credential.is_at_hand() && can_open(ready))
    }

    /// What native doors have in common.
    pub(crate) const fn native(&self) -> native::Settings {
        native::Settings { mark: self.mark, guard: self.guard, accept_rule: self.accept_rule }
    }
}

/// Reads what doors are opened with, and tells what is wrong with it.
struct Preparation<'a> {
    source: &'a Rc<Source>,
    base: &'a Path,
    /// One-time sequences that are used up.
    unmarked: &'a Unmarked,
    /// How bad it is when a file cannot be read.
    missing: Missing,
    remarks: &'a mut Vec<Remark>,
}

impl Preparation<'_> {
    fn prepare(&mut self, door: Door) -> ReadyDoor {
        let credential = match &door.secret {
            Secret::Fixed(_) => Some(Credential::Sequence),
            Secret::OneTime(path) => Some(self.one_time(path, &door)),
            Secret::Rolling(path) => {
                let key = credential::rolling_key(&self.base.join(path));
                let rolling = |key| Credential::Rolling(Rolling::new(key, wall_clock::seconds()));
                self.taken(key.map(rolling), &door, "a file with a key of 32 random bytes")
            }
            Secret::Keys(path) => Some(self.keys(path, &door)),
            #[cfg(feature = "fwknop")]
            Secret::Fwknop { key, hmac } => {
                let keys = credential::fwknop(&self.base.join(key), &self.base.join(hmac));
                let keys = keys.map(|keys| Credential::Fwknop(Box::new(keys)));
                self.taken(keys, &door, "files with fwknop's KEY and HMAC_KEY")
            }
            #[cfg(not(feature = "fwknop"))]
            Secret::Fwknop { .. } => {
                let why = "a door for fwknop's clients".to_owned();
                self.taken(Err(why), &door, "another: this knockd was built without them")
            }
        };
        ReadyDoor { credential: credential.unwrap_or(Credential::Missing), door }
    }

    fn one_time(&mut self, path: &Path, door: &Door) -> Credential {
        let path = self.base.join(path);
        let used = self.unmarked.get(&path).cloned().unwrap_or_default();
        let mut file = OneTimeFile::new(path, used);
        match file.load() {
            Ok(remarks) => self.remarks.extend(remarks),
            Err(error) => {
                let found = format!("{}: {}", file.path().display(), reason(&error));
                self.tell(door, found, "a file of sequences that can be read", self.missing.sequences);
            }
        }
        Credential::OneTime(file)
    }

    fn keys(&mut self, path: &Path, door: &Door) -> Credential {
        let mut file = KeysFile::new(self.base.join(path));
        // Never an error: the file may change at any time, and other doors must not stay shut for it.
        let (found, help) = match file.load() {
            Err(found) => (found, "until that is mended nobody can open this door; no reload is needed then"),
            Ok(remarks) => {
                self.remarks.extend(remarks);
                if !file.keys().is_empty() {
                    return Credential::Keys(file);
                }
                let found = format!("the door \"{}\" has no key: nobody can open it", door.key);
                (found, "knockctl enroll NAME FILE.pub adds one; no reload is needed then")
            }
        };
        let warning = Diagnostic::warning(door.secret_span.clone(), found, help);
        self.remarks.push((self.source.clone(), warning));
        Credential::Keys(file)
    }

    /// The key that knocks are sealed to, where some door has need of it.
    fn host_key(&mut self, doors: &[Door], options: &config::Options) -> Option<HostKey> {
        let door = doors.iter().find(|door| matches!(door.secret, Secret::Keys(_)))?;
        let path = options.host_key.clone().unwrap_or_else(|| HOST_KEY_FILE.into());
        let key = credential::host_key(&self.base.join(path));
        self.taken(key, door, "the server's knock key")
    }

    fn taken<T>(&mut self, outcome: Result<T, String>, door: &Door, expected: &str) -> Option<T> {
        outcome.map_err(|found| self.tell(door, found, expected, self.missing.keys)).ok()
    }

    fn tell(&mut self, door: &Door, found: String, expected: &str, severity: Severity) {
        let diagnostic = Diagnostic::error(door.secret_span.clone(), found, expected);
        self.remarks.push((self.source.clone(), Diagnostic { severity, ..diagnostic }));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser as _;

    use super::*;

    const PLAIN: &str = "[plain]\nsequence = 7000,8000\ncommand = true\n";
    const SEALED: &str = "[options]\nhost_key = host_key\n[sealed]\nauthorized_keys = keys\ncommand = true\n";
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILTGPDYuUYtmaagnrrD1xMdyV8E0iFH8ncgEZKOwUpN alice\n";

    #[test]
    fn a_door_without_its_files_shuts_no_other() {
        let base = std::env::temp_dir().join(format!("knockd-without-files-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        let write = |name: &str, text: &str| {
            fs::write(base.join(name), text).unwrap();
            fs::set_permissions(base.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        let none = Unmarked::new();
        let arguments = Arguments::try_parse_from(["knockd", "-c", "knockd.conf"]).unwrap();
        let can_be_used = |text: &str, occasion| {
            write("knockd.conf", text);
            load(&arguments, &base, occasion).unwrap().settings.is_some()
        };
        let both = format!("{SEALED}{PLAIN}");
        write("keys", KEY);
        // The server's key is lost.
        assert!(can_be_used(&both, Occasion::Start));
        assert!(!can_be_used(&both, Occasion::Check), "it is told");
        assert!(!can_be_used(&both, Occasion::Reload { unmarked: &none }), "the old one is better");
        assert!(!can_be_used(SEALED, Occasion::Start), "nobody could come in");
        assert!(!can_be_used(&format!("{both}nonsense\n"), Occasion::Start), "no other mistake is forgiven");
        write("host_key", &HostKey::from_random(&[1; 32]).to_text());
        assert!(can_be_used(SEALED, Occasion::Check));
        // Somebody has edited the file with another umask.
        fs::set_permissions(base.join("keys"), fs::Permissions::from_mode(0o664)).unwrap();
        assert!(can_be_used(&both, Occasion::Start));
        fs::remove_dir_all(&base).unwrap();
    }
}
