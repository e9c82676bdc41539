//! What the daemon answers. Fields may be added; whoever reads passes over those that it does not know.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Seconds;
use crate::config::Secret;
use crate::history::Recorded;
use crate::network::Network;
use crate::tracker::What;

/// One line from the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It was not done.
    Error {
        /// What was found, what was expected, what to do.
        message: String,
    },
    /// It was done.
    Done {
        /// What, in a sentence.
        message: String,
        /// What there is to know beside.
        #[serde(default)]
        warnings: Vec<String>,
    },
    /// How the daemon is.
    Status(Box<Status>),
    /// All doors, in the configuration's order.
    Doors {
        /// Each door.
        doors: Vec<Door>,
    },
    /// All that is open, opening or closing.
    Grants {
        /// Each grant.
        grants: Vec<Grant>,
    },
    /// All attempts under way.
    Attempts {
        /// Each attempt.
        attempts: Vec<Attempt>,
    },
    /// What the daemon counts and measures.
    Metrics {
        /// In Prometheus' text format.
        text: String,
    },
    /// What became of an address's knocks.
    Explained {
        /// Whose.
        address: IpAddr,
        /// Why they did or did not open, in sentences.
        lines: Vec<String>,
        /// What is remembered of it, the oldest first.
        events: Vec<Past>,
    },
    /// The watch begins: each line that follows is an event.
    Watching {},
    /// Something happened.
    Event(Event),
}

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// How long it has been running.
    #[serde(rename = "uptime_seconds")]
    pub uptime: Seconds,
    /// The file of its configuration.
    pub config: String,
    /// What it listens on.
    pub interfaces: Vec<Interface>,
    /// What is not as it should be, in sentences.
    pub warnings: Vec<String>,
    /// How many doors there are.
    pub doors: usize,
    /// How many grants there are.
    pub grants: usize,
    /// How many attempts are under way.
    pub attempts: usize,
    /// What was too much for it since it runs.
    #[serde(default)]
    pub overload: Overload,
    /// The process that reads what strangers send.
    #[serde(default)]
    pub reading: ReadingProcess,
    /// Where grants are kept over a restart.
    pub journal: Journal,
    /// What native doors need; absent where there is no native door.
    pub native: Option<Native>,
    /// How long until the old configuration comes back unless the new one is confirmed.
    #[serde(rename = "pending_confirmation_seconds")]
    pub pending_confirmation: Option<Seconds>,
}

/// What was too much for the daemon since it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overload {
    /// Packets that passed the kernel's filter and that the kernel had no room for.
    pub packets_lost: u64,
    /// Attempts that made room for others and were remembered in short.
    pub attempts_faded: u64,
    /// Those of them that went on all the same.
    pub attempts_revived: u64,
    /// Attempts that were forgotten for lack of room.
    pub attempts_lost: u64,
    /// Attempts that were forgotten because one source had too many.
    pub attempts_over_budget: u64,
    /// Lines of the log that were left out.
    pub lines_left_out: u64,
}

/// The process that reads what strangers send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadingProcess {
    /// Its process id; none where it does not run at the moment.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// What confines it.
    pub layers: Vec<Layer>,
}

/// One of the layers that confine the reading process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What it is: `limits`, `user`, `capabilities`, `landlock` or `seccomp`.
    pub name: String,
    /// Whether it holds.
    pub state: LayerState,
    /// What it leaves to the process, or why it does not hold.
    pub message: String,
}

/// Whether a layer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerState {
    /// It does.
    On,
    /// It does not, or not wholly.
    Off,
}

/// An interface that is listened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether packets can come in.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Where grants are kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The file.
    pub path: String,
    /// Whether it is written.
    pub state: JournalState,
    /// Why it is not.
    pub message: Option<String>,
}

/// Whether the journal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalState {
    /// It is.
    InUse,
    /// No door needs it.
    Off,
    /// It cannot be; it is tried again.
    Failing,
}

