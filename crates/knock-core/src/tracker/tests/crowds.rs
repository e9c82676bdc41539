//! Many attempts, and little room.

use super::*;

/// A tracker with room for so many, and for so many buckets of those that fade.
fn crowded(doors: Vec<TrackedDoor>, capacity: usize, buckets: usize) -> Scene {
    let tracker = Tracker::with_buckets(doors, capacity, buckets);
    Scene { tracker, now: Timestamp::from_millis(1000), packets: 0 }
}

fn long_lived(sequence: &str) -> TrackedDoor {
    TrackedDoor { timeout: Duration::from_secs(60), ..door("a", sequence) }
}

/// Who stays in the pool, without what has faded.
fn stay(scene: &Scene) -> HashSet<IpAddr> {
    scene.tracker.list().map(|attempt| attempt.source).collect()
}

fn knock_v6(scene: &mut Scene, from: &str, step: &str) -> Vec<Event> {
    let packet = Knock { source: from.parse().unwrap(), ..scene.packet(0, step) };
    scene.take(&packet)
}

#[test]
fn who_knows_as_much_takes_room_from_each_other_and_from_nobody_else() {
    let mut scene = crowded(vec![long_lived("1,2,3,4")], 24, 64);
    for (from, steps) in [(1, "1 2 3"), (2, "1 2"), (3, "1")] {
        scene.knocks(from, steps);
    }
    for flood in 1000..1100 {
        assert_eq!(scene.knock(flood, "1"), [stage(0, flood, 1)], "nobody else is told of");
    }
    assert_eq!(scene.tracker.attempts(), 12 + 2);
    assert!(stay(&scene).is_superset(&[1, 2, 1088, 1099].map(source).into()));
    for flood in 2000..2100 {
        scene.knocks(flood, "1 2");
    }
    assert_eq!(scene.tracker.attempts(), 11 + 4 + 1, "the first knock of the last has become a second");
    assert!(stay(&scene).is_superset(&[1, 2097, 2098, 2099].map(source).into()));
    for flood in 3000..3100 {
        scene.knocks(flood, "1 2 3");
    }
    assert_eq!(scene.tracker.attempts(), 11 + 3 + 4);
    assert!(stay(&scene).is_superset(&[3096, 3097, 3098, 3099].map(source).into()));
}

#[test]
fn who_is_longest_without_a_knock_leaves_whether_his_door_is_strict_or_not() {
    let strict = TrackedDoor { strict: true, ..door("strict", "3,4") };
    let mut scene = crowded(vec![door("loose", "1,2"), strict], 8, 64);
    for (from, step) in ["1", "3", "3", "1", "3", "1", "3", "3", "1"].into_iter().enumerate() {
        scene.knock(from as u32, step);
        scene.wait(1);
    }
    assert_eq!(stay(&scene), [5, 6, 7, 8].map(source).into());
}

#[test]
fn those_whose_door_has_opened_take_room_from_each_other() {
    let cooling = TrackedDoor { cooldown: Duration::from_secs(60), ..door("a", "1,2") };
    let mut scene = crowded(vec![cooling], 24, 64);
    scene.knock(1, "1");
    for flood in 1000..1100 {
        assert_eq!(scene.knocks(flood, "1 2"), [0]);
    }
    assert_eq!(scene.tracker.attempts(), 1 + 4);
    assert_eq!(scene.tracker.counters().lost, 96);
    assert_eq!(scene.knock(1099, "1"), [event(0, 1099, What::CoolingDown)]);
    assert_eq!(scene.knocks(1, "2"), [0]);
}

#[test]
fn who_had_to_leave_goes_on_at_the_next_knock() {
    for strict in [false, true] {
        let mut scene = crowded(vec![TrackedDoor { strict, ..long_lived("1,2,3") }], 8, 512);
        scene.knock(1, "1");
        for flood in 1000..1100 {
            scene.knock(flood, "1");
        }
        assert!(!stay(&scene).contains(&source(1)));
        assert_eq!(scene.knock(1, "2"), [stage(0, 1, 2)]);
        for flood in 2000..2010 {
            scene.knocks(flood, "1 2");
        }
        assert!(!stay(&scene).contains(&source(1)));
        assert_eq!(scene.knocks(1, "3"), [0]);
        let counters = scene.tracker.counters();
        assert_eq!((counters.lost, counters.over_budget), (0, 0));
        assert!(counters.faded > 100 && counters.revived == 2);
    }
}

