use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::config::FlagRule;
use crate::knock::{Protocol, TcpFlags};

mod crowds;
mod repetitions;
mod strict;

/// A tracker with a made-up clock and network.
struct Scene {
    tracker: Tracker,
    now: Timestamp,
    packets: u64,
}

fn door(name: &str, sequence: &str) -> TrackedDoor {
    TrackedDoor {
        slot: 0,
        key: DoorKey { name: name.into(), namesake: 0 },
        sequence: Some(Sequence::parse(sequence).unwrap()),
        one_time: false,
        timeout: Duration::from_secs(5),
        cooldown: Duration::ZERO,
        flags: FlagRule::default(),
        target: None,
        strict: false,
        allow_from: Vec::new(),
    }
}

fn source(n: u32) -> IpAddr {
    IpAddr::V4((0xc000_0200 + n).into())
}

impl Scene {
    fn new(doors: Vec<TrackedDoor>) -> Self {
        Self::with_room(doors, MAX_ATTEMPTS)
    }

    fn with_room(doors: Vec<TrackedDoor>, capacity: usize) -> Self {
        Self { tracker: Tracker::new(doors, capacity), now: Timestamp::from_millis(1000), packets: 0 }
    }

    fn packet(&mut self, from: u32, step: &str) -> Knock {
        self.packets += 1;
        Knock {
            source: source(from),
            destination: "198.51.100.1".parse().unwrap(),
            step: Step::parse(step).unwrap(),
            flags: TcpFlags::SYN,
            fingerprint: self.packets << 32 | self.packets,
        }
    }

    fn take(&mut self, knock: &Knock) -> Vec<Event> {
        let mut events = Vec::new();
        self.tracker.handle_knock(knock, true, self.now, &mut events);
        events
    }

    fn knock(&mut self, from: u32, step: &str) -> Vec<Event> {
        let packet = self.packet(from, step);
        self.take(&packet)
    }

    /// Knocks several ports; tells which doors opened.
    fn knocks(&mut self, from: u32, steps: &str) -> Vec<DoorIndex> {
        let events: Vec<_> = steps.split(' ').flat_map(|step| self.knock(from, step)).collect();
        openings(&events)
    }

    fn wait(&mut self, milliseconds: u64) -> Vec<Event> {
        self.now = self.now + Duration::from_millis(milliseconds);
        let mut events = Vec::new();
        self.tracker.handle_timer(self.now, &mut events);
        events
    }
}

fn openings(events: &[Event]) -> Vec<DoorIndex> {
    events.iter().filter(|event| event.what == What::Opening).map(|event| event.door).collect()
}

fn event(door: DoorIndex, from: u32, what: What) -> Event {
    Event { door, source: source(from), what }
}

fn stage(door: DoorIndex, from: u32, stage: usize) -> Event {
    event(door, from, What::Stage(stage))
}

#[test]
fn the_right_ports_in_order_open() {
    let mut scene = Scene::new(vec![door("a", "1,2:udp,3")]);
    assert_eq!(scene.knock(7, "1"), [stage(0, 7, 1)]);
    assert_eq!(scene.knock(7, "2:udp"), [stage(0, 7, 2)]);
    assert_eq!(scene.knock(7, "3"), [stage(0, 7, 3), event(0, 7, What::Opening)]);
    assert_eq!(scene.knock(7, "3"), []);
}

#[test]
fn protocol_and_order_matter() {
    for wrong in ["1 2 3", "1 3 2:udp", "2:udp 1 3", "1 2:udp", "2:udp 3"] {
        assert_eq!(Scene::new(vec![door("a", "1,2:udp,3")]).knocks(7, wrong), [0; 0], "{wrong}");
    }
}

#[test]
fn a_wrong_port_of_some_door_ends_the_attempt() {
    let mut scene = Scene::new(vec![door("a", "1,2,3"), door("b", "8,9")]);
    scene.knocks(7, "1 2");
    let hit = Step::parse("9").unwrap();
    let expected = Step::parse("3").unwrap();
    assert_eq!(scene.knock(7, "9"), [event(0, 7, What::Spoiled { stage: 2, hit, expected, named: true })]);
    assert_eq!(scene.knock(7, "3"), [event(0, 7, What::Unbegun(3))]);
    assert_eq!(scene.tracker.attempts(), 0);
}