/// What native doors need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Native {
    /// The daemon's own table in the kernel, `inet knockd`.
    pub table: TableState,
    /// The bit of the packet mark, such as `0x10000000`.
    pub mark: String,
    /// Whether the doors' ports are closed to others.
    pub guard: bool,
    /// The directive: `auto` or `none`.
    pub accept_rule: String,
    /// What became of it in each chain of the machine's own firewall.
    pub accept_rules: Vec<Accept>,
}

/// The daemon's own table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// It is as the daemon made it.
    InPlace,
    /// Somebody removed or changed it, or it could not be made.
    Missing,
}

/// A place where marked packets have to be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// Which chain, in words.
    pub place: String,
    /// Whether they are.
    pub state: AcceptState,
    /// What to know or to do.
    pub message: Option<String>,
}

/// Whether marked packets are accepted at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptState {
    /// A rule is there.
    InPlace,
    /// A rule is wanted and is not there.
    Missing,
    /// Nothing is dropped there.
    NotNeeded,
    /// A rule could not be put there.
    Failed,
}

/// A door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// Its name.
    pub name: String,
    /// What it opens by itself, such as `22/tcp`; empty where it is no native door.
    pub opens: Vec<String>,
    /// How long it stays open; absent where somebody has to close it or it is no native door.
    #[serde(rename = "open_for_seconds")]
    pub open_for: Option<Seconds>,
    /// What happens at closing to established connections, `keep` or `cut`; absent where it is no native door.
    pub established: Option<String>,
    /// Prefix lengths for IPv4 and IPv6, such as `24/56`; absent where it opens for the address alone.
    pub widen: Option<String>,
    /// Who may knock; everybody where it is empty.
    pub allow_from: Vec<Network>,
    /// The door that it closes.
    pub closes: Option<String>,
    /// Whether it runs commands.
    pub runs_commands: bool,
    /// How long after the start command the stop command runs; absent without one.
    #[serde(rename = "cmd_timeout_seconds")]
    pub cmd_timeout: Option<Seconds>,
    /// The address to knock at, where it is not the interface's own.
    pub target: Option<IpAddr>,
    /// What must be known to open it; absent from a daemon that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<DoorSecret>,
    /// How many SSH keys may knock; absent where it is not opened with these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<usize>,
    /// Whether each sequence is good for one knock only.
    pub one_time: bool,
    /// How many one-time sequences are left.
    pub sequences_left: Option<usize>,
    /// How many knocks open it; 0 where no sequence is left.
    pub steps: usize,
    /// What to knock, such as `7142:tcp`. A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Vec<String>>,
    /// Its commands. A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<Commands>,
    /// How long a sequence may take.
    #[serde(rename = "seq_timeout_seconds")]
    pub seq_timeout: Seconds,
    /// For how many it is open.
    pub grants: usize,
    /// Any other port hit ends an attempt.
    #[serde(default)]
    pub strict: bool,
    /// Why its sequence is weak.
    pub weak: Option<String>,
}

/// What must be known to open a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoorSecret {
    /// A sequence that stands in the configuration.
    Sequence,
    /// The next sequence of a file.
    OneTime,
    /// The sequence of the moment, made of a key.
    Rolling,
    /// An SSH key.
    Keys,
    /// The keys of fwknop's clients.
    Fwknop,
    /// What is not known here: the daemon is newer.
    #[serde(other)]
    Other,
}

impl From<&Secret> for DoorSecret {
    fn from(secret: &Secret) -> Self {
        match secret {
            Secret::Fixed(_) => Self::Sequence,
            Secret::OneTime(_) => Self::OneTime,
            Secret::Rolling(_) => Self::Rolling,
            Secret::Keys(_) => Self::Keys,
            Secret::Fwknop { .. } => Self::Fwknop,
        }
    }
}

/// A door's commands as they stand in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// `Start_Command`.
    pub start: Option<String>,
    /// `Stop_Command`.
    pub stop: Option<String>,
    /// `Start_Command_6`.
    pub start_6: Option<String>,
    /// `Stop_Command_6`.
    pub stop_6: Option<String>,
}

