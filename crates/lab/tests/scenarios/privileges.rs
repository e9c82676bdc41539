//! What the daemon needs, and what it does without.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use lab::{Daemon, Host, TempDir};

use crate::support::{DROPPING, SOON, Scene};

/// `setpriv`, with these capabilities alone, and the program to run.
fn with_only(capabilities: &str) -> io::Result<Command> {
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set={capabilities}")).arg("--inh-caps=-all");
    command.arg(lab::binary("knockd")?);
    Ok(command)
}

/// A shell script that starts the daemon with these capabilities, for [`Daemon::of`].
fn starter(directory: &TempDir, capabilities: &str) -> io::Result<std::path::PathBuf> {
    let binary = lab::binary("knockd")?;
    let script = format!(
        "#!/bin/sh\nexec setpriv --bounding-set={capabilities} --inh-caps=-all {} \"$@\"\n",
        binary.display()
    );
    let path = directory.write("starter", script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[test]
fn cap_net_raw_is_enough() -> io::Result<()> {
    let directory = TempDir::new()?;
    let scene = Scene::new(DROPPING)?;
    let daemon = Daemon::of(starter(&directory, "-all,+net_raw")?)
        .config(
            "[options]\ninterface = any\nlogfile = {dir}/knockd.log\n[door]\nsequence = 7142,8319:udp\n\
             command = grep CapEff /proc/self/status > {dir}/ran\n",
        )
        .start(scene.server())?;
    scene.knock("7142,8319:udp")?;
    daemon.wait_for_file("ran", "CapEff:\t0000000000002000\n", SOON)?;
    daemon.wait_for_log("OPEN SESAME", SOON)
}

/// Not even root, as in a container.
#[test]
fn another_user_needs_nothing_but_cap_net_raw() -> io::Result<()> {
    const AS_ANOTHER: &str = "--reuid=4711 --regid=4711 --clear-groups --bounding-set=-all,+net_raw \
                              --inh-caps=-all,+net_raw --ambient-caps=-all,+net_raw";
    // Where root alone may go that user cannot start it.
    let directory = TempDir::new()?;
    let binary = directory.path().join("knockd");
    fs::copy(lab::binary("knockd")?, &binary)?;
    let script = format!("#!/bin/sh\nexec setpriv {AS_ANOTHER} {} \"$@\"\n", binary.display());
    let starter = directory.write("starter", script)?;
    for path in [directory.path(), &binary, &starter] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let scene = Scene::new(DROPPING)?;
    let daemon = Daemon::of(starter)
        .config("[options]\ninterface = any\n[door]\nsequence = 7142,8319:udp\ncommand = id -u\n")
        .readable_by_all()
        .start(scene.server())?;
    scene.knock("7142,8319:udp")?;
    daemon.wait_for_line("door: output: 4711", SOON).map(drop)
}

/// What the kernel has not is told, and nothing else comes of it.
#[test]
fn a_kernel_without_sandboxes_will_do() -> io::Result<()> {
    works_without_sandboxes("old", "this kernel has none")
}

/// As a unit's `SystemCallFilter=` without `SystemCallErrorNumber=` does.
#[test]
fn a_filter_that_kills_for_a_sandbox_will_do() -> io::Result<()> {
    works_without_sandboxes("strict", "a filter of system calls would end whoever puts it on")
}

fn works_without_sandboxes(kind: &str, reason: &str) -> io::Result<()> {
    let directory = TempDir::new()?;
    let (old, knockd) = (lab::binary("old-kernel")?, lab::binary("knockd")?);
    let script = format!("#!/bin/sh\nexec {} {} \"$@\"\n", old.display(), knockd.display());
    let starter = directory.write("starter", script)?;
    fs::set_permissions(&starter, fs::Permissions::from_mode(0o755))?;
    let scene = Scene::new(DROPPING)?;
    let daemon = Daemon::of(starter)
        .env("OLD_KERNEL", kind)
        .config(
            "[options]\ninterface = any\nlogfile = {dir}/knockd.log\n\
             [door]\nsequence = 7142,8319:udp\nopen = 22/tcp\nopen_for = 100s\n",
        )
        .start(scene.server())?;
    let told = format!("warning: the reading process is not confined by landlock: {reason}");
    daemon.wait_for_log(&told, SOON)?;
    daemon.wait_for_log("warning: the reading process is not confined by seccomp: ", SOON)?;
    scene.knock("7142,8319:udp")?;
    daemon.wait_for_log("opened 22/tcp for 100 s", SOON)?;
    let mut status = Command::new(lab::binary("knockctl")?);
    status.arg("--socket").arg(daemon.directory().path().join("knockd.sock")).arg("status");
    let status = text(&scene.server().output(&mut status)?);
    assert!(status.contains("not confined by landlock") && status.contains("capabilities: none"), "{status}");
    Ok(())
}

#[test]
fn without_cap_net_raw_it_says_so() -> io::Result<()> {
    let directory = TempDir::new()?;
    let host = Host::new("alone")?;
    let config = directory.write("knockd.conf", "[options]\n[door]\nsequence = 7142\ncommand = true\n")?;
    let mut command = with_only("-net_raw")?;
    let output = host.output(command.arg("-c").arg(&config))?;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("CAP_NET_RAW"), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", text(&output));
    Ok(())
}

/// `--check` needs no privilege, opens no socket and changes no file.
#[test]
fn check_tells_and_touches_nothing() -> io::Result<()> {
    const SEQUENCES: &str = " 7142,8319\n";
    let directory = TempDir::new()?;
    let host = Host::new("alone")?;
    directory.write("sequences", SEQUENCES)?;
    let cases = [
        (
            "[a]\nsequence = 7142,8319\ncommand = touch ran\n[b]\none_time_sequences = sequences\n",
            0,
            "can be used",
        ),
        ("[a]\nsequence = 7142,8319x\ncommand = touch ran\n", 1, "knockd.conf:5:17"),
        ("[a]\ncommand = touch ran\n", 1, "cannot be used"),
    ];
    for (doors, status, told) in cases {
        directory.write(
            "knockd.conf",
            format!("[options]\nlogfile = knockd.log\npidfile = knockd.pid\n{doors}"),
        )?;
        let mut command = with_only("-all")?;
        command.args(["--check", "-c", "knockd.conf"]).current_dir(directory.path());
        let output = host.output(&mut command)?;
        assert_eq!(output.status.code(), Some(status), "{}", text(&output));
        assert!(text(&output).contains(told), "{told:?} is not in:\n{}", text(&output));
    }
    let mut names: Vec<_> =
        fs::read_dir(directory.path())?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["knockd.conf", "sequences"]);
    assert_eq!(directory.read("sequences"), SEQUENCES);
    Ok(())
}
