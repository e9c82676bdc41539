//! `knockctl try DOOR`: knocks at a door for real, from a network namespace of its own, through the rules that are there,
//! and tells what happens.
//!
//! ```text
//! Outside (namespace, wire) ─► knock::run ─► the daemon ─► watch ─► steps
//!           └─► connections before, behind and after ──────────────────┘
//! ```
//!
//! Nothing stays: the namespace and its wire end with this process, the daemon stops listening at the wire when the
//! connection that asked for it ends, and [`aftermath`] closes the door.

mod aftermath;
mod listeners;
mod step;
mod watch;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use knock_core::control::{Answer, Door, DoorSecret, EventKind, Grant, GrantState, Request, Status};
use knock_core::network::Network;

use crate::client::{Connection, ask};
use crate::commands::Context;
use crate::doctor::{self, Reach};
use crate::failure::Failure;
use crate::outside::{self, Held, Outside, Way, need_root};
use aftermath::Aftermath;
use step::{Protocol, Reached, short};
use watch::Watch;

/// How long the daemon may take to tell what became of the knocks.
const HEARING: Duration = Duration::from_secs(5);
/// How long an opening may take whose commands run.
const COMMAND: Duration = Duration::from_secs(10);
/// A door that closes by itself within this time is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much later than due a closing may be told.
const LATE: Duration = Duration::from_secs(3);
/// How often the daemon is asked how far it is.
const POLL: Duration = Duration::from_millis(20);
/// Between two knocks, in milliseconds, so that they come in order.
const GAP: &str = "20";
/// So many ports of a door are connected to at most.
const MAX_PORTS: usize = 16;

const DOCTOR: &str = "knockctl doctor";

/// Tries a door and tells each step. `waits` is for doors that stay open longer than [`PATIENCE`].
pub(crate) fn run(context: &Context, name: &str, waits: bool) -> Result<(), Failure> {
    need_root("try")?;
    let door = find(&context.socket, name)?;
    let sequence = knocks(&door)?;
    let status = doctor::status(&context.socket)?;
    let outside = Outside::make().map_err(Failure::Refused)?;
    let listening = Request::Listen { interface: outside.interface().to_owned() };
    // The daemon listens there as long as this connection is open.
    let (_, _listening) = Connection::ask(&context.socket, &listening)?;
    let watch = Watch::begin(&context.socket)?;
    let sources: Vec<_> = outside.ways().map(|way| way.outside).collect();
    let cannot = |error: std::io::Error| Failure::Refused(format!("cannot start /bin/sh: {error}"));
    let _aftermath = Aftermath::prepare(&context.socket, name, &sources).map_err(cannot)?;
    let mut trial = Trial {
        socket: &context.socket,
        door: &door,
        sequence,
        outside: &outside,
        watch,
        waits,
        passes_over_ipv6: doctor::passes_over_ipv6(&status),
        protocol: Protocol::new(context.json),
    };
    trial.listening(&status)?;
    trial.remark()?;
    for way in outside.ways() {
        trial.of(way)?;
    }
    trial.protocol.end(name)
}

fn find(socket: &Path, name: &str) -> Result<Door, Failure> {
    let doors = doctor::doors(socket)?;
    let names: Vec<_> = doors.iter().map(|door| door.name.clone()).collect();
    let unknown =
        || Failure::Refused(format!("there is no door \"{name}\"; there are: {}", names.join(", ")));
    doors.into_iter().find(|door| door.name == name).ok_or_else(unknown)
}

/// What to knock; some doors cannot be tried.
fn knocks(door: &Door) -> Result<Vec<String>, Failure> {
    let refused = |why: &str| Err(Failure::Refused(format!("door \"{}\" cannot be tried: {why}", door.name)));
    if door.one_time {
        return refused("a trial would use up one of its one-time sequences");
    }
    match door.secret {
        Some(DoorSecret::Keys) => {
            return refused(
                "it is opened with an SSH key, which is not on this machine; knock at it from a client: knock HOST --verify",
            );
        }
        Some(DoorSecret::Fwknop) => {
            return refused(
                "it is opened by fwknop's clients, and their keys stay theirs; try it with one of them",
            );
        }
        Some(DoorSecret::Rolling) => {
            return refused("a trial would use up the sequence of the moment; knock at it from a client");
        }
        _ => {}
    }
    if let Some(target) = door.target {
        return refused(&format!("it is knocked at {target}, which is another machine (Target)"));
    }
    match &door.sequence {
        Some(sequence) if !sequence.is_empty() => Ok(sequence.clone()),
        _ => refused("knockd does not tell its sequence"),
    }
}

struct Trial<'a> {
    socket: &'a Path,
    door: &'a Door,
    sequence: Vec<String>,
    outside: &'a Outside,
    watch: Watch,
    waits: bool,
    passes_over_ipv6: bool,
    protocol: Protocol,
}

