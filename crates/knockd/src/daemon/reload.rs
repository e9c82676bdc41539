//! Reading the configuration anew, and going back where nobody confirms that the new one lets them in.

use std::net::IpAddr;
use std::time::Duration;

use knock_core::config::Severity;
use knock_core::time::Timestamp;
use knock_core::way_in::{WayIn, way_in};

use super::{Daemon, find};
use crate::configuration::{self, Loaded, Missing, Occasion, ReadyDoor, Settings};
use crate::log::{Facts, Topic};

/// How long after the old configuration could not be put in force that is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A configuration that was not confirmed yet.
pub(super) struct Unconfirmed {
    /// Until then it may be.
    pub(super) until: Timestamp,
    /// What was in force before.
    before: Vec<u8>,
    /// It could not be put in force, which was told.
    told: bool,
}

/// Who wants the configuration read anew, and would not want to be locked out by it.
#[derive(Clone, Copy)]
pub(super) struct Administrator {
    /// The address that they are connected from.
    pub(super) address: IpAddr,
    /// The port of this machine that they are connected to.
    pub(super) port: Option<u16>,
}

impl Daemon<'_> {
    /// Reads the configuration anew; tells its warnings. Where it cannot be used, all stays as it is.
    ///
    /// # Errors
    /// What is wrong with it, a line each.
    pub(super) fn reload(&mut self, now: Timestamp) -> Result<Vec<String>, Vec<String>> {
        let name = self.arguments.config.display().to_string();
        self.audit.log.say(&format!("re-reading config file: {name}"));
        self.service.reloading();
        self.rest(now);
        let unmarked = self.acting.unmarked();
        let occasion = Occasion::Reload { unmarked: &unmarked };
        let outcome = match configuration::load(self.arguments, &self.base, occasion) {
            Ok(loaded) => self.take(loaded, now),
            Err(error) => Err(vec![format!("error: {error}")]),
        };
        if let Err(errors) = &outcome {
            self.reader.go_on();
            for error in errors {
                self.audit.complain(error);
            }
            let message = "the new configuration cannot be used: the old one stays in force";
            self.audit.complain_of(message, Facts::of(Topic::ReloadFailed));
        }
        self.service.ready();
        outcome
    }

    /// Reads the configuration anew for somebody who would not want to be locked out by it, and goes back after `within`
    /// unless it is confirmed.
    ///
    /// # Errors
    /// As [`Daemon::reload`].
    pub(super) fn reload_for(
        &mut self,
        administrator: Option<Administrator>,
        within: Option<Duration>,
        now: Timestamp,
    ) -> Result<Vec<String>, Vec<String>> {
        let before = self.in_force.clone();
        let had_one = administrator.map(|administrator| self.way_in(administrator));
        let mut warnings = self.reload(now)?;
        if let Some((administrator, had_one)) = administrator.zip(had_one) {
            warnings.extend(locked_out(administrator, had_one, self.way_in(administrator)));
        }
        match (within, &mut self.unconfirmed) {
            (Some(within), Some(unconfirmed)) => unconfirmed.until = now + within,
            (Some(within), none) => *none = Some(Unconfirmed { until: now + within, before, told: false }),
            (None, _) => {}
        }
        Ok(warnings)
    }

    /// Has the reading half rest until it is told of other doors, so that neither half speaks of doors that the other does
    /// not have.
    fn rest(&mut self, now: Timestamp) {
        if self.reader.rest() {
            self.hear(now);
        } else {
            self.lose_reader("it does not answer", now);
        }
    }

    fn way_in(&self, administrator: Administrator) -> WayIn {
        let doors = self
            .acting
            .doors()
            .iter()
            .filter(|acting| acting.credential.is_at_hand())
            .map(|acting| &acting.door);
        let guard = self.acting.native.as_ref().is_some_and(|native| native.settings().guard);
        way_in(doors, guard, administrator.address, administrator.port)
    }

    /// Keeps the configuration that is in force; whether one was waiting for that.
    pub(super) fn confirm(&mut self) -> bool {
        let confirmed = self.unconfirmed.take().is_some();
        if confirmed {
            self.audit.log.record_as("the configuration is confirmed", Facts::of(Topic::Confirmed));
        }
        confirmed
    }

    /// Goes back to the configuration from before, where nobody has confirmed the new one in time.
    pub(super) fn handle_confirmation(&mut self, now: Timestamp) {
        let Some(Unconfirmed { before, told, .. }) =
            self.unconfirmed.take_if(|unconfirmed| unconfirmed.until <= now)
        else {
            return;
        };
        self.rest(now);
        let unmarked = self.acting.unmarked();
        // Who waits for this to come back must get in, even if a file that it names is gone meanwhile.
        let missing = Missing::FORGIVEN;
        let loaded = configuration::interpret(self.arguments, &self.base, before.clone(), &unmarked, missing);
        let name = self.arguments.config.display();
        match self.take(loaded, now) {
            Ok(_) => self.audit.complain_of(
                &format!(
                    "warning: the configuration was not confirmed in time: the one from before is in force again; \
                     {name} still holds the new one, which the next start takes: put the old one back there"
                ),
                Facts::of(Topic::RolledBack),
            ),
            Err(errors) => {
                self.reader.go_on();
                self.unconfirmed = Some(Unconfirmed { until: now + RETRY, before, told: true });
                for error in errors.iter().filter(|_| !told) {
                    self.audit.complain(error);
                }
                if !told {
                    self.audit.complain(
                        "error: the configuration was not confirmed, but the one from before cannot be put in force, \
                         trying anew",
                    );
                }
            }
        }
    }

    /// Puts in force what was loaded; tells its warnings.
    fn take(&mut self, loaded: Loaded, now: Timestamp) -> Result<Vec<String>, Vec<String>> {
        let lines = |severity| {
            let remarks = loaded.remarks.iter().filter(move |(_, remark)| remark.severity == severity);
            remarks.map(|(source, remark)| source.line(remark)).collect::<Vec<_>>()
        };
        let Some(settings) = loaded.settings else { return Err(lines(Severity::Error)) };
        let warnings = lines(Severity::Warning);
        self.apply(settings, now).map_err(|error| vec![format!("error: {error}")])?;
        self.in_force = loaded.bytes;
        for warning in &warnings {
            self.audit.log.record(warning);
        }
        self.tell_troubles();
        self.audit.tell_reloaded();
        let troubles = self.troubles().into_iter().map(|trouble| format!("warning: {trouble}"));
        Ok(warnings.into_iter().chain(troubles).collect())
    }

    fn apply(&mut self, mut settings: Settings, now: Timestamp) -> Result<(), String> {
        let guests = self.guests.values().cloned().collect();
        let (watched, links) =
            find(settings.interfaces.clone(), guests).map_err(|error| error.to_string())?;
        let doors = std::mem::take(&mut settings.doors);
        // Both halves or none: they call the doors by their numbers.
        let host_key = settings.host_key.clone();
        let heed = |doors: &[ReadyDoor]| self.reader.reconfigure(doors, host_key.as_ref(), watched);
        self.acting.reconfigure(doors, &settings, heed, now, &mut self.audit)?;
        self.links = links;
        self.audit.log.reopen(&settings);
        self.audit.metrics_file.set_path(settings.metrics_file.as_deref());
        self.tell_of_other_places(&settings);
        Ok(())
    }

    /// What a running daemon cannot take elsewhere.
    fn tell_of_other_places(&mut self, settings: &Settings) {
        let socket = self.socket_path != settings.control_socket;
        let directory = self.acting.journal.directory() != settings.state_directory;
        for (_, name) in
            [(socket, "control_socket"), (directory, "state_directory")].iter().filter(|(is, _)| *is)
        {
            self.audit
                .complain(&format!("warning: another {name} is taken up when the daemon is started again"));
        }
    }
}

/// What there is to say to whom a new configuration locks out.
fn locked_out(Administrator { address, port }: Administrator, before: WayIn, now: WayIn) -> Option<String> {
    let to = port.map_or(String::new(), |port| format!(" to port {port}"));
    match (before, now) {
        (_, WayIn::None) => Some(format!(
            "warning: {address}, from where you are connected, has no way in{to} any more: the port is guarded, and no door opens \
             it for this address"
        )),
        (WayIn::Door(door), WayIn::Unguarded) => Some(format!(
            "warning: no door lets in {address}{to}, from where you are connected, as {door} did: there is a way in only where the \
             machine's own firewall leaves one"
        )),
        _ => None,
    }
}
