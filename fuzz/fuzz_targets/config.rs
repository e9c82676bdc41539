//! Any bytes as `knockd.conf`: read, and every diagnostic shown. What can be used has doors that can be knocked at, and
//! strict ones that no scan can knock at unspoiled.

#![no_main]

use knock_core::config::{Door, Secret, Severity, parse};
use knock_core::knock::{Protocol, TcpFlags};
use knock_core::sequence::Step;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parsed = parse("knockd.conf", bytes);
    for diagnostic in parsed.diagnostics.iter().take(20) {
        assert!(!parsed.source.line(diagnostic).is_empty());
        assert!(!parsed.source.snippet(diagnostic, false).is_empty());
    }
    let failed = parsed.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(parsed.config.is_none(), failed);
    for door in parsed.config.iter().flat_map(|config| &config.doors) {
        can_be_knocked_at(door);
    }
});

fn can_be_knocked_at(door: &Door) {
    let steps: &[Step] = door.secret.fixed().map_or(&[], |sequence| sequence.steps());
    let one_time = matches!(door.secret, Secret::OneTime(_) | Secret::Rolling(_));
    assert!(door.secret.fixed().is_none() || (1..=32).contains(&steps.len()));
    assert!(door.spa_port != 0);
    assert!(steps.iter().all(|step| step.port != 0));
    assert!(!door.seq_timeout.is_zero());
    if one_time || steps.iter().any(|step| step.protocol == Protocol::Tcp) {
        let rule = door.flags;
        assert!(!rule.required.intersects(rule.excluded));
        let answers = TcpFlags::ACK.union(TcpFlags::RST).union(TcpFlags::FIN);
        assert!(!door.strict || rule.required.contains(TcpFlags::SYN) && rule.excluded.contains(answers));
    }
}
