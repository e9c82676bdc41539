//! The daemon itself: start, event loop and end.

mod answers;
mod metrics;
mod reload;
mod reports;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use knock_core::config::Interfaces;
use knock_core::quota::Quota;
use knock_core::time::Timestamp;
use knock_core::tracker::DoorIndex;
use knock_linux::clock::{self, Alarm};
use knock_linux::links::Links;
use knock_linux::memory;
use knock_linux::process::into_background;
use rustix::event::{PollFd, PollFlags, poll};

use crate::acting::Acting;
use crate::audit::Audit;
use crate::check;
use crate::cli::Arguments;
use crate::configuration::{self, Loaded, Occasion, Settings};
use crate::control::{ConnectionId, ControlSocket};
use crate::log::{self, Facts, Log, Topic};
use crate::native::Native;
use crate::pace::Pace;
use crate::pid_file::PidFile;
use crate::reader::{Manner, Reader};
use crate::service::Service;
use crate::signals::{Request, Signals};
use crate::watched::Watched;

/// How long the end waits for stop commands.
const PATIENCE_AT_END: Duration = Duration::from_secs(10);
/// How long the start waits for the place of a daemon that has just died, and how often it looks.
const PATIENCE_AT_START: Duration = Duration::from_millis(500);
const PACE_AT_START: Duration = Duration::from_millis(5);
/// The exit status after an error.
const FAILURE: u8 = 1;
/// How long changes of links are let gather before they are looked at.
const LINKS_SETTLE: Duration = Duration::from_millis(200);
/// How long after a failure the links are looked at again.
const LINKS_RETRY: Duration = Duration::from_secs(1);
/// How long after it was told that packets were lost it is not told again.
const QUIET: Duration = Duration::from_secs(60);
/// How often it is told at once that the reading half has ended.
const LOSSES_AT_ONCE: u32 = 20;

/// Runs until a signal ends it, or an error.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match Daemon::start(arguments).map(Daemon::run) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            log::tell(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

struct Daemon<'a> {
    arguments: &'a Arguments,
    /// Where relative names of files begin, also after the daemon has gone to `/`.
    base: PathBuf,
    /// The configuration file's content that is in force.
    in_force: Vec<u8>,
    started: Timestamp,
    audit: Audit,
    links: Links,
    links_due: Option<Timestamp>,
    reader: Reader,
    acting: Acting,
    signals: Signals,
    alarm: Alarm,
    control: Option<ControlSocket>,
    socket_path: PathBuf,
    /// Interfaces that are listened on for the sake of a connection to the control socket.
    guests: BTreeMap<ConnectionId, String>,
    /// The configuration waits to be confirmed.
    unconfirmed: Option<reload::Unconfirmed>,
    /// How much is told of what the reading half says that strangers do, which is less unless somebody has taken it over.
    quota: Quota,
    /// Until then nothing more is said of packets that were lost.
    quiet_until: Timestamp,
    /// Of how many it was said.
    lost_told: u64,
    /// How many lines the reading half has left out, as far as that was counted.
    left_out_counted: u64,
    /// Whom the kernel filter is to follow.
    follow: Option<BTreeSet<IpAddr>>,
    /// How often it is told that the reading half has ended.
    losses: Pace,
    /// Where the daemon is to end: with this status, and at the latest then.
    ending: Option<(u8, Timestamp)>,
    pid_file: Option<PidFile>,
    service: Service,
}

