//! The daemon's end: whatever is open is closed before.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use lab::{Daemon, Lab, Signal};

use crate::support::{DROPPING, OPEN, SOON, STOP, Scene, side_by_side, start};

/// A command that does not end before the daemon does.
const HANG: &str = "exec tail --pid=$PPID -f /dev/null";

#[test]
fn three_open_doors_are_closed_before_the_end() -> io::Result<()> {
    side_by_side([(Signal::TERM, 15), (Signal::INT, 2)], |(signal, status)| {
        let scene = Scene::new(DROPPING)?;
        let other = |name: &str, sequence: &str| {
            format!(
                "[{name}]\nsequence = {sequence}\ncmd_timeout = 600\nstart_command = echo {name} >> {{dir}}/opened\n\
                 stop_command = sleep 0.3; echo {name} >> {{dir}}/closed\n"
            )
        };
        let config = format!(
            "[options]\nlogfile = {{dir}}/knockd.log\n[SSH]\nsequence = 7142,8319\ncmd_timeout = 600\n{OPEN}{STOP}\n{}{}",
            other("b", "1701,2803"),
            other("c", "3905,4007")
        );
        let mut daemon = scene.knockd(&config)?;
        scene.assert_shut(scene.ssh4());
        scene.knock("7142,8319,1701,2803,3905,4007")?;
        scene.assert_opens(scene.ssh4())?;
        lab::wait_until("the others", SOON, || daemon.file("opened").lines().count() == 2)?;
        daemon.signal(signal)?;
        assert_eq!(daemon.wait_exit(SOON)?.code(), Some(status));
        // It has ended: this is how it is, not how it will be.
        scene.assert_shut(scene.ssh4());
        let mut closed: Vec<_> = daemon.file("closed").lines().map(str::to_owned).collect();
        closed.sort();
        assert_eq!(closed, ["b", "c"]);
        assert!(daemon.log().ends_with("shutting down\n"), "{}", daemon.log());
        Ok(())
    })
}

