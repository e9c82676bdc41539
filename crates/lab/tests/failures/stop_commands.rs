//! Stop commands that hang, fail, or cannot be started; and how often they run.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use lab::{Daemon, Signal};

use crate::support::{
    SOON, Scene, TO_SSH, TO_WEB, ask, config, count, grants, lines_of, ssh_door, wait_until_nothing_is_open,
};

/// A door whose stop command tells when it begins, and then does this.
fn web(stop: &str) -> String {
    format!(
        "[web]\nsequence = {TO_WEB}\ntcpflags = syn\nstart_command = echo start >> {{dir}}/ran\ncmd_timeout = 600\n\
         stop_command = echo stop >> {{dir}}/ran; {stop}\n"
    )
}

/// A stop command's end, when the test wants it.
const WAIT: &str = "until test -e {dir}/go; do sleep 0.05; done";

fn close_web(daemon: &Daemon) -> io::Result<()> {
    let done = ask(daemon, r#"{"request":"close","door":"web"}"#)?;
    assert_eq!(done["answer"], "done", "{done}");
    Ok(())
}

fn wait_for_ran(daemon: &Daemon, expected: &[&str]) -> io::Result<()> {
    lab::wait_until("the commands", SOON, || lines_of(daemon, "ran") == expected).map_err(|error| {
        io::Error::other(format!("{error}: {:?}, not {expected:?}", lines_of(daemon, "ran")))
    })
}

#[test]
fn hanging_one_holds_nothing_else_up_and_runs_once() -> io::Result<()> {
    let scene = Scene::new()?;
    let daemon = scene.knockd(&config(&[ssh_door("1s"), web(WAIT)]))?;
    scene.guarded(|| {
        scene.open_web(&daemon)?;
        close_web(&daemon)?;
        wait_for_ran(&daemon, &["start", "stop"])?;
        let term = scene.open_ssh(&daemon, Duration::from_secs(1))?;
        scene.assert_closes_in_time(&term);
        daemon.wait_for_line("ssh: closed: its time is over", SOON)?;
        let grants = grants(&daemon)?;
        assert!(grants.len() == 1 && grants[0]["state"] == "closing", "{grants:?}");
        // Whoever knocks while it closes has it opened anew afterwards.
        let mark = daemon.mark();
        scene.knock(TO_WEB)?;
        daemon.wait_for_line_after(mark, "web: OPEN SESAME", SOON)?;
        assert_eq!(lines_of(&daemon, "ran"), ["start", "stop"]);
        daemon.directory().write("go", "")?;
        wait_for_ran(&daemon, &["start", "stop", "start"])?;
        close_web(&daemon)?;
        wait_until_nothing_is_open(&daemon)?;
        assert_eq!(lines_of(&daemon, "ran"), ["start", "stop", "start", "stop"]);
        Ok(())
    })
}

#[test]
fn failing_one_is_told_and_not_run_again() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut daemon = scene.knockd(&config(&[web("exit 3")]))?;
    scene.open_web(&daemon)?;
    close_web(&daemon)?;
    daemon.wait_for_line("web: command returned non-zero status code (3)", SOON)?;
    wait_until_nothing_is_open(&daemon)?;
    daemon.kill()?;
    daemon.start_again(scene.server())?;
    assert_eq!(grants(&daemon)?.len(), 0);
    scene.open_web(&daemon)?;
    assert_eq!(lines_of(&daemon, "ran"), ["start", "stop", "start"]);
    Ok(())
}

#[test]
fn killed_while_it_runs_it_runs_again() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut daemon = scene.knockd(&config(&[web(WAIT)]))?;
    scene.open_web(&daemon)?;
    close_web(&daemon)?;
    wait_for_ran(&daemon, &["start", "stop"])?;
    daemon.kill()?;
    daemon.start_again(scene.server())?;
    wait_for_ran(&daemon, &["start", "stop", "stop"])?;
    daemon.directory().write("go", "")?;
    wait_until_nothing_is_open(&daemon)?;
    // Once it has ended it is owed no more.
    for signal in [Signal::KILL, Signal::TERM] {
        daemon.signal(signal)?;
        daemon.wait_exit(SOON)?;
        daemon.start_again(scene.server())?;
        assert_eq!(grants(&daemon)?.len(), 0);
    }
    assert_eq!(lines_of(&daemon, "ran"), ["start", "stop", "stop"]);
    Ok(())
}

/// The system has no descriptor left for its output.
#[test]
fn one_that_cannot_be_started_is_tried_until_it_can() -> io::Result<()> {
    let scene = Scene::new()?;
    let config = config(&[ssh_door("600"), web("true").replace("cmd_timeout = 600", "cmd_timeout = 2")]);
    let mut daemon = scene.knockd(&config)?;
    scene.open_web(&daemon)?;
    limit_descriptors(&daemon, first_unused(&daemon))?;
    daemon.wait_for_lines(2, "web: error: command could not be started", SOON)?;
    // The kernel needs none.
    scene.knock(TO_SSH)?;
    daemon.wait_for_line("ssh: opened 22/tcp", SOON)?;
    assert_eq!(lines_of(&daemon, "ran"), ["start"]);
    limit_descriptors(&daemon, 1024)?;
    wait_for_ran(&daemon, &["start", "stop"])?;
    lab::wait_until("closed", SOON, || grants(&daemon).is_ok_and(|grants| grants.len() == 1))?;
    let tries = || count(&daemon, "web: running command: echo stop");
    lab::wait_until("what it says of three tries", SOON, || tries() >= 3)?;
    daemon.kill()?;
    daemon.start_again(scene.server())?;
    assert_eq!(grants(&daemon)?.len(), 1);
    assert_eq!(lines_of(&daemon, "ran"), ["start", "stop"]);
    Ok(())
}

fn limit_descriptors(daemon: &Daemon, most: usize) -> io::Result<()> {
    let process = daemon.id().to_string();
    let status = Command::new("prlimit").args(["--pid", &process, &format!("--nofile={most}:")]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("prlimit: {status}"))) }
}

/// The lowest number that none of its descriptors has.
fn first_unused(daemon: &Daemon) -> usize {
    let used = |number: &usize| fs::symlink_metadata(format!("/proc/{}/fd/{number}", daemon.id())).is_ok();
    (0..).take_while(used).count()
}