/// Knocks of an attempt, which has to leave a millisecond after each.
fn knock_and_fade(scene: &mut Scene, steps: &str) {
    for (index, step) in steps.split(' ').enumerate() {
        scene.knock(1, step);
        scene.wait(1);
        let steps = ["1", "1 2", "1 2 3"][index];
        for flood in 0..20 {
            scene.knocks(1000 * (index as u32 + 1) + flood, steps);
        }
        assert!(!stay(scene).contains(&source(1)));
    }
}

#[test]
fn a_faded_attempt_keeps_its_clock() {
    let mut scene =
        crowded(vec![TrackedDoor { timeout: Duration::from_millis(2500), ..long_lived("1,2,3") }], 8, 64);
    knock_and_fade(&mut scene, "1");
    scene.wait(1999);
    assert_eq!(scene.knock(1, "2"), [stage(0, 1, 2)]);
    assert_eq!(scene.tracker.next_deadline(), Some(Timestamp::from_millis(3500)));
    assert_eq!(scene.wait(499), []);
    assert_eq!(scene.wait(1), [event(0, 1, What::TimedOut(2))]);
    knock_and_fade(&mut scene, "1 2");
    scene.wait(2500);
    assert_eq!(scene.knock(1, "3"), [event(0, 1, What::Unbegun(3))]);
}

#[test]
fn a_faded_attempt_begins_anew_at_the_first_port() {
    let mut scene = crowded(vec![door("a", "1,2,3,4")], 8, 64);
    knock_and_fade(&mut scene, "1");
    scene.wait(4000);
    assert_eq!(scene.knock(1, "1"), [stage(0, 1, 1)]);
    scene.wait(4000);
    assert_eq!(scene.knocks(1, "2 3 4"), [0]);
    knock_and_fade(&mut scene, "1 2");
    assert_eq!(scene.knock(1, "1"), [stage(0, 1, 1)]);
    assert_eq!(scene.knocks(1, "3"), [0; 0]);
}

#[test]
fn a_wrong_port_of_the_door_ends_a_faded_attempt() {
    let mut scene = crowded(vec![door("a", "1,2,3,4")], 8, 64);
    knock_and_fade(&mut scene, "1 2");
    let (hit, expected) = (Step::parse("4").unwrap(), Step::parse("3").unwrap());
    assert_eq!(scene.knock(1, "4"), [event(0, 1, What::Spoiled { stage: 2, hit, expected, named: true })]);
    assert_eq!(scene.knock(1, "3"), [event(0, 1, What::Unbegun(3))]);
}

/// The first knock begins anew without a look at what has faded.
#[test]
fn nothing_earlier_comes_back_after_an_attempt_has_ended() {
    let patient = TrackedDoor { timeout: Duration::from_secs(600), ..door("a", "1,2,3") };
    for (last, opens) in [("3", false), ("2 3", true)] {
        let mut scene = crowded(vec![patient.clone()], 8, 64);
        scene.knock(1, "1");
        for flood in 1000..1020 {
            scene.knock(flood, "1");
        }
        scene.knock(1, "1");
        assert_eq!(!scene.knocks(1, last).is_empty(), opens);
        scene.wait(130_000);
        assert_eq!(scene.knocks(1, "2 3"), [0; 0], "behind {last}");
    }
}

#[test]
fn what_fades_again_takes_the_place_of_the_earlier() {
    let mut scene = crowded(vec![door("a", "1,2,3")], 8, 64);
    for pause in [3000, 3000] {
        for from in 1..21 {
            scene.knock(from, "1");
        }
        for flood in 1000..1020 {
            scene.knock(flood, "1");
        }
        scene.wait(pause);
    }
    for from in 1..21 {
        assert_eq!(scene.knock(from, "2"), [stage(0, from, 2)]);
    }
}