#[test]
fn tells_who_is_knocking() {
    let mut scene = Scene::new(vec![
        door("a", "1,2:udp"),
        TrackedDoor { cooldown: Duration::from_secs(9), ..door("cooling", "3,4") },
    ]);
    let knocking =
        |scene: &Scene| (7..10).filter(|from| scene.tracker.is_knocking(source(*from))).collect::<Vec<_>>();
    assert!(knocking(&scene).is_empty());
    for (from, step) in [(7, "1"), (8, "2"), (9, "3")] {
        scene.knock(from, step);
    }
    assert_eq!(knocking(&scene), [7, 9]);
    scene.knock(7, "2:udp");
    scene.knock(9, "4");
    assert!(knocking(&scene).is_empty(), "complete or cooling down");
    scene.knock(9, "1");
    assert_eq!(knocking(&scene), [9]);
    scene.wait(5000);
    assert!(knocking(&scene).is_empty(), "timed out");
    let [v6, neighbour] = ["2001:db8::7", "2001:db8::8"].map(|address| address.parse().unwrap());
    let packet = Knock { source: v6, ..scene.packet(7, "1") };
    scene.take(&packet);
    assert!(scene.tracker.is_knocking(v6) && !scene.tracker.is_knocking(neighbour), "of one network");
}

#[test]
fn ports_of_no_door_neither_help_nor_hurt() {
    assert_eq!(Scene::new(vec![door("a", "1,2,3")]).knocks(7, "1 80 2 443:udp 3"), [0]);
}

#[test]
fn a_wrong_port_that_is_the_first_begins_anew() {
    let mut scene = Scene::new(vec![door("a", "1,2,3")]);
    assert_eq!(scene.knocks(7, "1 2 1 2 3"), [0]);
    assert_eq!(scene.knocks(8, "1 2 3 1 2 3"), [0, 0]);
}

#[test]
fn a_retry_right_after_a_half_knock_opens() {
    let mut scene = Scene::new(vec![door("a", "1,2,3")]);
    scene.knocks(7, "1");
    scene.wait(4000);
    assert_eq!(scene.knock(7, "1"), []);
    assert_eq!(scene.wait(2000), [], "the clock began anew");
    assert_eq!(scene.knocks(7, "2 3"), [0]);
}

#[test]
fn the_same_packet_again_changes_nothing() {
    let mut scene = Scene::new(vec![door("a", "1,2,3,1")]);
    let packets: Vec<_> = ["1", "2", "3", "1"].map(|step| scene.packet(7, step)).into();
    for (index, packet) in packets.iter().enumerate() {
        let expected = if index == 3 { 2 } else { 1 };
        assert_eq!(scene.take(packet).len(), expected);
        for earlier in &packets[..=index] {
            assert_eq!(scene.take(earlier), [], "packet {index}");
        }
    }
}

#[test]
fn a_one_port_door_opens_once_for_a_retransmitted_syn() {
    let mut scene = Scene::new(vec![door("a", "1")]);
    let packet = scene.packet(7, "1");
    assert_eq!(openings(&scene.take(&packet)), [0]);
    assert_eq!(scene.take(&packet), []);
    assert_eq!(scene.knocks(7, "1"), [0], "another packet is another knock");
}

#[test]
fn a_syn_that_is_retransmitted_for_two_minutes_opens_nothing_again() {
    let mut scene = Scene::new(vec![door("a", "1,2,3"), door("b", "4")]);
    let packets = ["1", "2", "3"].map(|step| scene.packet(7, step));
    let opened: Vec<_> = packets.iter().flat_map(|packet| scene.take(packet)).collect();
    assert_eq!(openings(&opened), [0]);
    for pause in [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000] {
        scene.wait(pause);
        for packet in &packets {
            assert_eq!(scene.take(packet), []);
        }
    }
    assert_eq!(scene.knocks(7, "1 2 3"), [0]);
}

