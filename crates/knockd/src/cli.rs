//! The command line: knockd 0.8's, and `--check`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use knock_core::config::Interfaces;

use crate::log;

/// Opens doors for those who knock the right ports in the right order.
#[derive(Debug, Parser)]
#[command(
    name = "knockd",
    version = concat!(env!("CARGO_PKG_VERSION"), " (toctoc)"),
    infer_long_args = true,
    args_override_self = true,
    after_help = "The configuration and all of this are explained in docs/knockd.conf.md and docs/knockd.md."
)]
pub(crate) struct Arguments {
    /// Interfaces to listen on: a name, a list, a pattern such as 'wg*', or any
    #[arg(short, long, value_name = "IF", value_parser = interfaces)]
    pub(crate) interface: Option<Interfaces>,
    /// Go to the background
    #[arg(short, long)]
    pub(crate) daemon: bool,
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/knockd.conf")]
    pub(crate) config: PathBuf,
    /// Tell on standard output how each packet was taken
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,
    /// Look up the names of knockers for the log (their name servers learn of it)
    #[arg(short, long)]
    pub(crate) lookup: bool,
    /// The process id's file, written with -d [default: /var/run/knockd.pid]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,
    /// A log file; the configuration's LogFile goes before it
    #[arg(short = 'g', long, value_name = "FILE")]
    pub(crate) logfile: Option<PathBuf>,
    /// Copy the log to standard output
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Pass over IPv6
    #[arg(short = '4', long = "only-ip-v4")]
    pub(crate) only_ip_v4: bool,
    /// Check the configuration file, tell every error and warning, and exit: 0 if it can be used, 1 if not
    #[arg(long)]
    pub(crate) check: bool,
    /// Taken for the sake of knockd 0.8.2, without effect.
    #[arg(short, long, hide = true)]
    save_mem: bool,
    /// What knockd would have passed over in silence.
    #[arg(hide = true)]
    surplus: Vec<String>,
}

fn interfaces(text: &str) -> Result<Interfaces, String> {
    Interfaces::parse(text).map_err(|fault| fault.to_string())
}

/// The arguments, or what to exit with when they are help, version or wrong.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    let arguments = Arguments::try_parse_from(std::env::args_os().map(unambiguous)).map_err(|error| {
        // What cannot be printed has nobody who reads it.
        let _ = error.print();
        if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    })?;
    for argument in &arguments.surplus {
        log::tell(&format!("warning: \"{argument}\" is no option and is passed over"));
    }
    Ok(arguments)
}

/// The command line as a whole, for completions and manual pages.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// `--c` has always been short for `--config`, and stays so beside `--check`.
fn unambiguous(argument: OsString) -> OsString {
    match argument.to_str().and_then(|text| text.strip_prefix("--c")) {
        Some("") => "--config".into(),
        Some(value) if value.starts_with('=') => format!("--config{value}").into(),
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_knockd_takes() {
        command().debug_assert();
        let line = "knockd -dvl4 -i eth0 --conf=/x -p /y -D --logf /z -s -i wg0 extra";
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        assert!(arguments.daemon && arguments.verbose && arguments.lookup && arguments.only_ip_v4);
        assert!(arguments.debug && !arguments.check);
        assert_eq!(arguments.interface, Interfaces::parse("wg0").ok());
        assert_eq!(arguments.config, PathBuf::from("/x"));
        assert_eq!((arguments.pidfile, arguments.logfile), (Some("/y".into()), Some("/z".into())));
        assert_eq!(arguments.surplus, ["extra"]);
        for (typed, taken) in [("--c", "--config"), ("--c=/x", "--config=/x"), ("--ch", "--ch"), ("-c", "-c")]
        {
            assert_eq!(unambiguous(typed.into()), taken);
        }
    }
}
