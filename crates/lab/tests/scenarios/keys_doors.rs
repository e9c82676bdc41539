//! Doors of every kind in one daemon, each opened by its own client; and what is wrong with the files of their keys.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use knock_core::knock::Protocol;
use knock_core::rolling::{RollingKey, step_at};
use knock_core::spa::HostKey;
use lab::{TempDir, has_tool, wait_until};

use crate::keys::{DOOR, Server, User};
use crate::support::{SOON, knock, knockd, skip};

const ROLLING: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
const FWKNOP: [&str; 2] = ["KEY sesame\n", "HMAC_KEY simsim\n"];
const PLAIN: &str = "7142,8319:udp,9623";
const ONCE: [&str; 2] = ["1701:udp,2803,3905", "4007,5109:udp,6201"];

/// All kinds of doors, of which two are knocked at at the same port.
fn every_kind() -> String {
    let open = "open_for = 100s\nopen = ";
    format!(
        "[plain]\nsequence = {PLAIN}\n{open}1022/tcp\n\
         [once]\none_time_sequences = {{dir}}/once\n{open}1023/tcp\n\
         [rolling]\nrolling_key = {{dir}}/rolling\n{open}1024/tcp\n\
         [fwknop]\nfwknop_key = {{dir}}/fwknop_key\nfwknop_hmac = {{dir}}/fwknop_hmac\n{open}1026/tcp, 1027/udp\n\
         {DOOR}"
    )
}

fn start(alice: &User) -> io::Result<Server> {
    let once: String = ONCE.iter().map(|sequence| format!(" {sequence}\n")).collect();
    let program = knockd()?
        .file("once", once, 0o600)
        .file("rolling", ROLLING, 0o600)
        .file("fwknop_key", FWKNOP[0], 0o600)
        .file("fwknop_hmac", FWKNOP[1], 0o600);
    Server::of(program, HostKey::from_random(&[7; 32]), &alice.line(), &every_kind())
}

/// The sequence of a step, as it is knocked.
fn sequence(step: u64) -> String {
    let sequence = RollingKey::from_text(ROLLING).unwrap().sequence(step);
    let knock = |step: &knock_core::sequence::Step| match step.protocol {
        Protocol::Tcp => step.port.to_string(),
        Protocol::Udp => format!("{}:udp", step.port),
    };
    sequence.steps().iter().map(knock).collect::<Vec<_>>().join(",")
}

fn present_step() -> u64 {
    step_at(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs())
}

/// Knocks at a door with a plain sequence: when that has opened, all that was sent before it was looked at.
fn wait_until_heard(server: &Server) -> io::Result<()> {
    let before = server.said("plain: OPEN SESAME");
    server.scene.knock(PLAIN)?;
    wait_until("the plain door", SOON, || server.said("plain: OPEN SESAME") > before)
}

/// Has fwknop's own client knock as the guest; whether it could.
fn fwknop(server: &Server, arguments: &[&str]) -> io::Result<TempDir> {
    let home = TempDir::new()?;
    let [key, hmac] = FWKNOP;
    let rc = format!("[door]\nSPA_SERVER {}\n{key}{hmac}", server.scene.server().ip4());
    fs::set_permissions(home.write(".fwknoprc", rc)?, Permissions::from_mode(0o600))?;
    let mut client = Command::new("fwknop");
    client.env("HOME", home.path()).env("GNUPGHOME", home.path()).env("SPOOF_USER", "carol");
    client.args(["-n", "door", "--save-packet"]).arg(home.path().join("packet")).args(arguments);
    let output = server.scene.guest().output(&mut client)?;
    assert!(output.status.success(), "{output:?}");
    Ok(home)
}

