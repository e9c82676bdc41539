//! The project's tasks. `cargo xtask` lists them.

mod bench;
mod cargo;
mod demo;
mod fuzz;
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
  cargo xtask fuzz [SECONDS] runs each fuzz target for SECONDS (10), from the seeds in fuzz/corpus
  cargo xtask bench [NAME] [--quick]
                             measures the daemon beside Debian's: opening, grants, restart, idle, floods, scans, or
                             all of them, in half an hour or so; --quick only sees whether the benches run

None touches this machine's network or firewall. Without root they run in a user namespace.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        None => return help(),
        Some((task, [])) if ["help", "-h", "--help"].contains(&task.as_str()) => return help(),
        Some((task, [])) if task == "demo" => demo::run(),
        Some((task, rest)) if task == "test" => test::run(rest),
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
