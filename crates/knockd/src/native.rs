//! Native doors: what the doorkeeper decides, done by the kernel; and the machine's own firewall around it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use knock_core::config::{AcceptRule, Door, DoorKey};
use knock_core::network::Network;
use knock_core::time::Timestamp;
use knock_firewall::accept::Place;
pub(crate) use knock_firewall::{Change, Element};
use knock_firewall::{Found, Gate, Layout, Monitor, News, Table, Upkeep};
use knock_linux::clock;

use crate::audit::Audit;
use crate::owner::Owner;

/// How long after the table could not be put in place that is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a firewall is looked at whose changes nobody tells.
const LOOK: Duration = Duration::from_secs(10);
/// How long the start waits for the machine's own firewall.
const PATIENCE_AT_START: Duration = Duration::from_secs(5);

/// What native doors have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) mark: u32,
    pub(crate) guard: bool,
    pub(crate) accept_rule: AcceptRule,
}

/// Whom the kernel is to let in at which door, and until when.
pub(crate) type Grant<'a> = (&'a DoorKey, Network, Option<Timestamp>);

/// The kernel's table, and who looks after the rest of the firewall.
pub(crate) struct Native {
    _owner: Owner,
    table: Table,
    monitor: Monitor,
    /// Who puts the accept rule into the rest of the firewall, and the mark that it accepts.
    upkeep: Option<(u32, Upkeep)>,
    layout: Layout,
    accept_rule: AcceptRule,
    /// The table could not be put in place: when to try again.
    broken: Option<Timestamp>,
    next_look: Option<Timestamp>,
}

impl Native {
    /// Nothing is in place yet.
    ///
    /// # Errors
    /// Where the kernel cannot be talked to; in words.
    pub(crate) fn open() -> Result<Self, String> {
        let owner = Owner::take()?;
        let mut table = Table::open().map_err(|error| cannot_guard(&error))?;
        if table.found().map_err(|error| cannot_guard(&error))? == Found::Foreign {
            return Err("the table inet knockd is there already, and no knockd has made it: give it another name, since \
                        native doors (open = …) need this one"
                .into());
        }
        let monitor = Monitor::open(table.port()).map_err(|error| cannot_guard(&error))?;
        Ok(Self {
            _owner: owner,
            table,
            monitor,
            upkeep: None,
            layout: Layout { gates: Vec::new(), mark: 0, guard: false },
            accept_rule: AcceptRule::None,
            broken: None,
            next_look: None,
        })
    }

    /// What it was told last.
    pub(crate) fn settings(&self) -> Settings {
        Settings { mark: self.layout.mark, guard: self.layout.guard, accept_rule: self.accept_rule }
    }

    /// Guards the doors and lets in whom they are open for, in one step.
    ///
    /// # Errors
    /// Where the kernel does not take it; then all stays as it is.
    pub(crate) fn put(
        &mut self,
        settings: &Settings,
        doors: &[&Door],
        grants: &[Grant<'_>],
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<(), String> {
        let gates = doors.iter().filter_map(|door| {
            let native = door.native.clone()?;
            Some(Gate { door: door.key.clone(), native, target: door.target })
        });
        let layout = Layout { gates: gates.collect(), mark: settings.mark, guard: settings.guard };
        self.table.replace(&layout, &elements(grants)).map_err(|error| cannot_guard(&error))?;
        tell_what_is_guarded(&layout, &self.layout, audit);
        self.layout = layout;
        self.accept_rule = settings.accept_rule;
        self.broken = None;
        self.look_after_others(settings, now, audit);
        Ok(())
    }

    fn look_after_others(&mut self, settings: &Settings, now: Timestamp, audit: &mut Audit) {
        if settings.accept_rule == AcceptRule::None {
            self.upkeep = None;
            self.next_look = None;
            return;
        }
        match &self.upkeep {
            Some((mark, upkeep)) if *mark == settings.mark => upkeep.check(),
            _ => {
                // The old one ends before the new one begins.
                self.upkeep = None;
                match Upkeep::start(settings.mark) {
                    Ok(upkeep) => {
                        upkeep.wait_for_first(PATIENCE_AT_START);
                        self.upkeep = Some((settings.mark, upkeep));
                    }
                    Err(error) => {
                        audit.complain(&format!("warning: nobody looks after the accept rule: {error}"))
                    }
                }
            }
        }
        self.hear_news(now, audit);
    }

    /// Makes changes; a table that is gone is put back with all that belongs into it.
    ///
    /// # Errors
    /// Where the kernel does not make them, none of them; in words.
    pub(crate) fn make<'a>(
        &mut self,
        changes: &[Change<'_>],
        grants: impl FnOnce() -> Vec<Grant<'a>>,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<(), String> {
        // The sets of a door that is gone went with it.
        let is_there = |change: &&Change<'_>| {
            let (Change::Open(Element { door, .. }) | Change::Close { door, .. }) = change;
            self.layout.gates.iter().any(|gate| gate.door == **door)
        };
        let changes: Vec<_> = changes.iter().filter(is_there).copied().collect();
        let Err(error) = self.table.apply(&changes) else { return Ok(()) };
        // What is to be closed must not stay open, whatever is the matter: all that belongs into the table goes there.
        match self.table.replace(&self.layout, &elements(&grants())) {
            Ok(()) => {
                self.broken = None;
                audit.complain(&format!(
                    "warning: the table inet knockd was not as it should be, put back: {error}"
                ));
                Ok(())
            }
            Err(error) => {
                self.fail(&error.to_string(), now, audit);
                Err(error.to_string())
            }
        }
    }

    /// Puts back the table.
    pub(crate) fn put_back(&mut self, grants: &[Grant<'_>], now: Timestamp, audit: &mut Audit) -> bool {
        match self.table.replace(&self.layout, &elements(grants)) {
            Ok(()) => {
                self.broken = None;
                true
            }
            Err(error) => {
                self.fail(&error.to_string(), now, audit);
                false
            }
        }
    }

    fn fail(&mut self, error: &str, now: Timestamp, audit: &mut Audit) {
        if self.broken.is_none() {
            audit.complain(&format!(
                "error: the table inet knockd cannot be put in place, trying anew: {error}"
            ));
        }
        self.broken = Some(now + RETRY);
    }

    /// What becomes readable when somebody has changed the firewall, or there is news of it.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [self.monitor.as_fd()].into_iter().chain(self.upkeep.as_ref().map(|(_, upkeep)| upkeep.as_fd()))
    }

    /// Looks at what somebody else did to the firewall.
    pub(crate) fn look<'a>(
        &mut self,
        grants: impl FnOnce() -> Vec<Grant<'a>>,
        now: Timestamp,
        audit: &mut Audit,
    ) {
        let changes = self.monitor.changes();
        // Of what is lost most was our own.
        let changed = changes.ours || (changes.lost && !self.is_in_place());
        if changed && self.put_back(&grants(), now, audit) {
            audit
                .complain("warning: somebody changed the table inet knockd: put back, with all that is open");
        }
        if (changes.ours || changes.others)
            && let Some((_, upkeep)) = &self.upkeep
        {
            upkeep.check();
        }
        self.hear_news(now, audit);
    }

