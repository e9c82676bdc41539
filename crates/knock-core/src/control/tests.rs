use std::fmt::Debug;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/knockctl.md");

/// The lines of the document's ```json blocks that begin with `{"KEY":`.
fn documented(key: &str) -> Vec<&'static str> {
    let start = format!("{{\"{key}\":");
    let blocks = DOCUMENT.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter(|line| line.starts_with(&start)).collect()
}

/// A line means the same after it was read and written again, and loses nothing.
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(line: &str) -> T {
    let read: T = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let written = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<T>(&written).unwrap(), read);
    let mut value: serde_json::Value = serde_json::from_str(&written).unwrap();
    // What may be left out is written as null.
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|key, value| !value.is_null() || line.contains(&format!("\"{key}\":")));
    }
    assert_eq!(value, serde_json::from_str::<serde_json::Value>(line).unwrap(), "{line}");
    read
}

#[test]
fn the_document_shows_each_request_as_it_is() {
    let shown: Vec<Request> = documented("request").into_iter().map(survives).collect();
    let minute = Some(Seconds(std::time::Duration::from_secs(60)));
    for wanted in [
        Request::Status {},
        Request::Doors { secrets: false },
        Request::Grants {},
        Request::Attempts {},
        Request::Watch {},
        Request::Confirm {},
        Request::Metrics {},
        Request::Explain { address: "192.0.2.7".parse().unwrap(), secrets: false },
        Request::Open { door: "ssh".into(), address: "192.0.2.7".parse().unwrap(), open_for: None },
        Request::Close { door: None, address: None },
        Request::Close { door: Some("ssh".into()), address: Some("192.0.2.0/24".parse().unwrap()) },
        Request::Reload { confirm_within: minute, from: Some("192.0.2.7".parse().unwrap()), port: Some(22) },
        Request::Listen { interface: "wg0".into() },
    ] {
        assert!(shown.contains(&wanted), "{wanted:?} is not shown");
    }
}

#[test]
fn the_document_shows_each_answer_as_it_is() {
    let shown: Vec<Answer> = documented("answer").into_iter().map(survives).collect();
    let is_shown = |fits: fn(&Answer) -> bool| shown.iter().any(fits);
    assert!(is_shown(|answer| matches!(answer, Answer::Error { .. })));
    assert!(is_shown(|answer| matches!(answer, Answer::Done { .. })));
    assert!(is_shown(|answer| matches!(answer, Answer::Status(status) if status.native.is_some())));
    assert!(is_shown(|answer| matches!(answer, Answer::Doors { doors } if !doors.is_empty())));
    assert!(is_shown(|answer| matches!(answer, Answer::Grants { grants } if !grants.is_empty())));
    assert!(is_shown(|answer| matches!(answer, Answer::Attempts { attempts } if !attempts.is_empty())));
    assert!(is_shown(|answer| matches!(answer, Answer::Explained { events, .. } if !events.is_empty())));
    assert!(is_shown(|answer| matches!(answer, Answer::Watching {})));
    assert!(is_shown(|answer| matches!(answer, Answer::Event(_))));
}

#[test]
fn the_document_names_what_can_stand_for_a_word() {
    let words = [
        JournalState::Failing.word(),
        GrantState::Opening.word(),
        AttemptState::CoolingDown.word(),
        AcceptState::NotNeeded.word(),
        TableState::Missing.word(),
        EventKind::NotAllowed.word(),
        EventKind::TimedOut.word(),
    ];
    for word in words {
        assert!(DOCUMENT.contains(&word), "{word}");
    }
}

trait Word: Serialize {
    fn word(&self) -> String {
        serde_json::to_string(self).unwrap().replace('"', "`")
    }
}
impl<T: Serialize> Word for T {}

#[test]
fn what_is_not_known_of_a_request_is_an_error() {
    for (line, told) in [
        (r#"{"request":"opne"}"#, "opne"),
        (r#"{"request":"open","door":"ssh","address":"192.0.2.7","second":5}"#, "`second`"),
        (r#"{"request":"close","adress":"192.0.2.7"}"#, "`adress`"),
        (r#"{"request":"confirm","seconds":5}"#, "`seconds`"),
        (r#"{"request":"open","door":"ssh"}"#, "`address`"),
        (r#"{"request":"open","door":"ssh","address":"192.0.2"}"#, "IP address"),
        (r#"{"request":"close","address":"192.0.2.7/33"}"#, "192.0.2.0/24"),
        (r#"{"request":"open","door":"ssh","address":"::1","seconds":-1}"#, "-1 seconds are no time"),
        (r#"{"request":"open","door":"ssh","address":"::1","seconds":1e300}"#, "no time"),
        (r#"{"request":"reload","port":65536}"#, "65536"),
        ("[]", "`request`"),
        ("", "EOF"),
    ] {
        let error = serde_json::from_str::<Request>(line).unwrap_err().to_string();
        assert!(error.contains(told), "{line}: {error}");
    }
}

#[test]
fn answers_of_a_newer_daemon_are_understood() {
    let line =
        r#"{"answer":"event","time":"","door":null,"source":null,"event":"sang","message":"","key":1}"#;
    let Ok(Answer::Event(event)) = serde_json::from_str(line) else { panic!("{line}") };
    assert_eq!(event.event, EventKind::Other);
}

#[test]
fn the_socket_is_where_somebody_says() {
    let path = |configured: Option<&str>, directory: Option<&str>| {
        socket_path(configured.map(Path::new), directory.map(OsStr::new)).display().to_string()
    };
    assert_eq!(path(None, None), DEFAULT_SOCKET);
    assert_eq!(path(Some("/x/y"), Some("/run/knockd")), "/x/y");
    assert_eq!(path(None, Some("/run/gate:/run/other")), "/run/gate/knockd.sock");
    for useless in ["", ":", "relative"] {
        assert_eq!(path(None, Some(useless)), DEFAULT_SOCKET);
    }
}

proptest! {
    #[test]
    fn no_line_is_read_in_panic(line in "\\PC*") {
        let _ = serde_json::from_str::<Request>(&line);
        let _ = serde_json::from_str::<Answer>(&line);
    }

    #[test]
    fn times_survive(milliseconds in 0..i32::MAX as u64 * 1000) {
        let time = Seconds(std::time::Duration::from_millis(milliseconds));
        let written = serde_json::to_string(&time).unwrap();
        prop_assert_eq!(serde_json::from_str::<Seconds>(&written).unwrap(), time);
    }

    #[test]
    fn numbers_that_are_no_time_are_refused(number in prop::num::f64::ANY) {
        let read = serde_json::from_str::<Seconds>(&serde_json::to_string(&number).unwrap());
        prop_assert_eq!(read.is_ok(), (0.0..=i32::MAX as f64).contains(&number));
    }
}
