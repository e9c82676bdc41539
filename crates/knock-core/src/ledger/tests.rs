use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

mod world;

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_800_000_000 * SECOND;
const WINDOW_NS: u64 = 120 * SECOND;

fn holder(number: u8) -> Holder {
    Holder([number; 32])
}

fn used(time: u64, id: u8) -> Use {
    Use { time, id: [id; 16] }
}

/// Uses it where that is good.
fn take(ledger: &mut Ledger, holder: Holder, used: Use) -> Result<(), Refusal> {
    let record = ledger.check(holder, used)?;
    ledger.add(record);
    Ok(())
}

fn file(ledger: &Ledger) -> Vec<u8> {
    let mut bytes = header();
    ledger.records().for_each(|record| encode(&record, &mut bytes));
    bytes
}

/// Two who have used something, one of them so often that it has a floor, and a floor of all.
fn some() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.raise_all(NOW / 2);
    for number in 0..70 {
        take(&mut ledger, holder(1), used(NOW + u64::from(number), number)).unwrap();
    }
    take(&mut ledger, holder(2), used(NOW, 7)).unwrap();
    ledger
}

fn written(ledger: &Ledger) -> HashSet<String> {
    let bytes = file(ledger);
    String::from_utf8(bytes).unwrap().lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_use_is_good_once() {
    let mut ledger = Ledger::default();
    let first = used(NOW, 1);
    assert_eq!(take(&mut ledger, holder(1), first), Ok(()));
    assert_eq!(take(&mut ledger, holder(1), first), Err(Refusal::Seen));
    assert_eq!(take(&mut ledger, holder(1), used(NOW + 1, 1)), Err(Refusal::Seen), "whatever its time");
    assert_eq!(take(&mut ledger, holder(2), first), Ok(()), "of another holder it is another");
    assert_eq!(take(&mut ledger, holder(1), used(NOW, 2)), Ok(()));
    assert_eq!(take(&mut ledger, holder(1), used(NOW - WINDOW_NS, 3)), Ok(()), "they may be late");
}

#[test]
fn what_is_forgotten_is_refused_with_all_before_it() {
    let mut ledger = Ledger::default();
    for number in 0..65 {
        take(&mut ledger, holder(1), used(NOW + u64::from(number) * SECOND, number)).unwrap();
    }
    let too_old = |time| Err(Refusal::TooOld { time, floor: NOW });
    assert_eq!(take(&mut ledger, holder(1), used(NOW, 0)), too_old(NOW));
    assert_eq!(take(&mut ledger, holder(1), used(NOW, 99)), too_old(NOW), "it might be one of those");
    assert_eq!(take(&mut ledger, holder(1), used(NOW - SECOND, 99)), too_old(NOW - SECOND));
    assert_eq!(take(&mut ledger, holder(2), used(NOW, 0)), Ok(()), "others have used nothing");
    // The oldest that is remembered goes at once, and is not good again for that.
    assert_eq!(take(&mut ledger, holder(1), used(NOW + 1, 99)), Ok(()));
    let refusal = Refusal::TooOld { time: NOW + 1, floor: NOW + 1 };
    assert_eq!(take(&mut ledger, holder(1), used(NOW + 1, 99)), Err(refusal));
    assert_eq!(take(&mut ledger, holder(1), used(NOW + 64 * SECOND, 64)), Err(Refusal::Seen));
}

#[test]
fn a_refusal_says_what_would_be_good() {
    let refusal = Refusal::TooOld { time: NOW, floor: NOW + 37 * SECOND / 2 };
    assert!(refusal.to_string().contains("more than 18.500 s later"), "{refusal}");
    assert!(Refusal::TooOld { time: 0, floor: u64::MAX }.to_string().contains("later"));
}

/// Someone who knocks every three seconds from machines whose clocks differ by two minutes.
#[test]
fn who_knocks_often_is_not_shut_out() {
    let mut ledger = Ledger::default();
    for number in 0_u64..5000 {
        let now = NOW + number * 3 * SECOND;
        let time = now - WINDOW_NS / 2 + number * 7919 % 121 * SECOND;
        let id = u128::from(number).to_be_bytes();
        assert_eq!(take(&mut ledger, holder(1), Use { time, id }), Ok(()), "{number}");
    }
    assert_eq!(ledger.records().count(), MAX_USES + 1);
}

#[test]
fn who_uses_a_wrong_clock_is_not_shut_out_for_that() {
    let mut ledger = Ledger::default();
    let future = NOW + 1_000_000 * SECOND;
    for number in 0..40 {
        take(&mut ledger, holder(1), used(future + u64::from(number), number)).unwrap();
    }
    for number in 40..140 {
        assert_eq!(take(&mut ledger, holder(1), used(NOW + u64::from(number), number)), Ok(()), "{number}");
    }
    assert_eq!(take(&mut ledger, holder(1), used(future + 3, 3)), Err(Refusal::Seen), "still remembered");
}

#[test]
fn a_key_that_is_given_again_has_forgotten_nothing() {
    let (first, late) = (used(NOW, 1), used(NOW + WINDOW_NS, 2));
    let mut ledger = Ledger::default();
    take(&mut ledger, holder(1), first).unwrap();
    take(&mut ledger, holder(1), late).unwrap();
    take(&mut ledger, holder(2), first).unwrap();
    let gone = |ledger: &mut Ledger, now| ledger.retain(|holder| *holder == self::holder(2), now);
    gone(&mut ledger, NOW + 2 * WINDOW_NS);
    assert_eq!(take(&mut ledger, holder(1), late), Err(Refusal::Seen), "its time is not over");
    gone(&mut ledger, NOW + 2 * WINDOW_NS + 1);
    let refusal = Refusal::TooOld { time: late.time, floor: late.time };
    assert_eq!(take(&mut ledger, holder(1), late), Err(refusal), "wherever the clock is set");
    assert_eq!(take(&mut ledger, holder(1), used(late.time + 1, 3)), Ok(()), "what is new is good");
    assert!(take(&mut ledger, holder(2), first).is_err());
    assert_eq!(ledger.records().count(), 2, "the floor of all, and one use");
}

#[test]
fn a_doubt_shuts_all_out_for_the_window_and_no_longer() {
    let mut ledger = some();
    assert_eq!(ledger.raise_all(NOW), NOW + WINDOW_NS);
    for number in 0..4 {
        assert!(take(&mut ledger, holder(number), used(NOW + WINDOW_NS, 200)).is_err());
        assert_eq!(take(&mut ledger, holder(number), used(NOW + WINDOW_NS + 1, 200)), Ok(()));
    }
    assert_eq!(ledger.raise_all(u64::MAX), u64::MAX);
    assert_eq!(ledger.records().count(), 1);
}

#[test]
fn a_door_is_told_from_another() {
    let door = |name: &str, namesake| DoorKey { name: name.into(), namesake };
    let identity = [7; 32];
    let holders = [
        Holder::at_door(&identity, &door("ssh", 0)),
        Holder::at_door(&identity, &door("ssh", 1)),
        Holder::at_door(&identity, &door("ss", 0)),
        Holder::at_door(&identity, &door("", 0)),
        Holder::at_door(&[8; 32], &door("ssh", 0)),
        Holder(identity),
    ];
    assert_eq!(holders.iter().collect::<HashSet<_>>().len(), holders.len());
    assert_eq!(holders[0], Holder::at_door(&identity, &door("ssh", 0)));
}

#[test]
fn the_form_of_the_file() {
    let mut ledger = Ledger::default();
    ledger.add(Record(Entry::FloorOfAll(1)));
    ledger.add(Record(Entry::Floor(holder(0xab), 2)));
    ledger.add(Record(Entry::Use(holder(0xab), used(NOW, 0xcd))));
    let text = String::from_utf8(file(&ledger)).unwrap();
    let zeros = "0".repeat(64);
    let (ab, cd) = ("ab".repeat(32), "cd".repeat(16));
    let lines = [
        format!("{:127}", "knockd used 1"),
        format!("________ all {zeros} 0000000000000001 {}", "0".repeat(32)),
        format!("________ low {ab} 0000000000000002 {}", "0".repeat(32)),
        format!("________ use {ab} 18fae27693b40000 {cd}"),
    ];
    assert!(text.lines().all(|line| line.len() + 1 == LINE), "{text}");
    assert_eq!(
        text.lines().map(|line| &line[8..]).collect::<Vec<_>>(),
        lines.map(|line| line[8..].to_owned())
    );
    let checksums = text.lines().skip(1).map(|line| &line[..8]).collect::<Vec<_>>();
    // As Python's zlib.crc32 tells them.
    assert_eq!(checksums, ["b18f45b3", "34fe281f", "bf50bc15"]);
    assert_eq!(replay(text.as_bytes()).ledger, ledger);
}

#[test]
fn the_order_of_the_lines_does_not_matter() {
    let ledger = some();
    let (header, mut backwards) = (header(), Vec::new());
    let records: Vec<_> = ledger.records().collect();
    records.iter().rev().for_each(|record| encode(record, &mut backwards));
    let reread = replay(&[header, backwards].concat());
    assert_eq!(reread, Replay { ledger, torn: None, fault: None });
}

#[test]
fn cut_at_every_byte_it_says_what_its_whole_lines_say() {
    let ledger = some();
    let bytes = file(&ledger);
    assert_eq!(replay(&[]), Replay::default());
    for cut in 1..bytes.len() {
        let read = replay(&bytes[..cut]);
        if cut < LINE {
            assert!(read.fault.is_some(), "{cut}: it is never written without its first line");
            continue;
        }
        let whole = cut / LINE * LINE;
        assert_eq!(read.ledger, replay(&bytes[..whole]).ledger, "{cut}");
        assert_eq!((read.torn, read.fault), ((cut > whole).then_some(cut - whole), None), "{cut}");
    }
}

#[test]
fn any_bit_that_turned_is_found_and_the_rest_counts() {
    let mut ledger = Ledger::default();
    let floors = [Entry::FloorOfAll(NOW / 2), Entry::Floor(holder(1), NOW - 1)];
    let uses = [1, 2, 3].map(|number| Entry::Use(holder(number), used(NOW, number)));
    floors.into_iter().chain(uses).for_each(|entry| ledger.add(Record(entry)));
    let bytes = file(&ledger);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut turned = bytes.clone();
            turned[at] ^= 1 << bit;
            let read = replay(&turned);
            let line = at / LINE + 1;
            assert_eq!(
                read.fault.as_ref().map(|fault| fault.line),
                Some(line),
                "byte {at}, bit {bit}: {read:?}"
            );
            let missing = written(&ledger).difference(&written(&read.ledger)).count();
            assert!(missing <= 1, "byte {at}, bit {bit}: {missing} lines are missing");
        }
    }
}