    fn hear_news(&mut self, now: Timestamp, audit: &mut Audit) {
        let Some((_, upkeep)) = &self.upkeep else { return };
        for news in upkeep.news() {
            match news {
                News::Added(_) => audit.log.record(&news.to_string()),
                News::PutBack(_) | News::Failed { .. } | News::Unreadable(_) => {
                    audit.complain(&news.to_string())
                }
            }
        }
        self.next_look = upkeep.needs_polling().then_some(now + LOOK);
    }

    /// The next moment at which [`Native::handle_timer`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        [self.broken, self.next_look].into_iter().flatten().min()
    }

    /// Tries again what failed, and looks at firewalls whose changes nobody tells.
    pub(crate) fn handle_timer<'a>(
        &mut self,
        grants: impl FnOnce() -> Vec<Grant<'a>>,
        now: Timestamp,
        audit: &mut Audit,
    ) {
        if self.broken.is_some_and(|due| due <= now) && self.put_back(&grants(), now, audit) {
            audit.complain("the table inet knockd is in place again");
        }
        if self.next_look.is_some_and(|due| due <= now) {
            self.next_look = Some(now + LOOK);
            if let Some((_, upkeep)) = &self.upkeep {
                upkeep.check();
            }
        }
    }

    /// Whether the table is as it should be.
    pub(crate) fn is_in_place(&mut self) -> bool {
        self.table.is_intact().unwrap_or(false)
    }

    /// What became of the accept rule, by place.
    pub(crate) fn places(&self) -> Vec<Place> {
        match &self.upkeep {
            Some((_, upkeep)) => upkeep.state(),
            None => knock_firewall::accept::look(self.layout.mark).unwrap_or_default(),
        }
    }
}

/// Whoever has not knocked is shut out of these ports from now on, which nobody should have to find out.
fn tell_what_is_guarded(layout: &Layout, before: &Layout, audit: &mut Audit) {
    let ports = |layout: &Layout| {
        let gates = layout.gates.iter().filter(|_| layout.guard);
        gates.flat_map(|gate| &gate.native.ports).map(ToString::to_string).collect::<BTreeSet<_>>()
    };
    let (now, then) = (ports(layout), ports(before));
    if now != then && !now.is_empty() {
        let now: Vec<_> = now.into_iter().collect();
        audit.log.record(&format!("guarded, closed to all who have not knocked: {}", now.join(", ")));
    }
}

/// Removes the table of a daemon that ran before, and the rules that it put elsewhere, where no door is native any more.
pub(crate) fn take_away() {
    // Who may not do that has not made one either.
    let Ok(_owner) = Owner::take() else { return };
    let _ = Table::open().and_then(|mut table| match table.found()? {
        Found::Ours => table.remove().and(knock_firewall::accept::remove_all().map(drop)),
        Found::Nothing | Found::Foreign => Ok(()),
    });
}

fn elements<'a>(grants: &[Grant<'a>]) -> Vec<Element<'a>> {
    // As late as may be: the kernel counts from when it hears of them.
    let now = clock::now();
    let in_force = grants.iter().filter(|(.., until)| until.is_none_or(|until| until > now));
    in_force
        .map(|(door, network, until)| Element {
            door,
            network: *network,
            left: until.map(|until| until.since(now)),
        })
        .collect()
}

fn cannot_guard(error: &knock_firewall::Error) -> String {
    format!("the kernel cannot guard the doors with open = …: {error}")
}
