//! A client and a server with one port of each kind, and what arrives there when a client program is run.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lab::{Capture, Lab, Protocol, Seen, Service, TcpFlags, TempDir};

use crate::names::{self, NameServer};

/// The server's addresses; `10.9.2.1` is the one that `turn.lab` has in its second turn.
const TURNS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 2, 1)];
/// Where a connection is accepted.
const OPEN: u16 = 7100;
/// Drops what is knocked at; every other port refuses.
const SERVER_FIREWALL: &str = "add table inet wire
add chain inet wire arriving { type filter hook input priority 0; }
add rule inet wire arriving tcp dport { 7200, 7201, 7202 } drop
add rule inet wire arriving udp dport 7201 drop
";
/// Lets no knock at 7300 out.
const CLIENT_FIREWALL: &str = "add table inet wire
add chain inet wire leaving { type filter hook output priority 0; }
add rule inet wire leaving tcp dport 7300 drop
add rule inet wire leaving udp dport 7300 drop
";
/// There is no way to 10.8.0.0/16.
const HOSTS: &str = "127.0.0.1 localhost\n10.9.0.1 both.lab\nfd09::1 both.lab\n10.9.0.1 four.lab\n\
    10.8.0.1 half.lab\nfd09::1 half.lab\n";
const RESOLVER: &str = "nameserver 10.9.0.1\noptions timeout:2 attempts:1\n";
/// Gives the program its own names, and one processor: packets sent from two may overtake each other.
const PREPARE: &str = "mount --bind \"$1\" /etc/hosts; mount --bind \"$2\" /etc/resolv.conf; shift 2
    exec taskset -c \"$@\"";
/// Sent by the test behind everything that the program sent.
const END: &[u8] = b"end";
const END_PORT: u16 = 7999;
const PATIENCE: Duration = Duration::from_secs(10);

/// All that a script, or the other host, can see of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The knocks in the order of their arrival, as in `tcp 10.9.0.1:7000 SYN`.
    pub(crate) knocks: Vec<String>,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

pub(crate) struct Net {
    lab: Lab,
    directory: TempDir,
    names: NameServer,
    processor: String,
    _open: Service,
}

impl Net {
    pub(crate) fn new() -> io::Result<Self> {
        let lab = Lab::pair()?;
        let (client, server) = (lab.client(), lab.server());
        server.ip(&format!("addr add {}/16 dev eth0", TURNS[1]))?;
        server.ip("addr add fe80::1/64 dev eth0 nodad")?;
        server.nft(SERVER_FIREWALL)?;
        client.nft(CLIENT_FIREWALL)?;
        client.ip("route add unreachable 10.8.0.0/16")?;
        let directory = TempDir::new()?;
        directory.write("hosts", HOSTS)?;
        directory.write("resolv.conf", RESOLVER)?;
        let names = NameServer::start(server, TURNS)?;
        let open = Service::start(server, OPEN)?;
        Ok(Self { lab, directory, names, processor: first_processor()?, _open: open })
    }

    /// A file that the program can be given.
    pub(crate) fn file(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        self.directory.write(name, content)
    }

    /// A shell script on the client's host.
    pub(crate) fn on_client(&self, script: &str) -> io::Result<String> {
        self.lab.client().sh(script)
    }

    /// Runs `program` with a line of arguments on the client's host.
    pub(crate) fn run(&self, program: &Path, line: &str) -> io::Result<Outcome> {
        self.names.begin_again();
        let capture = Capture::open(self.lab.server(), "eth0")?;
        let begin = Instant::now();
        let output = self.lab.client().output(&mut self.command(program, line))?;
        let took = begin.elapsed();
        Ok(Outcome {
            knocks: self.arrived(&capture)?,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took,
        })
    }

    fn command(&self, program: &Path, line: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", PREPARE, "knock"]);
        command.args(["hosts", "resolv.conf"].map(|name| self.directory.path().join(name)));
        command.arg(&self.processor).arg(program).args(line.split_whitespace());
        command
    }

    fn arrived(&self, capture: &Capture) -> io::Result<Vec<String>> {
        self.lab.client().run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.send_to(END, self.lab.server().at4(END_PORT))
        })?;
        let seen = capture.wait_for(PATIENCE, |seen| seen.iter().any(is_end))?;
        Ok(seen.iter().filter(|seen| is_knock(seen)).map(ToString::to_string).collect())
    }
}

fn is_end(seen: &Seen) -> bool {
    seen.payload == END
}

/// Datagrams, and segments that begin a connection; what goes on with an open port is left out, since whether the
/// handshake is through before the socket is closed is a race that both clients run.
fn is_knock(seen: &Seen) -> bool {
    match seen.protocol {
        Protocol::Udp => !is_end(seen) && seen.destination.port() != names::PORT,
        Protocol::Tcp => seen.flags.contains(TcpFlags::SYN),
    }
}

/// One of those that this process may run on.
fn first_processor() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split([',', '-']).next()).unwrap_or("0");
    Ok(first.to_owned())
}
