//! A passphrase is asked for: on the terminal, or by the program that `SSH_ASKPASS` names, as ssh does it.
//!
//! Standard input and output are left alone: between ssh and its server they are the connection.

use std::env;
use std::ffi::OsString;
use std::io::Read as _;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

#[cfg(unix)]
use super::terminal;

/// The longest passphrase that a program can give, in bytes.
const LONGEST: u64 = 1024;

const NOBODY: &str =
    "there is no terminal to ask on, and no SSH_ASKPASS that could (with DISPLAY or WAYLAND_DISPLAY)";

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The terminal, and where there is none the program.
    Usual,
    /// The program first.
    Prefer,
    /// The program only.
    Force,
    /// The terminal only.
    Never,
}

/// Asks for a passphrase.
///
/// # Errors
/// Where nobody can be asked, or nobody answers; in words.
pub(super) fn ask(prompt: &str) -> Result<Zeroizing<String>, String> {
    let order = order(&env::var("SSH_ASKPASS_REQUIRE").unwrap_or_default());
    match (order, program(order)) {
        (Order::Force | Order::Prefer, Some(program)) => by_program(&program, prompt),
        (Order::Force, None) => Err("SSH_ASKPASS_REQUIRE=force, but SSH_ASKPASS names no program".into()),
        (_, program) => match (terminal::ask(prompt), program) {
            (Ok(Some(answer)), _) => Ok(answer),
            (Ok(None), Some(program)) => by_program(&program, prompt),
            (Ok(None), None) => Err(NOBODY.into()),
            (Err(error), _) => Err(format!("nothing was read from the terminal: {error}")),
        },
    }
}

/// Not to show what is typed takes calls there that are not safe ones.
#[cfg(not(unix))]
mod terminal {
    use std::io;

    use zeroize::Zeroizing;

    pub(super) fn ask(_: &str) -> io::Result<Option<Zeroizing<String>>> {
        Ok(None)
    }
}

fn order(required: &str) -> Order {
    match required.to_ascii_lowercase().as_str() {
        "force" => Order::Force,
        "prefer" => Order::Prefer,
        "never" => Order::Never,
        _ => Order::Usual,
    }
}

/// The program, where one may be used. It has a window to show only where there is a display.
fn program(order: Order) -> Option<OsString> {
    let has = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let shows = order == Order::Force || has("DISPLAY") || has("WAYLAND_DISPLAY");
    let named = env::var_os("SSH_ASKPASS").filter(|program| !program.is_empty());
    named.filter(|_| shows && order != Order::Never)
}

fn by_program(program: &OsString, prompt: &str) -> Result<Zeroizing<String>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{} (SSH_ASKPASS): {why}", program.display());
    let mut command = Command::new(program);
    command.arg(prompt).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| wrong(&error))?;
    let mut answer = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    let read = match child.stdout.take() {
        Some(output) => output.take(LONGEST).read_to_end(&mut answer),
        None => Ok(0),
    };
    let status = child.wait().map_err(|error| wrong(&error))?;
    read.map_err(|error| wrong(&error))?;
    if !status.success() {
        return Err(wrong(&"no passphrase was given"));
    }
    let line = answer.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let text = str::from_utf8(line).map_err(|_| wrong(&"it gives what is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_who_is_asked() {
        let orders = ["", "force", "PREFER", "never", "maybe"].map(order);
        assert_eq!(orders, [Order::Usual, Order::Force, Order::Prefer, Order::Never, Order::Usual]);
    }

    #[cfg(unix)]
    #[test]
    fn a_program_says_it_in_one_line() {
        let by = |program: &str, prompt| by_program(&program.into(), prompt).map(|answer| answer.to_string());
        assert_eq!(by("/bin/echo", "two words"), Ok("two words".into()));
        assert_eq!(by("/bin/false", ""), Err("/bin/false (SSH_ASKPASS): no passphrase was given".into()));
        assert!(by("/no/such/program", "").unwrap_err().starts_with("/no/such/program (SSH_ASKPASS): "));
    }
}
