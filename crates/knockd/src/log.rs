//! The log: a file, the system's log, standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::ZonedDateTime;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::configuration::Settings;
use crate::lookup::{Lookup, Name};
use crate::syslog::Syslog;

/// The log's lines go to wherever the configuration and the command line say.
pub(crate) struct Log {
    file: Option<File>,
    path: Option<PathBuf>,
    syslog: Option<Syslog>,
    /// Also to standard output (`-v`).
    pub(crate) verbose: bool,
    /// Also what is of interest in search of a fault only, on standard output (`-D`).
    pub(crate) debug: bool,
    /// There is a standard error that somebody may read.
    pub(crate) foreground: bool,
    /// `-l`: the names of knockers.
    lookup: Option<Lookup>,
    /// What is written when there is time: no door waits for a line.
    waiting: Vec<(Line, Name)>,
}

impl Log {
    pub(crate) fn new(verbose: bool, debug: bool, lookup: bool) -> Self {
        let lookup = lookup.then(Lookup::new);
        let (file, path, syslog, waiting) = (None, None, None, Vec::new());
        Self { file, path, syslog, verbose, debug, foreground: true, lookup, waiting }
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
            self.print(&message);
            // As with knockd, whose log file is closed at this moment.
            if let Some(syslog) = &mut self.syslog {
                syslog.send(&ZonedDateTime::now(), &message);
            }
        }
        self.open(settings);
    }

    /// Opens what the settings name.
    pub(crate) fn open(&mut self, settings: &Settings) {
        self.syslog = settings.use_syslog.then(Syslog::new);
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
        self.submit(Line::new(None, message, Kind::Both));
    }

    /// A line of the log about a knocker, who may be known by name.
    pub(crate) fn say_of(&mut self, source: IpAddr, message: &str) {
        self.submit(Line::new(Some(source), message, Kind::Both));
    }

    /// A line of the log that does not go to standard output.
    pub(crate) fn record(&mut self, message: &str) {
        self.submit(Line::new(None, message, Kind::Recorded));
    }

    /// A line on standard output only.
    pub(crate) fn print(&mut self, message: &str) {
        if self.verbose {
            self.waiting.push((Line::new(None, message, Kind::Printed), None));
        }
    }

    /// A line of the log that somebody should see: it goes to standard error too.
    pub(crate) fn complain(&mut self, message: &str) {
        if self.foreground {
            tell(message);
        }
        self.record(message);
    }

    /// What `-D` asks for.
    pub(crate) fn debug(&mut self, message: impl FnOnce() -> String) {
        if self.debug {
            self.waiting.push((Line::new(None, &message(), Kind::Printed), None));
        }
    }

    /// Has a line written, or lets it wait behind those that wait for a name.
    fn submit(&mut self, line: Line) {
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
            self.write_line(&line, name);
        }
    }

    /// What looks up names, where that was asked for.
    pub(crate) fn lookup(&self) -> Option<&Lookup> {
        self.lookup.as_ref()
    }

    fn write_line(&mut self, line: &Line, name: Name) {
        let message = match (line.source, name) {
            (None, _) => line.message.clone(),
            (Some(source), None) => format!("{source}: {}", line.message),
            (Some(source), Some(name)) => format!("{source} ({name}): {}", line.message),
        };
        if line.kind == Kind::Printed || line.kind == Kind::Both && self.verbose {
            print_line(&message);
        }
        if line.kind != Kind::Printed {
            self.write(&line.time, &printable(&message));
        }
    }

    fn write(&mut self, time: &ZonedDateTime, message: &str) {
        if let Some(file) = &mut self.file {
            let line = format!("[{}] {message}\n", time.strftime("%Y-%m-%d %H:%M"));
            // A full disk must not end the daemon, and there is no better place to tell of it.
            let _ = file.write_all(line.as_bytes());
        }
        if let Some(syslog) = &mut self.syslog {
            syslog.send(time, message);
        }
    }
}

/// A line before it is written.
pub(crate) struct Line {
    time: ZonedDateTime,
    /// The knocker that it is about.
    pub(crate) source: Option<IpAddr>,
    message: String,
    kind: Kind,
}

/// Where a line goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To standard output.
    Printed,
    /// To the log.
    Recorded,
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
    pub(crate) fn new(source: Option<IpAddr>, message: &str, kind: Kind) -> Self {
        Self { time: ZonedDateTime::now(), source, message: message.to_owned(), kind }
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

fn print_line(message: &str) {
    write_unless_stuck(&rustix::stdio::stdout(), &format!("{}\n", printable(message)));
}

/// Writes a line, of which so much as a pipe takes at once, unless whoever should read does not: a terminal that was
/// stopped or a reader that hangs must not hold the daemon up. What is not read by anybody is lost.
fn write_unless_stuck(output: &impl AsFd, line: &str) {
    const AT_ONCE: usize = 4096;
    let mut ready = [PollFd::new(output, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut ready, Some(&now)).is_ok_and(|ready| ready > 0) {
        let bytes = line.as_bytes();
        let _ = rustix::io::write(output, bytes.get(..AT_ONCE).unwrap_or(bytes));
    }
}

/// The message on one line, whatever a stranger or a command put into it.
fn printable(message: &str) -> String {
    if !message.contains(char::is_control) {
        return message.to_owned();
    }
    let show =
        |c: char| if c.is_control() && c != '\t' { c.escape_default().to_string() } else { c.to_string() };
    message.chars().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_a_line() {
        assert_eq!(printable("a\tb"), "a\tb");
        assert_eq!(printable("a\nb\u{1b}[2J\r"), "a\\nb\\u{1b}[2J\\r");
    }
}
