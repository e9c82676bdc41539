//! The daemon is killed, wherever it is.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use lab::Daemon;

use crate::support::{
    SOON, Scene, TO_SSH, TO_WEB, Term, close_all, config, grants, holders, lines_of, side_by_side, ssh_door,
    wait_until_nothing_is_open, web_door, wrapped,
};

const OPEN_FOR: Duration = Duration::from_millis(1500);
/// Both doors by one knock.
const BOTH: &str = "[ssh]\nsequence = 7142,8319,5623\ntcpflags = syn\nopen = 22/tcp\nopen_for = 1.5\n\
    [web]\nsequence = 7142,8319,5623\ntcpflags = syn\ncmd_timeout = 1.5\n\
    start_command = echo start >> {dir}/ran\nstop_command = echo stop >> {dir}/ran\n";
/// How much later after the knock each kill comes.
const STEP: Duration = Duration::from_micros(100);

#[test]
fn at_any_moment_of_a_knock() -> io::Result<()> {
    side_by_side(0..4, |lane| {
        let scene = Scene::new()?;
        let mut daemon = scene.knockd(&format!("[options]\n{BOTH}"))?;
        scene.guarded(|| {
            (0..5).try_for_each(|round| {
                kill(&scene, &mut daemon, STEP * (5 * lane + round), round % 2 == 0)?;
                knock_works(&scene, &daemon)
            })
        })
    })
}

/// Kills the daemon so long after the last knock was sent, and starts it again at once or when all is over.
fn kill(scene: &Scene, daemon: &mut Daemon, moment: Duration, at_once: bool) -> io::Result<()> {
    let mark = daemon.mark();
    scene.knock("7142,8319")?;
    daemon.wait_for_line_after(mark, "web: Stage 2", SOON)?;
    let before = Instant::now();
    thread::scope(|scope| {
        let knock = scope.spawn(|| scene.knock("5623"));
        thread::sleep(moment);
        daemon.kill()?;
        knock.join().unwrap_or(Ok(()))
    })?;
    let term = Term::new(before, Instant::now(), OPEN_FOR);
    let was_open = scene.gets_in();
    if !at_once && was_open {
        scene.assert_closes_in_time(&term);
    }
    daemon.start_again(scene.server())?;
    let is_held = !holders(daemon, "ssh")?.is_empty();
    if term.runs() {
        assert!(is_held || !was_open, "what was open is lost\n{}", daemon.text());
        assert!(!is_held || scene.gets_in() || !term.runs(), "not let in\n{}", daemon.text());
    }
    if is_held {
        scene.assert_closes_in_time(&term);
    }
    wait_until_nothing_is_open(daemon)?;
    scene.assert_shut();
    let ran = lines_of(daemon, "ran");
    assert_ne!(ran.last().map(String::as_str), Some("start"), "never closed: {ran:?}");
    Ok(())
}

fn knock_works(scene: &Scene, daemon: &Daemon) -> io::Result<()> {
    let (mark, before) = (daemon.mark(), lines_of(daemon, "ran").len());
    scene.knock(TO_SSH)?;
    daemon.wait_for_line_after(mark, "ssh: opened", SOON)?;
    lab::wait_until("the start command", SOON, || lines_of(daemon, "ran").len() > before)?;
    close_all(daemon)?;
    assert_eq!(lines_of(daemon, "ran")[before..], ["start", "stop"]);
    Ok(())
}

/// The moment that a signal does not hit: it is written down, and nothing has opened yet.
#[test]
#[cfg(debug_assertions)]
fn between_the_journal_and_the_kernel() -> io::Result<()> {
    const LONGER: Duration = Duration::from_secs(4);
    side_by_side(["ssh", "web"], |door| {
        let scene = Scene::new()?;
        let directory = lab::TempDir::new()?;
        let script = "ulimit -c 0\n\
            if test -e \"$LAB_DIR/fall\"; then export KNOCKD_TEST_STOP_AFTER_RECORD=1; fi\n\
            exec {knockd} \"$@\"";
        let config = config(&[ssh_door("4s"), web_door("4")]);
        let mut daemon = wrapped(&directory, script)?.config(config).start(scene.server())?;
        daemon.kill()?;
        daemon.directory().write("fall", "")?;
        daemon.start_again(scene.server())?;
        scene.guarded(|| {
            let before = Instant::now();
            scene.knock(if door == "ssh" { TO_SSH } else { TO_WEB })?;
            let status = daemon.wait_exit(SOON)?;
            assert_eq!(status.code(), None, "no signal: {status}\n{}", daemon.text());
            let term = Term::new(before, Instant::now(), LONGER);
            scene.assert_shut();
            assert_eq!(daemon.file("ran"), "");
            std::fs::remove_file(daemon.directory().path().join("fall"))?;
            daemon.start_again(scene.server())?;
            assert!(holders(&daemon, door)?.contains("10.9.1.1") || !term.runs(), "{:?}", grants(&daemon)?);
            term.assert_told_by(&daemon)?;
            if door == "ssh" {
                scene.assert_closes_in_time(&term);
            }
            wait_until_nothing_is_open(&daemon)?;
            assert!(!term.runs());
            scene.assert_shut();
            assert_eq!(daemon.file("ran"), if door == "ssh" { "" } else { "stop\n" });
            Ok(())
        })
    })
}
