//! Runs a program as on a kernel that has neither Landlock, nor filters of system calls, nor extended BPF, `old-kernel
//! PROGRAM ARGUMENTS...`; or, with `OLD_KERNEL=strict`, under a filter that ends whoever asks for one of them.

use std::collections::BTreeMap;
use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// What such a kernel does not know, by their numbers, which are the same for all processors that this is written for.
const UNKNOWN: [i64; 1] = [444];
/// "Function not implemented".
const ENOSYS: u32 = 38;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else { return ExitCode::FAILURE };
    if let Err(error) = forget() {
        eprintln!("old-kernel: {error}");
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("old-kernel: {}: {error}", program.display());
    ExitCode::FAILURE
}

fn forget() -> Result<(), Box<dyn std::error::Error>> {
    let calls: BTreeMap<_, _> =
        UNKNOWN.into_iter().chain(of_this_processor()).map(|call| (call, Vec::new())).collect();
    let processor = env::consts::ARCH.try_into()?;
    let strict = env::var_os("OLD_KERNEL").is_some_and(|kind| kind == "strict");
    let answer = if strict { SeccompAction::KillProcess } else { SeccompAction::Errno(ENOSYS) };
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, answer, processor)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter(&program)?)
}

/// `bpf` and `seccomp`.
fn of_this_processor() -> [i64; 2] {
    if cfg!(target_arch = "x86_64") { [321, 317] } else { [280, 277] }
}