impl<'a> Daemon<'a> {
    fn start(arguments: &'a Arguments) -> Result<Self, String> {
        memory::give_back_large_pieces();
        let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let loaded = configuration::load(arguments, &base, Occasion::Start)?;
        let Loaded { settings: Some(mut settings), remarks, bytes: in_force, .. } = loaded else {
            check::print_all(&loaded);
            return Err(format!("{} cannot be used", loaded.source.name()));
        };
        // Threads and open files come after the fork.
        let background = arguments.daemon.then(into_background).transpose().map_err(say("fork"))?;
        let mut log = Log::new(arguments.verbose, arguments.debug, arguments.lookup);
        log.open(&settings);
        let signals = Signals::receive().map_err(say("signals"))?;
        let (watched, links) =
            find(settings.interfaces.clone(), BTreeSet::new()).map_err(say("rtnetlink"))?;
        let manner = Manner {
            ipv4_only: arguments.only_ip_v4,
            tells_packets: arguments.debug,
            pulse: Service::pulse(),
        };
        let mut reader = Reader::start(&settings.doors, settings.host_key.as_ref(), watched, manner)
            .map_err(cannot_listen)?;
        for (source, remark) in &remarks {
            log.record(&source.line(remark));
        }
        let mut audit = Audit::new(log);
        audit.metrics_file.set_path(settings.metrics_file.as_deref());
        let control = open_control(&settings, &mut audit);
        let started = clock::now();
        let doors = std::mem::take(&mut settings.doors);
        let acting = Acting::start(doors, &settings, started, &mut audit)?;
        for (door, slot) in acting.used_places() {
            let next = acting.next_in(door, slot);
            next.map_or(Ok(()), |next| reader.follow_in(door, next)).map_err(cannot_listen)?;
        }
        // One that cannot be does not take the place of one that runs.
        let pid_file = arguments.daemon.then(|| write_pid_file(&settings, &mut audit.log)).flatten();
        let alarm = Alarm::new().map_err(say("timerfd"))?;
        let mut daemon = Self {
            arguments,
            base,
            in_force,
            started,
            audit,
            links,
            links_due: None,
            reader,
            acting,
            signals,
            alarm,
            control,
            socket_path: settings.control_socket,
            guests: BTreeMap::new(),
            unconfirmed: None,
            quota: Quota::backstop(),
            quiet_until: Timestamp::ZERO,
            lost_told: 0,
            left_out_counted: 0,
            follow: None,
            losses: Pace::new(QUIET, LOSSES_AT_ONCE),
            ending: None,
            pid_file,
            service: Service::new(),
        };
        daemon.reader.wait_until_ready(clock::now()).map_err(say("the reading process"))?;
        daemon.announce();
        if let Some(background) = background {
            background.ready().map_err(say("going to the background"))?;
            daemon.audit.log.foreground = false;
        }
        daemon.service.ready();
        Ok(daemon)
    }

    fn announce(&mut self) {
        let names = self.reader.watched().names();
        self.audit.log.print(&format!("listening on {names}..."));
        self.audit.log.record_as(&format!("starting up, listening on {names}"), Facts::of(Topic::Started));
        for weakness in self.reader.weaknesses() {
            self.audit.log.record(&format!("warning: {weakness}"));
        }
        self.tell_troubles();
        self.audit.log.flush();
    }

    /// Says what keeps anybody from knocking.
    fn tell_troubles(&mut self) {
        for trouble in self.troubles() {
            self.audit.complain(&format!("warning: {trouble}"));
        }
    }

    /// What keeps anybody from knocking.
    fn troubles(&self) -> Vec<String> {
        let no_door = (!self.acting.has_doors()).then(|| "no door is configured".to_owned());
        self.reader.watched().troubles().into_iter().chain(no_door).collect()
    }

