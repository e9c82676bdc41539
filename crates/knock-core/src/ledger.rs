//! The ledger: what was used once and must never be good again.
//!
//! It works like IPsec's anti-replay window (RFC 4303, section 3.4.3), with one window for each [`Holder`] of a secret. Of
//! its uses the newest are remembered, and a floor: what is not later than the floor is refused for ever, since it may
//! be one of those that are no longer remembered. A use that is forgotten raises the floor to its time. No clock comes
//! into this, so none that is set back makes anything good twice.
//!
//! Only who has authenticated gets in here, so strangers do not make it larger: it holds at most [`MAX_USES`] uses of each
//! holder, however often that knocks. Who is no longer configured is forgotten by [`Ledger::retain`], when the time of all
//! that it has used is over; the floor of all others rises to the last of it, so that the same key, configured again,
//! starts no lower.
//!
//! # The file
//!
//! Lines of [`LINE`] bytes with their ends, so that none lies in two sectors of a disk. The first is the [`header`]; each
//! other is a record:
//!
//! ```text
//! CRC-32 KIND HOLDER TIME ID
//! 8      3    64     16   32  hexadecimal digits, the kind three letters
//! ```
//!
//! The CRC-32 is of what stands behind the space after it. The kinds: `use` is a use; `low` is a holder's floor; `all` is
//! the floor of all holders. What a kind does not have is zeros. The order of the lines does not matter.
//!
//! A line is on the disk before what it is about opens anything, so a last line that breaks off was good for nothing, and
//! does not count. Any other line that cannot be read may be a use that is forgotten by that. What can be read counts
//! all the same, and the floor of all rises to a time that nothing used so far can be later than:
//! [`Ledger::raise_all`]. That shuts everybody out for two minutes, which is the price.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::config::DoorKey;
pub use crate::journal::Fault;

/// How far what is used may be from the server's time, either way, at the most.
pub const WINDOW: Duration = Duration::from_secs(120);

/// How many uses of one holder are remembered.
pub const MAX_USES: usize = 64;

/// The length of each line of the file, with its end.
pub const LINE: usize = 128;

/// What the file's first line says; blanks follow.
const FORMAT: &str = "knockd used 1";

/// Whoever has a secret: a hash that tells it from all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder(
    /// A key's fingerprint, for one.
    pub [u8; 32],
);

impl Holder {
    /// Who has a secret that opens this door: the same secret at another door is another holder, so that what was used up
    /// at the one is still good at the other.
    pub fn at_door(identity: &[u8; 32], door: &DoorKey) -> Self {
        const LABEL: &[u8] = b"toctoc holder at a door v1";
        let hash = Sha256::new().chain_update(LABEL).chain_update(identity);
        let hash = hash.chain_update((door.namesake as u64).to_be_bytes()).chain_update(door.name.as_bytes());
        Self(hash.finalize().into())
    }
}

/// Its first bytes, which are enough to tell it.
impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Holder({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// One use of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Use {
    /// When it was, as it says itself: nanoseconds since 1970, UTC. It must be authenticated, and within [`WINDOW`] of the
    /// server's time.
    pub time: u64,
    /// What tells it from all other uses of the holder: of a hash, or a number.
    pub id: [u8; 16],
}

/// Why a use is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was used before.
    Seen,
    /// It may have been used before: what is as old as it is no longer remembered. Both in nanoseconds since 1970.
    TooOld {
        /// When it was.
        time: u64,
        /// Only what is later than this is good.
        floor: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen => f.write_str("it was used before"),
            Self::TooOld { time, floor } => {
                let behind = Duration::from_nanos(floor.saturating_sub(*time));
                write!(
                    f,
                    "whether it was used before is no longer known: only what is more than {:.3} s later than it is good",
                    behind.as_secs_f64()
                )
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// What is to be written down before anything is opened, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record(Entry);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Use(Holder, Use),
    Floor(Holder, u64),
    FloorOfAll(u64),
}

impl Record {
    /// The use that it is of; none where it is of a floor.
    pub const fn used(&self) -> Option<(Holder, Use)> {
        match self.0 {
            Entry::Use(holder, used) => Some((holder, used)),
            Entry::Floor(..) | Entry::FloorOfAll(_) => None,
        }
    }
}

/// What was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Nobody's floor is below this.
    floor: u64,
    /// Of those of whom more is known than the floor of all.
    windows: BTreeMap<Holder, Window>,
}

/// What one holder used: what is not above the floor, and the uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    floor: u64,
    /// All above the floor.
    uses: BTreeSet<Use>,
}

