//! The log: a file, the system's log and its journal, standard output.
//!
//! Every event of the daemon comes through here, with what it is about for programs, so what the metrics tell is counted
//! here: what is logged and what is counted cannot differ.

mod datagrams;
mod facts;
mod form;
mod ways;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::ZonedDateTime;
use knock_core::config::LogFormat;
use knock_linux::peer::Peer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

pub(crate) use self::datagrams::Datagrams;
pub(crate) use self::facts::{Facts, Level, Topic};
use self::form::printable;
use self::ways::{JOURNAL, Way, Ways};
use crate::configuration::Settings;
use crate::lookup::{Lookup, Name};
use crate::metrics::Counts;
use crate::syslog::Syslog;

/// The log's lines go to wherever the configuration and the command line say.
pub(crate) struct Log {
    format: LogFormat,
    file: Option<File>,
    /// The file's last line may have broken off.
    file_is_torn: bool,
    path: Option<PathBuf>,
    syslog: Option<Syslog>,
    journal: Option<Datagrams>,
    ways: Ways,
    /// Also to standard output (`-v`).
    pub(crate) verbose: bool,
    /// Standard output's last line broke off.
    stdout_is_torn: bool,
    /// Also what is of interest in search of a fault only, on standard output (`-D`).
    pub(crate) debug: bool,
    /// There is a standard error that somebody may read.
    pub(crate) foreground: bool,
    /// `-l`: the names of knockers.
    lookup: Option<Lookup>,
    /// What is written when there is time: no door waits for a line.
    waiting: Vec<(Line, Name)>,
    /// How often what happened.
    pub(crate) counts: Counts,
    /// Who has asked for what happens just now.
    pub(crate) by: Option<Peer>,
}

impl Log {
    pub(crate) fn new(verbose: bool, debug: bool, lookup: bool) -> Self {
        Self {
            format: LogFormat::default(),
            file: None,
            file_is_torn: false,
            path: None,
            syslog: None,
            journal: None,
            ways: Ways::default(),
            verbose,
            stdout_is_torn: false,
            debug,
            foreground: true,
            lookup: lookup.then(Lookup::new),
            waiting: Vec::new(),
            counts: Counts::default(),
            by: None,
        }
    }

    /// Opens what the settings name in place of what was open; where that fails, what was open stays.
    pub(crate) fn reopen(&mut self, settings: &Settings) {
        self.flush();
        let tell = |what, path: &PathBuf| format!("{what} log file: {}", path.display());
        if let Some(path) = &self.path {
            self.print(&tell("closing", path));
        }
        if let Some(path) = &settings.log_file {
            let message = tell("re-opening", path);
            // As with knockd, whose log file is closed at this moment.
            let line = Line::new(None, &message, Kind::Recorded, Facts::of(Topic::Notice));
            let reached_journal = self.log_to_system(&line, &self.text(&line, &message), false);
            if !(reached_journal && self.ways.stdout != Way::Elsewhere) {
                self.print(&message);
            }
        }
        self.open(settings);
    }

    /// Opens what the settings name.
    pub(crate) fn open(&mut self, settings: &Settings) {
        self.format = settings.log_format;
        self.ways = Ways::look(settings.journal_fields);
        self.syslog = settings.use_syslog.then(Syslog::new);
        self.journal = self.ways.reach_journal().then(|| Datagrams::to(JOURNAL));
        match settings.log_file.as_ref().map(|path| open(path)).transpose() {
            Ok(file) => {
                self.file = file;
                self.path.clone_from(&settings.log_file);
            }
            Err(error) => {
                let path = settings.log_file.as_ref().map(|path| path.display().to_string());
                self.complain(&format!("warning: cannot open logfile {}: {error}", path.unwrap_or_default()));
            }
        }
    }

    /// A line of the log.
    pub(crate) fn say(&mut self, message: &str) {
        self.tell(message, Facts::told(message));
    }

    /// A line of the log that is about this.
    pub(crate) fn tell(&mut self, message: &str, facts: Facts) {
        self.submit(Line::new(None, message, Kind::Both, facts));
    }

    /// A line of the log about a knocker, who may be known by name.
    pub(crate) fn tell_of(&mut self, source: IpAddr, message: &str, facts: Facts) {
        self.submit(Line::new(Some(source), message, Kind::Both, facts));
    }

