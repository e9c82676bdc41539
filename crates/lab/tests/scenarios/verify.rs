//! `knock --verify`: what it says, and what it ends with, of doors that open and of everything that keeps one shut.

use std::io;
use std::process::Command;

use lab::TempDir;

use crate::support::{DROPPING, OPEN, SOON, Scene, count, knock};

const SEQUENCE: &str = "7142 8319:udp 9623";
/// A door of commands.
const DOOR: &str = "[options]\n[SSH]\nsequence = 7142,8319:udp,9623\ntcpflags = syn\n";
/// A firewall that answers everybody who is no guest that there is nothing.
const REJECTING: &str = "table inet filter {
    set guests4 { type ipv4_addr; }
    set guests6 { type ipv6_addr; }
    chain input {
        type filter hook input priority filter; policy accept;
        ip saddr @guests4 tcp dport 22 accept
        tcp dport 22 reject with tcp reset
    }
}";

/// What a run of the client came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The guest knocks with these arguments.
fn run(scene: &Scene, arguments: &str) -> io::Result<Ended> {
    let output = scene.guest().output(Command::new(knock()?).args(arguments.split_whitespace()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// The client found the port open, behind so many knocks, and had no doubts.
fn assert_opened(ended: &Ended, address: &str, knocks: &str) {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let is_said = ended.stdout.starts_with(&format!("{address} is open, "))
        && ended.stdout.ends_with(&format!(" after {knocks}\n"));
    assert!(is_said, "{}", ended.stdout);
}

/// The client found the port shut, and said all of this.
fn assert_shut(ended: &Ended, parts: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""), "{}", ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "{part} is missing in:\n{}", ended.stderr);
    }
}

#[test]
fn says_that_a_door_of_commands_opened() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let _daemon = scene.knockd(&format!("{DOOR}{OPEN}"))?;
    assert_opened(&run(&scene, &format!("--verify 22 10.9.0.1 {SEQUENCE}"))?, "10.9.0.1:22", "the knock");
    assert_opened(&run(&scene, &format!("--verify 22:tcp fd09::1 {SEQUENCE}"))?, "[fd09::1]:22", "the knock");
    Ok(())
}

#[test]
fn says_that_a_door_opened_that_the_kernel_opens() -> io::Result<()> {
    let scene = Scene::new("")?;
    let _daemon = scene.knockd(&format!("{DOOR}open = 22/tcp\nopen_for = 600\n"))?;
    assert_opened(&run(&scene, &format!("--verify 22 10.9.0.1 {SEQUENCE}"))?, "10.9.0.1:22", "the knock");
    Ok(())
}

#[test]
fn wrong_sequence_opens_nothing() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let _daemon = scene.knockd(&format!("{DOOR}{OPEN}"))?;
    let ended = run(&scene, "--verify 22 --timeout 1 10.9.0.1 7142 9623 8319:udp")?;
    let said = [
        "knock: 10.9.0.1:22 did not open: no answer for 1.",
        " s after the knock\n",
        "  - the knocks left all at once, and may have overtaken each other: try --delay 100\n",
        "  - the sequence may be another by now, or another door's\n",
        "  - on the server, `knockctl explain 10.9.1.1` tells what became of the knock\n",
    ];
    assert_shut(&ended, &said);
    Ok(())
}

#[test]
fn door_that_opens_onto_nothing() -> io::Result<()> {
    let scene = Scene::new("")?;
    let _daemon = scene.knockd(&format!("{DOOR}open = 2222/tcp\nopen_for = 600\n"))?;
    let ended = run(&scene, &format!("--verify 2222 --timeout 2 10.9.0.1 {SEQUENCE}"))?;
    assert_shut(&ended, &["10.9.0.1:2222 refuses connections now", "nothing listens on the port\n"]);
    Ok(())
}

