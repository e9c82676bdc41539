//! Whatever the reading process says, in whatever pieces, is taken for words or refused.

#![no_main]

use knockd::channel::{Incoming, Word};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut incoming = Incoming::of_words();
    for piece in bytes.chunks(7) {
        incoming.extend(piece);
        loop {
            match incoming.message::<Word>() {
                Ok(Some(word)) => drop(format!("{word:?}")),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
