use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use lab::TempDir;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::book::SMALL;
use crate::journal::Journal;

const SECOND: u64 = 1_000_000_000;
const WINDOW_NS: u64 = 120 * SECOND;
const SEEN: Result<(), Refused> = Err(Refused::NotGood(Refusal::Seen));

fn now() -> u64 {
    wall_clock::nanoseconds()
}

fn holder(number: u8) -> Holder {
    Holder([number; 32])
}

fn used(time: u64, id: u128) -> Use {
    Use { time, id: id.to_be_bytes() }
}

/// A place for a state directory; and its ledger as another daemon finds it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn directory(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn path(&self) -> PathBuf {
        self.directory().join(NAME)
    }

    fn length(&self) -> u64 {
        fs::metadata(self.path()).unwrap().len()
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(Rc::new(StateDirectory::new(self.directory())))
    }

    fn open(&self) -> (Ledger, Vec<String>) {
        self.open_at(now())
    }

    fn open_at(&self, now: u64) -> (Ledger, Vec<String>) {
        let mut ledger = self.ledger();
        let told = ledger.open(now).unwrap();
        (ledger, told)
    }

    fn cut(&self, length: u64) {
        OpenOptions::new().write(true).open(self.path()).unwrap().set_len(length).unwrap();
    }
}

#[test]
fn another_daemon_knows_what_was_used() {
    let (place, now) = (Place::new(), now());
    let (mut ledger, told) = place.open();
    assert_eq!(told, [""; 0]);
    assert_eq!(ledger.take(holder(1), used(now, 1)), Ok(()));
    assert_eq!(ledger.take(holder(1), used(now, 1)), SEEN);
    assert_eq!(ledger.take(holder(2), used(now, 1)), Ok(()));
    let State::InUse(book, _) = &ledger.state else { panic!("in use") };
    assert!(!book.is_unsynced(), "it is on the disk before anything opens");
    drop(ledger);
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
    for _ in 0..2 {
        let (mut ledger, told) = place.open();
        assert_eq!(told, [""; 0]);
        assert_eq!(ledger.take(holder(1), used(now, 1)), SEEN);
        assert_eq!(ledger.take(holder(2), used(now, 1)), SEEN);
    }
    assert_eq!(place.open().0.take(holder(1), used(now, 2)), Ok(()));
}

#[test]
fn it_shares_the_directory_with_the_journal_of_its_daemon_and_no_other() {
    let (place, now) = (Place::new(), now());
    let mut journal = Journal::new(place.directory());
    let mut ledger = Ledger::new(journal.state_directory());
    let reason = ledger.take(holder(1), used(now, 1)).unwrap_err().to_string();
    assert!(reason.contains("has not been opened"), "{reason}");
    ledger.open(now).unwrap();
    journal.open().unwrap();
    drop(journal);
    // The ledger alone holds it as well.
    for error in [place.ledger().open(now).unwrap_err(), Journal::new(place.directory()).open().unwrap_err()]
    {
        assert!(error.contains("another knockd") && error.contains("state_directory"), "{error}");
    }
    ledger.take(holder(1), used(now, 1)).unwrap();
    drop(ledger);
    assert_eq!(place.open().0.take(holder(1), used(now, 1)), SEEN);
}

#[test]
fn a_directory_that_was_made_again_is_locked_again() {
    let place = Place::new();
    let directory = Rc::new(StateDirectory::new(place.directory()));
    let mut first = Ledger::new(directory.clone());
    first.open(now()).unwrap();
    fs::rename(place.directory(), place.0.path().join("moved")).unwrap();
    let mut second = Ledger::new(directory);
    second.open(now()).unwrap();
    assert!(place.ledger().open(now()).is_err(), "the new one is locked, too");
    drop(second);
    place.open();
}

#[test]
fn what_broke_off_does_no_harm_to_what_follows() {
    for cut in 1..LINE as u64 {
        let (place, now) = (Place::new(), now());
        let (mut ledger, _) = place.open();
        ledger.take(holder(1), used(now, 1)).unwrap();
        ledger.take(holder(1), used(now, 2)).unwrap();
        drop(ledger);
        place.cut(place.length() - cut);
        let (mut ledger, told) = place.open();
        assert!(
            told.len() == 1 && told[0].contains(&format!("the last {} bytes", LINE as u64 - cut)),
            "{told:?}"
        );
        assert_eq!(ledger.take(holder(1), used(now, 1)), SEEN);
        ledger.take(holder(1), used(now, 3)).unwrap();
        drop(ledger);
        let (mut ledger, told) = place.open();
        assert_eq!(told, [""; 0]);
        assert_eq!(ledger.take(holder(1), used(now, 3)), SEEN);
    }
}

