//! Clocks that jump, machines that sleep, and earlier boots.

use std::fs;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab::{Daemon, TempDir};
use serde_json::{Value, json};

use crate::journal;
use crate::support::{
    SOON, Scene, TO_SSH, Term, admitted, config, count, grants, holders, lines_of, side_by_side, ssh_door,
    wait_until_nothing_is_open, web_door, wrapped,
};

const ANOTHER_BOOT: &str = "01234567-89ab-4cde-8f01-23456789abcd";
/// Where Debian has the library that lies about the time, whatever the machine.
const PRELOAD: &str = "set -- /usr/lib/*/faketime/libfaketime.so.1 \"$@\"\n\
    export LD_PRELOAD=\"$1\" FAKETIME_TIMESTAMP_FILE=\"$LAB_DIR/clock\" FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1\n\
    shift\nexec {knockd} \"$@\"";

/// The time of day, in milliseconds, that the daemon has by the moment at which it opened its only grant.
fn told_since(daemon: &Daemon) -> io::Result<i64> {
    let grants = grants(daemon)?;
    let since = grants.first().and_then(|grant| grant["since"].as_str()).unwrap_or_default().to_owned();
    let output = std::process::Command::new("date").args(["-d", &since, "+%s"]).output()?;
    let seconds = String::from_utf8_lossy(&output.stdout).trim().parse::<i64>();
    seconds.map(|seconds| seconds * 1000).map_err(|_| io::Error::other(format!("no time: {since:?}")))
}

fn wall() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[test]
fn clock_is_set_back_and_forward() -> io::Result<()> {
    const OPEN_FOR: Duration = Duration::from_secs(6);
    const HOUR: i64 = 3_600_000;
    // While it runs, and while it does not.
    side_by_side([("-1h", "+1h"), ("+1h", "-1h")], |(first, second)| {
        let (scene, directory) = (Scene::new()?, TempDir::new()?);
        let config = config(&[ssh_door("6s")]);
        let builder = wrapped(&directory, PRELOAD)?.config(config);
        let mut daemon = builder.start(scene.server())?;
        scene.guarded(|| {
            let term = scene.open_ssh(&daemon, OPEN_FOR)?;
            for offset in [first, second] {
                let before = told_since(&daemon)?;
                daemon.directory().write("clock", format!("{offset}\n"))?;
                let moved = told_since(&daemon)? - before;
                assert!(moved.abs() > HOUR / 2 || !term.runs(), "the clock was not set: {moved} ms");
                term.assert_told_by(&daemon)?;
            }
            daemon.kill()?;
            daemon.directory().write("clock", format!("{first}\n"))?;
            daemon.start_again(scene.server())?;
            term.assert_told_by(&daemon)?;
            scene.assert_closes_in_time(&term);
            wait_until_nothing_is_open(&daemon)?;
            scene.assert_shut();
            Ok(())
        })
    })
}

/// A daemon that was killed with four grants: one of the kernel's and one of commands that end, and one of each kind
/// without an end or with a later one.
fn killed(scene: &Scene) -> io::Result<Daemon> {
    let endless = "[endless]\nsequence = 4007,3905\ntcpflags = syn\nopen = 22/tcp\n".to_owned();
    let soon = "[soon]\nsequence = 6001,6003\ntcpflags = syn\nopen = 22/tcp\nopen_for = 600\n".to_owned();
    let mut daemon = scene.knockd(&config(&[ssh_door("600"), web_door("600"), endless, soon]))?;
    scene.open_ssh(&daemon, Duration::from_secs(600))?;
    scene.open_web(&daemon)?;
    for door in ["4007,3905", "6001,6003"] {
        let mark = daemon.mark();
        scene.knock(door)?;
        daemon.wait_for_line_after(mark, ": opened 22/tcp", SOON)?;
    }
    daemon.kill()?;
    // The kernel's table does not outlast a boot.
    scene.server().nft("flush ruleset")?;
    Ok(daemon)
}

/// Makes a grant one of an earlier boot that was written so long ago and ends so long from now, in milliseconds.
fn move_to_earlier_boot(grant: &mut Value, ago: i64, left: i64) {
    let now = wall();
    grant["boot"] = ANOTHER_BOOT.into();
    grant["written"] = json!({"boot": 1_000_000, "wall": now - ago});
    grant["opened"] = json!({"boot": 1_000_000, "wall": now - ago});
    if !grant["until"].is_null() {
        grant["until"] = json!({"boot": 2_000_000, "wall": now + left});
    }
}

