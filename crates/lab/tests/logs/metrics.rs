//! The metrics: as `knockctl metrics` prints them, and as a file for node_exporter.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use lab::{Daemon, Lab, Signal, wait_until};
use serde_json::Value;

use crate::support::{DOORS, SOON, ask, has, knockd};

fn metrics(daemon: &Daemon) -> String {
    let answer: Value = serde_json::from_str(&ask(daemon, r#"{"request":"metrics"}"#).unwrap()).unwrap();
    answer["text"].as_str().unwrap().to_owned()
}

/// The samples: what is in front of the value, and the value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

fn play(lab: &Lab, daemon: &Daemon) {
    let (client, server) = (lab.client(), lab.server().ip4());
    client.knock(server, "7142,8319:udp,9623").unwrap();
    daemon.wait_for_line("native: closed: its time is over", SOON).unwrap();
    client.knock(server, "7142,47114,7142").unwrap();
    daemon.wait_for_line("native: sequence timeout", SOON).unwrap();
    client.knock(server, "6142,8320:udp").unwrap();
    daemon.wait_for_line("command was ended by signal 9", SOON).unwrap();
    client.knock(server, "5142").unwrap();
}

#[test]
fn they_count_what_happened_and_survive_a_reload() {
    let lab = Lab::pair().unwrap();
    let daemon = knockd().config(format!("[options]\n{DOORS}")).start(lab.server()).unwrap();
    let before = samples(&metrics(&daemon));
    assert_eq!(before[r#"knockd_openings_total{door="native"}"#], 0.0);
    play(&lab, &daemon);
    let stranger = r#"knockd_knocks_total{result="not_allowed"}"#;
    wait_until("all knocks", SOON, || samples(&metrics(&daemon))[stranger] > 0.0).unwrap();
    daemon.reload(SOON).unwrap();
    let after = samples(&metrics(&daemon));
    for (name, value) in [
        (r#"knockd_openings_total{door="native"}"#, 1.0),
        (r#"knockd_closings_total{door="native"}"#, 1.0),
        (r#"knockd_sequences_completed_total{door="native"}"#, 1.0),
        (r#"knockd_openings_total{door="commands"}"#, 1.0),
        (r#"knockd_commands_total{door="commands"}"#, 2.0),
        (r#"knockd_commands_failed_total{door="commands"}"#, 2.0),
        (r#"knockd_knocks_total{result="wrong"}"#, 1.0),
        (r#"knockd_reloads_total{result="failed"}"#, 0.0),
        (r#"knockd_grants{door="native"}"#, 0.0),
        ("knockd_doors", 5.0),
        ("knockd_up", 1.0),
        ("knockd_guard_in_place", 1.0),
        ("knockd_journal_failing", 0.0),
    ] {
        assert_eq!(after[name], value, "{name}");
    }
    // What the client's kernel sends again counts again.
    for (name, at_least) in [
        (r#"knockd_sequences_timed_out_total{door="native"}"#, 1.0),
        (r#"knockd_knocks_total{result="right"}"#, 7.0),
        (r#"knockd_reloads_total{result="ok"}"#, 1.0),
    ] {
        assert!(after[name] >= at_least, "{name}: {}", after[name]);
    }
    let [was, is] = [&before, &after].map(|all| all["knockd_config_last_reload_success_timestamp_seconds"]);
    assert!(is > was, "{is} {was}");
    let text = metrics(&daemon);
    assert!(!text.contains(&lab.client().ip4().to_string()), "{text}");
}

#[test]
fn promtool_finds_nothing_to_say() {
    if !has("promtool") {
        return;
    }
    let lab = Lab::pair().unwrap();
    let odd = "[a \"door\" \\ of {its} own]\nsequence = 2142,8324:udp\nstart_command = true\n";
    let daemon = knockd().config(format!("[options]\n{DOORS}{odd}")).start(lab.server()).unwrap();
    let text = metrics(&daemon);
    assert!(text.contains(r#"{door="a \"door\" \\ of {its} own"}"#), "{text}");
    let file = daemon.directory().write("metrics.prom", &text).unwrap();
    let check = format!("promtool check metrics < {}", file.display());
    let output = lab.server().output(Command::new("sh").args(["-c", &check])).unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && told.is_empty(), "{}", String::from_utf8_lossy(&told));
}

#[test]
fn the_file_is_there_for_everybody_and_tells_of_the_end() {
    let lab = Lab::pair().unwrap();
    let config = format!("[options]\nmetrics_file = {{dir}}/knockd.prom\n{DOORS}");
    let mut daemon = knockd().config(config).start(lab.server()).unwrap();
    daemon.wait_for_file("knockd.prom", "knockd_up 1\n", SOON).unwrap();
    let path = daemon.directory().path().join("knockd.prom");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    daemon.signal(Signal::TERM).unwrap();
    daemon.wait_exit(SOON).unwrap();
    assert!(daemon.file("knockd.prom").contains("knockd_up 0\n"));
}

#[test]
fn a_file_that_cannot_be_written_is_told_of() {
    let lab = Lab::pair().unwrap();
    let config = format!("[options]\nmetrics_file = {{dir}}/missing/knockd.prom\n{DOORS}");
    let daemon = knockd().config(config).start(lab.server()).unwrap();
    daemon.wait_for_line("knockd.prom cannot be written", SOON).unwrap();
    daemon.write_config(&format!("[options]\nmetrics_file = {{dir}}/knockd.prom\n{DOORS}")).unwrap();
    daemon.signal(Signal::HUP).unwrap();
    daemon.wait_for_file("knockd.prom", "knockd_up 1\n", SOON).unwrap();
}
