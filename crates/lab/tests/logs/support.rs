//! What the tests share: a server with doors of each kind, and somebody who does everything that there is to tell of.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::{Daemon, DaemonBuilder, Host, Lab, Signal, TempDir, binary, has_tool};

/// How long anything may take that ought to happen at once, on a machine with a lot to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Doors of each kind. Of none a knock is the first of another, so that each event has one reason.
pub(crate) const DOORS: &str = "
[native]
sequence = 7142,8319:udp,9623
seq_timeout = 1
tcpflags = syn
open = 22/tcp
open_for = 0.3
[commands]
sequence = 6142,8320:udp
seq_timeout = 1
start_command = printf 'one\\ttwo\\033[1m \\377\\n'; exit 3
cmd_timeout = 0.2
stop_command = kill -9 $$
[forbidden]
sequence = 5142,8321:udp
allow_from = 192.0.2.77
start_command = true
[cooling]
sequence = 4142,8322:udp
seq_cooldown = 60
start_command = true
[owed]
sequence = 3142,8323:udp
start_command = true
cmd_timeout = 600
stop_command = true
";

/// What is in no line of the log whatever happens: the ports of all sequences.
pub(crate) const SECRETS: [&str; 12] =
    ["7142", "8319", "9623", "6142", "8320", "5142", "8321", "4142", "8322", "3142", "8323", "47114"];

/// Our daemon.
pub(crate) fn knockd() -> DaemonBuilder {
    Daemon::of(binary("knockd").unwrap())
}

/// Whether a program is there that some test needs; where all tools are to be, it has to be.
pub(crate) fn has(program: &str) -> bool {
    let is_there = has_tool(program) || Path::new(program).exists();
    assert!(is_there || std::env::var_os("CI").is_none(), "{program} is not there");
    if !is_there {
        eprintln!("skipped: {program} is not there");
    }
    is_there
}

/// Asks the daemon something by its control socket, in its own words.
pub(crate) fn ask(daemon: &Daemon, request: &str) -> io::Result<String> {
    daemon.ask(request, SOON)
}

/// Has everything happen that the daemon tells of, and waits for it by `heard`, which looks for a part of a line.
pub(crate) fn everything(lab: &Lab, daemon: &mut Daemon, heard: impl Fn(&Daemon, &str)) {
    let (client, server) = (lab.client(), lab.server().ip4());
    let knock = |ports: &str| client.knock(server, ports).unwrap();
    knock("7142,8319:udp,9623");
    heard(daemon, "native: closed: its time is over");
    // A wrong port, and no port any more.
    knock("7142,47114,7142");
    heard(daemon, "native: sequence timeout (stage 1)");
    knock("6142,8320:udp");
    heard(daemon, "commands: command was ended by signal 9");
    knock("5142");
    knock("4142,8322:udp,4142");
    knock("3142,8323:udp");
    heard(daemon, "owed: running command: true");
    client.knock(lab.server().ip6(), "7142").unwrap();
    heard(daemon, &format!("{}: native: sequence timeout (stage 1)", client.ip6()));
    ask(daemon, r#"{"request":"open","door":"native","address":"192.0.2.7","seconds":600}"#).unwrap();
    ask(daemon, r#"{"request":"open","door":"native","address":"192.0.2.7","seconds":900}"#).unwrap();
    ask(daemon, r#"{"request":"close","door":"native","address":"192.0.2.7"}"#).unwrap();
    ask(daemon, r#"{"request":"reload","confirm_seconds":600}"#).unwrap();
    ask(daemon, r#"{"request":"confirm"}"#).unwrap();
    ask(daemon, r#"{"request":"reload","confirm_seconds":0.1}"#).unwrap();
    heard(daemon, "the configuration was not confirmed in time");
    let right = daemon.file("knockd.conf");
    daemon.write_config("nonsense").unwrap();
    daemon.signal(Signal::HUP).unwrap();
    heard(daemon, "the new configuration cannot be used");
    daemon.write_config(&right).unwrap();
    daemon.signal(Signal::TERM).unwrap();
    daemon.wait_exit(SOON).unwrap();
}

/// A program of a few lines.
pub(crate) fn script(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.write(name, format!("#!/bin/sh -e\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Runs a program on a host; what it wrote.
pub(crate) fn run(host: &Host, command: &mut Command) -> String {
    let output = host.output(command).unwrap();
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
