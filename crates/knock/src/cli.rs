//! The command line of knock 0.8 and what is new, checked as a whole before anything is done.
//!
//! It is read with getopt's habits: long options may be abbreviated, options may follow operands, and of an option
//! given twice the last counts.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use knock_core::knock::Protocol;
use knock_core::sequence::{Fault, Step};

use crate::error::Error;
use crate::resolve::{Family, Wanted};

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// A text: the help or the version.
    Print(String),
    /// A knock.
    Knock(Request),
}

/// A knock, ready to be resolved and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// A name or an address.
    pub(crate) host: String,
    /// What to knock.
    pub(crate) ports: Ports,
    /// Which of the host's addresses to knock at.
    pub(crate) wanted: Wanted,
    /// The address to send from.
    pub(crate) source: Option<IpAddr>,
    /// The pause behind each knock.
    pub(crate) gap: Duration,
    /// Whether to tell what is done.
    pub(crate) verbose: bool,
}

/// Where the ports come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// From the command line; at least one.
    Given(Vec<Step>),
    /// From the next unused line of a file.
    OneTime(PathBuf),
}

const USAGE: &str = "knock [OPTIONS] HOST PORT[:PROTO]...\n       knock [OPTIONS] --one-time FILE HOST";

const AFTER_HELP: &str = "\
Exit codes: 0 sent, 1 wrong usage or one-time file, 2 host not resolved, 3 a knock could not be sent.

Example: knock myserver.example.com 7142 8319:udp 9623:tcp";

/// Knocks the ports of HOST in order: one SYN or one UDP datagram each, no answer waited for.
#[derive(Debug, Parser)]
#[command(name = "knock", version = concat!(env!("CARGO_PKG_VERSION"), " (toctoc)"), after_help = AFTER_HELP)]
#[command(args_override_self = true, infer_long_args = true)]
#[command(override_usage = USAGE)]
struct Arguments {
    /// Knock every port by UDP
    #[arg(short, long)]
    udp: bool,

    /// Wait MS milliseconds after each knock; 100 help them arrive in order
    #[arg(
        short,
        long,
        visible_alias = "gap",
        value_name = "MS",
        default_value = "0",
        hide_default_value = true
    )]
    #[arg(allow_hyphen_values = true, value_parser = milliseconds)]
    delay: Duration,

    /// Knock at an IPv4 address only
    #[arg(short = '4', long, overrides_with = "ipv6")]
    ipv4: bool,

    /// Knock at an IPv6 address only
    #[arg(short = '6', long)]
    ipv6: bool,

    /// Knock the whole sequence at the IPv4 and at the IPv6 address
    #[arg(long, conflicts_with_all = ["ipv4", "ipv6", "source", "one_time"])]
    both: bool,

    /// Send from this address of this machine
    #[arg(short, long, value_name = "ADDR", value_parser = address)]
    source: Option<IpAddr>,

    /// Knock the next unused line of FILE, then mark it as used
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ports", "udp"])]
    one_time: Option<PathBuf>,

    /// Print each knock
    #[arg(short, long)]
    verbose: bool,

    /// A name or an address, such as fe80::1%eth0
    #[arg(value_name = "HOST")]
    host: String,

    /// A port, 1 to 65535; PROTO is tcp (when unsaid) or udp
    #[arg(value_name = "PORT[:PROTO]", required_unless_present = "one_time")]
    ports: Vec<String>,
}

/// Reads and checks the command line, beginning with the program's own name.
///
/// # Errors
/// For anything that would have to be guessed.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Error> {
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.check().map(Invocation::Knock),
        Err(answer) if !answer.use_stderr() => Ok(Invocation::Print(answer.to_string())),
        Err(refusal) => Err(Error::Usage(in_short(&refusal))),
    }
}

/// What is wrong, without the page that clap adds; it begins with `error: `, where `knock: ` will stand.
fn in_short(refusal: &clap::Error) -> String {
    let text = refusal.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let wrong = text.split("\n\n").next().unwrap_or(text).trim_end();
    match refusal.kind() {
        ErrorKind::MissingRequiredArgument => format!("{wrong}\n\nUsage: {USAGE}"),
        _ => format!("{wrong}\nTry 'knock --help'."),
    }
}

impl Arguments {
    fn check(self) -> Result<Request, Error> {
        let wanted = self.wanted()?;
        let ports = match self.one_time {
            Some(file) => Ports::OneTime(file),
            None => Ports::Given(steps(&self.ports, self.udp)?),
        };
        let Self { host, source, delay: gap, verbose, .. } = self;
        Ok(Request { host, ports, wanted, source, gap, verbose })
    }

    /// An address to send from asks for targets of its own family.
    fn wanted(&self) -> Result<Wanted, Error> {
        let asked = match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        };
        match (asked, self.source.map(|source| (source, Family::of(source)))) {
            (Some(asked), Some((source, family))) if asked != family => Err(Error::Usage(format!(
                "--source {source} is an {family} address, but {asked} is asked for"
            ))),
            (Some(family), _) | (None, Some((_, family))) => Ok(Wanted::Only(family)),
            (None, None) => Ok(if self.both { Wanted::Both } else { Wanted::First }),
        }
    }
}

fn steps(ports: &[String], udp: bool) -> Result<Vec<Step>, Error> {
    let parse = |(index, text): (usize, &String)| match Step::parse(text) {
        Ok(step) if udp => Ok(Step { protocol: Protocol::Udp, ..step }),
        Ok(step) => Ok(step),
        Err(fault) => {
            Err(Error::Port { number: index + 1, text: text.clone(), fault: of_one_port(text, fault) })
        }
    };
    ports.iter().enumerate().map(parse).collect()
}

