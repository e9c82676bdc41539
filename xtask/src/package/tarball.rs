//! The archive for every Linux: static programs, and all beside them, in the folders of a prefix such as `/usr/local`.

use std::env;
use std::env::consts::ARCH;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{VERSION, copy_all, fresh, packaging, staged, target};
use crate::cargo::{cargo, succeed};

/// Where the archive is to be unpacked, as the unit in it says.
const PREFIX: &str = "/usr/local";

/// Builds it, and returns where it is in `directory`. It needs the target that links the C library statically.
pub(super) fn build(directory: &Path) -> io::Result<PathBuf> {
    let static_target = static_target();
    provide(&static_target)?;
    succeed(&mut cargo(&["build", "--release", "--target", &static_target]))?;
    let epoch = staged::epoch()?;
    let work = target()?.join("package/tarball");
    fresh(&work)?;
    let name = format!("toctoc-{VERSION}-{ARCH}-linux");
    let (built, tree) = (work.join("built"), work.join(&name));
    staged::put(&built, epoch)?;
    arrange(&built, &target()?.join(&static_target).join("release"), &tree)?;
    fs::create_dir_all(directory)?;
    let archive = directory.join(format!("{name}.tar.gz"));
    // The same source makes the same archive, whoever makes it.
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--format=ustar",
        "--mode=go=rX,u+rw,a-s",
    ]);
    tar.arg(format!("--mtime=@{epoch}")).args(["--use-compress-program=gzip -9n", "--create", "--file"]);
    succeed(tar.arg(&archive).arg("--directory").arg(&work).arg(&name))?;
    Ok(archive)
}

/// Whether everything that it needs is there, or can be had.
pub(super) fn can_be_built() -> bool {
    provide(&static_target()).inspect_err(|error| eprintln!("xtask: no archive: {error}")).is_ok()
}

fn static_target() -> String {
    format!("{ARCH}-unknown-linux-musl")
}

fn provide(name: &str) -> io::Result<()> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", name]).output()?;
    let is_there = Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir();
    if is_there || succeed(Command::new("rustup").args(["target", "add", name])).is_ok() {
        return Ok(());
    }
    let message =
        format!("Rust's target {name} is missing: `rustup target add {name}`, or the distribution's package");
    Err(io::Error::other(message))
}

/// Puts everything where a prefix has it.
fn arrange(built: &Path, programs: &Path, tree: &Path) -> io::Result<()> {
    let copy = |from: PathBuf, to: &str| {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().unwrap_or(tree))?;
        fs::copy(from, to).map(drop)
    };
    for (program, folder) in [("knockd", "sbin"), ("knock", "bin"), ("knockctl", "bin")] {
        copy(programs.join(program), &format!("{folder}/{program}"))?;
    }
    for (shell, folder) in [
        ("bash", "share/bash-completion/completions"),
        ("zsh", "share/zsh/site-functions"),
        ("fish", "share/fish/vendor_completions.d"),
    ] {
        copy_all(&built.join("completions").join(shell), &tree.join(folder))?;
    }
    for page in fs::read_dir(built.join("manuals"))? {
        let page = page?;
        let name = page.file_name().to_string_lossy().into_owned();
        let section = name.rsplit('.').next().unwrap_or_default().to_owned();
        copy(page.path(), &format!("share/man/man{section}/{name}"))?;
    }
    let documents = tree.join("share/doc/toctoc");
    copy_all(&built.join("docs"), &documents)?;
    copy_all(&built.join("examples"), &documents.join("examples"))?;
    for file in staged::FILES {
        copy(built.join(file), &format!("share/doc/toctoc/{file}"))?;
    }
    copy(packaging("tarball/INSTALL.md"), "share/doc/toctoc/INSTALL.md")?;
    unit(&tree.join("lib/systemd/system"))
}

/// The unit, which names its programs where they are.
fn unit(directory: &Path) -> io::Result<()> {
    let unit = fs::read_to_string(packaging("systemd/knockd.service"))?;
    let unit = unit
        .replace("/usr/sbin/", &format!("{PREFIX}/sbin/"))
        .replace("/usr/bin/", &format!("{PREFIX}/bin/"));
    let unit = unit.replace("/usr/share/doc", &format!("{PREFIX}/share/doc"));
    fs::create_dir_all(directory)?;
    fs::write(directory.join("knockd.service"), unit)
}
