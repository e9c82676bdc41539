//! What a case is, and how it is written down.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::{Frame, Host, Lab, Signal, TcpFlags};

/// Ends the configuration of a case: a door that the harness alone knocks at, to learn that everything sent before
/// has been looked at.
const SENTINEL_DOOR: &str = "\n[sentinel]\nsequence = 60999:udp\n";
/// Its name in the log.
pub(crate) const SENTINEL: &str = "sentinel";
/// The file with what the system log was told.
pub(crate) const SYSLOG: &str = "syslog";
/// Its sequence.
pub(crate) const SENTINEL_PORT: &str = "60999:udp";

/// One case: a configuration, arguments, and what happens then.
pub(crate) struct Case {
    /// `topic: what is shown`.
    pub(crate) name: &'static str,
    /// The text of `{dir}/knockd.conf`; without one there is no such file.
    pub(crate) config: Option<Vec<u8>>,
    /// The whole command line. `{dir}` in it, as everywhere in a case, is the run's own directory, which is also the
    /// working directory.
    pub(crate) arguments: Vec<&'static str>,
    /// Further files in the directory.
    pub(crate) files: Vec<(&'static str, String)>,
    /// What the daemon finds at these paths of the machine: a file with this text, or for a path that ends in `/` an
    /// empty directory.
    pub(crate) in_place: Vec<(&'static str, String)>,
    /// It finds a system log, which writes to the file `syslog`.
    pub(crate) syslog: bool,
    /// A shell script to prepare the server.
    pub(crate) before: Option<&'static str>,
    /// What happens once the daemon listens.
    pub(crate) steps: Vec<Step>,
    /// How the daemon says that it listens.
    pub(crate) ready: Ready,
    /// What of the outcome is compared beyond the standard.
    pub(crate) view: View,
    /// In what ours is to differ.
    pub(crate) difference: Option<Difference>,
}

/// A difference that is meant.
pub(crate) struct Difference {
    /// The entry of `docs/knockd-differences.md` that tells of it.
    pub(crate) id: &'static str,
    /// How ours ends, and what its commands write: `running + open 10.9.1.1`.
    pub(crate) ours: &'static str,
}

/// How a daemon says that it listens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// `starting up` in its log file or on standard output.
    Listening,
    /// As `Listening`, from a process of its own: the one that was started ends.
    Daemon,
    /// Not at all: the process ends.
    Ended,
}

/// What is compared.
#[derive(Default)]
pub(crate) struct View {
    /// The lines on standard output.
    pub(crate) stdout: bool,
    /// These files of the directory.
    pub(crate) files: Vec<&'static str>,
    /// Commands run at the same time: what they wrote, and their log lines, have no order.
    pub(crate) unordered: bool,
}

/// Makes frames byte by byte, from and to these hardware addresses.
pub(crate) type MakeBytes = fn(&Ends<'_>, [u8; 6], [u8; 6]) -> Vec<Vec<u8>>;

/// Something that happens in a case.
pub(crate) enum Step {
    /// Real packets from one of the client's addresses.
    Knock { from: Source, to: Target, ports: String },
    /// Frames made to measure.
    Frames(fn(&Ends<'_>) -> Vec<Frame>),
    /// Bytes made of frames, from and to these hardware addresses.
    Bytes(MakeBytes),
    /// Waits until the log, or standard output where there is no log, has this many lines with this part.
    Line { part: String, times: usize },
    /// Waits until the commands have written this.
    Ran { part: String, times: usize },
    /// Waits until a file contains this.
    File { name: &'static str, part: String },
    /// Time passes.
    Pause(Duration),
    /// To the daemon.
    Signal(Signal),
    /// The configuration file is written anew.
    Config(Vec<u8>),
    /// A shell script on the server.
    Shell(&'static str),
    /// Knocks at the sentinel door and waits until it opens: whatever was sent before has been looked at.
    Sentinel,
    /// Waits until the process has ended.
    Exit,
}

/// Who knocks: the client's own address is number 1.
#[derive(Clone, Copy)]
pub(crate) struct Source(pub(crate) u8);

/// Where to.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// The server's IPv4 address.
    V4,
    /// The server's IPv6 address.
    V6,
    /// Any other address that leads to the server.
    Address(&'static str),
}

impl Target {
    pub(crate) fn address(self, server: &Host) -> IpAddr {
        match self {
            Self::V4 => server.ip4(),
            Self::V6 => server.ip6(),
            Self::Address(text) => text.parse().unwrap_or_else(|_| panic!("{text} is no address")),
        }
    }
}

impl Source {
    /// The address that the sentinel is knocked at from.
    pub(crate) const SENTINEL: Self = Self(9);

    /// Number 1 is the client's own, the others are added for the test.
    pub(crate) fn address(self, client: &Host, like: IpAddr) -> IpAddr {
        match (self.0, like) {
            (1, IpAddr::V4(_)) => client.ip4(),
            (1, IpAddr::V6(_)) => client.ip6(),
            (number, IpAddr::V4(_)) => [10, 9, 2, number].into(),
            (number, IpAddr::V6(_)) => [0xfd09, 0, 0, 0, 0, 0, 2, number.into()].into(),
        }
    }
}

/// Where frames may come from and go to.
pub(crate) struct Ends<'a>(pub(crate) &'a Lab);

impl Ends<'_> {
    /// A port of the server, by IPv4.
    pub(crate) fn to(&self, port: u16) -> SocketAddr {
        self.0.server().at4(port)
    }

    /// A port of the server, by IPv6.
    pub(crate) fn to6(&self, port: u16) -> SocketAddr {
        self.0.server().at6(port)
    }

    /// A source port of the client, by IPv4.
    pub(crate) fn from(&self, port: u16) -> SocketAddr {
        self.0.client().at4(port)
    }

    /// A source port of the client, by IPv6.
    pub(crate) fn from6(&self, port: u16) -> SocketAddr {
        self.0.client().at6(port)
    }

    /// A SYN from the client; each to be from another source port.
    pub(crate) fn syn(&self, from: u16, to: u16) -> Frame {
        Frame::tcp(self.from(from), self.to(to)).numbers(u32::from(from) * 7919, 0)
    }
    /// One segment a port, with these flags.
    pub(crate) fn segments(&self, ports: &[(u16, TcpFlags)]) -> Vec<Frame> {
        let segment = |(from, (to, flags)): (u16, &(u16, TcpFlags))| self.syn(from, *to).flags(*flags);
        (41_001..).zip(ports).map(segment).collect()
    }
}

/// A case without a configuration, for the command line's sake: the process ends by itself.
pub(crate) fn run(name: &'static str, arguments: &[&'static str]) -> Case {
    Case {
        name,
        config: None,
        arguments: arguments.to_vec(),
        files: Vec::new(),
        in_place: Vec::new(),
        syslog: false,
        before: None,
        steps: Vec::new(),
        ready: Ready::Ended,
        view: View::default(),
        difference: None,
    }
}

/// A case with this configuration as it is.
pub(crate) fn file(name: &'static str, config: impl Into<Vec<u8>>) -> Case {
    let mut case = run(name, &["-c", "{dir}/knockd.conf"]);
    case.config = Some(config.into());
    case.ready = Ready::Listening;
    case
}

/// A case with these doors, after options for log file and interface, and before the sentinel's door.
pub(crate) fn doors(name: &'static str, doors: &str) -> Case {
    file(name, with_options(doors))
}

/// A case with one door, `[door]`, of these lines.
pub(crate) fn door(name: &'static str, lines: &str) -> Case {
    doors(name, &format!("[door]\n{lines}"))
}

/// Doors with the usual options and the sentinel.
pub(crate) fn with_options(doors: &str) -> String {
    format!("[options]\nlogfile = {{dir}}/knockd.log\ninterface = eth0\n\n{doors}{SENTINEL_DOOR}")
}

impl Case {
    /// The command line instead of `-c {dir}/knockd.conf`.
    pub(crate) fn command_line(mut self, arguments: &[&'static str]) -> Self {
        self.arguments = arguments.to_vec();
        self
    }

    /// Further arguments.
    pub(crate) fn arguments(mut self, arguments: &[&'static str]) -> Self {
        self.arguments.extend(arguments);
        self
    }

    /// A further file in the directory.
    pub(crate) fn with_file(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.files.push((name, text.into()));
        self
    }

    /// The daemon finds this text at a path of the machine.
    pub(crate) fn in_place(mut self, path: &'static str, text: &str) -> Self {
        self.in_place.push((path, text.to_owned()));
        self
    }

    /// Whether the configuration asks for the system's log.
    pub(crate) fn logs_to_syslog(&self) -> bool {
        let config = self.config.as_deref().map(String::from_utf8_lossy);
        self.syslog && config.is_some_and(|config| config.contains("UseSyslog"))
    }

    /// The daemon finds a system log, whose messages are compared.
    pub(crate) fn syslog(mut self) -> Self {
        self.syslog = true;
        self.shows(SYSLOG)
    }

    /// A script that prepares the server.
    pub(crate) fn before(mut self, script: &'static str) -> Self {
        self.before = Some(script);
        self
    }

    /// The daemon goes into the background.
    pub(crate) fn daemonises(mut self) -> Self {
        self.ready = Ready::Daemon;
        self
    }

    /// The process ends by itself, at least with one of the two.
    pub(crate) fn ends(mut self) -> Self {
        self.ready = Ready::Ended;
        self
    }

    /// Standard output is compared too.
    pub(crate) fn shows_stdout(mut self) -> Self {
        self.view.stdout = true;
        self
    }

    /// A file is compared too.
    pub(crate) fn shows(mut self, name: &'static str) -> Self {
        self.view.files.push(name);
        self
    }

    /// Commands run at the same time.
    pub(crate) fn unordered(mut self) -> Self {
        self.view.unordered = true;
        self
    }

    /// Ours is to differ, as this entry of the document says, and to come to this: `running + open 10.9.1.1`.
    pub(crate) fn differs(mut self, id: &'static str, ours: &'static str) -> Self {
        self.difference = Some(Difference { id, ours });
        self
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn send(self, from: u8, to: Target, ports: &str) -> Self {
        self.step(Step::Knock { from: Source(from), to, ports: ports.into() })
    }

    /// The client knocks by IPv4.
    pub(crate) fn knock(self, ports: &str) -> Self {
        self.send(1, Target::V4, ports)
    }

    /// The client knocks by IPv6.
    pub(crate) fn knock6(self, ports: &str) -> Self {
        self.send(1, Target::V6, ports)
    }

    /// Another client knocks by IPv4.
    pub(crate) fn knock_from(self, source: u8, ports: &str) -> Self {
        self.send(source, Target::V4, ports)
    }

    /// The client knocks at another address.
    pub(crate) fn knock_at(self, address: &'static str, ports: &str) -> Self {
        self.send(1, Target::Address(address), ports)
    }

    /// The client sends frames.
    pub(crate) fn frames(self, frames: fn(&Ends<'_>) -> Vec<Frame>) -> Self {
        self.step(Step::Frames(frames))
    }
    /// The client sends what no frame can be.
    pub(crate) fn bytes(self, bytes: MakeBytes) -> Self {
        self.step(Step::Bytes(bytes))
    }

    /// Waits for a line.
    pub(crate) fn line(self, part: &str) -> Self {
        self.lines(1, part)
    }

    /// Waits for so many lines.
    pub(crate) fn lines(self, times: usize, part: &str) -> Self {
        self.step(Step::Line { part: part.into(), times })
    }

    /// Waits for what commands wrote.
    pub(crate) fn ran(self, part: &str) -> Self {
        self.ran_times(1, part)
    }

    /// Waits for what commands wrote so many times.
    pub(crate) fn ran_times(self, times: usize, part: &str) -> Self {
        self.step(Step::Ran { part: part.into(), times })
    }

    /// Waits until a file contains this.
    pub(crate) fn file_has(self, name: &'static str, part: &str) -> Self {
        self.step(Step::File { name, part: part.into() })
    }

    /// Time passes; for where the timing is the point.
    pub(crate) fn pause(self, milliseconds: u64) -> Self {
        self.step(Step::Pause(Duration::from_millis(milliseconds)))
    }

    /// The daemon gets a signal.
    pub(crate) fn signal(self, signal: Signal) -> Self {
        self.step(Step::Signal(signal))
    }

    /// The configuration file gets these doors instead.
    pub(crate) fn new_doors(self, doors: &str) -> Self {
        self.new_file(with_options(doors))
    }

    /// The configuration file becomes this.
    pub(crate) fn new_file(self, text: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Config(text.into()))
    }

    /// A script on the server.
    pub(crate) fn shell(self, script: &'static str) -> Self {
        self.step(Step::Shell(script))
    }

    /// Everything sent so far has been looked at. Wipes the attempts of all others in knockd, so nothing that goes on
    /// an attempt may follow.
    pub(crate) fn sentinel(self) -> Self {
        self.step(Step::Sentinel)
    }

    /// The process ends.
    pub(crate) fn exit(self) -> Self {
        self.step(Step::Exit)
    }
}
