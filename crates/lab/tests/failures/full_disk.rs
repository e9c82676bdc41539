//! The disk with the daemon's state is full.

use std::io;
use std::time::Duration;

use lab::{Daemon, PortState};
use serde_json::Value;

use crate::disk::Disk;
use crate::support::{
    SOON, Scene, TO_SSH, TO_WEB, admitted, ask, config, count, grants, holders, lines_of, open_by_hand,
    ssh_door, wait_until_agreed, web_door,
};

const SIZE: u32 = 1024;
const HOUR: u32 = 3600;
const GUEST: &str = "10.9.1.1";
/// How many grants are written into the room that is reserved, at the least; and how many at the most.
const AT_LEAST: u32 = 300;
const AT_MOST: u32 = 10_000;

fn start(scene: &Scene, disk: &Disk) -> io::Result<Daemon> {
    disk.knockd()?.config(config(&[ssh_door("1h"), web_door("600")])).start(scene.server())
}

fn address(number: u32) -> String {
    format!("10.20.{}.{}", number / 250, number % 250 + 1)
}

/// Opens the door for one address after the other until that is refused; for how many it was opened, and the refusal.
fn use_up(daemon: &Daemon) -> io::Result<(u32, Value)> {
    for number in 0..AT_MOST {
        let answer = open_by_hand(daemon, "ssh", &address(number), HOUR)?;
        if answer["answer"] != "done" {
            return Ok((number, answer));
        }
    }
    Err(io::Error::other(format!("{AT_MOST} grants were not too many\n{}", daemon.text())))
}

fn assert_refuses(scene: &Scene, daemon: &Daemon) -> io::Result<()> {
    let mark = daemon.mark();
    scene.knock(TO_SSH)?;
    daemon.wait_for_line_after(mark, &format!("{GUEST}: ssh: not opened: "), SOON)?;
    assert_ne!(scene.guest().probe(scene.ssh()), PortState::Open);
    Ok(())
}

fn assert_opens_again(scene: &Scene, daemon: &Daemon) -> io::Result<()> {
    let mark = daemon.mark();
    scene.knock(TO_SSH)?;
    daemon.wait_for_line_after(mark, &format!("{GUEST}: ssh: opened 22/tcp"), SOON)?;
    daemon.wait_for_line_after(mark, "is written again", SOON)?;
    assert!(scene.gets_in(), "{}", daemon.text());
    Ok(())
}

/// The disk is full, and what was reserved is used up; the guest had the door open, and it was closed.
fn fill(scene: &Scene, disk: &Disk) -> io::Result<(Daemon, u32)> {
    let daemon = start(scene, disk)?;
    scene.open_ssh(&daemon, Duration::from_secs(HOUR.into()))?;
    scene.open_web(&daemon)?;
    disk.fill()?;
    let (opened, refusal) = use_up(&daemon)?;
    assert!(opened >= AT_LEAST, "only {opened} in the room that is reserved\n{}", daemon.text());
    assert_eq!(refusal["answer"], "error");
    assert!(refusal["message"].as_str().is_some_and(|text| text.contains("journal")), "{refusal}");
    daemon.wait_for_line("cannot be written: No space left on device", SOON)?;
    // The guest and the others.
    assert_eq!(holders(&daemon, "ssh")?.len(), opened as usize + 1);
    wait_until_agreed(&daemon, scene.server(), "ssh")?;
    let done = ask(&daemon, r#"{"request":"close","address":"10.9.1.1"}"#)?;
    assert_eq!(done["answer"], "done");
    lab::wait_until("the stop command", SOON, || lines_of(&daemon, "ran") == ["start", "stop"])?;
    scene.assert_shut();
    assert_refuses(scene, &daemon)?;
    assert!(!admitted(scene.server(), "ssh")?.contains(GUEST));
    Ok((daemon, opened))
}

#[test]
fn opens_while_the_reserve_lasts_and_again_when_there_is_room() -> io::Result<()> {
    let (scene, disk) = (Scene::new()?, Disk::new(SIZE)?);
    let (mut daemon, opened) = fill(&scene, &disk)?;
    scene.guarded(|| {
        disk.free()?;
        assert_opens_again(&scene, &daemon)?;
        daemon.kill()?;
        daemon.start_again(scene.server())?;
        let holders = holders(&daemon, "ssh")?;
        assert_eq!(holders.len(), opened as usize + 1);
        assert!(holders.contains(GUEST) && holders.contains(&address(opened - 1)), "{holders:?}");
        wait_until_agreed(&daemon, scene.server(), "ssh")?;
        assert_eq!(lines_of(&daemon, "ran"), ["start", "stop"]);
        Ok(())
    })
}

#[test]
fn restarted_on_a_full_disk_nothing_is_open_that_was_closed() -> io::Result<()> {
    let (scene, disk) = (Scene::new()?, Disk::new(SIZE)?);
    let (mut daemon, _) = fill(&scene, &disk)?;
    scene.guarded(|| {
        daemon.kill()?;
        daemon.start_again(scene.server())?;
        scene.assert_shut();
        assert!(!holders(&daemon, "ssh")?.contains(GUEST));
        assert!(!admitted(scene.server(), "ssh")?.contains(GUEST));
        assert_refuses(&scene, &daemon)?;
        disk.free()?;
        assert_opens_again(&scene, &daemon)?;
        daemon.kill()?;
        daemon.start_again(scene.server())?;
        assert_eq!(holders(&daemon, "ssh")?.len(), 1);
        assert!(scene.gets_in(), "{}", daemon.text());
        Ok(())
    })
}

/// Of the room that is reserved nothing is lost when the journal is written anew.
#[test]
fn restarted_on_a_disk_with_less_room_than_is_reserved() -> io::Result<()> {
    let (scene, disk) = (Scene::new()?, Disk::new(SIZE)?);
    let mut daemon = start(&scene, &disk)?;
    disk.fill_all_but(64)?;
    daemon.kill()?;
    daemon.start_again(scene.server())?;
    disk.fill()?;
    let (opened, _) = use_up(&daemon)?;
    assert!(opened >= AT_LEAST, "only {opened} in the room that is reserved\n{}", daemon.text());
    Ok(())
}

#[test]
fn full_from_the_beginning() -> io::Result<()> {
    let (scene, disk) = (Scene::new()?, Disk::new(SIZE)?);
    disk.fill()?;
    let daemon = start(&scene, &disk)?;
    daemon.wait_for_line("No space left on device (os error 28): no door opens before it can be", SOON)?;
    scene.guarded(|| {
        assert_refuses(&scene, &daemon)?;
        scene.knock(TO_WEB)?;
        daemon.wait_for_line("web: not opened: ", SOON)?;
        assert!(grants(&daemon)?.is_empty());
        assert_eq!(daemon.file("ran"), "");
        disk.free()?;
        assert_opens_again(&scene, &daemon)?;
        assert_eq!(count(&daemon, "is written again"), 1);
        Ok(())
    })
}
