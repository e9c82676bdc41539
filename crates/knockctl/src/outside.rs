//! A stranger's place: a network namespace of its own, wired to the one that this process is in.
//!
//! It lives as long as this process, however that ends: with the namespace the kernel takes the wire away. `ip` of
//! iproute2 makes interfaces and addresses.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

use knock_core::network::Network;
use knock_linux::namespace;

use crate::doctor::{PATH, Reach, listing};
use crate::failure::Failure;

/// How the interfaces on this side are named; a number follows.
const NAME: &str = "knocktry";
/// The interface on the stranger's side.
const THEIRS: &str = "eth0";
/// So many such places can be at once.
const MAX_PLACES: u32 = 16;
/// So many random networks are looked at for one that is free.
const MAX_DRAWS: usize = 100;
/// Routes for more than such a network do not matter: the wire's own is longer, and counts.
const WIDE: u8 = 9;
/// How long the wire may take until packets pass.
const SETTLE: Duration = Duration::from_secs(3);
/// How long an answer is waited for: longer than a busy machine needs, shorter than TCP's second repetition.
const ANSWER: Duration = Duration::from_millis(1250);

/// A way between the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// The stranger's address.
    pub(crate) outside: IpAddr,
    /// This machine's address on the wire.
    pub(crate) inside: IpAddr,
}

/// The place, with its wire.
pub(crate) struct Outside {
    namespace: OwnedFd,
    interface: String,
    ways: Vec<Way>,
    /// Why there is no way by IPv6.
    pub(crate) no_ipv6: Option<String>,
}

/// Whether an interface of this machine is such a wire, this process's or another's.
pub(crate) fn is_wire(interface: &str) -> bool {
    interface.starts_with(NAME)
}

/// Refuses where the process is not root.
pub(crate) fn need_root(command: &str) -> Result<(), Failure> {
    match fs::metadata("/proc/self").map(|own| own.uid()) {
        Ok(0) => Ok(()),
        _ => Err(Failure::Refused(format!("only root can do that: sudo knockctl {command} …"))),
    }
}

impl Outside {
    /// Makes it, with IPv4 and, where the machine has it switched on, IPv6.
    ///
    /// # Errors
    /// In words, with what to do.
    pub(crate) fn make() -> Result<Self, String> {
        let namespace = thread::scope(|scope| match scope.spawn(namespace::create).join() {
            Ok(made) => made,
            Err(_) => Err(io::Error::other("its thread has ended")),
        });
        let namespace = namespace.map_err(|error| format!("cannot make a network namespace: {error}"))?;
        let interface = lay_wire(&namespace)?;
        let mut outside = Self { namespace, interface, ways: Vec::new(), no_ipv6: None };
        outside.wire()?;
        Ok(outside)
    }

    fn wire(&mut self) -> Result<(), String> {
        let interface = &self.interface;
        let (ours4, theirs4) = free_ipv4()?;
        ip(&format!("link set {interface} up\naddress add {ours4}/30 dev {interface}\n"))?;
        self.run(|| {
            ip(&format!("link set lo up\nlink set {THEIRS} up\naddress add {theirs4}/30 dev {THEIRS}\n"))
        })?;
        self.ways.push(Way { outside: theirs4.into(), inside: ours4.into() });
        match self.wire_ipv6() {
            Ok(way) => self.ways.push(way),
            Err(why) => self.no_ipv6 = Some(why),
        }
        self.settle()
    }

    fn wire_ipv6(&self) -> Result<Way, String> {
        let interface = &self.interface;
        let knob = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        if fs::read_to_string(knob).map_or(true, |off| off.trim() == "1") {
            return Err("IPv6 is switched off on this machine".into());
        }
        let (ours, theirs) = free_ipv6()?;
        ip(&format!("address add {ours}/64 dev {interface} nodad\n"))?;
        self.run(|| ip(&format!("address add {theirs}/64 dev {THEIRS} nodad\n")))?;
        Ok(Way { outside: theirs.into(), inside: ours.into() })
    }

    /// A new wire drops what comes before its queue is attached.
    fn settle(&self) -> Result<(), String> {
        let state = format!("/sys/class/net/{}/operstate", self.interface);
        let deadline = Instant::now() + SETTLE;
        // Without /sys there is nothing to ask; what gets lost shows then.
        while fs::read_to_string(&state).is_ok_and(|state| state.trim() != "up") {
            if Instant::now() >= deadline {
                return Err(format!("the interface {} does not come up", self.interface));
            }
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    /// The interface on this machine's side.
    pub(crate) fn interface(&self) -> &str {
        &self.interface
    }

    /// The ways to this machine, IPv4 first.
    pub(crate) fn ways(&self) -> impl Iterator<Item = Way> {
        self.ways.iter().copied()
    }

    /// Does something there; what it opens and starts stays there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
        let enter = || namespace::enter(self.namespace.as_fd()).map_err(|error| error.to_string());
        thread::scope(|scope| match scope.spawn(|| enter().and_then(|()| work())).join() {
            Ok(done) => done,
            Err(_) => Err("a thread has ended before its time".into()),
        })
    }

    /// Connects to all of these at once, and tells what each attempt met.
    pub(crate) fn connect_all(&self, targets: &[SocketAddr]) -> Vec<Reach> {
        let met = self.run(|| {
            Ok(thread::scope(|scope| {
                let tries: Vec<_> = targets.iter().map(|target| scope.spawn(|| connect(*target))).collect();
                tries.into_iter().map(|one| one.join().unwrap_or(Reach::Unanswered)).collect()
            }))
        });
        met.unwrap_or_default()
    }
}

/// A connection from there that is held.
pub(crate) struct Held {
    stream: TcpStream,
}

impl Outside {
    /// Connects, and holds the connection.
    pub(crate) fn hold(&self, target: SocketAddr) -> Option<Held> {
        let connect = || TcpStream::connect_timeout(&target, ANSWER).map_err(|error| error.to_string());
        self.run(connect).ok().map(|stream| Held { stream })
    }