#[test]
fn a_doubt_shuts_out_for_two_minutes_also_after_another_start() {
    let (place, now) = (Place::new(), now());
    let (mut ledger, _) = place.open();
    for number in 0_u8..3 {
        ledger.take(holder(1), used(now + u64::from(number), number.into())).unwrap();
    }
    drop(ledger);
    let mut bytes = fs::read(place.path()).unwrap();
    bytes[LINE + 40] ^= 1;
    fs::write(place.path(), &bytes).unwrap();
    let later = self::now() + SECOND;
    let (mut ledger, told) = place.open_at(later);
    let [told] = &told[..] else { panic!("{told:?}") };
    for part in ["line 2: the checksum does not fit", "no key opens a door for 121 s", "used.corrupt"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(fs::read(place.directory().join("used.corrupt")).unwrap(), bytes);
    for _ in 0..2 {
        for number in 0_u8..4 {
            let late = used(now + u64::from(number), number.into());
            assert!(matches!(ledger.take(holder(1), late), Err(Refused::NotGood(Refusal::TooOld { .. }))));
        }
        assert!(ledger.take(holder(2), used(later + WINDOW_NS, 9)).is_err());
        drop(ledger);
        let told;
        (ledger, told) = place.open_at(later);
        assert_eq!(told, [""; 0], "it is told once");
    }
    assert_eq!(ledger.take(holder(2), used(later + WINDOW_NS + 1, 9)), Ok(()));
}

#[test]
fn a_clock_that_was_set_back_does_not_shorten_a_doubt() {
    let (place, now) = (Place::new(), now());
    let (mut ledger, _) = place.open();
    ledger.take(holder(1), used(now, 1)).unwrap();
    drop(ledger);
    let mut bytes = fs::read(place.path()).unwrap();
    bytes[LINE] = b'?';
    fs::write(place.path(), bytes).unwrap();
    let (mut ledger, told) = place.open_at(now - 3600 * SECOND);
    assert!(told[0].contains("still to come. If the clock is right now, stop knockd"), "{told:?}");
    assert!(ledger.take(holder(1), used(now, 1)).is_err());
    assert_eq!(ledger.take(holder(1), used(self::now() + WINDOW_NS + SECOND, 2)), Ok(()));
}

/// A daemon that falls between finding a doubt and having written that down finds it again.
#[test]
fn a_doubt_is_not_lost() {
    let place = Place::new();
    drop(place.open());
    fs::write(place.path(), "something else\n").unwrap();
    // A directory in the place of what is renamed: it cannot be written anew.
    fs::create_dir(place.directory().join("used.new")).unwrap();
    for _ in 0..2 {
        let (mut ledger, told) = place.open();
        assert!(
            told.len() == 2 && told[0].contains("line 1") && told[1].contains("cannot be written"),
            "{told:?}"
        );
        let after = used(now() + WINDOW_NS + 3600 * SECOND, 1);
        let Err(Refused::NotWritten(reason)) = ledger.take(holder(1), after) else { panic!("taken") };
        assert!(reason.contains("the ledger") && reason.contains("cannot be written"), "{reason}");
        let again = ledger.take(holder(1), after).unwrap_err().to_string();
        assert!(again.contains("which has failed"), "{again}");
    }
    assert_eq!(fs::read_to_string(place.directory().join("used.corrupt")).unwrap(), "something else\n");
    fs::remove_dir(place.directory().join("used.new")).unwrap();
    let (mut ledger, told) = place.open();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(ledger.take(holder(1), used(now(), 1)).is_err());
}

#[test]
fn it_does_not_grow_without_bound() {
    let (place, start) = (Place::new(), now());
    let (mut ledger, _) = place.open();
    let inode = fs::metadata(place.path()).unwrap().ino();
    let lines = SMALL / LINE as u64;
    for number in 0..lines + 10 {
        ledger.take(holder(1), used(start + number, number.into())).unwrap();
    }
    assert_ne!(fs::metadata(place.path()).unwrap().ino(), inode, "it was written anew");
    assert!(place.length() < SMALL / 2, "{}", place.length());
    drop(ledger);
    let (mut ledger, _) = place.open();
    for number in [lines + 9, lines, 0] {
        assert!(ledger.take(holder(1), used(start + number, number.into())).is_err(), "{number}");
    }
}

#[test]
fn who_is_no_longer_configured_is_forgotten_safely() {
    let (place, now) = (Place::new(), now());
    let (mut ledger, _) = place.open();
    ledger.take(holder(1), used(now, 1)).unwrap();
    ledger.retain(|_| false, now + WINDOW_NS);
    assert_eq!(ledger.take(holder(1), used(now, 1)), SEEN);
    ledger.retain(|_| false, now + WINDOW_NS + 1);
    for _ in 0..2 {
        assert!(ledger.take(holder(1), used(now, 1)).is_err());
        assert!(ledger.take(holder(1), used(now, 2)).is_err());
        drop(ledger);
        // What is in the file may know more, until it is written anew.
        ledger = place.open().0;
        ledger.retain(|_| false, now + WINDOW_NS + 1);
    }
    assert_eq!(ledger.take(holder(1), used(now + 1, 3)), Ok(()));
}

#[test]
fn what_is_no_file_is_told_of() {
    let directory = TempDir::new().unwrap();
    for name in ["directory", "link"] {
        let state = directory.path().join(name);
        fs::create_dir(&state).unwrap();
        match name {
            "directory" => fs::create_dir(state.join(NAME)).unwrap(),
            _ => std::os::unix::fs::symlink("/dev/null", state.join(NAME)).unwrap(),
        }
        let mut ledger = Ledger::new(Rc::new(StateDirectory::new(state)));
        let error = ledger.open(now()).unwrap_err();
        assert!(error.contains("cannot be used"), "{error}");
        assert_eq!(ledger.failure(), Some(&*error));
        assert_eq!(ledger.take(holder(1), used(now(), 1)), Err(Refused::NotWritten(error)));
    }
}

#[derive(Clone, Debug)]
enum Event {
    Fresh(u8, i64),
    Again(Index),
    Clock(i64),
    /// The daemon is killed while it writes a packet's line, and so much of it is there.
    Killed(Index, Index),
    /// It is killed while it writes the file anew, and so much of that is there.
    KilledAnew(Index),
    Restart,
    Configure(u8),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0_u8..3, -121_i64..122).prop_map(|(holder, skew)| Event::Fresh(holder, skew)),
        8 => any::<Index>().prop_map(Event::Again),
        3 => prop_oneof![-300_i64..300, Just(-1_000_000), Just(1_000_000)].prop_map(Event::Clock),
        2 => any::<(Index, Index)>().prop_map(|(which, cut)| Event::Killed(which, cut)),
        1 => any::<Index>().prop_map(Event::KilledAnew),
        1 => Just(Event::Restart),
        1 => (0_u8..8).prop_map(Event::Configure),
    ]
}

