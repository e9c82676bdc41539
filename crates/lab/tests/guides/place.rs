//! A host with files of its own, on which documents' commands are typed.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use lab::{Host, Process, TempDir, binary};

/// Puts what is written in the places of the machine's own, and tells when it is done. Programs first: they may be in a
/// directory that is hidden afterwards.
const SETTLE: &str = "
    mount -t tmpfs none /usr/local/sbin
    mount -t tmpfs none /usr/local/bin
    for program in knockd knock knockctl; do
        touch /usr/local/bin/$program
        mount --bind $1/$program /usr/local/bin/$program
    done
    mv $2/sudo $2/systemctl /usr/local/bin
    mount -t tmpfs none /run
    mkdir -p /run/sshd /run/etc /run/work
    mount -t tmpfs none /var/lib
    mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work none /etc
    rm -f /etc/knockd.conf /etc/default/knockd
    mount -t tmpfs -o mode=700 none /root
    echo settled
    exec sleep infinity
";
/// Everybody is root here.
const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";
/// What systemd does with the units that the documents name, as far as it can be done without it.
const SYSTEMCTL: &str = "#!/bin/sh
set -e
stop() {
    [ -e /run/knockd.pid ] || return 0
    process=$(cat /run/knockd.pid)
    kill $process
    while kill -0 $process 2>/dev/null; do sleep 0.02; done
    rm -f /run/knockd.pid
}
case \"$*\" in
'enable --now knockd' | 'start knockd') knockd -d ;;
'restart knockd') stop; knockd -d ;;
'stop knockd' | 'disable --now knockd') stop ;;
'enable nftables') ;;
*) echo \"systemctl $*: not here\" >&2; exit 1 ;;
esac
";
/// The directory is this place's own only once it has been entered.
const AT_HOME: &str = "cd && exec \"$@\"";
/// What is read by what asks.
const ANSWER: &str = "/run/answer";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A host of the laboratory with `/etc`, `/run`, `/var/lib`, `/root` and `/usr/local` of its own.
pub(crate) struct Place<'a> {
    host: &'a Host,
    /// It holds the mounts.
    holder: Process,
}

impl<'a> Place<'a> {
    pub(crate) fn settle(host: &'a Host) -> io::Result<Self> {
        let scripts = TempDir::new()?;
        for (name, text) in [("sudo", SUDO), ("systemctl", SYSTEMCTL)] {
            let path = scripts.write(name, text)?;
            Command::new("chmod").arg("+x").arg(path).status()?;
        }
        let programs = binary("knockd")?;
        let programs = programs.parent().unwrap_or(&programs);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", SETTLE, "place"]).arg(programs).arg(scripts.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = host.spawn(&mut command)?;
        let mut line = String::new();
        if let Some(stdout) = holder.child().stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        assert_eq!(line, "settled\n", "{} has no place", host.name());
        Ok(Self { host, holder })
    }

    pub(crate) fn host(&self) -> &'a Host {
        self.host
    }

    /// A program that is to be run here, with nothing of this machine's environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.holder.id().to_string(), "env", "-i"]);
        command.args([
            PATH,
            "HOME=/root",
            "LC_ALL=C.UTF-8",
            "TERM=dumb",
            "sh",
            "-c",
            AT_HOME,
            program,
            program,
        ]);
        command
    }

    /// Whatever asks from now on is answered with this.
    pub(crate) fn answer(&self, answer: &str) -> io::Result<()> {
        self.write(ANSWER, &format!("{answer}\n"))
    }

    /// Runs a shell script to its end.
    pub(crate) fn output(&self, script: &str) -> io::Result<Output> {
        let script = format!("[ ! -e {ANSWER} ] || exec <{ANSWER}\n{script}");
        self.host.output(self.command("sh").args(["-ec", &script]))
    }

    /// Runs a shell script that stops at its first failing command; what it wrote, to whichever of the two.
    pub(crate) fn sh(&self, script: &str) -> io::Result<String> {
        let output = self.output(&format!("exec 2>&1\n{script}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(io::Error::other(format!("on {}: {script}\n{}\n{text}", self.host.name(), output.status)))
    }

    /// Writes a file; `~` is `/root`. Directories that are missing are made.
    pub(crate) fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let path = self.path(&file.replace('~', "/root"));
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, text)
    }

    /// The text of a file.
    pub(crate) fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.path(file))
            .map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))
    }

    /// Where a file of this place is for the machine.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        format!("/proc/{}/root{file}", self.holder.id()).into()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // There may be none.
        let _ = self.output("systemctl stop knockd");
    }
}