impl Trial<'_> {
    /// Whether anybody can knock at all: the trial brings a wire of its own.
    fn listening(&mut self, status: &Status) -> Result<(), Failure> {
        let of_others = || status.interfaces.iter().filter(|interface| !outside::is_wire(&interface.name));
        if of_others().any(|interface| interface.up && !interface.addresses.is_empty()) {
            return Ok(());
        }
        let names: Vec<_> = of_others().map(|interface| interface.name.as_str()).collect();
        let found = match names.is_empty() {
            true => "knockd listens on no interface".to_owned(),
            false => format!("knockd listens on {} alone, which is down or has no address", names.join(", ")),
        };
        self.protocol.failed(format!("{found}: nobody can knock, but for this trial"), DOCTOR)
    }

    /// What cannot be tried.
    fn remark(&mut self) -> Result<(), Failure> {
        if let Some(why) = &self.outside.no_ipv6 {
            self.protocol.unknown(format!("IPv6 is not tried: {why}"))?;
        }
        let rules = doctor::rules_of_interfaces();
        if rules > 0 {
            self.protocol.unknown(format!(
                "{rules} rules of the firewall name an interface: what they do to packets of others is not tried"
            ))?;
        }
        Ok(())
    }

    /// The whole trial with one family.
    fn of(&mut self, way: Way) -> Result<(), Failure> {
        let family = if way.inside.is_ipv6() { "IPv6" } else { "IPv4" };
        self.protocol.begin(family, &format!("{family}, from {} to {}", way.outside, way.inside))?;
        let allowed = &self.door.allow_from;
        if !allowed.is_empty() && !allowed.iter().any(|network| network.contains(way.outside)) {
            let networks: Vec<_> = allowed.iter().map(ToString::to_string).collect();
            return self
                .protocol
                .unknown(format!("not tried: only {} may knock (allow_from)", networks.join(", ")));
        }
        if way.inside.is_ipv6() && self.passes_over_ipv6 {
            return self.protocol.unknown("not tried: knockd passes over IPv6 (-4)");
        }
        let ports = self.ports(way.inside);
        self.before(way, &ports)?;
        if !self.knock(way)? {
            return Ok(());
        }
        self.protocol.reached = self.protocol.reached.max(Reached::Opened);
        let held = self.behind(way, &ports)?;
        self.close(way)?;
        self.after(way, &ports)?;
        held.map_or(Ok(()), |(port, held)| self.session(port, &held))
    }

    /// The ports to connect to: the first of each range.
    fn ports(&self, to: IpAddr) -> Vec<u16> {
        let of_range = |opened: &String| {
            let (range, protocol) = opened.split_once('/')?;
            let first = range.split('-').next()?.parse().ok()?;
            (protocol == "tcp").then_some(first)
        };
        let native = self.door.opens.iter().filter_map(of_range);
        let commanded =
            self.command(to).map(|command| doctor::ports_of_command(&command)).unwrap_or_default();
        let mut ports: Vec<u16> = native.chain(commanded).take(MAX_PORTS).collect();
        ports.dedup();
        ports
    }

    /// The command that the door runs for a source of this family.
    fn command(&self, of: IpAddr) -> Option<String> {
        let commands = self.door.commands.as_ref()?;
        let start_6 = commands.start_6.as_ref().filter(|_| of.is_ipv6());
        start_6.or(commands.start.as_ref()).filter(|command| !command.is_empty()).cloned()
    }

    fn connect(&self, way: Way, ports: &[u16]) -> Vec<(u16, Reach)> {
        let targets: Vec<_> = ports.iter().map(|port| SocketAddr::new(way.inside, *port)).collect();
        ports.iter().copied().zip(self.outside.connect_all(&targets)).collect()
    }

    fn before(&mut self, way: Way, ports: &[u16]) -> Result<(), Failure> {
        for (port, reach) in self.connect(way, ports) {
            match reach {
                Reach::Unanswered => {
                    self.protocol.ok(format!("{port}/tcp is closed before the knock: nothing answers"))?
                }
                Reach::Refused => {
                    let served = listeners::serve(&listeners::at(port), way.inside);
                    let why = if served {
                        "the firewall refuses it"
                    } else {
                        "it is refused; nothing listens there"
                    };
                    self.protocol.unknown(format!("{port}/tcp before the knock: {why}"))?;
                }
                Reach::Connected => {
                    self.protocol.failed(format!("{port}/tcp is open without a knock"), DOCTOR)?;
                }
            }
        }
        Ok(())
    }

    /// Knocks, and hears what the daemon makes of it; whether the door opened.
    fn knock(&mut self, way: Way) -> Result<bool, Failure> {
        let words = ["knock", "-d", GAP].into_iter().map(str::to_owned);
        let words = words.chain([way.inside.to_string()]).chain(self.sequence.clone());
        let arguments: Vec<OsString> = words.map(OsString::from).collect();
        let sent = self.outside.run(|| Ok((knock::run(arguments), Instant::now())));
        // The client waits behind the last knock too.
        let gap = Duration::from_millis(GAP.parse().unwrap_or_default());
        let last = match sent {
            Ok((code, end)) if code == ExitCode::SUCCESS => end.checked_sub(gap).unwrap_or(end),
            _ => {
                self.protocol.failed("the knocks could not be sent", "see what knock says above")?;
                return Ok(false);
            }
        };
        self.hear(way, last)
    }

    fn hear(&mut self, way: Way, last: Instant) -> Result<bool, Failure> {
        let (mut heard, mut until) = (0, Instant::now() + HEARING);
        while let Some((moment, event)) = self.watch.next(way.outside, &self.door.name, until) {
            let took = moment.saturating_duration_since(last);
            match event.event {
                EventKind::Stage => {
                    heard += 1;
                    self.protocol.ok(format!("knock {heard} of {} was heard", self.sequence.len()))?;
                }
                EventKind::Opening => {
                    self.protocol.ok(event.message)?;
                    if self.door.opens.is_empty() {
                        return self.follow_command(way, last).map(|()| true);
                    }
                    until = Instant::now() + HEARING;
                }
                EventKind::Opened | EventKind::Extended => {
                    self.protocol.ok(format!("{}, {} after the last knock", event.message, short(took)))?;
                    return self.ran(way).map(|()| true);
                }
                EventKind::Refused => {
                    self.protocol.failed(event.message, "knockctl status, and knockd's log")?;
                    return Ok(false);
                }
                _ => self.protocol.unknown(event.message)?,
            }
        }
        self.unheard(heard)?;
        Ok(false)
    }

    /// Waits for the end of the start command, of which no event tells.
    fn follow_command(&mut self, way: Way, last: Instant) -> Result<(), Failure> {
        self.ran(way)?;
        let until = Instant::now() + COMMAND;
        while self.state(way)? == Some(GrantState::Opening) {
            if Instant::now() >= until {
                return self.protocol.failed("the command still runs", "see what it waits for");
            }
            thread::sleep(POLL);
        }
        match self.state(way)? {
            Some(GrantState::Open) => self
                .protocol
                .ok(format!("the command has ended, {} after the last knock", short(last.elapsed()))),
            _ => Ok(()),
        }
    }

    /// How far the opening is, where the daemon keeps account of it.
    fn state(&self, way: Way) -> Result<Option<GrantState>, Failure> {
        Ok(self.grant(way)?.map(|grant| grant.state))
    }

    /// Whether the door opens something, so that word of that comes.
    fn opens(&self) -> bool {
        !self.door.opens.is_empty() || self.door.runs_commands
    }

    fn ran(&mut self, way: Way) -> Result<(), Failure> {
        match self.command(way.outside) {
            Some(command) => {
                let ran = command.replace("%IP%", &way.outside.to_string());
                self.protocol.ok(format!("knockd ran: {ran}"))
            }
            None => Ok(()),
        }
    }

    fn unheard(&mut self, heard: usize) -> Result<(), Failure> {
        let of = self.sequence.len();
        match heard {
            0 => self.protocol.failed(
                "no knock was heard",
                "knockctl doctor; knockctl doors shows which TCPFlags and addresses count",
            ),
            _ => self.protocol.failed(
                format!("{heard} of {of} knocks were heard, and the door did not open"),
                "knockctl explain, and knockd's log",
            ),
        }
    }

    /// Connects while the door is open; one connection is held.
    fn behind(&mut self, way: Way, ports: &[u16]) -> Result<Option<(u16, Held)>, Failure> {
        let met = self.connect(way, ports);
        let first = met.iter().find(|(_, reach)| *reach == Reach::Connected).map(|(port, _)| *port);
        let held = first.and_then(|port| Some((port, self.outside.hold((way.inside, port).into())?)));
        for (port, reach) in met {
            let listeners = listeners::at(port);
            match (reach, listeners::serve(&listeners, way.inside)) {
                (Reach::Connected, _) => {
                    self.protocol.reached = Reached::Connected;
                    self.protocol.ok(format!("{port}/tcp: a connection was made"))?;
                }
                (Reach::Refused, false) => {
                    if listeners.is_empty() {
                        self.protocol.unserved(port);
                    }
                    self.protocol.unknown(format!("{port}/tcp is open, but {}", nobody(&listeners)))?
                }
                (Reach::Refused, true) => {
                    self.protocol.failed(
                        format!("{port}/tcp is refused by a firewall although the door is open"),
                        DOCTOR,
                    )?;
                }
                (Reach::Unanswered, _) => {
                    let what =
                        format!("{port}/tcp does not answer although the door is open: a firewall drops it");
                    self.protocol.failed(what, DOCTOR)?;
                }
            }
        }
        let udp: Vec<_> = self.door.opens.iter().filter(|opened| opened.ends_with("/udp")).cloned().collect();
        if !udp.is_empty() {
            let what =
                format!("{}: UDP has no answer of its own; knockd says that it is open", udp.join(", "));
            self.protocol.unknown(what)?;
        }
        if ports.is_empty() && udp.is_empty() && self.opens() {
            self.protocol.unknown("which ports its command opens is not known: no connection is tried")?;
        }
        Ok(held)
    }

    /// What became of the connection when the door closed.
    fn session(&mut self, port: u16, held: &Held) -> Result<(), Failure> {
        let cuts = self.door.established.as_deref() == Some("cut");
        match (self.outside.goes_on(held), cuts) {
            (true, false) => self.protocol.ok(format!("{port}/tcp: the connection that was made goes on")),
            (false, true) => self.protocol.ok(format!("{port}/tcp: the connection that was made is cut")),
            (true, true) => {
                let what =
                    format!("{port}/tcp: the connection that was made goes on in spite of established = cut");
                self.protocol.failed(what, DOCTOR)
            }
            (false, false) => {
                let what = format!(
                    "{port}/tcp: the connection that was made stands still: the firewall does not accept \
                                    established connections"
                );
                self.protocol.failed(what, DOCTOR)
            }
        }
    }

    /// Waits until the door is closed, or closes it where that takes long.
    fn close(&mut self, way: Way) -> Result<(), Failure> {
        let Some(left) = self.left(way)? else { return Ok(()) };
        match left {
            Some(left) if left <= PATIENCE || self.waits => self.wait(way, left),
            _ => self.end(way),
        }
    }

    /// How long the door stays open for the stranger: until closed, or so long. Nothing where it is not open.
    fn left(&self, way: Way) -> Result<Option<Option<Duration>>, Failure> {
        Ok(self.grant(way)?.map(|grant| grant.left.map(|left| left.0)))
    }

    /// What is open for the stranger.
    fn grant(&self, way: Way) -> Result<Option<Grant>, Failure> {
        let Answer::Grants { grants } = ask(self.socket, &Request::Grants {})?.answer else {
            return Ok(None);
        };
        let own = |network: Network| network.contains(way.outside);
        Ok(grants.into_iter().find(|grant| grant.door == self.door.name && own(grant.network)))
    }

    fn wait(&mut self, way: Way, left: Duration) -> Result<(), Failure> {
        let begin = Instant::now();
        let until = begin + left + LATE;
        while let Some((moment, event)) = self.watch.next(way.outside, &self.door.name, until) {
            if event.event == EventKind::Closed {
                let off = moment.saturating_duration_since(begin + left);
                self.protocol.ok(format!("{}, {} after it was due", event.message, short(off)))?;
                return self.settle(way);
            }
        }
        match self.left(way)? {
            None => self.protocol.ok("the door is closed"),
            Some(_) => self.protocol.failed(
                "the door is still open although its time is over",
                "knockctl grants, and knockd's log",
            ),
        }
    }

    fn end(&mut self, way: Way) -> Result<(), Failure> {
        let request =
            Request::Close { door: Some(self.door.name.clone()), address: Some(Network::host(way.outside)) };
        ask(self.socket, &request)?;
        self.settle(way)?;
        self.protocol
            .ok("the door was closed by request: it would have stayed open longer (--wait waits for it)")
    }

    /// Waits for a stop command to end.
    fn settle(&self, way: Way) -> Result<(), Failure> {
        let until = Instant::now() + COMMAND;
        while self.grant(way)?.is_some() && Instant::now() < until {
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn after(&mut self, way: Way, ports: &[u16]) -> Result<(), Failure> {
        if self.left(way)?.is_some() || !self.opens() {
            return Ok(());
        }
        let closes = !self.door.opens.is_empty()
            || self.door.commands.as_ref().is_some_and(|commands| commands.stop.is_some());
        for (port, reach) in self.connect(way, ports) {
            match (reach, closes) {
                (Reach::Connected, true) => {
                    self.protocol.failed(format!("{port}/tcp is open although the door is closed"), DOCTOR)?
                }
                (Reach::Connected, false) => {
                    self.protocol.unknown(format!("{port}/tcp stays open: the door has no stop command"))?
                }
                _ => self.protocol.ok(format!("{port}/tcp is closed again"))?,
            }
        }
        Ok(())
    }
}

/// Where those who listen at a port do so.
fn nobody(listeners: &[IpAddr]) -> String {
    if listeners.is_empty() {
        return "no service listens there".into();
    }
    let addresses: Vec<_> = listeners.iter().map(ToString::to_string).collect();
    format!("its service listens at {} alone", addresses.join(" and "))
}