#[test]
fn what_is_over_makes_place_whatever_it_knew() {
    let mut scene = crowded(vec![door("a", "1,2,3")], 4, 1);
    for advanced in 0..20 {
        scene.knocks(advanced, "1 2");
    }
    scene.wait(4000);
    for from in 40..43 {
        scene.knock(from, "1");
    }
    scene.wait(1000);
    let lost = scene.tracker.counters().lost;
    for from in 50..53 {
        scene.knock(from, "1");
    }
    assert_eq!(scene.tracker.attempts(), 2);
    assert_eq!(scene.knocks(41, "2 3"), [0]);
    assert_eq!(scene.tracker.counters().lost, lost);
}

#[test]
fn a_syn_that_comes_again_does_nothing_to_a_faded_attempt() {
    for steps in [["1", "1", "2"], ["1", "2", "2"], ["1", "2", "3"]] {
        let mut scene = crowded(vec![door("a", &format!("{},4", steps.join(",")))], 8, 64);
        let packets = steps.map(|step| scene.packet(1, step));
        for (index, packet) in packets.iter().enumerate() {
            assert_eq!(scene.take(packet), [stage(0, 1, index + 1)]);
            for flood in 0..20 {
                scene.knocks(1000 * (index as u32 + 1) + flood, &steps[..=index].join(" "));
            }
            assert!(!stay(&scene).contains(&source(1)));
            // As long as nobody with more than one knock has faded, a first port that comes once begins anew.
            if index > 0 || steps[1] == "1" {
                assert_eq!(scene.take(&packets[0]), [], "behind {index}");
                assert_eq!(scene.take(packet), [], "behind {index}");
            }
        }
        assert_eq!(scene.knocks(1, "4"), [0]);
    }
}

#[test]
fn who_knows_less_takes_no_place_of_who_has_faded_and_knows_more() {
    let mut scene = crowded(vec![long_lived("1,2,3")], 4, 1);
    for advanced in 0..6 {
        scene.knocks(advanced, "1 2");
    }
    for flood in 1000..1100 {
        scene.knock(flood, "1");
    }
    let opened: Vec<_> = (0..6).flat_map(|advanced| scene.knocks(advanced, "3")).collect();
    assert_eq!(opened, [0; 6]);
    assert!(scene.tracker.counters().lost > 80, "{:?}", scene.tracker.counters());
}

#[test]
fn the_oldest_of_those_who_know_as_much_is_forgotten_first() {
    let mut scene = crowded(vec![long_lived("1,2,3")], 2, 1);
    for from in 0..6 {
        scene.knock(from, "1");
        scene.wait(1);
    }
    for flood in 1000..1016 {
        scene.knock(flood, "1");
        scene.wait(1);
    }
    assert_eq!(scene.knocks(0, "2 3"), [0; 0]);
    assert_eq!(scene.knocks(1015, "2 3"), [0]);
    assert_eq!(scene.knocks(1014, "2 3"), [0]);
}

#[test]
fn memory_is_given_back_when_all_is_over() {
    let mut scene = crowded(vec![door("a", "1,2,3")], 8, 64);
    scene.knock(1, "1");
    scene.wait(1000);
    for flood in 1000..1100 {
        scene.knock(flood, "1");
    }
    scene.wait(4999);
    assert_eq!(scene.tracker.next_deadline(), Some(Timestamp::from_millis(7000)));
    assert!(!scene.tracker.faded.is_empty());
    scene.wait(1);
    assert!(scene.tracker.faded.is_empty());
    assert_eq!((scene.tracker.next_deadline(), scene.tracker.attempts()), (None, 0));
    assert_eq!(scene.knock(1050, "2"), [event(0, 1050, What::Unbegun(2))]);
}

/// Whatever is the last to fade, there is one timer.
#[test]
fn there_is_a_timer_for_the_memory_of_what_has_faded() {
    let slow = TrackedDoor { timeout: Duration::from_secs(50), ..door("slow", "8,9") };
    let mut scene = crowded(vec![slow, door("a", "1,2,3")], 2, 64);
    scene.knock(1, "8");
    scene.knock(2, "1");
    assert_eq!(scene.wait(5000), [event(1, 2, What::TimedOut(1))]);
    assert_eq!(scene.tracker.next_deadline(), Some(Timestamp::from_millis(51_000)));
    assert_eq!(scene.knocks(1, "9"), [0]);
}

