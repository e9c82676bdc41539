//! Runs commands and brings their output into the log.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use knock_core::doorkeeper::{Job, JobId};
use knock_linux::process::detach_from_us;
use rustix::fs::{OFlags, fcntl_setfl};

use crate::log::{Facts, Log, Topic};
use crate::service::VARIABLES;

/// The longest line of output that is logged, in bytes; longer ones are broken.
const MAX_LINE: usize = 1024;
/// What a logged line takes beside what it says, in bytes.
const LINE_COST: usize = 64;
/// How much of a command's output is logged, in bytes.
const MAX_OUTPUT: usize = 64 * 1024;
/// How many pipes are kept that commands have left open behind them.
const MAX_LEFT_OPEN: usize = 128;

/// The commands that run, and the output that still comes.
#[derive(Default)]
pub(crate) struct Runner {
    running: Vec<(Job, Child)>,
    outputs: Vec<Output>,
}

/// What a command and all that it started write.
struct Output {
    job: JobId,
    door: String,
    pipe: PipeReader,
    line: Vec<u8>,
    logged: usize,
}

impl Runner {
    /// Starts a command; whether it could be.
    pub(crate) fn run(&mut self, job: Job, log: &mut Log) -> bool {
        let door = job.door.name.clone();
        log.tell(&format!("{door}: running command: {}", job.command), facts(&job, Topic::Command));
        match start(&job) {
            Ok((child, pipe)) => {
                self.outputs.push(Output {
                    job: job.id,
                    door: door.clone(),
                    pipe,
                    line: Vec::new(),
                    logged: 0,
                });
                self.running.push((job, child));
                true
            }
            Err(error) => {
                let message = format!("{door}: error: command could not be started: {error}");
                log.complain_of(&message, facts(&job, Topic::CommandFailed));
                false
            }
        }
    }

    /// The commands that have ended since the last call.
    pub(crate) fn reap(&mut self, log: &mut Log) -> Vec<JobId> {
        let mut ended = Vec::new();
        self.running.retain_mut(|(job, child)| match child.try_wait() {
            Ok(None) => true,
            // An error says that somebody else waited for it: it has ended, too.
            outcome => {
                ended.push((job.clone(), outcome.ok().flatten()));
                false
            }
        });
        if !ended.is_empty() {
            self.collect(log);
        }
        for (job, status) in &ended {
            if let Some((status, told)) = status.and_then(|status| Some((status, unsuccessful(status)?))) {
                let facts = Facts {
                    status: status.code(),
                    signal: status.signal(),
                    ..facts(job, Topic::CommandFailed)
                };
                log.tell(&format!("{}: {told}", job.door.name), facts);
            }
        }
        self.let_go_of_the_oldest();
        ended.into_iter().map(|(job, _)| job.id).collect()
    }

    /// Closes pipes of commands that have ended, where what they left behind holds too many of them open.
    fn let_go_of_the_oldest(&mut self) {
        let running: Vec<_> = self.running.iter().map(|(job, _)| job.id).collect();
        let left_open = self.outputs.iter().filter(|output| !running.contains(&output.job)).count();
        let mut surplus = left_open.saturating_sub(MAX_LEFT_OPEN);
        self.outputs.retain(|output| {
            let kept = surplus == 0 || running.contains(&output.job);
            surplus -= usize::from(!kept);
            kept
        });
    }

    /// Logs what commands have written.
    pub(crate) fn collect(&mut self, log: &mut Log) {
        self.outputs.retain_mut(|output| output.collect(log));
    }

    /// What becomes readable when a command has written something.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.outputs.iter().map(|output| output.pipe.as_fd())
    }
}

/// What a line about a command is about.
fn facts(job: &Job, event: Topic) -> Facts {
    let purpose = if job.closes { "close" } else { "open" };
    Facts { address: Some(job.address), purpose: Some(purpose), ..Facts::about(&job.door.name, event) }
}

fn start(job: &Job) -> io::Result<(Child, PipeReader)> {
    let (read, write) = io::pipe()?;
    fcntl_setfl(&read, OFlags::NONBLOCK)?;
    let write = outliving(write);
    let family = match job.address {
        IpAddr::V4(_) => "4",
        IpAddr::V6(_) => "6",
    };
    let mut command = Command::new("/bin/sh");
    command
        .arg0("sh")
        .args(["-c", &job.command])
        .env("KNOCK_IP", job.address.to_string())
        .env("KNOCK_DOOR", &job.door.name)
        .env("KNOCK_FAMILY", family)
        .env("KNOCK_USER", job.user.as_deref().unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(write.try_clone()?)
        .stderr(write);
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    let child = detach_from_us(&mut command).spawn()?;
    Ok((child, read))
}

/// The pipe's end for a command, which then reads from it as well as writes: so it never finds that nobody reads, and
/// a command that is still at work when the daemon ends is not killed for a word that it says (`pipe(7)`, SIGPIPE).
fn outliving(write: PipeWriter) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", write.as_raw_fd());
    // Without /proc it has to do as it is.
    File::options().read(true).write(true).open(path).map_or_else(|_| write.into(), OwnedFd::from)
}

fn unsuccessful(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("command returned non-zero status code ({code})")),
        (None, Some(signal)) => Some(format!("command was ended by signal {signal}")),
        (None, None) => Some(format!("command ended: {status}")),
    }
}

impl Output {
    /// Logs what is there, but no more than a pipe holds: others wait too. Tells whether more may come.
    fn collect(&mut self, log: &mut Log) -> bool {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => {
                    self.end_line(log);
                    return false;
                }
                Ok(count) => self.take(buffer.get(..count).unwrap_or_default(), log),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn take(&mut self, bytes: &[u8], log: &mut Log) {
        if self.logged > MAX_OUTPUT {
            return;
        }
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line(log);
            } else {
                self.line.push(*byte);
                if self.line.len() >= MAX_LINE {
                    self.end_line(log);
                }
            }
        }
    }

    fn end_line(&mut self, log: &mut Log) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() || self.logged > MAX_OUTPUT {
            return;
        }
        self.logged += line.len() + LINE_COST;
        let text = if self.logged > MAX_OUTPUT {
            "… (the rest is left out)".into()
        } else {
            String::from_utf8_lossy(&line)
        };
        let facts = Facts::about(&self.door, Topic::CommandOutput);
        log.tell(&format!("{}: output: {text}", self.door), facts);
    }
}
