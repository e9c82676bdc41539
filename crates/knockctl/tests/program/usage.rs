//! Command lines that are refused, and those that ask for help.

use crate::peer::{knockctl, run};

#[test]
fn wrong_usage_ends_with_2() {
    for line in
        ["", "sing", "open", "open ssh host", "open ssh ::1 --for never", "close", "doors -x", "explain"]
    {
        let outcome = run(&mut knockctl(line));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{line}");
        assert!(!outcome.stderr.is_empty(), "{line}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for (line, told) in [("--help", "explain"), ("close -h", "--all"), ("-V", "knockctl ")] {
        let outcome = run(&mut knockctl(line));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{line}");
        assert!(outcome.stdout.contains(told), "{line}: {}", outcome.stdout);
    }
}