    /// What knockd has no line for: it is for programs only.
    pub(crate) fn tell_programs(
        &mut self,
        source: Option<IpAddr>,
        message: impl FnOnce() -> String,
        facts: Facts,
    ) {
        match self.format {
            LogFormat::Classic => self.counts.note(&facts),
            LogFormat::Json => self.submit(Line::new(source, &message(), Kind::Both, facts)),
        }
    }

    /// A line of the log that does not go to standard output.
    pub(crate) fn record(&mut self, message: &str) {
        self.record_as(message, Facts::told(message));
    }

    /// The same, about this.
    pub(crate) fn record_as(&mut self, message: &str, facts: Facts) {
        self.submit(Line::new(None, message, Kind::Recorded, facts));
    }

    /// A line on standard output only.
    pub(crate) fn print(&mut self, message: &str) {
        if self.verbose && self.format == LogFormat::Classic {
            let line = Line::new(None, message, Kind::Printed, Facts::of(Topic::Notice));
            self.waiting.push((line, None));
        }
    }

    /// A line of the log that somebody should see: it goes to standard error too.
    pub(crate) fn complain(&mut self, message: &str) {
        self.complain_of(message, Facts::told(message));
    }

    /// The same, about this.
    pub(crate) fn complain_of(&mut self, message: &str, facts: Facts) {
        if self.foreground && !self.is_seen_anyway() {
            tell(message);
        }
        self.submit(Line::new(None, message, Kind::Complaint, facts));
    }

    /// Whether whoever reads standard error finds there, or where that leads, what is recorded.
    fn is_seen_anyway(&self) -> bool {
        match self.ways.stderr {
            Way::Elsewhere => self.format == LogFormat::Json && self.verbose,
            Way::Journal => true,
            Way::PlainToJournal => self.syslog.is_some() && self.ways.syslog != Way::Elsewhere,
        }
    }

    /// What `-D` asks for.
    pub(crate) fn debug(&mut self, message: impl FnOnce() -> String) {
        if self.debug {
            let line = Line::new(None, &message(), Kind::Printed, Facts::of(Topic::Debug));
            self.waiting.push((line, None));
        }
    }

    /// Has a line written, or lets it wait behind those that wait for a name.
    fn submit(&mut self, mut line: Line) {
        self.counts.note(&line.facts);
        line.facts.by_uid = self.by.map(|peer| peer.user);
        line.facts.by_pid = self.by.and_then(|peer| peer.process);
        match &mut self.lookup {
            None => self.waiting.push((line, None)),
            Some(lookup) => {
                lookup.hold(line);
                self.release();
            }
        }
    }

    /// Has the lines written whose knocker's name is known by now, up to the first whose is not.
    pub(crate) fn release(&mut self) {
        self.waiting.extend(std::iter::from_fn(|| self.lookup.as_mut().and_then(Lookup::next_known)));
    }

    /// Has the lines written that wait for a name, with the names that are known.
    pub(crate) fn release_all(&mut self) {
        self.waiting.extend(std::iter::from_fn(|| self.lookup.as_mut().and_then(Lookup::next_anyway)));
    }

    /// Writes what is to be written.
    pub(crate) fn flush(&mut self) {
        for (line, name) in std::mem::take(&mut self.waiting) {
            self.write_line(line, name);
        }
    }

    /// What looks up names, where that was asked for.
    pub(crate) fn lookup(&self) -> Option<&Lookup> {
        self.lookup.as_ref()
    }

    fn write_line(&mut self, mut line: Line, name: Name) {
        let message = match (line.source, &name) {
            (None, _) => line.message.clone(),
            (Some(source), None) => format!("{source}: {}", line.message),
            (Some(source), Some(name)) => format!("{source} ({name}): {}", line.message),
        };
        line.facts.name = name;
        let text = self.text(&line, &message);
        // There knockd has lines of two kinds, those for people and those for a file, which say the same twice.
        let all = self.format == LogFormat::Json;
        let to_stdout = match line.kind {
            Kind::Printed => true,
            Kind::Both => self.verbose,
            Kind::Recorded | Kind::Complaint => self.verbose && all,
        };
        if line.kind != Kind::Printed {
            self.write(&line.time, &text);
        }
        let reached_journal = self.log_to_system(&line, &text, to_stdout);
        if to_stdout && !(reached_journal && self.ways.stdout != Way::Elsewhere) {
            self.print_line(&text);
        }
    }

