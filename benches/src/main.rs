//! How fast the daemon is, beside Debian's: `cargo xtask bench`.
//!
//! Everything happens on hosts made of network namespaces, in one run, the contenders in turn. What is printed is
//! Markdown. Nothing here passes or fails by a time.

mod arguments;
mod floods;
mod grants;
mod idle;
mod keys;
mod machine;
mod opening;
mod prober;
mod processors;
mod restart;
mod sample;
mod scans;
mod scratch;
mod seed;
mod server;
mod socket;

use std::env;
use std::io;
use std::process::ExitCode;

use arguments::{Arguments, Bench};

/// Debian's daemon.
const THEIRS: &str = "/usr/sbin/knockd";

fn main() -> ExitCode {
    if env::args().any(|argument| argument == floods::RECEIVE) {
        return conclude(floods::receive());
    }
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::from(2);
        }
    };
    conclude(lab::become_root().and_then(|()| run(&arguments)))
}

fn conclude(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    println!("{}\n", machine::describe());
    for bench in &arguments.benches {
        println!("## {}\n", bench.title());
        let before = machine::load();
        match bench {
            Bench::Opening => opening::run(arguments.quick)?,
            Bench::Grants => grants::run(arguments.quick)?,
            Bench::Restart => restart::run(arguments.quick)?,
            Bench::Scans => scans::run(arguments.quick)?,
            Bench::Floods => floods::run(arguments.quick)?,
            Bench::Idle => idle::run(arguments.quick)?,
            Bench::Keys => keys::run(arguments.quick)?,
        }
        println!("Load average before and after, this run included: {before}; {}.", machine::load());
        println!("Measured although something else ran on the machine: {} times.\n", machine::disturbances());
    }
    Ok(())
}
