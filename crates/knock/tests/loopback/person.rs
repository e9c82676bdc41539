//! Somebody with SSH keys, an agent and a file of hosts; and a server that opens what they send.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use knock_core::spa::{
    Admitted, DoorRules, HostKey, LENGTH, Opened, Refusal, Request, judge, open, passes_gate, read_keys,
};

use crate::client::{Ended, PATIENCE, V4};

/// Their home, gone with the test.
pub(crate) struct Person {
    pub(crate) home: PathBuf,
}

impl Person {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("knock-person-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join(".ssh")).unwrap();
        Self { home }
    }

    /// A key of theirs, made by ssh-keygen: `~/.ssh/NAME`.
    pub(crate) fn key(&self, name: &str, options: &str, passphrase: &str) -> PathBuf {
        let file = self.home.join(".ssh").join(name);
        let mut command = self.tool("ssh-keygen");
        command.args(options.split_whitespace()).args(["-q", "-C", name, "-N", passphrase, "-f"]).arg(&file);
        succeed(&mut command);
        file
    }

    /// An ed25519 key without a passphrase.
    pub(crate) fn plain_key(&self, name: &str) -> PathBuf {
        self.key(name, "-t ed25519", "")
    }

    pub(crate) fn fingerprint(&self, file: &Path) -> String {
        let shown = succeed(self.tool("ssh-keygen").arg("-lf").arg(file));
        shown.split_whitespace().nth(1).unwrap().to_owned()
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.home.join(".config/knock/config.toml")
    }

    pub(crate) fn write_hosts(&self, text: &str) {
        fs::create_dir_all(self.hosts().parent().unwrap()).unwrap();
        fs::write(self.hosts(), text).unwrap();
        permit(&self.hosts(), 0o600);
    }

    /// A command in whose environment nothing but their home is.
    pub(crate) fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for variable in ["SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "WAYLAND_DISPLAY"]
        {
            command.env_remove(variable);
        }
        command.env("HOME", &self.home).env("XDG_CONFIG_HOME", self.home.join(".config"));
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn client(&self) -> Command {
        self.tool(env!("CARGO_BIN_EXE_knock"))
    }

    pub(crate) fn knock(&self, line: &str) -> Ended {
        self.client().args(line.split_whitespace()).output().unwrap().into()
    }

    pub(crate) fn knock_with(&self, agent: &Agent, line: &str) -> Ended {
        let mut command = self.client();
        command.env("SSH_AUTH_SOCK", &agent.socket).args(line.split_whitespace()).output().unwrap().into()
    }

    /// A program that says `answer` when it is asked for a passphrase, and counts how often.
    pub(crate) fn askpass(&self, answer: &str) -> PathBuf {
        let program = self.home.join("askpass");
        let text = format!("#!/bin/sh\necho asked >>\"$0.log\"\nprintf '%s\\n' '{answer}'\n");
        fs::write(&program, text).unwrap();
        permit(&program, 0o700);
        program
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        fs::read_to_string(self.home.join("askpass.log")).map_or(0, |log| log.lines().count())
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

pub(crate) fn permit(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

/// What a command writes that must succeed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// OpenSSH's agent.
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    process: Child,
}

impl Agent {
    pub(crate) fn of(person: &Person) -> Self {
        Self::asking(person, Path::new("/bin/false"))
    }

    /// One that asks this program before it signs with a key that wants that.
    pub(crate) fn asking(person: &Person, askpass: &Path) -> Self {
        let socket = person.home.join("agent");
        let mut command = person.tool("ssh-agent");
        command.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":none");
        command.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < end, "no ssh-agent at {}", socket.display());
            std::thread::yield_now();
        }
        Self { socket, process }
    }

    pub(crate) fn command(&self, person: &Person) -> Command {
        let mut command = person.tool("ssh-add");
        command.env("SSH_AUTH_SOCK", &self.socket);
        command
    }

    /// Gives it a key and takes the file away, the public one, too.
    pub(crate) fn take(&self, person: &Person, options: &str, file: &Path) {
        succeed(self.command(person).args(["-q"]).args(options.split_whitespace()).arg(file));
        fs::remove_file(file).unwrap();
        fs::remove_file(file.with_extension("pub")).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server's UDP port, and its key.
pub(crate) struct Server {
    socket: UdpSocket,
    key: HostKey,
}

impl Server {
    pub(crate) fn new() -> Self {
        let socket = UdpSocket::bind((V4, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, key: HostKey::from_random(&[7; 32]) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    pub(crate) fn key(&self) -> String {
        self.key.public().to_string()
    }

    /// A host's table, with something behind it.
    pub(crate) fn table(&self, name: &str, rest: &str) -> String {
        let (port, key) = (self.port(), self.key());
        format!(
            "[{name}]\nhost = \"127.0.0.1\"\nport = {port}\nhost_key = \"{key}\"\ndoors = [\"ssh\", \"web\"]\n{rest}\n"
        )
    }

    /// The next knock, opened.
    pub(crate) fn hear(&self) -> Heard {
        let mut buffer = [0; LENGTH + 1];
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        let datagram = &buffer[..length];
        assert!(passes_gate(datagram, self.key.public()), "{length} bytes");
        Heard { opened: open(datagram, &self.key).unwrap(), source: from.ip(), key: self.key.clone() }
    }

    /// Whether nothing came that was not heard; loopback delivers before the sender goes on.
    pub(crate) fn is_quiet(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let came = self.socket.recv_from(&mut [0; LENGTH]);
        self.socket.set_nonblocking(false).unwrap();
        matches!(came, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// A knock that has arrived.
pub(crate) struct Heard {
    pub(crate) opened: Opened,
    source: IpAddr,
    key: HostKey,
}

impl Heard {
    pub(crate) fn request(&self) -> Request {
        self.opened.read().unwrap().0
    }

    /// What becomes of it where `authorized` is the door's file of keys.
    pub(crate) fn judged(&self, authorized: &str) -> Result<Admitted, Refusal> {
        let file = read_keys(authorized, &|_| None);
        assert_eq!(file.mistakes, []);
        let rules = |_: &str| Some(DoorRules { keys: &file.keys, address_must_match: false });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        judge(&self.opened, self.key.public(), self.source, rules, now).map(|(_, admitted)| admitted)
    }

    /// Whose key has signed it, according to a public key's file.
    pub(crate) fn signer(&self, authorized: &str) -> String {
        self.judged(authorized).unwrap().name
    }
}
