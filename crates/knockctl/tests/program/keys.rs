//! Keys that are enrolled and revoked, in files of a temporary directory, without a daemon.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use knock_core::spa::{Enrolment, HostKey};
use lab::TempDir;
use serde_json::Value;

use crate::peer::{Ended, knockctl, run};

/// A server's files, and the keys that people have sent.
struct Server {
    directory: TempDir,
}

impl Server {
    /// With these doors; `@` stands for the directory.
    fn with(doors: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let place = directory.path().display().to_string();
        let config = format!("[options]\nhost_key = @/host_key\n{doors}").replace('@', &place);
        directory.write("knockd.conf", config).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A key of OpenSSH's own program.
    fn key(&self, name: &str, kind: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-N", "", "-C", "their own comment", "-t"]).args(kind).arg("-f").arg(&path);
        assert!(keygen.status().unwrap().success());
        path.with_extension("pub")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = knockctl(line);
        command.args(["-s", "/nowhere", "-c"]).arg(self.path("knockd.conf"));
        command
    }

    fn run(&self, line: &str) -> Ended {
        run(&mut self.command(line))
    }

    /// The same with the directory where `@` stands; what succeeds.
    fn done(&self, line: &str) -> Ended {
        let outcome = self.run(&line.replace('@', &self.directory.path().display().to_string()));
        assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.stderr);
        outcome
    }

    /// The same; what is refused.
    fn refused(&self, line: &str, why: &str) -> Ended {
        let outcome = self.run(&line.replace('@', &self.directory.path().display().to_string()));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{line}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(why), "{line}: {}", outcome.stderr);
        outcome
    }
}

const ONE_DOOR: &str = "[ssh]\nauthorized_keys = @/keys\nopen = 22/tcp\n";
const DOORS: &str = "[ssh]\nauthorized_keys = @/keys\nopen = 22/tcp\n[web]\nauthorized_keys = @/./keys\nopen = 53/udp, 443/tcp\n\
     [vault]\nauthorized_keys = @/others\nopen = 8443/tcp\n[old]\nsequence = 7142,8319:udp,5623,9214:udp\nopen = 25/tcp\n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn fingerprint(key: &Path) -> String {
    let output = Command::new("ssh-keygen").arg("-lf").arg(key).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// The line behind `knock add`, as a shell reads it.
