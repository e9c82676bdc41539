//! Knocks with keys: judged here, for whoever has taken the reading half over may say that anything came in.
//!
//! Nothing opens before it is on the disk that this very knock was used.

use std::net::IpAddr;
use std::time::Duration;

#[cfg(feature = "fwknop")]
use knock_core::fwknop::Allow;
use knock_core::history::Recorded;
use knock_core::ledger::{self, Holder, Use};
use knock_core::quota::Quota;
use knock_core::rolling::{STEP, use_of};
#[cfg(feature = "fwknop")]
use knock_core::spa::WINDOW;
use knock_core::spa::{Admitted, DoorRules, Refusal, judge};
use knock_core::time::Timestamp;
use knock_core::tracker::{DoorIndex, What};

use super::{Acting, Guest};
use crate::audit::Audit;
#[cfg(feature = "fwknop")]
use crate::channel::FwknopKnock;
use crate::channel::Sealed;
use crate::configuration::ReadyDoor;
use crate::credential::Credential;
use crate::ledger::Refused;
use crate::log::Facts;
use crate::wall_clock;

/// What a knock is called whose door is not known.
const SOME_KNOCK: &str = "a knock";

impl Acting {
    /// Opens what a sealed knock may open; whether it was a good one.
    pub(crate) fn take_sealed(
        &mut self,
        sealed: &Sealed,
        quota: &mut Quota,
        now: Timestamp,
        audit: &mut Audit,
    ) -> bool {
        let refused = match self.judge(sealed, audit) {
            Ok((door, admitted)) => match self.use_up(&admitted, sealed, audit) {
                Ok(()) => {
                    self.let_in(door, &admitted, now, audit);
                    return true;
                }
                Err(why) => (Some(door), why),
            },
            Err((door, refusal)) => (door, Why::Refused(refusal)),
        };
        let (door, why) = refused;
        if quota.admits_line(sealed.source, why.is_authentic(), now) {
            let name = door.map_or(SOME_KNOCK, |door| self.name(door));
            tell_refused(sealed.source, name, &why, now, audit);
        }
        false
    }

    /// The door that a knock may open.
    fn judge(
        &mut self,
        sealed: &Sealed,
        audit: &mut Audit,
    ) -> Result<(DoorIndex, Admitted), (Option<DoorIndex>, Refusal)> {
        let Some(host) = self.host_key.clone() else { return Err((None, Refusal::Unsealed)) };
        let Sealed { source, destination, local, opened } = sealed;
        let found = opened.read().ok().and_then(|(request, _)| self.door_with_keys(&request.door));
        if let Some(index) = found {
            self.refresh_keys(index, audit);
        }
        let ready = found.and_then(|index| self.doors.get(index as usize));
        let rules = ready.and_then(|ready| match &ready.credential {
            Credential::Keys(file) => {
                Some(DoorRules { keys: file.keys(), address_must_match: ready.door.address_must_match })
            }
            _ => None,
        });
        let judged = judge(opened, &host, *source, |_| rules, wall_clock::nanoseconds());
        let (_, admitted) = judged.map_err(|refusal| (found, refusal.shortened()))?;
        let Some(index) = found else { return Err((None, Refusal::Unsealed)) };
        let name = || admitted.name.clone();
        if !self.is_knocked_at(index, *destination, *local) {
            return Err((found, Refusal::Elsewhere(name(), *destination)));
        }
        if !self.allows(index, admitted.address) || !self.allows(index, *source) {
            return Err((found, Refusal::NotAllowed(name(), admitted.address)));
        }
        Ok((index, admitted))
    }

    /// The door of this name that is opened with SSH keys.
    fn door_with_keys(&self, name: &str) -> Option<DoorIndex> {
        let is_meant = |ready: &ReadyDoor| {
            ready.door.key.name == name && matches!(ready.credential, Credential::Keys(_))
        };
        self.doors.iter().position(is_meant).map(|index| index as DoorIndex)
    }

    /// Whoever was given a key, or has lost it, need not wait for a reload.
    fn refresh_keys(&mut self, door: DoorIndex, audit: &mut Audit) {
        if let Some(Credential::Keys(file)) =
            self.doors.get_mut(door as usize).map(|ready| &mut ready.credential)
        {
            for line in file.refresh() {
                audit.complain(&line);
            }
        }
    }

    fn use_up(&mut self, admitted: &Admitted, sealed: &Sealed, audit: &mut Audit) -> Result<(), Why> {
        self.open_ledger(audit);
        let (id, _) =
            sealed.opened.encapsulated.split_first_chunk::<16>().ok_or(Why::Refused(Refusal::Unsealed))?;
        let used = Use { time: admitted.time, id: *id };
        self.ledger.take(Holder(admitted.key.0), used).map_err(Why::from)
    }

    fn let_in(&mut self, door: DoorIndex, admitted: &Admitted, now: Timestamp, audit: &mut Audit) {
        let own = self.own_time(door);
        let guest = Guest {
            address: admitted.address,
            user: Some(admitted.name.clone()),
            time: admitted.time_open(own),
        };
        self.tell_admitted(door, &guest, now, audit);
        self.let_in_guest(door, guest, now, audit);
    }

