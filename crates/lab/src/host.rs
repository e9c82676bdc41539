//! A host: one network namespace, and what is done in it.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::process::{Command, Output, Stdio};
use std::{fs, process, thread};

use knock_linux::namespace;

use crate::process::Process;
use crate::root::with_tools;
use crate::temp::TempDir;

/// A machine on the laboratory's network: a network namespace of its own, with its own interfaces and firewall.
///
/// The file system and the processes are those of the machine. When the host is dropped and the last process in it has
/// ended, the kernel takes its interfaces, addresses and rules away.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: OwnedFd,
    ip4: Ipv4Addr,
    ip6: Ipv6Addr,
    home: TempDir,
}

impl Host {
    /// Makes a host with nothing but a loopback interface, which is up. `name` is for messages alone.
    ///
    /// # Errors
    /// `PermissionDenied` when the process may not make network namespaces, with what to do about it.
    pub fn new(name: &str) -> io::Result<Self> {
        // On a thread of its own: the caller's stays where it is.
        let namespace = thread::scope(|scope| join(scope.spawn(make))).map_err(explain)?;
        let host = Self {
            name: name.to_owned(),
            namespace,
            ip4: Ipv4Addr::UNSPECIFIED,
            ip6: Ipv6Addr::UNSPECIFIED,
            home: TempDir::new()?,
        };
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own IPv4 address, unspecified until [`assign`](Self::assign) gave it one.
    #[must_use]
    pub fn ip4(&self) -> IpAddr {
        self.ip4.into()
    }

    /// Its own IPv6 address, unspecified until [`assign`](Self::assign) gave it one.
    #[must_use]
    pub fn ip6(&self) -> IpAddr {
        self.ip6.into()
    }

    /// A port of it, by IPv4.
    #[must_use]
    pub fn at4(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip4(), port)
    }

    /// A port of it, by IPv6.
    #[must_use]
    pub fn at6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip6(), port)
    }

    /// A path by which other programs, such as `ip ... netns PATH`, find this namespace while the host lives.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.namespace.as_raw_fd())
    }

    /// Runs `work` on a thread in this host and returns what it returns.
    ///
    /// Sockets opened and processes spawned in it belong to the host, and stay there. A panic in it goes on in the
    /// caller.
    ///
    /// # Panics
    /// When the namespace cannot be entered: the laboratory is broken.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            join(scope.spawn(|| {
                self.enter();
                work()
            }))
        })
    }

    /// Moves the calling thread into this host, for good: for a thread that a test starts itself.
    ///
    /// # Panics
    /// When the namespace cannot be entered: the laboratory is broken.
    pub fn enter(&self) {
        if let Err(error) = namespace::enter(self.namespace.as_fd()) {
            panic!("cannot enter the network namespace of {}: {error}", self.name);
        }
    }

    /// Starts a program in this host.
    ///
    /// # Errors
    /// What spawning says, with the program's name.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Process> {
        self.at_home(command);
        self.run(|| Process::spawn(command))
    }

    /// Lets a daemon keep its state and its socket where no other host's is, and not on the machine: in directories that
    /// a service manager would name (systemd.exec(5)).
    fn at_home(&self, command: &mut Command) {
        for name in ["STATE_DIRECTORY", "RUNTIME_DIRECTORY"] {
            if !command.get_envs().any(|(set, _)| set == name) {
                command.env(name, self.home.path().join(name.to_lowercase()));
            }
        }
    }

    /// Runs a program in this host to its end and returns its status and output.
    ///
    /// # Errors
    /// What spawning says; a program that fails is no error here.
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        with_tools(command);
        self.at_home(command);
        self.run(|| command.stdin(Stdio::null()).output())
    }

    /// Runs a shell script in this host, stopping at its first failing command, and returns what it wrote to stdout.
    ///
    /// # Errors
    /// When it does not exit with 0: the script, the status, and all it wrote.
    pub fn sh(&self, script: &str) -> io::Result<String> {
        let output = self.output(Command::new("sh").args(["-ec", script]))?;
        self.succeeded(script, &output)
    }

    /// Runs commands of iproute2's `ip`, one a line, all in one process.
    ///
    /// # Errors
    /// When one fails: the commands, and what `ip` said.
    pub fn ip(&self, commands: &str) -> io::Result<String> {
        let output = self.run(|| batch(commands))?;
        self.succeeded(commands, &output)
    }

    /// Loads an nftables rule set.
    ///
    /// # Errors
    /// When `nft` refuses it, with what it said.
    pub fn nft(&self, rules: &str) -> io::Result<String> {
        let output = self.run(|| feed(Command::new("nft").args(["-f", "-"]), rules))?;
        self.succeeded(rules, &output)
    }

    /// Gives an interface its addresses (`ip4`/16 and `ip6`/64, usable at once), makes them this host's own, and sets
    /// the interface up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn assign(&mut self, interface: &str, ip4: Ipv4Addr, ip6: Ipv6Addr) -> io::Result<()> {
        self.ip(&format!(
            "addr add {ip4}/16 dev {interface}\n\
             addr add {ip6}/64 dev {interface} nodad\n\
             link set {interface} up"
        ))?;
        (self.ip4, self.ip6) = (ip4, ip6);
        Ok(())
    }

    fn succeeded(&self, what: &str, output: &Output) -> io::Result<String> {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let name = &self.name;
        Err(io::Error::other(format!("on {name}: {what}\n{}\n{stdout}{stderr}", output.status)))
    }
}

/// Wires two hosts: a virtual cable with one interface at each end, both still down and without addresses.
///
/// # Errors
/// What `ip` says.
pub fn connect(a: &Host, interface_a: &str, b: &Host, interface_b: &str) -> io::Result<()> {
    let other = b.path();
    a.ip(&format!("link add {interface_a} type veth peer name {interface_b} netns {other}"))?;
    Ok(())
}

fn make() -> io::Result<OwnedFd> {
    let namespace = namespace::create()?;
    // Link-local addresses are usable at once, too. Where /proc/sys may not be written they are a second later.
    for knob in ["accept_dad", "dad_transmits"] {
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/default/{knob}"), "0");
    }
    Ok(namespace)
}

fn explain(error: io::Error) -> io::Error {
    let message =
        format!("cannot make a network namespace ({error}): be root, or run this in `unshare -Urnm`");
    io::Error::new(error.kind(), message)
}

fn batch(commands: &str) -> io::Result<Output> {
    feed(Command::new("ip").args(["-batch", "-"]), commands)
}

fn feed(command: &mut Command, input: &str) -> io::Result<Output> {
    with_tools(command);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(|error| {
        let program = piped.get_program().display();
        io::Error::new(error.kind(), format!("{program}: {error}"))
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
