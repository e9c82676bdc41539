//! The disk with the daemon's state cannot be written to.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use lab::PortState;
use rustix::fs::{FlockOperation, flock};

use crate::disk::Disk;
use crate::support::{
    SOON, Scene, TO_SSH, TO_WEB, Term, ask, config, count, grants, knockd, lines_of, ssh_door,
    wait_until_nothing_is_open, web_door,
};

const SIZE: u32 = 2048;
const READ_ONLY: &str = "Read-only file system";

#[test]
fn from_the_beginning_no_door_opens_until_it_can_be_written() -> io::Result<()> {
    let (scene, disk) = (Scene::new()?, Disk::new(SIZE)?);
    disk.set_writable(false)?;
    let config = config(&[ssh_door("600"), web_door("600")]);
    let daemon = disk.knockd()?.config(config).start(scene.server())?;
    daemon.wait_for_line("no door opens before it can be", SOON)?;
    scene.guarded(|| {
        for (ports, door) in [(TO_SSH, "ssh"), (TO_WEB, "web")] {
            scene.knock(ports)?;
            daemon.wait_for_line(&format!("10.9.1.1: {door}: not opened: the journal"), SOON)?;
        }
        assert!(count(&daemon, READ_ONLY) >= 3, "{}", daemon.text());
        assert_ne!(scene.guest().probe(scene.ssh()), PortState::Open);
        let status = ask(&daemon, r#"{"request":"status"}"#)?;
        assert_eq!(status["journal"]["state"], "failing", "{status}");
        assert_eq!((grants(&daemon)?.len(), daemon.file("ran")), (0, String::new()));
        disk.set_writable(true)?;
        let mark = daemon.mark();
        scene.knock(TO_SSH)?;
        daemon.wait_for_line_after(mark, "is written again", SOON)?;
        daemon.wait_for_line_after(mark, "ssh: opened 22/tcp", SOON)?;
        assert!(scene.gets_in(), "{}", daemon.text());
        Ok(())
    })
}

/// What was written down before is known again as soon as the disk is there.
#[test]
fn at_a_restart_what_was_open_is_found_again_afterwards() -> io::Result<()> {
    const OPEN_FOR: Duration = Duration::from_secs(600);
    let (scene, disk) = (Scene::new()?, Disk::new(SIZE)?);
    let config = config(&[ssh_door("600"), web_door("1")]);
    let mut daemon = disk.knockd()?.config(config).start(scene.server())?;
    scene.guarded(|| {
        let term = scene.open_ssh(&daemon, OPEN_FOR)?;
        let before = Instant::now();
        scene.open_web(&daemon)?;
        let web = Term::new(before, Instant::now(), Duration::from_secs(1));
        daemon.kill()?;
        let closed_in_time = !web.runs();
        disk.set_writable(false)?;
        daemon.start_again(scene.server())?;
        daemon.wait_for_line("no door opens before it can be", SOON)?;
        disk.set_writable(true)?;
        daemon.wait_for_line("is written again", SOON)?;
        assert!(scene.gets_in(), "{}", daemon.text());
        lab::wait_until("the stop command", SOON, || {
            lines_of(&daemon, "ran").iter().filter(|line| *line == "stop").count() >= 1
        })?;
        assert!(closed_in_time || lines_of(&daemon, "ran") == ["start", "stop"]);
        lab::wait_until("one is left", SOON, || grants(&daemon).is_ok_and(|grants| grants.len() == 1))?;
        term.assert_told_by(&daemon)
    })
}

/// Two daemons must not write into one journal; the second does its work when the first has ended.
#[test]
fn another_daemon_has_locked_the_journal() -> io::Result<()> {
    let (scene, state) = (Scene::new()?, lab::TempDir::new()?);
    let directory = fs::File::open(state.path())?;
    flock(&directory, FlockOperation::LockExclusive)?;
    let builder = knockd()?.config(config(&[ssh_door("600")])).env("STATE_DIRECTORY", state.path());
    let daemon = builder.start(scene.server())?;
    daemon.wait_for_line("another knockd has locked its directory", SOON)?;
    scene.guarded(|| {
        scene.knock(TO_SSH)?;
        daemon.wait_for_line("10.9.1.1: ssh: not opened: the journal", SOON)?;
        assert_ne!(scene.guest().probe(scene.ssh()), PortState::Open);
        let mark = daemon.mark();
        drop(directory);
        daemon.wait_for_line_after(mark, "is written again", SOON)?;
        scene.open_ssh(&daemon, Duration::from_secs(600))?;
        Ok(())
    })
}

/// They need no journal, as with knockd.
#[test]
fn doors_of_commands_alone_work_without() -> io::Result<()> {
    let (scene, disk) = (Scene::new()?, Disk::new(SIZE)?);
    disk.set_writable(false)?;
    let daemon = disk.knockd()?.config(config(&[web_door("1")])).start(scene.server())?;
    daemon.wait_for_line("if the daemon is killed, what is open stays open", SOON)?;
    scene.knock(TO_WEB)?;
    lab::wait_until("both commands", SOON, || lines_of(&daemon, "ran") == ["start", "stop"])?;
    wait_until_nothing_is_open(&daemon)?;
    assert_eq!(count(&daemon, "warning"), 1, "{}", daemon.text());
    Ok(())
}
