//! Each case is run with Debian's knockd 0.8 and with ours: the same commands, the same log, the same exit status, or a
//! difference that is meant, and told in `docs/knockd-differences.md`.
//!
//! `CONFORMANCE_SHOW=1 cargo test -p lab --test conformance -- --nocapture NAME` prints both outcomes.

mod case;
mod cases;
mod directory;
mod document;
mod outcome;
mod run;
mod syslog;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};

use case::Case;
use outcome::Outcome;

const THEIRS: &str = "/usr/sbin/knockd";
/// Most of a case is waiting.
const THREADS: usize = 12;

fn main() -> ExitCode {
    if let Err(error) = lab::become_root() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let cases = cases::all();
    let used =
        cases.iter().filter_map(|case| case.difference.as_ref()).map(|difference| difference.id).collect();
    let names = cases.iter().map(|case| case.name).collect();
    let document =
        Trial::test("every difference is documented and shown", move || Ok(document::check(&used)?));
    let names = Trial::test("every case has a name of its own", move || Ok(unique(names)?));
    let trials = cases.into_iter().map(|case| Trial::test(case.name, move || compare(&case)));
    libtest_mimic::run(&arguments, trials.chain([document, names]).collect()).exit_code()
}

fn unique(mut names: Vec<&str>) -> Result<(), String> {
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map_or(Ok(()), |pair| Err(pair[0].to_owned()))
}

fn compare(case: &Case) -> Result<(), Failed> {
    if !Path::new(THEIRS).exists() {
        return Err(format!("{THEIRS} is missing: apt install knockd").into());
    }
    let program = lab::binary("knockd")?;
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| run::run(case, Path::new(THEIRS)));
        let ours = run::run(case, &program);
        (theirs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), ours)
    });
    judge(case, &told("knockd", theirs)?, &told("ours", ours)?)
}

fn told(who: &str, outcome: io::Result<Outcome>) -> Result<Outcome, Failed> {
    outcome.map_err(|error| format!("{who}: {error}").into())
}

fn judge(case: &Case, theirs: &Outcome, ours: &Outcome) -> Result<(), Failed> {
    let shown = format!("knockd:\n{theirs}ours:\n{ours}");
    if std::env::var_os("CONFORMANCE_SHOW").is_some() {
        println!("=== {}\n{shown}", case.name);
    }
    let fault = match (theirs == ours, &case.difference) {
        (true, None) => return Ok(()),
        (false, None) => "a difference that is not documented".to_owned(),
        (true, Some(gone)) => format!("the same, though {} says otherwise", gone.id),
        (false, Some(difference)) if ours.summary() == difference.ours => return Ok(()),
        (false, Some(difference)) => format!("ours differs, but not by {:?}", difference.ours),
    };
    Err(format!("{fault}\n{shown}").into())
}
