//! What the tracker tells.

use std::net::IpAddr;

use super::DoorIndex;
use serde::{Deserialize, Serialize};

use crate::config::FlagRule;
use crate::knock::TcpFlags;
use crate::sequence::Step;
use crate::time::Timestamp;

/// What happened between a source and a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The door that is knocked at.
    pub door: DoorIndex,
    /// Who knocks.
    pub source: IpAddr,
    /// What happened.
    pub what: What,
}

/// What may happen to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// So many knocks of the sequence were right.
    Stage(usize),
    /// The sequence is complete: the door opens for the source.
    Opening,
    /// The time for the sequence is over, after so many knocks were right.
    TimedOut(usize),
    /// A wrong port ended the attempt.
    Spoiled {
        /// How many knocks were right.
        stage: usize,
        /// The port that was hit.
        hit: Step,
        /// The port that should have been hit.
        expected: Step,
        /// Some door has the port that was hit in its sequence: it is a secret.
        named: bool,
    },
    /// The door was opened for this source so lately that its knock is passed over.
    CoolingDown,
    /// The door does not take these TCP flags. The attempt, if any, is as it was.
    Unfit {
        /// Which knock of the sequence it would have been, counted from 1.
        knock: usize,
        /// The packet's flags.
        flags: TcpFlags,
        /// What the door asks of them.
        rule: FlagRule,
    },
    /// The packet went to an address that the door does not listen at. The attempt, if any, is as it was.
    Elsewhere {
        /// Which knock of the sequence it would have been, counted from 1.
        knock: usize,
        /// Where it went.
        destination: IpAddr,
        /// Where the door is to be knocked at; `None` for the interface's own addresses.
        target: Option<IpAddr>,
    },
    /// The source may not knock at this door.
    NotAllowed,
    /// It would have been this knock of the sequence, counted from 1, but none before it was heard.
    Unbegun(usize),
}

/// An attempt as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// The door that is knocked at.
    pub door: DoorIndex,
    /// Who knocks.
    pub source: IpAddr,
    /// How many knocks were right: all of them after an opening.
    pub stage: usize,
    /// How many knocks the door's sequence has; 0 where none is left.
    pub of: usize,
    /// The first knock, or the opening where this is a cool-down.
    pub since: Timestamp,
    /// When it is over.
    pub until: Timestamp,
    /// What it waits for.
    pub state: AttemptState,
}

/// What an attempt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptState {
    /// The next knock.
    UnderWay,
    /// The end of the time in which the source's knocks are passed over.
    CoolingDown,
}

/// How often there was no room, since the tracker was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Attempts that had to leave for others, and are remembered in short.
    pub faded: u64,
    /// Those of them that went on.
    pub revived: u64,
    /// Attempts and cool-downs that were forgotten before their time for want of room.
    pub lost: u64,
    /// Attempts that ended because their party had too many.
    pub over_budget: u64,
}
