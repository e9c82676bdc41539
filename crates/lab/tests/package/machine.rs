//! A Debian to install packages on.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lab::{Host, Process, TempDir, wait_until};

/// How long it may take until a machine is up.
const BOOT: Duration = Duration::from_secs(60);
/// Moves into a control group of its own, where systemd may do as it likes, and goes on in namespaces.
const APART: &str = "
    root=$1 group=$2
    mount --make-rprivate /
    mount -t cgroup2 cgroup2 $root
    mkdir $root/$group
    echo $$ >$root/$group/cgroup.procs
    umount $root
    exec unshare --cgroup --pid --fork --kill-child --mount --uts --ipc sh -ec \"$3\" machine \"$root\" \"$4\" \"$5\" \"$6\"
";
/// Makes the machine's file system, which is gone with its last process, and starts its first.
const BOOT_SCRIPT: &str = "
    root=$1 init=$4
    mount -t tmpfs -o mode=755 tmpfs $root
    tar -xf $2 -C $root
    cp $3 $root/srv/toctoc.deb
    mount -t proc proc $root/proc
    mount -t sysfs -o ro sysfs $root/sys
    mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs $root/run
    mount -t tmpfs -o mode=755 tmpfs $root/dev
    for device in null zero full random urandom tty; do
        touch $root/dev/$device
        mount --bind /dev/$device $root/dev/$device
    done
    mkdir $root/dev/pts $root/dev/shm
    mount -t devpts -o newinstance,ptmxmode=666 devpts $root/dev/pts
    ln -s pts/ptmx $root/dev/ptmx
    ln -s /proc/self/fd $root/dev/fd
    chmod 1777 $root/tmp $root/dev/shm
    # A shell reaps whoever has no parent any more while it waits for a child.
    printf '#!/bin/sh\\nwhile :; do sleep 3600; done\\n' >$root/usr/local/sbin/reaper
    chmod +x $root/usr/local/sbin/reaper
    if [ $init = /usr/local/sbin/reaper ]; then
        rm $root/sbin/runlevel
        printf '#!/bin/sh\\necho N 2\\n' >$root/sbin/runlevel
        chmod +x $root/sbin/runlevel
    fi
    echo machine >$root/etc/hostname
    echo '127.0.0.1 localhost machine' >$root/etc/hosts
    rm -f $root/etc/resolv.conf
    hostname machine
    cd $root
    mkdir old
    pivot_root . old
    umount -l old
    rmdir old
    touch /run/is-made
    exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin $init
";
/// Takes the control groups away.
const CLEAN_UP: &str = "
    mount --make-rprivate /
    mount -t cgroup2 cgroup2 $1
    find $1/$2 -depth -type d -exec rmdir {} +
";

/// What starts and ends services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Init {
    /// The real one.
    Systemd,
    /// None: services are started by their scripts in /etc/init.d. Somebody reaps.
    Scripts,
}

impl Init {
    fn command(self) -> &'static str {
        match self {
            Self::Systemd => "/lib/systemd/systemd",
            Self::Scripts => "/usr/local/sbin/reaper",
        }
    }
}

/// What is to be installed, and what on.
pub(crate) struct Prepared {
    archive: PathBuf,
    package: PathBuf,
}

impl Prepared {
    /// Where they are; `None`, and a line that says so, where they are not.
    pub(crate) fn find() -> io::Result<Option<Self>> {
        let executable = std::env::current_exe()?;
        let target = executable.ancestors().nth(3).unwrap_or(Path::new("/"));
        let directory = target.join("package");
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let package =
            format!("toctoc_{}_{architecture}.deb", env!("CARGO_PKG_VERSION").replacen('-', "~", 1));
        let found = Self { archive: directory.join("root.tar"), package: directory.join(package) };
        if found.archive.exists() && found.package.exists() && lab::is_root() {
            return Ok(Some(found));
        }
        println!("left out: {} has no package and no Debian to install it on", directory.display());
        Ok(None)
    }

    /// The package's file.
    pub(crate) fn package(&self) -> &Path {
        &self.package
    }
}

/// A running Debian. All of it is gone when it is dropped.
pub(crate) struct Machine {
    process: Option<Process>,
    /// Its first process, as this machine counts.
    init: u32,
    group: String,
    root: TempDir,
}

