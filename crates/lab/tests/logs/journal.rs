//! The system's journal: a real systemd-journald in a mount namespace of its own, read by journalctl.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use lab::{Daemon, Host, Lab, Process, TempDir, wait_until};
use serde_json::Value;

use crate::support::{DOORS, SOON, everything, has, run, script};

const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// A journald that a host's daemon logs to.
pub(crate) struct Journal {
    process: Process,
    directory: TempDir,
}

impl Journal {
    /// Starts one; with another log daemon behind it that takes its lines, or without. `None` where there is none.
    pub(crate) fn start(host: &Host, passes_on: bool) -> Option<Self> {
        if !has(JOURNALD) || !has("nsenter") {
            return None;
        }
        let directory = TempDir::new().unwrap();
        // The kernel's messages and its audit are the machine's own.
        let settings = "[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\nRateLimitIntervalSec=0\\n";
        let behind = if passes_on { "touch /run/systemd/journal/syslog" } else { "true" };
        let dev = directory.path().join("dev").display().to_string();
        let text = format!(
            "mount --make-rprivate /\n\
             mkdir {dev}; mount --rbind /dev {dev}\n\
             mount -t tmpfs tmpfs /run\n\
             mkdir -p /run/systemd/journal /run/systemd/journald.conf.d\n\
             printf '{settings}' > /run/systemd/journald.conf.d/lab.conf\n\
             mount -t tmpfs tmpfs /dev\n\
             for each in null zero random urandom net kmsg; do\n\
               [ -e {dev}/$each ] || continue\n\
               if [ -d {dev}/$each ]; then mkdir /dev/$each; else touch /dev/$each; fi\n\
               mount --rbind {dev}/$each /dev/$each\n\
             done\n\
             ln -s /run/systemd/journal/dev-log /dev/log\n\
             {behind}\n\
             exec env -u RUNTIME_DIRECTORY -u STATE_DIRECTORY {JOURNALD}"
        );
        let program = script(&directory, "journald", &text);
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(program).stdin(Stdio::null()).stdout(Stdio::null());
        let process = host.spawn(&mut command).unwrap();
        let journal = Self { process, directory };
        let socket = format!("/proc/{}/root/run/systemd/journal/socket", journal.process.id());
        wait_until("journald", SOON, || fs::exists(&socket).unwrap_or(false)).unwrap();
        Some(journal)
    }

    /// A program that is another where this journal is.
    fn within(&self, program: PathBuf, before: &str) -> PathBuf {
        let id = self.process.id();
        let text = format!("exec nsenter --mount=/proc/{id}/ns/mnt {before} {} \"$@\"", program.display());
        script(&self.directory, "knockd", &text)
    }

    /// All entries that journalctl finds by this.
    pub(crate) fn find(&self, host: &Host, matches: &[&str]) -> Vec<Value> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.process.id());
        let mut command = Command::new("nsenter");
        command
            .args([&namespace, "journalctl", "-D", "/run/log/journal", "-o", "json", "--all"])
            .args(matches);
        let text = run(host, &mut command);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines, as a log file of syslog's form shows them and fail2ban reads them.
    pub(crate) fn lines(&self, host: &Host) -> String {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.process.id());
        let mut command = Command::new("nsenter");
        command.args([&namespace, "journalctl", "-D", "/run/log/journal", "-o", "short", "-t", "knockd"]);
        run(host, &mut command)
    }
}

/// Our daemon with this journal, and all that it has to tell told.
pub(crate) fn log_everything(lab: &Lab, journal: &Journal, options: &str) {
    let program = journal.within(lab::binary("knockd").unwrap(), "");
    let config = format!("[options]\nusesyslog\nlogfile = {{dir}}/knockd.log\n{options}{DOORS}");
    let mut daemon = Daemon::of(program).config(config).start(lab.server()).unwrap();
    everything(lab, &mut daemon, |daemon, part| daemon.wait_for_log(part, SOON).unwrap());
    let log = daemon.log();
    wait_until("the journal", SOON, || {
        journal
            .find(lab.server(), &["-t", "knockd"])
            .iter()
            .any(|entry| text(entry).contains("shutting down"))
    })
    .unwrap_or_else(|error| panic!("{error}; the log has:\n{log}"));
}

