//! SIGHUP: nothing that is under way is lost, and a bad file changes nothing.

use std::fs;
use std::io;

use lab::{Daemon, Session, Signal};

use crate::support::{DROPPING, OPEN, SOON, STOP, Scene, count, side_by_side};

/// Tells the daemon to read its configuration again, and waits until the new one is in force.
pub(crate) fn reload(daemon: &Daemon) -> io::Result<()> {
    daemon.reload(SOON)
}

/// Of the doors a and b.
const SEQUENCES: [&str; 2] = ["7142,8319", "1701,2803"];

fn ssh_door(sequence: &str) -> String {
    format!("[options]\nlogfile = {{dir}}/knockd.log\n[SSH]\nsequence = {sequence}\ntcpflags = syn\n{OPEN}")
}

#[test]
fn knock_goes_on_through_a_reload() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&ssh_door("7142,8319,9623"))?;
    scene.assert_shut(scene.ssh4());
    scene.knock("7142,8319")?;
    daemon.wait_for_line("Stage 2", SOON)?;
    reload(&daemon)?;
    scene.knock("9623")?;
    scene.assert_opens(scene.ssh4())
}

#[test]
fn bad_file_changes_nothing_and_is_explained() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&ssh_door("7142,8319,9623"))?;
    scene.knock("7142,8319")?;
    daemon.wait_for_line("Stage 2", SOON)?;
    for (bad, place) in [
        ("[options]\n[SSH]\nsequence = 7142,port,9623\ncommand = true\n", "knockd.conf:3:17: error: "),
        ("[options]\n[SSH]\ncommand = true\n", "knockd.conf:2:"),
        ("[options]\n  loggfile = /x\n[SSH]\nsequence = 1\n", "knockd.conf:2:3: error: "),
    ] {
        daemon.write_config(bad)?;
        let mark = daemon.mark();
        daemon.signal(Signal::HUP)?;
        daemon.wait_for_line_after(mark, place, SOON)?;
        daemon.wait_for_line_after(mark, "the old one stays in force", SOON)?;
        daemon.wait_for_log(place, SOON)?;
    }
    fs::remove_file(daemon.directory().path().join("knockd.conf"))?;
    let mark = daemon.mark();
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_line_after(mark, "the old one stays in force", SOON)?;
    // Neither the door nor the knock that was under way has suffered.
    scene.knock("9623")?;
    scene.assert_opens(scene.ssh4())
}

#[test]
fn open_door_closes_on_time_though_the_reload_removed_it() -> io::Result<()> {
    let door = format!("[SSH]\nsequence = 7142,8319,9623\ncmd_timeout = 2\n{OPEN}{STOP}");
    let with_door = format!("[options]\n{door}");
    let without = "[options]\n[other]\nsequence = 1,2\ncommand = true\n".to_owned();
    side_by_side([with_door.clone(), without], |after| {
        let scene = Scene::new(DROPPING)?;
        let daemon = scene.knockd(&with_door)?;
        scene.assert_shut(scene.ssh4());
        scene.knock("7142,8319,9623")?;
        scene.assert_opens(scene.ssh4())?;
        daemon.write_config(&after)?;
        reload(&daemon)?;
        let mut session = Session::open(scene.guest(), scene.ssh4())?;
        scene.assert_closes(scene.ssh4())?;
        session.echo("still in")?;
        assert_eq!(count(&daemon, "SSH: command timeout"), 1);
        Ok(())
    })
}

#[test]
fn reload_brings_new_doors_and_takes_old_ones() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&ssh_door("7142,8319,9623"))?;
    daemon.write_config(&ssh_door("1701,2803,3905"))?;
    reload(&daemon)?;
    scene.knock("7142,8319,9623")?;
    scene.assert_shut(scene.ssh4());
    assert_eq!(count(&daemon, "Stage"), 0, "the old sequence is still heard");
    scene.knock("1701,2803,3905")?;
    scene.assert_opens(scene.ssh4())
}