impl Machine {
    /// Boots one that has the network of `host`. The package is `/srv/toctoc.deb` there, Debian's knockd
    /// `/srv/knockd.deb`.
    pub(crate) fn boot(prepared: &Prepared, host: &Host, init: Init) -> io::Result<Self> {
        let root = TempDir::new()?;
        let group =
            root.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", APART, "machine"]).arg(root.path()).args([&group, BOOT_SCRIPT]);
        command.arg(&prepared.archive).arg(&prepared.package).arg(init.command());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = host.spawn(&mut command)?;
        let mut machine = Self { process: Some(process), init: 0, group, root };
        wait_until("a machine that is made", BOOT, || machine.find_init())?;
        if init == Init::Systemd {
            wait_until("systemd that listens", BOOT, || machine.has("/run/systemd/private"))?;
            // Whether everything of the distribution's own likes it here does not matter.
            machine.sh("systemctl is-system-running --wait | grep -E 'running|degraded'")?;
        }
        Ok(machine)
    }

    fn find_init(&mut self) -> bool {
        let Some(process) = &self.process else { return false };
        let id = process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        self.init = children.trim().parse().unwrap_or_default();
        self.init != 0 && self.path("/run/is-made").exists()
    }

    /// Where a file of the machine's is for this one.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{file}", self.init))
    }

    /// The text of a file.
    pub(crate) fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.path(file))
            .map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))
    }

    /// Writes a file.
    pub(crate) fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.path(file), text)
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.path(file).exists()
    }

    /// A file's mode, without its kind.
    pub(crate) fn mode(&self, file: &str) -> io::Result<u32> {
        Ok(fs::metadata(self.path(file))?.permissions().mode() & 0o7777)
    }

    /// Runs a shell script to its end.
    pub(crate) fn output(&self, script: &str) -> io::Result<Output> {
        let environment =
            ["PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"];
        let mut command = Command::new("nsenter");
        command.args(["--all", "--root", &format!("--target={}", self.init), "env", "-i"]);
        command.args(environment).args([
            "DEBIAN_FRONTEND=noninteractive",
            "sh",
            "-ec",
            &format!("cd /\n{script}"),
        ]);
        command.stdin(Stdio::null()).output()
    }

    /// Runs a shell script that stops at its first failing command; what it wrote, to whichever of the two.
    pub(crate) fn sh(&self, script: &str) -> io::Result<String> {
        let output = self.output(&format!("exec 2>&1\n{script}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(io::Error::other(format!("{script}\n{}\n{text}", output.status)))
    }

    /// Installs a package's file by apt, which nobody answers.
    pub(crate) fn install(&self, file: &str) -> io::Result<String> {
        self.sh(&format!("apt-get install --yes --no-install-recommends {file}"))
    }

    /// The same package with a higher version, as `/srv/NAME.deb`.
    pub(crate) fn make_newer(&self, version: &str) -> io::Result<String> {
        let file = format!("/srv/{version}.deb");
        self.sh(&format!(
            "rm -rf /tmp/newer; dpkg-deb -R /srv/toctoc.deb /tmp/newer
             sed -i 's/^Version: .*/Version: {version}/' /tmp/newer/DEBIAN/control
             dpkg-deb -Znone -b /tmp/newer {file}"
        ))?;
        Ok(file)
    }

    /// The daemon's own process, by the machine's own count; `None` where none runs.
    pub(crate) fn daemon(&self) -> io::Result<Option<u32>> {
        let found = self.output("cat /run/knockd.pid || pgrep --oldest --exact knockd")?;
        Ok(String::from_utf8_lossy(&found.stdout).trim().parse().ok())
    }

    /// The same, where one has to run.
    pub(crate) fn running_daemon(&self) -> io::Result<u32> {
        self.daemon()?.ok_or_else(|| io::Error::other("no knockd runs"))
    }

    /// Whether this process was started from the program that is there now.
    pub(crate) fn runs_what_is_installed(&self, process: u32) -> io::Result<bool> {
        let identity = |path: String| fs::metadata(self.path(&path)).map(|found| (found.dev(), found.ino()));
        Ok(identity(format!("/proc/{process}/exe"))? == identity("/usr/sbin/knockd".into())?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.process = None;
        let init = PathBuf::from(format!("/proc/{}", self.init));
        let _ = wait_until("the end of the machine", BOOT, || self.init == 0 || !init.exists());
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", CLEAN_UP, "machine"]).arg(self.root.path()).arg(&self.group);
        if !command.output().is_ok_and(|output| output.status.success()) {
            eprintln!("the control group {} is left over", self.group);
        }
    }
}
