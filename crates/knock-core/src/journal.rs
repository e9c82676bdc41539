//! The journal of grants: what is open, written so that another daemon can go on with it.
//!
//! A text file. Its first line names the format; each other line is a record: the CRC-32 of what follows in
//! hexadecimal, a space, and a JSON object. A `grant` says that a door is open for a network, anew or otherwise than
//! before; an `end` that it no longer is. Moments are kept on two clocks: the time since the machine was booted, which
//! nobody sets, together with the boot's id; and the time of day, for a later boot.
//!
//! A last line that breaks off was never acknowledged and does not count. Any other line that cannot be read means
//! that the file is not what was written, and nothing that it says can be relied on.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::DoorKey;
use crate::network::Network;
use crate::time::Timestamp;

/// The first line of a journal.
pub const HEADER: &str = "knockd journal 1\n";

/// A grant, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The door.
    pub door: DoorKey,
    /// Whom it is open for.
    pub network: Network,
    /// Who knocked.
    pub source: IpAddr,
    /// Whether the kernel opened it.
    pub native: bool,
    /// The command that closes it.
    pub stop: Option<String>,
    /// An administrator opened it.
    pub by_hand: bool,
    /// Since when; the clock's origin for one that was opened before the machine was booted.
    pub opened: Timestamp,
    /// Until when; `None` until it is closed.
    pub until: Option<Timestamp>,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A door is open, anew or otherwise than before.
    Grant(Entry),
    /// It is open no longer.
    End(DoorKey, Network),
}

/// The clocks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Which boot this is (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// The time since then.
    pub now: Timestamp,
    /// The time of day, in milliseconds since 1970.
    pub wall: i64,
}

impl Clocks {
    /// The time of day at a moment of this boot.
    pub fn wall_at(&self, moment: Timestamp) -> i64 {
        self.wall.saturating_add(milliseconds(moment)).saturating_sub(milliseconds(self.now))
    }
}

fn milliseconds(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// A grant that was read from a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// With its moments on the clock of this boot; what is due is due then, at the latest now.
    pub entry: Entry,
    /// It was opened before the machine was booted.
    pub earlier_boot: bool,
}

/// What came out of reading a journal.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Replay {
    /// The grants that have not ended, in the order in which they were last written.
    pub kept: Vec<Kept>,
    /// The last line broke off: the number of its bytes.
    pub torn: Option<usize>,
    /// Something else is wrong: the grants cannot be relied on.
    pub fault: Option<Fault>,
    /// So many grants of an earlier boot are taken to be over, because the time of day is earlier than when they were
    /// written.
    pub clock_behind: usize,
}

/// What is wrong with a file of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong.
    pub found: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.found)
    }
}

/// A record as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    Grant(WrittenGrant),
    End(Holder),
}

#[derive(Serialize, Deserialize)]
struct Holder {
    door: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    namesake: usize,
    network: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
struct WrittenGrant {
    #[serde(flatten)]
    holder: Holder,
    source: IpAddr,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    native: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_hand: bool,
    boot: String,
    /// When it was written.
    written: Moment,
    opened: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Moment>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Moment {
    /// Nanoseconds since the boot.
    boot: u64,
    /// Milliseconds since 1970.
    wall: i64,
}

impl Moment {
    fn new(moment: Timestamp, clocks: &Clocks) -> Self {
        Self { boot: moment.as_nanos(), wall: clocks.wall_at(moment) }
    }
}

impl Holder {
    fn new(door: &DoorKey, network: Network) -> Self {
        Self { door: door.name.clone(), namesake: door.namesake, network: network.to_string() }
    }