#[test]
fn doors_of_every_kind_open_by_their_own_clients() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let server = start(&alice)?;
    let guest = server.scene.guest().ip4().to_string();
    let directory = server.daemon.directory();
    let client = |arguments: &[&str]| {
        let mut client = Command::new(knock()?);
        let output = server.scene.guest().output(client.args(arguments).arg("10.9.0.1"))?;
        assert!(output.status.success(), "{output:?}");
        Ok::<_, io::Error>(())
    };
    let copies = TempDir::new()?;
    for name in ["once", "rolling"] {
        let copy = copies.write(name, directory.read(name))?;
        fs::set_permissions(copy, Permissions::from_mode(0o600))?;
    }
    let copy = |name: &str| copies.path().join(name).display().to_string();
    server.scene.knock(PLAIN)?;
    server.daemon.wait_for_log("plain: OPEN SESAME", SOON)?;
    client(&["--one-time", &copy("once")])?;
    server.daemon.wait_for_log("once: OPEN SESAME", SOON)?;
    client(&["--rolling", &copy("rolling")])?;
    server.daemon.wait_for_log("rolling: OPEN SESAME", SOON)?;
    server.knock(&alice, server.scene.guest())?;
    server.daemon.wait_for_log("ssh: OPEN SESAME (alice)", SOON)?;
    let mut doors = vec!["plain", "once", "rolling", "ssh"];
    if has_tool("fwknop") {
        fwknop(&server, &["-s", "-A", "tcp/1026"])?;
        server.daemon.wait_for_log("fwknop: OPEN SESAME (carol)", SOON)?;
        doors.push("fwknop");
    } else {
        skip("fwknop is not there");
    }
    for door in doors {
        wait_until(door, SOON, || server.left(door, &guest).is_ok_and(|left| left.is_some()))?;
        assert_eq!(server.said(&format!("{door}: OPEN SESAME")), 1, "{}", server.daemon.log());
    }
    assert_eq!(server.said("not opened"), 0, "{}", server.daemon.log());
    Ok(())
}

/// The step before, the present one and the next are good, each once.
#[test]
fn a_rolling_sequence_opens_once() -> io::Result<()> {
    let mut server = start(&User::new("alice", 1))?;
    let opened = |server: &Server| server.said("rolling: OPEN SESAME");
    // The next step may begin at any moment.
    let mut step = present_step();
    wait_until("the step before", SOON, || {
        step = present_step();
        server.scene.knock(&sequence(step - 1)).unwrap();
        thread::sleep(Duration::from_millis(100));
        opened(&server) == 1
    })?;
    for (count, step) in (2..).zip([step, step + 1]) {
        server.scene.knock(&sequence(step))?;
        wait_until("a step that is taken", SOON, || opened(&server) == count)
            .map_err(|error| io::Error::other(format!("{error}: {count}; {}", server.daemon.log())))?;
    }
    let all = [step - 2, step - 1, step, step + 1, step + 3];
    for step in all {
        server.scene.knock(&sequence(step))?;
        server.scene.stranger().knock(server.scene.server().ip4(), &sequence(step))?;
    }
    wait_until_heard(&server)?;
    assert_eq!(opened(&server), 3, "{}", server.daemon.log());
    for killed in [false, true] {
        if killed {
            server.daemon.kill()?
        } else {
            server.stop()?
        }
        server.start_again()?;
        for step in all {
            server.scene.knock(&sequence(step))?;
            server.scene.stranger().knock(server.scene.server().ip4(), &sequence(step))?;
        }
        wait_until_heard(&server)?;
        assert_eq!(opened(&server), 3, "{}", server.daemon.log());
    }
    Ok(())
}

