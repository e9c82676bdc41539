//! What the reading half says: told, and openings handed over to the acting half.

use knock_core::history::Recorded;
use knock_core::sequence::MAX_STEPS;
use knock_core::spa::Refusal;
use knock_core::time::Timestamp;
use knock_core::tracker::{Event, What};

use super::{Daemon, QUIET};
use crate::acting::Reason;
use crate::channel::{Refused, Untold, Word};
use crate::reader::LIE;

/// So many characters are told of why the reading half has ended.
const LONGEST_REASON: usize = 300;

impl Daemon<'_> {
    /// Heeds what the reading half has said, as long as it can be trusted.
    pub(super) fn hear(&mut self, now: Timestamp) {
        let heard = self.reader.hear();
        let heeded = heard.and_then(|words| words.into_iter().try_for_each(|word| self.heed(word, now)));
        if let Err(reason) = heeded {
            self.lose_reader(&reason, now);
        }
        // However often that was said, it is done once.
        if let Some(sources) = self.follow.take()
            && let Err(error) = self.reader.follow(sources)
        {
            self.look_again(&error, now);
        }
        self.count_untold(now);
    }

    /// Counts what the reading half has not told one by one.
    pub(super) fn count_untold(&mut self, now: Timestamp) {
        for Untold { door, what, times } in self.reader.take_untold() {
            if let Some((door, _)) = self.reader.owner(door) {
                self.audit.log.counts.knock(self.acting.name(door), &what, times);
            }
        }
        let left_out = self.reader.left_out();
        self.quota.leave_out(left_out.saturating_sub(self.left_out_counted), now);
        self.left_out_counted = left_out;
    }

    /// Does what a word asks for.
    ///
    /// # Errors
    /// Why nothing more is to be heeded.
    fn heed(&mut self, word: Word, now: Timestamp) -> Result<(), String> {
        match word {
            Word::Event(event) if self.can_be(&event) => self.handle(event, now),
            Word::Event(_) => return Err(LIE.into()),
            Word::Sealed(sealed) => match self.acting.take_sealed(&sealed, now, &mut self.audit) {
                Ok(()) => self.reader.remember(sealed.source),
                Err(reason) => self.tell_reason(reason, now),
            },
            #[cfg(feature = "fwknop")]
            Word::Fwknop(request) if request.knock.is_possible() => {
                if let Err(reason) = self.acting.take_fwknop(&request, now, &mut self.audit) {
                    self.tell_reason(reason, now);
                }
            }
            #[cfg(feature = "fwknop")]
            Word::Fwknop(_) => return Err(LIE.into()),
            Word::Refused(Refused { source, reason }) if is_of_a_datagram(&reason) => {
                self.tell_reason(Reason::of_some_knock(source, reason), now);
            }
            Word::Refused(_) => return Err(LIE.into()),
            Word::Heard(heard) => self.audit.log.debug(|| heard.to_string()),
            Word::Follow(sources) => self.follow = Some(sources.into_iter().collect()),
            Word::Failed(reason) => return Err(reason.chars().take(LONGEST_REASON).collect()),
            Word::Confined(_) | Word::LeftOut(_) | Word::Lost(_) | Word::Answer(_) => self.reader.note(word),
        }
        Ok(())
    }

    /// Tells why a knock opens nothing, as often as may be.
    fn tell_reason(&mut self, reason: Reason, now: Timestamp) {
        if self.quota.admits_line(reason.source, !reason.is_made_up(), now) {
            reason.tell(now, &mut self.audit);
        }
    }

    /// Whether the reading half can have to say this; anything else is somebody else's word.
    fn can_be(&self, Event { door, source, what }: &Event) -> bool {
        let Some((owner, _)) = self.reader.owner(*door) else { return false };
        is_possible(what) && (*what != What::Opening || self.acting.may_open(owner, *source))
    }

    /// The reading half has ended, or is ended because it cannot be relied on.
    pub(super) fn lose_reader(&mut self, reason: &str, now: Timestamp) {
        let why = match self.reader.end_process(now) {
            Some(how) if reason.is_empty() => how,
            _ => reason.to_owned(),
        };
        // One that ends again and again must not fill the log.
        if self.losses.wait(now).is_none() {
            self.losses.done(now);
            self.audit.complain(&format!("error: the reading process ended, starting it anew: {why}"));
        }
    }

    /// Tells what came of a knock, and hands over what is to be opened.
    fn handle(&mut self, event: Event, now: Timestamp) {
        let Some(place @ (door, _)) = self.reader.owner(event.door) else { return };
        if event.what == What::Opening
            && let Err(reason) = self.acting.use_up_step(place, event.source, &mut self.audit)
        {
            self.tell_reason(reason, now);
            self.follow_next(place, now);
            return;
        }
        self.audit.log.counts.knock(self.acting.name(door), &event.what, 1);
        if self.quota.admits(&event, now) {
            self.tell(&event, now);
        }
        if event.what == What::Opening {
            let Self { acting, reader, audit, .. } = self;
            let mut armed = Ok(());
            let arm = |next| armed = reader.follow_in(door, next);
            acting.open(place, event.source, arm, now, audit);
            if let Err(error) = armed {
                self.look_again(&error, now);
            }
        }
    }

    /// Says that more comes in than can be told or taken.
    pub(super) fn tell_of_overload(&mut self, now: Timestamp) {
        if let Some(count) = self.quota.tell(now) {
            self.audit.complain(&format!(
                "warning: so much is knocked that not all of it is logged: {count} lines were left out"
            ));
        }
        if self.quiet_until <= now {
            self.tell_of_lost_packets(now);
        }
    }

    fn tell_of_lost_packets(&mut self, now: Timestamp) {
        let lost = self.reader.lost().saturating_sub(self.lost_told);
        if lost > 0 {
            (self.quiet_until, self.lost_told) = (now + QUIET, self.reader.lost());
            self.audit.complain(&format!(
                "warning: packets came in faster than they could be looked at: {lost} were lost, knocks maybe among them"
            ));
        }
    }

    /// Says at the end what would have been said later.
    pub(super) fn tell_rest_of_overload(&mut self, now: Timestamp) {
        let left_out = self.quota.rest();
        if left_out > 0 {
            self.audit.log.record(&format!("{left_out} more lines were left out"));
        }
        self.tell_of_lost_packets(now);
    }

    fn tell(&mut self, report: &Event, now: Timestamp) {
        let Event { door: index, source, what } = *report;
        let Some((owner, _)) = self.reader.owner(index) else { return };
        let door = self.acting.name(owner);
        let line = match what {
            What::Stage(stage) => Some(format!("{door}: Stage {stage}")),
            What::Opening => Some(format!("{door}: OPEN SESAME")),
            What::TimedOut(stage) => Some(format!("{door}: sequence timeout (stage {stage})")),
            _ => None,
        };
        if line.is_none() {
            self.audit.log.debug(|| format!("{source}: {door}: {}", in_detail(what)));
        }
        let Some(tracked) = self.reader.door(index) else { return };
        let recorded = Recorded::knock(what, tracked);
        self.audit.tell(source, door, recorded, now, line.as_deref());
    }
}

