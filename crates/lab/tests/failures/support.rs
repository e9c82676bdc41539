//! What the failures share: a server with nothing in front of it but the daemon, a guest, a stranger; when a door is due
//! to close; and the daemon's control socket.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use lab::side_by_side;
use lab::{Daemon, DaemonBuilder, Host, Lab, PortState, Service, TempDir};
use serde_json::Value;

/// How long anything may take that ought to happen at once, on a machine with a lot to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How much later than it should a door may close, on a machine with a lot to do.
const SLACK: Duration = Duration::from_secs(1);
/// How much the daemon's clock and the test's may differ in what they round.
const ROUNDING: Duration = Duration::from_millis(5);
/// How often a guest who is let in may try in vain, on a machine with a lot to do.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(20);
const SSH: u16 = 22;
/// The sequence of [`ssh_door`].
pub(crate) const TO_SSH: &str = "7142,8319,5623";
/// The sequence of [`web_door`].
pub(crate) const TO_WEB: &str = "1701,2803";

/// A door of the kernel's; `open_for` may be empty: until it is closed.
pub(crate) fn ssh_door(open_for: &str) -> String {
    let line = if open_for.is_empty() { String::new() } else { format!("open_for = {open_for}\n") };
    format!("[ssh]\nsequence = {TO_SSH}\ntcpflags = syn\nopen = 22/tcp\n{line}")
}

/// A door of commands that tell `{dir}/ran` when they run.
pub(crate) fn web_door(seconds: &str) -> String {
    format!(
        "[web]\nsequence = {TO_WEB}\ntcpflags = syn\nstart_command = echo start >> {{dir}}/ran\n\
         cmd_timeout = {seconds}\nstop_command = echo stop >> {{dir}}/ran\n"
    )
}

/// A configuration of these doors.
pub(crate) fn config(doors: &[String]) -> String {
    format!("[options]\nlogfile = {{dir}}/knockd.log\n{}", doors.concat())
}

/// Our daemon.
pub(crate) fn knockd() -> io::Result<DaemonBuilder> {
    Ok(Daemon::of(lab::binary("knockd")?))
}

/// Our daemon, started by a shell script in `directory`, in which `{knockd}` stands for the daemon's path.
pub(crate) fn wrapped(directory: &TempDir, script: &str) -> io::Result<DaemonBuilder> {
    Ok(Daemon::of(wrapper(directory, script)?))
}

fn wrapper(directory: &TempDir, script: &str) -> io::Result<PathBuf> {
    let knockd = lab::binary("knockd")?.display().to_string();
    let script = format!("#!/bin/sh\n{}\n", script.replace("{knockd}", &knockd));
    let path = directory.write("wrapper", script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// When a door is due to close, as precisely as the test can know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    earliest: Instant,
    latest: Instant,
}

impl Term {
    /// Of a door that was opened for so long at some moment between these two.
    pub(crate) fn new(before: Instant, after: Instant, open_for: Duration) -> Self {
        Self { earliest: before + open_for, latest: after + open_for }
    }

    /// Whether the door must still be open.
    pub(crate) fn runs(&self) -> bool {
        Instant::now() < self.earliest
    }

    /// Checks that the daemon says the same of its only grant.
    pub(crate) fn assert_told_by(&self, daemon: &Daemon) -> io::Result<()> {
        let asked = Instant::now();
        let grants = grants(daemon)?;
        let answered = Instant::now();
        let [grant] = &grants[..] else {
            // Between its time and its end it may be gone at any moment.
            assert!(answered > self.earliest, "not one grant: {grants:?}\n{}", daemon.text());
            return Ok(());
        };
        let left = grant["left_seconds"].as_f64().unwrap_or_else(|| panic!("no end: {grant}"));
        let left = Duration::from_secs_f64(left);
        // What the daemon was doing when it was asked may have taken a while.
        let most = (self.latest + SLACK).saturating_duration_since(asked);
        let least = self.earliest.saturating_duration_since(answered + ROUNDING);
        assert!(least <= left && left <= most, "{grant}: not from {least:?} to {most:?}\n{}", daemon.text());
        Ok(())
    }
}

/// A server with a service at port 22, the guest who is to get in, and a stranger who is not.
pub(crate) struct Scene {
    lab: Lab,
    _ssh: Service,
}

impl Scene {
    /// Without any firewall.
    pub(crate) fn new() -> io::Result<Self> {
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
    pub(crate) fn ssh(&self) -> SocketAddr {
        self.server().at4(SSH)
    }

    /// Starts our daemon on the server.
    pub(crate) fn knockd(&self, config: &str) -> io::Result<Daemon> {
        knockd()?.config(config).start(self.server())
    }

    /// Knocks as the guest.
    pub(crate) fn knock(&self, ports: &str) -> io::Result<()> {
        self.guest().knock(self.server().ip4(), ports)
    }

    /// Has the guest open the kernel's door, which is open for so long, and get in; tells when it is due to close.
    pub(crate) fn open_ssh(&self, daemon: &Daemon, open_for: Duration) -> io::Result<Term> {
        let (mark, before) = (daemon.mark(), Instant::now());
        self.knock(TO_SSH)?;
        daemon.wait_for_line_after(mark, "10.9.1.1: ssh: opened 22/tcp", SOON)?;
        let term = Term::new(before, Instant::now(), open_for);
        assert!(self.gets_in() || !term.runs(), "not let in\n{}", daemon.text());
        Ok(term)
    }

    /// Has the guest open the door of commands, and waits until it is.
    pub(crate) fn open_web(&self, daemon: &Daemon) -> io::Result<()> {
        let before = lines_of(daemon, "ran").len();
        self.knock(TO_WEB)?;
        lab::wait_until("the start command", SOON, || lines_of(daemon, "ran").len() > before)?;
        lab::wait_until("the start command's end", SOON, || {
            grants(daemon).is_ok_and(|grants| {
                grants.iter().any(|grant| grant["door"] == "web" && grant["state"] == "open")
            })
        })
    }

    /// Whether the guest gets in.
    pub(crate) fn gets_in(&self) -> bool {
        (0..TRIES).any(|_| self.guest().probe(self.ssh()) == PortState::Open)
    }

    /// Checks that nobody gets in.
    pub(crate) fn assert_shut(&self) {
        for host in [self.guest(), self.stranger()] {
            assert_ne!(host.probe(self.ssh()), PortState::Open, "open for {}", host.name());
        }
    }

    /// Checks that the guest gets in until the time is over, and not after it.
    pub(crate) fn assert_closes_in_time(&self, term: &Term) {
        loop {
            let begin = Instant::now();
            let open =
                if term.runs() { self.gets_in() } else { self.guest().probe(self.ssh()) == PortState::Open };
            let end = Instant::now();
            if !open {
                assert!(end >= term.earliest, "closed {:?} too early", term.earliest - end);
                return;
            }
            assert!(begin <= term.latest + SLACK, "still open {:?} too late", begin - term.latest);
            thread::sleep(PAUSE);
        }
    }

    /// Does this while the stranger tries to get in all the time, which must not happen.
    pub(crate) fn guarded<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let stranger = scope.spawn(|| {
                loop {
                    let last = over.load(Ordering::Relaxed);
                    if self.stranger().probe(self.ssh()) == PortState::Open {
                        return true;
                    }
                    if last {
                        return false;
                    }
                }
            });
            let over = SetOnDrop(&over);
            let outcome = work();
            drop(over);
            assert!(!stranger.join().unwrap_or(true), "a stranger got in");
            outcome
        })
    }
}

