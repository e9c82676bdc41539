//! The command line of knock 0.8 and what is new, checked as a whole before anything is done.
//!
//! It is read with getopt's habits: long options may be abbreviated, options may follow operands, and of an option
//! given twice the last counts.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use knock_core::knock::Protocol;
use knock_core::sequence::{Fault, Step};
use knock_core::spa::SCHEME;

use crate::add::Addition;
use crate::error::Error;
use crate::hosts::Host;
use crate::request::{Method, Request, Signed};
use crate::resolve::{Family, Wanted};
use crate::settings::{self, Settings};

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// A text: the help or the version.
    Print(String),
    /// The names in the file of hosts: this one, or the user's own.
    List(Option<PathBuf>),
    /// A host that is to be added to the file.
    Add(Addition),
    /// The rolling sequences of the moment, by the key in this file.
    ShowRolling(PathBuf),
    /// A knock of which everything was said.
    Knock(Request),
    /// A knock at a host of the file.
    Named(Named),
}

/// A knock whose ports stand in the file of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The host's name; its address will do where its port is wanted.
    pub(crate) name: String,
    /// The port to connect to.
    pub(crate) relay: Option<u16>,
    /// The file, where it is not the user's own.
    pub(crate) config: Option<PathBuf>,
    udp: bool,
    /// The door, where it is not the first.
    door: Option<String>,
    /// For how long it is to be open.
    lasts: Option<Duration>,
    settings: Settings,
    verbose: bool,
}

impl Named {
    /// The knock at `host`: what the command line says goes before what the file says.
    ///
    /// # Errors
    /// Where the two exclude each other.
    pub(crate) fn at(&self, host: &Host) -> Result<Request, Error> {
        let settings = self.settings.or(&host.settings);
        if self.relay.is_none() {
            refuse_idle_waiting(&self.settings, &settings)?;
        }
        let method = self.method(host)?;
        Request::new(host.host.clone(), method, &settings, self.relay, self.verbose)
    }

    fn method(&self, host: &Host) -> Result<Method, Error> {
        let refuse = |option: &str, what: &str| {
            Err(Error::Usage(format!("{option} cannot be used with a host that has {what}")))
        };
        match &host.method {
            Method::Signed(_) if self.udp => refuse("-u", "a host_key"),
            Method::Signed(signed) => {
                let door = self.door.as_deref().map_or(Ok(&signed.door), |door| host.door(door))?;
                let lasts = self.lasts.or(signed.lasts);
                Ok(Method::Signed(Signed { door: door.clone(), lasts, ..signed.clone() }))
            }
            _ if self.door.is_some() => refuse("--door", "no host_key"),
            _ if self.lasts.is_some() => refuse("--for", "no host_key"),
            Method::Sequence(steps) if self.udp => {
                Ok(Method::Sequence(steps.iter().copied().map(by_udp).collect()))
            }
            Method::OneTime(_) if self.udp => refuse("-u", "a one-time file"),
            Method::Rolling(_) if self.udp => refuse("-u", "a rolling key"),
            method => Ok(method.clone()),
        }
    }
}

/// How a wrong command line is to be mended.
pub(crate) const USAGE: &str = "\
knock [OPTIONS] HOST PORT[:PROTO]...
       knock [OPTIONS] --one-time FILE HOST
       knock [OPTIONS] --rolling FILE HOST
       knock [OPTIONS] NAME
       knock [OPTIONS] --proxy HOST PORT
       knock add [OPTIONS] LINE
       knock --list
       knock --rolling FILE --print";

/// What adds a host; it is a host's name where nothing behind it is to be added.
const ADD: &str = "add";

const AFTER_HELP: &str = "\
NAME is a host of the file ~/.config/knock/config.toml.

Exit codes: 0 sent, and open where that was asked for; 1 wrong usage, hosts or one-time file; 2 host not resolved;
3 a knock could not be sent; 4 the port did not open; 5 the connection broke.

Example: knock --verify 22 myserver.example.com 7142 8319:udp 9623:tcp";

