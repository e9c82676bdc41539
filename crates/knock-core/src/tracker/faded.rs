//! Attempts that had to leave for others, remembered in twelve bytes each.
//!
//! A table of a fixed number of buckets, each in one line of the processor's cache, and each entry in one of three
//! buckets: in one that has room, or else in place of the oldest of the lowest stage of all three, so that nobody who
//! knows less takes the place of one who knows more. An entry does not say whose it is, but by the bits of a key
//! that nobody outside can foresee: 43 of them stand in it and the bucket's number gives 17, so that even in a full
//! table one entry is taken for another's once in some hundred thousand million times.
//!
//! There is no memory for it until something fades, pages come with what is put into them, and all of it is given back
//! when the last attempt in it would have been over.

use super::attempt::Shade;
use crate::time::Timestamp;

/// How many buckets the tracker's table has: 12 MiB, close to a million entries.
pub(super) const BUCKETS: usize = 3 << 16;

/// How many entries a bucket has.
const WAYS: usize = 5;

/// In how many buckets an entry may be.
const CHOICES: usize = 3;

/// How many attempts are put into the table at a time.
const TOGETHER: usize = 16;

/// How many words a bucket takes: of each entry the key, the moment and the rest, and one to fill the cache's line.
const WORDS: usize = 16;

/// A line of the processor's cache, in bytes.
const LINE: usize = 64;

/// Milliseconds on the tracker's clock.
type Moment = u64;

/// Attempts that left.
pub(super) struct Faded {
    buckets: usize,
    words: Vec<u32>,
    /// The first word that begins a cache line.
    start: usize,
    /// What the moments in the table are counted from.
    epoch: Moment,
    /// How long an attempt takes at most.
    longest: Moment,
    /// When the last one in it is over.
    until: Timestamp,
    /// Whether an attempt with more than one knock was put into it.
    advanced: bool,
    /// Attempts that are not in the table yet.
    waiting: Vec<(u64, Shade)>,
    lost: u64,
}

impl Faded {
    /// No attempts yet, none of which takes more than `longest` milliseconds.
    pub(super) fn new(buckets: usize, longest: Moment) -> Self {
        let longest = longest.min(Moment::from(u32::MAX / 2));
        let until = Timestamp::ZERO;
        Self {
            buckets: buckets.max(1),
            words: Vec::new(),
            start: 0,
            epoch: 0,
            longest,
            until,
            advanced: false,
            waiting: Vec::new(),
            lost: 0,
        }
    }