#[test]
fn an_ipv6_network_has_room_for_sixty_four() {
    let mut scene = Scene::new(vec![door("a", "1,2,3")]);
    knock_v6(&mut scene, "2001:db8:0:2::1", "1");
    knock_v6(&mut scene, "2001:db8:0:1::ffff", "1");
    knock_v6(&mut scene, "2001:db8:0:1::ffff", "2");
    for host in 0..1000 {
        knock_v6(&mut scene, &format!("2001:db8:0:1::{host:x}"), "1");
    }
    assert_eq!(scene.tracker.attempts(), 1 + 64);
    let counters = Counters { over_budget: 1001 - 64, ..Counters::default() };
    assert_eq!(scene.tracker.counters(), counters, "and they do not fade");
    assert_eq!(openings(&knock_v6(&mut scene, "2001:db8:0:1::ffff", "3")), [0], "who has come further stays");
    knock_v6(&mut scene, "2001:db8:0:2::1", "2");
    assert_eq!(openings(&knock_v6(&mut scene, "2001:db8:0:2::1", "3")), [0]);
    knock_v6(&mut scene, "2001:db8:0:1::3e7", "2");
    assert_eq!(openings(&knock_v6(&mut scene, "2001:db8:0:1::3e7", "3")), [0], "the latest stays");
}

/// All of a site may knock, one after the other, whatever is remembered of those who were let in.
#[test]
fn more_than_the_budget_of_one_network_are_let_in() {
    let mut scene = Scene::new(vec![door("a", "1,2,3")]);
    for host in 0..300 {
        let from = format!("2001:db8::{host:x}");
        let opened: Vec<_> =
            ["1", "2", "3"].iter().flat_map(|step| openings(&knock_v6(&mut scene, &from, step))).collect();
        assert_eq!(opened, [0], "{from}");
    }
    assert_eq!(scene.tracker.attempts(), 64);
}

#[test]
fn one_knock_may_begin_as_many_attempts_as_there_are_doors() {
    let doors = (0..100).map(|n| door(&n.to_string(), &format!("1,{}", 1000 + n)));
    let mut scene = Scene::new(doors.collect());
    scene.knock(1, "1");
    assert_eq!(scene.tracker.attempts(), 100);
    scene.wait(1);
    for from in 2..200 {
        knock_v6(&mut scene, &format!("2001:db8::{from:x}"), "1");
        assert_eq!(scene.tracker.attempts(), 200, "the network of {from} has room for as many");
    }
}

#[test]
fn addresses_of_ipv4_are_nobody_elses() {
    let mut scene = Scene::new(vec![door("a", "1,2,3")]);
    for from in 0..1000 {
        scene.knock(from, "1");
        let mapped = format!("0:0:c000:{:x}::1", 0x200 + from);
        knock_v6(&mut scene, &mapped, "1");
    }
    assert_eq!(scene.tracker.attempts(), 2000);
    assert_eq!(scene.tracker.counters(), Counters::default());
}

#[test]
fn what_has_faded_goes_on_after_a_change_of_the_configuration_where_its_door_is_the_same() {
    let doors = |last: &str| vec![door("new", "7,8"), door("a", "1,2,3"), door("b", &format!("4,5,{last}"))];
    let mut scene = crowded(doors("6").split_off(1), 8, 64);
    for from in 0..20 {
        scene.knock(from, "1");
        scene.knock(100 + from, "4");
    }
    let faded = scene.tracker.counters().faded;
    assert_eq!(faded, 40 - 4);
    scene.tracker = scene.tracker.reconfigured(doors("9"), 8);
    assert_eq!(scene.knock(0, "2"), [stage(1, 0, 2)]);
    assert_eq!(scene.knocks(0, "3"), [1]);
    assert_eq!(scene.knock(100, "5"), [event(2, 100, What::Unbegun(2))]);
    assert!(scene.tracker.counters().faded >= faded);
}

