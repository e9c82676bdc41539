//! One-time files: which line is knocked, and what is left of the file.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::{Ear, Ended, V4, command, run};

/// A file of its own for each test, gone with it.
struct OneTime(PathBuf);

impl OneTime {
    fn of(content: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("knock-one-time-{}-{number}", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn content(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }

    fn arguments(&self) -> [String; 3] {
        ["--one-time".into(), self.0.display().to_string(), "127.0.0.1".into()]
    }

    fn knock(&self) -> Ended {
        run(self.arguments())
    }
}

impl Drop for OneTime {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn takes_line_after_line_and_marks_one_byte_of_each() {
    let (first, second) = (Ear::at(V4), Ear::at(V4));
    let (p, q) = (first.port(), second.port());
    let file = OneTime::of(&format!("# mine\r\n#1,2\r\n\r\n {p}:udp , {q}:udp\r\n{q}:udp"));

    assert_eq!(file.knock().code, Some(0));
    assert_eq!(file.content(), format!("# mine\r\n#1,2\r\n\r\n#{p}:udp , {q}:udp\r\n{q}:udp"));
    first.hear();
    second.hear();

    assert_eq!(file.knock().code, Some(0));
    let rest = q.to_string().split_off(1);
    assert_eq!(file.content(), format!("# mine\r\n#1,2\r\n\r\n#{p}:udp , {q}:udp\r\n#{rest}:udp"));
    second.hear();
    assert!(first.is_quiet());

    let ended = file.knock();
    assert_eq!(ended.code, Some(1));
    let path = file.path().display();
    let message = format!("knock: no unused line is left in {path}; add sequences here and on the server\n");
    assert_eq!(ended.stderr, message);
    assert!(first.is_quiet() && second.is_quiet());
}

#[test]
fn a_bad_line_is_named_and_nothing_is_sent() {
    let ear = Ear::at(V4);
    let content = format!("{}:udp\n7000, 8000:icmp\n", ear.port());
    let file = OneTime::of(&content);
    let ended = file.knock();
    assert_eq!(ended.code, Some(1));
    let found = "unknown protocol \"icmp\"; expected tcp or udp; nothing was sent\n";
    assert_eq!(ended.stderr, format!("knock: {}:2:12: {found}", file.path().display()));
    assert_eq!(file.content(), content);
    assert!(ear.is_quiet());
}

#[test]
fn what_could_not_be_sent_stays_unused() {
    let file = OneTime::of("7000,8000\n");
    let ended = run(file.arguments().into_iter().chain(["--source=203.0.113.77".into()]));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(file.content(), "7000,8000\n");
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = std::env::temp_dir();
    for path in [directory.join("no-such-one-time-file"), directory] {
        let ended = run(["--one-time", &path.display().to_string(), "127.0.0.1"]);
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.starts_with("knock: cannot use the one-time file "), "{}", ended.stderr);
    }
}

#[test]
fn two_clients_never_take_the_same_line() {
    let ears: Vec<Ear> = (0..12).map(|_| Ear::at(V4)).collect();
    let lines: String = ears.iter().map(|ear| format!("{0}:udp,{0}:udp\n", ear.port())).collect();
    let file = OneTime::of(&lines);
    let start = |_| command().args(file.arguments()).arg("-d20").stderr(Stdio::null()).spawn().unwrap();
    let clients: Vec<_> = ears.iter().map(start).collect();
    for mut client in clients {
        assert_eq!(client.wait().unwrap().code(), Some(0));
    }
    for ear in &ears {
        ear.hear();
        ear.hear();
        assert!(ear.is_quiet());
    }
    assert!(file.content().lines().all(|line| line.starts_with('#')), "{}", file.content());
}

#[test]
fn waits_for_whoever_has_the_file_and_says_so() {
    let ear = Ear::at(V4);
    let file = OneTime::of(&format!("{}:udp\n", ear.port()));
    let held = File::open(file.path()).unwrap();
    held.lock().unwrap();
    let mut client = command().args(file.arguments()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(client.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "knock: waiting for another knock that uses the same one-time file\n");
    assert!(ear.is_quiet());
    held.unlock().unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(0));
    ear.hear();
}