#[test]
fn nobody_who_hears_it() -> io::Result<()> {
    let dropping = Scene::new(DROPPING)?;
    let ended = run(&dropping, &format!("-d 20 --verify 22 --timeout 1 10.9.0.1 {SEQUENCE}"))?;
    assert_shut(&ended, &["did not open: no answer", "a knock may have been lost: try --retry 3\n"]);
    let rejecting = Scene::new(REJECTING)?;
    let ended = run(&rejecting, &format!("--verify 22 --timeout 1 10.9.0.1 {SEQUENCE}"))?;
    assert_shut(
        &ended,
        &["did not open: it refuses connections, as before the knock; nothing listens there"],
    );
    Ok(())
}

#[test]
fn host_that_is_not_there() -> io::Result<()> {
    let scene = Scene::new("")?;
    let ended = run(&scene, &format!("--verify 22 10.9.0.77 {SEQUENCE}"))?;
    assert_shut(&ended, &["knock: 10.9.0.77:22 cannot be reached: No route to host"]);
    Ok(())
}

#[test]
fn port_that_was_open_all_the_time() -> io::Result<()> {
    let scene = Scene::new("")?;
    let ended = run(&scene, &format!("--verify 22 10.9.0.1 {SEQUENCE}"))?;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.starts_with("10.9.0.1:22 is open, "), "{}", ended.stdout);
    assert!(
        ended.stderr.starts_with("knock: note: the port was open before the knock, too"),
        "{}",
        ended.stderr
    );
    Ok(())
}

/// A firewall that is there to reject opens as well as one that drops.
#[test]
fn refusal_is_no_reason_to_stop() -> io::Result<()> {
    let scene = Scene::new(REJECTING)?;
    let slow = "start_command = sleep 0.3; nft add element inet filter guests4 { %IP% }";
    let _daemon = scene.knockd(&format!("{DOOR}{slow}"))?;
    assert_opened(&run(&scene, &format!("--verify 22 10.9.0.1 {SEQUENCE}"))?, "10.9.0.1:22", "the knock");
    Ok(())
}

/// Lets the first SYN to 7142 get lost, on the guest's own host.
fn lose_the_first(scene: &Scene) -> io::Result<()> {
    scene.guest().nft(
        "table inet lossy {
            chain out {
                type filter hook postrouting priority 0
                tcp dport 7142 quota until 60 bytes drop
            }
        }",
    )?;
    Ok(())
}

#[test]
fn lost_knock_is_knocked_again() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&format!("{DOOR}{OPEN}"))?;
    lose_the_first(&scene)?;
    let ended = run(&scene, &format!("--verify 22 --retry 1 10.9.0.1 {SEQUENCE}"))?;
    assert_opened(&ended, "10.9.0.1:22", "the last of 2 knocks");
    daemon.wait_for_line("OPEN SESAME", SOON)?;
    assert_eq!(count(&daemon, "OPEN SESAME"), 1);
    Ok(())
}

/// The server waits for the line that did not arrive: the same is sent again, and marked when it has opened.
#[test]
fn lost_knock_of_a_one_time_file_loses_no_line() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let (file, copy) = (TempDir::new()?, TempDir::new()?);
    let lines = " 7142,8319,9623\n 4007,5109:udp\n";
    let path = file.write("sequences", lines)?;
    let copied = copy.write("sequences", lines)?;
    let config = format!("[options]\n[SSH]\none_time_sequences = {}\ntcpflags = syn\n{OPEN}", path.display());
    let _daemon = scene.knockd(&config)?;
    lose_the_first(&scene)?;
    let arguments = format!("--verify 22 --one-time {} 10.9.0.1", copied.display());

    let ended = run(&scene, &format!("{arguments} --timeout 1"))?;
    assert_shut(&ended, &[&format!("  - {}:1:1: the line stays unused", copied.display())]);
    assert_eq!(copy.read("sequences"), lines);

    assert_opened(&run(&scene, &arguments)?, "10.9.0.1:22", "the knock");
    assert_eq!(copy.read("sequences"), "#7142,8319,9623\n 4007,5109:udp\n");
    lab::wait_until("the server's mark", SOON, || file.read("sequences") == copy.read("sequences"))
}
