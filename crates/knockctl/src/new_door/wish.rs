//! What is asked for on the command line, checked as the configuration would check it.

use std::net::IpAddr;

use clap::{ArgAction, Args};
use knock_core::config::{self, PortRange, Severity};

use crate::server;

/// What the new door is to be.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// The door's name
    #[arg(value_parser = name)]
    pub(super) name: String,
    /// What it opens, such as 22/tcp or 443/tcp,60000-61000/udp
    #[arg(long, value_name = "PORTS", value_parser = opened)]
    pub(super) open: Opened,
    /// How long it stays open for new connections, such as 30s or 1h30m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(super) open_for: String,
    /// How many ports are knocked [default: 4, or 6 where other ports do not end an attempt (strict = no)]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(4..=32))]
    pub(super) ports: Option<u8>,
    /// Another door may open these ports as well
    #[arg(long)]
    pub(super) shared: bool,
    /// This server's name or address for the client [default: its public address, if it has one]
    #[arg(long, value_name = "HOST", value_parser = server::host)]
    pub(super) server: Option<String>,
    /// Print the door instead of writing it into the configuration
    #[arg(long)]
    pub(super) print: bool,
    /// Show the QR code although nobody may see it [default: on a terminal]
    #[arg(long, overrides_with = "no_qr")]
    pub(super) qr: bool,
    /// Show no QR code
    #[arg(long, action = ArgAction::SetTrue, overrides_with = "qr")]
    pub(super) no_qr: bool,
}

/// The value of `open`.
#[derive(Clone, Debug)]
pub(super) struct Opened(pub(super) Vec<PortRange>);

/// A section's name that can be typed, too: `knockctl close NAME`.
fn name(text: &str) -> Result<String, String> {
    let found = match text {
        "" => "the name is empty",
        _ if text.contains(char::is_control) => "a control character in the name",
        _ if text.contains(['[', ']']) => "a bracket in the name",
        _ if text.trim() != text => "white space at an end of the name",
        _ if text.starts_with('-') => "the name begins with a dash",
        _ if text.eq_ignore_ascii_case("options") => "[options] is the section for the whole daemon",
        _ if is_address(text) => "an address is no name: \"knockctl close\" would take it for the knocker's",
        _ => return Ok(text.to_owned()),
    };
    Err(format!("{found}; expected a name for the door, such as ssh"))
}

fn is_address(text: &str) -> bool {
    text.split('/').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

fn opened(text: &str) -> Result<Opened, String> {
    if text.contains(char::is_control) {
        return Err("a control character; expected ports such as 22/tcp".into());
    }
    let parsed = config::parse("", format!("[door]\nsequence = 1\nopen = {text}\n").as_bytes());
    let error = parsed.diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
    if let Some(error) = error {
        let expected = error.expected.as_deref().unwrap_or("ports such as 22/tcp");
        return Err(format!("{}; expected {expected}", error.found));
    }
    let doors = parsed.config.into_iter().flat_map(|config| config.doors);
    let native = doors.filter_map(|door| door.native).next();
    native.map(|native| Opened(native.ports)).ok_or_else(|| "expected ports such as 22/tcp".into())
}

/// A time as `open_for` takes it, as it was written.
fn time(text: &str) -> Result<String, String> {
    config::duration(text).map(|_| text.to_owned()).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none() {
        for bad in [
            "",
            "a]b",
            "[a",
            "a\nb",
            "a\u{85}",
            " a",
            "a ",
            "-a",
            "options",
            "Options",
            "::1",
            "192.0.2.0/24",
        ] {
            assert!(name(bad).is_err_and(|why| why.contains("; expected ")), "{bad:?}");
        }
        for good in ["ssh", "Ssh von daheim", "é", "22", "a=b", "#1"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn openings() {
        let read = |text: &str| {
            opened(text).map(|Opened(ports)| ports.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(read("22").unwrap(), ["22/tcp"]);
        assert_eq!(read("443/tcp, 60000-61000/udp").unwrap(), ["443/tcp", "60000-61000/udp"]);
        for (bad, why) in [
            ("22/icmp", "unknown protocol \"icmp\"; expected tcp or udp"),
            ("", "a port is missing"),
            ("0", "port 0"),
            ("22\nstart_command = x", "control character"),
        ] {
            let told = read(bad).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
    }
}
