//! Prometheus makes of the metrics what the dashboard and the alerts are for.

use std::fs;
use std::process::{Command, Stdio};

use lab::{Host, Lab, Process, TempDir, wait_until};
use serde_json::Value;

use crate::support::{DOORS, SOON, has, knockd, root, run};

#[test]
fn the_alerts_come_when_they_should() {
    if !has("promtool") {
        return;
    }
    let lab = Lab::pair().unwrap();
    let directory = TempDir::new().unwrap();
    let file = |name: &str, from: &str| {
        directory.write(name, fs::read_to_string(root().join(from)).unwrap()).unwrap().display().to_string()
    };
    let rules = file("knockd.rules.yml", "packaging/prometheus/knockd.rules.yml");
    let tests = file("rules.test.yml", "crates/lab/tests/logs/rules.test.yml");
    run(lab.server(), Command::new("promtool").args(["check", "rules", &rules]));
    run(lab.server(), Command::new("promtool").args(["test", "rules", &tests]));
}

/// A Prometheus that looks at what the daemon writes, once a second.
struct Prometheus {
    _files: Process,
    _server: Process,
    _directory: TempDir,
}

impl Prometheus {
    fn start(host: &Host, metrics: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let config = "global: { scrape_interval: 1s }\nscrape_configs:\n- job_name: knockd\n  metrics_path: /knockd.txt\n  \
                      static_configs: [{ targets: ['127.0.0.1:8000'] }]\n";
        let config = directory.write("prometheus.yml", config).unwrap();
        let mut files = Command::new("python3");
        files.args(["-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", metrics]);
        let mut server = Command::new("prometheus");
        server
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:9090");
        let quietly = |command: &mut Command| {
            host.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())).unwrap()
        };
        Self { _files: quietly(&mut files), _server: quietly(&mut server), _directory: directory }
    }

    /// What a query finds, a line each; nothing also where Prometheus is not there yet.
    fn query(host: &Host, query: &str) -> String {
        let mut command = Command::new("promtool");
        let output = host.output(command.args(["query", "instant", "http://127.0.0.1:9090", query])).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// All queries of the dashboard.
fn queries() -> Vec<String> {
    let text = fs::read_to_string(root().join("packaging/grafana/knockd.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    queries.map(|query| query.replace("$instance", ".*").replace("$__rate_interval", "10s")).collect()
}

#[test]
fn each_panel_of_the_dashboard_has_something_to_show() {
    if !has("prometheus") || !has("promtool") {
        return;
    }
    let lab = Lab::pair().unwrap();
    let server = lab.server();
    let directory = TempDir::new().unwrap();
    let sequences = directory.write("sequences", " 2142,8324:udp,9625\n 2143,8325:udp,9626\n").unwrap();
    let config = format!(
        "[options]\nmetrics_file = {{dir}}/knockd.txt\n{DOORS}\n[once]\none_time_sequences = {}\nstart_command = true\n",
        sequences.display()
    );
    let daemon = knockd().config(config).start(server).unwrap();
    daemon.wait_for_file("knockd.txt", "knockd_up 1", SOON).unwrap();
    let _prometheus = Prometheus::start(server, &daemon.directory().path().display().to_string());
    wait_until("a few samples", SOON, || {
        !Prometheus::query(server, "count_over_time(knockd_up[10s]) > 2").trim().is_empty()
    })
    .unwrap();
    let queries = queries();
    assert!(queries.len() >= 20, "only {} were found", queries.len());
    for query in queries {
        let found = Prometheus::query(server, &query);
        assert!(found.contains("=>"), "{query}: {found:?}");
    }
}
