//! The log: a file, the system's log, standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::ZonedDateTime;

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

    /// Opens what the settings name, anew where it is open already.
    pub(crate) fn open(&mut self, settings: &Settings) {
        self.path.clone_from(&settings.log_file);
        self.file = None;
        if let Some(path) = &self.path {
            match OpenOptions::new().append(true).create(true).open(path) {
                Ok(file) => self.file = Some(file),
                Err(error) => {
                    let path = path.display().to_string();
                    self.complain(&format!("warning: cannot open logfile {path}: {error}"));
                }
            }
        }
        self.syslog = settings.use_syslog.then(Syslog::new);
    }

    /// A line of the log.
    pub(crate) fn say(&mut self, message: &str) {
        self.print(message);
        self.record(message);
    }

    /// A line of the log about a knocker, who may be known by name.
    pub(crate) fn say_of(&mut self, source: IpAddr, message: &str) {
        let line = Line { time: ZonedDateTime::now(), source, message: message.to_owned() };
        match &mut self.lookup {
            None => self.write_line(&line, None),
            Some(lookup) => {
                lookup.hold(line);
                self.release();
            }
        }
    }

    /// A line on standard output only.
    pub(crate) fn print(&self, message: &str) {
        if self.verbose {
            print_line(message);
        }
    }

    /// A line of the log only.
    pub(crate) fn record(&mut self, message: &str) {
        self.release_all();
        self.write(&ZonedDateTime::now(), &printable(message));
    }

    /// A line of the log that somebody should see: it goes to standard error too.
    pub(crate) fn complain(&mut self, message: &str) {
        if self.foreground {
            eprintln!("knockd: {}", printable(message));
        }
        self.record(message);
    }

    /// What `-D` asks for.
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            print_line(&message());
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
        let named = match name {
            None => format!("{}: {}", line.source, line.message),
            Some(name) => format!("{} ({name}): {}", line.source, line.message),
        };
        self.print(&named);
        self.write(&line.time, &printable(&named));
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

/// A line about a knocker, before it is written.
pub(crate) struct Line {
    pub(crate) time: ZonedDateTime,
    pub(crate) source: IpAddr,
    message: String,
}

fn print_line(message: &str) {
    // Whoever closed standard output does not want to read it.
    let _ = writeln!(io::stdout().lock(), "{}", printable(message));
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
