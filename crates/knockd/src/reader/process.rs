//! The process of the reading half, seen from the acting half.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use knock_linux::process::detach_from_us;
use rustix::event::{PollFlags, Timespec};
use rustix::param::linux_execfn;
use rustix::process::Signal;

use super::{LIE, Manner};
use crate::channel::{Channel, Order, Word};
use crate::reading;

/// The users that it may become, the first that there is.
const USERS: [&str; 2] = ["knockd", "nobody"];

/// So many words may wait to be heeded: an honest process says fewer before it answers.
const MOST_WORDS: usize = 64 << 10;
/// SIGSYS.
const SYSTEM_CALL: i32 = Signal::SYS.as_raw();

/// A process, and the channel to it.
pub(super) struct Process {
    child: Child,
    channel: Channel<OwnedFd>,
    /// Why nothing more is heard from it.
    broken: Option<String>,
}

impl Process {
    /// Starts the daemon's own program anew, with nothing but the channel and the packet socket.
    ///
    /// # Errors
    /// What starting a process says.
    pub(super) fn start(packets: OwnedFd, manner: Manner) -> io::Result<Self> {
        let (channel, other) = Channel::pair()?;
        // It has nobody to tell anything to but us. There may be no /dev/null.
        let (_, nobody) = io::pipe()?;
        let mut command = Command::new(program());
        command
            .arg0(reading::NAME)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(other))
            .stdout(Stdio::from(packets))
            .stderr(nobody);
        let child = detach_from_us(&mut command).spawn();
        let child = child.map_err(|error| {
            let program = command.get_program().display();
            io::Error::other(format!("cannot start {program} for the reading process: {error}"))
        })?;
        let mut process = Self { child, channel, broken: None };
        let Manner { ipv4_only, tells_packets, .. } = manner;
        process.say(&Order::Begin { user: user(), tells_packets, ipv4_only });
        Ok(process)
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says something, at once or as soon as it takes it.
    pub(super) fn say(&mut self, order: &Order) {
        self.channel.say(order);
        if self.channel.owes_too_much() {
            self.lose("it does not listen");
        }
        // That it has ended is noticed when it is listened to.
        let _ = self.channel.flush();
    }

    /// What becomes ready when it says something, or takes what is owed.
    pub(super) fn fd(&self) -> (BorrowedFd<'_>, PollFlags) {
        let owed = if self.channel.owes() { PollFlags::OUT } else { PollFlags::empty() };
        (self.channel.as_fd(), PollFlags::IN | owed)
    }

    /// Waits until it says something, or takes what is owed, or for this long.
    pub(super) fn wait(&self, at_most: Duration) -> io::Result<()> {
        let (_, flags) = self.fd();
        self.channel.wait(flags, Timespec::try_from(at_most).ok())
    }

    /// Whether nothing more is heard from it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Hears nothing more from it, for this reason.
    pub(super) fn lose(&mut self, reason: &str) {
        self.broken.get_or_insert_with(|| reason.to_owned());
    }

    /// Takes in some of what it has said.
    ///
    /// # Errors
    /// Where it has ended, without a reason, or says what is no word.
    pub(super) fn take_in(&mut self, words: &mut VecDeque<Word>) -> Result<(), String> {
        if self.broken.is_none() {
            self.broken = self.take_in_more(words).err();
        }
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn take_in_more(&mut self, words: &mut VecDeque<Word>) -> Result<(), String> {
        // That it has ended is noticed below.
        let _ = self.channel.flush();
        let there = self.channel.take_in();
        loop {
            match self.channel.message() {
                Ok(Some(_)) if words.len() >= MOST_WORDS => {
                    return Err("it says more than it can have to say".into());
                }
                Ok(Some(word)) => words.push_back(word),
                Ok(None) => break,
                Err(error) => return Err(format!("{LIE}: {error}")),
            }
        }
        // An error is as good as an end: something was not read before it.
        if there.unwrap_or(false) { Ok(()) } else { Err(String::new()) }
    }

    /// Puts an end to it, if it has not ended by itself; tells how it ended.
    pub(super) fn end(mut self) -> String {
        // It ends by itself when the channel does; who hangs or does not want to is killed.
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        match ended.map_or_else(|| self.child.wait(), Ok) {
            Ok(status) => how(status),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn how(status: ExitStatus) -> String {
    match status.signal() {
        Some(SYSTEM_CALL) => "it made a system call that is forbidden to it, or had no memory left".into(),
        Some(signal) => format!("signal {signal}"),
        None => status.to_string(),
    }
}

/// The program that this process runs. Where it was replaced on the disk it is still the old one, which fits.
fn program() -> PathBuf {
    /// Where it was started from, as long as a relative path leads there.
    static STARTED: OnceLock<PathBuf> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        let name = PathBuf::from(OsStr::from_bytes(linux_execfn().to_bytes()));
        std::path::absolute(&name).unwrap_or(name)
    });
    let own = PathBuf::from("/proc/self/exe");
    // There may be no /proc.
    if own.exists() { own } else { started.clone() }
}

/// Whom the process becomes; nobody else where it is not root that asks.
fn user() -> Option<(u32, u32)> {
    let users = fs::read("/etc/passwd").unwrap_or_default();
    let users = String::from_utf8_lossy(&users);
    USERS.into_iter().find_map(|name| users.lines().find_map(|line| entry(line, name)))
}

/// The numbers of the user and the group, where this line of `passwd(5)` is about the user of this name.
fn entry(line: &str, name: &str) -> Option<(u32, u32)> {
    // Who is root in all but name helps nobody, and the last number stands for none.
    let number = |text: &str| text.parse().ok().filter(|number| !matches!(*number, 0 | u32::MAX));
    let mut fields = line.split(':');
    let is_it = fields.next() == Some(name);
    let (user, group) = (number(fields.nth(1)?)?, number(fields.next()?)?);
    is_it.then_some((user, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(entry("knockd:x:998:997::/nonexistent:/usr/sbin/nologin", "knockd"), Some((998, 997)));
        for line in [
            "knockd2:x:998:997::/:/bin/sh",
            "knockd:x:0:7::/:/bin/sh",
            "knockd:x:7:0::/:/bin/sh",
            "knockd:x:4294967295:7::/:/bin/sh",
            "knockd:x:998",
            "",
            "knockd:x:a:b",
        ] {
            assert_eq!(entry(line, "knockd"), None, "{line}");
        }
    }
}