impl Ledger {
    /// Whether a use is good: tells what has to be written down, and then taken in by [`Ledger::add`], before it opens
    /// anything.
    ///
    /// # Errors
    /// Where it is not.
    pub fn check(&self, holder: Holder, used: Use) -> Result<Record, Refusal> {
        let window = self.windows.get(&holder);
        if window.is_some_and(|window| window.uses.iter().any(|known| known.id == used.id)) {
            return Err(Refusal::Seen);
        }
        let floor = window.map_or(self.floor, |window| window.floor);
        if used.time <= floor {
            return Err(Refusal::TooOld { time: used.time, floor });
        }
        Ok(Record(Entry::Use(holder, used)))
    }

    /// Takes in what was written down.
    pub fn add(&mut self, record: Record) {
        match record.0 {
            Entry::Use(holder, used) => self.change(holder, |window| window.add(used)),
            Entry::Floor(holder, floor) => self.change(holder, |window| window.raise(floor)),
            Entry::FloorOfAll(floor) => self.raise(floor),
        }
    }

    /// Refuses, from now on, all that may have been used until now, also what is not known here: for a file that is not
    /// what was written. `now` is the time of day in nanoseconds since 1970, or later: the last at which something
    /// may have been used. What is made [`WINDOW`] later is good again; tells that moment.
    pub fn raise_all(&mut self, now: u64) -> u64 {
        self.raise(later(now));
        self.floor
    }

    /// Forgets who is no longer configured, unless something that it used could be good at the time of day `now`, in
    /// nanoseconds since 1970: a key that is taken away and given again within that time has not forgotten anything. If
    /// the clock is set back after that, what it used is below the floor of all.
    pub fn retain(&mut self, is_configured: impl Fn(&Holder) -> bool, now: u64) {
        let mut last = 0;
        self.windows.retain(|holder, window| {
            let newest = window.newest();
            let stays = is_configured(holder) || later(newest) >= now;
            if !stays {
                last = last.max(newest);
            }
            stays
        });
        self.raise(last);
    }

    /// What has to stand in a file that says the same.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let all = (self.floor > 0).then_some(Entry::FloorOfAll(self.floor));
        let holders = self.windows.iter().flat_map(|(holder, window)| {
            let floor = (window.floor > self.floor).then_some(Entry::Floor(*holder, window.floor));
            floor.into_iter().chain(window.uses.iter().map(|used| Entry::Use(*holder, *used)))
        });
        all.into_iter().chain(holders).map(Record)
    }

    fn change(&mut self, holder: Holder, change: impl FnOnce(&mut Window)) {
        let floor = self.floor;
        let new = || Window { floor, uses: BTreeSet::new() };
        let window = self.windows.entry(holder).or_insert_with(new);
        change(window);
        if !window.says_more_than(floor) {
            self.windows.remove(&holder);
        }
    }

    fn raise(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        self.windows.retain(|_, window| {
            window.raise(floor);
            window.says_more_than(floor)
        });
    }
}

impl Window {
    fn add(&mut self, used: Use) {
        if used.time > self.floor {
            self.uses.insert(used);
        }
        if self.uses.len() > MAX_USES
            && let Some(oldest) = self.uses.pop_first()
        {
            self.raise(oldest.time);
        }
    }

    fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        self.uses.retain(|used| used.time > self.floor);
    }

    fn newest(&self) -> u64 {
        self.uses.last().map_or(self.floor, |used| used.time)
    }

    fn says_more_than(&self, floor_of_all: u64) -> bool {
        self.floor > floor_of_all || !self.uses.is_empty()
    }
}

/// The last moment at which what is of this time can be good.
fn later(time: u64) -> u64 {
    time.saturating_add(u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX))
}

/// What came out of reading a file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Replay {
    /// What it says, as far as it can be read.
    pub ledger: Ledger,
    /// The last line broke off: the number of its bytes.
    pub torn: Option<usize>,
    /// Something else is wrong: uses may be missing, and [`Ledger::raise_all`] has to be called.
    pub fault: Option<Fault>,
}

/// The first line of a file.
pub fn header() -> Vec<u8> {
    let mut line = FORMAT.as_bytes().to_vec();
    line.resize(LINE - 1, b' ');
    line.push(b'\n');
    line
}

/// Writes a record's line.
pub fn encode(record: &Record, line: &mut Vec<u8>) {
    let (kind, holder, time, id) = match record.0 {
        Entry::Use(holder, used) => ("use", holder.0, used.time, used.id),
        Entry::Floor(holder, floor) => ("low", holder.0, floor, [0; 16]),
        Entry::FloorOfAll(floor) => ("all", [0; 32], floor, [0; 16]),
    };
    let content = format!("{kind} {} {time:016x} {}", hexadecimal(&holder), hexadecimal(&id));
    line.extend_from_slice(format!("{:08x} {content}\n", crc32fast::hash(content.as_bytes())).as_bytes());
}

/// Of a multiple of 16 bytes.
fn hexadecimal(bytes: &[u8]) -> String {
    let (halves, _) = bytes.as_chunks();
    halves.iter().map(|half| format!("{:032x}", u128::from_be_bytes(*half))).collect()
}

/// Reads a file; an empty one is new.
pub fn replay(bytes: &[u8]) -> Replay {
    let mut replay = Replay::default();
    let mut rest = bytes;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        // A last line has been whole, where it is as long as that: its end has become something else.
        if number > 1 && rest.len() < LINE && !rest.contains(&b'\n') {
            replay.torn = Some(rest.len());
            break;
        }
        let (line, behind) = rest.split_at_checked(LINE).unwrap_or((rest, &[]));
        let outcome = if number == 1 {
            read_header(line)
        } else {
            decode(line).map(|record| replay.ledger.add(record))
        };
        if let Err(found) = outcome {
            replay.fault.get_or_insert(Fault { line: number, found });
        }
        rest = behind;
    }
    replay
}

fn read_header(line: &[u8]) -> Result<(), &'static str> {
    if line == header() { Ok(()) } else { Err("not the beginning of a file of this version") }
}

fn decode(line: &[u8]) -> Result<Record, &'static str> {
    const NO_RECORD: &str = "no record";
    let line = str::from_utf8(line).map_err(|_| NO_RECORD)?;
    let line = line.strip_suffix('\n').ok_or(NO_RECORD)?;
    let (digits, content) = line.split_once(' ').ok_or(NO_RECORD)?;
    if digits != format!("{:08x}", crc32fast::hash(content.as_bytes())) {
        return Err("the checksum does not fit");
    }
    read(content).ok_or("a record that this version does not know")
}

fn read(content: &str) -> Option<Record> {
    let mut parts = content.split(' ');
    let (kind, holder, time, id) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (holder, id) = (Holder(octets(holder)?), octets(id)?);
    let time = u64::from_be_bytes(octets(time)?);
    let entry = match kind {
        "use" => Entry::Use(holder, Use { time, id }),
        "low" => Entry::Floor(holder, time),
        "all" => Entry::FloorOfAll(time),
        _ => return None,
    };
    parts.next().is_none().then_some(Record(entry))
}

/// So many bytes, of two digits each.
fn octets<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let bytes = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?));
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests;
