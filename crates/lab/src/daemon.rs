//! A knocking daemon under test: ours, or the one that it replaces.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::host::Host;
use crate::lines::{Line, Lines, Stream};
use crate::process::Process;
use crate::temp::TempDir;
use crate::wait::{timed_out, wait_until};

/// What both daemons say with `-v` once they capture.
const READY: &str = "listening on";
/// How long they may take to say it.
const START: Duration = Duration::from_secs(10);
/// How long a daemon may take to end in peace when it is dropped.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long what an ended daemon has written may take to be read; a command that it left behind can hold its output
/// open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The names of its files in its directory.
const CONFIG: &str = "knockd.conf";
const LOG: &str = "knockd.log";
const SOCKET: &str = "knockd.sock";

/// How a daemon is to be started. Made by [`Daemon::of`].
#[derive(Clone, Debug)]
pub struct DaemonBuilder {
    program: PathBuf,
    config: String,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    readable_by_all: bool,
    files: Vec<(String, Vec<u8>, u32)>,
}

impl DaemonBuilder {
    /// The text of its configuration file. `{dir}` in it stands for the daemon's own temporary directory, where
    /// [`Daemon::log`] looks for `{dir}/knockd.log`.
    #[must_use]
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = text.into();
        self
    }

    /// One more argument, after `-v -c FILE`. `{dir}` as in the configuration.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Everybody may look into its directory: for one that is not root.
    #[must_use]
    pub fn readable_by_all(mut self) -> Self {
        self.readable_by_all = true;
        self
    }

    /// A file in its directory, with this content and mode.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.push((name.to_owned(), content.into(), mode));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it on `host` and waits until it listens.
    ///
    /// # Errors
    /// When it does not start, ends, or does not listen in ten seconds: all that it wrote.
    pub fn start(self, host: &Host) -> io::Result<Daemon> {
        let mut daemon = self.spawn(host)?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Starts it on `host` and waits for nothing: for one that is to fail.
    ///
    /// # Errors
    /// What spawning says.
    pub fn spawn(self, host: &Host) -> io::Result<Daemon> {
        let directory = TempDir::new()?;
        directory.write(CONFIG, fill_in(&self.config, directory.path()))?;
        for (name, content, mode) in &self.files {
            directory.write(name, content)?;
            fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(*mode))?;
        }
        if self.readable_by_all {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        }
        let (process, lines) = self.spawn_in(host, &directory)?;
        Ok(Daemon { builder: self, process, lines, directory })
    }

    fn spawn_in(&self, host: &Host, directory: &TempDir) -> io::Result<(Process, Lines)> {
        let mut command = self.command(directory);
        command.arg("-v").arg("-c").arg(directory.path().join(CONFIG));
        command.args(self.arguments.iter().map(|argument| fill_in_argument(argument, directory.path())));
        let mut process = host.spawn(&mut command)?;
        let lines = Lines::default();
        if let Some(stdout) = process.child().stdout.take() {
            lines.collect(Stream::Out, stdout);
        }
        if let Some(stderr) = process.child().stderr.take() {
            lines.collect(Stream::Err, stderr);
        }
        Ok((process, lines))
    }

    fn command(&self, directory: &TempDir) -> Command {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // As a service manager would: what one daemon leaves behind must not be another's.
        command.env("STATE_DIRECTORY", directory.path().join("state"));
        command.env("RUNTIME_DIRECTORY", directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("LAB_DIR", directory.path());
        command
    }
}

/// A running daemon, with its own directory and all that it wrote. Ended on drop, its directory removed.
#[derive(Debug)]
pub struct Daemon {
    builder: DaemonBuilder,
    process: Process,
    lines: Lines,
    // Last: the directory goes after the process.
    directory: TempDir,
}

impl Daemon {
    /// Says which program to start: [`binary("knockd")`](crate::binary), or Debian's `/usr/sbin/knockd`.
    pub fn of(program: impl Into<PathBuf>) -> DaemonBuilder {
        DaemonBuilder {
            program: program.into(),
            config: String::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            readable_by_all: false,
            files: Vec::new(),
        }
    }

    /// Starts it again in its directory, after it has ended; its lines begin anew.
    ///
    /// # Errors
    /// As [`DaemonBuilder::start`].
    pub fn start_again(&mut self, host: &Host) -> io::Result<()> {
        (self.process, self.lines) = self.builder.spawn_in(host, &self.directory)?;
        self.wait_ready()
    }

    /// Kills it (`SIGKILL`) and waits until it is dead.
    ///
    /// # Errors
    /// `ESRCH` when it has ended.
    pub fn kill(&mut self) -> io::Result<()> {
        self.signal(Signal::KILL)?;
        self.wait_exit(START)?;
        Ok(())
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its directory: its configuration, and what the configuration put there.
    #[must_use]
    pub fn directory(&self) -> &TempDir {
        &self.directory
    }

    /// The text of a file in its directory, empty while there is none.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.directory.read(name)
    }

    /// What stands in its log file, if its configuration says `logfile = {dir}/knockd.log`.
    #[must_use]
    pub fn log(&self) -> String {
        self.file(LOG)
    }

