//! Who is measured: our daemon with a door for SSH keys or for fwknop's client, and fwknop's own server.

use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use knock_core::spa::{DEFAULT_PORT, HostKey, Supported};
use lab::{Host, Lab, Process, Signal, wait_until};

use super::knocker::User;
use crate::prober::{PORT, Prober};
use crate::processors::{End, stay_at};
use crate::scratch::Scratch;
use crate::server::{self, SOON, Server, busy};

/// fwknop's server and its client, as Debian has them.
const FWKNOPD: &str = "/usr/sbin/fwknopd";
const FWKNOP: &str = "/usr/bin/fwknop";
/// The keys of fwknop's clients: any will do.
const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
const HMAC: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=";
/// How long fwknop's server may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// A server with a door, and who knocks there.
pub(super) struct Contender {
    pub(super) name: &'static str,
    daemon: Daemon,
    knocker: Knocker,
}

enum Daemon {
    Ours(Server),
    Theirs(Fwknopd),
}

enum Knocker {
    Key(Box<(User, HostKey)>),
    Fwknop,
}

/// How fwknop's server hears of packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ear {
    Pcap,
    Udp,
}

impl Contender {
    /// Our daemon with a door that one user's key of this kind opens for so long.
    pub(super) fn with_key(
        name: &'static str,
        kind: Supported,
        open_for: Duration,
        files: Scratch,
    ) -> io::Result<Self> {
        let (user, host) = (User::new(kind, 1)?, HostKey::from_random(&[7; 32]));
        let path = files.path();
        write(&path.join("host_key"), &host.to_text())?;
        write(&path.join("keys"), &user.line()?)?;
        let door = format!(
            "host_key = {0}/host_key\n[door]\nauthorized_keys = {0}/keys\nopen = {PORT}/udp\nopen_for = {1}s\n",
            path.display(),
            open_for.as_secs()
        );
        let daemon = Daemon::Ours(Server::start(&lab::binary("knockd")?, true, &door, files)?);
        Ok(Self { name, daemon, knocker: Knocker::Key(Box::new((user, host))) })
    }

    /// Our daemon with a door for fwknop's client.
    pub(super) fn with_fwknop(name: &'static str, open_for: Duration, files: Scratch) -> io::Result<Self> {
        let path = files.path();
        write(&path.join("fwknop_key"), &format!("KEY_BASE64: {KEY}\n"))?;
        write(&path.join("fwknop_hmac"), &format!("HMAC_KEY_BASE64: {HMAC}\n"))?;
        let door = format!(
            "[door]\nfwknop_key = {0}/fwknop_key\nfwknop_hmac = {0}/fwknop_hmac\nopen = {PORT}/udp\nopen_for = {1}s\n",
            path.display(),
            open_for.as_secs()
        );
        let daemon = Daemon::Ours(Server::start(&lab::binary("knockd")?, true, &door, files)?);
        Ok(Self { name, daemon, knocker: Knocker::Fwknop })
    }

    /// fwknop's server.
    pub(super) fn theirs(
        name: &'static str,
        ear: Ear,
        open_for: Duration,
        files: Scratch,
    ) -> io::Result<Self> {
        let daemon = Daemon::Theirs(Fwknopd::start(ear, open_for, files)?);
        Ok(Self { name, daemon, knocker: Knocker::Fwknop })
    }

    pub(super) fn is_ours(&self) -> bool {
        matches!(self.daemon, Daemon::Ours(_))
    }

    pub(super) fn host_key(&self) -> Option<&HostKey> {
        match &self.knocker {
            Knocker::Key(user) => Some(&user.1),
            Knocker::Fwknop => None,
        }
    }

    pub(super) fn lab(&self) -> &Lab {
        match &self.daemon {
            Daemon::Ours(server) => &server.lab,
            Daemon::Theirs(server) => &server.lab,
        }
    }

    pub(super) fn prober(&self) -> &Prober {
        match &self.daemon {
            Daemon::Ours(server) => &server.prober,
            Daemon::Theirs(server) => &server.prober,
        }
    }