/// What logrotate does: the file is moved away, SIGHUP follows.
#[test]
fn log_file_is_moved_away_and_begun_anew() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&ssh_door("7142,8319,9623"))?;
    scene.knock("7142,8319,9623")?;
    daemon.wait_for_log("OPEN SESAME", SOON)?;
    let log = daemon.directory().path().join("knockd.log");
    fs::rename(&log, log.with_extension("log.1"))?;
    reload(&daemon)?;
    daemon.wait_for_log("", SOON)?;
    let old = daemon.file("knockd.log.1");
    assert!(old.contains("re-reading config file"), "{old}");
    scene.knock("7142,8319,9623")?;
    daemon.wait_for_log("10.9.1.1: SSH: OPEN SESAME", SOON)?;
    assert_eq!(daemon.file("knockd.log.1"), old, "the old file was written on");
    Ok(())
}

/// Reloads all the time, under knocks all the time: nobody is lost, nothing ends.
#[test]
fn reloads_under_knocks() -> io::Result<()> {
    const TIMES: usize = 100;
    let scene = Scene::new(DROPPING)?;
    let daemon =
        scene.knockd("[options]\n[door]\nsequence = 7142,8319,9623\ncommand = true\nseq_timeout = 60\n")?;
    for opened in 1..=TIMES {
        scene.knock("7142")?;
        daemon.signal(Signal::HUP)?;
        scene.knock("8319,9623")?;
        daemon.signal(Signal::HUP)?;
        daemon.wait_for_lines(opened, "OPEN SESAME", SOON)?;
    }
    Ok(())
}

/// A pipe that nobody reads as the log file: what is logged is lost, and nothing else.
#[test]
fn log_file_that_is_a_pipe_without_a_reader() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let pipes = lab::TempDir::new()?;
    let pipe = pipes.path().join("pipe").display().to_string();
    scene.server().sh(&format!("mkfifo {pipe}"))?;
    let daemon =
        scene.knockd(&format!("[options]\nlogfile = {pipe}\n[SSH]\nsequence = 7142,8319,9623\n{OPEN}"))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_line("re-opening log file", SOON)?;
    scene.knock("7142,8319,9623")?;
    scene.assert_opens(scene.ssh4())
}

/// A pipe in the configuration's place: the daemon waits for nobody who might write into it.
#[test]
fn configuration_that_is_a_pipe_by_now() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&format!("[options]\n[SSH]\nsequence = 7142,8319,9623\n{OPEN}"))?;
    let config = daemon.directory().path().join("knockd.conf").display().to_string();
    scene.server().sh(&format!("rm {config}; mkfifo {config}"))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_line("the old one stays in force", SOON)?;
    scene.knock("7142,8319,9623")?;
    scene.assert_opens(scene.ssh4())
}

#[test]
fn log_file_that_cannot_be_opened_leaves_the_old_one() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let config = |log: &str| format!("[options]\nlogfile = {log}\n[SSH]\nsequence = 7142,8319,9623\n{OPEN}");
    let daemon = scene.knockd(&config("{dir}/knockd.log"))?;
    daemon.write_config(&config("/nonexistent/knockd.log"))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_log("cannot open logfile /nonexistent/knockd.log", SOON)?;
    scene.knock("7142,8319,9623")?;
    daemon.wait_for_log("OPEN SESAME", SOON)
}

/// What it says late would be about doors that have other numbers by then.
#[test]
fn reading_process_that_stands_still_is_replaced() -> io::Result<()> {
    let doors = |one: &str, other: &str| {
        let door = |name: &str| {
            format!("[{name}]\nsequence = {}\ncommand = true\n", SEQUENCES[usize::from(name == "b")])
        };
        format!("[options]\nlogfile = {{dir}}/knockd.log\n{}{}", door(one), door(other))
    };
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&doors("a", "b"))?;
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.id()))?;
    let reading = children.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    let reading = reading.ok_or_else(|| io::Error::other(format!("no process in \"{children}\"")))?;
    rustix::process::kill_process(reading, Signal::STOP)?;
    daemon.write_config(&doors("b", "a"))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_log("starting it anew: it does not answer", SOON)?;
    lab::wait_until("another hears knocks", SOON, || {
        scene.knock(SEQUENCES[0]).is_ok() && daemon.log().contains("a: OPEN SESAME")
    })?;
    assert!(!daemon.log().contains("b: OPEN SESAME"), "{}", daemon.log());
    Ok(())
}