#[test]
fn what_fades_after_a_change_of_the_configuration_has_its_new_time() {
    let mut scene = crowded(vec![door("a", "1,2,3")], 4, 1);
    for from in 0..10 {
        scene.knock(from, "1");
    }
    scene.tracker = scene.tracker.reconfigured(vec![long_lived("1,2,3")], 4);
    for from in 20..30 {
        scene.knocks(from, "1 2");
    }
    scene.wait(10_000);
    for from in 1000..1050 {
        scene.knock(from, "1");
    }
    assert_eq!(scene.knocks(28, "3"), [0]);
}

#[test]
fn a_faded_attempt_on_a_used_sequence_is_over() {
    let one_time = TrackedDoor { one_time: true, ..door("a", "1,2") };
    let mut scene = crowded(vec![one_time], 8, 64);
    for from in 0..20 {
        scene.knock(from, "1");
    }
    assert_eq!(scene.knocks(19, "2"), [0]);
    scene.tracker.set_sequence(0, Some(Sequence::parse("1,2").unwrap()));
    assert_eq!(scene.knocks(0, "2"), [0; 0]);
    assert_eq!(scene.knocks(0, "1 2"), [0]);
}

/// First knocks from made-up sources, one every five microseconds.
fn flood(scene: &mut Scene, sources: std::ops::Range<u32>) {
    let packet = scene.packet(0, "1");
    for from in sources {
        scene.now = scene.now + Duration::from_micros(5);
        scene.take(&Knock { source: source(1000 + from), fingerprint: from.into(), ..packet });
    }
}

#[test]
fn an_honest_knocker_gets_through_a_flood() {
    let mut scene = Scene::new(vec![TrackedDoor { strict: true, ..door("a", "1,2,3") }]);
    flood(&mut scene, 0..50_000);
    scene.knock(1, "1");
    flood(&mut scene, 50_000..150_000);
    assert_eq!(scene.knock(1, "2"), [stage(0, 1, 2)]);
    flood(&mut scene, 150_000..250_000);
    assert_eq!(scene.knocks(1, "3"), [0]);
}

#[test]
fn the_worst_flood_takes_no_more_than_17_mebibytes_and_gives_them_back() {
    let mut scene = Scene::new(vec![door("a", "1,2,3,4")]);
    for (class, steps) in ["1", "1 2", "1 2 3", "1 2 3 4"].into_iter().enumerate() {
        for from in 0..10_000 {
            scene.knocks(100_000 * class as u32 + from, steps);
        }
    }
    flood(&mut scene, 500_000..520_000);
    let bytes = |scene: &Scene| scene.tracker.pool.bytes() + scene.tracker.faded.bytes();
    assert!(scene.tracker.attempts() > MAX_ATTEMPTS - 8, "all classes are full");
    assert!(bytes(&scene) <= 17 << 20, "{} bytes", bytes(&scene));
    scene.wait(130_000);
    assert_eq!(bytes(&scene), 0);
}

/// Who has knocked what and when, by the exact source: an attempt can be no better than that.
#[derive(Default)]
struct Witness(HashMap<u32, Vec<(u16, u64)>>);

impl Witness {
    fn sees(&mut self, from: u32, port: u16, now: u64) {
        self.0.entry(from).or_default().push((port, now));
    }

    /// Whether these ports were knocked by this source, one behind the other and in this time. Knocks that opened a
    /// door are used up.
    fn accepts(&mut self, from: u32, ports: &[u16], timeout: u64, now: u64) -> bool {
        let knocks = self.0.remove(&from).unwrap_or_default();
        let mut left = ports.iter().rev().peekable();
        let recent = knocks.iter().rev().take_while(|(_, at)| now < at + timeout);
        for (port, _) in recent {
            left.next_if(|wanted| *wanted == port);
        }
        left.peek().is_none()
    }
}