    /// The processor time of all its threads so far.
    pub(super) fn busy(&self) -> io::Result<Duration> {
        match &self.daemon {
            Daemon::Ours(server) => server.busy(),
            Daemon::Theirs(server) => busy(server.daemon.id()),
        }
    }

    /// What opens the door for an address, once.
    pub(super) fn knock(&self, source: IpAddr) -> io::Result<Vec<u8>> {
        match &self.knocker {
            Knocker::Key(user) => Ok(user.0.knock("door", user.1.public())?.to_vec()),
            Knocker::Fwknop => fwknop(source, self.lab().server().ip4(), self.files()),
        }
    }

    /// The user of the key, where it is opened with one.
    pub(super) fn user(&self) -> Option<&User> {
        match &self.knocker {
            Knocker::Key(user) => Some(&user.0),
            Knocker::Fwknop => None,
        }
    }

    fn files(&self) -> &Path {
        match &self.daemon {
            Daemon::Ours(server) => server.files.path(),
            Daemon::Theirs(server) => server.files.path(),
        }
    }
}

/// What fwknop's client would send.
fn fwknop(source: IpAddr, server: IpAddr, files: &Path) -> io::Result<Vec<u8>> {
    let packet = files.join("packet");
    let _ = fs::remove_file(&packet);
    let (source, server) = (source.to_string(), server.to_string());
    let mut command = Command::new(FWKNOP);
    command.env("HOME", files).args(["-T", "-A", &format!("udp/{PORT}"), "-a", &source, "-D", &server]);
    command.args(["--use-hmac", "--key-base64-rijndael", KEY, "--key-base64-hmac", HMAC, "-B"]);
    let output = command.arg(&packet).stdin(Stdio::null()).output()?;
    let text = fs::read_to_string(&packet)
        .map_err(|_| io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))?;
    Ok(text.trim().into())
}

/// fwknop's server, with one door for everybody who has the keys.
struct Fwknopd {
    // First: it ends before its host and its files go.
    daemon: Process,
    lab: Lab,
    prober: Prober,
    files: Scratch,
}

impl Fwknopd {
    fn start(ear: Ear, open_for: Duration, files: Scratch) -> io::Result<Self> {
        let lab = server::firewalled()?;
        let (path, seconds) = (files.path(), open_for.as_secs());
        let directory = path.display();
        write(
            &path.join("fwknopd.conf"),
            &format!("PCAP_INTF eth0;\nFWKNOP_RUN_DIR {directory};\nFWKNOP_CONF_DIR {directory};\n"),
        )?;
        write(
            &path.join("access.conf"),
            &format!(
                "SOURCE ANY\nOPEN_PORTS udp/{PORT}\nFW_ACCESS_TIMEOUT {seconds}\nKEY_BASE64 {KEY}\nHMAC_KEY_BASE64 {HMAC}\n"
            ),
        )?;
        if ear == Ear::Udp {
            lab.server().sh(&format!("iptables -A INPUT -p udp --dport {DEFAULT_PORT} -j ACCEPT"))?;
        }
        let prober = Prober::new(&lab)?;
        let daemon = spawn(lab.server(), ear, path)?;
        let log = path.join("errors");
        let listens = || {
            fs::read_to_string(&log)
                .is_ok_and(|log| log.contains("main event loop") || log.contains("to listen on port"))
        };
        wait_until("fwknopd listens", SOON, listens)?;
        Ok(Self { daemon, lab, prober, files })
    }
}

impl Drop for Fwknopd {
    fn drop(&mut self) {
        let _ = self.daemon.signal(Signal::TERM);
        let _ = self.daemon.wait_exit(FAREWELL);
    }
}

fn spawn(host: &Host, ear: Ear, files: &Path) -> io::Result<Process> {
    let errors = fs::File::create(files.join("errors"))?;
    let mut command = Command::new(FWKNOPD);
    command.arg("-f").arg("-c").arg(files.join("fwknopd.conf")).arg("-a").arg(files.join("access.conf"));
    if ear == Ear::Udp {
        command.arg("-U");
    }
    command.stdin(Stdio::null()).stdout(errors.try_clone()?).stderr(errors);
    host.run(|| {
        stay_at(End::Server);
        Process::spawn(&mut command)
    })
}

/// A file that nobody else may read.
fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))
}