    fn read(&self) -> Option<(DoorKey, Network)> {
        let network = self.network.parse().ok()?;
        Some((DoorKey { name: self.door.clone(), namesake: self.namesake }, network))
    }
}

/// Writes a record's line.
pub fn encode(record: &Record, clocks: &Clocks, line: &mut Vec<u8>) {
    let written = match record {
        Record::End(door, network) => Written::End(Holder::new(door, *network)),
        Record::Grant(entry) => Written::Grant(WrittenGrant {
            holder: Holder::new(&entry.door, entry.network),
            source: entry.source,
            native: entry.native,
            stop: entry.stop.clone(),
            by_hand: entry.by_hand,
            boot: clocks.boot.clone(),
            written: Moment::new(clocks.now, clocks),
            opened: Moment::new(entry.opened, clocks),
            until: entry.until.map(|until| Moment::new(until, clocks)),
        }),
    };
    // Strings, numbers and structures of them always have a JSON form.
    let json = serde_json::to_vec(&written).unwrap_or_default();
    line.extend_from_slice(format!("{:08x} ", crc32fast::hash(&json)).as_bytes());
    line.extend_from_slice(&json);
    line.push(b'\n');
}

/// Reads a journal; an empty one is new.
pub fn replay(bytes: &[u8], clocks: &Clocks) -> Replay {
    let mut replay = Replay::default();
    let Some(mut rest) = bytes.strip_prefix(HEADER.as_bytes()) else {
        if HEADER.as_bytes().starts_with(bytes) {
            replay.torn = (!bytes.is_empty()).then_some(bytes.len());
        } else {
            replay.fault = Some(Fault { line: 1, found: "not the beginning of a journal of this version" });
        }
        return replay;
    };
    let mut kept = Grants::default();
    let mut number = 1;
    while !rest.is_empty() {
        number += 1;
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            replay.torn = Some(rest.len());
            break;
        };
        let (line, behind) = rest.split_at(end);
        if let Err(found) = decode(line).and_then(|written| kept.take(written)) {
            replay.fault.get_or_insert(Fault { line: number, found });
        }
        rest = behind.get(1..).unwrap_or_default();
    }
    for (holder, grant) in kept.in_order.into_iter().flatten() {
        replay.keep(holder, grant, clocks);
    }
    replay
}

fn decode(line: &[u8]) -> Result<Written, &'static str> {
    const DIGITS: usize = 8;
    let (digits, json) = line.split_at_checked(DIGITS).ok_or("no record")?;
    let json = json.strip_prefix(b" ").ok_or("no record")?;
    if digits != format!("{:08x}", crc32fast::hash(json)).as_bytes() {
        return Err("the checksum does not fit");
    }
    serde_json::from_slice(json).map_err(|_| "a record that this version does not know")
}

/// The grants in force so far.
#[derive(Default)]
struct Grants {
    by_holder: HashMap<(DoorKey, Network), usize>,
    in_order: Vec<Option<((DoorKey, Network), WrittenGrant)>>,
}

impl Grants {
    fn take(&mut self, written: Written) -> Result<(), &'static str> {
        let holder = match &written {
            Written::Grant(grant) => grant.holder.read(),
            Written::End(holder) => holder.read(),
        };
        let holder = holder.ok_or("a record of no network")?;
        if let Some(old) = self.by_holder.remove(&holder)
            && let Some(grant) = self.in_order.get_mut(old)
        {
            *grant = None;
        }
        if let Written::Grant(grant) = written {
            self.by_holder.insert(holder.clone(), self.in_order.len());
            self.in_order.push(Some((holder, grant)));
        }
        Ok(())
    }
}

impl Replay {
    fn keep(&mut self, (door, network): (DoorKey, Network), grant: WrittenGrant, clocks: &Clocks) {
        let WrittenGrant { source, native, stop, by_hand, boot, written, opened, until, .. } = grant;
        // A clock that is behind what it said before is not the same clock.
        let same = !boot.is_empty() && boot == clocks.boot && written.boot <= clocks.now.as_nanos();
        let until = until.map(|until| {
            if same {
                return Timestamp::from_nanos(until.boot);
            }
            let behind = clocks.wall < written.wall;
            self.clock_behind += usize::from(behind);
            let left = if behind { 0 } else { until.wall.saturating_sub(clocks.wall).max(0) };
            clocks.now + std::time::Duration::from_millis(left.unsigned_abs())
        });
        let opened = if same { Timestamp::from_nanos(opened.boot) } else { Timestamp::ZERO };
        let entry = Entry { door, network, source, native, stop, by_hand, opened, until };
        self.kept.push(Kept { entry, earlier_boot: !same });
    }
}

#[cfg(test)]
mod tests;
