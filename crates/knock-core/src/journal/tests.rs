use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn clocks(boot: &str, seconds: u64, wall_seconds: i64) -> Clocks {
    Clocks { boot: boot.into(), now: Timestamp::from_millis(seconds * 1000), wall: wall_seconds * 1000 }
}

fn entry(door: &str, from: u8, opened: u64, open_for: Option<u64>) -> Entry {
    let source = IpAddr::from([192, 0, 2, from]);
    let opened = Timestamp::from_millis(opened * 1000);
    Entry {
        door: DoorKey { name: door.into(), namesake: 0 },
        network: Network::host(source),
        source,
        native: true,
        stop: Some("close \"it\"\t%".into()),
        by_hand: false,
        opened,
        until: open_for.map(|seconds| opened + Duration::from_secs(seconds)),
    }
}

fn journal(records: &[Record], clocks: &Clocks) -> Vec<u8> {
    let mut bytes = HEADER.as_bytes().to_vec();
    for record in records {
        encode(record, clocks, &mut bytes);
    }
    bytes
}

fn entries(replay: &Replay) -> Vec<Entry> {
    replay.kept.iter().map(|kept| kept.entry.clone()).collect()
}

#[test]
fn the_last_word_about_a_grant_counts() {
    let now = clocks("a", 100, 5000);
    let (first, later) = (entry("ssh", 7, 90, Some(20)), entry("ssh", 7, 90, Some(60)));
    let other = entry("web", 7, 95, None);
    let gone = entry("ssh", 8, 95, Some(60));
    let end = Record::End(gone.door.clone(), gone.network);
    let records = [first, gone, other.clone(), later.clone()].map(Record::Grant);
    let bytes = journal(&[&records[..], &[end]].concat(), &now);
    let replay = replay(&bytes, &now);
    assert_eq!(entries(&replay), [other, later]);
    assert_eq!((replay.torn, replay.fault), (None, None));
}

#[test]
fn a_network_is_the_same_however_it_is_written() {
    let now = clocks("a", 100, 5000);
    let network = "2001:db8::/56".parse().unwrap();
    let grant = Entry { network, ..entry("ssh", 7, 90, None) };
    let line = |record| String::from_utf8(journal(&[record], &now)).unwrap();
    let written = line(Record::Grant(grant.clone()));
    let (_, json) = written.trim_end().split_once('{').unwrap();
    let otherwise = format!("{{{json}").replace("2001:db8::/56", "2001:DB8:0::/56");
    let otherwise = format!("{:08x} {otherwise}\n", crc32fast::hash(otherwise.as_bytes()));
    let end = line(Record::End(grant.door.clone(), network)).replace(HEADER, "");
    assert_eq!(entries(&replay(format!("{written}{otherwise}").as_bytes(), &now)), [grant]);
    assert_eq!(entries(&replay(format!("{HEADER}{otherwise}{end}").as_bytes(), &now)), []);
}

#[test]
fn within_a_boot_the_time_of_day_does_not_matter() {
    let bytes = journal(&[Record::Grant(entry("ssh", 7, 90, Some(20)))], &clocks("a", 90, 5000));
    for wall in [0, 5000, 9_000_000] {
        let replay = replay(&bytes, &clocks("a", 100, wall));
        assert_eq!(entries(&replay)[0].until, Some(Timestamp::from_millis(110_000)));
        assert!(!replay.kept[0].earlier_boot);
    }
}

#[test]
fn after_a_boot_the_time_of_day_counts() {
    let bytes = journal(&[Record::Grant(entry("ssh", 7, 90, Some(60)))], &clocks("a", 90, 5000));
    for (wall, left, behind) in [(5040, 20, 0), (5060, 0, 0), (9999, 0, 0), (4999, 0, 1)] {
        let replay = replay(&bytes, &clocks("b", 3, wall));
        assert_eq!(replay.kept[0].entry.until, Some(Timestamp::from_millis((3 + left) * 1000)), "{wall}");
        assert!(replay.kept[0].earlier_boot);
        assert_eq!(replay.clock_behind, behind);
    }
}

#[test]
fn a_clock_that_went_back_is_another_boots() {
    let bytes = journal(&[Record::Grant(entry("ssh", 7, 90, Some(60)))], &clocks("a", 90, 5000));
    let replay = replay(&bytes, &clocks("a", 10, 5040));
    assert_eq!(replay.kept[0].entry.until, Some(Timestamp::from_millis(30_000)));
}

#[test]
fn a_grant_without_end_has_none_after_a_boot() {
    let bytes = journal(&[Record::Grant(entry("ssh", 7, 90, None))], &clocks("a", 90, 5000));
    assert_eq!(replay(&bytes, &clocks("b", 3, 1)).kept[0].entry.until, None);
}

/// What a journal says after it was cut anywhere is what its whole lines say.
#[test]
fn cut_at_every_byte() {
    let now = clocks("a", 100, 5000);
    let grants = [entry("ssh", 7, 90, Some(20)), entry("wéb", 8, 91, None)];
    let mut records: Vec<_> = grants.clone().map(Record::Grant).into();
    records.push(Record::End(grants[0].door.clone(), grants[0].network));
    let bytes = journal(&records, &now);
    for cut in 0..bytes.len() {
        let replay = replay(&bytes[..cut], &now);
        assert_eq!(replay.fault, None, "{cut}");
        let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
        let expected = match whole {
            0 => &grants[..0],
            1 => &grants[..1],
            2 => &grants[..],
            _ => &grants[1..],
        };
        assert_eq!(entries(&replay), expected, "{cut}");
        let ends_a_line = cut == 0 || bytes[cut - 1] == b'\n';
        assert_eq!(replay.torn.is_none(), ends_a_line, "{cut}");
    }
}

#[test]
fn any_bit_that_turned_is_found() {
    let now = clocks("a", 100, 5000);
    let records = [entry("ssh", 7, 90, Some(20)), entry("web", 8, 91, None)].map(Record::Grant);
    let bytes = journal(&records, &now);
    let whole = replay(&bytes, &now);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut turned = bytes.clone();
            turned[at] ^= 1 << bit;
            let replay = replay(&turned, &now);
            assert!(replay.fault.is_some() || replay.torn.is_some(), "byte {at}, bit {bit}");
            assert!(replay.kept.iter().all(|kept| whole.kept.contains(kept)), "byte {at}, bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn anything_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let now = clocks("a", 100, 5000);
        replay(&bytes, &now);
        let mut with_header = HEADER.as_bytes().to_vec();
        with_header.extend(bytes);
        replay(&with_header, &now);
    }

    #[test]
    fn what_is_written_is_read(
        name in "\\PC*", namesake in 0_usize..3, from in any::<u8>(), prefix in 0_u8..=32, stop in proptest::option::of("\\PC*"),
        native in any::<bool>(), by_hand in any::<bool>(), open_for in proptest::option::of(0_u64..1 << 40),
    ) {
        let source = IpAddr::from([192, 0, 2, from]);
        let opened = Timestamp::from_millis(90);
        let entry = Entry {
            door: DoorKey { name, namesake },
            network: Network::of(source, prefix),
            source,
            native,
            stop,
            by_hand,
            opened,
            until: open_for.map(|milliseconds| opened + Duration::from_millis(milliseconds)),
        };
        let now = clocks("a", 1, 5000);
        let bytes = journal(&[Record::Grant(entry.clone())], &now);
        prop_assert_eq!(entries(&replay(&bytes, &now)), [entry]);
    }
}
