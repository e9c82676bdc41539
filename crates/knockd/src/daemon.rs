//! The daemon itself: start, event loop, reload and end.

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use knock_core::config::{Interfaces, Severity};
use knock_core::time::Timestamp;
use knock_core::tracker::{Event, What};
use knock_linux::clock::{self, Alarm};
use knock_linux::links::Links;
use knock_linux::process::into_background;
use rustix::event::{PollFd, PollFlags, poll};

use crate::acting::{Acting, NextSequences};
use crate::check;
use crate::cli::Arguments;
use crate::configuration::{self, Loaded, Occasion, Settings};
use crate::log::{self, Log};
use crate::pid_file::PidFile;
use crate::reading::Reading;
use crate::signals::{Request, Signals};
use crate::watched::Watched;

/// How long the end waits for stop commands.
const PATIENCE_AT_END: Duration = Duration::from_secs(10);
/// The exit status after an error.
const FAILURE: u8 = 1;
/// How long after it was told that attempts are dropped it is not told again.
const QUIET: Duration = Duration::from_secs(60);
/// How long changes of links are let gather before they are looked at.
const LINKS_SETTLE: Duration = Duration::from_millis(200);
/// How long after a failure the links are looked at again.
const LINKS_RETRY: Duration = Duration::from_secs(1);

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
    log: Log,
    links: Links,
    links_due: Option<Timestamp>,
    reading: Reading,
    acting: Acting,
    signals: Signals,
    alarm: Alarm,
    /// Until then nothing more is said of attempts that are dropped.
    quiet_until: Timestamp,
    /// Where the daemon is to end: with this status, and at the latest then.
    ending: Option<(u8, Timestamp)>,
    pid_file: Option<PidFile>,
}

impl<'a> Daemon<'a> {
    fn start(arguments: &'a Arguments) -> Result<Self, String> {
        let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let loaded = configuration::load(arguments, &base, Occasion::Start)?;
        let Loaded { settings: Some(settings), remarks, .. } = loaded else {
            check::print_all(&loaded);
            return Err(format!("{} cannot be used", loaded.source.name()));
        };
        // Threads and open files come after the fork.
        let background = arguments.daemon.then(into_background).transpose().map_err(say("fork"))?;
        let mut log = Log::new(arguments.verbose, arguments.debug, arguments.lookup);
        log.open(&settings);
        let signals = Signals::receive().map_err(say("signals"))?;
        let (watched, links) = find(settings.interfaces.clone()).map_err(say("rtnetlink"))?;
        let reading = Reading::new(&settings.doors, watched, arguments.only_ip_v4).map_err(cannot_listen)?;
        for (source, remark) in &remarks {
            log.record(&source.line(remark));
        }
        let pid_file = arguments.daemon.then(|| write_pid_file(&settings, &mut log)).flatten();
        let acting = Acting::new(settings.doors, &mut log);
        let alarm = Alarm::new().map_err(say("timerfd"))?;
        let mut daemon = Self {
            arguments,
            base,
            log,
            links,
            links_due: None,
            reading,
            acting,
            signals,
            alarm,
            quiet_until: Timestamp::ZERO,
            ending: None,
            pid_file,
        };
        daemon.announce();
        if let Some(background) = background {
            background.ready().map_err(say("going to the background"))?;
            daemon.log.foreground = false;
        }
        Ok(daemon)
    }

    fn announce(&mut self) {
        let names = self.reading.watched().names();
        self.log.print(&format!("listening on {names}..."));
        self.log.record(&format!("starting up, listening on {names}"));
        self.tell_troubles();
    }