/// IPv6 has no identification: two datagrams of one socket to one port look the same.
#[test]
fn a_datagram_like_an_earlier_one_is_another_knock() {
    let mut scene = Scene::new(vec![door("a", "1:udp,2:udp,1:udp"), door("b", "3:udp")]);
    let alike = |scene: &mut Scene, step| Knock { fingerprint: 7, ..scene.packet(7, step) };
    let (one, two) = (alike(&mut scene, "1:udp"), Knock { fingerprint: 8, ..scene.packet(7, "2:udp") });
    assert_eq!(scene.take(&one), [stage(0, 7, 1)]);
    assert_eq!(scene.take(&one), [], "a copy");
    assert_eq!(scene.take(&two), [stage(0, 7, 2)]);
    assert_eq!(openings(&scene.take(&one)), [0]);
    let three = alike(&mut scene, "3:udp");
    assert_eq!(openings(&scene.take(&three)), [1]);
    scene.wait(999);
    assert_eq!(scene.take(&three), [], "a copy");
    scene.wait(1);
    assert_eq!(openings(&scene.take(&three)), [1]);
}

#[test]
fn what_is_due_is_over_when_the_next_knock_comes() {
    let mut scene = Scene::new(vec![door("a", "1,2")]);
    scene.knock(7, "1");
    scene.now = scene.now + Duration::from_secs(3600);
    let over = [event(0, 7, What::TimedOut(1)), event(0, 7, What::Unbegun(2))];
    assert_eq!(scene.knock(7, "2"), over);
}

#[test]
fn a_later_knock_without_the_first_is_told_of_where_it_belongs_to_nothing_else() {
    let mut scene = Scene::new(vec![door("a", "1,2,3"), door("b", "3,9")]);
    assert_eq!(scene.knock(7, "2"), [event(0, 7, What::Unbegun(2))]);
    assert_eq!(scene.knock(7, "3"), [stage(1, 7, 1)], "the first of another door");
    assert_eq!(scene.tracker.attempts(), 1);
}

#[test]
fn another_packet_to_the_port_just_accepted_changes_nothing() {
    assert_eq!(Scene::new(vec![door("a", "1,2,3")]).knocks(7, "1 2 2 2 3"), [0]);
}

#[test]
fn a_port_twice_in_a_sequence_needs_two_packets() {
    let mut scene = Scene::new(vec![door("a", "1,1,2")]);
    let first = scene.packet(7, "1");
    assert_eq!(scene.take(&first), [stage(0, 7, 1)]);
    assert_eq!(scene.take(&first), []);
    assert_eq!(scene.knock(7, "1"), [stage(0, 7, 2)]);
    assert_eq!(scene.knocks(7, "2"), [0]);
}

#[test]
fn flags_that_do_not_fit_are_passed_over() {
    let syn_only = TrackedDoor {
        flags: FlagRule { required: TcpFlags::SYN, excluded: TcpFlags::ACK },
        ..door("a", "1,2,3:udp")
    };
    let rule = syn_only.flags;
    let mut scene = Scene::new(vec![syn_only]);
    scene.knock(7, "1");
    for flags in [TcpFlags::ACK, TcpFlags::RST, TcpFlags::SYN.union(TcpFlags::ACK)] {
        let packet = Knock { flags, ..scene.packet(7, "2") };
        assert_eq!(scene.take(&packet), [event(0, 7, What::Unfit { knock: 2, flags, rule })]);
        let wrong = Knock { flags, ..scene.packet(7, "1") };
        assert_eq!(scene.take(&wrong), [], "the port just accepted");
    }
    assert_eq!(scene.knocks(7, "2"), [0; 0]);
    let datagram = Knock { flags: TcpFlags::default(), ..scene.packet(7, "3:udp") };
    assert_eq!(openings(&scene.take(&datagram)), [0]);
}

