//! The Debian package: `packaging/debian` with what is built already, put together by debhelper.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{VERSION, copy_all, fresh, packaging, staged, target};
use crate::cargo::succeed;
use crate::tools;

/// What is for other programs to read, where somebody wants that.
const EXAMPLES: [&str; 3] = ["fail2ban", "grafana", "prometheus"];

/// Builds it, and returns where it is in `directory`.
pub(super) fn build(directory: &Path) -> io::Result<PathBuf> {
    tools::provide_for_deb()?;
    let epoch = staged::epoch()?;
    let work = target()?.join("package/deb");
    let source = work.join("source");
    fresh(&source)?;
    staged::put(&source.join("built"), epoch)?;
    for examples in EXAMPLES {
        copy_all(&packaging(examples), &source.join("built/examples").join(examples))?;
    }
    let debian = source.join("debian");
    copy_all(&packaging("debian"), &debian)?;
    fs::write(debian.join("changelog"), changelog(epoch)?)?;
    let mut build = Command::new("dpkg-buildpackage");
    build.args(["--build=binary", "--unsigned-source", "--unsigned-changes"]);
    succeed(build.current_dir(&source).env(staged::EPOCH, epoch.to_string()))?;
    let name = format!("toctoc_{}_{}.deb", version(), architecture()?);
    fs::create_dir_all(directory)?;
    let package = directory.join(&name);
    fs::copy(work.join(name), &package)?;
    Ok(package)
}

/// The release's version, in Debian's notation: what comes before a release sorts before it (deb-version(7)).
fn version() -> String {
    VERSION.replacen('-', "~", 1)
}

fn changelog(epoch: u64) -> io::Result<String> {
    let seconds = i64::try_from(epoch).map_err(io::Error::other)?;
    let moment = jiff::Timestamp::from_second(seconds).map_err(io::Error::other)?;
    let (version, date) = (version(), moment.strftime("%a, %d %b %Y %H:%M:%S +0000"));
    let control = fs::read_to_string(packaging("debian/control"))?;
    let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: ")).unwrap_or_default();
    Ok(format!(
        "toctoc ({version}) unstable; urgency=medium\n\n  * Release {VERSION}: see CHANGELOG.md.\n\n \
         -- {maintainer}  {date}\n"
    ))
}

fn architecture() -> io::Result<String> {
    let output = Command::new("dpkg").arg("--print-architecture").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
