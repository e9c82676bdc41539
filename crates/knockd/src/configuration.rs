//! The configuration file, and what it and the command line come to together.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use knock_core::config::{self, Config, Diagnostic, Door, Interfaces, SequenceSource, Severity, Source};
use knock_core::sequence::Sequence;

use crate::cli::Arguments;
use crate::one_time::{OneTimeFile, Unmarked};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

const DEFAULT_PID_FILE: &str = "/var/run/knockd.pid";

/// What the daemon goes by.
pub(crate) struct Settings {
    pub(crate) interfaces: Interfaces,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) pid_file: PathBuf,
    pub(crate) use_syslog: bool,
    pub(crate) doors: Vec<ReadyDoor>,
}

/// A door whose sequence is at hand.
pub(crate) struct ReadyDoor {
    pub(crate) door: Door,
    /// The one in force, and behind it those of a one-time file that follow; none where they are used up.
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) one_time: Option<OneTimeFile>,
}

/// A diagnostic with the file that it is about.
pub(crate) type Remark = (Rc<Source>, Diagnostic);

/// What came out of reading the files.
pub(crate) struct Loaded {
    /// Absent where something is wrong.
    pub(crate) settings: Option<Settings>,
    pub(crate) config: Option<Config>,
    pub(crate) source: Rc<Source>,
    pub(crate) remarks: Vec<Remark>,
}

/// When the configuration is read.
#[derive(Clone, Copy)]
pub(crate) enum Occasion<'a> {
    /// Whatever can be read will do: it may be a pipe.
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
        Occasion::Start => (read(&path), &Unmarked::new()),
        Occasion::Reload { unmarked } => (read_file(&path), unmarked),
    };
    let bytes = bytes.map_err(|error| {
        format!("{name}: {}; expected a configuration file (-c names another one)", reason(&error))
    })?;
    let parsed = config::parse(&name, &bytes);
    let source = Rc::new(parsed.source);
    let with_source = |diagnostic| (source.clone(), diagnostic);
    let mut remarks: Vec<Remark> = parsed.diagnostics.into_iter().map(with_source).collect();
    let settings = parsed.config.clone().and_then(|config| {
        let doors = ready_doors(config.doors, &source, base, unmarked, &mut remarks);
        let failed = remarks.iter().any(|(_, diagnostic)| diagnostic.severity == Severity::Error);
        (!failed).then(|| settings(arguments, config.options, doors, base))
    });
    Ok(Loaded { settings, config: parsed.config, source, remarks })
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
fn reason(error: &io::Error) -> String {
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
        pid_file: options
            .pid_file
            .as_ref()
            .or(arguments.pidfile.as_ref())
            .map_or_else(|| DEFAULT_PID_FILE.into(), absolute),
        use_syslog: options.use_syslog,
        doors,
    }
}

fn ready_doors(
    doors: Vec<Door>,
    source: &Rc<Source>,
    base: &Path,
    unmarked: &Unmarked,
    remarks: &mut Vec<Remark>,
) -> Vec<ReadyDoor> {
    let ready = doors.into_iter().map(|door| match &door.sequence {
        SequenceSource::Fixed(sequence) => {
            ReadyDoor { sequences: vec![sequence.clone()], one_time: None, door }
        }
        SequenceSource::OneTime(path) => {
            let path = base.join(path);
            let used = unmarked.get(&path).cloned().unwrap_or_default();
            let mut file = OneTimeFile::new(path, used);
            let loaded = file.load().unwrap_or_else(|error| {
                let found = format!("{}: {}", file.path().display(), reason(&error));
                let expected = "a file of sequences that can be read";
                let diagnostic = Diagnostic::error(door.sequence_span.clone(), found, expected);
                vec![(source.clone(), diagnostic)]
            });
            remarks.extend(loaded);
            ReadyDoor { sequences: file.sequences(), one_time: Some(file), door }
        }
    });
    ready.collect()
}
