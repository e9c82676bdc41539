use proptest::prelude::*;

use super::*;
use crate::config::{DoorKey, FlagRule};
use crate::knock::TcpFlags;
use crate::sequence::{Sequence, Step};

fn source(n: u32) -> IpAddr {
    IpAddr::V4((0xc000_0200 + n).into())
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1000 * seconds)
}

fn knock(what: What) -> Recorded {
    Recorded::Knock { what, of: 3, within: Duration::from_secs(5) }
}

fn stages(history: &History, from: u32) -> Vec<Recorded> {
    history.of(source(from)).map(|entry| entry.what.clone()).collect()
}

/// The events with those counted that are the same as the one before.
fn counted(events: Vec<Entry>) -> Vec<Entry> {
    let mut counted: Vec<Entry> = Vec::new();
    for entry in events {
        match counted.last_mut() {
            Some(last) if last.what == entry.what => {
                *last = Entry { times: last.times + 1, ..entry };
            }
            _ => counted.push(entry),
        }
    }
    counted
}

/// What is explained 100 s after the origin.
fn explained(events: &[(u64, &str, Recorded)], secrets: bool) -> Vec<String> {
    let mut history = History::new(SOURCES, EVENTS);
    for (second, door, what) in events {
        history.record(source(7), at(*second), door, what.clone());
    }
    explanation(history.of(source(7)), at(100), secrets)
}

fn explained_one(what: Recorded) -> String {
    let is_open = matches!(what, Recorded::Opened { .. } | Recorded::Extended { .. });
    let lines = explained(&[(88, "ssh", what)], false);
    assert_eq!(lines.len(), 1 + usize::from(is_open), "{lines:?}");
    lines[0].strip_prefix("12 s ago: ssh: ").unwrap().to_owned()
}

#[test]
fn the_same_again_and_again_is_counted() {
    let mut history = History::new(8, 8);
    for second in 0..17 {
        history.record(source(7), at(second), "ssh", knock(What::NotAllowed));
    }
    history.record(source(7), at(17), "web", knock(What::NotAllowed));
    let entries: Vec<_> = history.of(source(7)).map(|entry| (&*entry.door, entry.times, entry.at)).collect();
    assert_eq!(entries, [("ssh", 17, at(16)), ("web", 1, at(17))]);
}

#[test]
fn made_up_first_knocks_push_out_nobody_who_got_further() {
    let mut history = History::new(8, 4);
    for honest in 0..4 {
        history.record(source(honest), at(0), "ssh", knock(What::Stage(1)));
        history.record(source(honest), at(1), "ssh", knock(What::Stage(2)));
    }
    for flood in 100..1000 {
        for what in [What::Stage(1), What::TimedOut(1), What::Opening, What::NotAllowed] {
            history.record(source(flood), at(2), "ssh", knock(what));
        }
    }
    for honest in 0..4 {
        assert_eq!(stages(&history, honest), [knock(What::Stage(1)), knock(What::Stage(2))]);
    }
    for late in 996..1000 {
        assert_eq!(stages(&history, late).len(), 4);
    }
    assert_eq!(stages(&history, 995), []);
}

#[test]
fn those_who_got_further_leave_room_for_others() {
    let mut history = History::new(4, 4);
    for known in 0..100 {
        history.record(source(known), at(0), "ssh", knock(What::Stage(2)));
    }
    assert_eq!(stages(&history, 96).len(), 1, "whoever is heard of last may use the room of others");
    history.record(source(200), at(1), "ssh", knock(What::Stage(1)));
    history.record(source(201), at(1), "ssh", knock(What::Stage(1)));
    let kept = [96, 97, 98, 99, 200, 201].map(|from| stages(&history, from).len());
    assert_eq!(kept, [0, 0, 1, 1, 1, 1]);
}

#[test]
fn a_knock_is_remembered_with_what_its_door_gives() {
    let door = TrackedDoor {
        slot: 0,
        key: DoorKey { name: "ssh".into(), namesake: 0 },
        sequence: Sequence::parse("1,2,3").ok(),
        one_time: false,
        timeout: Duration::from_secs(5),
        cooldown: Duration::from_secs(60),
        flags: FlagRule::default(),
        target: None,
        strict: false,
        allow_from: Vec::new(),
    };
    assert_eq!(Recorded::knock(What::Stage(1), &door), knock(What::Stage(1)));
    let within = Duration::from_secs(60);
    let cooling = Recorded::knock(What::CoolingDown, &door);
    assert_eq!(cooling, Recorded::Knock { what: What::CoolingDown, of: 3, within });
    let used = TrackedDoor { sequence: None, ..door };
    assert_eq!(Recorded::knock(What::Stage(3), &used), knock(What::Stage(3)));
}

