//! `cargo xtask fuzz`: every fuzz target for a while, from the seeds that the repository keeps.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::cargo::{cargo, root, succeed};
use crate::tools;

/// How long each target runs when nothing is said, in seconds.
const SECONDS: &str = "10";

/// Builds the targets and runs each for so many seconds.
pub(crate) fn run(arguments: &[String]) -> io::Result<()> {
    let seconds = arguments.first().map_or(SECONDS, String::as_str);
    tools::provide_compiler()?;
    let cargo_fuzz = cargo_fuzz()?;
    for target in targets()? {
        println!("\nfuzzing: {target}");
        succeed(&mut fuzz(&cargo_fuzz, &target, seconds)?)?;
    }
    Ok(())
}

/// Finds go to a folder of their own: the repository keeps the seeds.
fn fuzz(cargo_fuzz: &Path, target: &str, seconds: &str) -> io::Result<Command> {
    let finds = root().join("fuzz/target/finds").join(target);
    fs::create_dir_all(&finds)?;
    let mut command = Command::new(cargo_fuzz);
    // Sanitizers want a nightly compiler; what they would find, safe Rust does not have.
    command.current_dir(root().join("fuzz")).args(["fuzz", "run", "--sanitizer", "none", target]);
    command.arg(finds).arg(format!("corpus/{target}"));
    command.args(["--", &format!("-dict=dictionaries/{target}.dict"), &format!("-max_total_time={seconds}")]);
    command.args(["-print_final_stats=0", "-verbosity=0"]);
    Ok(command)
}

fn targets() -> io::Result<Vec<String>> {
    let files = fs::read_dir(root().join("fuzz/fuzz_targets"))?;
    let mut targets = Vec::new();
    for file in files {
        targets.extend(file?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

/// The `cargo-fuzz` under `target/`, built there the first time.
fn cargo_fuzz() -> io::Result<std::path::PathBuf> {
    let tools = root().join("target/tools");
    let program = tools.join("bin/cargo-fuzz");
    if !program.exists() {
        let mut install = cargo(&["install", "cargo-fuzz", "--version", "0.13.2", "--locked", "--root"]);
        succeed(install.arg(&tools))?;
    }
    Ok(program)
}