#[test]
fn a_port_that_only_another_door_would_take_with_other_flags_is_passed_over() {
    let syn_only = TrackedDoor {
        flags: FlagRule { required: TcpFlags::SYN, excluded: TcpFlags::default() },
        ..door("b", "9,8")
    };
    let rule = syn_only.flags;
    let mut scene = Scene::new(vec![door("a", "1,2"), syn_only]);
    scene.knock(7, "1");
    let flags = TcpFlags::ACK;
    let packet = Knock { flags, ..scene.packet(7, "9") };
    assert_eq!(scene.take(&packet), [event(1, 7, What::Unfit { knock: 1, flags, rule })]);
    assert_eq!(scene.knocks(7, "2"), [0]);
}

#[test]
fn only_packets_to_our_addresses_or_the_target_count() {
    let target = TrackedDoor { target: "203.0.113.9".parse().ok(), ..door("a", "1") };
    let mut scene = Scene::new(vec![target, door("b", "1")]);
    let events = |scene: &mut Scene, destination: &str, local| {
        let packet = Knock { destination: destination.parse().unwrap(), ..scene.packet(7, "1") };
        let mut events = Vec::new();
        scene.tracker.handle_knock(&packet, local, scene.now, &mut events);
        openings(&events)
    };
    assert_eq!(events(&mut scene, "203.0.113.9", false), [0]);
    assert_eq!(events(&mut scene, "198.51.100.1", true), [1]);
    assert_eq!(events(&mut scene, "198.51.100.2", false), [0; 0]);
}

fn syn_only(sequence: &str) -> TrackedDoor {
    let flags = FlagRule { required: TcpFlags::SYN, excluded: TcpFlags::ACK };
    TrackedDoor { flags, ..door("a", sequence) }
}

#[test]
fn flags_that_do_not_fit_are_told_where_they_would_have_been_a_knock() {
    let mut scene = Scene::new(vec![syn_only("1,2,3")]);
    let ack = |scene: &mut Scene, step| {
        let packet = Knock { flags: TcpFlags::ACK, ..scene.packet(7, step) };
        scene.take(&packet)
    };
    let (flags, rule) = (TcpFlags::ACK, scene.tracker.doors()[0].flags);
    let told = |knock| [event(0, 7, What::Unfit { knock, flags, rule })];
    assert_eq!(ack(&mut scene, "1"), told(1));
    assert_eq!(ack(&mut scene, "2"), []);
    scene.knocks(7, "1 2");
    assert_eq!(ack(&mut scene, "3"), told(3));
    assert_eq!(ack(&mut scene, "2"), []);
    assert_eq!(ack(&mut scene, "1"), told(1));
    assert_eq!(scene.knocks(7, "3"), [0]);
    assert_eq!(ack(&mut scene, "3"), []);
    assert_eq!(ack(&mut scene, "1"), told(1));
}

#[test]
fn a_packet_that_was_a_knock_is_not_told_as_something_else() {
    let mut scene = Scene::new(vec![syn_only("1,1,2")]);
    let packets = ["1", "1", "2"].map(|step| scene.packet(7, step));
    for packet in &packets {
        scene.take(packet);
        for seen in &packets[..1] {
            let unfit = Knock { flags: TcpFlags::ACK, ..*seen };
            assert_eq!(scene.take(&unfit), []);
            let mut events = Vec::new();
            scene.tracker.handle_knock(seen, false, scene.now, &mut events);
            assert_eq!(events, []);
        }
    }
}

#[test]
fn another_address_is_told_where_it_would_have_been_a_knock() {
    let target: Option<IpAddr> = "203.0.113.9".parse().ok();
    let mut scene = Scene::new(vec![TrackedDoor { target, ..door("a", "1,2") }, door("b", "8,2")]);
    let packet = scene.packet(7, "1");
    let destination = packet.destination;
    assert_eq!(scene.take(&packet), [event(0, 7, What::Elsewhere { knock: 1, destination, target })]);
    assert_eq!(scene.tracker.attempts(), 0);
    scene.knock(7, "8");
    let packet = scene.packet(7, "2");
    let mut events = Vec::new();
    scene.tracker.handle_knock(&packet, false, scene.now, &mut events);
    assert_eq!(events, [event(1, 7, What::Elsewhere { knock: 2, destination, target: None })]);
    assert_eq!(scene.knocks(7, "2"), [1]);
}

