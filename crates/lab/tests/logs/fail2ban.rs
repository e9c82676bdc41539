//! fail2ban reads the daemon's lines: with the filter that is shipped, and with such as people have for knockd.

use std::fs;
use std::process::Command;

use lab::{Host, Lab, TempDir};

use crate::journal::{Journal, log_everything};
use crate::support::{DOORS, SOON, everything, has, knockd, root, run};

const COMMON: &str = "/etc/fail2ban/filter.d/common.conf";

/// The lines of a log that a filter takes for failures.
fn matched(host: &Host, log: &str, filter: &str) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let file = directory.write("log", log).unwrap();
    let mut command = Command::new("fail2ban-regex");
    command.args(["--print-all-matched", "--print-no-missed"]).arg(file).arg(filter);
    let text = run(host, &mut command);
    let lines = text.lines().skip_while(|line| !line.contains("Matched line(s)")).skip(1);
    lines.map_while(|line| line.strip_prefix("|  ")).map(str::to_owned).collect()
}

/// The same with the filter that is shipped.
fn matched_by_ours(host: &Host, log: &str, mode: &str) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let filter = fs::read_to_string(root().join("packaging/fail2ban/filter.d/knockd.conf")).unwrap();
    let path = directory.write("knockd.conf", filter).unwrap();
    directory.write("common.conf", fs::read_to_string(COMMON).unwrap()).unwrap();
    matched(host, log, &format!("{}[mode={mode}]", path.display()))
}

/// The lines that have one of these in them.
fn lines_with(log: &str, parts: &[&str]) -> Vec<String> {
    log.lines().filter(|line| parts.iter().any(|part| line.contains(part))).map(str::to_owned).collect()
}

/// The log file of a daemon that has told of everything.
fn log_file(options: &str) -> (Lab, String) {
    let lab = Lab::pair().unwrap();
    let config = format!("[options]\n{options}logfile = {{dir}}/knockd.log\n{DOORS}");
    let mut daemon = knockd().config(config).start(lab.server()).unwrap();
    everything(&lab, &mut daemon, |daemon, part| daemon.wait_for_log(part, SOON).unwrap());
    let log = daemon.log();
    (lab, log)
}

fn is_there() -> bool {
    has("fail2ban-regex") && has(COMMON)
}

#[test]
fn the_log_file() {
    if !is_there() {
        return;
    }
    let (lab, log) = log_file("");
    // As people have them.
    for (regex, part) in [
        (r"<HOST>: .*: sequence timeout", "sequence timeout"),
        (r"<HOST>: \S+: Stage 1$", "Stage 1"),
        (r"<HOST>: .* OPEN SESAME", "OPEN SESAME"),
    ] {
        assert_eq!(matched(lab.server(), &log, regex), lines_with(&log, &[part]), "{regex}");
    }
    let mut log = log;
    // What a command writes may look like a failure of somebody else's.
    log += "[2026-11-24 14:50] ssh: output: 192.0.2.9: ssh: sequence timeout (stage 1)\n";
    log += "[2026-11-24 14:50] ssh: running command: echo 192.0.2.9: ssh: sequence timeout (stage 1)\n";
    let failures = lines_with(&log, &["native: sequence timeout (stage"]);
    assert!(failures.len() >= 2, "by IPv4 and IPv6: {log}");
    assert_eq!(matched_by_ours(lab.server(), &log, "normal"), failures);
    let begun = lines_with(&log, &["Stage 1"]);
    assert_eq!(matched_by_ours(lab.server(), &log, "aggressive"), begun);
    let named = "[2026-11-24 14:50] 192.0.2.9 (host.example): ssh: sequence timeout (stage 1)\n";
    assert_eq!(matched_by_ours(lab.server(), named, "normal").len(), 1);
}

#[test]
fn the_log_file_of_json() {
    if !is_there() {
        return;
    }
    let (lab, mut log) = log_file("log_format = json\n");
    let time = r#""schema":1,"time":"2026-11-24T14:50:00.000000Z""#;
    let said = r#""message":"{\"schema\":1,\"time\":\"\",\"level\":\"notice\",\"event\":\"timed_out\",\"address\":\"192.0.2.9\","}"#;
    log += &format!("{{{time},\"level\":\"notice\",\"event\":\"command_output\",\"door\":\"ssh\",{said}\n");
    let failures = lines_with(&log, &[r#""event":"timed_out""#, r#""event":"spoiled""#]);
    assert!(failures.len() >= 3, "{log}");
    assert_eq!(matched_by_ours(lab.server(), &log, "normal"), failures);
    let begun =
        lines_with(&log, &[r#""event":"stage""#]).into_iter().filter(|line| line.contains(r#""stage":1"#));
    assert_eq!(matched_by_ours(lab.server(), &log, "aggressive"), begun.collect::<Vec<_>>());
}

#[test]
fn the_system_s_log() {
    if !is_there() {
        return;
    }
    for (passes_on, options) in [(true, ""), (false, ""), (false, "log_format = json\n")] {
        let lab = Lab::pair().unwrap();
        let Some(journal) = Journal::start(lab.server(), passes_on) else { return };
        log_everything(&lab, &journal, options);
        let log = journal.lines(lab.server());
        let failures = lines_with(&log, &["native: sequence timeout (stage", r#""event":"spoiled""#]);
        assert!(failures.len() >= 2, "{log}");
        assert_eq!(matched_by_ours(lab.server(), &log, "normal"), failures, "{log}");
    }
}
