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
}

impl Log {
    pub(crate) fn new(verbose: bool, debug: bool, lookup: bool) -> Self {
        let lookup = lookup.then(Lookup::new);
        Self { file: None, path: None, syslog: None, verbose, debug, foreground: true, lookup }
    }

    /// Opens what the settings name in place of what was open; where that fails, what was open stays.
    pub(crate) fn reopen(&mut self, settings: &Settings) {
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
        self.submit(Line::new(None, message, true));
    }

    /// A line of the log about a knocker, who may be known by name.
    pub(crate) fn say_of(&mut self, source: IpAddr, message: &str) {
        self.submit(Line::new(Some(source), message, true));
    }

    /// A line of the log that does not go to standard output.
    pub(crate) fn record(&mut self, message: &str) {
        self.submit(Line::new(None, message, false));
    }

    /// A line on standard output only.
    pub(crate) fn print(&self, message: &str) {
        if self.verbose {
            print_line(message);
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
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            print_line(&message());
        }
    }

    /// Writes a line, or lets it wait behind those that wait for a name.
    fn submit(&mut self, line: Line) {
        match &mut self.lookup {
            None => self.write_line(&line, None),
            Some(lookup) => {
                lookup.hold(line);
                self.release();
            }
        }
    }

    /// Writes the lines whose knocker's name is known by now, up to the first whose is not.
    pub(crate) fn release(&mut self) {
        while let Some((line, name)) = self.lookup.as_mut().and_then(Lookup::next_known) {
            self.write_line(&line, name);
        }
    }

    /// Writes the lines that wait for a name, with the names that are known.
    pub(crate) fn release_all(&mut self) {
        while let Some((line, name)) = self.lookup.as_mut().and_then(Lookup::next_anyway) {
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
        if line.printed {
            self.print(&message);
        }
        self.write(&line.time, &printable(&message));
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
    /// It goes to standard output too, with `-v`.
    printed: bool,
}

impl Line {
    /// A line of this moment.
    pub(crate) fn new(source: Option<IpAddr>, message: &str, printed: bool) -> Self {
        Self { time: ZonedDateTime::now(), source, message: message.to_owned(), printed }
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
