//! What goes into the doorkeeper and what comes out.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::{Door, DoorKey};
use crate::journal::Entry;
use crate::network::Network;
use crate::time::Timestamp;

/// Names a command that was handed out to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub(super) u64);

/// Names a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId(pub(super) u64);

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// To tell its end by, with [`Doorkeeper::handle_exit`](super::Doorkeeper::handle_exit).
    pub id: JobId,
    /// The door that it belongs to.
    pub door: DoorKey,
    /// Who knocked.
    pub address: IpAddr,
    /// For `/bin/sh -c`.
    pub command: String,
    /// Whose key it was knocked with, where that is known.
    pub user: Option<String>,
    /// Whether it closes what another has opened.
    pub closes: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ran, with success or without.
    Ended,
    /// It could not be started.
    NotStarted,
}

/// What a door does for an address, as its configuration was when it was knocked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The door.
    pub door: DoorKey,
    /// Who knocked.
    pub source: IpAddr,
    /// Whose key it was knocked with, where that is known.
    pub user: Option<String>,
    /// Whom it opens for: the source alone, unless the door widens.
    pub network: Network,
    /// Whether the kernel opens it.
    pub native: bool,
    /// The command that opens.
    pub start: Option<String>,
    /// The command that closes.
    pub stop: Option<String>,
    /// How long it stays open; `None` until it is closed.
    pub time: Option<Duration>,
    /// It was not knocked for: an administrator opened it.
    pub by_hand: bool,
}

impl Opening {
    /// What `door` does for `source`; `None` where that is nothing.
    pub fn of(door: &Door, source: IpAddr) -> Option<Self> {
        let (start, stop) = match door.commands.for_source(source) {
            Some((start, stop)) => (Some(start), stop),
            None => (None, None),
        };
        let network =
            door.native.as_ref().map_or(Network::host(source), |native| native.widen.around(source));
        let native = door.native.is_some();
        let opening = Self {
            door: door.key.clone(),
            source,
            user: None,
            network,
            native,
            start,
            stop,
            time: door.time_open(),
            by_hand: false,
        };
        (native || opening.start.is_some()).then_some(opening)
    }

    /// Whether something is to be closed again.
    pub(super) const fn lasts(&self) -> bool {
        self.native || self.stop.is_some()
    }
}

/// Why a grant ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time is over.
    TimeOver,
    /// Somebody knocked at the door of this name, which closes this one.
    Knocked(String),
    /// An administrator closed it.
    ByHand,
    /// The configuration no longer has its door, or has it for other networks.
    DoorGone,
    /// The kernel opened it and now commands do, or the other way round; there was a knock for the new kind.
    DoorChanged,
    /// The kernel did not take it.
    KernelRefused,
    /// The daemon ends.
    Shutdown,
    /// What is known of it cannot be relied on.
    Unsure,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write this down, then tell whether that went well, with
    /// [`Doorkeeper::handle_recorded`](super::Doorkeeper::handle_recorded): nothing opens before.
    Record(GrantId, Entry),
    /// Write down, as well as possible, that a grant goes on otherwise than was written.
    Amend(Entry),
    /// Write down, as well as possible, that this door is no longer open for this network.
    Forget(DoorKey, Network),
    /// Have the kernel let this network in until then, also where it is let in already. Where that fails, tell it with
    /// [`Doorkeeper::handle_failed`](super::Doorkeeper::handle_failed).
    Open {
        /// Which grant this is.
        grant: GrantId,
        /// The door.
        door: DoorKey,
        /// Who knocked.
        source: IpAddr,
        /// Whom to let in.
        network: Network,
        /// Until when; `None` until it is closed.
        until: Option<Timestamp>,
        /// It was open before.
        extended: bool,
    },
    /// Have the kernel let this network in no longer.
    Shut(DoorKey, Network),
    /// Run this and tell its end.
    Run(Job),
    /// The grant ends; its stop command, where it has one, follows.
    Closing {
        /// The door that closes.
        door: DoorKey,
        /// Whom it was open for.
        network: Network,
        /// Who knocked.
        source: IpAddr,
        /// Whether the kernel opened it.
        native: bool,
        /// Why it closes.
        why: Why,
        /// How long it was open; `None` where it was opened before the machine was booted.
        lasted: Option<Duration>,
    },
    /// A door of commands was open for the address already and stays open so much longer.
    Extended {
        /// The door.
        door: DoorKey,
        /// The address that it is open for.
        address: IpAddr,
        /// How long from now, or from the end of the start command where that still runs.
        timeout: Duration,
    },
    /// Too much is open, or too many commands wait: this opening came to nothing.
    Overloaded {
        /// The door that stays shut.
        door: DoorKey,
        /// Who knocked.
        address: IpAddr,
    },
    /// It could not be written down: this opening, or the extension of one, came to nothing.
    Refused {
        /// The door.
        door: DoorKey,
        /// Who knocked.
        address: IpAddr,
    },
}

/// How far a grant has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its start command waits or runs.
    Opening,
    /// It is in force.
    Open,
    /// Its stop command waits or runs.
    Closing,
}

/// A grant, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantView<'a> {
    /// The opening that it came from.
    pub opening: &'a Opening,
    /// Since when.
    pub opened: Timestamp,
    /// Until when; `None` until it is closed, or while that is not known yet.
    pub until: Option<Timestamp>,
    /// How far it has come.
    pub progress: Progress,
    /// It was opened before the machine was booted.
    pub earlier_boot: bool,
}
