//! Doors that are gone from the configuration while they are open.

use std::io;
use std::time::{Duration, Instant};

use lab::{Daemon, Signal};

use crate::support::{
    SOON, Scene, Term, config, grants, holders, lines_of, side_by_side, ssh_door, wait_until_nothing_is_open,
    web_door,
};

/// Another door to the same port, which therefore stays guarded.
const OTHER: &str = "[other]\nsequence = 4007,3905\ntcpflags = syn\nopen = 22/tcp\nopen_for = 600\n";
const NOTHING_NATIVE: &str = "[last]\nsequence = 4007,3905\ncommand = true\n";
const WEB_FOR: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Restart,
    Reload,
}

fn take_up(how: How, scene: &Scene, daemon: &mut Daemon, config: &str) -> io::Result<()> {
    daemon.write_config(config)?;
    match how {
        How::Restart => {
            daemon.kill()?;
            daemon.start_again(scene.server())
        }
        How::Reload => daemon.signal(Signal::HUP),
    }
}

#[test]
fn closed_at_once_and_what_is_owed_is_run_in_time() -> io::Result<()> {
    side_by_side([How::Restart, How::Reload], |how| {
        let scene = Scene::new()?;
        let mut daemon = scene.knockd(&config(&[ssh_door("600"), web_door("5"), OTHER.into()]))?;
        scene.guarded(|| {
            scene.open_ssh(&daemon, Duration::from_secs(600))?;
            let before = Instant::now();
            scene.open_web(&daemon)?;
            let web = Term::new(before, Instant::now(), WEB_FOR);
            take_up(how, &scene, &mut daemon, &config(&[OTHER.into()]))?;
            daemon.wait_for_line("10.9.1.1: ssh: closed: the configuration no longer has this door", SOON)?;
            scene.assert_shut();
            assert!(holders(&daemon, "ssh")?.is_empty(), "{:?}", grants(&daemon)?);
            web.assert_told_by(&daemon)?;
            wait_until_nothing_is_open(&daemon)?;
            assert!(!web.runs(), "closed too early\n{}", daemon.text());
            assert_eq!(lines_of(&daemon, "ran"), ["start", "stop"]);
            Ok(())
        })
    })
}

#[test]
fn table_goes_with_the_last_door_of_the_kernel() -> io::Result<()> {
    side_by_side([How::Restart, How::Reload], |how| {
        let scene = Scene::new()?;
        let mut daemon = scene.knockd(&config(&[ssh_door("600")]))?;
        scene.open_ssh(&daemon, Duration::from_secs(600))?;
        scene.server().sh("nft list table inet knockd")?;
        take_up(how, &scene, &mut daemon, &config(&[NOTHING_NATIVE.into()]))?;
        daemon.wait_for_line("10.9.1.1: ssh: closed: the configuration no longer has this door", SOON)?;
        let left = scene.server().sh("nft list ruleset")?;
        assert!(!left.contains("knockd"), "{left}");
        assert_eq!(grants(&daemon)?.len(), 0);
        Ok(())
    })
}
