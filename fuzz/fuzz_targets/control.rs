//! Any line is taken for a request or refused, and a request reads the same when it is written again.

#![no_main]

use knock_core::control::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = serde_json::from_slice::<Request>(bytes) else { return };
    let written = serde_json::to_vec(&request).unwrap();
    assert_eq!(serde_json::from_slice::<Request>(&written).unwrap(), request);
});
