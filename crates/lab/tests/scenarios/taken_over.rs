//! What somebody can do who has taken over the process that reads strangers' packets.
//!
//! `taken-over` is our daemon with a reading process that commits a misdeed at each packet, by the packet's port.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use knock_core::spa::HostKey;
use lab::{Daemon, wait_until};
use serde_json::Value;

use crate::keys::User;
use crate::support::{REFUSING, SOON, Scene};

/// Misdeeds that are calls to the system.
const CALLS: RangeInclusive<u16> = 7001..=7009;
/// What the daemon says when the process made a call that it may not make.
const FORBIDDEN: &str = "starting it anew: it made a system call that is forbidden to it";
/// What it says when the process lies in a way that can be noticed.
const LIE: &str = "it said what it cannot have to say";

/// Three doors, one at whose ports the misdeeds are waiting, and three with keys.
fn config() -> String {
    let ports: Vec<_> =
        CALLS.chain(7101..=7113).chain(7201..=7210).map(|port| format!("{port}:udp")).collect();
    format!(
        "[options]\ninterface = eth0\nlogfile = {{dir}}/knockd.log\nstrict = no\n\
         host_key = {{dir}}/host_key\n\
         [ssh]\nsequence = 1001,1002\nopen = 22/tcp\nopen_for = 100s\n\
         [private]\nsequence = 1003,1004\nopen = 23/tcp\nopen_for = 100s\nallow_from = 192.0.2.0/24\n\
         [told]\nsequence = 1005,1006\ncommand = echo \"open for %IP%\" >> {{dir}}/told\n\
         [misdeeds]\nsequence = {}\ncommand = echo misdeeds >> {{dir}}/told\n\
         [keys]\nauthorized_keys = {{dir}}/keys\nopen = 24/tcp\nopen_for = 100s\n\
         [rolling]\nrolling_key = {{dir}}/rolling\nopen = 25/tcp\nopen_for = 100s\n\
         [fwknop]\nfwknop_key = {{dir}}/fwknop_key\nfwknop_hmac = {{dir}}/fwknop_hmac\nopen = 26/tcp\nopen_for = 100s\n",
        ports.join(",")
    )
}

struct Taken {
    scene: Scene,
    daemon: Daemon,
}

