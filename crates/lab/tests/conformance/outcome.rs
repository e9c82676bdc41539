//! What came of a run, in a form that two daemons can be compared by.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::case::{Case, SENTINEL, SYSLOG};
use crate::directory::Directory;
use crate::run::{LOG, RAN, STDERR, STDOUT};
use crate::syslog;

/// All that is compared. Paths in the run's directory are written with `{dir}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// `running`, `exit N` or `signal N`, of the process that was started.
    status: String,
    /// What the commands wrote, line by line.
    executed: Vec<String>,
    /// What the log says of packets, signals and the daemon itself.
    log: Vec<String>,
    /// What it says of commands, which knockd writes from other processes.
    commands: Vec<String>,
    /// Where an ended process has said something. A failure's words belong on standard error, and what else is there
    /// does not matter.
    said: Vec<&'static str>,
    /// The lines on standard output, where the case shows them.
    stdout: Vec<String>,
    /// The files that the case shows.
    files: Vec<(&'static str, String)>,
}

/// Reads the outcome from a run's directory.
pub(crate) fn of(case: &Case, directory: &Directory, status: Option<ExitStatus>, daemon: bool) -> Outcome {
    let read =
        |name: &str| directory.read(name).replace(directory.path().to_string_lossy().as_ref(), "{dir}");
    let (mut commands, log): (Vec<_>, Vec<_>) =
        read(LOG).lines().filter_map(log_line).partition(|line| is_of_command(line));
    let mut executed: Vec<_> = read(RAN).lines().map(str::to_owned).collect();
    if case.view.unordered {
        commands.sort();
        executed.sort();
    }
    let stdout = read(STDOUT);
    let said = match status.and_then(|status| status.code()) {
        None => Vec::new(),
        Some(0) => vec![(STDOUT, !stdout.is_empty()), (STDERR, !read(STDERR).is_empty())],
        Some(_) => vec![(STDERR, !read(STDERR).is_empty())],
    };
    let said = said.into_iter().filter_map(|(name, something)| something.then_some(name)).collect();
    Outcome {
        status: status_text(status, daemon),
        executed,
        log,
        commands,
        said,
        stdout: if case.view.stdout {
            stdout.lines().filter(|line| !is_extra(line)).map(str::to_owned).collect()
        } else {
            Vec::new()
        },
        files: case.view.files.iter().map(|name| (*name, file(name, &read(name)))).collect(),
    }
}

fn file(name: &str, text: &str) -> String {
    if name == SYSLOG {
        text.lines().filter(|line| !is_extra(line)).map(|line| syslog::comparable(line) + "\n").collect()
    } else {
        text.to_owned()
    }
}

fn status_text(status: Option<ExitStatus>, daemon: bool) -> String {
    let process = match status.map(|status| (status.code(), status.signal())) {
        None => "running".to_owned(),
        Some((Some(code), _)) => format!("exit {code}"),
        Some((None, signal)) => format!("signal {}", signal.unwrap_or_default()),
    };
    if daemon && status.is_some() { format!("{process}, running in the background") } else { process }
}

/// A line of the log without its time, or `None` for one that is not compared.
fn log_line(line: &str) -> Option<String> {
    let text = if line.is_empty() {
        String::new()
    } else {
        without_time(line).unwrap_or_else(|| format!("(without a time) {line}"))
    };
    (!is_extra(&text)).then_some(text)
}

/// The only lines that are left out: empty ones, which knockd writes before and after others, the sentinel's, and those that ours writes beyond what knockd has to say, which
/// are its warnings and what it tells about interfaces that come, go and change.
fn is_extra(line: &str) -> bool {
    let of_interface = |part| line.split_once(": ").is_some_and(|(_, text)| text.starts_with(part));
    line.is_empty()
        || line.contains(&format!("{SENTINEL}: "))
        || line.contains("warning:")
        || of_interface("the interface is ")
        || of_interface("the address ")
}

/// Takes `[YYYY-MM-DD HH:MM] ` off.
fn without_time(line: &str) -> Option<String> {
    const SHAPE: &str = "[0000-00-00 00:00] ";
    let fits =
        |(found, shape): (char, char)| if shape == '0' { found.is_ascii_digit() } else { found == shape };
    let (time, text) = line.split_at_checked(SHAPE.len())?;
    time.chars().zip(SHAPE.chars()).all(fits).then(|| text.to_owned())
}

fn is_of_command(line: &str) -> bool {
    [": running command: ", ": command ", ": output: "].iter().any(|part| line.contains(part))
}

impl Outcome {
    /// The end, and what the commands wrote: `running + open 10.9.1.1`.
    pub(crate) fn summary(&self) -> String {
        std::iter::once(&self.status)
            .chain(&self.executed)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" + ")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", self.status)?;
        for (title, lines) in [
            ("executed", &self.executed),
            ("log", &self.log),
            ("commands", &self.commands),
            ("stdout", &self.stdout),
        ] {
            for line in lines {
                writeln!(f, "  {title}: {line:.200}")?;
            }
        }
        for name in &self.said {
            writeln!(f, "  said something on {name}")?;
        }
        self.files.iter().try_for_each(|(name, text)| writeln!(f, "  {name}: {text:?}"))
    }
}