/// So that nobody waits for ever where something panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks the daemon at its control socket.
pub(crate) fn ask(daemon: &Daemon, request: &str) -> io::Result<Value> {
    Ok(serde_json::from_str(&daemon.ask(request, SOON)?)?)
}

/// What is open.
pub(crate) fn grants(daemon: &Daemon) -> io::Result<Vec<Value>> {
    let answer = ask(daemon, r#"{"request":"grants"}"#)?;
    let grants = answer["grants"].as_array().cloned();
    grants.ok_or_else(|| io::Error::other(format!("no grants in {answer}")))
}

/// For whom a door is open, by the daemon.
pub(crate) fn holders(daemon: &Daemon, door: &str) -> io::Result<BTreeSet<String>> {
    let of_door = grants(daemon)?.into_iter().filter(|grant| grant["door"] == door);
    Ok(of_door.map(|grant| text_of(&grant["network"])).collect())
}

/// For whom a door is open, by the kernel (IPv4).
pub(crate) fn admitted(host: &Host, door: &str) -> io::Result<BTreeSet<String>> {
    let listed: Value = serde_json::from_str(&host.sh(&format!("nft -j list set inet knockd {door}_v4"))?)?;
    let sets = listed["nftables"].as_array().into_iter().flatten();
    let elements = sets.filter_map(|object| object["set"]["elem"].as_array()).flatten();
    // One with a time is an object, one without is just an address.
    Ok(elements
        .map(|element| text_of(if element.is_object() { &element["elem"]["val"] } else { element }))
        .collect())
}

/// Waits until the daemon and the kernel say the same about a door. While the kernel finds more room for a set, a list
/// of it may lack some of its elements.
pub(crate) fn wait_until_agreed(daemon: &Daemon, host: &Host, door: &str) -> io::Result<()> {
    let different = || -> io::Result<Vec<String>> {
        let (told, done) = (holders(daemon, door)?, admitted(host, door)?);
        Ok(told.symmetric_difference(&done).cloned().collect())
    };
    let agreed = || different().is_ok_and(|different| different.is_empty());
    lab::wait_until("the kernel and the daemon agree", SOON, agreed)
        .map_err(|error| io::Error::other(format!("{error}: {:?}\n{}", different(), daemon.log())))
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Opens a door by hand.
pub(crate) fn open_by_hand(daemon: &Daemon, door: &str, address: &str, seconds: u32) -> io::Result<Value> {
    let request =
        serde_json::json!({"request": "open", "door": door, "address": address, "seconds": seconds});
    ask(daemon, &request.to_string())
}

/// Closes everything, and waits until it is closed.
pub(crate) fn close_all(daemon: &Daemon) -> io::Result<()> {
    ask(daemon, r#"{"request":"close"}"#)?;
    wait_until_nothing_is_open(daemon)
}

/// Waits until the daemon has nothing open any more.
pub(crate) fn wait_until_nothing_is_open(daemon: &Daemon) -> io::Result<()> {
    lab::wait_until("nothing is open", SOON, || grants(daemon).is_ok_and(|grants| grants.is_empty()))
        .map_err(|error| io::Error::other(format!("{error}: {:?}\n{}", grants(daemon), daemon.text())))
}

/// The lines of a file in the daemon's directory.
pub(crate) fn lines_of(daemon: &Daemon, name: &str) -> Vec<String> {
    daemon.file(name).lines().map(str::to_owned).collect()
}

/// How many lines the daemon has written that contain `part`.
pub(crate) fn count(daemon: &Daemon, part: &str) -> usize {
    daemon.lines().iter().filter(|line| line.text.contains(part)).count()
}