#[test]
fn what_fwknop_s_client_sends_opens_once() -> io::Result<()> {
    if !has_tool("fwknop") {
        skip("fwknop is not there");
        return Ok(());
    }
    let mut server = start(&User::new("alice", 1))?;
    let (guest, stranger) = (server.scene.guest(), server.scene.stranger());
    let home = fwknop(&server, &["-s", "-A", "tcp/1026", "-f", "30"])?;
    server.daemon.wait_for_log(&format!("{}: fwknop: OPEN SESAME (carol)", guest.ip4()), SOON)?;
    let mut left = None;
    wait_until("the grant", SOON, || {
        left = server.left("fwknop", &guest.ip4().to_string()).ok().flatten();
        left.is_some()
    })?;
    assert!(left.is_some_and(|left| left <= 30.0), "{left:?}");
    let used = "not opened: this very knock was used before";
    let packet = home.read("packet");
    server.refuses_bytes(stranger, packet.trim().as_bytes(), used)?;
    // Somebody sends it again and again: that fills no log.
    for _ in 0..3000 {
        server.send(stranger, packet.trim().as_bytes())?;
    }
    server.daemon.wait_for_log("lines were left out", SOON)?;
    assert!(server.said(used) < 1000, "{}", server.said(used));
    server.stop()?;
    server.start_again()?;
    server.refuses_bytes(server.scene.stranger(), packet.trim().as_bytes(), used)?;
    fwknop(&server, &["-a", "192.0.2.7", "-A", "tcp/1026,udp/1027"])?;
    server.daemon.wait_for_log("192.0.2.7: fwknop: OPEN SESAME (carol)", SOON)?;
    fwknop(&server, &["-s", "-A", "tcp/1026,tcp/22"])?;
    server.daemon.wait_for_log("fwknop: not opened: the knock of carol asks for 22/tcp", SOON)?;
    fwknop(&server, &["-s", "-A", "tcp/1026", "--time-offset-minus", "300s"])?;
    server.daemon.wait_for_log("fwknop: not opened: its time is 300 s behind", SOON)?;
    assert_eq!(server.said("fwknop: OPEN SESAME"), 2, "{}", server.daemon.log());
    Ok(())
}

/// A file that others can read is no secret, and one that they can write lets in whom they like.
#[test]
fn files_that_others_can_read_or_write_are_refused() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let modes = |changed: &str, mode: u32| {
        let mode = |name: &str, usual: u32| if name == changed { mode } else { usual };
        let host = HostKey::from_random(&[7; 32]);
        let builder = knockd()?
            .file("once", format!(" {}\n", ONCE[0]), 0o600)
            .file("rolling", ROLLING, mode("rolling", 0o600))
            .file("fwknop_key", FWKNOP[0], mode("fwknop_key", 0o600))
            .file("fwknop_hmac", FWKNOP[1], mode("fwknop_hmac", 0o600))
            .file("host_key", host.to_text().as_bytes(), mode("host_key", 0o600))
            .file("keys", alice.line(), mode("keys", 0o644));
        Ok::<_, io::Error>(builder.config(format!(
            "[options]\nlogfile = {{dir}}/knockd.log\nhost_key = {{dir}}/host_key\n{}",
            every_kind()
        )))
    };
    let host = lab::Host::new("server")?;
    for (name, mode) in
        [("host_key", 0o644), ("rolling", 0o640), ("fwknop_key", 0o604), ("fwknop_hmac", 0o660)]
    {
        let told = format!("{name}: others can read this secret, or change it: chmod 600 ");
        let mut check = modes(name, mode)?.arg("--check").spawn(&host)?;
        assert_eq!(check.wait_exit(SOON)?.code(), Some(1), "{name}");
        // The other doors are to open all the same.
        let daemon = modes(name, mode)?.start(&host)?;
        for text in [check.text(), daemon.log()] {
            assert!(text.contains(&told), "{name}: {text}");
            assert!(!text.contains("sesame") && !text.contains("AAEC"), "{text}");
        }
    }
    // Nobody gets in by this one until it is mended, and the other doors open.
    let mut daemon = modes("keys", 0o666)?.arg("--check").spawn(&host)?;
    assert_eq!(daemon.wait_exit(SOON)?.code(), Some(0), "{}", daemon.text());
    assert!(
        daemon.text().contains("others can write into this file, so anybody could add a key: chmod go-w")
    );
    Ok(())
}

/// Whoever has lost the file of keys is not kept out of all other doors as well.
#[test]
fn a_missing_file_of_keys_shuts_its_own_door_alone() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let program = knockd()?.file("rolling", ROLLING, 0o600);
    let doors =
        format!("[plain]\nsequence = {PLAIN}\nopen = 1022/tcp\n{}", DOOR.replace("/keys", "/missing"));
    let server = Server::of(program, HostKey::from_random(&[7; 32]), "", &doors)?;
    server.daemon.wait_for_log("/missing: there is no such file", SOON)?;
    wait_until_heard(&server)?;
    server.refuses(&alice, "ssh: not opened: the door does not know the key", |_| {})?;
    server.write("missing", &alice.line())?;
    server.opens(&alice, server.scene.guest().ip4(), |_| {})?;
    Ok(())
}
