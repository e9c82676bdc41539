//! What a command finds, and what becomes of what it leaves behind.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use lab::{Daemon, Lab, wait_until};

use crate::support::{SOON, count, start};

/// A command that does not end before the daemon does.
const HANG: &str = "exec tail --pid=$PPID -f /dev/null";

/// The daemon's children that have ended and were not waited for.
fn zombies(daemon: &Daemon) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name before may hold anything, a bracket too.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|parent| parent.parse::<u32>().ok()));
        if state == Some("Z") && parent == Some(daemon.id()) {
            found.push(stat);
        }
    }
    Ok(found)
}

#[test]
fn no_zombies_are_left_by_many_commands() -> io::Result<()> {
    const TIMES: usize = 60;
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]\n[door]\nsequence = 7142\ncmd_timeout = 0\nstart_command = echo start >> {dir}/ran\n\
         stop_command = echo stop >> {dir}/ran\n[other]\nsequence = 8319\ncommand = (sleep 0.1 &) ; false\n",
    )?;
    for round in 1..=TIMES {
        lab.client().knock(lab.server().ip4(), "7142,8319")?;
        let stopped = || daemon.file("ran").lines().filter(|line| *line == "stop").count() >= round;
        wait_until("the stop command", SOON, stopped)?;
    }
    wait_until("no zombies", SOON, || zombies(&daemon).is_ok_and(|zombies| zombies.is_empty()))
}

/// Neither the packet socket nor the log nor anything else of the daemon's is in a command's hands.
#[test]
fn command_gets_no_descriptor_of_the_daemon() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]\nlogfile = {dir}/knockd.log\nusesyslog\n[door]\nsequence = 7142,8319\n\
         command = for fd in /proc/$$/fd/*; do echo ${fd##*/} $(readlink $fd); done > {dir}/fds.new; mv {dir}/fds.new {dir}/fds\n",
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    daemon.wait_for_file("fds", "2 ", SOON)?;
    let fds = daemon.file("fds");
    assert!(fds.starts_with("0 /dev/null\n"), "{fds}");
    for line in fds.lines() {
        let (number, target) = line.split_once(' ').unwrap_or((line, ""));
        // The shell itself keeps copies of its own beyond 9.
        let is_own = target.contains("/fds.new") || target.contains("pipe:") || target.is_empty();
        assert!(number == "0" || is_own, "descriptor {number} is {target}:\n{fds}");
    }
    assert!(!fds.contains("socket:") && !fds.contains("anon_inode") && !fds.contains("knockd.log"), "{fds}");
    Ok(())
}

#[test]
fn command_is_told_who_knocked_where() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]\n[my door]\nsequence = 7142,8319\n\
         command = echo \"%IP% $KNOCK_IP $KNOCK_DOOR $KNOCK_FAMILY %IP%\" >> {dir}/ran # %IP%\n",
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    daemon.wait_for_file("ran", "10.9.1.1 10.9.1.1 my door 4 10.9.1.1\n", SOON)?;
    lab.client().knock(lab.server().ip6(), "7142,8319")?;
    daemon.wait_for_file("ran", "fd09::1:1 fd09::1:1 my door 6 fd09::1:1\n", SOON)
}

#[test]
fn output_and_failure_are_in_the_log() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]\nlogfile = {dir}/knockd.log\n[door]\nsequence = 7142,8319\n\
         command = echo out; echo err >&2; printf 'a\\033[2Jb\\nno end'; exit 3\n",
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    daemon.wait_for_log("door: command returned non-zero status code (3)", SOON)?;
    for line in
        ["door: running command: echo out", "door: output: out", "door: output: err", "output: no end"]
    {
        daemon.wait_for_log(line, SOON)?;
    }
    assert!(!daemon.log().contains('\u{1b}'), "a command wrote to the log's terminal");
    Ok(())
}

#[test]
fn command_that_leaves_something_in_the_background() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]\n[door]\nsequence = 7142,8319\ncmd_timeout = 1\n\
         start_command = (while [ ! -e {dir}/go ]; do sleep 0.1; done; echo late) & echo early\n\
         stop_command = touch {dir}/go\n",
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    let early = daemon.wait_for_line("door: output: early", SOON)?;
    let timeout = daemon.wait_for_line("command timeout", SOON)?;
    let waited = timeout.at - early.at;
    assert!(waited < Duration::from_secs(4), "the stop command came after {waited:?}");
    daemon.wait_for_line("door: output: late", SOON)?;
    Ok(())
}

#[test]
fn huge_output_is_cut_short_and_holds_nothing_up() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]\nlogfile = {dir}/knockd.log\n[door]\nsequence = 7142,8319\ncmd_timeout = 0\n\
         start_command = yes 'so much to say' | head -c 20000000; touch {dir}/said\nstop_command = touch {dir}/stopped\n",
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    daemon.wait_for_file("said", "", SOON)?;
    daemon.wait_for_file("stopped", "", SOON)?;
    daemon.wait_for_log("(the rest is left out)", SOON)?;
    let length = daemon.log().len();
    assert!(length < 1 << 20, "{length} bytes of log");
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    daemon.wait_for_lines(2, "OPEN SESAME", SOON)
}

/// While a command writes without end, others still get in.
#[test]
fn output_without_end_does_not_stop_the_daemon() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]\n[loud]\nsequence = 7142\ncommand = exec timeout 10 yes\n\
         [door]\nsequence = 8319,9623\ncmd_timeout = 0.5\nstart_command = true\nstop_command = touch {dir}/stopped\n",
    )?;
    lab.client().knock(lab.server().ip4(), "7142")?;
    daemon.wait_for_line("(the rest is left out)", SOON)?;
    lab.client().knock(lab.server().ip4(), "8319,9623")?;
    daemon.wait_for_line("door: OPEN SESAME", Duration::from_secs(5))?;
    daemon.wait_for_file("stopped", "", Duration::from_secs(5))
}

#[test]
fn hanging_start_commands_do_not_delay_a_stop() -> io::Result<()> {
    let lab = Lab::pair()?;
    let sources: Vec<IpAddr> = (1..=70).map(|last| IpAddr::from([10, 9, 50, last])).collect();
    let lines: Vec<_> = sources.iter().map(|source| format!("addr add {source}/16 dev eth0")).collect();
    lab.client().ip(&lines.join("\n"))?;
    let daemon = start(
        lab.server(),
        &format!(
            "[options]\n[door]\nsequence = 7142,8319\ncmd_timeout = 2\n\
             start_command = true\nstop_command = touch {{dir}}/stopped\n\
             [hanging]\nsequence = 9623\nstart_command = {HANG}\nstop_command = true\n"
        ),
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319")?;
    let opened = daemon.wait_for_line("door: OPEN SESAME", SOON)?;
    for source in &sources {
        lab.client().knock_from(Some(*source), lab.server().ip4(), "9623", Duration::ZERO)?;
    }
    daemon.wait_for_lines(sources.len(), "hanging: OPEN SESAME", SOON)?;
    let started = count(&daemon, "hanging: running command");
    assert!(started >= 64, "{started} commands hang only");
    let closed = daemon.wait_for_line("door: running command: touch", SOON)?;
    let open_for = closed.at - opened.at;
    assert!(open_for < Duration::from_secs(5), "open for {open_for:?}");
    daemon.wait_for_file("stopped", "", SOON)
}