    /// From now on none takes more than so many milliseconds.
    pub(super) fn set_longest(&mut self, longest: Moment) {
        self.longest = self.longest.max(longest.min(Moment::from(u32::MAX / 2)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether there may be an attempt with more than one knock.
    pub(super) fn has_advanced(&self) -> bool {
        self.advanced
    }

    /// How many were forgotten before their time, or not remembered at all, for want of room.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// When the last one is over.
    pub(super) fn until(&self) -> Option<Timestamp> {
        (!self.is_empty()).then_some(self.until)
    }

    /// Gives the memory back where everything is over.
    pub(super) fn release(&mut self, now: Timestamp) {
        if !self.is_empty() && self.until <= now {
            (self.words, self.waiting, self.advanced) = (Vec::new(), Vec::new(), false);
        }
    }

    /// Remembers an attempt that would be over at `deadline`, in place of the same one's earlier.
    pub(super) fn put(&mut self, key: u64, shade: Shade, deadline: Timestamp, now: Timestamp) {
        self.make_ready(milliseconds(now));
        self.until = self.until.max(deadline);
        self.advanced |= shade.stage > 1;
        self.waiting.push((key, shade));
        if self.waiting.len() >= TOGETHER {
            self.put_waiting(now);
        }
    }

    /// Puts into the table what waits for it. Memory is slow, and fetches many lines in the time of one: those that are
    /// needed are asked for all at once.
    fn put_waiting(&mut self, now: Timestamp) {
        let waiting = std::mem::take(&mut self.waiting);
        for start in waiting.iter().flat_map(|(key, _)| self.starts(*key)) {
            std::hint::black_box(self.words.get(start).copied());
        }
        for (key, shade) in &waiting {
            let lost = self.put_now(*key, *shade, now);
            self.lost += u64::from(lost);
        }
        self.waiting = waiting;
        self.waiting.clear();
    }

    /// Puts an attempt into the table. Tells whether one that is not over is forgotten for it, or it was itself.
    fn put_now(&mut self, key: u64, shade: Shade, now: Timestamp) -> bool {
        let Some(since) = self.moment(milliseconds(shade.since)) else { return true };
        let over = self.moment(milliseconds(now).saturating_sub(self.longest)).unwrap_or(0);
        let new = Entry { since, stage: shade.stage, ends: shade.ends };
        let buckets = self.buckets_of(key);
        let same = find(&buckets, key);
        let (place, rank) = same.map_or_else(|| lowest(&buckets, over), |place| (place, 0));
        if rank >> 32 > u64::from(new.stage) {
            return true;
        }
        self.set(place, key, new);
        rank > 0
    }

    /// Takes out what is remembered by this key.
    pub(super) fn take(&mut self, key: u64, now: Timestamp) -> Option<Shade> {
        if self.is_empty() {
            return None;
        }
        if self.waiting.iter().any(|(waiting, _)| *waiting == key) {
            self.put_waiting(now);
        }
        let buckets = self.buckets_of(key);
        let place = find(&buckets, key)?;
        let Entry { since, stage, ends } = buckets[place.bucket].entry(place.way);
        self.set(place, key, Entry::default());
        Some(Shade { stage, since: Timestamp::from_millis(self.epoch.saturating_add(since.into())), ends })
    }

    /// How much memory it takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u32>() + self.waiting.capacity() * size_of::<(u64, Shade)>()
    }

    /// Has memory, and moments that can be counted in it.
    fn make_ready(&mut self, now: Moment) {
        let full = now.saturating_sub(self.epoch) > u32::MAX.into();
        if self.is_empty() || full {
            self.words = vec![0; self.buckets * WORDS + LINE / size_of::<u32>()];
            self.start = self.words.as_ptr().align_offset(LINE).min(LINE / size_of::<u32>());
            self.epoch = now.saturating_sub(self.longest);
            self.advanced = false;
        }
    }

    fn moment(&self, at: Moment) -> Option<u32> {
        u32::try_from(at.checked_sub(self.epoch)?).ok()
    }

    /// Copies of the buckets in which this key may be: their lines are fetched from memory at once.
    fn buckets_of(&self, key: u64) -> [Bucket; CHOICES] {
        self.starts(key).map(|start| {
            let words = self.words.get(start..).and_then(<[u32]>::first_chunk);
            Bucket(words.copied().unwrap_or_default())
        })
    }

    /// Where these buckets begin.
    fn starts(&self, key: u64) -> [usize; CHOICES] {
        let scaled = |bits: u64| (((bits >> 32) * self.buckets as u64) >> 32) as usize;
        let buckets = [key, key.wrapping_mul(0xd6e8_feb8_6659_fd93), key.wrapping_mul(0xa076_1d64_78bd_642f)]
            .map(scaled);
        buckets.map(|bucket| self.start + bucket * WORDS)
    }

    fn set(&mut self, place: Place, key: u64, Entry { since, stage, ends: [first, last] }: Entry) {
        let rest =
            u32::from(stage) & STAGE | u32::from(first) << 5 | u32::from(last) << 13 | upper(key) << 21;
        let at = self.starts(key)[place.bucket] + place.way;
        for (at, value) in [(at, key as u32), (at + WAYS, since), (at + 2 * WAYS, rest)] {
            if let Some(word) = self.words.get_mut(at) {
                *word = value;
            }
        }
    }
}

/// The entry of this key.
fn find(buckets: &[Bucket; CHOICES], key: u64) -> Option<Place> {
    places().find(|place| buckets[place.bucket].has(place.way, key))
}

/// The entry that is the first to go, and its rank: the oldest of the lowest stage, which stands in the upper half of
/// the rank; with rank 0 one that is over, or none at all.
fn lowest(buckets: &[Bucket; CHOICES], over: u32) -> (Place, u64) {
    let rank = |place: Place| match buckets[place.bucket].entry(place.way) {
        Entry { since, .. } if since <= over => 0,
        Entry { stage, since, .. } => u64::from(stage) << 32 | u64::from(since),
    };
    let ranked = places().map(|place| (place, rank(place)));
    ranked.min_by_key(|(_, rank)| *rank).unwrap_or_default()
}

fn places() -> impl Iterator<Item = Place> {
    (0..CHOICES).flat_map(|bucket| (0..WAYS).map(move |way| Place { bucket, way }))
}

/// Of each entry the lower part of its key, then of each its moment, then of each the rest.
struct Bucket([u32; WORDS]);

impl Bucket {
    fn has(&self, way: usize, key: u64) -> bool {
        let rest = self.0[way + 2 * WAYS];
        self.0[way] == key as u32 && rest >> 21 == upper(key) && rest & STAGE != 0
    }

    fn entry(&self, way: usize) -> Entry {
        let rest = self.0[way + 2 * WAYS];
        let ends = [(rest >> 5) as u8, (rest >> 13) as u8];
        Entry { since: self.0[way + WAYS], stage: (rest & STAGE) as u8, ends }
    }
}

/// The bits of the third word that say how many knocks were right, at most 31; 0 where there is no entry.
const STAGE: u32 = 0x1f;

/// The bits of the key that stand in the third word.
const fn upper(key: u64) -> u32 {
    (key >> 32) as u32 & 0x7ff
}

/// Which of a key's buckets, and which entry in it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    bucket: usize,
    way: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    since: u32,
    stage: u8,
    ends: [u8; 2],
}

const fn milliseconds(at: Timestamp) -> Moment {
    at.as_nanos() / 1_000_000
}
