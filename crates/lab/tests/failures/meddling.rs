//! Somebody else changes the daemon's table.

use std::io;
use std::thread;
use std::time::Duration;

use lab::{Daemon, PortState, Signal};

use crate::support::{
    SOON, Scene, TO_SSH, admitted, ask, close_all, config, side_by_side, ssh_door, wait_until_nothing_is_open,
};

const A_MINUTE: Duration = Duration::from_secs(60);
const GUEST: &str = "10.9.1.1";

/// What is done to the table; the last rule of its chains is the one that drops.
const MEDDLINGS: [(&str, &str); 8] = [
    ("delete the table", "nft delete table inet knockd"),
    ("flush the ruleset", "nft flush ruleset"),
    ("flush a set", "nft flush set inet knockd ssh_v4"),
    ("delete an element", "nft delete element inet knockd ssh_v4 '{ 10.9.1.1 }'"),
    ("flush the rules", "nft flush table inet knockd"),
    (
        "delete a rule",
        "nft -a list chain inet knockd tcp_22 | sed -n 's/.*# handle //p' | tail -n 1 | \
         xargs nft delete rule inet knockd tcp_22 handle",
    ),
    ("let everybody in", "nft insert rule inet knockd tcp_22 accept"),
    ("put it to sleep", "nft add table inet knockd '{ flags dormant; }'"),
];

/// Waits until everything is as it was: the guest in, the stranger out.
fn wait_until_put_back(scene: &Scene, daemon: &Daemon) -> io::Result<()> {
    let intact = || {
        ask(daemon, r#"{"request":"status"}"#).is_ok_and(|status| status["native"]["table"] == "in_place")
            && admitted(scene.server(), "ssh").is_ok_and(|admitted| admitted.contains(GUEST))
    };
    lab::wait_until("the table", SOON, intact).map_err(|error| {
        let ruleset = scene.server().sh("nft list ruleset").unwrap_or_default();
        io::Error::other(format!("{error}\n{ruleset}\n{}", daemon.text()))
    })?;
    scene.stranger().wait_until_closed(scene.ssh(), SOON)?;
    assert!(scene.gets_in(), "{}", daemon.text());
    Ok(())
}

#[test]
fn table_is_put_back_with_what_is_open() -> io::Result<()> {
    side_by_side(MEDDLINGS, |(what, script)| {
        let scene = Scene::new()?;
        let daemon = scene.knockd(&config(&[ssh_door("60s")]))?;
        let term = scene.open_ssh(&daemon, A_MINUTE)?;
        scene.server().sh(script)?;
        daemon
            .wait_for_line("somebody changed the table inet knockd: put back", SOON)
            .map_err(|error| io::Error::other(format!("{what}: {error}")))?;
        wait_until_put_back(&scene, &daemon)?;
        term.assert_told_by(&daemon)
    })
}

/// What was put back ends in time.
#[test]
fn put_back_for_no_longer_than_before() -> io::Result<()> {
    const OPEN_FOR: Duration = Duration::from_secs(4);
    let scene = Scene::new()?;
    let mut daemon = scene.knockd(&config(&[ssh_door("4s")]))?;
    let term = scene.open_ssh(&daemon, OPEN_FOR)?;
    scene.server().sh("nft delete table inet knockd")?;
    daemon.wait_for_line("put back", SOON)?;
    scene.stranger().wait_until_closed(scene.ssh(), SOON)?;
    // The kernel closes it, whatever becomes of the daemon.
    daemon.kill()?;
    scene.assert_closes_in_time(&term);
    scene.assert_shut();
    Ok(())
}

#[test]
fn table_goes_while_somebody_knocks() -> io::Result<()> {
    side_by_side(0..3, |_| {
        let scene = Scene::new()?;
        let daemon = scene.knockd(&config(&[ssh_door("60s")]))?;
        for _ in 0..2 {
            let mark = daemon.mark();
            thread::scope(|scope| {
                let meddler = scope.spawn(|| scene.server().sh("nft delete table inet knockd || true"));
                scene.knock(TO_SSH)?;
                meddler.join().unwrap_or_else(|_| Ok(String::new()))
            })?;
            daemon.wait_for_line_after(mark, "ssh: opened 22/tcp", SOON)?;
            daemon.wait_for_line_after(mark, "put back", SOON)?;
            wait_until_put_back(&scene, &daemon)?;
            close_all(&daemon)?;
            scene.assert_shut();
        }
        Ok(())
    })
}

#[test]
fn ruleset_is_flushed_while_the_daemon_is_stopped() -> io::Result<()> {
    const OPEN_FOR: Duration = Duration::from_secs(5);
    let scene = Scene::new()?;
    let daemon = scene.knockd(&config(&[ssh_door("5s")]))?;
    let term = scene.open_ssh(&daemon, OPEN_FOR)?;
    daemon.signal(Signal::STOP)?;
    scene.server().nft("flush ruleset")?;
    assert_eq!(scene.stranger().probe(scene.ssh()), PortState::Open, "it was not stopped");
    daemon.signal(Signal::CONT)?;
    daemon.wait_for_line("somebody changed the table inet knockd: put back", SOON)?;
    scene.stranger().wait_until_closed(scene.ssh(), SOON)?;
    scene.assert_closes_in_time(&term);
    wait_until_nothing_is_open(&daemon)?;
    scene.assert_shut();
    Ok(())
}

/// The kernel keeps the time; the daemon hears of it late.
#[test]
fn daemon_is_stopped_when_a_door_is_due() -> io::Result<()> {
    const OPEN_FOR: Duration = Duration::from_secs(2);
    let scene = Scene::new()?;
    let daemon = scene.knockd(&config(&[ssh_door("2s")]))?;
    scene.guarded(|| {
        let term = scene.open_ssh(&daemon, OPEN_FOR)?;
        daemon.signal(Signal::STOP)?;
        scene.assert_closes_in_time(&term);
        daemon.signal(Signal::CONT)?;
        daemon.wait_for_line("10.9.1.1: ssh: closed: its time is over", SOON)?;
        scene.assert_shut();
        Ok(())
    })
}
