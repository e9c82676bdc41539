//! The RPM package: `packaging/rpm/toctoc.spec` with what is built already.

use std::env::consts::ARCH;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{VERSION, fresh, packaging, staged, target};
use crate::cargo::succeed;
use crate::tools;

/// Builds it, and returns where it is in `directory`.
pub(super) fn build(directory: &Path) -> io::Result<PathBuf> {
    tools::provide_for_rpm()?;
    let epoch = staged::epoch()?;
    let work = target()?.join("package/rpm");
    fresh(&work)?;
    let built = work.join("built");
    staged::put(&built, epoch)?;
    // What comes before a release sorts before it.
    let version = VERSION.replacen('-', "~", 1);
    let mut build = Command::new("rpmbuild");
    build.env(staged::EPOCH, epoch.to_string()).arg("-bb").arg(packaging("rpm/toctoc.spec"));
    for (name, value) in [
        ("release_version", version.as_str()),
        ("built", &built.display().to_string()),
        ("recipe", &packaging("rpm").display().to_string()),
        ("_topdir", &work.display().to_string()),
        ("_rpmdir", &directory.display().to_string()),
        ("_rpmfilename", "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"),
        // The same source makes the same package, whoever makes it.
        ("_buildhost", "toctoc"),
        ("use_source_date_epoch_as_buildtime", "1"),
        ("clamp_mtime_to_source_date_epoch", "1"),
        // Every rpm that is still in use reads it.
        ("_binary_payload", "w9.gzdio"),
        ("_build_id_links", "none"),
    ] {
        build.arg("--define").arg(format!("{name} {value}"));
    }
    succeed(&mut build)?;
    Ok(directory.join(format!("toctoc-{version}-1.{ARCH}.rpm")))
}