    /// Says what keeps anybody from knocking.
    fn tell_troubles(&mut self) {
        let no_door = (!self.acting.has_doors()).then(|| "no door is configured".to_owned());
        for trouble in self.reading.watched().troubles().into_iter().chain(no_door) {
            self.log.complain(&format!("warning: {trouble}"));
        }
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
        self.alarm.set(self.next_deadline()).map_err(say("timerfd"))?;
        let ready = self.wait().map_err(say("poll"))?;
        let now = clock::now();
        if ready.output {
            self.acting.runner.collect(&mut self.log);
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
        if ready.packets {
            self.receive(now)?;
        }
        self.handle_timers(now);
        Ok(())
    }

    /// Ends because of an error, but not without closing what is open.
    fn give_up(&mut self, error: &str) {
        let now = clock::now();
        match self.ending {
            None => {
                self.log.complain(&format!("error: {error}"));
                self.end(FAILURE, now);
            }
            Some((status, _)) => self.ending = Some((status, now)),
        }
    }

    fn end(&mut self, status: u8, now: Timestamp) {
        self.ending = Some((status, now + PATIENCE_AT_END));
        self.log.print("waiting for child processes...");
        self.reading.stop();
        self.acting.shut_down(now, &mut self.log);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let deadlines = [
            self.reading.next_deadline(),
            self.acting.next_deadline(),
            self.links_due,
            self.log.lookup().and_then(|lookup| lookup.next_deadline()),
            self.ending.map(|(_, latest)| latest),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Waits until there is something to do.
    fn wait(&self) -> io::Result<Ready> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let fixed = [self.reading.as_fd(), self.alarm.as_fd(), self.links.as_fd(), self.signals.as_fd()];
        let mut fds: Vec<PollFd<'_>> = fixed.map(readable).into();
        // Its lines are looked after at each turn.
        fds.extend(self.log.lookup().and_then(|lookup| lookup.bell()).map(readable));
        let outputs = fds.len();
        fds.extend(self.acting.runner.pipes().map(readable));
        match poll(&mut fds, None) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let at = |index: usize| fds.get(index).is_some_and(is_ready);
        Ok(Ready {
            packets: at(0),
            alarm: at(1),
            links: at(2),
            signals: at(3),
            output: fds.get(outputs..).is_some_and(|fds| fds.iter().any(is_ready)),
        })
    }

    fn receive(&mut self, now: Timestamp) -> Result<(), String> {
        let mut knocks = Vec::new();
        let outcome = self.reading.receive(&mut knocks);
        for knock in knocks {
            let mut reports = Vec::new();
            self.reading.follow(&knock, now, &mut reports);
            self.log.debug(|| knock.to_string());
            // One by one: an opening may change what is to be knocked next.
            self.handle(reports, now);
        }
        outcome.or_else(|error| {
            self.log.complain(&format!("error: listening failed, trying anew: {error}"));
            self.reading.reopen().map_err(cannot_listen)
        })
    }

    fn handle_timers(&mut self, now: Timestamp) {
        let mut reports = Vec::new();
        self.reading.handle_timer(now, &mut reports);
        self.handle(reports, now);
        self.acting.handle_timer(now, &mut self.log);
        self.log.release();
        if self.links_due.is_some_and(|due| due <= now) {
            self.links_due = None;
            if let Err(error) = self.follow_links() {
                self.look_again(&error, now);
            }
        }
    }

    fn handle(&mut self, reports: Vec<Event>, now: Timestamp) {
        for report in reports {
            self.tell(&report);
            if report.what == What::Crowded && self.quiet_until <= now {
                self.quiet_until = now + QUIET;
                self.log.complain("warning: so many attempts are under way that others are dropped");
            }
            let Event { door, source, what: What::Opening } = report else { continue };
            if let Some(NextSequences(next)) = self.acting.open(door, source, now, &mut self.log)
                && let Err(error) = self.reading.set_sequences(door, next)
            {
                self.look_again(&error, now);
            }
        }
    }

    /// Something about the interfaces or the filter failed: it is tried anew.
    fn look_again(&mut self, error: &io::Error, now: Timestamp) {
        self.log.complain(&format!("warning: the packet filter may be out of date, trying anew: {error}"));
        self.links_due = Some(now + LINKS_RETRY);
    }

    fn tell(&mut self, report: &Event) {
        let Event { door, source, what } = *report;
        let door = self.acting.name(door);
        match what {
            What::Stage(stage) => self.log.say_of(source, &format!("{door}: Stage {stage}")),
            What::Opening => self.log.say_of(source, &format!("{door}: OPEN SESAME")),
            What::TimedOut(stage) => {
                self.log.say_of(source, &format!("{door}: sequence timeout (stage {stage})"));
            }
            What::Spoiled { stage, hit, .. } => {
                self.log.debug(|| format!("{source}: {door}: {hit} is wrong behind stage {stage}"));
            }
            What::CoolingDown => {
                self.log.debug(|| format!("{source}: {door}: passed over, cooling down"));
            }
            What::Crowded => {
                self.log.debug(|| format!("{source}: {door}: dropped, too many attempts"));
            }
        }
    }

    /// Looks at the interfaces as they are now.
    fn follow_links(&mut self) -> io::Result<()> {
        let before = self.reading.watched();
        let now = before.find_again()?;
        let changes = now.changes(before);
        for change in &changes {
            self.log.complain(change);
        }
        self.reading.watch(now)
    }

    fn handle_signals(&mut self, now: Timestamp) {
        for request in self.signals.pending() {
            match (request, self.ending) {
                (Request::Reap, _) => self.acting.reap(now, &mut self.log),
                (Request::Reload, None) => self.reload(),
                (Request::Reload, Some(_)) => {}
                (Request::End(status), None) => self.end(status, now),
                (Request::End(status), Some(_)) => self.ending = Some((status, now)),
            }
        }
    }

    /// Reads the configuration anew. Where it cannot be used, all stays as it is.
    fn reload(&mut self) {
        let name = self.arguments.config.display().to_string();
        self.log.say(&format!("re-reading config file: {name}"));
        let unmarked = self.acting.unmarked();
        let occasion = Occasion::Reload { unmarked: &unmarked };
        let loaded = match configuration::load(self.arguments, &self.base, occasion) {
            Ok(loaded) => loaded,
            Err(error) => return self.keep(&[format!("error: {error}")]),
        };
        let lines = |severity| {
            let remarks = loaded.remarks.iter().filter(move |(_, remark)| remark.severity == severity);
            remarks.map(|(source, remark)| source.line(remark)).collect::<Vec<_>>()
        };
        let Some(settings) = loaded.settings else { return self.keep(&lines(Severity::Error)) };
        let warnings = lines(Severity::Warning);
        if let Err(error) = self.apply(settings) {
            return self.keep(&[format!("error: {error}")]);
        }
        for warning in warnings {
            self.log.record(&warning);
        }
        self.tell_troubles();
    }

    fn keep(&mut self, errors: &[String]) {
        for error in errors {
            self.log.complain(error);
        }
        self.log.complain("the new configuration cannot be used: the old one stays in force");
    }

    fn apply(&mut self, settings: Settings) -> io::Result<()> {
        let (watched, links) = find(settings.interfaces.clone())?;
        // Both halves or none: they call the doors by their numbers.
        self.reading.reconfigure(&settings.doors, watched)?;
        self.links = links;
        self.log.reopen(&settings);
        self.acting.reconfigure(settings.doors, &mut self.log);
        Ok(())
    }

    fn finish(&mut self) {
        self.acting.runner.collect(&mut self.log);
        self.acting.tell_owed(&mut self.log);
        self.log.print("closing...");
        self.log.record("shutting down");
        self.log.release_all();
        self.pid_file = None;
    }
}

/// The interfaces as they are, and word of what happens to them from now on.
fn find(wanted: Interfaces) -> io::Result<(Watched, Links)> {
    // In this order: what changes in between is heard of.
    let links = Watched::follow(&wanted)?;
    Ok((Watched::find(wanted)?, links))
}

/// What there is to do.
struct Ready {
    packets: bool,
    alarm: bool,
    links: bool,
    signals: bool,
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