fn for_some(name: &str, sequence: &str, networks: &[&str]) -> TrackedDoor {
    let allow_from = networks.iter().map(|network| network.parse().unwrap()).collect();
    TrackedDoor { allow_from, ..door(name, sequence) }
}

#[test]
fn only_who_is_allowed_makes_an_attempt() {
    let networks = ["192.0.2.8/29", "2001:db8::/32"];
    let mut scene = Scene::new(vec![for_some("a", "1,2", &networks), door("b", "3,4")]);
    assert_eq!(scene.knock(7, "1"), [event(0, 7, What::NotAllowed)]);
    assert_eq!(scene.knock(7, "2"), []);
    assert_eq!(scene.tracker.attempts(), 0);
    assert_eq!(scene.knocks(8, "1 2"), [0]);
    scene.knock(7, "3");
    assert_eq!(scene.knock(7, "2"), [], "no port of a door for this source, so no wrong port");
    assert_eq!(scene.knocks(7, "4"), [1]);
    let v6 = Knock { source: "2001:db8::7".parse().unwrap(), ..scene.packet(7, "1") };
    assert_eq!(scene.take(&v6)[0].what, What::Stage(1));
}

#[test]
fn an_attempt_of_who_is_no_longer_allowed_ends() {
    let mut scene = Scene::new(vec![door("a", "1,2")]);
    scene.knock(7, "1");
    scene.knock(8, "1");
    scene.tracker = scene.tracker.reconfigured(vec![for_some("a", "1,2", &["192.0.2.8"])], MAX_ATTEMPTS);
    assert_eq!(scene.tracker.attempts(), 1);
    assert_eq!(scene.knocks(7, "2"), [0; 0]);
    assert_eq!(scene.knocks(8, "2"), [0]);
}

#[test]
fn lists_what_is_under_way_and_what_cools_down() {
    let cooling = TrackedDoor { cooldown: Duration::from_secs(60), ..door("cooling", "8,9") };
    let mut scene = Scene::new(vec![door("a", "1,2,3"), cooling, door("short", "4")]);
    scene.knock(7, "1");
    scene.wait(1000);
    scene.knock(7, "2");
    scene.knocks(8, "8 9 4");
    let mut list: Vec<_> = scene.tracker.list().collect();
    list.sort_by_key(|attempt| attempt.door);
    let at = Timestamp::from_millis;
    let view = |door, from, stage, of, since, until, state| AttemptView {
        door,
        source: source(from),
        stage,
        of,
        since: at(since),
        until: at(until),
        state,
    };
    let expected = [
        view(0, 7, 2, 3, 1000, 6000, AttemptState::UnderWay),
        view(1, 8, 2, 2, 2000, 62_000, AttemptState::CoolingDown),
    ];
    assert_eq!(list, expected, "the complete one is left out");
    scene.wait(60_000);
    assert_eq!(scene.tracker.list().count(), 0);
}

#[test]
fn timeouts_happen_on_time_and_touch_nobody_else() {
    let quick = TrackedDoor { timeout: Duration::from_millis(250), ..door("quick", "1,3") };
    let mut scene = Scene::new(vec![door("a", "1,2"), quick]);
    scene.knock(7, "1");
    scene.wait(100);
    scene.knock(8, "1");
    assert_eq!(scene.tracker.next_deadline(), Some(Timestamp::from_millis(1250)));
    assert_eq!(scene.wait(149), []);
    assert_eq!(scene.wait(1), [event(1, 7, What::TimedOut(1))]);
    assert_eq!(scene.knocks(8, "3"), [1]);
    assert_eq!(scene.knocks(8, "2"), [0; 0], "port 3 was wrong for door a");
    assert_eq!(scene.knocks(7, "2"), [0]);
    scene.wait(130_000);
    assert_eq!(scene.tracker.next_deadline(), None);
    assert_eq!(scene.tracker.attempts(), 0);
}

#[test]
fn the_clock_starts_at_the_first_knock() {
    let mut scene = Scene::new(vec![door("a", "1,2,3")]);
    scene.knock(7, "1");
    scene.wait(4999);
    scene.knock(7, "2");
    assert_eq!(scene.wait(1), [event(0, 7, What::TimedOut(2))]);
}

