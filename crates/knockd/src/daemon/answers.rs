//! What the daemon answers to whoever uses the control socket.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp as WallTime;
use knock_core::config::advice::weakness;
use knock_core::config::{AcceptRule, Widen};
use knock_core::control::{
    Accept, AcceptState, Answer, Attempt, AttemptState, Commands, Door, EventKind, Grant, GrantState,
    Interface, Journal, JournalState, Native, Overload, Past, ReadingProcess, Request, Seconds, Status,
    TableState,
};
use knock_core::doorkeeper::{GrantView, Progress, Why};
use knock_core::history::explanation;
use knock_core::network::Network;
use knock_core::time::Timestamp;
use knock_core::tracker::{self, DoorIndex};
use knock_firewall::accept;

use super::Daemon;
use super::reload::Administrator;
use crate::configuration::ReadyDoor;
use crate::control::ConnectionId;
use crate::credential::Credential;

/// No attempt and no cool-down can be told of that takes longer: half a century.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(1 << 30);

impl Daemon<'_> {
    /// Does what is asked, and tells what came of it.
    pub(super) fn answer(&mut self, connection: ConnectionId, request: Request, now: Timestamp) -> Answer {
        let changes =
            matches!(request, Request::Open { .. } | Request::Reload { .. } | Request::Listen { .. });
        if changes && self.ending.is_some() {
            return error("the daemon is about to end");
        }
        match request {
            Request::Status {} => Answer::Status(Box::new(self.status(now))),
            Request::Doors { secrets } => Answer::Doors { doors: self.doors(secrets) },
            Request::Grants {} => Answer::Grants { grants: self.grants(now) },
            Request::Attempts {} => Answer::Attempts { attempts: self.attempts(now) },
            Request::Metrics {} => Answer::Metrics { text: self.metrics(true, now) },
            Request::Watch {} => Answer::Watching {},
            Request::Explain { address, secrets } => self.explain(address.to_canonical(), secrets, now),
            Request::Open { door, address, open_for } => {
                self.open(&door, address.to_canonical(), open_for, now)
            }
            Request::Close { door, address } => self.close(door.as_deref(), address, now),
            Request::Reload { confirm_within, from, port } => {
                self.reload_as_asked(confirm_within, from, port, now)
            }
            Request::Confirm {} => match self.confirm() {
                true => done("the configuration is confirmed"),
                false => error("no configuration waits to be confirmed"),
            },
            Request::Listen { interface } => self.listen(connection, interface),
        }
    }

    pub(super) fn status(&mut self, now: Timestamp) -> Status {
        let under_way = self.reader.answer(false).map_or(0, |(under_way, _)| under_way);
        self.count_untold(now);
        let watched = self.reader.watched();
        let interfaces = watched.links().map(|link| Interface {
            name: link.name.clone(),
            up: link.up,
            addresses: link.addresses.iter().map(|(address, _)| *address).collect(),
        });
        let interfaces = interfaces.collect();
        let mut warnings = self.troubles();
        warnings.extend(self.acting.journal.failure().map(str::to_owned));
        let ledger = self.acting.ledger_failure();
        warnings.extend(ledger.map(|reason| format!("no key opens a door: {reason}")));
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime: Seconds(now.since(self.started)),
            config: self.base.join(&self.arguments.config).display().to_string(),
            interfaces,
            warnings,
            doors: self.acting.doors().len(),
            grants: self.acting.doorkeeper().len(),
            attempts: under_way,
            overload: self.overload(),
            reading: self.reading_process(),
            journal: self.journal(),
            native: self.native(),
            pending_confirmation: self
                .unconfirmed
                .as_ref()
                .map(|unconfirmed| Seconds(unconfirmed.until.since(now))),
        }
    }

    fn overload(&self) -> Overload {
        let counters = self.reader.counters();
        Overload {
            packets_lost: self.reader.lost(),
            attempts_faded: counters.faded,
            attempts_revived: counters.revived,
            attempts_lost: counters.lost,
            attempts_over_budget: counters.over_budget,
            lines_left_out: self.quota.left_out(),
        }
    }

    fn reading_process(&self) -> ReadingProcess {
        let (pid, restarts, layers) = self.reader.state();
        ReadingProcess { pid, restarts, layers: layers.to_vec() }
    }

    fn journal(&self) -> Journal {
        let journal = &self.acting.journal;
        let state = match journal.failure() {
            Some(_) => JournalState::Failing,
            None if journal.in_use() => JournalState::InUse,
            None => JournalState::Off,
        };
        Journal {
            path: journal.path().display().to_string(),
            state,
            message: journal.failure().map(str::to_owned),
        }
    }

    fn native(&mut self) -> Option<Native> {
        let native = self.acting.native.as_mut()?;
        let settings = native.settings();
        Some(Native {
            table: if native.is_in_place() { TableState::InPlace } else { TableState::Missing },
            mark: format!("{:#x}", settings.mark),
            guard: settings.guard,
            accept_rule: settings.accept_rule.to_string(),
            accept_rules: native.places().into_iter().map(|at| place(at, settings.accept_rule)).collect(),
        })
    }

    pub(super) fn doors(&self, secrets: bool) -> Vec<Door> {
        let mut open: HashMap<_, usize> = HashMap::new();
        for grant in self.acting.doorkeeper().grants() {
            *open.entry(&grant.opening.door).or_default() += 1;
        }
        let doors = self.acting.doors().iter().zip(0..);
        let grants = |acting: &ReadyDoor| open.get(&acting.door.key).copied().unwrap_or_default();
        doors.map(|(acting, index)| self.door(acting, index, grants(acting), secrets)).collect()
    }

    fn door(&self, acting: &ReadyDoor, index: DoorIndex, grants: usize, secrets: bool) -> Door {
        let ReadyDoor { door, credential } = acting;
        let one_time = credential.one_time();
        let native = door.native.as_ref();
        let commands = &door.commands;
        let sequence = self.reader.door(index).and_then(|tracked| tracked.sequence.as_ref());
        let steps = sequence.map_or(&[][..], |sequence| sequence.steps());
        let written = Commands {
            start: commands.start.clone(),
            stop: commands.stop.clone(),
            start_6: commands.start_6.clone(),
            stop_6: commands.stop_6.clone(),
        };
        let stops = commands.stop.is_some() || commands.stop_6.is_some();
        Door {
            name: door.key.name.clone(),
            opens: native.map(opens).unwrap_or_default(),
            open_for: native.and_then(|native| native.open_for).map(Seconds),
            established: native.map(|native| native.established.to_string()),
            widen: native
                .map(|native| native.widen)
                .filter(|widen| *widen != Widen::default())
                .map(|widen| widen.to_string()),
            allow_from: door.allow_from.clone(),
            closes: door.closes.clone(),
            runs_commands: commands.start.is_some() || commands.start_6.is_some(),
            cmd_timeout: (stops && native.is_none()).then_some(Seconds(commands.timeout)),
            target: door.target,
            secret: Some((&door.secret).into()),
            keys: match credential {
                Credential::Keys(file) => Some(file.keys().len()),
                _ => None,
            },
            one_time: one_time.is_some(),
            sequences_left: one_time.map(|file| file.sequences().len()),
            steps: steps.len(),
            sequence: secrets.then(|| steps.iter().map(ToString::to_string).collect()),
            commands: (secrets && written != Commands::default()).then_some(written),
            seq_timeout: Seconds(door.seq_timeout),
            grants,
            strict: door.strict,
            weak: door.secret.fixed().and_then(|sequence| weakness(sequence, door.strict)),
        }
    }

    fn grants(&self, now: Timestamp) -> Vec<Grant> {
        let clocks = self.acting.journal.clocks();
        let grants = self.acting.doorkeeper().grants();
        let view = |grant: GrantView<'_>| Grant {
            door: grant.opening.door.name.clone(),
            network: grant.opening.network,
            opens: self.opens(&grant),
            state: match grant.progress {
                Progress::Opening => GrantState::Opening,
                Progress::Open => GrantState::Open,
                Progress::Closing => GrantState::Closing,
            },
            since: WallTime::from_millisecond(clocks.wall_at(grant.opened)).unwrap_or_default().to_string(),
            left: grant.until.map(|until| Seconds(until.since(now))),
            user: grant.opening.user.clone(),
            by_hand: grant.opening.by_hand,
            earlier_boot: grant.earlier_boot,
        };
        grants.into_iter().map(view).collect()
    }

    fn opens(&self, grant: &GrantView<'_>) -> Vec<String> {
        let mut doors = self.acting.doors().iter().map(|acting| &acting.door);
        let native = doors.find(|door| door.key == grant.opening.door).and_then(|door| door.native.as_ref());
        native.filter(|_| grant.opening.native).map(opens).unwrap_or_default()
    }

    fn attempts(&mut self, now: Timestamp) -> Vec<Attempt> {
        let mut attempts = self.reader.answer(true).map_or_else(Vec::new, |(_, attempts)| attempts);
        attempts.sort_by_key(|attempt| attempt.since);
        let view = |attempt: tracker::AttemptView| Attempt {
            door: self.reader.owner(attempt.door).map_or("?", |(door, _)| self.acting.name(door)).to_owned(),
            source: attempt.source,
            stage: attempt.stage,
            of: attempt.of,
            age: Seconds(now.since(attempt.since)),
            left: Seconds(attempt.until.since(now).min(LONGEST_ATTEMPT)),
            state: match attempt.state {
                tracker::AttemptState::UnderWay => AttemptState::UnderWay,
                tracker::AttemptState::CoolingDown => AttemptState::CoolingDown,
            },
        };
        attempts.into_iter().map(view).collect()
    }

    fn explain(&self, address: IpAddr, secrets: bool, now: Timestamp) -> Answer {
        let lines = explanation(self.audit.history(address), now, secrets);
        let events = self.audit.history(address).map(|entry| Past {
            age: Seconds(now.since(entry.at)),
            times: entry.times,
            door: entry.door.to_string(),
            event: EventKind::from(&entry.what),
            message: entry.what.sentence(secrets),
        });
        Answer::Explained { address, lines, events: events.collect() }
    }

    fn open(&mut self, door: &str, address: IpAddr, open_for: Option<Seconds>, now: Timestamp) -> Answer {
        let time = open_for.map(|Seconds(time)| time);
        if time.is_some_and(|time| time.is_zero()) {
            return error("a door cannot be open for no time: more than 0 seconds");
        }
        match self.acting.open_by_hand(door, address, time, now, &mut self.audit) {
            Ok(message) => done(&message),
            Err(message) => error(&message),
        }
    }

    fn close(&mut self, door: Option<&str>, network: Option<Network>, now: Timestamp) -> Answer {
        if let Some(name) = door
            && let Err(message) = self.acting.find(name)
            && !self.acting.doorkeeper().grants().iter().any(|grant| grant.opening.door.name == name)
        {
            return error(&message);
        }
        let of = door.map_or(String::new(), |door| format!(" of {door}"));
        let to = network.map_or(String::new(), |network| format!(" for {network}"));
        match self.acting.close(door, network, &Why::ByHand, now, &mut self.audit) {
            0 if network.is_some() => error(&format!("nothing{of} is open{to}")),
            0 => done(&format!("nothing{of} was open")),
            1 => done(&format!("1 grant{of}{to} ended")),
            count => done(&format!("{count} grants{of}{to} ended")),
        }
    }

    fn reload_as_asked(
        &mut self,
        within: Option<Seconds>,
        from: Option<IpAddr>,
        port: Option<u16>,
        now: Timestamp,
    ) -> Answer {
        let administrator = from.map(|address| Administrator { address: address.to_canonical(), port });
        let within = within.map(|Seconds(within)| within);
        match self.reload_for(administrator, within, now) {
            Err(errors) => error(&errors.join("\n")),
            Ok(warnings) => {
                let read = "the configuration was read anew";
                let message = match &self.unconfirmed {
                    None => read.into(),
                    Some(unconfirmed) => format!(
                        "{read}; the one that was confirmed last comes back in {} s unless you confirm this one: \
                         knockctl confirm",
                        Seconds::from(unconfirmed.until.since(now))
                    ),
                };
                Answer::Done { message, warnings }
            }
        }
    }

    fn listen(&mut self, connection: ConnectionId, interface: String) -> Answer {
        self.guests.insert(connection, interface.clone());
        match self.follow_links() {
            Ok(()) if self.reader.watched().links().any(|link| link.name == interface) => {
                // From here on it is heard.
                self.reader.answer(false);
                done(&format!("listening on {interface} too, as long as this connection is open"))
            }
            outcome => {
                self.guests.remove(&connection);
                error(&match outcome {
                    Ok(()) => format!("there is no interface {interface}"),
                    Err(error) => format!("cannot listen on {interface}: {error}"),
                })
            }
        }
    }
}

fn opens(native: &knock_core::config::Native) -> Vec<String> {
    native.ports.iter().map(ToString::to_string).collect()
}

fn place(place: accept::Place, rule: AcceptRule) -> Accept {
    let accept::Place { place, state, message } = place;
    let state = match state {
        accept::State::Present | accept::State::Added => AcceptState::InPlace,
        accept::State::Missing if rule == AcceptRule::None => AcceptState::Missing,
        accept::State::Missing => AcceptState::Failed,
        accept::State::NotNeeded => AcceptState::NotNeeded,
    };
    Accept { place, state, message }
}

fn done(message: &str) -> Answer {
    Answer::Done { message: message.to_owned(), warnings: Vec::new() }
}

fn error(message: &str) -> Answer {
    Answer::Error { message: message.to_owned() }
}
