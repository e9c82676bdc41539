//! The daemon's configuration, for commands that go by it or write it: which it is, and what is wrong with it.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use knock_core::config::{self, Config, Parsed, Severity};

use crate::commands::Context;
use crate::doctor;
use crate::failure::Failure;

/// The daemon that is to take up what was changed.
pub(crate) enum Daemon {
    /// It runs, with this configuration.
    Runs,
    /// It runs with another one.
    RunsWith(PathBuf),
    /// It does not run, as far as can be seen.
    RunsNot,
}

/// Reads the configuration that is meant; where it has mistakes they are shown.
pub(crate) fn read(context: &Context) -> Result<Config, Failure> {
    let (_, path) = place(context)?;
    let bytes = fs::read(&path).map_err(|error| {
        Failure::Refused(format!(
            "{} cannot be read: {error} (-c names another configuration)",
            path.display()
        ))
    })?;
    let name = path.display().to_string();
    let parsed = config::parse(&name, &bytes);
    usable(&parsed, 0, &format!("{name} has mistakes")).cloned()
}

/// Whether the daemon runs, and which configuration is meant: the one that `-c` names, else the daemon's, else the usual
/// one.
pub(crate) fn place(context: &Context) -> Result<(Daemon, PathBuf), Failure> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let named = context.config_is_named.then(|| absolute(&context.config));
    let status = match doctor::status(&context.socket) {
        Ok(status) => Some(status),
        // Nobody listens there; who may not ask is told so.
        Err(Failure::Unreachable { error, .. }) if error.kind() != io::ErrorKind::PermissionDenied => None,
        Err(failure) => return Err(failure),
    };
    let config_of_daemon = status.map(|status| PathBuf::from(status.config));
    let path = named.or_else(|| config_of_daemon.clone()).unwrap_or_else(|| absolute(&context.config));
    let daemon = match config_of_daemon {
        Some(config) if is_same(&config, &path) => Daemon::Runs,
        Some(config) => Daemon::RunsWith(config),
        None => Daemon::RunsNot,
    };
    Ok((daemon, path))
}

/// Whether two paths lead to one file, as far as can be seen.
fn is_same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    resolved(one) == resolved(other)
}

/// The configuration, or why it cannot be used, with what is wrong from a byte on.
pub(crate) fn usable<'a>(parsed: &'a Parsed, from: usize, why: &str) -> Result<&'a Config, Failure> {
    parsed.config.as_ref().ok_or_else(|| {
        tell_remarks(parsed, Severity::Error, from);
        Failure::Refused(format!("{why}: nothing was written"))
    })
}

/// As `knockd --check` shows it.
pub(crate) fn tell_remarks(parsed: &Parsed, severity: Severity, from: usize) {
    let mut error_output = io::stderr().lock();
    let colour = error_output.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for remark in remarks(parsed, severity, from, colour) {
        // Whoever closed standard error does not want to read it.
        let _ = writeln!(error_output, "{remark}\n");
    }
}

/// What there is to say of a configuration from a byte on, with the lines that it is about.
fn remarks(parsed: &Parsed, severity: Severity, from: usize, colour: bool) -> Vec<String> {
    let remarks = parsed.diagnostics.iter();
    let remarks = remarks.filter(|remark| remark.severity == severity && remark.span.start >= from);
    remarks.map(|remark| parsed.source.snippet(remark, colour)).collect()
}
