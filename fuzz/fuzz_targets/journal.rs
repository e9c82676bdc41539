//! Any bytes are read as a journal, and so are any lines with checksums that fit; what is kept of them reads the same
//! when it is written again.

#![no_main]

use knock_core::journal::{Clocks, HEADER, Kept, Record, encode, replay};
use knock_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let clocks = Clocks { boot: "a".into(), now: Timestamp::from_millis(1_000), wall: 1_000_000 };
    replay(bytes, &clocks);
    let mut summed = HEADER.as_bytes().to_vec();
    for line in bytes.split(|byte| *byte == b'\n') {
        summed.extend(format!("{:08x} ", crc32fast::hash(line)).bytes());
        summed.extend(line);
        summed.push(b'\n');
    }
    let read = replay(&summed, &clocks);
    let mut again = HEADER.as_bytes().to_vec();
    for Kept { entry, .. } in &read.kept {
        encode(&Record::Grant(entry.clone()), &clocks, &mut again);
    }
    let reread = replay(&again, &clocks);
    let entries = |kept: Vec<Kept>| kept.into_iter().map(|kept| kept.entry).collect::<Vec<_>>();
    assert_eq!(entries(reread.kept), entries(read.kept));
    assert_eq!((reread.torn, reread.fault), (None, None));
});