#[test]
fn what_is_of_another_version_is_told_of() {
    let mut line = Vec::new();
    encode(&Record(Entry::FloorOfAll(1)), &mut line);
    let content = String::from_utf8(line).unwrap()[9..].trim_end().to_owned();
    let fault_of = |content: &str| {
        let line = format!("{:08x} {content}\n", crc32fast::hash(content.as_bytes()));
        replay(&[header(), line.into_bytes()].concat()).fault.map(|fault| fault.found)
    };
    assert_eq!(fault_of(&content), None);
    for other in [content.replace("all", "any"), content.replace('1', "x"), content.replacen(' ', "_", 2)] {
        assert_eq!(fault_of(&other), Some("a record that this version does not know"), "{other}");
    }
    let later = file(&some());
    let later = String::from_utf8(later).unwrap().replace("used 1", "used 2");
    assert!(replay(later.as_bytes()).fault.unwrap().to_string().contains("line 1: not the beginning"));
}

fn entries() -> impl Strategy<Value = Entry> {
    let any_holder = || prop_oneof![(0_u8..4).prop_map(holder), any::<[u8; 32]>().prop_map(Holder)];
    let time = || prop_oneof![0_u64..200, any::<u64>()];
    prop_oneof![
        8 => (any_holder(), time(), any::<[u8; 16]>()).prop_map(|(holder, time, id)| Entry::Use(holder, Use { time, id })),
        1 => (any_holder(), time()).prop_map(|(holder, floor)| Entry::Floor(holder, floor)),
        1 => (0_u64..200).prop_map(Entry::FloorOfAll),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec(entries(), 0..300)) {
        let mut ledger = Ledger::default();
        entries.into_iter().map(Record).for_each(|record| ledger.add(record));
        let read = replay(&file(&ledger));
        prop_assert_eq!(read, Replay { ledger, torn: None, fault: None });
    }

    #[test]
    fn anything_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        replay(&bytes);
        replay(&[header(), bytes].concat());
    }
}
