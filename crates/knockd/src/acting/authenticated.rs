//! Knocks with keys: judged here, for whoever has taken the reading half over may say that anything came in.
//!
//! Nothing opens before it is on the disk that this very knock was used.

use std::net::IpAddr;
use std::time::Duration;

#[cfg(feature = "fwknop")]
use knock_core::fwknop::Allow;
use knock_core::history::Recorded;
use knock_core::ledger::{self, Holder, Use};
use knock_core::rolling::{STEP, use_of};
#[cfg(feature = "fwknop")]
use knock_core::spa::check_time;
use knock_core::spa::{Admitted, Claim, DoorRules, Refusal};
use knock_core::time::Timestamp;
use knock_core::tracker::{DoorIndex, What};

use super::{Acting, Guest};
use crate::audit::Audit;
#[cfg(feature = "fwknop")]
use crate::channel::FwknopKnock;
use crate::channel::Sealed;
use crate::configuration::ReadyDoor;
use crate::credential::Credential;
use crate::ledger::{Ledger, Refused};
use crate::log::Facts;
use crate::wall_clock;

/// What a knock is called whose door is not known.
const SOME_KNOCK: &str = "a knock";

impl Acting {
    /// Opens what a sealed knock may open.
    ///
    /// # Errors
    /// Why it opens nothing, which is still to be told.
    pub(crate) fn take_sealed(
        &mut self,
        sealed: &Sealed,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<(), Reason> {
        let (door, admitted) = self.judge(sealed, now, audit).map_err(|(door, refusal)| {
            let name = door.map_or(SOME_KNOCK, |door| self.name(door));
            Reason::new(sealed.source, name, refusal.into())
        })?;
        self.use_up(&admitted, sealed, audit)
            .map_err(|why| Reason::new(sealed.source, self.name(door), why))?;
        self.signatures.remember(sealed.source);
        let own = self.own_time(door);
        let guest = Guest {
            address: admitted.address,
            user: Some(admitted.name.clone()),
            time: admitted.time_open(own),
        };
        self.tell_admitted(door, &guest, now, audit);
        self.let_in_guest(door, guest, now, audit);
        Ok(())
    }

    /// The door that a knock may open.
    fn judge(
        &mut self,
        sealed: &Sealed,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<(DoorIndex, Admitted), (Option<DoorIndex>, Refusal)> {
        let Some(host) = self.host_key.clone() else { return Err((None, Refusal::Unsealed)) };
        let Sealed { source, destination, local, opened } = sealed;
        let mut found = None;
        let (doors, place) = (&mut self.doors, &mut found);
        let claim = Claim::of(
            opened,
            move |name| {
                let (door, rules) = rules_of(doors, name, audit)?;
                *place = Some(door);
                Some(rules)
            },
            wall_clock::nanoseconds(),
        );
        let judged = claim.and_then(|claim| {
            let is_looked_into = self.signatures.admits(*source, now);
            if is_looked_into { claim.prove(&host, *source) } else { Err(Refusal::TooMany) }
        });
        let (_, admitted) = judged.map_err(|refusal| (found, refusal.shortened()))?;
        let Some(index) = found else { return Err((None, Refusal::Unsealed)) };
        let place = (*source, *destination, *local);
        self.check_place(index, &admitted.name, admitted.address, place)
            .map_err(|refusal| (found, refusal))?;
        Ok((index, admitted))
    }

    /// Whether the door takes a knock of this user's for an address that came from there, and went there.
    fn check_place(
        &self,
        door: DoorIndex,
        user: &str,
        address: IpAddr,
        (source, destination, local): (IpAddr, IpAddr, bool),
    ) -> Result<(), Refusal> {
        if !self.is_knocked_at(door, destination, local) {
            return Err(Refusal::Elsewhere(user.to_owned(), destination));
        }
        if !self.allows(door, address) || !self.allows(door, source) {
            return Err(Refusal::NotAllowed(user.to_owned(), address));
        }
        Ok(())
    }

    fn use_up(&mut self, admitted: &Admitted, sealed: &Sealed, audit: &mut Audit) -> Result<(), Why> {
        self.open_ledger(audit);
        let (id, _) =
            sealed.opened.encapsulated.split_first_chunk::<16>().ok_or(Why::Refused(Refusal::Unsealed))?;
        let used = Use { time: admitted.time, id: *id };
        self.ledger.take(Holder(admitted.key.0), used).map_err(Why::from)
    }

    /// Opens what a request of fwknop's client may open.
    ///
    /// # Errors
    /// Why it opens nothing, which is still to be told.
    #[cfg(feature = "fwknop")]
    pub(crate) fn take_fwknop(
        &mut self,
        request: &FwknopKnock,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<(), Reason> {
        let guest = self
            .judge_fwknop(request, audit)
            .map_err(|why| Reason::new(request.source, self.name(request.door), why))?;
        self.tell_admitted(request.door, &guest, now, audit);
        self.let_in_guest(request.door, guest, now, audit);
        Ok(())
    }

    #[cfg(feature = "fwknop")]
    fn judge_fwknop(&mut self, request: &FwknopKnock, audit: &mut Audit) -> Result<Guest, Why> {
        let FwknopKnock { door: index, source, destination, local, knock } = request;
        let name = || knock.user.clone();
        let address = match knock.allow {
            Allow::Source => *source,
            Allow::Address(address) => address.into(),
        };
        // It tells seconds alone: parts of one on our side count for nothing.
        let [time, now] = [knock.time, wall_clock::seconds()].map(|time| time.saturating_mul(1_000_000_000));
        check_time(time, now)?;
        self.check_place(*index, &knock.user, address, (*source, *destination, *local))?;
        let ready = self.doors.get(*index as usize).ok_or(Refusal::Unsealed)?;
        let Credential::Fwknop(fwknop) = &ready.credential else { return Err(Refusal::Unsealed.into()) };
        if let Some(native) = &ready.door.native {
            let opens = |(protocol, port): &(_, u16)| {
                native.ports.iter().any(|range| range.contains(*protocol, *port))
            };
            if let Some((protocol, port)) = knock.accesses.iter().find(|access| !opens(access)) {
                return Err(Refusal::Port(name(), format!("{port}/{protocol}")).into());
            }
        }
        let used = Use { time, id: knock.identity };
        let holder = Holder(fwknop.keys.identity());
        self.open_ledger(audit);
        self.ledger.take(holder, used)?;
        let asked = knock.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        let time = [self.own_time(*index), asked].into_iter().flatten().min();
        Ok(Guest { address, user: Some(knock.user.clone()), time })
    }

    /// Uses up the step whose sequence was knocked in this place of a rolling door; of another door there is nothing to.
    ///
    /// # Errors
    /// Where that was done before or cannot be written down, which is still to be told: then it opens nothing.
    pub(crate) fn use_up_step(
        &mut self,
        (door, slot): (DoorIndex, u8),
        source: IpAddr,
        audit: &mut Audit,
    ) -> Result<(), Reason> {
        if self.doors.get(door as usize).is_none_or(|ready| ready.credential.rolling().is_none()) {
            return Ok(());
        }
        self.open_ledger(audit);
        let Some(ready) = self.doors.get_mut(door as usize) else { return Ok(()) };
        let Credential::Rolling(rolling) = &mut ready.credential else { return Ok(()) };
        let step = rolling.step_in(slot.into());
        let holder = rolling.holder(&ready.door.key);
        rolling.use_up(step);
        let used = self.ledger.take(holder, use_of(step));
        used.map_err(|refused| Reason::new(source, self.name(door), refused.into()))
    }

    /// How long a door is open where nothing else is said.
    pub(super) fn own_time(&self, door: DoorIndex) -> Option<Duration> {
        self.doors.get(door as usize)?.door.time_open()
    }

    /// Whether the door is knocked at at this address.
    fn is_knocked_at(&self, door: DoorIndex, destination: IpAddr, local: bool) -> bool {
        let door = self.doors.get(door as usize).map(|ready| &ready.door);
        door.is_some_and(|door| door.target.map_or(local, |target| target == destination))
    }

    fn tell_admitted(&self, door: DoorIndex, guest: &Guest, now: Timestamp, audit: &mut Audit) {
        let name = self.name(door);
        audit.log.counts.knock(name, &What::Opening, 1);
        let user = guest.user.clone().unwrap_or_default();
        let line = format!("{name}: OPEN SESAME ({user})");
        let what = Recorded::Admitted(user.clone());
        let facts = Facts { user: Some(user), ..Facts::between(guest.address, name, &what) };
        audit.tell_as(guest.address, name, what, now, Some(&line), facts);
    }

    /// It is this time of day: tells which places of which doors follow another sequence from now on.
    pub(crate) fn advance_rolling(&mut self) -> Vec<(DoorIndex, u8)> {
        let now = wall_clock::seconds();
        let mut changed = Vec::new();
        for (ready, door) in self.doors.iter_mut().zip(0..) {
            let Credential::Rolling(rolling) = &mut ready.credential else { continue };
            let slots = rolling.advance(now);
            changed.extend(slots.into_iter().map(|slot| (door, slot as u8)));
        }
        if !changed.is_empty() {
            // A clock that was set back leads to steps that were used.
            recall_steps(&self.ledger, &mut self.doors);
        }
        changed
    }

    /// The places of doors in which nothing is to be followed, for this step's sequence was knocked.
    pub(crate) fn used_places(&self) -> Vec<(DoorIndex, u8)> {
        let rolling = self.doors.iter().zip(0..).filter_map(|(ready, door)| {
            let rolling = ready.credential.rolling()?;
            Some(rolling.used_places().map(move |slot| (door, slot as u8)))
        });
        rolling.flatten().collect()
    }

    /// When other sequences are to be followed.
    pub(crate) fn next_step(&self, now: Timestamp) -> Option<Timestamp> {
        let has_some = self.doors.iter().any(|ready| ready.credential.rolling().is_some());
        has_some.then(|| now + wall_clock::until_next(STEP))
    }

    /// Forgets who has no key any more.
    pub(super) fn forget_former_users(&mut self) {
        let mut holders = std::collections::BTreeSet::new();
        for ready in &self.doors {
            match &ready.credential {
                Credential::Keys(file) => {
                    holders.extend(file.keys().iter().map(|key| key.key.fingerprint().0))
                }
                Credential::Rolling(rolling) => {
                    holders.insert(rolling.holder(&ready.door.key).0);
                }
                #[cfg(feature = "fwknop")]
                Credential::Fwknop(fwknop) => {
                    holders.insert(fwknop.keys.identity());
                }
                Credential::Sequence | Credential::OneTime(_) | Credential::Missing => {}
            }
        }
        self.ledger.retain(|holder| holders.contains(&holder.0), wall_clock::nanoseconds());
    }
}

/// The door of this name that is opened with SSH keys, and its rules at the moment: whoever was given a key, or has lost
/// it, need not wait for a reload.
fn rules_of<'a>(
    doors: &'a mut [ReadyDoor],
    name: &str,
    audit: &mut Audit,
) -> Option<(DoorIndex, DoorRules<'a>)> {
    let named = doors.iter_mut().zip(0..).filter(|(ready, _)| ready.door.key.name == name);
    let (door, index, file) = named.into_iter().find_map(|(ready, index)| match &mut ready.credential {
        Credential::Keys(file) => Some((&ready.door, index, file)),
        _ => None,
    })?;
    for line in file.refresh() {
        audit.complain(&line);
    }
    Some((index, DoorRules { keys: file.keys(), address_must_match: door.address_must_match }))
}

/// Has these doors know which of their steps were used: the ledger would refuse them, but not before the log tells that
/// somebody has knocked right.
pub(super) fn recall_steps(ledger: &Ledger, doors: &mut [ReadyDoor]) {
    for ReadyDoor { door, credential } in doors {
        if let Credential::Rolling(rolling) = credential {
            let holder = rolling.holder(&door.key);
            rolling.recall(|step| ledger.knows(holder, use_of(step)));
        }
    }
}

/// Why nothing opens.
enum Why {
    Refused(Refusal),
    /// It was not written down that it was used; in words.
    NotWritten(String),
}

impl From<Refusal> for Why {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Refused> for Why {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotGood(ledger::Refusal::Seen) => Self::Refused(Refusal::Used),
            Refused::NotGood(ledger::Refusal::TooOld { .. }) => Self::Refused(Refusal::TooOld),
            Refused::NotWritten(reason) => Self::NotWritten(reason),
        }
    }
}

/// Why a knock opens nothing.
pub(crate) struct Reason {
    pub(crate) source: IpAddr,
    door: String,
    why: Why,
}

impl Reason {
    fn new(source: IpAddr, door: &str, why: Why) -> Self {
        Self { source, door: door.to_owned(), why }
    }

    /// Of a knock whose door is not known.
    pub(crate) fn of_some_knock(source: IpAddr, refusal: Refusal) -> Self {
        Self::new(source, SOME_KNOCK, Why::Refused(refusal.shortened()))
    }

    /// Whether anybody can bring it about; all else, whoever has seen it once can bring about again.
    pub(crate) const fn is_made_up(&self) -> bool {
        matches!(&self.why, Why::Refused(refusal) if !refusal.is_authentic())
    }

    pub(crate) fn tell(self, now: Timestamp, audit: &mut Audit) {
        let Self { source, door, why } = self;
        let (reason, code, user) = match why {
            Why::Refused(refusal) => (refusal.to_string(), refusal.code(), refusal.user().cloned()),
            Why::NotWritten(reason) => (reason, "ledger", None),
        };
        let line = format!("{door}: not opened: {reason}");
        let what = Recorded::Refused(reason);
        let facts = Facts { reason: Some(code), user, ..Facts::between(source, &door, &what) };
        audit.tell_as(source, &door, what, now, Some(&line), facts);
    }
}
