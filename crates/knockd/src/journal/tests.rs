use std::fs::OpenOptions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use knock_core::config::DoorKey;
use knock_core::network::Network;

use super::*;
use crate::book::SMALL;

/// A directory that goes with the value.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("knockd-journal-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> (Journal, Replay) {
        let mut journal = Journal::new(self.0.join("state"));
        let replay = journal.open().unwrap();
        (journal, replay)
    }

    fn path(&self) -> PathBuf {
        self.0.join("state").join(NAME)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(from: u32) -> Entry {
    let source = IpAddr::V4((0xc000_0200 + from).into());
    Entry {
        door: DoorKey { name: "ssh".into(), namesake: 0 },
        network: Network::host(source),
        source,
        native: true,
        stop: None,
        by_hand: false,
        opened: clock::now(),
        until: Some(clock::now() + Duration::from_secs(60)),
    }
}

fn add(journal: &mut Journal, from: u32) -> Result<(), String> {
    journal.record(&Record::Grant(entry(from)), false, std::iter::empty())
}

fn sources(replay: &Replay) -> Vec<String> {
    replay.kept.iter().map(|kept| kept.entry.source.to_string()).collect()
}

#[test]
fn another_daemon_reads_what_was_written() {
    let directory = Directory::new();
    let (mut journal, replay) = directory.open();
    assert_eq!(replay, Replay::default());
    for from in 1..=3 {
        add(&mut journal, from).unwrap();
    }
    let Entry { door, network, .. } = entry(2);
    journal.record_end(&Record::End(door, network), std::iter::empty()).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "commands may hold secrets");
    let (_, replay) = directory.open();
    assert_eq!(sources(&replay), ["192.0.2.1", "192.0.2.3"]);
    assert_eq!((replay.torn, replay.fault), (None, None));
}

#[test]
fn one_daemon_at_a_time() {
    let directory = Directory::new();
    let (journal, _) = directory.open();
    let mut second = Journal::new(directory.0.join("state"));
    let error = second.open().unwrap_err();
    assert!(error.contains("another knockd") && error.contains("state_directory"), "{error}");
    assert!(add(&mut second, 1).is_err(), "nothing opens");
    drop(journal);
    second.open().unwrap();
    add(&mut second, 1).unwrap();
}

#[test]
fn what_broke_off_does_no_harm_to_what_follows() {
    let directory = Directory::new();
    let (mut journal, _) = directory.open();
    add(&mut journal, 1).unwrap();
    add(&mut journal, 2).unwrap();
    drop(journal);
    let length = fs::metadata(directory.path()).unwrap().len();
    OpenOptions::new().write(true).open(directory.path()).unwrap().set_len(length - 5).unwrap();
    let (mut journal, replay) = directory.open();
    assert_eq!(sources(&replay), ["192.0.2.1"]);
    assert!(replay.torn.is_some());
    let kept: Vec<_> = replay.kept.into_iter().map(|kept| kept.entry).collect();
    journal.record(&Record::Grant(entry(3)), false, kept.into_iter()).unwrap();
    drop(journal);
    let (_, replay) = directory.open();
    assert_eq!(sources(&replay), ["192.0.2.1", "192.0.2.3"]);
    assert_eq!((replay.torn, replay.fault), (None, None));
}

#[test]
fn it_does_not_grow_without_bound() {
    let directory = Directory::new();
    let (mut journal, _) = directory.open();
    for _ in 0..20_000 {
        journal.record(&Record::Grant(entry(1)), false, std::iter::once(entry(1))).unwrap();
    }
    let length = fs::metadata(directory.path()).unwrap().len();
    assert!(length < 2 * SMALL, "{length}");
    drop(journal);
    assert_eq!(sources(&directory.open().1), ["192.0.2.1"]);
}

#[test]
fn what_is_void_opens_nothing_and_is_mended_by_the_next_record() {
    let directory = Directory::new();
    let (mut journal, _) = directory.open();
    add(&mut journal, 1).unwrap();
    let State::InUse(book) = &mut journal.state else { panic!("in use") };
    book.make_void();
    let replay = replay(&fs::read(directory.path()).unwrap(), &journal.clocks());
    assert!(replay.fault.is_some() && replay.kept.is_empty());
    journal.record(&Record::Grant(entry(3)), false, [entry(2)].into_iter()).unwrap();
    drop(journal);
    let (_, replay) = directory.open();
    assert_eq!(sources(&replay), ["192.0.2.2", "192.0.2.3"]);
    assert_eq!(replay.fault, None);
}

#[test]
fn what_is_no_journal_is_told_of() {
    let directory = Directory::new();
    fs::create_dir(directory.0.join("state")).unwrap();
    fs::write(directory.path(), "something else\n").unwrap();
    let (journal, replay) = directory.open();
    assert!(replay.fault.is_some());
    let aside = journal.set_aside().unwrap();
    assert_eq!(fs::read_to_string(aside).unwrap(), "something else\n");
    drop(journal);
    for name in ["directory", "link"] {
        let state = directory.0.join(name);
        fs::create_dir(&state).unwrap();
        match name {
            "directory" => fs::create_dir(state.join(NAME)).unwrap(),
            _ => std::os::unix::fs::symlink("/dev/null", state.join(NAME)).unwrap(),
        }
        let error = Journal::new(state).open().unwrap_err();
        assert!(error.contains("cannot be used"), "{error}");
    }
}
