//! ufw and firewalld, the real ones, each in a file system where what it writes is its own.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use lab::{Host, Process, TempDir, has_tool, wait_until};

use crate::life;
use crate::support::{LONG, SOON, Scene, side_by_side, skip, succeed};

/// Directories and files that a program finds in the places of the machine's own.
struct Disguise {
    directory: TempDir,
    places: Vec<(PathBuf, &'static str)>,
}

impl Disguise {
    fn new() -> io::Result<Self> {
        let mut disguise = Self { directory: TempDir::new()?, places: Vec::new() };
        let run = disguise.directory.path().join("run");
        fs::create_dir(&run)?;
        disguise.places.push((run, "/run"));
        Ok(disguise)
    }

    /// A copy of what is there, to be written to; not everybody may read it.
    fn copy(&mut self, place: &'static str) -> io::Result<PathBuf> {
        let copy = self.directory.path().join(format!("copy{}", self.places.len()));
        let copied = Command::new("cp").args(["-r", "--preserve=mode"]).arg(place).arg(&copy).output()?;
        if !copied.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&copied.stderr).into_owned()));
        }
        self.places.push((copy.clone(), place));
        Ok(copy)
    }

    /// A program that finds them there.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mounts =
            self.places.iter().map(|(ours, place)| format!("mount --bind '{}' {place}\n", ours.display()));
        let script = mounts.collect::<String>() + "exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script, "sh", program]).args(arguments).env("LC_ALL", "C");
        command
    }

    fn run(&self, host: &Host, program: &str, arguments: &[&str]) -> io::Result<String> {
        succeed(host, &mut self.command(program, arguments))
    }

    fn spawn(&self, host: &Host, program: &str, arguments: &[&str]) -> io::Result<Process> {
        let log = fs::File::create(self.directory.path().join(program))?;
        let mut command = self.command(program, arguments);
        host.spawn(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))
    }
}

/// A disguise with a copy of the programs' configuration, where there are such programs and it can be.
fn disguise(host: &Host, programs: &[&str], configuration: &'static str) -> io::Result<Option<Disguise>> {
    let because = |reason: String| {
        skip(&reason);
        Ok(None)
    };
    if let Some(missing) = programs.iter().find(|program| !has_tool(program)) {
        return because(format!("{missing} is not installed"));
    }
    let mounts = ["--mount", "sh", "-ec", "mount --bind /run /run"];
    if let Err(error) = succeed(host, Command::new("unshare").args(mounts)) {
        return because(format!("nothing can be mounted here: {error}"));
    }
    let mut disguise = Disguise::new()?;
    if let Err(error) = disguise.copy(configuration) {
        return because(format!("{configuration} cannot be copied: {error}"));
    }
    Ok(Some(disguise))
}

/// ufw that denies all, as `ufw enable` makes it.
fn ufw(host: &Host) -> io::Result<Option<Disguise>> {
    let Some(mut disguise) = disguise(host, &["ufw", "iptables"], "/etc/ufw")? else { return Ok(None) };
    let defaults = disguise.copy("/etc/default/ufw")?;
    // The kernel's own settings are none of this matter.
    let text = fs::read_to_string(&defaults)?;
    let settings =
        text.lines().filter(|line| !line.starts_with("IPT_SYSCTL")).map(|line| format!("{line}\n"));
    fs::write(&defaults, settings.collect::<String>() + "IPT_SYSCTL=\n")?;
    disguise.run(host, "ufw", &["--force", "enable"])?;
    let status = disguise.run(host, "ufw", &["status", "verbose"])?;
    assert!(status.contains("Status: active") && status.contains("deny (incoming)"), "{status}");
    Ok(Some(disguise))
}

pub(crate) fn ufw_denies_all() -> io::Result<()> {
    let scene = Scene::new()?;
    let Some(ufw) = ufw(scene.server())? else { return Ok(()) };
    let mut daemon = scene.knockd(&life::doors("22/tcp", ""))?;
    life::play(&scene, &mut daemon, &scene.ssh())?;
    ufw.run(scene.server(), "ufw", &["status"])?;
    Ok(())
}

