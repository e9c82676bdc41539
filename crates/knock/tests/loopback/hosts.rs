//! The file of hosts: who is meant, what is said of a mistake, and that it is not read where nobody asks for it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::{Ear, Ended, V4, command, knock};

/// A user's directory of configurations, gone with the test.
pub(crate) struct Home(PathBuf);

impl Home {
    /// With this file of hosts.
    pub(crate) fn with(hosts: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let home = Self(std::env::temp_dir().join(format!("knock-hosts-{}-{number}", std::process::id())));
        fs::create_dir_all(home.file().parent().unwrap()).unwrap();
        fs::write(home.file(), hosts).unwrap();
        home.permit(0o600);
        home
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("knock/config.toml")
    }

    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = command();
        command.env("XDG_CONFIG_HOME", &self.0).env("APPDATA", &self.0);
        command
    }

    pub(crate) fn knock(&self, line: &str) -> Ended {
        self.command().args(line.split_whitespace()).output().unwrap().into()
    }

    #[cfg(unix)]
    fn permit(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(self.file(), fs::Permissions::from_mode(mode)).unwrap();
    }

    #[cfg(not(unix))]
    fn permit(&self, _: u32) {}
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn silence() -> Ended {
    Ended { code: Some(0), stdout: String::new(), stderr: String::new() }
}

#[test]
fn a_name_stands_for_host_and_ports() {
    let (first, second) = (Ear::at(V4), Ear::at(V4));
    let home = Home::with(&format!(
        "[my-server]\nhost = \"127.0.0.1\"\nsequence = \"{}:udp, {}:udp\"\n",
        first.port(),
        second.port()
    ));
    assert_eq!(home.knock("my-server"), silence());
    first.hear();
    second.hear();
    let by_option = format!("--config {} -4 MY-SERVER", home.file().display());
    assert_eq!(knock(&by_option), silence());
    first.hear();
}

#[test]
fn a_one_time_file_is_beside_it() {
    let ear = Ear::at(V4);
    let home = Home::with("[once]\nhost = \"127.0.0.1\"\none_time = \"once.seq\"\n");
    let lines = home.file().with_file_name("once.seq");
    fs::write(&lines, format!(" {}:udp\n", ear.port())).unwrap();
    assert_eq!(home.knock("once"), silence());
    ear.hear();
    assert_eq!(fs::read_to_string(lines).unwrap(), format!("#{}:udp\n", ear.port()));
    assert_eq!(home.knock("once").code, Some(1));
    let refused = home.knock("-u once");
    assert_eq!(refused.stderr, "knock: -u cannot be used with a host that has a one-time file\n");
}

#[test]
fn with_ports_the_file_does_not_count() {
    let ear = Ear::at(V4);
    let home = Home::with("this is no file of hosts");
    assert_eq!(home.knock(&format!("127.0.0.1 {}:udp", ear.port())), silence());
    ear.hear();
}

#[test]
fn the_port_of_a_host_is_verified() {
    let (ear, listener) = (Ear::at(V4), TcpListener::bind((V4, 0)).unwrap());
    let open = listener.local_addr().unwrap();
    let home = Home::with(&format!(
        "verify = {}\ntimeout = 1\n[here]\nhost = \"127.0.0.1\"\nsequence = \"{}:udp\"\n",
        open.port(),
        ear.port()
    ));
    let ended = home.knock("here");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.starts_with(&format!("{open} is open, ")), "{}", ended.stdout);
    assert!(ended.stderr.contains("the port was open before the knock, too"), "{}", ended.stderr);
    ear.hear();
    drop(listener);
    let ended = home.knock("here");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""));
    assert!(ended.stderr.starts_with(&format!("knock: {open} did not open: it refuses")), "{}", ended.stderr);
}

#[test]
fn a_name_that_is_not_there_is_told_with_the_nearest() {
    let home = Home::with("[my-server]\nsequence = \"7142\"\n");
    let file = home.file().display().to_string();
    let ended = home.knock("my-sever");
    let expected = format!("knock: there is no host \"my-sever\" in {file}; did you mean \"my-server\"?\n");
    assert_eq!((ended.code, ended.stderr), (Some(1), expected));
    let ended = home.knock("--proxy elsewhere 22");
    let expected = format!("knock: there is no host \"elsewhere\" in {file}\n");
    assert_eq!((ended.code, ended.stderr), (Some(1), expected));
}

#[test]
fn without_a_file_it_is_the_ports_that_are_missing() {
    let ended = knock("127.0.0.1");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .starts_with("knock: no ports are given for \"127.0.0.1\", and there is no file of hosts, ")
    );
    assert!(ended.stderr.contains("\n\nUsage: knock [OPTIONS] HOST PORT[:PROTO]...\n"), "{}", ended.stderr);
    for line in ["--list", "--proxy host 22", "--config no-such-file host"] {
        let ended = knock(line);
        assert_eq!(ended.code, Some(1), "{line}");
        assert!(ended.stderr.starts_with("knock: there is no file of hosts, "), "{line}: {}", ended.stderr);
    }
}

#[test]
fn a_mistake_anywhere_is_told_with_its_place() {
    let home = Home::with("[good]\nsequence = \"7142\"\n[bad]\nsequense = \"7142\"\ndelay = \"soon\"\n");
    let ended = home.knock("good");
    let file = home.file().display().to_string();
    let (first, second) = ended.stderr.split_once('\n').unwrap();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(
        first.starts_with(&format!("knock: {file}:4:1: error: unknown key \"sequense\"; expected")),
        "{first}"
    );
    assert!(second.starts_with(&format!("{file}:5:9: error: delay cannot be \"soon\": ")), "{second}");
}

#[test]
fn lists_the_names_and_no_ports() {
    let home =
        Home::with("[b]\nhost = \"b.example\"\nsequence = \"7142\"\n[\"a.example\"]\none_time = \"x\"\n");
    let expected = "a.example  a.example\nb          b.example\n".to_owned();
    assert_eq!(home.knock("--list"), Ended { stdout: expected, ..silence() });
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_is_remarked_on() {
    let home = Home::with("[a]\nsequence = \"7142\"\n");
    let file = home.file().display().to_string();
    for (mode, deed) in [(0o640, "read"), (0o604, "read"), (0o620, "change")] {
        home.permit(mode);
        let expected = format!(
            "knock: warning: others can {deed} {file}, and a sequence is a password: chmod 600 {file}\n"
        );
        let ended = home.knock("--list");
        assert_eq!((ended.code, ended.stderr), (Some(0), expected));
    }
}

/// The manual's examples.
#[test]
fn what_the_manual_shows_can_be_used() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/knock.md");
    let text = fs::read_to_string(manual).unwrap();
    let blocks: Vec<_> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    for block in &blocks {
        let ended = Home::with(block).knock("--list");
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{block}");
        assert!(!ended.stdout.is_empty(), "{block}");
    }
    assert!(blocks.len() >= 5, "only {} were found", blocks.len());
}