/// A door whose stop command hangs, open, and the daemon told to end.
fn ending_with_a_hanging_stop(lab: &Lab) -> io::Result<Daemon> {
    let daemon = start(
        lab.server(),
        &format!(
            "[options]\nlogfile = {{dir}}/knockd.log\n\
             [stuck]\nsequence = 7142,8319\ncmd_timeout = 600\nstart_command = touch {{dir}}/opened\nstop_command = {HANG}\n\
             [good]\nsequence = 1701,2803\ncmd_timeout = 600\nstart_command = touch {{dir}}/good\nstop_command = rm {{dir}}/good\n"
        ),
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319,1701,2803")?;
    daemon.wait_for_file("opened", "", SOON)?;
    daemon.wait_for_file("good", "", SOON)?;
    daemon.signal(Signal::TERM)?;
    daemon.wait_for_line("waiting for child processes...", SOON)?;
    lab::wait_until("the other door is closed", SOON, || !daemon.directory().path().join("good").exists())?;
    // The command that hangs.
    let children = format!("/proc/{0}/task/{0}/children", daemon.id());
    let count = || fs::read_to_string(&children).map_or(0, |children| children.split_whitespace().count());
    lab::wait_until("the other command is looked after", SOON, || count() == 1)?;
    Ok(daemon)
}

fn assert_tells_what_is_left(daemon: &Daemon) {
    let log = daemon.log();
    let left: Vec<_> = log.lines().filter(|line| line.contains("still open")).collect();
    assert_eq!(left.len(), 1, "{log}");
    assert!(left[0].contains("10.9.1.1: stuck: ") && left[0].contains("tail --pid"), "{log}");
}

#[test]
fn second_signal_ends_the_wait_for_a_hanging_stop_command() -> io::Result<()> {
    let lab = Lab::pair()?;
    let mut daemon = ending_with_a_hanging_stop(&lab)?;
    assert!(daemon.exited()?.is_none(), "it did not wait");
    let begin = Instant::now();
    daemon.signal(Signal::TERM)?;
    assert_eq!(daemon.wait_exit(SOON)?.code(), Some(15));
    assert!(begin.elapsed() < Duration::from_secs(5), "ended after {:?}", begin.elapsed());
    assert_tells_what_is_left(&daemon);
    Ok(())
}

#[test]
fn hanging_stop_command_is_given_ten_seconds() -> io::Result<()> {
    let lab = Lab::pair()?;
    let begin = Instant::now();
    let mut daemon = ending_with_a_hanging_stop(&lab)?;
    assert_eq!(daemon.wait_exit(SOON)?.code(), Some(15));
    let waited = begin.elapsed();
    assert!(waited > Duration::from_secs(9), "ended after {waited:?}");
    assert_tells_what_is_left(&daemon);
    Ok(())
}

/// A start command that still runs at the end: what it opens is closed when it has ended.
#[test]
fn door_that_is_just_opening_is_closed_before_the_end() -> io::Result<()> {
    let lab = Lab::pair()?;
    let mut daemon = start(
        lab.server(),
        "[options]\n[door]\nsequence = 7142,8319\ncmd_timeout = 600\n\
         start_command = touch {dir}/began; sleep 1; echo opened >> {dir}/ran\nstop_command = echo closed >> {dir}/ran\n",
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    daemon.wait_for_file("began", "", SOON)?;
    daemon.signal(Signal::TERM)?;
    assert_eq!(daemon.wait_exit(SOON)?.code(), Some(15));
    assert_eq!(daemon.file("ran"), "opened\nclosed\n");
    Ok(())
}

/// While it waits for its commands it opens nothing more.
#[test]
fn nobody_gets_in_during_the_end() -> io::Result<()> {
    let lab = Lab::pair()?;
    let mut daemon = ending_with_a_hanging_stop(&lab)?;
    lab.client().knock(lab.server().ip6(), "7142,8319,1701,2803")?;
    daemon.signal(Signal::INT)?;
    daemon.wait_exit(SOON)?;
    assert!(!daemon.log().contains("fd09::1:1"), "{}", daemon.log());
    Ok(())
}

#[test]
fn nothing_open_ends_at_once() -> io::Result<()> {
    let lab = Lab::pair()?;
    let mut daemon = start(
        lab.server(),
        "[options]\nlogfile = {dir}/knockd.log\n[door]\nsequence = 7142\ncommand = true\n",
    )?;
    let begin = Instant::now();
    daemon.signal(Signal::TERM)?;
    assert_eq!(daemon.wait_exit(SOON)?.code(), Some(15));
    assert!(begin.elapsed() < Duration::from_secs(5), "ended after {:?}", begin.elapsed());
    Ok(())
}

/// What the daemon does not wait for any longer goes on, and may say what it likes.
#[test]
fn stop_command_that_speaks_after_the_daemon_s_end() -> io::Result<()> {
    let lab = Lab::pair()?;
    let mut daemon = start(
        lab.server(),
        "[options]\n[door]\nsequence = 7142,8319\ncmd_timeout = 600\nstart_command = true\n\
         stop_command = touch {dir}/closing; until test -e {dir}/go; do sleep 0.05; done; echo late; touch {dir}/closed\n",
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    daemon.wait_for_line("OPEN SESAME", SOON)?;
    daemon.signal(Signal::TERM)?;
    daemon.wait_for_file("closing", "", SOON)?;
    daemon.signal(Signal::TERM)?;
    assert_eq!(daemon.wait_exit(SOON)?.code(), Some(15));
    std::fs::write(daemon.directory().path().join("go"), "")?;
    daemon.wait_for_file("closed", "", SOON)
}

/// A terminal that was stopped, or a pager: nobody reads, and more is said than fits.
#[test]
fn output_that_nobody_reads_holds_nothing_up() -> io::Result<()> {
    const FIRST_KNOCKS: usize = 3000;
    let lab = Lab::pair()?;
    let directory = lab::TempDir::new()?;
    let file = |name: &str| directory.path().join(name);
    let config = format!(
        "[options]\nlogfile = {}\n[door]\nsequence = 7142:udp,8319\ncommand = touch {}\n",
        file("log").display(),
        file("opened").display()
    );
    let path = directory.write("knockd.conf", &config)?;
    let (unread, output) = io::pipe()?;
    let mut command = std::process::Command::new(lab::binary("knockd")?);
    command.args(["-v", "-D", "-c"]).arg(path).stdout(output.try_clone()?).stderr(output);
    let mut process = lab.server().spawn(&mut command)?;
    lab::wait_until("it listens", SOON, || directory.read("log").contains("listening on"))?;
    let many = vec!["7142:udp"; FIRST_KNOCKS].join(",");
    lab.client().knock(lab.server().ip4(), &many)?;
    lab.client().knock(lab.server().ip4(), "7142:udp,8319")?;
    lab::wait_until("it opens", SOON, || file("opened").exists())?;
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait_exit(SOON)?.code(), Some(15));
    drop(unread);
    Ok(())
}