    /// Ends our half of a connection, and tells whether the other side takes notice: what it does not get, it cannot
    /// acknowledge.
    pub(crate) fn goes_on(&self, held: &Held) -> bool {
        let answered = self.run(|| {
            let port = held.stream.local_addr().map_err(|error| error.to_string())?.port();
            // One that is gone already cannot be ended, and has its answer.
            let _ = held.stream.shutdown(Shutdown::Write);
            let deadline = Instant::now() + ANSWER;
            while !is_answered(port) {
                if Instant::now() >= deadline {
                    return Ok(false);
                }
                thread::sleep(Duration::from_millis(10));
            }
            Ok(true)
        });
        answered.unwrap_or(false)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The namespace's end would do it too, a little later.
        let _ = ip(&format!("link delete {}\n", self.interface));
    }
}

/// Adds the wire under a name that is free; others may take names at the same time.
fn lay_wire(namespace: &OwnedFd) -> Result<String, String> {
    let theirs = format!("/proc/{}/fd/{}", process::id(), namespace.as_raw_fd());
    for number in 0..MAX_PLACES {
        let name = format!("{NAME}{number}");
        match ip(&format!("link add {name} type veth peer name {THEIRS} netns {theirs}\n")) {
            Ok(_) => return Ok(name),
            Err(error) if error.contains("File exists") => {}
            Err(error) => return Err(error),
        }
    }
    Err(format!("{MAX_PLACES} interfaces {NAME}… are there already: remove them (ip link delete {NAME}0)"))
}

/// Whether the other side has answered to what a connection sent last, or has let it go (proc(5), `/proc/net/tcp`).
fn is_answered(port: u16) -> bool {
    const WAITING: [&str; 4] = ["01", "04", "09", "0B"];
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    let local = format!(":{port:04X}");
    let is_it = |line: &&str| line.split_whitespace().nth(1).is_some_and(|address| address.ends_with(&local));
    let mut lines = tables.iter().flat_map(|table| table.lines()).filter(is_it);
    !lines.any(|line| line.split_whitespace().nth(3).is_some_and(|state| WAITING.contains(&state)))
}

/// Tries a connection, and gives it up at once.
fn connect(target: SocketAddr) -> Reach {
    match TcpStream::connect_timeout(&target, ANSWER) {
        Ok(_) => Reach::Connected,
        Err(error) => match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Reach::Unanswered,
            // No neighbour answers: as if nobody did.
            io::ErrorKind::HostUnreachable if target.is_ipv6() => Reach::Unanswered,
            _ => Reach::Refused,
        },
    }
}

/// Runs commands of iproute2's `ip`, one a line.
fn ip(commands: &str) -> Result<String, String> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).env("PATH", PATH).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no program ip: apt install iproute2".to_owned(),
        _ => format!("ip: {error}"),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why itself.
        let _ = stdin.write_all(commands.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("ip: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Two addresses of 198.18.0.0/15, which is there for tests (RFC 2544), that no route is for.
fn free_ipv4() -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let routes = routes("-4");
    let first = Ipv4Addr::new(198, 18, 0, 0).to_bits();
    let nets = std::iter::repeat_with(|| first | (random() as u32 & 0x0001_fffc)).take(MAX_DRAWS);
    let mut free = nets.filter(|net| is_free(Network::of(Ipv4Addr::from_bits(*net).into(), 30), &routes));
    let net = free.next().ok_or("no network of 198.18.0.0/15 is free for the trial: routes lead there")?;
    Ok((Ipv4Addr::from_bits(net | 1), Ipv4Addr::from_bits(net | 2)))
}

/// Two addresses of a random network of fd00::/8 (RFC 4193) that no route is for.
fn free_ipv6() -> Result<(Ipv6Addr, Ipv6Addr), String> {
    let routes = routes("-6");
    let net = || 0xfd00_0000_0000_0000_u64 | random() >> 8;
    let address = |net: u64, host: u128| Ipv6Addr::from_bits(u128::from(net) << 64 | host);
    let nets = std::iter::repeat_with(net).take(MAX_DRAWS);
    let mut free = nets.filter(|net| is_free(Network::of(address(*net, 0).into(), 64), &routes));
    let net = free.next().ok_or("no network of fd00::/8 is free for the trial: routes lead there")?;
    Ok((address(net, 1), address(net, 2)))
}

/// The networks that routes lead to.
fn routes(family: &str) -> Vec<Network> {
    let listing = listing("ip", &[family, "route", "show", "table", "all"]).unwrap_or_default();
    let network = |line: &str| line.split_whitespace().take(2).find_map(|word| word.parse().ok());
    listing.lines().filter_map(network).collect()
}

fn is_free(wanted: Network, routes: &[Network]) -> bool {
    let overlaps = |route: &Network| route.contains(wanted.address()) || wanted.contains(route.address());
    !routes.iter().filter(|route| route.prefix() >= WIDE).any(overlaps)
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_with_a_route_is_not_free() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let routes = ["0.0.0.0/1", "198.18.4.0/22", "10.0.0.0/8"].map(network);
        assert!(!is_free(network("198.18.5.4/30"), &routes));
        assert!(is_free(network("198.18.8.4/30"), &routes));
    }
}
