//! What a line of the log says, for programs: the same in each form of the log.

use std::net::IpAddr;

use knock_core::control::{EventKind, Seconds};
use knock_core::history::Recorded;
use knock_core::network::Network;
use knock_core::tracker::What;
use serde::Serialize;

/// What a line is about. What is absent in it does not apply. `docs/logs.md` explains each.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Facts {
    pub(crate) level: Level,
    pub(crate) event: Topic,
    // In front of everything that contains words of others: filters rely on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<Network>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) open_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by_pid: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) door: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
}

/// What happened. The first are what `knockctl watch` tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Topic {
    Stage,
    Opening,
    TimedOut,
    Spoiled,
    CoolingDown,
    Unfit,
    Elsewhere,
    NotAllowed,
    Unbegun,
    Opened,
    Extended,
    Refused,
    Closed,
    /// It is open, and the daemon ends.
    LeftOpen,
    Command,
    CommandOutput,
    CommandFailed,
    Started,
    Stopped,
    Reloaded,
    ReloadFailed,
    Confirmed,
    RolledBack,
    /// Whatever else is told, by its level.
    #[default]
    Notice,
    Warning,
    Error,
    Debug,
}

/// How bad it is, as in syslog(3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    Error = 3,
    Warning = 4,
    #[default]
    Notice = 5,
    Debug = 7,
}

impl Facts {
    pub(crate) fn of(event: Topic) -> Self {
        Self { event, level: event.level(), ..Self::default() }
    }

    /// What happened between a source and a door.
    pub(crate) fn between(address: IpAddr, door: &str, what: &Recorded) -> Self {
        let stage = match what {
            Recorded::Knock { what: What::Stage(stage) | What::TimedOut(stage), .. } => Some(*stage),
            Recorded::Knock { what: What::Spoiled { stage, .. }, .. } => Some(*stage),
            _ => None,
        };
        let seconds = match what {
            Recorded::Opened { lasts } | Recorded::Extended { lasts } => lasts.map(Seconds),
            _ => None,
        };
        let (address, door) = (Some(address), Some(door.to_owned()));
        Self { address, door, stage, seconds, ..Self::of(EventKind::from(what).into()) }
    }

    /// What stands in words only: the log's lines say themselves how bad they are.
    pub(crate) fn told(message: &str) -> Self {
        Self::of(match () {
            () if message.contains("error: ") => Topic::Error,
            () if message.contains("warning: ") => Topic::Warning,
            () => Topic::Notice,
        })
    }

    pub(crate) fn about(door: &str, event: Topic) -> Self {
        Self { door: Some(door.to_owned()), ..Self::of(event) }
    }
}

impl Topic {
    const fn level(self) -> Level {
        match self {
            Self::Error => Level::Error,
            Self::Debug => Level::Debug,
            Self::Refused
            | Self::LeftOpen
            | Self::CommandFailed
            | Self::ReloadFailed
            | Self::RolledBack
            | Self::Warning => Level::Warning,
            _ => Level::Notice,
        }
    }
}

impl From<EventKind> for Topic {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Stage => Self::Stage,
            EventKind::Opening => Self::Opening,
            EventKind::TimedOut => Self::TimedOut,
            EventKind::Spoiled => Self::Spoiled,
            EventKind::CoolingDown => Self::CoolingDown,
            EventKind::Unfit => Self::Unfit,
            EventKind::Elsewhere => Self::Elsewhere,
            EventKind::NotAllowed => Self::NotAllowed,
            EventKind::Unbegun => Self::Unbegun,
            EventKind::Opened => Self::Opened,
            EventKind::Extended => Self::Extended,
            EventKind::Refused => Self::Refused,
            EventKind::Closed => Self::Closed,
            EventKind::Reloaded => Self::Reloaded,
            EventKind::Warning => Self::Warning,
            EventKind::Other => Self::Notice,
        }
    }
}