struct World {
    place: Place,
    ledger: Ledger,
    clock: u64,
    configured: u8,
    packets: Vec<(Holder, Use)>,
    accepted: HashSet<(Holder, Use)>,
}

impl World {
    fn happen(&mut self, event: Event) {
        match event {
            Event::Fresh(holder, skew) => {
                let time = self.clock.saturating_add_signed(skew * SECOND as i64);
                let packet = (self::holder(holder), used(time, self.packets.len() as u128));
                self.packets.push(packet);
                self.send(packet);
            }
            Event::Again(which) if !self.packets.is_empty() => self.send(*which.get(&self.packets)),
            Event::Clock(seconds) => self.clock = self.clock.saturating_add_signed(seconds * SECOND as i64),
            Event::Killed(which, cut) if !self.packets.is_empty() => {
                let (holder, used) = *which.get(&self.packets);
                let before = self.place.length();
                if self.ledger.take(holder, used).is_ok() {
                    // What was not synced is not on the disk, so nothing was opened.
                    self.restart_after(|place| place.cut(before + cut.index(LINE) as u64));
                }
            }
            Event::KilledAnew(cut) => {
                let bytes = fs::read(self.place.path()).unwrap();
                let part = &bytes[..cut.index(bytes.len())];
                self.restart_after(|place| fs::write(place.directory().join("used.new"), part).unwrap());
            }
            Event::Restart => self.restart_after(|_| ()),
            Event::Configure(mask) => {
                self.configured = mask;
                self.ledger.retain(|holder| 1 << holder.0[0] & mask != 0, self.clock);
            }
            Event::Again(_) | Event::Killed(..) => (),
        }
    }