fn text(entry: &Value) -> String {
    entry["MESSAGE"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn each_line_is_there_once_with_its_fields() {
    let lab = Lab::pair().unwrap();
    let server = lab.server();
    let Some(journal) = Journal::start(server, false) else { return };
    log_everything(&lab, &journal, "");
    let count = |matches: &[&str], message: &str| {
        let found = journal.find(server, matches);
        found.iter().filter(|entry| text(entry) == message).count()
    };
    let client = lab.client().ip4();
    let by_address = format!("KNOCK_ADDRESS={client}");
    let opened = format!("{client}: native: opened 22/tcp for 0.3 s");
    assert_eq!(count(&[&by_address], &opened), 1);
    assert_eq!(
        count(
            &["KNOCK_EVENT=opened", "KNOCK_DOOR=native", "KNOCK_SECONDS=0.3", "KNOCK_PORTS=22/tcp"],
            &opened
        ),
        1
    );
    assert_eq!(count(&["-t", "knockd"], &opened), 1, "there once");
    let entry = &journal.find(server, &["KNOCK_EVENT=opened", "KNOCK_DOOR=native"])[0];
    let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        [field("PRIORITY"), field("SYSLOG_FACILITY"), field("_TRANSPORT"), field("_COMM")],
        ["5", "3", "journal", "knockd"]
    );
    let failed = journal.find(server, &["-p", "warning", "KNOCK_EVENT=command_failed"]);
    assert!(failed.iter().any(|entry| entry["KNOCK_STATUS"] == "3"), "{failed:?}");
    assert!(
        !journal.find(server, &["KNOCK_EVENT=closed", "KNOCK_REASON=by_hand", "KNOCK_BY_UID=0"]).is_empty()
    );
    // In knockd's form no line is there that knockd does not have.
    assert_eq!(journal.find(server, &["KNOCK_EVENT=spoiled"]).len(), 0);
}

#[test]
fn another_log_daemon_behind_it_gets_the_lines_as_knockd_sends_them() {
    let lab = Lab::pair().unwrap();
    let Some(journal) = Journal::start(lab.server(), true) else { return };
    log_everything(&lab, &journal, "");
    let lines = journal.find(lab.server(), &["-t", "knockd"]);
    assert!(
        lines.iter().all(|entry| entry["_TRANSPORT"] == "syslog" && entry["PRIORITY"] == "5"),
        "{lines:?}"
    );
}

#[test]
fn fields_may_be_asked_for_all_the_same() {
    let lab = Lab::pair().unwrap();
    let Some(journal) = Journal::start(lab.server(), true) else { return };
    log_everything(&lab, &journal, "journal_fields = yes\n");
    assert!(!journal.find(lab.server(), &["KNOCK_EVENT=opened"]).is_empty());
}

#[test]
fn json_goes_there_as_well() {
    let lab = Lab::pair().unwrap();
    let Some(journal) = Journal::start(lab.server(), false) else { return };
    log_everything(&lab, &journal, "log_format = json\n");
    let found = journal.find(lab.server(), &["KNOCK_EVENT=spoiled", "KNOCK_STAGE=1"]);
    let line: Value = serde_json::from_str(&text(&found[0])).unwrap();
    assert_eq!((&line["event"], &line["door"]), (&"spoiled".into(), &"native".into()));
}

#[test]
fn a_standard_output_that_is_the_journal_doubles_nothing() {
    let lab = Lab::pair().unwrap();
    let server = lab.server();
    for (passes_on, options) in [
        (false, "usesyslog\n"),
        (true, "usesyslog\n"),
        (false, ""),
        (false, "journal_fields = no\nusesyslog\n"),
    ] {
        let Some(journal) = Journal::start(server, passes_on) else { return };
        // As a service manager connects it.
        let cat = "systemd-cat --identifier=knockd sh -c \
                   'export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec \"$@\"' sh";
        let program = journal.within(lab::binary("knockd").unwrap(), cat);
        let config = format!("[options]\n{options}logfile = {{dir}}/knockd.log\n{DOORS}");
        let daemon = Daemon::of(program).config(config).spawn(server).unwrap();
        daemon.wait_for_log("starting up, listening on", SOON).unwrap();
        let opened = format!("{}: native: opened 22/tcp for 0.3 s", lab.client().ip4());
        lab.client().knock(server.ip4(), "7142,8319:udp,9623").unwrap();
        daemon.wait_for_log("native: closed: its time is over", SOON).unwrap();
        let entries = |message: &str| {
            let all = journal.find(server, &[]);
            all.iter().filter(|entry| text(entry) == message).cloned().collect::<Vec<_>>()
        };
        let closed = format!("{}: native: closed: its time is over", lab.client().ip4());
        wait_until("the journal", SOON, || !entries(&closed).is_empty()).unwrap();
        let found = entries(&opened);
        assert_eq!(found.len(), 1, "{options}: {found:?}");
        let has_fields = found[0]["KNOCK_DOOR"] == "native";
        assert_eq!(has_fields, !passes_on && !options.contains("no"), "{options}: {found:?}");
    }
}

/// A journald that hangs keeps nobody out.
#[test]
fn one_that_hangs_holds_up_nothing() {
    let lab = Lab::pair().unwrap();
    let Some(journal) = Journal::start(lab.server(), false) else { return };
    let program = journal.within(lab::binary("knockd").unwrap(), "");
    let config = format!("[options]\nusesyslog\nlogfile = {{dir}}/knockd.log\n{DOORS}");
    let daemon = Daemon::of(program).config(config).start(lab.server()).unwrap();
    stop_and_go(&journal, || {
        for _ in 0..40 {
            lab.client().knock(lab.server().ip4(), "7142,8319:udp,9623")?;
        }
        daemon.wait_for_log("native: opened", SOON)
    })
    .unwrap();
}

fn stop_and_go(journal: &Journal, play: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    journal.process.signal(lab::Signal::STOP)?;
    let played = play();
    journal.process.signal(lab::Signal::CONT)?;
    played
}
