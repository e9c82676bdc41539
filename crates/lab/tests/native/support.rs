//! What the scenarios share: a server with a service on port 22, its guest, a stranger, and how they are looked at.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) use lab::side_by_side;
use lab::{Daemon, DaemonBuilder, Host, Lab, PortState, Service, Signal};

/// How long anything may take that ought to happen at once, on a machine with a lot to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How long after one attempt the stranger makes the next.
const PAUSE: Duration = Duration::from_millis(50);
/// The port behind the door.
pub(crate) const SSH_PORT: u16 = 22;

/// A door as the scenarios write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub(crate) name: &'static str,
    /// As the client takes it.
    pub(crate) ports: &'static str,
    pub(crate) open_for: Duration,
}

/// The door that most scenarios are about.
pub(crate) const SSH: Door =
    Door { name: "ssh", ports: "7142 8319:udp 9623", open_for: Duration::from_secs(2) };
/// One that is open for long enough to look at it at leisure.
pub(crate) const LONG: Door =
    Door { name: "long", ports: "4711 5201:udp 3306", open_for: Duration::from_secs(600) };

impl Door {
    /// Its section, with more directives: `open` at least.
    pub(crate) fn section(&self, directives: &str) -> String {
        let open_for = self.open_for.as_secs_f64();
        self.lasting(&format!("open_for = {open_for}\n{directives}"))
    }

    /// The same without `open_for`.
    pub(crate) fn lasting(&self, directives: &str) -> String {
        let Self { name, ports, .. } = self;
        let sequence = ports.replace(' ', ",");
        format!("[{name}]\nsequence = {sequence}\ntcpflags = syn\n{directives}\n")
    }
}

/// Tells why a scenario, or a part of it, is not played here.
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Our daemon.
pub(crate) fn knockd() -> io::Result<DaemonBuilder> {
    Ok(Daemon::of(lab::binary("knockd")?))
}

/// A server with a service on port 22, the guest who is to get in, and a stranger who is not.
pub(crate) struct Scene {
    lab: Lab,
    _ssh: Service,
}

impl Scene {
    /// Without any firewall.
    pub(crate) fn new() -> io::Result<Self> {
        Self::with_clients(2)
    }

    /// With a third client, who is whatever the scenario makes of it.
    pub(crate) fn with_clients(count: u8) -> io::Result<Self> {
        let lab = Lab::with_clients(count)?;
        let ssh = Service::start(lab.server(), SSH_PORT)?;
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

    pub(crate) fn third(&self) -> &Host {
        &self.lab.clients()[2]
    }

    /// The server's port 22, by IPv4 and by IPv6.
    pub(crate) fn ssh(&self) -> [SocketAddr; 2] {
        [self.ssh4(), self.ssh6()]
    }

    pub(crate) fn ssh4(&self) -> SocketAddr {
        self.server().at4(SSH_PORT)
    }

    pub(crate) fn ssh6(&self) -> SocketAddr {
        self.server().at6(SSH_PORT)
    }

    /// Starts our daemon on the server, with these sections behind `[options]`.
    pub(crate) fn knockd(&self, sections: &str) -> io::Result<Daemon> {
        knockd()?.config(format!("[options]\n{sections}")).start(self.server())
    }

    /// Knocks as the guest with the real client.
    pub(crate) fn knock(&self, at: IpAddr, door: &Door) -> io::Result<()> {
        knock(self.guest(), at, door.ports)
    }

    /// Checks that neither guest nor stranger gets in.
    pub(crate) fn assert_shut(&self, target: SocketAddr) {
        assert_shut(&[self.guest(), self.stranger()], target);
    }

    /// Waits until the guest gets in, and checks that the stranger does not.
    pub(crate) fn assert_opens(&self, target: SocketAddr) -> io::Result<()> {
        self.guest().wait_until_open(target, SOON)?;
        assert_shut(&[self.stranger()], target);
        Ok(())
    }

    /// Waits until the guest gets in no longer.
    pub(crate) fn assert_closes(&self, target: SocketAddr) -> io::Result<()> {
        self.guest().wait_until_closed(target, SOON)?;
        self.assert_shut(target);
        Ok(())
    }

    /// Plays with the stranger trying to get in all the time, which must never succeed.
    pub(crate) fn keeping_out(
        &self,
        targets: &[SocketAddr],
        play: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let tries = targets.iter().map(|target| {
                let over = &over;
                scope.spawn(move || knock_about(self.stranger(), *target, over))
            });
            let tries: Vec<_> = tries.collect();
            let end = EndOfPlay(&over);
            let played = play();
            drop(end);
            for (attempt, target) in tries.into_iter().zip(targets) {
                let got_in = attempt.join().unwrap_or_else(|panic| resume_unwind(panic));
                assert!(!got_in, "{target} was open for the stranger");
            }
            played
        })
    }
}

/// Ends the stranger's tries, also where a panic ends the play.
struct EndOfPlay<'a>(&'a AtomicBool);

impl Drop for EndOfPlay<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tries until it is over; whether it ever got in.
fn knock_about(host: &Host, target: SocketAddr, over: &AtomicBool) -> bool {
    loop {
        if host.probe(target) == PortState::Open {
            return true;
        }
        if over.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// Checks that none of these gets in.
pub(crate) fn assert_shut(hosts: &[&Host], target: SocketAddr) {
    let states: Vec<_> = thread::scope(|scope| {
        let probes: Vec<_> =
            hosts.iter().map(|host| scope.spawn(|| (host.name().to_owned(), host.probe(target)))).collect();
        probes.into_iter().map(|probe| probe.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    assert!(states.iter().all(|(_, state)| *state != PortState::Open), "{target}: {states:?}");
}

/// Knocks with the real client.
pub(crate) fn knock(host: &Host, at: IpAddr, ports: &str) -> io::Result<()> {
    let mut knock = Command::new(lab::binary("knock")?);
    knock.args(["-d", "20"]).arg(at.to_string()).args(ports.split(' '));
    succeed(host, &mut knock)?;
    Ok(())
}

/// Runs a program on a host and returns what it wrote; failing is an error that tells all of it.
pub(crate) fn succeed(host: &Host, command: &mut Command) -> io::Result<String> {
    let output = host.output(command)?;
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() {
        return Ok(text);
    }
    Err(io::Error::other(format!("on {}: {command:?}: {}: {text}", host.name(), output.status)))
}

/// The address of a host of the same family as another.
pub(crate) fn address_like(host: &Host, like: SocketAddr) -> IpAddr {
    if like.is_ipv4() { host.ip4() } else { host.ip6() }
}

/// Asks the daemon something by its control socket, in its own words.
pub(crate) fn ask(daemon: &Daemon, request: &str) -> io::Result<String> {
    daemon.ask(request, SOON)
}

/// Tells the daemon to read its configuration again, and waits until the new one is in force.
pub(crate) fn reload(daemon: &Daemon) -> io::Result<()> {
    daemon.reload(SOON)
}

/// Ends the daemon as a service manager does. Its exit status is the signal's number, as with knockd.
pub(crate) fn terminate(daemon: &mut Daemon) -> io::Result<()> {
    daemon.signal(Signal::TERM)?;
    let status = daemon.wait_exit(SOON)?;
    assert_eq!(status.code(), Some(15), "{}", daemon.text());
    Ok(())
}