/// Knocks the ports of HOST in order: one SYN or one UDP datagram each.
#[derive(Debug, Parser)]
#[command(name = "knock", version = concat!(env!("CARGO_PKG_VERSION"), " (toctoc)"), after_help = AFTER_HELP)]
#[command(args_override_self = true, infer_long_args = true)]
#[command(override_usage = USAGE)]
struct Arguments {
    /// Knock every port by UDP
    #[arg(short, long)]
    udp: bool,

    /// Wait MS milliseconds after each knock; 100 help them arrive in order
    #[arg(short, long, visible_alias = "gap", alias = "d", value_name = "MS")]
    #[arg(allow_hyphen_values = true, value_parser = settings::milliseconds)]
    delay: Option<Duration>,

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
    #[arg(short, long, value_name = "ADDR", value_parser = settings::address)]
    source: Option<IpAddr>,

    /// Knock the next unused line of FILE, then mark it as used
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ports", "udp"])]
    one_time: Option<PathBuf>,

    /// Knock the sequence of the moment, by the rolling key in FILE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ports", "udp", "one_time", "both"])]
    rolling: Option<PathBuf>,

    /// Only print the rolling sequences of now and of next, and how long they are good
    #[arg(long, requires = "rolling", conflicts_with_all = ["host", "list", "proxy", "verify"])]
    print: bool,

    /// Then connect to this TCP port until it is open, and tell how long it took or why it is not
    #[arg(long, value_name = "PORT", value_parser = settings::tcp_port)]
    verify: Option<u16>,

    /// Knock again while the port is not open, up to N times, after 1 s, 2 s, 4 s, ...
    #[arg(long, value_name = "N", value_parser = settings::retries)]
    retry: Option<u8>,

    /// Wait so long for the port, in all; 10 when unsaid
    #[arg(long, value_name = "SECONDS", value_parser = settings::seconds)]
    timeout: Option<Duration>,

    /// Knock at HOST of the file, then pass on standard input and output: for ssh's ProxyCommand
    #[arg(long, conflicts_with_all = ["one_time", "rolling", "verify", "list"])]
    proxy: bool,

    /// Print the names in the file of hosts
    #[arg(long, conflicts_with_all = ["host", "one_time", "rolling", "verify"])]
    list: bool,

    /// Knock at this door of NAME, not at the first
    #[arg(long, value_name = "DOOR", conflicts_with_all = ["one_time", "rolling", "list"])]
    door: Option<String>,

    /// Ask that the door is open for so long, such as 90s, 30m or 1h
    #[arg(long = "for", value_name = "TIME", conflicts_with_all = ["one_time", "rolling", "list"], value_parser = settings::open_for)]
    lasts: Option<Duration>,

    /// The file of hosts, instead of the user's own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print each knock
    #[arg(short, long)]
    verbose: bool,

    /// A name or an address, such as fe80::1%eth0; without ports a host of the file
    #[arg(value_name = "HOST", required_unless_present_any = ["list", "print"])]
    host: Option<String>,

    /// A port, 1 to 65535; PROTO is tcp (when unsaid) or udp
    #[arg(value_name = "PORT[:PROTO]")]
    ports: Vec<String>,
}

/// Adds a host to the file of hosts, as knockctl enroll on the server says it in one line.
#[derive(Debug, Parser)]
#[command(name = "add", bin_name = "knock add", args_override_self = true, infer_long_args = true)]
struct AddArguments {
    /// What the host is to be called; as in LINE when unsaid
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Sign with the key in this file, the private or the public half
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// The file of hosts, instead of the user's own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// What knockctl enroll prints, in quotes: knock://...; read from standard input when it is - or unsaid
    #[arg(value_name = "LINE")]
    line: Option<String>,
}

/// The command line as a whole, for completions and manual pages; but for `add`, which as a command of clap's would take the
/// place of hosts that are called so, and keep hosts and files from being completed.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Reads and checks the command line, beginning with the program's own name.
///
/// # Errors
/// For anything that would have to be guessed.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Error> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if let [_, add, rest @ ..] = arguments.as_slice()
        && add == ADD
        && let Some(addition) = addition(rest)
    {
        return addition;
    }
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.check(),
        Err(answer) if !answer.use_stderr() => Ok(Invocation::Print(answer.to_string())),
        Err(refusal) => Err(Error::Usage(in_short(&refusal))),
    }
}

