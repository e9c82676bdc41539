//! Any bytes as `knockd.conf`: read, and every diagnostic shown.

#![no_main]

use knock_core::config::{Severity, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parsed = parse("knockd.conf", bytes);
    for diagnostic in parsed.diagnostics.iter().take(20) {
        assert!(!parsed.source.line(diagnostic).is_empty());
        assert!(!parsed.source.snippet(diagnostic, false).is_empty());
    }
    let failed = parsed.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(parsed.config.is_none(), failed);
});
