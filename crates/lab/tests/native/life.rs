//! A door's whole life, as every scenario about a firewall plays it.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use lab::{Daemon, Session};

use crate::support::{Door, SOON, SSH, Scene, address_like, side_by_side, terminate};

/// The door that is open when the daemon ends.
const LATE: Door = Door { name: "late", ports: "6071 4480:udp 7709", open_for: Duration::from_secs(3) };

/// The doors that [`play`] needs, which open this; with more directives.
pub(crate) fn doors(open: &str, directives: &str) -> String {
    let directives = format!("open = {open}\n{directives}");
    SSH.section(&directives) + &LATE.section(&directives)
}

/// By IPv4 and IPv6 at the same time: closed, opened by a knock, opened longer by another, closed in time. What was
/// connected goes on, and nobody else ever gets in. Then the daemon ends: what is open stays open for its time, and is
/// closed with nobody there.
pub(crate) fn play(scene: &Scene, daemon: &mut Daemon, targets: &[SocketAddr]) -> io::Result<()> {
    scene.keeping_out(targets, || {
        side_by_side(targets, |target| live(scene, daemon, &SSH, *target))?;
        outlive(scene, daemon, targets)
    })
}

/// The life of a door up to its closing.
pub(crate) fn live(scene: &Scene, daemon: &Daemon, door: &Door, target: SocketAddr) -> io::Result<()> {
    let guest = address_like(scene.guest(), target);
    let told = |what: &str| format!("{guest}: {}: {what}", door.name);
    let mark = daemon.mark();
    scene.assert_shut(target);
    let first = Instant::now();
    scene.knock(target.ip(), door)?;
    daemon.wait_for_line_after(mark, &told("opened "), SOON)?;
    let mut session = enter(scene, target, first + door.open_for)?;

    until(first + door.open_for / 2);
    let again = Instant::now();
    scene.knock(target.ip(), door)?;
    daemon.wait_for_line_after(mark, &told("still open, for another "), SOON)?;
    until(first + door.open_for);
    enter(scene, target, again + door.open_for)?;

    let closed = daemon.wait_for_line_after(mark, &told("closed: its time is over"), SOON)?;
    let open = closed.at - again;
    assert!(open >= door.open_for, "closed {open:?} after the last knock");
    scene.assert_closes(target)?;
    session.echo("still in")
}

/// The end of the daemon.
fn outlive(scene: &Scene, daemon: &mut Daemon, targets: &[SocketAddr]) -> io::Result<()> {
    targets.iter().for_each(|target| scene.assert_shut(*target));
    let knocked = Instant::now();
    targets.iter().try_for_each(|target| scene.knock(target.ip(), &LATE))?;
    daemon.wait_for_lines(targets.len(), "late: opened ", SOON)?;
    terminate(daemon)?;
    side_by_side(targets, |target| {
        let mut session = enter(scene, *target, knocked + LATE.open_for)?;
        scene.assert_closes(*target)?;
        session.echo("still in")
    })
}

/// Gets the guest in before `until`.
fn enter(scene: &Scene, target: SocketAddr, until: Instant) -> io::Result<Session> {
    scene.guest().wait_until_open(target, until.saturating_duration_since(Instant::now()))?;
    let mut session = Session::open(scene.guest(), target)?;
    session.echo("in")?;
    Ok(session)
}

fn until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}
