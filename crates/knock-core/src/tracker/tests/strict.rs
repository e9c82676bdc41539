//! Strict doors.

use super::*;

fn strict(sequence: &str) -> TrackedDoor {
    TrackedDoor { strict: true, ..door("strict", sequence) }
}

fn spoiled(events: &[Event]) -> bool {
    matches!(events, [Event { what: What::Spoiled { .. }, .. }])
}

fn with_flags(scene: &mut Scene, step: &str, flags: TcpFlags) -> Vec<Event> {
    let packet = Knock { flags, ..scene.packet(7, step) };
    scene.take(&packet)
}

#[test]
fn any_other_port_ends_an_attempt() {
    for wrong in ["80", "80:udp", "3:udp", "65535", "4"] {
        for knocked in ["1", "1 2"] {
            let mut scene = Scene::new(vec![strict("1,2,3,4"), door("other", "9")]);
            scene.knocks(7, knocked);
            let [event] = scene.knock(7, wrong)[..] else { panic!("{wrong} behind {knocked}") };
            let stage = knocked.split(' ').count();
            let (hit, expected) = (Step::parse(wrong).unwrap(), Step::parse(["2", "3"][stage - 1]).unwrap());
            assert_eq!(event, self::event(0, 7, What::Spoiled { stage, hit, expected, named: wrong == "4" }));
            assert_eq!(scene.tracker.attempts(), 0);
        }
    }
}

#[test]
fn an_attempt_on_a_door_that_is_not_strict_goes_on_beside_it() {
    let mut scene = Scene::new(vec![strict("1,2,3"), door("loose", "1,2,4")]);
    scene.knocks(7, "1 2");
    assert!(spoiled(&scene.knock(7, "80")));
    assert_eq!(scene.knocks(7, "4"), [1]);
}

#[test]
fn the_ports_that_may_come_do_not_spoil() {
    let mut scene = Scene::new(vec![strict("1,2,3")]);
    let packets = ["1", "2"].map(|step| scene.packet(7, step));
    for packet in &packets {
        scene.take(packet);
    }
    for packet in &packets {
        assert_eq!(scene.take(packet), [], "sent again");
    }
    assert_eq!(scene.knock(7, "2"), [], "the port just accepted");
    assert_eq!(scene.knock(7, "1"), [stage(0, 7, 1)], "the first begins anew");
    assert_eq!(scene.knocks(7, "2 3"), [0]);
}

#[test]
fn what_belongs_to_a_connection_does_not_spoil() {
    let (ack, syn) = (TcpFlags::ACK, TcpFlags::SYN);
    let no_try = [ack, syn.union(ack), TcpFlags::RST, TcpFlags::FIN, syn.union(TcpFlags::RST), TcpFlags::PSH];
    for syn_only in [true, false] {
        let rule = FlagRule { required: syn, excluded: ack };
        let flags = if syn_only { rule } else { FlagRule::default() };
        let mut scene = Scene::new(vec![TrackedDoor { flags, ..strict("1,2,3") }, door("other", "9")]);
        scene.knocks(7, "1");
        for flags in no_try {
            for port in ["80", "443"] {
                assert_eq!(with_flags(&mut scene, port, flags), [], "{flags:?} to {port}");
            }
            with_flags(&mut scene, "9", flags);
            assert_eq!(scene.tracker.list().filter(|attempt| attempt.door == 0).count(), 1, "{flags:?}");
        }
        assert_eq!(scene.knocks(7, "2 3"), [0]);
    }
}

#[test]
fn a_port_of_the_door_itself_spoils_by_any_packet_that_the_door_takes() {
    let mut scene = Scene::new(vec![strict("1,2,3,4")]);
    scene.knocks(7, "1 2");
    assert!(spoiled(&with_flags(&mut scene, "4", TcpFlags::ACK)));
}

#[test]
fn a_try_spoils_even_where_the_door_does_not_take_its_flags() {
    let rule = FlagRule { required: TcpFlags::PSH, excluded: TcpFlags::default() };
    let mut scene = Scene::new(vec![TrackedDoor { flags: rule, ..strict("1,2,3") }]);
    with_flags(&mut scene, "1", TcpFlags::PSH);
    let unfit = What::Unfit { knock: 2, flags: TcpFlags::SYN, rule };
    assert_eq!(with_flags(&mut scene, "2", TcpFlags::SYN), [event(0, 7, unfit)], "the next port");
    assert!(spoiled(&with_flags(&mut scene, "3", TcpFlags::SYN)));
}

#[test]
fn only_packets_to_the_host_at_which_the_door_is_knocked_spoil() {
    let target: Option<IpAddr> = "203.0.113.9".parse().ok();
    let mut scene = Scene::new(vec![strict("1,2,3"), TrackedDoor { target, ..strict("1,2,3") }]);
    let to = |scene: &mut Scene, destination: Option<IpAddr>, step| {
        let packet = scene.packet(7, step);
        let knock = Knock { destination: destination.unwrap_or(packet.destination), ..packet };
        let mut events = Vec::new();
        scene.tracker.handle_knock(&knock, destination.is_none(), scene.now, &mut events);
        events.into_iter().filter(|event| matches!(event.what, What::Spoiled { .. })).collect::<Vec<_>>()
    };
    for destination in [None, target] {
        to(&mut scene, destination, "1");
    }
    assert_eq!(to(&mut scene, "203.0.113.8".parse().ok(), "80"), []);
    assert_eq!(to(&mut scene, target, "80")[0].door, 1);
    assert_eq!(scene.tracker.attempts(), 1);
    assert_eq!(to(&mut scene, None, "80")[0].door, 0);
}

