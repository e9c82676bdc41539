//! Running the client, and hearing what it does.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// The program, which finds no file of hosts but what it is given.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knock"));
    for variable in ["XDG_CONFIG_HOME", "APPDATA"] {
        command.env(variable, std::env::temp_dir().join("no-such-directory"));
    }
    command
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    command().args(arguments).output().unwrap().into()
}

/// Runs a line of arguments without spaces in them.
pub(crate) fn knock(line: &str) -> Ended {
    run(line.split_whitespace())
}

/// Runs one that must succeed in silence.
pub(crate) fn knock_well(line: &str) {
    assert_eq!(knock(line), Ended { code: Some(0), stdout: String::new(), stderr: String::new() }, "{line}");
}

/// A UDP port that hears knocks.
pub(crate) struct Ear(UdpSocket);

impl Ear {
    pub(crate) fn at(address: IpAddr) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Waits for a knock, checks that it is one NUL byte, and says from where it came.
    pub(crate) fn hear(&self) -> SocketAddr {
        let mut buffer = [0xff; 16];
        let (length, from) = self.0.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], [0]);
        from
    }

    /// Checks that nothing has come that was not heard; loopback delivers before the sender goes on.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let outcome = self.0.recv_from(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        matches!(outcome, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

/// A TCP port of this machine that nobody listens at.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind((V4, 0)).unwrap().local_addr().unwrap().port()
}