#[test]
fn one_knock_may_advance_several_doors() {
    let mut scene = Scene::new(vec![door("a", "1,2,3"), door("b", "1,2,4"), door("c", "2,5")]);
    assert_eq!(scene.knocks(7, "1 2"), [0; 0]);
    assert_eq!(scene.knocks(7, "3"), [0]);
    let mut scene = Scene::new(vec![door("a", "1,2,3"), door("b", "1,2,3")]);
    assert_eq!(scene.knocks(7, "1 2 3"), [0, 1]);
}

#[test]
fn a_hundred_who_finish_at_once_all_get_in() {
    let mut scene = Scene::new(vec![door("a", "1,2,3")]);
    for step in ["1", "2"] {
        for from in 0..100 {
            scene.knock(from, step);
        }
    }
    let opened: Vec<_> = (0..100).flat_map(|from| scene.knocks(from, "3")).collect();
    assert_eq!(opened, [0; 100]);
}

#[test]
fn a_cool_down_passes_knocks_over() {
    let mut scene = Scene::new(vec![TrackedDoor { cooldown: Duration::from_secs(2), ..door("a", "1,2") }]);
    assert_eq!(scene.knocks(7, "1 2"), [0]);
    scene.wait(1999);
    assert_eq!(scene.knock(7, "1"), [event(0, 7, What::CoolingDown)]);
    assert_eq!(scene.knocks(7, "1 2"), [0; 0]);
    assert_eq!(scene.knocks(8, "1 2"), [0], "others are free");
    scene.wait(1);
    assert_eq!(scene.knocks(7, "1 2"), [0]);
}

#[test]
fn a_one_time_sequence_opens_once() {
    let mut scene = Scene::new(vec![TrackedDoor { one_time: true, ..door("a", "1,2") }]);
    scene.knocks(8, "1");
    assert_eq!(scene.knocks(7, "1 2"), [0]);
    assert_eq!(scene.knocks(8, "2"), [0; 0], "another's attempt on the used sequence ends");
    assert_eq!(scene.knocks(7, "1 2"), [0; 0]);
    scene.tracker.set_sequence(0, Some(Sequence::parse("3,4").unwrap()));
    assert_eq!(scene.knocks(7, "3 4"), [0]);
}

#[test]
fn attempts_go_on_after_a_change_of_the_configuration() {
    let mut scene = Scene::new(vec![door("gone", "8,9"), door("kept", "1,2,3"), door("changed", "1,2,4")]);
    scene.knocks(7, "1 2");
    scene.wait(1000);
    scene.knocks(8, "8");
    let longer = TrackedDoor { timeout: Duration::from_secs(9), ..door("kept", "1,2,5") };
    scene.tracker =
        scene.tracker.reconfigured(vec![door("changed", "2,1,4"), longer, door("new", "8,9")], MAX_ATTEMPTS);
    assert_eq!(scene.tracker.attempts(), 1);
    assert_eq!(scene.wait(7999), []);
    assert_eq!(scene.knocks(7, "5"), [1]);
}

/// The events that are about more than a packet that was passed over.
fn decisions(events: Vec<Event>) -> Vec<Event> {
    let told_only = |what| matches!(what, What::Unfit { .. } | What::Elsewhere { .. } | What::NotAllowed);
    events.into_iter().filter(|event| !told_only(event.what)).collect()
}

fn listed(tracker: &Tracker) -> Vec<AttemptView> {
    let mut list: Vec<_> = tracker.list().collect();
    list.sort_by_key(|attempt| (attempt.source, attempt.door));
    list
}

/// The rules again, as slowly and plainly as they can be written: a list, and no store.
#[derive(Default)]
struct Model {
    attempts: Vec<(u32, usize, usize, u64)>,
}