fn line_of(told: &str) -> String {
    let typed = told.lines().find_map(|line| line.trim().strip_prefix("knock add ")).unwrap();
    let output = Command::new("sh").args(["-c", &format!("printf %s {typed}")]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn from_nothing_to_a_line_for_the_client() {
    let server = Server::with(ONE_DOOR);
    let key = server.key("alice", &["ed25519"]);
    let told = server.done("enroll alice @/alice.pub --host server.example.org");
    assert!(told.stderr.contains("a new key was made"), "{}", told.stderr);
    let enrolment: Enrolment = line_of(&told.stdout).parse().unwrap();
    let host_key = HostKey::from_text(&server.read("host_key")).unwrap();
    assert_eq!(
        enrolment,
        Enrolment {
            host: "server.example.org".into(),
            port: 62_201,
            doors: vec!["ssh".into()],
            host_key: host_key.public().clone(),
            verify: Some(22),
            key: Some(fingerprint(&key)),
        }
    );
    let public = fs::read_to_string(&key).unwrap();
    let data = public.split(' ').nth(1).unwrap();
    assert_eq!(server.read("keys"), format!("doors=\"ssh\" ssh-ed25519 {data} alice\n"));
    assert_eq!((mode(&server.path("keys")), mode(&server.path("host_key"))), (0o644, 0o600));

    assert_eq!(server.done("host-key").stdout.trim(), host_key.public().to_string());
    let again = server.done("enroll alice --again --host server.example.org");
    assert_eq!(line_of(&again.stdout), line_of(&told.stdout));
    let private = server.read("host_key");
    let private = private.split_whitespace().last().unwrap();
    for shown in [&told.stdout, &told.stderr, &again.stdout] {
        assert!(!shown.contains(private));
    }

    let gone = server.done("revoke alice");
    assert!(
        gone.stdout.contains("alice opens ssh no more") && gone.stdout.contains("knockctl close"),
        "{}",
        gone.stdout
    );
    assert_eq!(server.read("keys"), "");
    server.refused("revoke alice", "no key is called \"alice\"");
}

#[test]
fn each_kind_of_key_that_can_sign() {
    let server = Server::with(ONE_DOOR);
    for (name, kind) in [("one", &["ed25519"][..]), ("two", &["ecdsa", "-b", "256"])] {
        server.key(name, kind);
        server.done(&format!("enroll {name} @/{name}.pub --host h"));
    }
    let before = server.read("keys");
    for (name, kind, why) in [
        ("three", &["rsa", "-b", "2048"][..], "RSA keys cannot knock"),
        ("four", &["ecdsa", "-b", "384"], "keys cannot knock"),
    ] {
        server.key(name, kind);
        let told = server.refused(&format!("enroll {name} @/{name}.pub --host h"), why);
        assert!(told.stderr.contains("ssh-keygen -t ed25519"), "{}", told.stderr);
    }
    server.refused("enroll five @/one --host h", "this is a private key");
    server.refused("enroll five @/nothing.pub --host h", "cannot be read");
    server.refused("enroll five github:alice --host h", "not fetched");
    assert_eq!(server.read("keys"), before);
}

#[test]
fn all_that_limits_a_key_stands_in_its_line() {
    let server = Server::with(ONE_DOOR);
    server.key("bob", &["ed25519"]);
    let told = server.done(
        "enroll bob @/bob.pub --host h --for 1h --expires 2037-01-01 --from 192.0.2.0/24,2001:db8::/32",
    );
    assert!(
        told.stdout.contains("for 1h at most, until 2037-01-01 23:59, from 192.0.2.0/24"),
        "{}",
        told.stdout
    );
    let line = server.read("keys");
    let options =
        "doors=\"ssh\",expiry-time=\"20370101235959\",from=\"192.0.2.0/24,2001:db8::/32\",max-open=\"1h\" ";
    assert!(line.starts_with(options), "{line}");
    let listed = server.done("keys");
    let words: Vec<_> = listed.stdout.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(words[..8], ["bob", "ssh", "2037-01-01", "23:59", "192.0.2.0/24", "2001:db8::/32", "1", "h"]);
    let json: Value = serde_json::from_str(&server.done("keys --json").stdout).unwrap();
    assert_eq!(json["keys"][0]["max_open_seconds"], 3600);
    assert_eq!(json["keys"][0]["expired"], false);
}

#[test]
fn doors_that_share_a_file_have_one_line() {
    let server = Server::with(DOORS);
    server.key("alice", &["ed25519"]);
    server.refused("enroll alice @/alice.pub --host h", "more than one door has keys (ssh, web, vault)");
    server.refused("enroll alice @/alice.pub --host h --doors old", "the door \"old\" has Sequence");
    server.refused("enroll alice @/alice.pub --host h --doors shh", "there is no door \"shh\"");
    let told = server.done("enroll alice @/alice.pub --host h --doors web,ssh,vault");
    let enrolment: Enrolment = line_of(&told.stdout).parse().unwrap();
    assert_eq!(
        (enrolment.doors, enrolment.verify),
        (vec!["web".into(), "ssh".into(), "vault".into()], Some(443))
    );
    assert!(
        server.read("keys").starts_with("doors=\"ssh,web\" ") && server.read("keys").lines().count() == 1
    );
    assert!(server.read("others").starts_with("doors=\"vault\" "));
    server.done("revoke alice");
    assert_eq!((server.read("keys"), server.read("others")), (String::new(), String::new()));
}

#[test]
fn one_key_has_one_name() {
    let server = Server::with(DOORS);
    server.key("alice", &["ed25519"]);
    server.key("bob", &["ed25519"]);
    server.done("enroll alice @/alice.pub --host h --doors ssh");
    let before = server.read("keys");
    for (line, why) in [
        ("enroll alice @/alice.pub --host h --doors ssh", "has been enrolled with this key"),
        ("enroll alice @/alice.pub --host h --doors web", "knockctl revoke alice first"),
        ("enroll bob @/alice.pub --host h --doors vault", "is enrolled already, as alice"),
        ("enroll alice @/bob.pub --host h --doors vault", "another key is called alice already"),
    ] {
        server.refused(line, why);
    }
    assert_eq!(server.read("keys"), before);
    assert!(!server.path("others").exists());
    // Another file is another line of the same key.
    server.done("enroll alice @/alice.pub --host h --doors vault");
    assert_eq!(server.read("others").lines().count(), 1);
}

#[test]
fn what_others_have_written_stays_byte_for_byte() {
    let server = Server::with(ONE_DOOR);
    server.key("alice", &["ed25519"]);
    server.key("bob", &["ed25519"]);
    let bob = server.read("bob.pub");
    let before = format!("# mine \u{e9}\r\n\tnonsense\n{}", bob.trim_end());
    fs::write(server.path("real"), &before).unwrap();
    fs::set_permissions(server.path("real"), Permissions::from_mode(0o640)).unwrap();
    symlink("real", server.path("keys")).unwrap();
    let told = server.done("enroll alice @/alice.pub --host h");
    assert!(told.stderr.contains("keys:2:"), "the mistake is shown: {}", told.stderr);
    assert!(server.read("real").starts_with(&format!("{before}\ndoors=\"ssh\" ")));
    assert!(server.path("keys").is_symlink());
    assert_eq!(mode(&server.path("real")), 0o640);
    server.done(&format!("revoke {}", fingerprint(&server.path("alice.pub"))));
    assert_eq!(server.read("real"), format!("{before}\n"));
    // Its comment is its name.
    let told = run(server.command("revoke").arg("their own comment"));
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert_eq!(server.read("real"), "# mine \u{e9}\r\n\tnonsense\n");
}

#[test]
fn several_keys_of_one_name_are_told_apart() {
    let server = Server::with(ONE_DOOR);
    let keys = ["one", "two"].map(|name| server.key(name, &["ed25519"]));
    let text = keys
        .each_ref()
        .map(|key| fs::read_to_string(key).unwrap())
        .concat()
        .replace("their own comment", "x");
    fs::write(server.path("keys"), &text).unwrap();
    let told = server.refused("revoke x", "2 keys are called \"x\"");
    for key in &keys {
        assert!(told.stderr.contains(&fingerprint(key)), "{}", told.stderr);
    }
    assert_eq!(server.read("keys"), text);
    server.done(&format!("revoke {}", fingerprint(&keys[0])));
    assert_eq!(server.read("keys").lines().count(), 1);
}

#[test]
fn who_enrolls_at_the_same_time_waits() {
    const MANY: usize = 10;
    let server = Server::with(DOORS);
    let names: Vec<_> = (0..MANY).map(|number| format!("k{number}")).collect();
    names.iter().for_each(|name| drop(server.key(name, &["ed25519"])));
    thread::scope(|scope| {
        for name in &names {
            let server = &server;
            scope.spawn(move || {
                server.done(&format!("enroll {name} @/{name}.pub --host h --doors ssh,vault"))
            });
        }
    });
    for file in ["keys", "others"] {
        let text = server.read(file);
        assert_eq!(text.lines().count(), MANY, "{text}");
        assert!(names.iter().all(|name| text.contains(&format!(" {name}\n"))));
    }
    let left: Vec<_> =
        fs::read_dir(server.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn where_nothing_can_be_written_nothing_changes() {
    let server = Server::with(DOORS);
    server.key("alice", &["ed25519"]);
    server.done("host-key");
    // The second file has no directory that could be written to: the first stays as it is, too.
    let doors = DOORS.replace("@/others", "/sys/kernel/others");
    let place = server.directory.path().display().to_string();
    let config = format!("[options]\nhost_key = @/host_key\n{doors}").replace('@', &place);
    fs::write(server.path("knockd.conf"), config).unwrap();
    fs::write(server.path("keys"), "# mine\n").unwrap();
    server.refused(
        "enroll alice @/alice.pub --host h --doors ssh,vault",
        "/sys/kernel/others cannot be written",
    );
    assert_eq!(server.read("keys"), "# mine\n");
    let left: Vec<_> =
        fs::read_dir(server.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
}

/// Room for the host key, and none for a line more.
#[test]
fn a_full_disk_leaves_the_file_as_it_was() {
    let server = Server::with(ONE_DOOR);
    server.key("alice", &["ed25519"]);
    server.done("host-key");
    let filler = "# x\n".repeat(3000);
    let small = server.path("small");
    fs::create_dir(&small).unwrap();
    let place = server.directory.path().display().to_string();
    let config = format!("[options]\nhost_key = @/host_key\n{ONE_DOOR}")
        .replace("@/keys", "@/small/keys")
        .replace('@', &place);
    fs::write(server.path("knockd.conf"), config).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=16k none {0}/small && printf '%s' \"$FILLER\" >{0}/small/keys && cp {0}/small/keys {0}/before\n\
         \"$@\"; status=$?; cmp {0}/before {0}/small/keys && test -z \"$(find {0}/small -name '.*' -type f)\" && exit $status; exit 99",
        place
    );
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        &script,
        "sh",
        env!("CARGO_BIN_EXE_knockctl"),
        "-s",
        "/nowhere",
        "-c",
    ]);
    command
        .arg(server.path("knockd.conf"))
        .args(["enroll", "alice", "--host", "h"])
        .arg(server.path("alice.pub"));
    let outcome = run(command.env("FILLER", filler).env_remove("SSH_CONNECTION"));
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("No space left"), "{}", outcome.stderr);
}

#[test]
fn another_host_key_keeps_the_old_one() {
    let server = Server::with(ONE_DOOR);
    let old = server.done("host-key").stdout;
    server.refused("host-key --new", "say --yes if that is meant");
    assert_eq!(server.done("host-key").stdout, old);
    let new = server.done("host-key --new --yes");
    assert!(new.stdout != old && new.stderr.contains("host_key.old"), "{}", new.stderr);
    assert_eq!(server.done("host-key").stdout, new.stdout);
    assert_eq!(server.done("host-key --file @/host_key.old").stdout, old);
    assert_eq!((mode(&server.path("host_key")), mode(&server.path("host_key.old"))), (0o600, 0o600));
    // One that was lying open is what it is for.
    fs::set_permissions(server.path("host_key"), Permissions::from_mode(0o644)).unwrap();
    server.refused("host-key", "knockctl host-key --new makes another");
    server.done("host-key --new --yes");
    let json: Value = serde_json::from_str(&server.done("host-key --json").stdout).unwrap();
    assert_eq!(json["made"], false);
}

#[test]
fn a_server_without_doors_for_keys_says_what_to_write() {
    let server = Server::with("[old]\nsequence = 7142,8319:udp,5623,9214:udp\nopen = 22/tcp\n");
    server.key("alice", &["ed25519"]);
    server.refused("enroll alice @/alice.pub --host h", "authorized_keys = /etc/knockd/authorized_keys");
    assert_eq!(server.done("keys").stdout, "No door has authorized_keys.\n");
    assert!(!server.path("host_key").exists());
    let server = Server::with(ONE_DOOR);
    assert!(server.done("keys").stdout.starts_with("No key may knock"));
}
