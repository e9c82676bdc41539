//! What the two halves say to each other.

use std::fmt;
use std::net::IpAddr;

use knock_core::config::PortRange;
use knock_core::control::Layer;
use knock_core::sequence::{Sequence, Step};
use knock_core::spa::{Opened, Refusal};
use knock_core::tracker::{AttemptView, Counters, DoorIndex, Event, TrackedDoor, What};
use serde::{Deserialize, Serialize};

use crate::reading::{Datagrams, Listened};

/// What the acting half tells the reading half.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first: give up what is not needed, by becoming this user and group among others.
    Begin {
        /// The numbers of the user and the group.
        user: Option<(u32, u32)>,
        /// Tell of every packet that may be a knock.
        tells_packets: bool,
        /// Pass over IPv6.
        ipv4_only: bool,
    },
    /// Follow knocks at these doors; attempts that would have come as far go on. Ends a rest.
    Doors {
        /// The doors, by whose places the reading half calls them.
        doors: Vec<TrackedDoor>,
        /// What native doors open.
        opened: Vec<PortRange>,
        /// Where knocks are heard.
        listened: Listened,
        /// Which datagrams are looked at.
        datagrams: Datagrams,
    },
    /// Somebody there has made a good knock.
    Remember(IpAddr),
    /// Knocks are heard there.
    Listen(Listened),
    /// A door has another sequence, or none.
    Sequence(DoorIndex, Option<Sequence>),
    /// Take no more packets until there are other doors, or until [`Order::GoOn`].
    Rest,
    /// Take packets again.
    GoOn,
    /// Say how it stands; also which attempts there are.
    Tell {
        /// Comes back with the answer.
        number: u64,
        /// Which attempts there are.
        attempts: bool,
    },
}

/// What the reading half says.
///
/// Who has taken it over can say any of this: open a door with a sequence, or one of fwknop's, for an address, as whoever
/// knows all of these secrets can, and tell of knocks that were none. That is all: doors with SSH keys they do not open.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    /// It has given up what it does not need.
    Confined(Vec<Layer>),
    /// Something came of a knock.
    Event(Event),
    /// This may be a knock.
    Heard(Heard),
    /// This was sealed to the server, by whomever.
    Sealed(Box<Sealed>),
    /// This datagram was refused.
    Refused(Refused),
    /// What these sources send is to pass the kernel filter.
    Follow(Vec<IpAddr>),
    /// So many lines were left out in all.
    LeftOut(u64),
    /// So many packets were lost in all.
    Lost(u64),
    /// How it stands.
    Answer(Box<Answer>),
    /// It ends, for this reason.
    Failed(String),
    /// This was made with the keys of a door for fwknop's clients.
    #[cfg(feature = "fwknop")]
    Fwknop(Box<FwknopKnock>),
}

/// How the reading half stands.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The number of what was asked.
    pub number: u64,
    /// How many attempts there are.
    pub under_way: usize,
    /// Which, if that was asked.
    pub attempts: Vec<AttemptView>,
    /// How often there was no room.
    pub counters: Counters,
    /// How many lines were left out in all.
    pub left_out: u64,
    /// How many packets were lost in all.
    pub lost: u64,
    /// What was not told since the last answer.
    pub untold: Vec<Untold>,
}

/// What happened too often to be told each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untold {
    /// At which door.
    pub door: DoorIndex,
    /// One of its kind.
    pub what: What,
    /// How often.
    pub times: u64,
}

/// What was sealed to the server's key: who has done that, the acting half finds out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Where it came from.
    pub source: IpAddr,
    /// Where it went.
    pub destination: IpAddr,
    /// That is an address that is listened at.
    pub local: bool,
    /// What was in it.
    pub opened: Opened,
}

/// A request of fwknop's client with the keys of a door.
#[cfg(feature = "fwknop")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FwknopKnock {
    /// The door whose keys it was made with.
    pub door: DoorIndex,
    /// Where it came from.
    pub source: IpAddr,
    /// Where it went.
    pub destination: IpAddr,
    /// That is an address that is listened at.
    pub local: bool,
    /// What was in it.
    pub knock: knock_core::fwknop::Knock,
}

/// A datagram that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Where it came from.
    pub source: IpAddr,
    /// Why.
    pub reason: Refusal,
}

/// A packet that may be a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Where it came from.
    pub source: IpAddr,
    /// Where it went.
    pub destination: IpAddr,
    /// To which port.
    pub step: Step,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, step } = self;
        write!(f, "{}: {source} -> {destination} {}", step.protocol, step.port)
    }
}

#[cfg(test)]
mod tests {
    use knock_core::control::LayerState;

    use super::*;

    /// One of each kind; the fuzzer begins with these.
    fn words() -> Vec<(&'static str, Word)> {
        let source = "192.0.2.7".parse().unwrap();
        let step = Step::parse("7142:udp").unwrap();
        let opened = Opened::unchecked([7; 32], vec![0; 256]);
        let sealed = Sealed { source, destination: source, local: true, opened };
        let layer = Layer { name: "landlock".into(), state: LayerState::On, message: "no file".into() };
        vec![
            ("confined", Word::Confined(vec![layer])),
            ("stage", Word::Event(Event { door: 1, source, what: What::Stage(2) })),
            (
                "opening",
                Word::Event(Event { door: 1, source: "2001:db8::7".parse().unwrap(), what: What::Opening }),
            ),
            ("heard", Word::Heard(Heard { source, destination: source, step })),
            ("sealed", Word::Sealed(Box::new(sealed))),
            ("refused", Word::Refused(Refused { source, reason: Refusal::Unsealed })),
            ("follow", Word::Follow(vec![source, source])),
            ("left_out", Word::LeftOut(300)),
            ("lost", Word::Lost(7)),
            ("answer", Word::Answer(Box::default())),
            ("failed", Word::Failed("no memory".into())),
        ]
    }

    #[test]
    fn the_fuzzer_s_seeds_are_words() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/word");
        for (name, word) in words() {
            let message = postcard::to_stdvec(&word).unwrap();
            let length = u32::try_from(message.len()).unwrap();
            let bytes = [&length.to_ne_bytes()[..], &message].concat();
            let path = directory.join(name);
            if std::env::var_os("WRITE_SEEDS").is_some() {
                std::fs::write(&path, &bytes).unwrap();
            }
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}: WRITE_SEEDS=1 writes it anew");
        }
    }
}
