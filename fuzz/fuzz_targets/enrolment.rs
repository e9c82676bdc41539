//! Any line that a client takes for what it needs to know reads the same when it is written again.

#![no_main]

use knock_core::spa::{Enrolment, MAX_DOOR_NAME};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(enrolment) = text.parse::<Enrolment>() else { return };
    assert_eq!(enrolment.to_string().parse::<Enrolment>().as_ref(), Ok(&enrolment));
    assert!(enrolment.port != 0 && !enrolment.host.starts_with('-'));
    assert!(!enrolment.doors.is_empty());
    assert!(enrolment.doors.iter().all(|door| (1..=MAX_DOOR_NAME).contains(&door.len())));
    assert!(!enrolment.to_string().contains(|c: char| c.is_control() || c.is_whitespace()));
});