    /// The line in its form.
    fn text(&self, line: &Line, message: &str) -> String {
        match self.format {
            LogFormat::Classic => printable(message),
            LogFormat::Json => form::json(&line.time, &line.facts, message),
        }
    }

    fn write(&mut self, time: &ZonedDateTime, text: &str) {
        let Some(file) = &mut self.file else { return };
        let begin = if self.file_is_torn { "\n" } else { "" };
        let line = match self.format {
            LogFormat::Classic => format!("{begin}[{}] {text}\n", time.strftime("%Y-%m-%d %H:%M")),
            LogFormat::Json => format!("{begin}{text}\n"),
        };
        // A full disk must not end the daemon, and there is no better place to tell of it.
        self.file_is_torn = file.write_all(line.as_bytes()).is_err();
    }

    /// Sends a line to the system's log where it is to go there, and to its journal, also for a standard output or a
    /// standard error that leads there; whether the journal has it.
    fn log_to_system(&mut self, line: &Line, text: &str, to_stdout: bool) -> bool {
        let Ways { syslog, stdout, stderr } = self.ways;
        let to_stderr = self.foreground && line.kind == Kind::Complaint;
        let to_syslog = self.syslog.is_some() && line.kind != Kind::Printed;
        let plain = to_syslog && syslog != Way::Journal;
        if let Some(daemon) = self.syslog.as_mut().filter(|_| plain) {
            // In its own form, as knockd has it: filters may go by that.
            let level = if self.format == LogFormat::Classic { Level::Notice } else { line.facts.level };
            daemon.send(&line.time, level, text);
        }
        let wanted = [(to_syslog, syslog), (to_stdout, stdout), (to_stderr, stderr)];
        let has_it = plain && syslog == Way::PlainToJournal;
        let to_journal = !has_it && wanted.contains(&(true, Way::Journal));
        if let Some(journal) = self.journal.as_mut().filter(|_| to_journal) {
            journal.send(&form::journal(&line.facts, text));
        }
        has_it || to_journal
    }

    fn print_line(&mut self, text: &str) {
        let begin = if self.stdout_is_torn { "\n" } else { "" };
        let written = write_unless_stuck(&rustix::stdio::stdout(), &format!("{begin}{text}\n"));
        self.stdout_is_torn = match written {
            Written::All => false,
            Written::Part => true,
            Written::Nothing => self.stdout_is_torn,
        };
    }
}

/// A line before it is written.
pub(crate) struct Line {
    time: ZonedDateTime,
    /// The knocker whom it begins with.
    pub(crate) source: Option<IpAddr>,
    message: String,
    kind: Kind,
    facts: Facts,
}

/// Where a line goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To standard output.
    Printed,
    /// To the log.
    Recorded,
    /// To the log and to standard error.
    Complaint,
    /// To the log, and with `-v` to standard output.
    Both,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.release_all();
        self.flush();
    }
}

impl Line {
    /// A line of this moment.
    pub(crate) fn new(source: Option<IpAddr>, message: &str, kind: Kind, facts: Facts) -> Self {
        Self { time: ZonedDateTime::now(), source, message: message.to_owned(), kind, facts }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe or a terminal must not hold the daemon up.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().append(true).create(true).custom_flags(flags.bits() as i32).open(path)
}

/// Says something on standard error.
pub(crate) fn tell(message: &str) {
    write_unless_stuck(&rustix::stdio::stderr(), &format!("knockd: {}\n", printable(message)));
}

/// How much of a line was written.
enum Written {
    All,
    Part,
    Nothing,
}

/// Writes a line unless whoever should read does not: a terminal that was stopped or a reader that hangs must not hold the
/// daemon up. What is not read by anybody is lost.
fn write_unless_stuck(output: &impl AsFd, line: &str) -> Written {
    /// So much a pipe takes at once when it takes something (pipe(7)).
    const AT_ONCE: usize = 4096;
    let mut rest = line.as_bytes();
    while !rest.is_empty() && takes_something(output) {
        let piece = rest.get(..AT_ONCE).unwrap_or(rest);
        let Ok(count @ 1..) = rustix::io::write(output, piece) else { break };
        rest = rest.get(count..).unwrap_or_default();
    }
    match rest.len() {
        0 => Written::All,
        left if left == line.len() => Written::Nothing,
        _ => Written::Part,
    }
}

fn takes_something(output: &impl AsFd) -> bool {
    let mut ready = [PollFd::new(output, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ready, Some(&now)).is_ok_and(|ready| ready > 0)
}
