//! Any text as a one-time file: each unused sequence has a line whose first byte can be marked, and is gone then.

#![no_main]

use knock_core::one_time::{USED, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (unused, bad) = read(text);
    for line in &bad {
        assert!(line.line.end <= text.len() && line.fault.span.end <= text.len());
    }
    let Some(first) = unused.first() else { return };
    let mut bytes = text.as_bytes().to_vec();
    bytes[first.offset] = USED;
    let marked = String::from_utf8(bytes).expect("a mark keeps the file text");
    let (left, _) = read(&marked);
    assert_eq!(left.len() + 1, unused.len());
});
