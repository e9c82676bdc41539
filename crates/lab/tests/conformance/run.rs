//! One case against one program.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use lab::{Lab, Process, Sender, Signal};

use crate::case::{Case, Ends, Ready, SENTINEL_PORT, SYSLOG, Source, Step, Target};
use crate::directory::Directory;
use crate::outcome::{self, Outcome};
use crate::syslog;

/// The names of the files in a run's directory.
pub(crate) const CONFIG: &str = "knockd.conf";
pub(crate) const LOG: &str = "knockd.log";
pub(crate) const STDOUT: &str = "stdout";
pub(crate) const STDERR: &str = "stderr";
pub(crate) const PID: &str = "knockd.pid";
/// The default pid file, of a case that puts its own directory in `/run/`.
const DEFAULT_PID: &str = "place0/knockd.pid";
/// Where the commands of a case write.
pub(crate) const RAN: &str = "ran";

/// How long anything may take that ought to happen at once, on a machine with a lot to do.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long commands whose start was logged may take to write what they write.
const SETTLE: Duration = Duration::from_secs(2);
/// How often a condition is looked at.
const PACE: Duration = Duration::from_millis(10);
/// The client's further addresses.
const ADDRESSES: &str = "addr add 10.9.2.2/16 dev eth0
addr add 10.9.2.3/16 dev eth0
addr add 10.9.2.4/16 dev eth0
addr add 10.9.2.9/16 dev eth0
addr add fd09::2:2/64 dev eth0 nodad";

/// Runs `case` with `program` and tells what came of it.
pub(crate) fn run(case: &Case, program: &Path) -> io::Result<Outcome> {
    let mut run = Run::start(case, program)?;
    if run.is_ready()? {
        for step in &case.steps {
            if !run.step(step)? {
                break;
            }
        }
    }
    run.settle();
    run.outcome()
}

struct Run<'a> {
    case: &'a Case,
    process: Process,
    lab: Lab,
    // Last: the directory goes after the process.
    directory: Directory,
}

impl<'a> Run<'a> {
    fn start(case: &'a Case, program: &Path) -> io::Result<Self> {
        let lab = Lab::pair()?;
        lab.client().ip(ADDRESSES)?;
        let directory = Directory::new()?;
        for (name, text) in &case.files {
            directory.write(name, filled(text.as_bytes(), directory.path()))?;
        }
        if let Some(config) = &case.config {
            directory.write(CONFIG, filled(config, directory.path()))?;
        }
        if let Some(script) = case.before {
            lab.server().sh(&with_directory(script, directory.path()))?;
        }
        if case.syslog {
            syslog::start(directory.path())?;
        }
        let mut command = command(case, program, &directory)?;
        let process = lab.server().spawn(&mut command)?;
        Ok(Self { case, process, lab, directory })
    }

    /// Whether the steps can begin.
    fn is_ready(&mut self) -> io::Result<bool> {
        match self.case.ready {
            // Whether or not the background lives, the foreground ends.
            Ready::Ended if self.case.arguments.contains(&"-d") => {
                self.process.wait_exit(PATIENCE)?;
            }
            Ready::Ended => {
                self.until("the process ends or listens", |run| run.count("listening on") > 0)?;
            }
            Ready::Listening => {
                self.until("the daemon listens", |run| run.count("listening on") > 0)?;
            }
            Ready::Daemon => {
                self.process.wait_exit(PATIENCE)?;
                let listens = || self.count("starting up") > 0 && self.daemon().is_some();
                lab::wait_until("the daemon listens in the background", PATIENCE, listens)
                    .map_err(|error| self.explained(&error))?;
            }
        }
        self.is_alive()
    }

    /// Does a step; false when the daemon has ended before it was done.
    fn step(&mut self, step: &Step) -> io::Result<bool> {
        match step {
            Step::Knock { from, to, ports } => self.knock(*from, *to, ports)?,
            Step::Frames(frames) => {
                let sender = self.sender()?;
                frames(&Ends(&self.lab)).iter().try_for_each(|frame| sender.send(frame))?;
            }
            Step::Bytes(bytes) => {
                let sender = self.sender()?;
                let (from, to) = sender.hardware_addresses();
                bytes(&Ends(&self.lab), from, to).iter().try_for_each(|frame| sender.send_bytes(frame))?;
            }
            Step::Line { part, times } => {
                let what = format!("{times} log lines with {part:?}");
                return self.until(&what, |run| run.count(part) >= *times);
            }
            Step::Ran { part, times } => {
                let what = format!("{times} times {part:?} from commands");
                return self
                    .until(&what, |run| run.directory.read(RAN).matches(part.as_str()).count() >= *times);
            }
            Step::File { name, part } => {
                let what = format!("{part:?} in {name}");
                return self.until(&what, |run| run.directory.read(name).contains(part.as_str()));
            }
            Step::Pause(time) => thread::sleep(*time),
            Step::Signal(signal) => self.signal(*signal)?,
            Step::Config(text) => {
                self.directory.write(CONFIG, filled(text, self.directory.path()))?;
            }
            Step::Shell(script) => {
                self.lab.server().sh(&with_directory(script, self.directory.path()))?;
            }
            Step::Sentinel => {
                let before = self.count("sentinel: OPEN SESAME");
                self.knock(Source::SENTINEL, Target::V4, SENTINEL_PORT)?;
                return self.until("the sentinel's door", |run| run.count("sentinel: OPEN SESAME") > before);
            }
            Step::Exit => {
                self.process.wait_exit(PATIENCE).map_err(|error| self.explained(&error))?;
            }
        }
        Ok(true)
    }
    fn sender(&self) -> io::Result<Sender> {
        Sender::open(self.lab.client(), "eth0", self.lab.server(), "eth0")
    }

