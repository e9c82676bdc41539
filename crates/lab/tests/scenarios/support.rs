//! What the scenarios share: a server behind a firewall, its guest, a stranger, and how they are looked at.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use lab::side_by_side;
use lab::{Daemon, DaemonBuilder, Host, Lab, PortState, Service};

/// How long anything may take that ought to happen at once, on a machine with a lot to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How often what may not be heard yet is knocked again.
const AGAIN: Duration = Duration::from_millis(150);
/// The port behind the door.
pub(crate) const SSH: u16 = 22;

/// A firewall that drops everything but what belongs to a connection, and port 22 for guests.
pub(crate) const DROPPING: &str = "table inet filter {
    set guests4 { type ipv4_addr; }
    set guests6 { type ipv6_addr; }
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
        ip saddr @guests4 tcp dport 22 accept
        ip6 saddr @guests6 tcp dport 22 accept
    }
}";

/// A firewall that minds port 22 alone: at all others the host itself answers that nobody is there.
pub(crate) const REFUSING: &str = "table inet filter {
    set guests4 { type ipv4_addr; }
    set guests6 { type ipv6_addr; }
    chain input {
        type filter hook input priority filter; policy accept;
        ct state established,related accept
        ip saddr @guests4 tcp dport 22 accept
        ip6 saddr @guests6 tcp dport 22 accept
        tcp dport 22 drop
    }
}";

/// The directives of a door that makes its knocker a guest.
pub(crate) const OPEN: &str = "
start_command = nft add element inet filter guests4 { %IP% }
start_command_6 = nft add element inet filter guests6 { %IP% }
";

/// The directives of a door that makes its knocker a guest no more.
pub(crate) const CLOSE: &str = "
start_command = nft delete element inet filter guests4 { %IP% }
start_command_6 = nft delete element inet filter guests6 { %IP% }
";

/// The directives that close after a while what [`OPEN`] has opened; `cmd_timeout` is the door's own.
pub(crate) const STOP: &str = "
stop_command = nft delete element inet filter guests4 { %IP% }
stop_command_6 = nft delete element inet filter guests6 { %IP% }
";

/// Our daemon.
pub(crate) fn knockd() -> io::Result<DaemonBuilder> {
    Ok(Daemon::of(lab::binary("knockd")?))
}

/// Our daemon with this configuration, once it listens on `host`.
pub(crate) fn start(host: &Host, config: &str) -> io::Result<Daemon> {
    knockd()?.config(config).start(host)
}

/// Our client's path.
pub(crate) fn knock() -> io::Result<String> {
    Ok(lab::binary("knock")?.display().to_string())
}

/// Tells why a scenario, or a part of it, is not played here.
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// A server whose port 22 is shut, the guest who is to get in, and a stranger who is not.
pub(crate) struct Scene {
    lab: Lab,
    _ssh: Service,
}

impl Scene {
    /// With nftables' rules on the server.
    pub(crate) fn new(rules: &str) -> io::Result<Self> {
        let scene = Self::open()?;
        scene.server().nft(rules)?;
        Ok(scene)
    }

    /// With rules that a shell script makes.
    pub(crate) fn with_script(script: &str) -> io::Result<Self> {
        let scene = Self::open()?;
        scene.server().sh(script)?;
        Ok(scene)
    }

    fn open() -> io::Result<Self> {
        let lab = Lab::with_clients(2)?;
        let ssh = Service::start(lab.server(), SSH)?;
        Ok(Self { lab, _ssh: ssh })
    }

    pub(crate) fn server(&self) -> &Host {
        self.lab.server()
    }

    pub(crate) fn guest(&self) -> &Host {
        self.lab.client()
    }

    pub(crate) fn stranger(&self) -> &Host {
        &self.lab.clients()[1]
    }

    /// The server's port 22.
    pub(crate) fn ssh4(&self) -> SocketAddr {
        self.server().at4(SSH)
    }

    /// The server's port 22, by IPv6.
    pub(crate) fn ssh6(&self) -> SocketAddr {
        self.server().at6(SSH)
    }

    /// Starts our daemon on the server.
    pub(crate) fn knockd(&self, config: &str) -> io::Result<Daemon> {
        start(self.server(), config)
    }

    /// Knocks as the guest, by IPv4.
    pub(crate) fn knock(&self, ports: &str) -> io::Result<()> {
        self.guest().knock(self.server().ip4(), ports)
    }

    /// Checks that nobody gets in.
    pub(crate) fn assert_shut(&self, target: SocketAddr) {
        let states = thread::scope(|scope| {
            [self.guest(), self.stranger()]
                .map(|host| scope.spawn(|| host.probe(target)))
                .map(|probe| probe.join().unwrap_or(PortState::Open))
        });
        assert!(!states.contains(&PortState::Open), "{target} for guest and stranger: {states:?}");
    }

    /// Waits until the guest gets in, and checks that nobody else does.
    pub(crate) fn assert_opens(&self, target: SocketAddr) -> io::Result<()> {
        self.guest().wait_until_open(target, SOON)?;
        assert_ne!(self.stranger().probe(target), PortState::Open, "{target} is open for everybody");
        Ok(())
    }

    /// Waits until the guest gets in no longer.
    pub(crate) fn assert_closes(&self, target: SocketAddr) -> io::Result<()> {
        self.guest().wait_until_closed(target, SOON)?;
        self.assert_shut(target);
        Ok(())
    }

    /// Takes the guest off the list by hand, for the next knock.
    pub(crate) fn expel(&self) -> io::Result<()> {
        self.server().nft("flush set inet filter guests4\nflush set inet filter guests6")?;
        self.assert_shut(self.ssh4());
        Ok(())
    }
}

/// How many lines the daemon has written that contain `part`.
pub(crate) fn count(daemon: &Daemon, part: &str) -> usize {
    daemon.lines().iter().filter(|line| line.text.contains(part)).count()
}

/// Knocks again and again by `knock` until the daemon tells of an opening; how long after `since` the knock began that
/// was heard.
pub(crate) fn heard_after(
    since: Instant,
    daemon: &Daemon,
    knock: impl Fn() -> io::Result<()>,
) -> io::Result<Duration> {
    let mark = daemon.mark();
    let deadline = since + SOON;
    loop {
        let sent = since.elapsed();
        knock()?;
        match daemon.wait_for_line_after(mark, "OPEN SESAME", AGAIN) {
            Ok(_) => return Ok(sent),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
    }
}