pub(crate) fn ufw_reloaded() -> io::Result<()> {
    let scene = Scene::new()?;
    let Some(ufw) = ufw(scene.server())? else { return Ok(()) };
    let _daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    scene.keeping_out(&scene.ssh(), || {
        let open = |target: SocketAddr| scene.assert_opens(target);
        side_by_side(scene.ssh(), |target| {
            scene.knock(target.ip(), &LONG)?;
            open(target)
        })?;
        ufw.run(scene.server(), "ufw", &["allow", "8443/tcp"])?;
        side_by_side(scene.ssh(), open)?;
        ufw.run(scene.server(), "ufw", &["reload"])?;
        side_by_side(scene.ssh(), open)
    })?;
    // Disabled it lets in everybody, but not at a guarded port.
    ufw.run(scene.server(), "ufw", &["disable"])?;
    side_by_side(scene.ssh(), |target| scene.assert_opens(target))
}

/// firewalld with its bus.
struct Firewalld {
    disguise: Disguise,
    _bus: Process,
    _daemon: Process,
}

impl Firewalld {
    /// Whose default zone is `drop`.
    fn start(host: &Host) -> io::Result<Option<Self>> {
        const PROGRAMS: [&str; 4] = ["firewalld", "firewall-cmd", "firewall-offline-cmd", "dbus-daemon"];
        let Some(disguise) = disguise(host, &PROGRAMS, "/etc/firewalld")? else { return Ok(None) };
        let run = disguise.directory.path().join("run");
        fs::create_dir(run.join("dbus"))?;
        fs::create_dir(run.join("firewalld"))?;
        let bus = disguise.directory.write("bus.conf", lab::BUS)?;
        let bus = format!("--config-file={}", bus.display());
        let bus = disguise.spawn(host, "dbus-daemon", &[&bus, "--nofork", "--nopidfile"])?;
        disguise.run(host, "firewall-offline-cmd", &["--set-default-zone=drop"])?;
        wait_until("a bus", SOON, || run.join("dbus/system_bus_socket").exists())?;
        let log = format!("--log-file={}", disguise.directory.path().join("log").display());
        let daemon = disguise.spawn(host, "firewalld", &["--nofork", "--nopid", &log])?;
        let firewalld = Self { disguise, _bus: bus, _daemon: daemon };
        let runs = || firewalld.order(host, "--state").is_ok_and(|state| state.contains("running"));
        wait_until("firewalld", SOON, runs).map_err(|error| {
            let log =
                firewalld.disguise.directory.read("log") + &firewalld.disguise.directory.read("firewalld");
            io::Error::new(error.kind(), format!("{error}: {log}"))
        })?;
        Ok(Some(firewalld))
    }

    fn order(&self, host: &Host, order: &str) -> io::Result<String> {
        self.disguise.run(host, "firewall-cmd", &[order])
    }
}

pub(crate) fn firewalld_drops_all() -> io::Result<()> {
    let scene = Scene::new()?;
    let Some(_firewalld) = Firewalld::start(scene.server())? else { return Ok(()) };
    let mut daemon = scene.knockd(&life::doors("22/tcp", ""))?;
    life::play(&scene, &mut daemon, &scene.ssh())
}

pub(crate) fn firewalld_reloaded() -> io::Result<()> {
    let scene = Scene::new()?;
    let server = scene.server();
    let Some(firewalld) = Firewalld::start(server)? else { return Ok(()) };
    let _daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    scene.keeping_out(&scene.ssh(), || {
        let open = |target: SocketAddr| scene.assert_opens(target);
        side_by_side(scene.ssh(), |target| {
            scene.knock(target.ip(), &LONG)?;
            open(target)
        })?;
        for order in ["--reload", "--set-default-zone=block", "--complete-reload"] {
            firewalld.order(server, order)?;
            side_by_side(scene.ssh(), open)?;
        }
        Ok(())
    })
}
