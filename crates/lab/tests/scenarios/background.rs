//! `-d`: the daemon in the background.

use std::io;
use std::path::Path;
use std::process::{Command, Output};

use lab::{Host, Lab, Signal, TempDir, wait_until};
use rustix::process::{Pid, kill_process};

use crate::support::SOON;

const CONFIG: &str = "[options]
logfile = knockd.log
pidfile = knockd.pid
[door]
sequence = 7142,8319
command = echo %IP% >> ran
";

/// A daemon in the background with a working directory of its own, ended on drop.
struct Background {
    directory: TempDir,
    pid: Option<Pid>,
}

impl Background {
    /// Runs `knockd -d -c knockd.conf` to its foreground's end.
    fn start(host: &Host, config: &str) -> io::Result<(Self, Output)> {
        let directory = TempDir::new()?;
        let ran = directory.path().join("ran").display().to_string();
        directory.write("knockd.conf", config.replace(">> ran", &format!(">> {ran}")))?;
        let mut command = Command::new(lab::binary("knockd")?);
        command.args(["-d", "-c", "knockd.conf"]).current_dir(directory.path());
        let output = host.output(&mut command)?;
        let mut background = Self { directory, pid: None };
        background.pid = background.read_pid();
        Ok((background, output))
    }

    fn read_pid(&self) -> Option<Pid> {
        self.directory.read("knockd.pid").trim().parse().ok().and_then(Pid::from_raw)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.pid.ok_or_else(|| io::Error::other("there is no pid file"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// A field of the process's `stat`, counted from the state.
    fn stat(&self, field: usize) -> Option<String> {
        let path = format!("/proc/{}/stat", self.pid?.as_raw_nonzero());
        let stat = std::fs::read_to_string(path).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(field).map(str::to_owned)
    }

    /// Whether it runs: what has ended may still be there until its parent looks.
    fn runs(&self) -> bool {
        self.stat(0).is_some_and(|state| state != "Z" && state != "X")
    }

    fn wait_for_log(&self, part: &str) -> io::Result<()> {
        let log = || self.directory.read("knockd.log");
        wait_until(part, SOON, || log().contains(part))
            .map_err(|error| io::Error::other(format!("{error}; the log:\n{}", log())))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.runs() {
            let _ = self.signal(Signal::KILL);
        }
    }
}

/// As soon as the foreground has returned, knocks are heard.
#[test]
fn foreground_returns_when_the_daemon_listens() -> io::Result<()> {
    let lab = Lab::pair()?;
    for _ in 0..10 {
        let (background, output) = Background::start(lab.server(), CONFIG)?;
        lab.client().knock(lab.server().ip4(), "7142,8319")?;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(background.runs());
        wait_until("the command", SOON, || background.directory.read("ran") == "10.9.1.1\n")?;
    }
    Ok(())
}

#[test]
fn pid_file_comes_and_goes() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (background, _) = Background::start(lab.server(), CONFIG)?;
    assert!(background.runs(), "the pid file does not name the daemon");
    background.signal(Signal::TERM)?;
    wait_until("the daemon ends", SOON, || !background.runs())?;
    assert!(!background.directory.path().join("knockd.pid").exists());
    background.wait_for_log("shutting down")
}

/// It has gone to `/`, and still finds the files that were named from where it was started.
#[test]
fn relative_paths_hold_after_a_reload() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (background, _) = Background::start(lab.server(), CONFIG)?;
    let pid = background.pid.map(|pid| pid.as_raw_nonzero().get()).unwrap_or_default();
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd"))?, Path::new("/"));
    let ran = background.directory.path().join("ran").display().to_string();
    let changed = CONFIG.replace("7142,8319", "1701,2803").replace(">> ran", &format!(">> {ran}"));
    background.directory.write("knockd.conf", changed)?;
    let log = background.directory.path().join("knockd.log");
    std::fs::rename(&log, log.with_extension("log.1"))?;
    background.signal(Signal::HUP)?;
    // The new log is there before the new doors are.
    wait_until("the new log", SOON, || log.exists())?;
    let opened = || {
        let knocked = lab.client().knock(lab.server().ip4(), "1701,2803");
        knocked.is_ok() && !background.directory.read("ran").is_empty()
    };
    wait_until("the new door", SOON, opened)?;
    background.wait_for_log("10.9.1.1: door: OPEN SESAME")
}

#[test]
fn failure_to_start_is_told_in_the_foreground() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (background, output) =
        Background::start(lab.server(), &CONFIG.replace("sequence = 7142", "sequence = x7142"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("knockd.conf:5:12") && stderr.contains("cannot be used"), "{stderr}");
    assert!(background.pid.is_none());

    // Here the failure comes after the fork.
    let directory = TempDir::new()?;
    directory.write("knockd.conf", CONFIG)?;
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_raw", "--inh-caps=-all"]).arg(lab::binary("knockd")?);
    command.args(["-d", "-c", "knockd.conf"]).current_dir(directory.path());
    let output = lab.server().output(&mut command)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("CAP_NET_RAW"), "{stderr}");
    assert!(!directory.path().join("knockd.pid").exists());
    Ok(())
}

/// Started at a terminal, it keeps no hold of it.
#[test]
fn lets_go_of_the_terminal() -> io::Result<()> {
    const SESSION: usize = 3;
    const TERMINAL: usize = 4;
    let lab = Lab::pair()?;
    let directory = TempDir::new()?;
    directory.write("knockd.conf", CONFIG)?;
    let knockd = lab::binary("knockd")?;
    let mut script = Command::new("script");
    let line =
        format!("cd {} && tty >&2 && {} -d -c knockd.conf", directory.path().display(), knockd.display());
    script.args(["-qec", &line, "/dev/null"]);
    let output = lab.server().output(&mut script)?;
    let mut background = Background { directory, pid: None };
    background.pid = background.read_pid();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("/dev/pts/"),
        "there was no terminal: {output:?}"
    );
    let pid = background.pid.map(|pid| pid.as_raw_nonzero().to_string());
    assert_eq!(background.stat(TERMINAL).as_deref(), Some("0"));
    assert_eq!(background.stat(SESSION), pid, "it is in somebody else's session");
    for fd in 0..=2 {
        let path = format!("/proc/{}/fd/{fd}", pid.as_deref().unwrap_or("self"));
        assert_eq!(std::fs::read_link(path)?, Path::new("/dev/null"));
    }
    background.signal(Signal::HUP)?;
    background.wait_for_log("re-reading config file")?;
    assert!(background.runs());
    Ok(())
}