    fn knock(&self, from: Source, to: Target, ports: &str) -> io::Result<()> {
        let to = to.address(self.lab.server());
        let from = from.address(self.lab.client(), to);
        self.lab.client().knock_from(Some(from), to, ports, Duration::ZERO)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match (self.case.ready, self.daemon()) {
            (Ready::Daemon, Some(daemon)) => Ok(rustix::process::kill_process(daemon, signal)?),
            _ => self.process.signal(signal),
        }
    }

    /// Waits until `condition` holds; false when the daemon has ended without.
    fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) -> io::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Before the condition: the last words of a daemon that ends count.
            let alive = self.is_alive()?;
            if condition(self) {
                return Ok(true);
            }
            if !alive {
                return Ok(false);
            }
            if Instant::now() >= deadline {
                let error =
                    io::Error::new(io::ErrorKind::TimedOut, format!("not within {PATIENCE:?}: {what}"));
                return Err(self.explained(&error));
            }
            thread::sleep(PACE);
        }
    }

    fn is_alive(&mut self) -> io::Result<bool> {
        Ok(match self.case.ready {
            Ready::Daemon => self.daemon().is_some(),
            _ => self.process.exited()?.is_none(),
        })
    }

    /// The daemon in the background, while it runs.
    fn daemon(&self) -> Option<rustix::process::Pid> {
        let files = [PID, DEFAULT_PID].map(|name| self.directory.read(name));
        let id = files.iter().find_map(|text| text.trim().parse().ok())?;
        let pid = rustix::process::Pid::from_raw(id)?;
        rustix::process::test_kill_process(pid).is_ok().then_some(pid)
    }

    /// How many lines there are with `part`: in the log, the system log or on standard output, the first that is there.
    fn count(&self, part: &str) -> usize {
        let texts = [LOG, SYSLOG, STDOUT].map(|name| self.directory.read(name));
        let Some(text) = texts.iter().find(|text| !text.is_empty()) else { return 0 };
        text.lines().filter(|line| line.contains(part)).count()
    }

    /// Waits until each command whose start was logged has written its line, and until the system's log is written.
    fn settle(&self) {
        let done = || {
            let started = self.directory.read(LOG).lines().filter(|line| writes(line)).count();
            self.directory.read(RAN).lines().count() >= started
        };
        // A command may fail to write: that is then part of the outcome.
        let _ = lab::wait_until("commands write", SETTLE, done);
        let lines = |name| self.directory.read(name).lines().count();
        // Likewise what goes to the system's log, which has each line of the file, and maybe later.
        if self.case.logs_to_syslog() {
            let _ = lab::wait_until("the system's log", SETTLE, || lines(SYSLOG) >= lines(LOG));
        }
    }

    fn outcome(mut self) -> io::Result<Outcome> {
        let status = self.process.exited()?;
        let daemon = self.daemon();
        let outcome = outcome::of(self.case, &self.directory, status, daemon.is_some());
        if let Some(daemon) = daemon {
            let _ = rustix::process::kill_process(daemon, Signal::TERM);
            lab::wait_until("the daemon in the background ends", PATIENCE, || self.daemon().is_none())
                .map_err(|error| self.explained(&error))?;
        }
        self.process.signal(Signal::TERM).or_else(ignore_ended)?;
        Ok(outcome)
    }

    fn explained(&self, error: &io::Error) -> io::Error {
        let files =
            [LOG, STDOUT, STDERR, RAN].map(|name| format!("--- {name}\n{}", self.directory.read(name)));
        io::Error::new(error.kind(), format!("{error}\n{}", files.concat()))
    }
}

fn ignore_ended(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) { Ok(()) } else { Err(error) }
}

/// Whether a line tells that a command starts which writes a line to the common file.
fn writes(line: &str) -> bool {
    line.contains("running command") && line.contains("/ran")
}

fn command(case: &Case, program: &Path, directory: &Directory) -> io::Result<Command> {
    let path = directory.path();
    let mut command = match places(case, directory)? {
        Some(script) => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-ec", &script, "knockd"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.current_dir(path).stdin(Stdio::null());
    command.stdout(File::create(path.join(STDOUT))?).stderr(File::create(path.join(STDERR))?);
    command.args(case.arguments.iter().map(|argument| with_directory(argument, path)));
    Ok(command)
}

/// A script that puts the case's own files where the daemon looks for the machine's, for the daemon alone, and then
/// becomes the daemon.
fn places(case: &Case, directory: &Directory) -> io::Result<Option<String>> {
    let mut script = String::new();
    for (number, (place, text)) in case.in_place.iter().enumerate() {
        let name = format!("place{number}");
        if place.ends_with('/') {
            fs::create_dir(directory.path().join(&name))?;
        } else {
            directory.write(&name, filled(text.as_bytes(), directory.path()))?;
        }
        script += &format!("mount --bind {}/{name} {place}\n", directory.path().display());
    }
    if case.syslog {
        script += &syslog::script(directory.path());
    }
    Ok((!script.is_empty()).then(|| script + "exec \"$@\""))
}

fn with_directory(text: &str, directory: &Path) -> String {
    text.replace("{dir}", &directory.to_string_lossy())
}

fn filled(text: &[u8], directory: &Path) -> Vec<u8> {
    let text = with_directory(&String::from_utf8_lossy(text), directory).replace("{latin1}", "\u{1}");
    text.bytes().map(|byte| if byte == 1 { 0xe9 } else { byte }).collect()
}
