//! Any bytes as a packet: decoded, held against what a knock must be, and followed by a tracker.

#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use knock_core::config::parse;
use knock_core::knock::Knock;
use knock_core::packet::{Frame, decode};
use knock_core::time::Timestamp;
use knock_core::tracker::{TrackedDoor, Tracker, What};
use libfuzzer_sys::fuzz_target;

/// The second opens by one knock, the others by none.
const DOORS: &[u8] = b"[a]\nsequence = 7142,8319:udp,5623\n[b]\nsequence = 7142:udp\n\
    [c]\nsequence = 8319:udp,7142\ntcpflags = syn,!ack\nopen = 22\n";
const OPENS_BY_ONE: u32 = 1;

static TRACKED: LazyLock<Vec<TrackedDoor>> = LazyLock::new(|| {
    let config = parse("doors", DOORS).config.expect("the doors are good");
    let tracked = config.doors.iter().map(|door| TrackedDoor::new(door, door.secret.fixed().cloned()));
    tracked.collect()
});

// Two bytes of EtherType, one that says how much of the packet was not captured, one of flags; the rest is
// the packet.
fuzz_target!(|input: &[u8]| {
    let Some(([high, low, beyond, flags], bytes)) = input.split_first_chunk() else { return };
    let frame = Frame {
        ether_type: u16::from_be_bytes([*high, *low]),
        bytes,
        wire_length: bytes.len() + usize::from(*beyond),
        loopback: *flags & 1 == 1,
        // Mostly: a fuzzer finds no checksums.
        checksum_trusted: *flags & 2 == 0,
    };
    let Some(knock) = decode(&frame) else { return };
    is_from_a_host(&knock, frame.loopback);
    stands_in(bytes, &knock);
    is_no_other(&frame, &knock);
    follow(&knock);
});

fn is_from_a_host(knock: &Knock, loopback: bool) {
    let Knock { source, destination, step, .. } = knock;
    assert!(step.port != 0 && !source.is_unspecified() && !source.is_multicast());
    assert_eq!(source.is_ipv4(), destination.is_ipv4());
    assert!(loopback || !source.is_loopback() && !destination.is_loopback());
    match source {
        IpAddr::V4(source) => assert!((1..=223).contains(&source.octets()[0])),
        IpAddr::V6(source) => assert_eq!(source.to_ipv4_mapped(), None),
    }
}

/// Nothing is made up: addresses and ports are in the bytes, in this order.
fn stands_in(bytes: &[u8], knock: &Knock) {
    let addresses = match (knock.source, knock.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => [source.octets(), destination.octets()].concat(),
        _ => unreachable!("both of one family"),
    };
    let ports = ((knock.fingerprint >> 32) as u32).to_be_bytes();
    assert_eq!(ports[2..], knock.step.port.to_be_bytes());
    let mut behind = bytes.windows(addresses.len()).enumerate().filter(|(_, window)| *window == addresses);
    assert!(behind.any(|(at, window)| bytes[at + window.len()..].windows(4).any(|window| window == ports)));
}

/// What is cut off, added behind, vouched for, or put behind a tag is no other knock.
fn is_no_other(frame: &Frame<'_>, knock: &Knock) {
    for captured in 0..frame.bytes.len().min(160) {
        let cut = decode(&Frame { bytes: &frame.bytes[..captured], ..*frame });
        assert!(cut.is_none_or(|cut| cut == *knock), "{captured} bytes: {cut:?} for {knock:?}");
    }
    if frame.wire_length == frame.bytes.len() {
        let padded = [frame.bytes, &[0xa5; 7]].concat();
        let padded = decode(&Frame { bytes: &padded, wire_length: padded.len(), ..*frame });
        assert_eq!(padded, Some(*knock));
    }
    assert_eq!(decode(&Frame { checksum_trusted: true, ..*frame }), Some(*knock));
    assert_eq!(decode(&Frame { loopback: true, ..*frame }), Some(*knock));
    let [high, low] = frame.ether_type.to_be_bytes();
    let tagged = [&[0, 5, high, low], frame.bytes].concat();
    let wire_length = frame.wire_length + 4;
    let tagged = decode(&Frame { ether_type: 0x8100, bytes: &tagged, wire_length, ..*frame });
    assert!(tagged.is_none_or(|tagged| tagged == *knock));
}

/// One knock, come twice, opens what one knock opens; then all of it is forgotten.
fn follow(knock: &Knock) {
    let mut tracker = Tracker::new(TRACKED.clone(), 4);
    let mut events = Vec::new();
    for second in 0..2 {
        tracker.handle_knock(knock, true, Timestamp::from_millis(second * 1000), &mut events);
    }
    for event in &events {
        assert_eq!(event.source, knock.source);
        assert!(event.what != What::Opening || event.door == OPENS_BY_ONE);
    }
    tracker.handle_timer(Timestamp::from_millis(1_000_000), &mut events);
    assert_eq!(tracker.attempts(), 0);
}
