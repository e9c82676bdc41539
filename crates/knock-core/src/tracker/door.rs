//! A door, as far as knocks are concerned.

use std::net::IpAddr;
use std::time::Duration;

use super::What;
use serde::{Deserialize, Serialize};

use crate::config::{Door, DoorKey, FlagRule, Secret};
use crate::knock::{Knock, Protocol, TcpFlags};
use crate::network::Network;
use crate::sequence::{Sequence, Step};

/// What the tracker needs to know of a door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackedDoor {
    /// Which door this is, also after the configuration was read again.
    pub key: DoorKey,
    /// Which of the places in which a door is followed whose sequence changes with the time; 0 for all others.
    pub slot: u8,
    /// What is to be knocked; `None` where no one-time sequence is left.
    pub sequence: Option<Sequence>,
    /// The sequence is good for one opening: afterwards the door waits for [`super::Tracker::set_sequence`].
    pub one_time: bool,
    /// How long after the first knock the last may come.
    pub timeout: Duration,
    /// How long after an opening the source's knocks on this door are passed over.
    pub cooldown: Duration,
    /// Which TCP packets count.
    pub flags: FlagRule,
    /// The address to knock at; `None` for the interface's own.
    pub target: Option<IpAddr>,
    /// A knock at any other port of the host ends an attempt, too.
    pub strict: bool,
    /// Who may knock at all; everybody where it is empty.
    pub allow_from: Vec<Network>,
}

impl TrackedDoor {
    /// A configured door with the sequence that is in force, where one is left.
    pub fn new(door: &Door, sequence: Option<Sequence>) -> Self {
        Self {
            key: door.key.clone(),
            slot: 0,
            sequence,
            one_time: matches!(door.secret, Secret::OneTime(_) | Secret::Rolling(_)),
            timeout: door.seq_timeout,
            cooldown: door.seq_cooldown,
            flags: door.flags,
            target: door.target,
            strict: door.strict,
            allow_from: door.allow_from.clone(),
        }
    }

    /// What tells it from all others, also after the configuration was read again.
    pub(super) fn identity(&self) -> (DoorKey, u8) {
        (self.key.clone(), self.slot)
    }

    /// How many knocks its sequence has; 0 where none is left.
    pub fn length(&self) -> usize {
        self.steps().len()
    }

    pub(super) fn steps(&self) -> &[Step] {
        self.sequence.as_ref().map_or(&[], Sequence::steps)
    }

    /// Whether its sequence begins with this port, and whether it has it behind that.
    pub(super) fn has_first_and_later(&self, step: Step) -> (bool, bool) {
        match self.steps().split_first() {
            Some((first, later)) => (*first == step, later.contains(&step)),
            None => (false, false),
        }
    }

    /// Whether the door looks at this packet at all; `local` says that it went to an address of the interface.
    pub(super) fn heeds(&self, knock: &Knock, local: bool) -> bool {
        self.is_meant(knock, local) && self.fits(knock) && self.allows(knock.source)
    }

    pub(super) fn allows(&self, source: IpAddr) -> bool {
        self.allow_from.is_empty() || self.allow_from.iter().any(|network| network.contains(source))
    }

    /// Whether this packet, at a port where none was due, ends an attempt; `heeded` says that some door looks at it.
    pub(super) fn is_spoiled_by(&self, packet: &Knock, local: bool, heeded: bool) -> bool {
        let counts = heeded && self.heeds(packet, local);
        if self.strict {
            // What belongs to a connection, or answers one of ours, is no try at a port.
            (self.is_meant(packet, local) && is_try(packet))
                || (counts && self.steps().contains(&packet.step))
        } else {
            counts
        }
    }

    /// Whether a knock on this door was right wherever it was on the other as well, in its time and by its packet.
    pub(super) fn takes_the_same_as(&self, other: &Self) -> bool {
        (self.identity(), &self.sequence, self.timeout, self.flags, self.target)
            == (other.identity(), &other.sequence, other.timeout, other.flags, other.target)
    }

    /// Why the door does not heed this packet, which would have been this knock of its sequence, counted from 1.
    pub(super) fn objection(&self, packet: &Knock, local: bool, knock: usize) -> What {
        if !self.is_meant(packet, local) {
            What::Elsewhere { knock, destination: packet.destination, target: self.target }
        } else if !self.fits(packet) {
            What::Unfit { knock, flags: packet.flags, rule: self.flags }
        } else {
            What::NotAllowed
        }
    }

    fn is_meant(&self, knock: &Knock, local: bool) -> bool {
        self.target.map_or(local, |target| target == knock.destination)
    }

    fn fits(&self, knock: &Knock) -> bool {
        knock.step.protocol == Protocol::Udp || self.flags.fits(knock.flags)
    }
}

/// Whether a packet tries a port: a datagram, or what would begin a connection.
fn is_try(packet: &Knock) -> bool {
    const NOT_FIRST: TcpFlags = TcpFlags::ACK.union(TcpFlags::RST).union(TcpFlags::FIN);
    match packet.step.protocol {
        Protocol::Udp => true,
        Protocol::Tcp => packet.flags.contains(TcpFlags::SYN) && !packet.flags.intersects(NOT_FIRST),
    }
}