impl Taken {
    fn start(variables: &[(&str, &str)]) -> io::Result<Self> {
        let scene = Scene::new(REFUSING)?;
        let daemon = Daemon::of(lab::binary("taken-over")?).config(config());
        let daemon = daemon
            .file("host_key", host_key().to_text().as_bytes(), 0o600)
            .file("keys", alice().line(), 0o644)
            .file("rolling", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n", 0o600)
            .file("fwknop_key", "KEY sesame\n", 0o600)
            .file("fwknop_hmac", "HMAC_KEY simsim\n", 0o600);
        let daemon = variables.iter().fold(daemon, |daemon, (name, value)| daemon.env(name, value));
        Ok(Self { daemon: daemon.start(scene.server())?, scene })
    }

    fn commit(&self, port: u16) -> io::Result<()> {
        self.scene.knock(&format!("{port}:udp"))
    }

    /// Commits what ends the process, for this reason for the `count`th time; the next process is there before the next misdeed.
    fn commit_last(&self, port: u16, reason: &str, count: usize) -> io::Result<()> {
        self.commit(port)?;
        wait_until("what the log says of it", SOON, || self.said(reason) == count)
            .map_err(|error| io::Error::other(format!("{port}: {error}; {}", self.daemon.log())))?;
        wait_until("another process", SOON, || {
            self.ask(&["status"]).is_ok_and(|status| status["reading"]["restarts"] == count)
        })
    }

    /// What the daemon answers to `knockctl` with these arguments.
    fn ask(&self, arguments: &[&str]) -> io::Result<Value> {
        let mut command = Command::new(lab::binary("knockctl")?);
        command.arg("--socket").arg(self.daemon.directory().path().join("knockd.sock"));
        let output = self.scene.server().output(command.args(arguments).arg("--json"))?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Which doors are open, and for whom.
    fn open(&self) -> io::Result<Vec<(String, String)>> {
        let answer = self.ask(&["grants"])?;
        let text = |grant: &Value, key: &str| grant[key].as_str().unwrap_or_default().to_owned();
        let grants = answer["grants"].as_array().cloned().unwrap_or_default();
        Ok(grants.iter().map(|grant| (text(grant, "door"), text(grant, "network"))).collect())
    }

    fn said(&self, part: &str) -> usize {
        self.daemon.log().lines().filter(|line| line.contains(part)).count()
    }
}

/// The server's key, which `taken-over` knows.
fn host_key() -> HostKey {
    HostKey::from_random(&[7; 32])
}

/// The one user.
fn alice() -> User {
    User::new("alice", 1)
}

fn pair(door: &str, address: IpAddr) -> (String, String) {
    (door.into(), address.to_string())
}

/// Neither the file system, nor the network, nor another process, nor the packet socket to send with: each try ends the
/// process, and another takes its place.
#[test]
fn it_has_nothing_in_its_hands() -> io::Result<()> {
    let taken = Taken::start(&[])?;
    let status = taken.ask(&["status"])?;
    let layers = status["reading"]["layers"].as_array().cloned().unwrap_or_default();
    assert_eq!(layers.len(), 5, "{status}");
    assert!(layers.iter().all(|layer| layer["state"] == "on"), "{status}");
    for (port, count) in CALLS.zip(1..) {
        taken.commit_last(port, FORBIDDEN, count)?;
    }
    assert!(!Path::new("/tmp/taken-over").exists());
    assert_eq!(taken.open()?, []);
    // What was not even tried would have ended nobody.
    taken.commit(7101)?;
    wait_until("the last is at work", SOON, || taken.open().is_ok_and(|open| open.len() == 1))?;
    assert_eq!(taken.said(FORBIDDEN), CALLS.count());
    assert!(!taken.daemon.text().contains("misdeeds"), "{}", taken.daemon.text());
    Ok(())
}

/// It can open doors, as whoever knows all sequences can, where the door allows it; and nothing else.
#[test]
fn it_can_name_a_door_and_an_address() -> io::Result<()> {
    let taken = Taken::start(&[])?;
    let (guest, other) = (taken.scene.guest().ip4(), "203.0.113.9".parse().unwrap());
    // For the guest; for somebody else.
    for port in [7101, 7102] {
        taken.commit(port)?;
    }
    taken.commit(7112)?;
    taken.daemon.wait_for_file("told", &format!("open for {guest}\n"), SOON)?;
    let mut open = taken.open()?;
    open.sort();
    let mut expected = [pair("ssh", guest), pair("ssh", other)];
    expected.sort();
    assert_eq!(open, expected);
    assert_eq!(taken.daemon.file("told"), format!("open for {guest}\n"));
    Ok(())
}

#[test]
fn what_it_cannot_have_to_say_ends_it() -> io::Result<()> {
    let taken = Taken::start(&[])?;
    // A door that is not for this address, one that is not there, what is no host, a stage that none has, and no words.
    for (port, count) in (7103..=7108).zip(1..) {
        taken.commit_last(port, LIE, count)?;
    }
    assert_eq!(taken.open()?, []);
    Ok(())
}

/// It has the key that knocks are sealed to, and none that signs one: a good one opens its door once, and no other.
#[test]
fn it_cannot_open_a_door_with_ssh_keys() -> io::Result<()> {
    let taken = Taken::start(&[])?;
    // What is no request, and so much of it that not all is told.
    taken.commit(7203)?;
    taken.daemon.wait_for_log("a knock: not opened: no request: ", SOON)?;
    taken.commit(7204)?;
    taken.daemon.wait_for_log("lines were left out", SOON)?;
    assert!(taken.said("no request: ") < 5000, "{} lines", taken.said("no request: "));
    assert_eq!(taken.open()?, []);
    // To say that somebody has opened it, as with a sequence, is a lie that ends it; likewise as one of fwknop's.
    taken.commit_last(7201, LIE, 1)?;
    taken.commit(7206)?;
    taken.daemon.wait_for_log("keys: not opened: ", SOON)?;
    assert_eq!(taken.open()?, []);
    let guest = taken.scene.guest();
    let knock = alice().knock(&alice().request("keys"), host_key().public());
    let (own, to) = ((guest.ip4(), 0), (taken.scene.server().ip4(), 62_201));
    guest.run(|| UdpSocket::bind(own)?.send_to(&knock, to))?;
    // Said three times, the last for another address; and changed before, which no signature of hers is for.
    wait_until("all that was said", SOON, || {
        taken.said("keys: not opened: this very knock was used before") == 2
    })
    .map_err(|error| io::Error::other(format!("{error}: {}", taken.daemon.log())))?;
    assert_eq!(
        taken.said("keys: not opened: the signature is not one of the key"),
        4,
        "{}",
        taken.daemon.log()
    );
    assert_eq!(taken.open()?, [pair("keys", guest.ip4())]);
    Ok(())
}

/// Rolling keys and fwknop's it has: it opens these doors as whoever has such a key, in the same bounds.
#[test]
fn it_opens_doors_whose_keys_it_has_as_their_users_can() -> io::Result<()> {
    let taken = Taken::start(&[])?;
    let guest = taken.scene.guest().ip4();
    // The present step's sequence, once; then it is used.
    taken.commit(7202)?;
    taken.daemon.wait_for_log("rolling: OPEN SESAME", SOON)?;
    taken.commit(7205)?;
    taken.daemon.wait_for_log("fwknop: OPEN SESAME (carol)", SOON)?;
    taken.commit(7205)?;
    taken.daemon.wait_for_log("fwknop: not opened: this very knock was used before", SOON)?;
    // So often that a new step may have begun, and that not all is told.
    taken.commit(7210)?;
    taken.daemon.wait_for_log("rolling: not opened: this very knock was used before", SOON)?;
    taken.daemon.wait_for_log("lines were left out", SOON)?;
    assert!(taken.said("rolling: OPEN SESAME") <= 2, "{}", taken.said("rolling: OPEN SESAME"));
    let mut open = taken.open()?;
    open.sort();
    assert_eq!(open, [pair("fwknop", guest), pair("rolling", guest)]);
    // Names that nobody can have and reasons that only the other half can know are lies.
    for (port, count) in [(7207, 1), (7208, 2)] {
        taken.commit_last(port, LIE, count)?;
    }
    // Until something of it may be told again.
    wait_until("what it says of it", SOON, || {
        taken.commit(7209).unwrap();
        taken.said("a knock: not opened: ") > 0
    })?;
    let log = taken.daemon.log();
    assert!(log.lines().all(|line| !line.starts_with("[2000")));
    assert!(log.lines().count() < 6000, "{}", log.lines().count());
    Ok(())
}

/// However much it says, and whatever: the log is neither filled nor forged, and the daemon answers.
#[test]
fn its_lies_fill_no_log() -> io::Result<()> {
    let taken = Taken::start(&[])?;
    taken.commit(7109)?;
    taken.commit(7113)?;
    taken.daemon.wait_for_log("lines were left out", SOON)?;
    assert!(taken.said("Stage 1") < 5000, "{} lines", taken.said("Stage 1"));
    taken.commit(7110)?;
    taken.daemon.wait_for_log("\\n[2000-01-01 00:00] all is \\u{1b}[2Jwell", SOON)?;
    assert!(taken.daemon.log().lines().all(|line| !line.starts_with("[2000")));
    assert!(taken.daemon.log().lines().count() < 6000);
    assert_eq!(taken.open()?, []);
    Ok(())
}

/// With a service manager that wants a sign of life every three seconds.
#[test]
fn when_it_hangs_another_takes_its_place() -> io::Result<()> {
    let taken = Taken::start(&[("WATCHDOG_USEC", "3000000")])?;
    taken.commit(7111)?;
    taken.daemon.wait_for_log("starting it anew: it hangs", SOON)?;
    taken.commit(7101)?;
    wait_until("another process", SOON, || {
        taken.commit(7101).is_ok() && taken.open().is_ok_and(|open| open.len() == 1)
    })
}