#[test]
fn what_is_open_or_cools_down_is_not_touched() {
    let cooling = TrackedDoor { cooldown: Duration::from_secs(9), ..strict("3,4") };
    let mut scene = Scene::new(vec![strict("1,2"), cooling]);
    assert_eq!(scene.knocks(7, "1 2 3 4"), [0, 1]);
    assert_eq!(scene.knock(7, "80"), []);
    assert_eq!(scene.tracker.attempts(), 2);
}

#[test]
fn a_stranger_at_a_port_of_no_door_takes_no_room_and_is_not_told() {
    let mut scene = Scene::new(vec![strict("1,2,3")]);
    scene.knock(7, "1");
    assert_eq!(scene.knock(8, "80"), []);
    assert_eq!(scene.tracker.attempts(), 1);
    assert_eq!(scene.knocks(7, "2 3"), [0]);
}

#[test]
fn ports_of_doors_are_known() {
    let mut scene = Scene::new(vec![TrackedDoor { one_time: true, ..strict("1,2:udp") }, door("b", "3,1")]);
    let names = |scene: &Scene, step| scene.tracker.names(Step::parse(step).unwrap());
    assert!(names(&scene, "1") && names(&scene, "2:udp") && names(&scene, "3"));
    assert!(!names(&scene, "2") && !names(&scene, "1:udp") && !names(&scene, "4"));
    scene.knocks(7, "1 2:udp");
    assert!(names(&scene, "1") && !names(&scene, "2:udp"), "the sequence is used up");
}

#[test]
fn tells_whom_to_watch() {
    let mut scene = Scene::new(vec![strict("1,2,3,4"), door("loose", "1,2,9")]);
    let watched = |scene: &Scene, limit| scene.tracker.watch(limit);
    assert!(watched(&scene, 9).is_empty());
    for (from, steps) in [(1, "1"), (2, "1 2"), (3, "1 2 3"), (4, "1 2"), (5, "1"), (6, "1 2 3 4")] {
        scene.knocks(from, steps);
    }
    let far_and_late_first = [3, 4, 2, 5, 1].map(source);
    assert_eq!(watched(&scene, 9), far_and_late_first);
    for limit in 0..5 {
        assert_eq!(watched(&scene, limit), far_and_late_first[..limit]);
    }
    scene.wait(5000);
    assert!(watched(&scene, 9).is_empty());
}

#[test]
fn a_source_is_watched_once() {
    let mut scene = Scene::new((0..4).map(|_| strict("1,2")).collect());
    for from in [1, 2] {
        scene.knock(from, "1");
    }
    assert_eq!(scene.tracker.watch(9), [2, 1].map(source));
}

#[test]
fn the_version_tells_whether_to_look_whom_to_watch() {
    let mut scene = Scene::new(vec![strict("1,2,3"), door("loose", "7,8,9")]);
    let mut seen = vec![scene.tracker.watch_version()];
    let mut changed = |scene: &Scene| {
        let version = scene.tracker.watch_version();
        let new = !seen.contains(&version);
        seen.push(version);
        new
    };
    for (step, expected) in [("1", true), ("1", true), ("2", true), ("2", false), ("3", true), ("80", false)]
    {
        scene.knock(1, step);
        assert_eq!(changed(&scene), expected, "{step}");
    }
    scene.knocks(2, "7 8 9");
    assert!(!changed(&scene), "a door that is not strict");
    scene.knock(3, "1");
    assert!(changed(&scene));
    scene.wait(5000);
    assert!(changed(&scene), "timed out");
}

#[test]
fn being_strict_comes_and_goes_with_the_configuration() {
    let mut scene = Scene::new(vec![door("a", "1,2,3")]);
    scene.knock(7, "1");
    let strict = TrackedDoor { strict: true, ..door("a", "1,2,3") };
    scene.tracker = scene.tracker.reconfigured(vec![strict], MAX_ATTEMPTS);
    assert_eq!(scene.tracker.watch(9), [source(7)]);
    assert!(spoiled(&scene.knock(7, "80")));
}

/// A small generator of numbers, the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }

    fn shuffled(&mut self, length: u16) -> Vec<u16> {
        let mut ports: Vec<_> = (1..=length).collect();
        for last in (1..ports.len()).rev() {
            ports.swap(last, self.below(last + 1));
        }
        ports
    }
}

/// In how many of so many scans of all these ports, each in an order of its own, the door opens.
fn opened_by_scans(door: &TrackedDoor, ports: u16, scans: u32) -> usize {
    let mut numbers = Numbers(1);
    let mut scene = Scene::new(vec![door.clone()]);
    let mut opened = 0;
    for scanner in 0..scans {
        for port in numbers.shuffled(ports) {
            opened += scene.knocks(scanner, &port.to_string()).len();
        }
        scene.wait(5000);
    }
    opened
}

#[test]
fn scans_open_no_strict_door() {
    for sequence in ["70,20,90", "70,20,90,40", "70,20,90,40,10,60", "1,2,3", "10,20,30,40,50,60"] {
        assert_eq!(opened_by_scans(&strict(sequence), 150, 300), 0, "{sequence}");
    }
    let mut scene = Scene::new(vec![strict("10,20,30")]);
    let in_order: Vec<_> = (1..100).map(|port: u16| port.to_string()).collect();
    assert_eq!(scene.knocks(7, &in_order.join(" ")), [0; 0]);
}

/// Three ports stand in one of six orders.
#[test]
fn scans_open_a_door_of_three_ports_that_is_not_strict_one_time_in_six() {
    let opened = opened_by_scans(&door("loose", "70,20,90"), 100, 600);
    assert!((60..150).contains(&opened), "{opened} of 600");
}