#[test]
fn tells_how_a_door_was_opened() {
    let seconds = |n| Some(Duration::from_secs(n));
    let events = [
        (10, "ssh", knock(What::Stage(1))),
        (11, "ssh", knock(What::Stage(2))),
        (11, "ssh", knock(What::Stage(3))),
        (11, "ssh", knock(What::Opening)),
        (11, "ssh", Recorded::Opened { lasts: seconds(10) }),
        (15, "ssh", Recorded::Extended { lasts: seconds(90) }),
        (99, "ssh", Recorded::Closed("its time is over".into())),
    ];
    let lines = [
        "1 min 30 s ago: ssh: knock 1 of 3 was right",
        "1 min 29 s ago: ssh: knock 2 of 3 was right",
        "1 min 29 s ago: ssh: knock 3 of 3 was right",
        "1 min 29 s ago: ssh: the sequence was complete",
        "1 min 29 s ago: ssh: opened for 10 s",
        "1 min 25 s ago: ssh: was open already, stays open for another 1 min 30 s",
        "1 s ago: ssh: closed: its time is over",
    ];
    assert_eq!(explained(&events, false), lines);
}

#[test]
fn tells_of_each_door_what_did_not_follow() {
    let events = [
        (96, "ssh", knock(What::Stage(1))),
        (96, "web", knock(What::Stage(1))),
        (97, "ssh", knock(What::Stage(2))),
        (98, "web", knock(What::TimedOut(1))),
    ];
    let lines = explained(&events, false);
    let unheard = "it was not sent, got lost on the way, or went to a port of no door";
    assert_eq!(lines[4..], [format!("ssh: knock 3 of 3 was not heard since; {unheard}")]);
}

fn step(text: &str) -> Step {
    Step::parse(text).unwrap()
}

#[test]
fn ports_are_secret() {
    let spoiled =
        knock(What::Spoiled { stage: 2, hit: step("7142"), expected: step("8319:udp"), named: true });
    let told = explained(&[(88, "ssh", spoiled.clone())], true);
    assert!(told[0].contains("behind knock 2 of 3 ended the attempt: 7142:tcp was hit, 8319:udp expected"));
    let told = explained_one(spoiled);
    assert!(told.contains("behind knock 2 of 3 ended the attempt"), "{told}");
    assert!(!told.contains("7142") && !told.contains("8319"), "{told}");
}