impl Model {
    fn knock(&mut self, doors: &[(Vec<Step>, u64)], from: u32, step: Step, now: u64) -> Vec<DoorIndex> {
        let mut opened = Vec::new();
        if !doors.iter().any(|(steps, _)| steps.contains(&step)) {
            return opened;
        }
        for (index, (steps, timeout)) in doors.iter().enumerate() {
            let mine = |(source, door, ..): &(u32, usize, usize, u64)| (*source, *door) == (from, index);
            self.attempts.retain(|attempt| !mine(attempt) || attempt.3 + timeout > now);
            let at = self.attempts.iter().position(mine);
            let reached = at.map_or(0, |at| self.attempts[at].2);
            let mut keep = |attempts: &mut Vec<_>, reached, since| {
                attempts.retain(|attempt| !mine(attempt));
                if reached == steps.len() {
                    opened.push(index as DoorIndex);
                } else if reached > 0 {
                    attempts.push((from, index, reached, since));
                }
            };
            let since = at.map_or(now, |at| self.attempts[at].3);
            if steps[reached] == step {
                keep(&mut self.attempts, reached + 1, since);
            } else if reached > 1 && steps[reached - 1] == step {
            } else if steps[0] == step {
                keep(&mut self.attempts, 1, now);
            } else {
                keep(&mut self.attempts, 0, now);
            }
        }
        opened
    }
}

proptest! {
    /// Any traffic opens the same doors by the plain rules and by the tracker, which holds on to no more than it may.
    #[test]
    fn agrees_with_the_plain_rules(
        sequences in proptest::collection::vec(proptest::collection::vec(1_u16..5, 1..5), 1..4),
        packets in proptest::collection::vec((0_u32..3, 1_u16..6, 0_u64..2000), 0..80),
    ) {
        let steps = |ports: &[u16]| ports.iter().map(|port| Step { port: *port, protocol: Protocol::Tcp }).collect();
        let timeout = |index: usize| 3000 + 500 * (index as u64 % 2);
        let doors: Vec<(Vec<Step>, u64)> =
            sequences.iter().enumerate().map(|(index, ports)| (steps(ports), timeout(index))).collect();
        let tracked = sequences.iter().enumerate().map(|(index, ports)| {
            let written: Vec<_> = ports.iter().map(u16::to_string).collect();
            TrackedDoor { timeout: Duration::from_millis(timeout(index)), ..door(&index.to_string(), &written.join(",")) }
        });
        let mut scene = Scene::new(tracked.collect());
        let mut model = Model::default();
        for (from, port, pause) in packets {
            scene.wait(pause);
            let now = scene.now.as_nanos() / 1_000_000;
            let step = Step { port, protocol: Protocol::Tcp };
            let expected: HashSet<_> = model.knock(&doors, from, step, now).into_iter().collect();
            let opened: HashSet<_> = scene.knocks(from, &step.to_string()).into_iter().collect();
            prop_assert_eq!(opened, expected);
        }
        scene.wait(130_000);
        prop_assert_eq!(scene.tracker.attempts(), 0);
        prop_assert_eq!(scene.tracker.next_deadline(), None);
    }

    /// What is only told changes nothing, costs no room and is told once for a packet and door.
    #[test]
    fn what_is_passed_over_changes_nothing(
        packets in proptest::collection::vec((0_u32..3, 1_u16..5, 0_u64..2000, 0_u8..4), 0..80),
    ) {
        let doors = || vec![syn_only("1,2,3"), for_some("b", "2,1,2,4", &["192.0.2.0/31"]), syn_only("1")];
        let (mut scene, mut quiet) = (Scene::new(doors()), Scene::new(doors()));
        for (from, port, pause, kind) in packets {
            let (told, expected) = (scene.wait(pause), quiet.wait(pause));
            prop_assert_eq!(told, expected);
            let knock = scene.packet(from, &port.to_string());
            let mut events = Vec::new();
            if kind > 0 {
                prop_assert_eq!(decisions(scene.take(&knock)), decisions(quiet.take(&knock)));
            } else {
                scene.tracker.handle_knock(&knock, false, scene.now, &mut events);
                let doors: HashSet<_> = events.iter().map(|event| event.door).collect();
                prop_assert_eq!(doors.len(), events.len());
                prop_assert_eq!(decisions(events), []);
            }
            prop_assert_eq!(listed(&scene.tracker), listed(&quiet.tracker));
            prop_assert_eq!(scene.tracker.attempts(), quiet.tracker.attempts());
        }
    }
}