proptest! {
    /// However little room there is, nothing but room is lost.
    #[test]
    fn stays_within_its_room(
        room in 4_usize..12,
        packets in proptest::collection::vec((0_u32..20, 1_u16..4, 0_u64..900), 0..200),
    ) {
        let mut scene = crowded(vec![door("a", "1,2,3"), door("b", "2,1"), door("c", "3")], room, 2);
        for (from, port, pause) in packets {
            scene.wait(pause);
            scene.knock(from, &port.to_string());
            prop_assert!(scene.tracker.attempts() <= room);
            let Counters { faded, revived, .. } = scene.tracker.counters();
            prop_assert!(revived <= faded);
        }
        scene.wait(130_000);
        prop_assert_eq!(scene.tracker.attempts(), 0);
        prop_assert!(scene.tracker.faded.is_empty());
        prop_assert_eq!(scene.tracker.next_deadline(), None);
    }

    /// Where there is room for what has faded, it makes no difference whether there is room for all.
    #[test]
    fn little_room_opens_the_same_doors(
        packets in proptest::collection::vec((0_u32..12, 1_u16..5, 0_u64..400), 0..150),
        strict: bool,
    ) {
        let doors = || vec![TrackedDoor { strict, ..door("a", "1,2,3") }];
        let (mut ample, mut little) = (Scene::new(doors()), crowded(doors(), 8, 64));
        for (from, port, pause) in packets {
            ample.wait(pause);
            little.wait(pause);
            let step = port.to_string();
            if port < 4 {
                prop_assert_eq!(ample.knocks(from, &step), little.knocks(from, &step));
            }
        }
    }

    /// Floods of those who know fewer ports cannot stop one who knows more, whatever he is waiting for.
    #[test]
    fn an_attempt_is_not_lost_to_those_who_know_less(
        knocked in 2_usize..5,
        floods in proptest::collection::vec((0_u32..100_000, 1_usize..5), 0..300),
    ) {
        let ports = ["1", "2", "3", "4", "5"];
        let mut scene = crowded(vec![long_lived("1,2,3,4,5")], 16, 1);
        scene.knocks(1, &ports[..knocked].join(" "));
        for (from, knows) in floods {
            let knows = knows.min(knocked - 1);
            scene.knocks(1000 + from, &ports[..knows].join(" "));
        }
        prop_assert_eq!(scene.knocks(1, &ports[knocked..].join(" ")), [0]);
    }

    /// Whoever is let in has knocked the whole sequence himself, and in time, however crowded it is.
    #[test]
    fn nobody_is_let_in_by_the_knocks_of_others(
        room in 4_usize..10,
        packets in proptest::collection::vec((0_u32..40, 1_u16..5, 0_u64..60), 0..400),
    ) {
        let timeout = |index: u32| 1000 + 700 * u64::from(index);
        let sequences: [&[u16]; 2] = [&[1, 2, 3], &[2, 1, 2, 4]];
        let doors = sequences.iter().enumerate().map(|(index, ports)| {
            let written: Vec<_> = ports.iter().map(u16::to_string).collect();
            let timeout = Duration::from_millis(timeout(index as u32));
            TrackedDoor { timeout, ..door(&index.to_string(), &written.join(",")) }
        });
        let mut scene = crowded(doors.collect(), room, 3);
        let mut witnesses = [Witness::default(), Witness::default()];
        for (from, port, pause) in packets {
            scene.wait(pause);
            let now = scene.now.as_nanos() / 1_000_000;
            for witness in &mut witnesses {
                witness.sees(from, port, now);
            }
            for index in scene.knocks(from, &port.to_string()) {
                let ports = sequences[index as usize];
                prop_assert!(witnesses[index as usize].accepts(from, ports, timeout(index), now));
            }
        }
    }

    /// However many addresses a network makes up, it takes the room of sixty-four, and nobody else's.
    #[test]
    fn a_network_takes_no_more_than_its_budget(
        hosts in proptest::collection::vec((any::<u64>(), 1_u16..4), 0..300),
    ) {
        let mut scene = Scene::new(vec![door("a", "1,2,3")]);
        scene.knock(1, "1");
        for (host, port) in hosts {
            let bits = 0x2001_0db8_u128 << 96 | u128::from(host);
            let packet = Knock { source: IpAddr::V6(bits.into()), ..scene.packet(0, &port.to_string()) };
            scene.take(&packet);
            prop_assert!(scene.tracker.attempts() <= 65);
        }
        prop_assert_eq!(scene.tracker.counters().faded, 0);
        prop_assert_eq!(scene.knocks(1, "2 3"), [0]);
    }
}
