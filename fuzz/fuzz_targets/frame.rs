//! Any bytes as a packet: decoded, and followed by a tracker.

#![no_main]

use knock_core::config::{SequenceSource, parse};
use knock_core::packet::{Frame, decode};
use knock_core::time::Timestamp;
use knock_core::tracker::{TrackedDoor, Tracker};
use libfuzzer_sys::fuzz_target;

const DOORS: &[u8] = b"[a]\nsequence = 7142,8319:udp,5623\n[b]\nsequence = 7142:udp\ntcpflags = syn,!ack\n";

fn doors() -> Vec<TrackedDoor> {
    let config = parse("doors", DOORS).config.expect("the doors are good");
    let tracked = config.doors.iter().map(|door| match &door.sequence {
        SequenceSource::Fixed(sequence) => TrackedDoor::new(door, Some(sequence.clone())),
        SequenceSource::OneTime(_) => TrackedDoor::new(door, None),
    });
    tracked.collect()
}

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
    assert!(knock.step.port != 0 && !knock.source.is_multicast() && !knock.source.is_unspecified());
    let mut tracker = Tracker::new(doors(), 4);
    let mut events = Vec::new();
    for second in 0..2 {
        tracker.handle_knock(&knock, true, Timestamp::from_millis(second * 1000), &mut events);
    }
    tracker.handle_timer(Timestamp::from_millis(1_000_000), &mut events);
    assert_eq!(tracker.attempts(), 0);
});
