//! Knocks that come again.

use super::*;

/// A sequence as long as one may be, of ports of which none is there twice.
fn long(strict: bool) -> TrackedDoor {
    let ports: Vec<_> = (1..=32).map(|port: u16| port.to_string()).collect();
    TrackedDoor { strict, ..door("long", &ports.join(",")) }
}

#[test]
fn a_syn_of_a_long_strict_sequence_that_is_sent_again_late_raises_no_false_alarm() {
    let mut scene = Scene::new(vec![TrackedDoor { timeout: Duration::from_secs(60), ..long(true) }]);
    let packets: Vec<_> = (1..=32).map(|port| scene.packet(7, &port.to_string())).collect();
    for (index, packet) in packets.iter().enumerate() {
        assert_eq!(scene.take(packet)[0], stage(0, 7, index + 1));
        for pause in [1000, 500] {
            scene.wait(pause);
            for earlier in &packets[..=index] {
                assert_eq!(scene.take(earlier), [], "behind {index}");
            }
        }
    }
}

#[test]
fn a_long_sequence_begins_anew_at_its_first_port_wherever_it_is() {
    for reached in 1..32 {
        let mut scene = Scene::new(vec![long(true)]);
        let ports: Vec<_> = (1..=reached).map(|port: u32| port.to_string()).collect();
        scene.knocks(7, &ports.join(" "));
        let anew = scene.knock(7, "1");
        assert_eq!(anew.len(), usize::from(reached > 1), "behind {reached}");
        assert_eq!(scene.tracker.list().next().map(|attempt| attempt.stage), Some(1));
    }
}

#[test]
fn a_port_passed_lately_is_wrong_for_another_packet() {
    for strict in [false, true] {
        let mut scene = Scene::new(vec![long(strict)]);
        scene.knocks(7, "1 2 3 4 5 6 7 8 9 10");
        assert!(matches!(scene.knock(7, "5")[..], [Event { what: What::Spoiled { stage: 10, .. }, .. }]));
    }
}

/// The tracker remembers two bytes of each knock; other packets of one source must not be taken for the same.
#[test]
fn other_packets_to_a_port_are_told_apart() {
    let mut scene = Scene::new(vec![door("a", "1,1,2")]);
    let port_and_number = |packet: u64| (40_000 + packet) << 48 | 1 << 32 | (packet * 64_000);
    let missed = (0..1000)
        .filter(|from| {
            for (index, step) in ["1", "1", "2"].into_iter().enumerate() {
                let fingerprint = port_and_number(3 * u64::from(*from) + index as u64);
                let packet = Knock { fingerprint, ..scene.packet(*from, step) };
                if index == 2 {
                    return openings(&scene.take(&packet)) != [0];
                }
                scene.take(&packet);
            }
            true
        })
        .count();
    assert!(missed <= 1, "{missed} of 1000");
}