    fn send(&mut self, (holder, used): (Holder, Use)) {
        let is_configured = 1 << holder.0[0] & self.configured != 0;
        if is_configured
            && used.time.abs_diff(self.clock) <= WINDOW_NS
            && self.ledger.take(holder, used).is_ok()
        {
            assert!(self.accepted.insert((holder, used)), "{used:?} was good twice");
        }
    }

    fn restart_after(&mut self, happen: impl FnOnce(&Place)) {
        self.ledger = self.place.ledger();
        happen(&self.place);
        let told = self.ledger.open(self.clock).unwrap();
        assert!(told.iter().all(|told| !told.starts_with("error")), "{told:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_is_good_twice(events in proptest::collection::vec(events(), 0..60)) {
        let place = Place::new();
        let (ledger, _) = place.open();
        let (packets, accepted) = (Vec::new(), HashSet::new());
        let mut world = World { place, ledger, clock: now(), configured: 7, packets, accepted };
        for event in events {
            world.happen(event);
        }
    }
}

/// Another test, with a disk of 3 MB for its temporary files.
fn on_a_small_disk(test: &str) {
    const SCRIPT: &str =
        r#"mount -t tmpfs -o size=3m none "$1" && TMPDIR=$1 exec "$2" --ignored --exact "$3""#;
    let directory = TempDir::new().unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh"]).arg(directory.path());
    let output = unshare.arg(std::env::current_exe().unwrap()).arg(test).output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
fn a_full_disk() {
    on_a_small_disk("ledger::tests::takes_uses_while_the_reserve_lasts_and_again_when_there_is_room");
}

#[test]
fn a_disk_that_gets_full_when_the_ledger_is_long() {
    on_a_small_disk("ledger::tests::reserves_more_room_when_it_grows");
}

/// Takes all the room that is left.
fn fill(place: &Place) -> PathBuf {
    let filler = place.0.path().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    filler
}

#[test]
#[ignore = "fills its disk"]
fn reserves_more_room_when_it_grows() {
    let (place, start) = (Place::new(), now());
    let (mut ledger, _) = place.open();
    let mut numbers = 0..;
    let mut take = |ledger: &mut Ledger| {
        let number: u64 = numbers.next().unwrap();
        ledger.take(holder((number % 30) as u8), used(start + number, number.into()))
    };
    for _ in 0..3000 {
        take(&mut ledger).unwrap();
    }
    drop(ledger);
    let (mut ledger, _) = place.open();
    let fresh = place.length();
    // Nearly as much as is reserved behind what is there at first.
    for _ in 0..2000 {
        take(&mut ledger).unwrap();
    }
    assert_eq!(place.length(), fresh + 2000 * LINE as u64, "it was not written anew");
    fill(&place);
    let taken = (0..).take_while(|_| take(&mut ledger).is_ok()).count();
    assert!(taken >= 1000, "only {taken}");
}

#[test]
#[ignore = "fills its disk"]
fn takes_uses_while_the_reserve_lasts_and_again_when_there_is_room() {
    let (place, start) = (Place::new(), now());
    let (mut ledger, _) = place.open();
    let filler = fill(&place);
    let mut take = |number: u64| ledger.take(holder(1), used(start + number, number.into()));
    let (refused, reason) = (1..).find_map(|number| Some((number, take(number).err()?))).unwrap();
    assert!(refused > 1000, "only {refused}");
    assert!(reason.to_string().contains("cannot be written: No space left on device"), "{reason}");
    assert!(take(refused).is_err());
    assert_eq!(take(refused - 1), SEEN);
    fs::remove_file(filler).unwrap();
    assert_eq!(take(refused), Ok(()));
    drop(ledger);
    let (mut ledger, told) = place.open();
    assert_eq!(told, [""; 0]);
    for number in 0..=refused {
        assert!(ledger.take(holder(1), used(start + number, number.into())).is_err(), "{number}");
    }
    assert_eq!(ledger.take(holder(1), used(start + refused + 1, 0)), Ok(()));
}
