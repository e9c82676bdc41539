//! Runs the programs of the iptables family.

use std::fmt;
use std::io::{self, PipeReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use knock_linux::process::detach_from_us;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where the programs are looked for, and what they find theirs in.
const PATH: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"];
/// Lets a program wait for others of its kind, so many seconds.
const WAIT_FOR_OTHERS: [&str; 2] = ["-w", "5"];
/// How long a program may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a program that says nothing is looked after.
const PACE: Duration = Duration::from_millis(50);
/// The same for one that has said all.
const END: Duration = Duration::from_millis(1);
/// How much of a program's output is read, in bytes.
const MAX_OUTPUT: u64 = 64 * 1024 * 1024;

/// Which part of the kernel a program works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nftables,
    Legacy,
}

/// Which version of IP a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

/// The programs; they end early when they are no longer wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Iptables {
    unwanted: Arc<AtomicBool>,
}

/// Why a program has not done what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    Missing(&'static str),
    Start(&'static str, io::Error),
    TooLong(&'static str),
    Unwanted,
    /// What it said.
    Refused(&'static str, String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "{name} is not installed in {}", PATH.join(", ")),
            Self::Start(name, error) => write!(f, "{name}: {error}"),
            Self::TooLong(name) => write!(f, "{name} was not ready after {} s", DEADLINE.as_secs()),
            Self::Unwanted => f.write_str("the daemon ends"),
            Self::Refused(name, said) => {
                write!(f, "{name}: {}", said.lines().find(|line| !line.trim().is_empty()).unwrap_or("failed"))
            }
        }
    }
}

impl Iptables {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Lets a running program end early, and no other one begin.
    pub(crate) fn give_up(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }

    /// Runs a program on its table `filter` and returns what it wrote.
    pub(crate) fn run(&self, kind: Kind, version: Version, arguments: &[&str]) -> Result<String, Failure> {
        let name = name(kind, version);
        let program = find(name).ok_or(Failure::Missing(name))?;
        self.run_program(name, &program, &[&WAIT_FOR_OTHERS, arguments].concat())
    }

    fn run_program(&self, name: &'static str, program: &Path, arguments: &[&str]) -> Result<String, Failure> {
        let (mut child, output) = start(program, arguments).map_err(|error| Failure::Start(name, error))?;
        let ended = self.attend(name, &mut child, output);
        if ended.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        ended
    }

    fn attend(
        &self,
        name: &'static str,
        child: &mut Child,
        mut output: PipeReader,
    ) -> Result<String, Failure> {
        let deadline = Instant::now() + DEADLINE;
        let mut said = Vec::new();
        let mut pace = PACE;
        loop {
            if self.unwanted.load(Ordering::Relaxed) {
                return Err(Failure::Unwanted);
            }
            if Instant::now() >= deadline {
                return Err(Failure::TooLong(name));
            }
            if pace == PACE
                && read_some(&mut output, &mut said).map_err(|error| Failure::Start(name, error))?
            {
                pace = END;
            }
            if pace == END {
                match child.try_wait().map_err(|error| Failure::Start(name, error))? {
                    Some(status) if status.success() => {
                        return Ok(String::from_utf8_lossy(&said).into_owned());
                    }
                    Some(_) => {
                        return Err(Failure::Refused(name, String::from_utf8_lossy(&said).into_owned()));
                    }
                    None => thread::sleep(END),
                }
            }
        }
    }
}

/// Waits a little for output; whether all has come.
fn read_some(output: &mut PipeReader, said: &mut Vec<u8>) -> io::Result<bool> {
    let patience = Timespec::try_from(PACE).ok();
    if poll(&mut [PollFd::new(output, PollFlags::IN)], patience.as_ref())? == 0 {
        return Ok(false);
    }
    let mut buffer = [0; 16 * 1024];
    let count = output.read(&mut buffer)?;
    if (said.len() as u64) < MAX_OUTPUT {
        said.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(count == 0)
}

pub(crate) fn name(kind: Kind, version: Version) -> &'static str {
    match (kind, version) {
        (Kind::Nftables, Version::V4) => "iptables-nft",
        (Kind::Nftables, Version::V6) => "ip6tables-nft",
        (Kind::Legacy, Version::V4) => "iptables-legacy",
        (Kind::Legacy, Version::V6) => "ip6tables-legacy",
    }
}

fn find(name: &str) -> Option<PathBuf> {
    PATH.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}

fn start(program: &Path, arguments: &[&str]) -> io::Result<(Child, PipeReader)> {
    let (output, write) = io::pipe()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH.join(":"))
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(write.try_clone()?)
        .stderr(write);
    let child = detach_from_us(&mut command).spawn()?;
    Ok((child, output))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(iptables: &Iptables, script: &str) -> Result<String, Failure> {
        iptables.run_program("sh", Path::new("/bin/sh"), &["-c", script])
    }

    #[test]
    fn what_a_program_says_is_read() {
        let iptables = Iptables::new();
        assert_eq!(shell(&iptables, "echo one; echo two >&2").unwrap(), "one\ntwo\n");
        let much = shell(&iptables, "head -c 1000000 /dev/zero | tr '\\0' x").unwrap();
        assert_eq!(much.len(), 1_000_000);
        let failure = shell(&iptables, "echo; echo no such chain; exit 3").unwrap_err();
        assert_eq!(failure.to_string(), "sh: no such chain");
        let failure = iptables.run_program("none", Path::new("/nowhere/none"), &[]).unwrap_err();
        assert!(matches!(failure, Failure::Start("none", _)), "{failure}");
    }

    #[test]
    fn a_program_that_is_no_longer_wanted_is_killed() {
        let iptables = Iptables::new();
        let begun = Instant::now();
        let failures = thread::scope(|scope| {
            // One that keeps silent and one that has closed its output.
            let running = ["exec sleep 60", "exec >&- 2>&- sleep 60"]
                .map(|script| scope.spawn(|| shell(&iptables, script).unwrap_err()));
            iptables.give_up();
            running.map(|thread| thread.join().unwrap())
        });
        assert!(failures.iter().all(|failure| matches!(failure, Failure::Unwanted)), "{failures:?}");
        assert!(begun.elapsed() < DEADLINE, "not because of the deadline");
    }
}
