//! Any bytes are read as a ledger, and so are any records with checksums that fit; what they say is bounded, reads the same
//! when it is written again, and refuses what was used.

#![no_main]

use knock_core::ledger::{LINE, MAX_USES, Refusal, encode, header, replay};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let mut summed = header();
    for content in bytes.split(|byte| *byte == b'\n') {
        summed.extend(format!("{:08x} ", crc32fast::hash(content)).bytes());
        summed.extend(content);
        summed.push(b'\n');
    }
    check(&summed);
});

fn check(bytes: &[u8]) {
    let read = replay(bytes);
    let lines = bytes.len() / LINE;
    assert!(read.ledger.records().count() <= lines, "it holds more than was written");
    let mut again = header();
    read.ledger.records().for_each(|record| encode(&record, &mut again));
    let reread = replay(&again);
    assert_eq!(reread.ledger, read.ledger);
    assert_eq!((reread.torn, reread.fault), (None, None));
    let mut ledger = read.ledger;
    let uses: Vec<_> = ledger.records().filter_map(|record| record.used()).collect();
    for (holder, used) in &uses {
        assert_eq!(ledger.check(*holder, *used), Err(Refusal::Seen));
        assert!(uses.iter().filter(|(other, _)| other == holder).count() <= MAX_USES);
    }
    ledger.raise_all(0);
    ledger.retain(|_| false, u64::MAX);
    for (holder, used) in uses {
        assert!(ledger.check(holder, used).is_err(), "it was forgotten");
    }
}
