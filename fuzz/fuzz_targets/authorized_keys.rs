//! Any text as a file of keys: each key reads the same when it is written again, and each mistake can be shown at its place.

#![no_main]

use knock_core::config::Source;
use knock_core::spa::{SshKey, read_keys};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = read_keys(text, &|civil| (civil.day <= 31).then(|| i64::from(civil.year)));
    let lines = text.lines().count();
    assert!(file.keys.len() + file.mistakes.len() <= lines);
    for key in &file.keys {
        assert!((1..=lines).contains(&key.line) && !key.name.is_empty());
        assert!(!key.name.contains(char::is_control));
        assert_eq!(SshKey::from_bytes(&key.key.to_bytes()).as_ref(), Ok(&key.key));
        let fingerprint = key.key.fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert!(key.doors.is_some() || key.opens("any"));
        assert!(!key.from.is_empty() || key.comes_from([192, 0, 2, 1].into()));
    }
    let source = Source::new("keys", text);
    for mistake in file.mistakes.iter().take(2) {
        assert!(!source.line(mistake).is_empty());
        assert!(!source.snippet(mistake, false).is_empty());
    }
});