/// A list as the configuration file has it is the likeliest mistake.
fn of_one_port(text: &str, fault: Fault) -> Fault {
    match text.trim().contains([',', ' ']) {
        true => {
            Fault::new(0..text.len(), "more than one port", "one in each argument, such as 7142 8319:udp")
        }
        false => fault,
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    match text.parse::<u32>() {
        Ok(milliseconds) => Ok(Duration::from_millis(milliseconds.into())),
        Err(_) if text.parse::<f64>().is_ok_and(|number| number < 0.0) => {
            Err("a delay cannot be negative".into())
        }
        Err(_) => Err(format!("expected whole milliseconds, 0 to {}", u32::MAX)),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address of this machine, such as 192.0.2.7 or 2001:db8::7".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoke(line: &str) -> Result<Invocation, Error> {
        parse(std::iter::once("knock").chain(line.split_whitespace()).map(OsString::from))
    }

    fn request(line: &str) -> Request {
        match invoke(line) {
            Ok(Invocation::Knock(request)) => request,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refusal(line: &str) -> String {
        match invoke(line) {
            Err(error) => {
                assert_eq!(error.exit_code(), 1, "{line}");
                error.to_string()
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    fn given(line: &str) -> Vec<String> {
        match request(line).ports {
            Ports::Given(steps) => steps.iter().map(ToString::to_string).collect(),
            Ports::OneTime(_) => panic!("{line}"),
        }
    }

    #[test]
    fn clap_agrees_with_itself() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn reads_ports_as_knock_does() {
        assert_eq!(given("host 7000 8000:udp 9000:tcp"), ["7000:tcp", "8000:udp", "9000:tcp"]);
        assert_eq!(given("-u host 7000 9000:tcp"), ["7000:udp", "9000:udp"]);
        assert_eq!(given(&format!("host {}", "7 ".repeat(40))).len(), 40);
    }

    #[test]
    fn reads_the_delay_as_getopt_does() {
        let five = [
            "--delay=5",
            "--delay 5",
            "-d5",
            "-d 5",
            "-vd 5",
            "-vd5",
            "--del 5",
            "--gap 5",
            "--ga=5",
            "-d1 --gap 5",
        ];
        for options in five {
            assert_eq!(request(&format!("{options} h 1")).gap, Duration::from_millis(5), "{options}");
            assert_eq!(request(&format!("h 1 {options}")).gap, Duration::from_millis(5), "{options}");
        }
        assert_eq!(request("h 1").gap, Duration::ZERO);
    }

    #[test]
    fn refuses_delays_that_are_none() {
        for options in ["-d -5", "-d-5", "--delay=-5", "--gap -1"] {
            let refusal = refusal(&format!("{options} h 1"));
            assert!(refusal.contains("a delay cannot be negative"), "{options}: {refusal}");
        }
        for options in ["-d abc", "-d 5s", "-d 0.5", "-d 4294967296", "-d -v"] {
            let refusal = refusal(&format!("{options} h 1"));
            assert!(refusal.contains("whole milliseconds"), "{options}: {refusal}");
        }
    }

    #[test]
    fn the_last_family_wins() {
        let wanted = |line| request(line).wanted;
        assert_eq!(wanted("h 1"), Wanted::First);
        assert_eq!(wanted("-4 h 1"), Wanted::Only(Family::V4));
        assert_eq!(wanted("-4 -6 h 1"), Wanted::Only(Family::V6));
        assert_eq!(wanted("h -6 1 -4"), Wanted::Only(Family::V4));
        assert_eq!(wanted("--ipv6 --ipv6 h 1"), Wanted::Only(Family::V6));
        assert_eq!(wanted("--both h 1"), Wanted::Both);
    }

    #[test]
    fn a_source_chooses_its_family() {
        assert_eq!(request("-s 192.0.2.7 h 1").wanted, Wanted::Only(Family::V4));
        assert_eq!(request("--source=::1 h 1").wanted, Wanted::Only(Family::V6));
        assert!(refusal("-6 -s 192.0.2.7 h 1").contains("192.0.2.7 is an IPv4 address, but IPv6"));
        assert!(refusal("-s eth0 h 1").contains("'eth0'"));
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for line in ["--both -4 h 1", "-6 --both h 1", "--both -s ::1 h 1", "--one-time f --both h"] {
            assert!(refusal(line).contains("cannot be used with"), "{line}");
        }
        for line in ["--one-time f h 1", "h 1 --one-time=f", "--one-time f -u h"] {
            assert!(refusal(line).contains("cannot be used with"), "{line}");
        }
        assert_eq!(request("--one f h").ports, Ports::OneTime("f".into()));
    }

    #[test]
    fn says_which_port_is_wrong() {
        assert_eq!(
            refusal("h 7000 8000:icmp ssh"),
            "port 2, \"8000:icmp\": unknown protocol \"icmp\"; expected tcp or udp; nothing was sent"
        );
        assert!(refusal("h 7000,8000").contains("more than one port; expected one in each argument"));
    }

    #[test]
    fn refuses_what_is_missing_or_unknown() {
        for line in ["", "h", "-d", "h 1 --bogus", "h 1 -5", "--ver h 1", "h 0", "h 65536", "h 7:"] {
            assert!(!refusal(line).starts_with("error"), "{line}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for (line, text) in
            [("-h", "Usage: knock"), ("--help", "--one-time"), ("-V", "knock "), ("h --vers", "knock ")]
        {
            let Ok(Invocation::Print(shown)) = invoke(line) else { panic!("{line}") };
            assert!(shown.contains(text), "{line}: {shown}");
        }
    }
}
