//! What the real shells offer, asked as by the Tab key, for a daemon that runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process;

use lab::{Daemon, Lab, TempDir, binary, has_tool};

use super::*;

const CONFIG: &str = "[options]\ncontrol_socket = {dir}/knockd.sock\nstate_directory = {dir}/state\n\
    [ssh]\nsequence = 7142,8319:udp,9623\ntcpflags = syn\nopen = 22/tcp\n\
    [shop]\nsequence = 7143,8320:udp,9624\ntcpflags = syn\nopen = 443/tcp\n";

/// A daemon with two doors, of which one is open for two addresses, and the scripts as a package has them.
struct Scene {
    _lab: Lab,
    daemon: Daemon,
    directory: TempDir,
    programs: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::pair().unwrap();
        let daemon = Daemon::of(binary("knockd").unwrap()).config(CONFIG).start(lab.server()).unwrap();
        let directory = TempDir::new().unwrap();
        run(&directory.path().join("scripts")).unwrap();
        directory.write("file.conf", "").unwrap();
        let programs = binary("knockctl").unwrap().parent().unwrap().to_owned();
        let scene = Self { _lab: lab, directory, programs, daemon };
        for address in ["192.0.2.7", "2001:db8::7"] {
            let open = scene.command("knockctl").args(["open", "ssh", address]).output().unwrap();
            assert!(open.status.success(), "{address}: {open:?}");
        }
        scene
    }

    /// Runs a program as in a user's shell, in a directory of its own, where the programs under test are found.
    fn command(&self, program: &str) -> process::Command {
        let path = format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap());
        let program = if program == "knockctl" { self.programs.join(program) } else { program.into() };
        let mut command = process::Command::new(program);
        let home = self.directory.path();
        command.env("PATH", path).env("HOME", home).env("RUNTIME_DIRECTORY", self.daemon.directory().path());
        command.current_dir(home);
        command
    }

    fn script(&self, shell: &str, file: &str) -> String {
        self.directory.path().join("scripts").join(shell).join(file).display().to_string()
    }

    /// What a shell prints, a word a line.
    fn printed(&self, program: &str, arguments: &[&str]) -> BTreeSet<String> {
        let output = self.command(program).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{program}: {told}");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| line.trim().into()).filter(|line: &String| !line.is_empty()).collect()
    }
}

/// A shell, and how it is asked what it offers for a line.
trait Shell {
    const NAME: &'static str;
    fn offered(scene: &Scene, line: &str) -> BTreeSet<String>;
}

struct Bash;

impl Shell for Bash {
    const NAME: &'static str = "bash";

    /// Words are parted as readline does it; it hands over what stands before the cursor.
    fn offered(scene: &Scene, line: &str) -> BTreeSet<String> {
        let command = line.split(' ').next().unwrap();
        let script = format!(
            "source {}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; _{command}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            scene.script("bash", command)
        );
        scene.printed("bash", &["--norc", "-c", &script])
    }
}

struct Fish;

impl Shell for Fish {
    const NAME: &'static str = "fish";

    fn offered(scene: &Scene, line: &str) -> BTreeSet<String> {
        let command = line.split(' ').next().unwrap();
        let script = scene.script("fish", &format!("{command}.fish"));
        let lines =
            scene.printed("fish", &["--no-config", "-c", &format!("source {script}; complete -C '{line}'")]);
        lines.iter().map(|line| line.split('\t').next().unwrap().into()).collect()
    }
}

struct Zsh;

impl Shell for Zsh {
    const NAME: &'static str = "zsh";

    /// In a terminal of its own: zsh completes nowhere else.
    fn offered(scene: &Scene, line: &str) -> BTreeSet<String> {
        let scripts = scene.script("zsh", "");
        let lines = scene.printed("zsh", &["-f", "-c", include_str!("asked.zsh"), "asked", &scripts, line]);
        lines.iter().filter_map(|line| line.strip_prefix("offered: ")).map(Into::into).collect()
    }
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).into()).collect()
}

fn completes<S: Shell>() {
    if !has_tool(S::NAME) {
        eprintln!("skipped: there is no {}", S::NAME);
        return;
    }
    let scene = Scene::new();
    let offered = |line: &str| S::offered(&scene, line);
    for (line, wanted) in [
        ("knockctl try ", &["ssh", "shop"][..]),
        ("knockctl --json try s", &["ssh", "shop"]),
        ("knockctl -c file.conf open ss", &["ssh"]),
        ("knockctl close ssh 192", &["192.0.2.7"]),
        ("knockctl rel", &["reload"]),
        ("knockctl open ssh 192.0.2.7 --f", &["--for"]),
        ("knockd --conf", &["--config"]),
        ("knock --one", &["--one-time"]),
    ] {
        let offered = offered(line).into_iter().map(|word| word.trim_end_matches('=').to_owned());
        assert_eq!(offered.collect::<BTreeSet<_>>(), set(wanted), "{}: {line}", S::NAME);
    }
    for line in ["knockd -c f", "knockctl -c ", "knock --one-time "] {
        assert!(offered(line).contains("file.conf"), "{}: {line}", S::NAME);
    }
    assert!(offered("knockctl close ").is_superset(&set(&["ssh", "shop"])), "{}", S::NAME);
    assert!(offered("knockd -i ").contains("lo"), "{}", S::NAME);
    for line in ["knock -d ", "knockctl open ssh 192.0.2.7 --for "] {
        assert_eq!(offered(line), set(&[]), "{}: {line}", S::NAME);
    }
    for command in &commands() {
        let options = offered(&format!("{} --", command.get_name()));
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            let is_it = |word: &String| word.trim_end_matches('=') == format!("--{option}");
            assert!(
                options.iter().any(is_it),
                "{}: {}: --{option}: {options:?}",
                S::NAME,
                command.get_name()
            );
        }
        let subcommands = offered(&format!("{} ", command.get_name()));
        for subcommand in command.get_subcommands().map(Command::get_name) {
            assert!(subcommands.contains(subcommand), "{}: {subcommand}", S::NAME);
        }
    }
    assert!(!offered("knockd --").contains("--save-mem"), "{}", S::NAME);
}

#[test]
fn bash_completes() {
    completes::<Bash>();
}

#[test]
fn bash_completes_addresses_with_colons() {
    if has_tool(Bash::NAME) {
        // Readline replaces what stands behind the last colon.
        assert_eq!(Bash::offered(&Scene::new(), "knockctl close ssh 2001:db8::"), set(&["7"]));
    }
}

#[test]
fn fish_completes() {
    completes::<Fish>();
}

#[test]
fn zsh_completes() {
    completes::<Zsh>();
}
