//! The daemon is told to end, and started again.

use std::io;
use std::time::Duration;

use lab::Signal;

use crate::support::{
    SOON, Scene, config, lines_of, side_by_side, ssh_door, wait_until_nothing_is_open, web_door,
};

const OPEN_FOR: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Afterwards {
    StaysDown,
    StartsAgain,
}

/// What commands opened is closed at the end, what the kernel opened goes on to its time, with a daemon or without.
#[test]
fn kernel_s_doors_outlast_the_daemon() -> io::Result<()> {
    side_by_side([Afterwards::StaysDown, Afterwards::StartsAgain], |afterwards| {
        let scene = Scene::new()?;
        let mut daemon = scene.knockd(&config(&[ssh_door("5s"), web_door("600")]))?;
        scene.guarded(|| {
            scene.open_web(&daemon)?;
            let term = scene.open_ssh(&daemon, OPEN_FOR)?;
            daemon.signal(Signal::TERM)?;
            assert_eq!(daemon.wait_exit(SOON)?.code(), Some(15));
            assert_eq!(lines_of(&daemon, "ran"), ["start", "stop"]);
            if afterwards == Afterwards::StartsAgain {
                daemon.start_again(scene.server())?;
                daemon.wait_for_log("still open from before: 1", SOON)?;
                term.assert_told_by(&daemon)?;
            }
            scene.assert_closes_in_time(&term);
            if afterwards == Afterwards::StartsAgain {
                daemon.wait_for_line("10.9.1.1: ssh: closed: its time is over", SOON)?;
            } else {
                daemon.start_again(scene.server())?;
            }
            wait_until_nothing_is_open(&daemon)?;
            scene.assert_shut();
            assert_eq!(lines_of(&daemon, "ran"), ["start", "stop"]);
            Ok(())
        })
    })
}