/// A door that is open for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The door's name.
    pub door: String,
    /// For whom.
    pub network: Network,
    /// What is open, such as `22/tcp`; empty where it is no native door.
    pub opens: Vec<String>,
    /// How far it is.
    pub state: GrantState,
    /// When it was opened, as in RFC 3339.
    pub since: String,
    /// How long it stays open; absent where somebody has to close it.
    #[serde(rename = "left_seconds")]
    pub left: Option<Seconds>,
    /// Whose key it was knocked with; absent where that is not known, as with a sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// An administrator opened it, without a knock.
    pub by_hand: bool,
    /// It was opened before the machine started last.
    pub earlier_boot: bool,
}

/// How far a grant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// Its start command runs or waits for its turn.
    Opening,
    /// It is in force.
    Open,
    /// Its stop command runs or waits for its turn.
    Closing,
}

/// Somebody who is knocking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The door's name.
    pub door: String,
    /// Who.
    pub source: IpAddr,
    /// How many knocks were right.
    pub stage: usize,
    /// Of how many.
    pub of: usize,
    /// How long ago the first was.
    #[serde(rename = "age_seconds")]
    pub age: Seconds,
    /// How long until the attempt is over.
    #[serde(rename = "left_seconds")]
    pub left: Seconds,
    /// What it waits for.
    pub state: AttemptState,
}

/// What an attempt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// The next knock.
    UnderWay,
    /// The end of `Seq_Cooldown`; knocks are passed over.
    CoolingDown,
}

/// Something that happened just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, as in RFC 3339.
    pub time: String,
    /// At which door.
    pub door: Option<String>,
    /// Who knocked.
    pub source: Option<IpAddr>,
    /// What.
    pub event: EventKind,
    /// The same in words.
    pub message: String,
}

/// Something that is remembered of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// How long ago it happened, the last time.
    #[serde(rename = "age_seconds")]
    pub age: Seconds,
    /// How often, one after the other.
    pub times: u32,
    /// At which door.
    pub door: String,
    /// What.
    pub event: EventKind,
    /// The same in words.
    pub message: String,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A knock was right, and more are to come.
    Stage,
    /// The last knock was right.
    Opening,
    /// The sequence's time is over.
    TimedOut,
    /// A knock at another port of the door ended the attempt.
    Spoiled,
    /// A knock was passed over within `Seq_Cooldown`.
    CoolingDown,
    /// A knock had TCP flags that the door does not take.
    Unfit,
    /// A knock went to an address that the door does not listen at.
    Elsewhere,
    /// A knock came from somebody whom `allow_from` does not name.
    NotAllowed,
    /// A knock came that is not the first, and none before it was heard.
    Unbegun,
    /// The door is open.
    Opened,
    /// It stays open longer.
    Extended,
    /// It did not open.
    Refused,
    /// It is closed.
    Closed,
    /// The configuration was read anew.
    Reloaded,
    /// Something is not as it should be.
    Warning,
    /// What is not known here: the daemon is newer.
    #[serde(other)]
    Other,
}

impl From<&What> for EventKind {
    fn from(what: &What) -> Self {
        match what {
            What::Stage(_) => Self::Stage,
            What::Opening => Self::Opening,
            What::TimedOut(_) => Self::TimedOut,
            What::Spoiled { .. } => Self::Spoiled,
            What::CoolingDown => Self::CoolingDown,
            What::Unfit { .. } => Self::Unfit,
            What::Elsewhere { .. } => Self::Elsewhere,
            What::NotAllowed => Self::NotAllowed,
            What::Unbegun(_) => Self::Unbegun,
        }
    }
}

impl From<&Recorded> for EventKind {
    fn from(recorded: &Recorded) -> Self {
        match recorded {
            Recorded::Knock { what, .. } => what.into(),
            Recorded::Admitted(_) => Self::Opening,
            Recorded::Opened { .. } => Self::Opened,
            Recorded::Extended { .. } => Self::Extended,
            Recorded::Refused(_) => Self::Refused,
            Recorded::Closed(_) => Self::Closed,
        }
    }
}