#[test]
fn grants_of_an_earlier_boot_end_by_the_time_of_day() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut daemon = killed(&scene)?;
    let before = Instant::now();
    journal::rewrite(&daemon, |grant| {
        let left = if grant["door"] == "soon" { 5_000 } else { -1_000 };
        move_to_earlier_boot(grant, 60_000, left);
    })?;
    let term = Term::new(before, Instant::now(), Duration::from_secs(5));
    daemon.start_again(scene.server())?;
    scene.guarded(|| {
        daemon.wait_for_line("10.9.1.1: ssh: closed: its time is over", SOON)?;
        lab::wait_until("the stop command", SOON, || lines_of(&daemon, "ran") == ["start", "stop"])?;
        lab::wait_until("two are left", SOON, || grants(&daemon).is_ok_and(|grants| grants.len() <= 2))?;
        if term.runs() {
            let told = holders(&daemon, "soon")?;
            let done = admitted(scene.server(), "soon")?;
            assert!(told.len() == 1 && told == done || !term.runs(), "{told:?}, {done:?}\n{}", daemon.text());
        }
        lab::wait_until("one is left", SOON, || grants(&daemon).is_ok_and(|grants| grants.len() == 1))?;
        assert!(!term.runs(), "closed too early\n{}", daemon.text());
        let grants = grants(&daemon)?;
        assert!(grants[0]["door"] == "endless" && grants[0]["earlier_boot"] == true, "{grants:?}");
        assert!(scene.gets_in(), "{}", daemon.text());
        // In this boot it is known by the clock that nobody sets.
        daemon.kill()?;
        daemon.start_again(scene.server())?;
        assert!(holders(&daemon, "endless")?.contains("10.9.1.1"), "{}", daemon.text());
        assert_eq!(lines_of(&daemon, "ran"), ["start", "stop"]);
        Ok(())
    })
}

#[test]
fn with_a_clock_that_is_behind_what_has_an_end_is_closed() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut daemon = killed(&scene)?;
    journal::rewrite(&daemon, |grant| move_to_earlier_boot(grant, -3_600_000, 7_200_000))?;
    daemon.start_again(scene.server())?;
    scene.guarded(|| {
        daemon.wait_for_line("warning: the clock is behind what it was when 3 doors were opened", SOON)?;
        lab::wait_until("one is left", SOON, || grants(&daemon).is_ok_and(|grants| grants.len() == 1))?;
        assert!(holders(&daemon, "endless")?.contains("10.9.1.1"), "{}", daemon.text());
        assert_eq!(lines_of(&daemon, "ran"), ["start", "stop"]);
        Ok(())
    })
}

/// As if the machine had slept for an hour in between: the clock of deadlines has gone on, the kernel's timeouts have not.
#[test]
fn machine_slept_past_the_end() -> io::Result<()> {
    let (scene, directory) = (Scene::new()?, TempDir::new()?);
    let script = "if test -e \"$LAB_DIR/slept\"; then\n\
        exec unshare --time --boottime 3600 --fork --kill-child=KILL {knockd} \"$@\"\nfi\nexec {knockd} \"$@\"";
    let doors = [ssh_door("1800"), web_door("1800")];
    let later = "[later]\nsequence = 6001,6003\ntcpflags = syn\nopen = 22/tcp\nopen_for = 2h\n".to_owned();
    let config = config(&[&doors[..], &[later]].concat());
    let mut daemon = wrapped(&directory, script)?.config(config).start(scene.server())?;
    scene.guarded(|| {
        scene.open_ssh(&daemon, Duration::from_secs(1800))?;
        scene.open_web(&daemon)?;
        daemon.kill()?;
        daemon.directory().write("slept", "")?;
        assert!(scene.gets_in(), "the kernel closed it");
        daemon.start_again(scene.server())?;
        scene.assert_shut();
        daemon.wait_for_line("10.9.1.1: ssh: closed: its time is over", SOON)?;
        lab::wait_until("the stop command", SOON, || lines_of(&daemon, "ran") == ["start", "stop"])?;
        wait_until_nothing_is_open(&daemon)?;
        // What lasts longer than the sleep has that much less left.
        let mark = daemon.mark();
        scene.knock("6001,6003")?;
        daemon.wait_for_line_after(mark, "later: opened 22/tcp", SOON)?;
        let left = grants(&daemon)?[0]["left_seconds"].as_f64().unwrap_or_default();
        assert!((7000.0..=7200.0).contains(&left), "{left}");
        Ok(())
    })
}

/// A clock of deadlines that is behind is another boot's, whatever the boot's id says.
#[test]
fn clock_of_deadlines_is_behind() -> io::Result<()> {
    const OPEN_FOR: Duration = Duration::from_secs(5);
    let scene = Scene::new()?;
    let mut daemon = scene.knockd(&config(&[ssh_door("5s")]))?;
    scene.guarded(|| {
        let term = scene.open_ssh(&daemon, OPEN_FOR)?;
        daemon.kill()?;
        journal::rewrite(&daemon, |grant| {
            for moment in ["written", "opened", "until"] {
                let boot = grant[moment]["boot"].as_u64().unwrap_or_default();
                grant[moment]["boot"] = json!(boot + 3_600_000_000_000);
            }
        })?;
        daemon.start_again(scene.server())?;
        term.assert_told_by(&daemon)?;
        scene.assert_closes_in_time(&term);
        wait_until_nothing_is_open(&daemon)?;
        assert_eq!(count(&daemon, "clock is behind"), 0, "{}", daemon.text());
        Ok(())
    })
}

/// Nothing of this is for a daemon that has a journal of this boot only.
#[test]
fn boot_s_id_is_the_machine_s() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut daemon = scene.knockd(&config(&[ssh_door("600")]))?;
    scene.knock(TO_SSH)?;
    daemon.wait_for_line("ssh: opened", SOON)?;
    daemon.kill()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let records = journal::records(&journal::bytes(&daemon)?)?;
    assert!(records.iter().all(|record| record["grant"]["boot"] == boot.trim()), "{records:?}");
    daemon.start_again(scene.server())?;
    assert_eq!(grants(&daemon)?[0]["earlier_boot"], false);
    Ok(())
}