#[test]
fn tells_what_a_single_event_means() {
    let rule = FlagRule { required: TcpFlags::SYN, excluded: TcpFlags::ACK.union(TcpFlags::RST) };
    let unfit = |flags| knock(What::Unfit { knock: 2, flags, rule });
    let destination = "198.51.100.1".parse().unwrap();
    let elsewhere = |target| knock(What::Elsewhere { knock: 1, destination, target });
    let cases = [
        (knock(What::TimedOut(2)), "too late: 2 of 3 knocks came within the 5 s that the door gives"),
        (knock(What::Stage(3)), "knock 3 of 3 was right"),
        (knock(What::CoolingDown), "the door was opened for this address less than 5 s before"),
        (unfit(TcpFlags::default()), "knock 2 of 3 did not count: its TCP flags were none, the door asks"),
        (
            unfit(TcpFlags::SYN.union(TcpFlags::ACK)),
            "were syn,ack, the door asks for syn,!rst,!ack (tcpflags)",
        ),
        (elsewhere(None), "it went to 198.51.100.1, which is no address of the interfaces"),
        (elsewhere("203.0.113.9".parse().ok()), "but the door is knocked at 203.0.113.9 (target)"),
        (
            knock(What::Spoiled { stage: 1, hit: step("9443"), expected: step("8319:udp"), named: false }),
            "ended the attempt: 9443:tcp was hit, which is no door's, and the door is strict",
        ),
        (knock(What::Unbegun(2)), "knock 2 of 3 did not count: knock 1 was not heard before it"),
        (knock(What::NotAllowed), "the address is in none of the networks that may knock here (allow_from)"),
        (Recorded::Refused("too many are open".into()), "not opened: too many are open"),
        (Recorded::Opened { lasts: None }, "opened until it is closed"),
    ];
    for (what, expected) in cases {
        let told = explained_one(what);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn tells_how_often() {
    let lines =
        explained(&[(10, "ssh", knock(What::NotAllowed)), (95, "ssh", knock(What::NotAllowed))], false);
    assert!(
        lines[0].starts_with("5 s ago (the last of 2 times): ssh: not allowed: the address"),
        "{lines:?}"
    );
}

#[test]
fn tells_what_to_check_where_nothing_was_heard() {
    let lines = explained(&[], false);
    for reason in ["other ports", "address translation", "IPv6", "interface", "firewall"] {
        assert!(lines.iter().any(|line| line.contains(reason)), "{reason}");
    }
}

proptest! {
    /// However many knock: bounds hold, and the latest sources are kept, each with its latest event.
    #[test]
    fn stays_within_its_bounds_and_keeps_the_newest(
        room in 0_usize..9,
        each in 0_usize..4,
        events in proptest::collection::vec((0_u32..12, 1_usize..4, 0_usize..2), 1..200),
    ) {
        let mut history = History::new(room, each);
        let (room, each) = (room.max(2), each.max(1));
        let mut all: Vec<(u32, Entry)> = Vec::new();
        for (second, (from, stage, door)) in events.into_iter().enumerate() {
            let (now, door) = (at(second as u64), ["ssh", "web"][door]);
            history.record(source(from), now, door, knock(What::Stage(stage)));
            all.push((from, Entry { at: now, door: door.into(), what: knock(What::Stage(stage)), times: 1 }));

            let kept: Vec<_> = (0..12).filter(|from| history.of(source(*from)).next().is_some()).collect();
            prop_assert!(kept.len() <= room);
            prop_assert_eq!(history.newcomers.len() + history.known.len(), kept.len());
            prop_assert!(history.known.len() <= room / 2);
            let mut latest: Vec<u32> = Vec::new();
            for (from, _) in all.iter().rev() {
                if !latest.contains(from) {
                    latest.push(*from);
                }
            }
            for from in latest.iter().take(room / 2) {
                prop_assert!(kept.contains(from));
            }
            for from in kept {
                let entries: Vec<_> = history.of(source(from)).cloned().collect();
                prop_assert!(entries.len() <= each);
                let newest = all.iter().rev().find(|(source, _)| *source == from).map(|(_, entry)| entry);
                let last = entries.last().map(|last| Entry { times: 1, ..last.clone() });
                prop_assert_eq!(last.as_ref(), newest);
            }
        }
    }

    /// With room for the source, just the latest are kept.
    #[test]
    fn keeps_the_latest_of_a_source(
        each in 1_usize..5,
        events in proptest::collection::vec((1_usize..3, 0_u64..3), 0..60),
    ) {
        let mut history = History::new(2, each);
        let mut all = Vec::new();
        let mut now = 0;
        for (stage, pause) in events {
            now += pause;
            history.record(source(1), at(now), "ssh", knock(What::Stage(stage)));
            all.push(Entry { at: at(now), door: "ssh".into(), what: knock(What::Stage(stage)), times: 1 });
        }
        let counted = counted(all);
        let latest = &counted[counted.len().saturating_sub(each)..];
        prop_assert_eq!(history.of(source(1)).cloned().collect::<Vec<_>>(), latest);
    }

    /// Any history is explained, with a line for each event.
    #[test]
    fn explains_anything(
        events in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u64>(), any::<u64>()), 1..20),
        now: u64,
        secrets: bool,
    ) {
        let entries: Vec<_> = events.into_iter().map(|(stage, of, within, at)| {
            let what = [What::Stage(stage), What::TimedOut(stage), What::Opening][stage % 3];
            let what = Recorded::Knock { what, of, within: Duration::from_nanos(within) };
            Entry { at: Timestamp::from_nanos(at), door: "ssh".into(), what, times: 1 }
        }).collect();
        prop_assert!(explanation(&entries, Timestamp::from_nanos(now), secrets).len() >= entries.len());
    }
}
