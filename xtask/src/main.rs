//! The project's tasks. `cargo xtask` lists them.

mod bench;
mod cargo;
mod completions;
mod demo;
mod deny;
mod fuzz;
mod manuals;
mod package;
mod story;
mod test;
mod tools;

use std::env;
use std::io;
use std::process::ExitCode;

const HELP: &str = "\
The project's tasks:

  cargo xtask demo           shows a door opening and closing, on made-up hosts, in ten seconds
  cargo xtask test [ARGS]    installs what the tests need (as root), builds everything, runs all tests;
                             ARGS go to `cargo test --workspace`
  cargo xtask package deb|rpm|tarball [DIR]
                             builds the Debian package, the RPM package or the archive of static programs from a
                             release build, into target/package or DIR
  cargo xtask fuzz [SECONDS] runs each fuzz target for SECONDS (10), from the seeds in fuzz/corpus
  cargo xtask bench [NAME] [--quick]
                             measures the daemon beside Debian's: opening, grants, restart, idle, floods, scans, keys, or
                             all of them, in half an hour or so; --quick only sees whether the benches run
  cargo xtask manuals DIR    writes the manual pages into DIR: knockd.1, knockd.conf.5 and so on
  cargo xtask completions DIR
                             writes what bash, zsh and fish complete: DIR/bash/knockd, DIR/zsh/_knockd and so on
  cargo xtask deny           licences, doubles and origins of everything that is built in, as deny.toml wants them

None touches this machine's network or firewall. Without root they run in a user namespace.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        None => return help(),
        Some((task, [])) if ["help", "-h", "--help"].contains(&task.as_str()) => return help(),
        Some((task, [])) if task == "demo" => demo::run(),
        Some((task, [directory])) if task == "completions" => completions::run(directory.as_ref()),
        Some((task, [directory])) if task == "manuals" => manuals::run(directory.as_ref()),
        Some((task, rest)) if task == "package" => package::run(rest),
        Some((task, rest)) if task == "test" => test::run(rest),
        Some((task, [])) if task == "deny" => deny::run(),
        Some((task, rest)) if task == "fuzz" => fuzz::run(rest),
        Some((task, rest)) if task == "bench" => bench::run(rest),
        Some(_) => {
            eprint!("xtask: no such task: {}\n\n{HELP}", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    conclude(outcome)
}

fn help() -> ExitCode {
    print!("{HELP}");
    ExitCode::SUCCESS
}

fn conclude(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