    /// Asks ours something by its control socket, in its own words; its answer, a line.
    ///
    /// # Errors
    /// Where it does not listen there, with all that it wrote, and where it does not answer in time.
    pub fn ask(&self, request: &str, within: Duration) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.directory.path().join(SOCKET)).map_err(|error| {
            io::Error::new(error.kind(), format!("no control socket: {error}\n{}", self.text()))
        })?;
        stream.set_read_timeout(Some(within))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    }

    /// Replaces its configuration file; it reads it when told to.
    ///
    /// # Errors
    /// What writing says.
    pub fn write_config(&self, text: &str) -> io::Result<()> {
        self.directory.write(CONFIG, fill_in(text, self.directory.path()))?;
        Ok(())
    }

    /// All lines that it wrote to stdout and stderr so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines.all()
    }

    /// The same as one text.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines().into_iter().fold(String::new(), |text, line| text + &line.text + "\n")
    }

    /// How many lines it wrote so far: a place to search from later.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.lines.count()
    }

    /// Waits for a line that contains `part`, written at any time.
    ///
    /// # Errors
    /// `TimedOut`, with all that it wrote instead.
    pub fn wait_for_line(&self, part: &str, within: Duration) -> io::Result<Line> {
        self.wait_for_line_after(0, part, within)
    }

    /// Waits for a line that contains `part`, among those after a [`mark`](Self::mark).
    ///
    /// # Errors
    /// `TimedOut`, with all that it wrote instead.
    pub fn wait_for_line_after(&self, mark: usize, part: &str, within: Duration) -> io::Result<Line> {
        let find = |lines: &[Line]| lines.iter().skip(mark).find(|line| line.text.contains(part)).cloned();
        self.lines.wait(within, find).ok_or_else(|| self.missed(part, within))
    }

    /// Waits until at least `count` lines contain `part`.
    ///
    /// # Errors
    /// `TimedOut`, with all that it wrote instead.
    pub fn wait_for_lines(&self, count: usize, part: &str, within: Duration) -> io::Result<()> {
        let enough = |lines: &[Line]| {
            let found = lines.iter().filter(|line| line.text.contains(part)).count();
            (found >= count).then_some(())
        };
        self.lines.wait(within, enough).ok_or_else(|| self.missed(&format!("{count} times {part}"), within))
    }

    /// Waits until its log file contains `part`.
    ///
    /// # Errors
    /// `TimedOut`, with what stands there instead.
    pub fn wait_for_log(&self, part: &str, within: Duration) -> io::Result<()> {
        self.wait_for_file(LOG, part, within)
    }

    /// Waits until a file in its directory contains `part`, which may be nothing: then until it is there.
    ///
    /// # Errors
    /// `TimedOut`, with what stands there instead.
    pub fn wait_for_file(&self, name: &str, part: &str, within: Duration) -> io::Result<()> {
        let path = self.directory.path().join(name);
        let what = format!("{part:?} in {name}");
        wait_until(&what, within, || path.exists() && self.file(name).contains(part)).map_err(|error| {
            timed_out(&format!("{error}; there is:\n{}\nthe daemon wrote:\n{}", self.file(name), self.text()))
        })
    }

    /// Tells it to read its configuration again, and waits until the new one is in force: when it begins to read it once
    /// more, it has done with the first time.
    ///
    /// # Errors
    /// `TimedOut` where it does not say `within` this time that it reads.
    pub fn reload(&self, within: Duration) -> io::Result<()> {
        for _ in 0..2 {
            let mark = self.mark();
            self.signal(Signal::HUP)?;
            self.wait_for_line_after(mark, "re-reading config file", within)?;
        }
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `ESRCH` when it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.signal(signal)
    }

    /// How it ended, or `None` while it runs. Once it has ended, its [`lines`](Self::lines) are complete.
    ///
    /// # Errors
    /// What waiting says.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.process.exited()?;
        if status.is_some() {
            self.lines.finish(LAST_WORDS);
        }
        Ok(status)
    }

    /// Waits until it has ended. Then its [`lines`](Self::lines) are complete.
    ///
    /// # Errors
    /// `TimedOut` when it still runs after this time, with all that it wrote.
    pub fn wait_exit(&mut self, within: Duration) -> io::Result<ExitStatus> {
        let waited = self.process.wait_exit(within);
        let status =
            waited.map_err(|error| io::Error::new(error.kind(), format!("{error}:\n{}", self.text())))?;
        self.lines.finish(LAST_WORDS);
        Ok(status)
    }

    fn wait_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        let is_ready = |lines: &[Line]| lines.iter().any(|line| line.text.contains(READY)).then_some(());
        // In steps, so that one that ends at once is noticed at once.
        while self.lines.wait(Duration::from_millis(20), is_ready).is_none() {
            if let Some(status) = self.exited()? {
                return Err(io::Error::other(format!("the daemon ended with {status}:\n{}", self.text())));
            }
            if Instant::now() >= deadline {
                return Err(self.missed(READY, START));
            }
        }
        Ok(())
    }

    fn missed(&self, part: &str, within: Duration) -> io::Error {
        let mut message = format!("no line with {part:?} within {within:?}, only:");
        for line in self.lines() {
            let _ = write!(message, "\n  {}", line.text);
        }
        timed_out(&message)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // In peace first, so that it may take away what it put up; dropping the process then makes sure.
        if let Ok(None) = self.process.exited() {
            let _ = self.process.signal(Signal::TERM);
            let _ = self.process.signal(Signal::CONT);
            let _ = self.process.wait_exit(FAREWELL);
        }
    }
}

fn fill_in(text: &str, directory: &Path) -> String {
    text.replace("{dir}", &directory.to_string_lossy())
}

fn fill_in_argument(argument: &OsStr, directory: &Path) -> OsString {
    argument.to_str().map_or_else(|| argument.to_owned(), |text| fill_in(text, directory).into())
}