/// What is to be added, where the arguments behind `add` are of that: with a line among them, or without any operand.
/// Everything else knocks at a host of this name, as it always did.
fn addition(rest: &[OsString]) -> Option<Result<Invocation, Error>> {
    let is_line = |argument: &OsString| argument == "-" || argument.to_string_lossy().starts_with(SCHEME);
    let has_line = rest.iter().any(is_line);
    match AddArguments::try_parse_from(std::iter::once(&OsString::from(ADD)).chain(rest)) {
        Ok(arguments) if has_line || arguments.line.is_none() => Some(arguments.check()),
        Err(answer) if !answer.use_stderr() => Some(Ok(Invocation::Print(answer.to_string()))),
        Err(refusal) if has_line => Some(Err(Error::Usage(in_short(&refusal)))),
        _ => None,
    }
}

impl AddArguments {
    fn check(self) -> Result<Invocation, Error> {
        let Self { name, identity, config, line } = self;
        let line = line.filter(|line| line != "-").map(|line| line.parse()).transpose();
        let line = line.map_err(|why| Error::Usage(format!("the line of knock add: {why}")))?;
        Ok(Invocation::Add(Addition { line, name, identity, config }))
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
    fn check(self) -> Result<Invocation, Error> {
        let settings = self.settings();
        if self.list {
            return Ok(Invocation::List(self.config));
        }
        if let (true, Some(file)) = (self.print, &self.rolling) {
            return Ok(Invocation::ShowRolling(file.clone()));
        }
        let says_what = self.one_time.is_some() || self.rolling.is_some() || !self.ports.is_empty();
        if !self.proxy && says_what {
            return self.of_the_command_line(&settings).map(Invocation::Knock);
        }
        let relay = if self.proxy { Some(self.only_port()?) } else { None };
        let Self { host, config, udp, door, lasts, verbose, .. } = self;
        let name = host.unwrap_or_default();
        Ok(Invocation::Named(Named { name, relay, config, udp, door, lasts, settings, verbose }))
    }

    fn of_the_command_line(self, settings: &Settings) -> Result<Request, Error> {
        refuse_idle_waiting(settings, settings)?;
        if self.door.is_some() || self.lasts.is_some() {
            let text = "--door and --for are for a host of the file that has a host_key, not for ports";
            return Err(Error::Usage(text.into()));
        }
        let method = match (self.one_time, self.rolling) {
            (Some(file), _) => Method::OneTime(file),
            (None, Some(file)) => Method::Rolling(file),
            (None, None) => Method::Sequence(steps(&self.ports, self.udp)?),
        };
        Request::new(self.host.unwrap_or_default(), method, settings, None, self.verbose)
    }

    fn settings(&self) -> Settings {
        let family = match (self.ipv4, self.ipv6, self.both) {
            (true, ..) => Some(Wanted::Only(Family::V4)),
            (_, true, _) => Some(Wanted::Only(Family::V6)),
            (.., both) => both.then_some(Wanted::Both),
        };
        let Self { delay, source, verify, retry, timeout, .. } = *self;
        Settings { delay, family, source, verify, retry, timeout }
    }

    fn only_port(&self) -> Result<u16, Error> {
        match self.ports.as_slice() {
            [port] => settings::tcp_port(port)
                .map_err(|fault| Error::Usage(format!("the port of --proxy, \"{port}\": {fault}"))),
            _ => Err(Error::Usage("--proxy takes a host and a port, as in --proxy %h %p".into())),
        }
    }
}

/// How long to wait, and how often to knock again, says nothing where no port is waited for.
fn refuse_idle_waiting(given: &Settings, effective: &Settings) -> Result<(), Error> {
    let waits = given.retry.is_some() || given.timeout.is_some();
    if waits && effective.verify.is_none() {
        let text =
            "--retry and --timeout need --verify PORT: without it nobody knows whether the knock opened";
        return Err(Error::Usage(text.into()));
    }
    Ok(())
}

fn by_udp(step: Step) -> Step {
    Step { protocol: Protocol::Udp, ..step }
}

fn steps(ports: &[String], udp: bool) -> Result<Vec<Step>, Error> {
    let parse = |(index, text): (usize, &String)| match Step::parse(text) {
        Ok(step) if udp => Ok(by_udp(step)),
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

#[cfg(test)]
mod tests {
    use knock_core::spa::Enrolment;

    use super::*;
    use crate::keys::Identity;
    use crate::request::{Awaited, Purpose, Whom};

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
        match request(line).method {
            Method::Sequence(steps) => steps.iter().map(ToString::to_string).collect(),
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn clap_agrees_with_itself() {
        command().debug_assert();
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
            "--d 5",
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
        assert_eq!(request("--one f h").method, Method::OneTime("f".into()));
        for line in
            ["--rolling f h 1", "--rolling f -u h", "--rolling f --one-time f h", "--rolling f --both h"]
        {
            assert!(refusal(line).contains("cannot be used with"), "{line}");
        }
        assert!(refusal("--print").contains("--rolling <FILE>"));
        assert_eq!(request("--rolling f h").method, Method::Rolling("f".into()));
        assert_eq!(invoke("--rolling f --print").unwrap(), Invocation::ShowRolling("f".into()));
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
        for line in ["", "-d", "h 1 --bogus", "h 1 -5", "--ver h 1", "h 0", "h 65536", "h 7:"] {
            assert!(!refusal(line).starts_with("error"), "{line}");
        }
    }

    fn named(line: &str) -> Named {
        match invoke(line) {
            Ok(Invocation::Named(named)) => named,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn host(ports: &str, settings: Settings) -> Host {
        let steps = ports.split(' ').map(|port| Step::parse(port).unwrap()).collect();
        Host {
            name: "h".into(),
            host: "192.0.2.1".into(),
            method: Method::Sequence(steps),
            doors: Vec::new(),
            settings,
        }
    }

    #[test]
    fn a_host_alone_is_a_name() {
        for line in ["h", "-d5 h", "-4 h", "h -u", "--verify 22 --retry 1 h", "--proxy h 22", "--config f h"]
        {
            assert_eq!(named(line).name, "h", "{line}");
        }
        assert_eq!(named("--proxy h 22").relay, Some(22));
        assert_eq!(named("--config f h").config, Some("f".into()));
        assert_eq!(invoke("--list").unwrap(), Invocation::List(None));
        assert_eq!(invoke("--li --conf=f").unwrap(), Invocation::List(Some("f".into())));
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let file =
            Settings { delay: Some(Duration::from_millis(7)), verify: Some(22), ..Settings::default() };
        let host = host("7142 8319:udp", file);
        let request = named("-u --retry 3 h").at(&host).unwrap();
        assert_eq!(request.gap, Duration::from_millis(7));
        let Method::Sequence(steps) = request.method else { panic!() };
        assert!(steps.iter().all(|step| step.protocol == Protocol::Udp));
        let timeout = Duration::from_secs(10);
        assert_eq!(request.purpose, Purpose::Verify(Awaited { port: 22, retry: Some(3), timeout }));
        let request = named("-d9 --proxy h 2222").at(&host).unwrap();
        assert_eq!(request.gap, Duration::from_millis(9));
        assert_eq!(request.purpose, Purpose::Relay(Awaited { port: 2222, retry: None, timeout }));
    }

    #[test]
    fn nobody_waits_for_nothing() {
        for line in ["--retry 2 h 1", "--timeout 5 h 1"] {
            assert!(refusal(line).contains("need --verify PORT"), "{line}");
        }
        let host = host("1", Settings::default());
        assert!(named("--retry 2 h").at(&host).is_err());
        assert!(named("--retry 2 --proxy h 22").at(&host).is_ok());
    }

    #[test]
    fn says_what_cannot_be_waited_for() {
        assert!(refusal("--verify 53:udp h 1").contains("a UDP port cannot be verified"));
        assert!(refusal("--verify ssh h 1").contains("\"ssh\" is no port"));
        assert!(refusal("--verify 22 --retry 11 h 1").contains("expected a whole number, 0 to 10"));
        assert!(refusal("--verify 22 --timeout 0 h 1").contains("expected seconds, 0.1 to 3600"));
        for line in ["--proxy h", "--proxy h 1 2"] {
            assert!(refusal(line).contains("--proxy takes a host and a port"), "{line}");
        }
        assert!(refusal("--proxy h 22:udp").contains("a UDP port"));
        for line in ["--proxy --verify 22 h 22", "--proxy --one-time f h", "--list h", "--list --proxy"] {
            assert!(refusal(line).contains("cannot be used with"), "{line}");
        }
    }

    const LINE: &str = "knock://h/ssh?host-key=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

    #[test]
    fn what_follows_add_says_whether_it_is_a_host() {
        let line: Enrolment = LINE.parse().unwrap();
        let nothing = Addition { line: None, name: None, identity: None, config: None };
        for (arguments, expected) in [
            ("add".to_owned(), nothing.clone()),
            ("add -".to_owned(), nothing.clone()),
            ("add --name n".to_owned(), Addition { name: Some("n".into()), ..nothing.clone() }),
            (format!("add {LINE}"), Addition { line: Some(line.clone()), ..nothing.clone() }),
            (
                format!("add --id f --conf g {LINE} --name=n"),
                Addition {
                    line: Some(line),
                    name: Some("n".into()),
                    identity: Some("f".into()),
                    config: Some("g".into()),
                },
            ),
        ] {
            assert_eq!(invoke(&arguments).unwrap(), Invocation::Add(expected), "{arguments}");
        }
        for arguments in ["add 7000", "add 7000 8000:udp", "add -d5 7000"] {
            assert_eq!(request(arguments).host, "add", "{arguments}");
        }
        assert_eq!(named("add -v").name, "add");
        assert_eq!(named("-v add").name, "add");
    }

    #[test]
    fn a_line_that_is_cut_off_is_told() {
        assert!(refusal("add knock://h/ssh").contains("the line of knock add: the line has no ?host-key"));
        assert!(refusal(&format!("add {LINE} {LINE}")).contains("unexpected argument"));
        assert!(refusal(&format!("add {LINE} --bogus")).contains("--bogus"));
    }

    #[test]
    fn a_door_is_of_a_host_with_a_key() {
        for line in ["h 1 --door ssh", "h 1 --for 1h"] {
            assert!(refusal(line).contains("for a host of the file that has a host_key"), "{line}");
        }
        assert!(refusal("h --for soon").contains("a time, such as"));
        for line in ["--one-time f --door ssh h", "--list --for 1h"] {
            assert!(refusal(line).contains("cannot be used with"), "{line}");
        }
        let sequence = host("1", Settings::default());
        let refused = named("--door ssh h").at(&sequence).unwrap_err().to_string();
        assert_eq!(refused, "--door cannot be used with a host that has no host_key");
        let signed = Signed {
            server: LINE.parse::<Enrolment>().unwrap().host_key,
            port: 62_201,
            door: "ssh".into(),
            lasts: None,
            address: Whom::Seen,
            identity: Identity::Usual,
            agent: None,
        };
        let host =
            Host { method: Method::Signed(signed), doors: vec!["ssh".into(), "web".into()], ..sequence };
        let Method::Signed(asked) = named("--door web --for 90s h").at(&host).unwrap().method else {
            panic!()
        };
        assert_eq!((asked.door.as_str(), asked.lasts), ("web", Some(Duration::from_secs(90))));
        assert!(named("--door mail h").at(&host).unwrap_err().to_string().contains("has no door \"mail\""));
        assert!(named("-u h").at(&host).unwrap_err().to_string().contains("-u cannot be used"));
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
