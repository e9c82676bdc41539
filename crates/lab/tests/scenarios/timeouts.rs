//! What time does: sequences that take too long, pauses, doors that stay open longer.

use std::io;
use std::time::{Duration, Instant};

use lab::Lab;

use crate::support::{DROPPING, OPEN, SOON, STOP, Scene, count, start};

/// Nobody has to send anything for it.
#[test]
fn timeout_is_logged_when_it_happens() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]\nlogfile = {dir}/knockd.log\n[door]\nsequence = 7142,8319,9623\nseq_timeout = 1\ncommand = true\n",
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    let stage = daemon.wait_for_line("Stage 1", SOON)?;
    let timeout = daemon.wait_for_line("10.9.1.1: door: sequence timeout (stage 2)", SOON)?;
    let waited = timeout.at - stage.at;
    let (least, most) = (Duration::from_millis(900), Duration::from_secs(2));
    assert!((least..most).contains(&waited), "logged {waited:?} after the first knock");
    daemon.wait_for_log("10.9.1.1: door: sequence timeout (stage 2)", SOON)?;
    lab.client().knock(lab.server().ip4(), "9623")?;
    lab.client().knock(lab.server().ip4(), "7142,8319,9623")?;
    daemon.wait_for_line("OPEN SESAME", SOON)?;
    assert_eq!(count(&daemon, "OPEN SESAME"), 1);
    Ok(())
}

#[test]
fn timeout_of_a_fraction_of_a_second() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let config = format!(
        "[options]\n[SSH]\nsequence = 7142,8319,9623\nseq_timeout = 0.3\ncmd_timeout = 0.5\n{OPEN}{STOP}"
    );
    let daemon = scene.knockd(&config)?;
    let server = scene.server().ip4();
    scene.guest().knock_from(None, server, "7142,8319,9623", Duration::from_millis(200))?;
    daemon.wait_for_line("sequence timeout", SOON)?;
    scene.assert_shut(scene.ssh4());
    assert_eq!(count(&daemon, "OPEN SESAME"), 0);
    let mark = daemon.mark();
    scene.guest().knock_from(None, server, "7142,8319,9623", Duration::from_millis(20))?;
    let opened = daemon.wait_for_line_after(mark, "OPEN SESAME", SOON)?;
    let closed = daemon.wait_for_line_after(mark, "command timeout", SOON)?;
    let open_for = closed.at - opened.at;
    assert!(open_for >= Duration::from_millis(450), "open for {open_for:?} only");
    assert!(open_for < Duration::from_secs(3), "open for {open_for:?}");
    scene.assert_closes(scene.ssh4())
}

#[test]
fn cooldown_passes_over_what_comes_too_soon() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]\n[door]\nsequence = 7142\nseq_cooldown = 2\ncommand = echo %IP% >> {dir}/ran\n",
    )?;
    let knock = || lab.client().knock(lab.server().ip4(), "7142");
    let begin = Instant::now();
    knock()?;
    daemon.wait_for_line("OPEN SESAME", SOON)?;
    // Knocked all the time, it opens again only when the time is over.
    while count(&daemon, "OPEN SESAME") < 2 {
        assert!(begin.elapsed() < SOON, "never again");
        knock()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let (first, second) = {
        let lines = daemon.lines();
        let mut openings = lines.iter().filter(|line| line.text.contains("OPEN SESAME")).map(|line| line.at);
        (openings.next(), openings.next())
    };
    let pause = first.zip(second).map(|(first, second)| second - first).unwrap_or_default();
    assert!(pause >= Duration::from_millis(1900), "opened again after {pause:?}");
    assert!(pause < Duration::from_secs(5), "opened again only after {pause:?}");
    Ok(())
}

/// Knocking again keeps the door open longer; it is opened once and closed once.
#[test]
fn knocking_again_extends() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let commands = "start_command = nft add element inet filter guests4 { %IP% }; echo start >> {dir}/ran
        stop_command = nft delete element inet filter guests4 { %IP% }; echo stop >> {dir}/ran";
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319\ncmd_timeout = 4\n{commands}\n");
    let daemon = scene.knockd(&config)?;
    scene.assert_shut(scene.ssh4());
    scene.knock("7142,8319")?;
    daemon.wait_for_lines(1, "OPEN SESAME", SOON)?;
    scene.assert_opens(scene.ssh4())?;
    for again in 1..=2 {
        // Some of the time is to be over: then it begins anew.
        std::thread::sleep(Duration::from_millis(500));
        scene.knock("7142,8319")?;
        daemon.wait_for_lines(again, "still open, for another 4 s", SOON)?;
    }
    assert_eq!(daemon.file("ran"), "start\n");
    daemon.wait_for_file("ran", "stop", SOON)?;
    scene.assert_closes(scene.ssh4())?;
    assert_eq!(daemon.file("ran"), "start\nstop\n");
    Ok(())
}