    /// Opens what a request of fwknop's client may open; whether it was a good one.
    #[cfg(feature = "fwknop")]
    pub(crate) fn take_fwknop(
        &mut self,
        request: &FwknopKnock,
        quota: &mut Quota,
        now: Timestamp,
        audit: &mut Audit,
    ) -> bool {
        self.open_ledger(audit);
        match self.judge_fwknop(request) {
            Ok(guest) => {
                self.tell_admitted(request.door, &guest, now, audit);
                self.let_in_guest(request.door, guest, now, audit);
                true
            }
            Err(why) => {
                // Who has seen a packet of somebody else's can send it again as often as they like.
                if quota.admits_line(request.source, why.is_authentic(), now) {
                    tell_refused(request.source, self.name(request.door), &why, now, audit);
                }
                false
            }
        }
    }

    #[cfg(feature = "fwknop")]
    fn judge_fwknop(&mut self, request: &FwknopKnock) -> Result<Guest, Why> {
        let FwknopKnock { door: index, source, destination, local, knock } = request;
        let name = || knock.user.clone();
        let address = match knock.allow {
            Allow::Source => *source,
            Allow::Address(address) => address.into(),
        };
        let now = wall_clock::seconds();
        let by = Duration::from_secs(knock.time.abs_diff(now));
        if by > WINDOW {
            return Err(Refusal::Clock { ahead: knock.time > now, by }.into());
        }
        if !self.is_knocked_at(*index, *destination, *local) {
            return Err(Refusal::Elsewhere(name(), *destination).into());
        }
        if !self.allows(*index, address) || !self.allows(*index, *source) {
            return Err(Refusal::NotAllowed(name(), address).into());
        }
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
        let used = Use { time: knock.time.saturating_mul(1_000_000_000), id: knock.identity };
        let holder = Holder(fwknop.keys.identity());
        self.ledger.take(holder, used)?;
        let asked = knock.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        let time = [self.own_time(*index), asked].into_iter().flatten().min();
        Ok(Guest { address, user: Some(knock.user.clone()), time })
    }

    /// Whether what was knocked in this place of a door is good still: a rolling door's step is used up by that. Where it was
    /// before, or that cannot be written down, tells so.
    pub(crate) fn is_unused(
        &mut self,
        (door, slot): (DoorIndex, u8),
        source: IpAddr,
        quota: &mut Quota,
        now: Timestamp,
        audit: &mut Audit,
    ) -> bool {
        if self.doors.get(door as usize).is_some_and(|ready| ready.credential.rolling().is_none()) {
            return true;
        }
        self.open_ledger(audit);
        let Some(ready) = self.doors.get_mut(door as usize) else { return false };
        let Credential::Rolling(rolling) = &mut ready.credential else { return true };
        let step = rolling.step_in(slot.into());
        let holder = Holder::at_door(&rolling.key().identity(), &ready.door.key);
        rolling.use_up(step);
        match self.ledger.take(holder, use_of(step)) {
            Ok(()) => true,
            Err(refused) => {
                if quota.admits_line(source, true, now) {
                    tell_refused(source, self.name(door), &refused.into(), now, audit);
                }
                false
            }
        }
    }

    /// How long a door is open where nothing else is said.
    pub(super) fn own_time(&self, door: DoorIndex) -> Option<Duration> {
        let door = &self.doors.get(door as usize)?.door;
        match &door.native {
            Some(native) => native.open_for,
            None => Some(door.commands.timeout),
        }
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
        let rolling =
            self.doors.iter_mut().zip(0..).filter_map(|(ready, door)| match &mut ready.credential {
                Credential::Rolling(rolling) => Some((door, rolling)),
                _ => None,
            });
        rolling
            .flat_map(|(door, rolling)| rolling.advance(now).into_iter().map(move |slot| (door, slot as u8)))
            .collect()
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
                    holders.insert(Holder::at_door(&rolling.key().identity(), &ready.door.key).0);
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

/// Why nothing opens.
enum Why {
    Refused(Refusal),
    /// It was not written down that it was used; in words.
    NotWritten(String),
}

impl Why {
    /// Whether it takes a secret to bring it about for the first time.
    const fn is_authentic(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_authentic(),
            Self::NotWritten(_) => true,
        }
    }
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

/// Says why a knock opens nothing; `door` is its name.
fn tell_refused(source: IpAddr, door: &str, why: &Why, now: Timestamp, audit: &mut Audit) {
    match why {
        Why::Refused(refusal) => tell_refusal(source, door, refusal, now, audit),
        Why::NotWritten(reason) => {
            let what = Recorded::Refused(reason.clone());
            let facts = Facts { reason: Some("ledger"), ..Facts::between(source, door, &what) };
            audit.tell_as(source, door, what, now, Some(&format!("{door}: not opened: {reason}")), facts);
        }
    }
}

/// Says why a knock opens nothing whose door is not known.
pub(crate) fn tell_of_some_knock(source: IpAddr, refusal: &Refusal, now: Timestamp, audit: &mut Audit) {
    tell_refusal(source, SOME_KNOCK, refusal, now, audit);
}

fn tell_refusal(source: IpAddr, door: &str, refusal: &Refusal, now: Timestamp, audit: &mut Audit) {
    let what = Recorded::Refused(refusal.to_string());
    let facts = Facts {
        reason: Some(refusal.code()),
        user: refusal.user().cloned(),
        ..Facts::between(source, door, &what)
    };
    audit.tell_as(source, door, what, now, Some(&format!("{door}: not opened: {refusal}")), facts);
}