    /// Runs to the end; tells the exit status.
    fn run(mut self) -> u8 {
        loop {
            if let Err(error) = self.turn() {
                self.give_up(&error);
            }
            if let Some((status, latest)) = self.ending
                && (!self.acting.owes() || latest <= clock::now())
            {
                self.finish();
                return status;
            }
        }
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> Result<(), String> {
        self.audit.log.flush();
        self.alarm.set(self.next_deadline()).map_err(say("timerfd"))?;
        let ready = self.wait().map_err(say("poll"))?;
        let now = clock::now();
        if ready.output {
            self.acting.runner.collect(&mut self.audit.log);
        }
        if ready.signals {
            self.handle_signals(now);
        }
        if ready.alarm {
            self.alarm.acknowledge();
        }
        if ready.links && self.links.changed() {
            self.links_due.get_or_insert(now + LINKS_SETTLE);
        }
        if ready.reader || self.reader.has_news() {
            self.hear(now);
        }
        if ready.firewall {
            self.acting.look_at_firewall(now, &mut self.audit);
        }
        self.handle_timers(now);
        self.serve(ready.control, now);
        self.tell_service_manager(now);
        Ok(())
    }

    fn tell_service_manager(&mut self, now: Timestamp) {
        let Self { service, reader, acting, .. } = self;
        if self.ending.is_none() {
            service.status(now, || {
                let (names, doors) = (reader.watched().names(), acting.doors().len());
                format!("listening on {names}; doors: {doors}, open: {}", acting.doorkeeper().len())
            });
        }
    }

    /// Ends because of an error, but not without closing what is open.
    fn give_up(&mut self, error: &str) {
        let now = clock::now();
        match self.ending {
            None => {
                self.audit.complain(&format!("error: {error}"));
                self.end(FAILURE, now);
            }
            Some((status, _)) => self.ending = Some((status, now)),
        }
    }

    fn end(&mut self, status: u8, now: Timestamp) {
        self.ending = Some((status, now + PATIENCE_AT_END));
        self.service.stopping();
        self.audit.log.print("waiting for child processes...");
        // What it has counted is told at the end; nothing else that it says is heeded, whether it rests or not.
        let _ = self.reader.rest();
        self.reader.stop(now);
        self.count_untold(now);
        self.acting.shut_down(now, &mut self.audit);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let deadlines = [
            self.reader.next_deadline().filter(|_| self.ending.is_none()),
            self.quota.next_deadline(),
            self.audit.metrics_file.next_deadline(),
            (self.reader.lost() > self.lost_told).then_some(self.quiet_until),
            self.acting.next_deadline(),
            self.links_due,
            self.acting.next_step(clock::now()),
            self.control.as_ref().and_then(ControlSocket::next_deadline),
            self.unconfirmed.as_ref().map(|unconfirmed| unconfirmed.until),
            self.audit.log.lookup().and_then(|lookup| lookup.next_deadline()),
            self.ending.map(|(_, latest)| latest),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Waits until there is something to do.
    fn wait(&self) -> io::Result<Ready> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let fixed = [self.alarm.as_fd(), self.links.as_fd(), self.signals.as_fd()];
        let mut fds: Vec<PollFd<'_>> = fixed.map(readable).into();
        // Its lines are looked after at each turn.
        fds.extend(self.audit.log.lookup().and_then(|lookup| lookup.bell()).map(readable));
        let asked = fds.len();
        let control = self.control.iter().flat_map(ControlSocket::fds);
        fds.extend(control.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        let reader = fds.len();
        fds.extend(self.reader.fd().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        let firewall = fds.len();
        fds.extend(self.acting.native.iter().flat_map(Native::fds).map(readable));
        let outputs = fds.len();
        fds.extend(self.acting.runner.pipes().map(readable));
        match poll(&mut fds, None) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let at = |index: usize| fds.get(index).is_some_and(is_ready);
        let among = |range: Range<usize>| fds.get(range).is_some_and(|fds| fds.iter().any(is_ready));
        Ok(Ready {
            alarm: at(0),
            links: at(1),
            signals: at(2),
            control: among(asked..reader),
            reader: among(reader..firewall),
            firewall: among(firewall..outputs),
            output: among(outputs..fds.len()),
        })
    }

    fn handle_timers(&mut self, now: Timestamp) {
        if self.ending.is_none() {
            match self.reader.handle_timer(now) {
                Ok(true) => self.service.alive(),
                Ok(false) => {}
                Err(error) => self.lose_reader(&error.to_string(), now),
            }
        }
        self.tell_of_overload(now);
        self.acting.handle_timer(now, &mut self.audit);
        self.follow_steps(now);
        self.audit.log.release();
        self.handle_confirmation(now);
        self.handle_metrics(now);
        if self.links_due.is_some_and(|due| due <= now) {
            self.links_due = None;
            if let Err(error) = self.follow_links() {
                self.look_again(&error, now);
            }
        }
    }

    /// Has the sequences of the moment followed.
    fn follow_steps(&mut self, now: Timestamp) {
        for place in self.acting.advance_rolling() {
            self.follow_next(place, now);
        }
    }

    /// Has what is to be knocked next followed in this place of a door.
    fn follow_next(&mut self, (door, slot): (DoorIndex, u8), now: Timestamp) {
        if let Some(next) = self.acting.next_in(door, slot)
            && let Err(error) = self.reader.follow_in(door, next)
        {
            self.look_again(&error, now);
        }
    }

    /// Something about the interfaces or the filter failed: it is tried anew.
    fn look_again(&mut self, error: &io::Error, now: Timestamp) {
        self.audit.complain(&format!("warning: the packet filter may be out of date, trying anew: {error}"));
        self.links_due = Some(now + LINKS_RETRY);
    }

    /// Looks at the interfaces as they are now.
    fn follow_links(&mut self) -> io::Result<()> {
        let before = self.reader.watched();
        let now = before.find_again(self.guests.values().cloned().collect())?;
        let changes = now.changes(before);
        for change in &changes {
            self.audit.complain(change);
        }
        self.reader.watch(now)
    }

    fn handle_signals(&mut self, now: Timestamp) {
        for request in self.signals.pending() {
            match (request, self.ending) {
                (Request::Reap, _) => self.acting.reap(now, &mut self.audit),
                (Request::Reload, None) => drop(self.reload(now)),
                (Request::Reload, Some(_)) => {}
                (Request::End(status), None) => self.end(status, now),
                (Request::End(status), Some(_)) => self.ending = Some((status, now)),
            }
        }
    }

    /// Looks after whoever uses the control socket.
    fn serve(&mut self, ready: bool, now: Timestamp) {
        let Some(control) = &mut self.control else { return };
        let due = control.next_deadline().is_some_and(|deadline| deadline <= now);
        let requests = if ready || due { control.turn(now) } else { Vec::new() };
        for connection in control.gone() {
            self.guests.remove(&connection);
            // The interface is likely to go with it.
            self.links_due.get_or_insert(now + LINKS_SETTLE);
        }
        for (connection, request) in requests {
            self.audit.log.by = self.control.as_ref().and_then(|control| control.peer(connection));
            let answer = self.answer(connection, request, now);
            self.audit.log.by = None;
            // Whoever hears the answer finds in the log what it tells.
            self.audit.log.flush();
            if let Some(control) = &mut self.control {
                control.answer(connection, &answer, now);
            }
        }
        let events = self.audit.take_events();
        let Some(control) = &mut self.control else { return };
        for event in &events {
            control.publish(event, now);
        }
        self.audit.watched = control.is_watched();
    }

    fn finish(&mut self) {
        self.acting.runner.collect(&mut self.audit.log);
        self.acting.tell_owed(&mut self.audit);
        self.tell_rest_of_overload(clock::now());
        self.acting.sync(&mut self.audit);
        self.audit.log.print("closing...");
        self.audit.log.record_as("shutting down", Facts::of(Topic::Stopped));
        self.write_metrics(clock::now(), false);
        self.audit.log.release_all();
        self.audit.log.flush();
        self.pid_file = None;
    }
}

/// The interfaces as they are, and word of what happens to them from now on.
fn find(wanted: Interfaces, guests: BTreeSet<String>) -> io::Result<(Watched, Links)> {
    // In this order: what changes in between is heard of.
    let links = Watched::follow(&wanted)?;
    Ok((Watched::find(wanted, guests)?, links))
}

/// What there is to do.
struct Ready {
    reader: bool,
    alarm: bool,
    links: bool,
    signals: bool,
    control: bool,
    firewall: bool,
    output: bool,
}

fn write_pid_file(settings: &Settings, log: &mut Log) -> Option<PidFile> {
    let written = PidFile::write(settings.pid_file.clone());
    let path = settings.pid_file.display();
    written.map_err(|error| log.complain(&format!("could not create pid file {path}: {error}"))).ok()
}

fn cannot_listen(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "cannot listen: knockd must be started by root or have the capability CAP_NET_RAW".into()
        }
        io::ErrorKind::OutOfMemory => {
            format!("cannot listen: {error}; is net.core.optmem_max too small for a packet filter?")
        }
        _ => format!("cannot listen: {error}"),
    }
}

fn say(what: &str) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

/// Where a daemon was killed while it started a command, its socket listens until that runs.
fn take_control_socket(path: &Path) -> io::Result<ControlSocket> {
    let deadline = Instant::now() + PATIENCE_AT_START;
    loop {
        match ControlSocket::open(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(PACE_AT_START);
            }
            outcome => return outcome,
        }
    }
}

/// The control socket. Without it the daemon does its work, too.
fn open_control(settings: &Settings, audit: &mut Audit) -> Option<ControlSocket> {
    match take_control_socket(&settings.control_socket) {
        Ok(socket) => Some(socket),
        Err(error) => {
            let path = settings.control_socket.display();
            let message = format!("warning: no control socket at {path}, knockctl cannot be used: {error}");
            // Who has not asked for it may run several daemons, or one without any right.
            if settings.control_socket_is_named {
                audit.complain(&message)
            } else {
                audit.log.debug(|| message)
            }
            None
        }
    }
}
