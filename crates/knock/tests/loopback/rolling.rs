//! Rolling sequences: what is printed, and what is knocked.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use knock_core::rolling::{RollingKey, step_at};

use crate::client::Ended;
use crate::hosts::Home;

/// The key 00 01 02 … 1f.
const KEY: &str = "# mine\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// Somebody with a key beside their file of hosts, which is in it as `here`.
fn home() -> (Home, String) {
    let home = Home::with("[here]\nhost = \"127.0.0.1\"\nrolling = \"door.key\"\n");
    let file = home.file().with_file_name("door.key");
    fs::write(&file, KEY).unwrap();
    #[cfg(unix)]
    crate::person::permit(&file, 0o600);
    let shown = file.to_str().unwrap().to_owned();
    (home, shown)
}

/// The step of now, and the sequences of it and the next as `knock` takes them.
fn now() -> (u64, [String; 2]) {
    let step = step_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    let key = RollingKey::from_text(KEY).unwrap();
    let of = |step| key.sequence(step).steps().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    (step, [of(step), of(step + 1)])
}

/// What `run` has done within one step, and the sequences then.
fn within_a_step(run: impl Fn() -> Ended) -> (Ended, [String; 2]) {
    loop {
        let (before, sequences) = now();
        let ended = run();
        if now().0 == before {
            return (ended, sequences);
        }
    }
}

#[test]
fn prints_what_is_good_now_and_next() {
    let (home, file) = home();
    let (ended, [first, second]) = within_a_step(|| home.knock(&format!("--rolling {file} --print")));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let lines: Vec<_> = ended.stdout.lines().collect();
    let [present, next] = lines.as_slice() else { panic!("{}", ended.stdout) };
    let seconds = |line: &str, sequence: &str| -> u64 {
        let rest = line.strip_prefix(&format!("{sequence}  good for ")).unwrap();
        rest.strip_suffix(" s").unwrap().parse().unwrap()
    };
    let (now, then) = (seconds(present, &first), seconds(next, &second));
    assert!((30..=60).contains(&now) && then == now + 30, "{}", ended.stdout);
}

#[test]
fn knocks_the_sequence_of_the_moment() {
    let (home, file) = home();
    for line in [format!("-v --rolling {file} 127.0.0.1"), "-v here".to_owned()] {
        let (ended, [present, _]) = within_a_step(|| home.knock(&line));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
        let hit: Vec<_> = ended.stdout.lines().filter_map(|line| line.strip_prefix("hitting ")).collect();
        let expected: Vec<_> = present
            .split(' ')
            .filter_map(|step| step.split_once(':'))
            .map(|(port, protocol)| format!("{protocol} 127.0.0.1:{port}"))
            .collect();
        assert_eq!(hit, expected);
    }
}

#[test]
fn a_key_that_is_none_is_not_quoted() {
    let (home, file) = home();
    fs::write(&file, "bm90IGEga2V5\n").unwrap();
    let ended = home.knock("here");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(
        ended.stderr.starts_with(&format!("knock: {file}: its line has 12 characters")),
        "{}",
        ended.stderr
    );
    assert!(
        !ended.stderr.contains("bm90") && ended.stderr.ends_with("; nothing was sent\n"),
        "{}",
        ended.stderr
    );
    fs::remove_file(&file).unwrap();
    let ended = home.knock("here");
    assert!(
        ended.stderr.starts_with(&format!("knock: cannot read the rolling key in {file}: ")),
        "{}",
        ended.stderr
    );
    assert_eq!(home.knock("-u here").stderr, "knock: -u cannot be used with a host that has a rolling key\n");
    assert!(home.knock("--both here").stderr.contains("a rolling key cannot be used for both families"));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_remarked_on() {
    let (home, file) = home();
    crate::person::permit(file.as_ref(), 0o644);
    let ended = home.knock("here");
    let expected = format!(
        "knock: warning: others can read {file}, and whoever has the key can knock: chmod 600 {file}\n"
    );
    assert_eq!((ended.code, ended.stderr), (Some(0), expected));
}