/// Whether the reading half can find this out: all else takes a judgement.
const fn is_of_a_datagram(reason: &Refusal) -> bool {
    matches!(reason, Refusal::TooMany | Refusal::Unsealed | Refusal::Used | Refusal::Fwknop { .. })
}

/// Whether this can happen to a sequence.
fn is_possible(what: &What) -> bool {
    let knocks = match *what {
        What::Stage(knocks) | What::TimedOut(knocks) | What::Unbegun(knocks) => knocks,
        What::Spoiled { stage: knocks, .. }
        | What::Unfit { knock: knocks, .. }
        | What::Elsewhere { knock: knocks, .. } => knocks,
        What::Opening | What::CoolingDown | What::NotAllowed => 0,
    };
    knocks <= MAX_STEPS
}

/// What is of interest in search of a fault only.
fn in_detail(what: What) -> String {
    match what {
        What::Spoiled { stage, hit, .. } => format!("{hit} is wrong behind stage {stage}"),
        What::CoolingDown => "passed over, cooling down".into(),
        What::Unfit { knock, .. } => format!("knock {knock} passed over, wrong flags"),
        What::Elsewhere { knock, destination, .. } => format!("knock {knock} passed over, to {destination}"),
        What::NotAllowed => "passed over, not allowed".into(),
        What::Unbegun(knock) => format!("passed over, knock {knock} without the first"),
        What::Stage(_) | What::Opening | What::TimedOut(_) => String::new(),
    }
}
