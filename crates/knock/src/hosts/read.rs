//! The bytes of a file of hosts become hosts, or everything that is wrong with them.
//!
//! A table is a host, and what stands before the tables holds for all of them.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use knock_core::config::nearest::nearest;
use knock_core::config::{Diagnostic, Severity, Source};
use knock_core::sequence::Sequence;
use knock_core::spa::{DEFAULT_PORT, HostPublicKey, MAX_DOOR_NAME};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{Host, base, place};
use crate::keys::Identity;
use crate::request::{Method, Signed, Whom};
use crate::resolve::Wanted;
use crate::settings::{self, Settings};

/// What can be said for one host and for all of them.
const SETTINGS: [&str; 6] = ["delay", "family", "source", "verify", "retry", "timeout"];
/// What each host says for itself.
const OF_HOST: [&str; 12] = [
    "host", "sequence", "one_time", "rolling", "host_key", "port", "doors", "door", "identity", "agent",
    "open_for", "address",
];
/// What says how a host is knocked at: one of these.
const METHODS: &str = "one of sequence, one_time, rolling and host_key: how to knock";

/// Reads the file at `path`, which holds `bytes`; the hosts come by name.
///
/// # Errors
/// All mistakes, each as `FILE:LINE:COLUMN: error: …`.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Vec<Host>, Vec<String>> {
    let shown = String::from_utf8_lossy(bytes);
    let source = Source::new(path.display().to_string(), shown.clone());
    let mut reader = Reader::new(&shown, base(path));
    match std::str::from_utf8(bytes) {
        Ok(_) => reader.file(),
        Err(error) => {
            let at = error.valid_up_to();
            reader.wrong.push(Diagnostic::error(at..at + 1, "a byte that is not UTF-8", "text in UTF-8"));
        }
    }
    reader.wrong.sort_by_key(|wrong| wrong.span.start);
    if reader.wrong.is_empty() {
        Ok(reader.hosts)
    } else {
        Err(reader.wrong.iter().map(|wrong| source.line(wrong)).collect())
    }
}

struct Reader<'a> {
    text: &'a str,
    base: &'a Path,
    defaults: Settings,
    hosts: Vec<Host>,
    wrong: Vec<Diagnostic>,
}

/// A host's table while it is read.
#[derive(Default)]
struct Draft {
    host: Option<String>,
    sequence: Option<Sequence>,
    one_time: Option<String>,
    rolling: Option<String>,
    signing: Signing,
    settings: Settings,
    /// Something in it is wrong, and was told.
    is_wrong: bool,
}

/// What is said of knocks that a key signs.
#[derive(Default)]
struct Signing {
    host_key: Option<HostPublicKey>,
    doors: Vec<String>,
    port: Option<u16>,
    identity: Option<Identity>,
    agent: Option<PathBuf>,
    lasts: Option<Duration>,
    address: Option<Whom>,
    /// A key that was met and says nothing without host_key.
    met: Option<(String, Range<usize>)>,
}

type Key<'i> = Spanned<DeString<'i>>;
type Value<'i> = Spanned<DeValue<'i>>;

impl<'a> Reader<'a> {
    fn new(text: &'a str, base: &'a Path) -> Self {
        Self { text, base, defaults: Settings::default(), hosts: Vec::new(), wrong: Vec::new() }
    }

    fn file(&mut self) {
        let table = match DeTable::parse(self.text) {
            Ok(table) => table,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                return self.wrong.push(Diagnostic { expected: None, ..self.refused(span, error.message()) });
            }
        };
        for (key, value) in table.get_ref() {
            if !value.get_ref().is_table() {
                self.default(key, value);
            }
        }
        for (key, value) in table.get_ref() {
            if let Some(table) = value.get_ref().as_table() {
                self.host(key, table);
            }
        }
    }

    fn default(&mut self, key: &Key<'_>, value: &Value<'_>) {
        let name = key.get_ref().as_ref();
        if !SETTINGS.contains(&name) {
            self.unknown_default(key);
        } else if let Err(wrong) = set(&mut self.defaults, name, value) {
            self.wrong.push(wrong);
        }
    }

    fn unknown_default(&mut self, key: &Key<'_>) {
        let name = key.get_ref().as_ref();
        let diagnostic = if OF_HOST.contains(&name) {
            Diagnostic::error(key.span(), format!("{name} before any host"), "it below a host's [name]")
        } else {
            unknown(key, &SETTINGS)
        };
        self.wrong.push(diagnostic);
    }

    fn host(&mut self, name: &Key<'_>, table: &DeTable<'_>) {
        let mut draft = Draft::default();
        if let Err(wrong) = check_name(name) {
            draft.refuse(self, wrong);
        }
        for (key, value) in table {
            if let Err(wrong) = self.directive(&mut draft, name, key, value) {
                draft.refuse(self, wrong);
            }
        }
        if !draft.is_wrong {
            match self.finish(name, draft) {
                Ok(host) => self.hosts.push(host),
                Err(wrong) => self.wrong.push(wrong),
            }
        }
    }

    fn directive(
        &self,
        draft: &mut Draft,
        host: &Key<'_>,
        key: &Key<'_>,
        value: &Value<'_>,
    ) -> Result<(), Diagnostic> {
        match key.get_ref().as_ref() {
            _ if value.get_ref().is_table() => return Err(dotted(host, key, value)),
            "host" => draft.host = Some(address(value)?),
            "one_time" => draft.one_time = Some(text_of(value, "a file's name in quotes")?.into_owned()),
            "rolling" => draft.rolling = Some(text_of(value, "a file's name in quotes")?.into_owned()),
            "sequence" => draft.sequence = Some(self.sequence(value)?),
            name if OF_HOST.contains(&name) => self.signing(&mut draft.signing, key, value)?,
            name if SETTINGS.contains(&name) => set(&mut draft.settings, name, value)?,
            _ => return Err(unknown(key, &[OF_HOST.as_slice(), &SETTINGS].concat())),
        }
        Ok(())
    }

    fn signing(&self, signing: &mut Signing, key: &Key<'_>, value: &Value<'_>) -> Result<(), Diagnostic> {
        let name = key.get_ref().as_ref();
        if name != "host_key" {
            signing.met = Some((name.to_owned(), key.span()));
        }
        match name {
            "host_key" => signing.host_key = Some(host_key(value)?),
            "door" | "doors" if !signing.doors.is_empty() => {
                return Err(Diagnostic::error(key.span(), "both door and doors", "one of them"));
            }
            "door" => signing.doors = vec![door(value)?],
            "doors" => signing.doors = doors(value)?,
            "identity" => signing.identity = Some(self.identity(value)?),
            "agent" => {
                let socket = text_of(value, "the path of an ssh-agent's socket in quotes")?;
                signing.agent = Some(place::expand(&socket, self.base));
            }
            "port" => signing.port = Some(worded(name, value, settings::udp_port)?),
            "open_for" => signing.lasts = Some(worded(name, value, settings::open_for)?),
            _ => signing.address = Some(worded(name, value, settings::whom)?),
        }
        Ok(())
    }

    fn identity(&self, value: &Value<'_>) -> Result<Identity, Diagnostic> {
        let text = text_of(value, "a key's fingerprint, SHA256:..., or its file, in quotes")?;
        if !text.starts_with("SHA256:") {
            return Ok(Identity::File(place::expand(&text, self.base)));
        }
        text.parse().map(Identity::Fingerprint).map_err(|expected: &str| Diagnostic {
            expected: None,
            ..Diagnostic::error(value.span(), format!("{text:?}: {expected}"), "")
        })
    }

    fn sequence(&self, value: &Value<'_>) -> Result<Sequence, Diagnostic> {
        let text = text_of(value, "ports in quotes, such as \"7142,8319:udp,5623\"")?;
        let begin = value.span().start + 1;
        // Where the file writes it otherwise than it is, with escapes, the whole value is pointed at.
        let is_literal = self.text.get(begin..).is_some_and(|rest| rest.starts_with(text.as_ref()));
        Sequence::parse(&text).map_err(|fault| {
            let span = if is_literal { fault.clone().shifted(begin).span } else { value.span() };
            Diagnostic::error(span, fault.found, fault.expected)
        })
    }

    fn finish(&self, name: &Key<'_>, draft: Draft) -> Result<Host, Diagnostic> {
        let Draft { host, sequence, one_time, rolling, mut signing, settings, .. } = draft;
        let wrong = |found: &str, expected| Diagnostic::error(name.span(), found, expected);
        let doors = std::mem::take(&mut signing.doors);
        let given = [
            sequence.map(|sequence| ("sequence", Method::Sequence(sequence.steps().to_vec()))),
            one_time.map(|file| ("one_time", Method::OneTime(place::expand(&file, self.base)))),
            rolling.map(|file| ("rolling", Method::Rolling(place::expand(&file, self.base)))),
            signed(&mut signing, &doors).map_err(|found| wrong(&found, "doors = [\"ssh\"]"))?,
        ];
        let mut given = given.into_iter().flatten();
        let (method, first) = match (given.next(), given.next()) {
            (Some((first, method)), None) => (method, first),
            (None, _) => return Err(wrong("no sequence, one_time, rolling or host_key", METHODS)),
            (Some((one, _)), Some((other, _))) => {
                return Err(wrong(&format!("both {one} and {other}"), METHODS));
            }
        };
        if let Some((key, span)) = signing.met.filter(|_| first != "host_key") {
            let found = format!("{key} in a host that has {first}");
            return Err(Diagnostic::error(span, found, "it beside host_key only"));
        }
        let settings = settings.or(&self.defaults);
        match (settings.wanted(), &method) {
            (Err(found), _) => return Err(wrong(&found, "one that fits the other")),
            (Ok(Wanted::Both), Method::OneTime(_) | Method::Rolling(_)) => {
                let found =
                    format!("family = \"both\" with {first}, of which the server takes each sequence once");
                return Err(wrong(&found, "family = 4 or 6"));
            }
            _ => {}
        }
        let name = name.get_ref().to_string();
        Ok(Host { host: host.unwrap_or_else(|| name.clone()), name, method, doors, settings })
    }

    fn refused(&self, span: Range<usize>, found: &str) -> Diagnostic {
        let end = span.end.min(self.text.len());
        let span = span.start.min(end)..end;
        Diagnostic { severity: Severity::Error, span, found: found.to_owned(), expected: None, help: None }
    }
}

impl Draft {
    fn refuse(&mut self, reader: &mut Reader<'_>, wrong: Diagnostic) {
        self.is_wrong = true;
        reader.wrong.push(wrong);
    }
}

/// The knock that a key signs, where the host has a key.
fn signed(signing: &mut Signing, doors: &[String]) -> Result<Option<(&'static str, Method)>, String> {
    let Some(server) = signing.host_key.take() else { return Ok(None) };
    let door = doors.first().ok_or("host_key without a door to knock at")?.clone();
    let signed = Signed {
        server,
        port: signing.port.unwrap_or(DEFAULT_PORT),
        door,
        lasts: signing.lasts,
        address: signing.address.unwrap_or(Whom::Seen),
        identity: signing.identity.take().unwrap_or(Identity::Usual),
        agent: signing.agent.take(),
    };
    Ok(Some(("host_key", Method::Signed(signed))))
}

fn host_key(value: &Value<'_>) -> Result<HostPublicKey, Diagnostic> {
    const EXPECTED: &str = "the server's key in quotes, as knockctl host-key prints it";
    let text = text_of(value, EXPECTED)?;
    text.parse().map_err(|bad| {
        let found = format!("host_key cannot be {text:?}: {bad}");
        Diagnostic { expected: None, ..Diagnostic::error(value.span(), found, "") }
    })
}

fn doors(value: &Value<'_>) -> Result<Vec<String>, Diagnostic> {
    let names = match value.get_ref() {
        DeValue::Array(names) => names.iter().map(door).collect::<Result<Vec<_>, _>>()?,
        _ => vec![door(value)?],
    };
    if names.is_empty() {
        return Err(Diagnostic::error(value.span(), "no door at all", "at least one, as in [\"ssh\"]"));
    }
    Ok(names)
}

fn door(value: &Value<'_>) -> Result<String, Diagnostic> {
    const EXPECTED: &str = "the name of a door of the server, in quotes";
    let text = text_of(value, EXPECTED)?;
    if text.is_empty() || text.len() > MAX_DOOR_NAME || text.contains(char::is_control) {
        return Err(Diagnostic::error(value.span(), format!("{text:?} is no door's name"), EXPECTED));
    }
    Ok(text.into_owned())
}

fn set(settings: &mut Settings, name: &str, value: &Value<'_>) -> Result<(), Diagnostic> {
    match name {
        "delay" => settings.delay = Some(worded(name, value, settings::milliseconds)?),
        "family" => settings.family = Some(worded(name, value, settings::family)?),
        "source" => settings.source = Some(worded(name, value, settings::address)?),
        "verify" => settings.verify = Some(worded(name, value, settings::tcp_port)?),
        "retry" => settings.retry = Some(worded(name, value, settings::retries)?),
        _ => settings.timeout = Some(worded(name, value, settings::seconds)?),
    }
    Ok(())
}

/// What `read` makes of a value.
fn worded<T>(
    name: &str,
    value: &Value<'_>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Diagnostic> {
    let text = word_of(value)?;
    read(&text).map_err(|why| {
        let found = format!("{name} cannot be {text:?}: {why}");
        Diagnostic { expected: None, ..Diagnostic::error(value.span(), found, "") }
    })
}

/// A name that may resolve, and can be shown.
fn address(value: &Value<'_>) -> Result<String, Diagnostic> {
    const EXPECTED: &str = "a name or an address in quotes";
    let text = text_of(value, EXPECTED)?;
    if text.is_empty() || text.contains(is_odd) {
        return Err(Diagnostic::error(value.span(), format!("{text:?} is no host"), EXPECTED));
    }
    Ok(text.into_owned())
}

fn is_odd(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// A name that can be typed as an argument, and listed one a line.
fn check_name(name: &Key<'_>) -> Result<(), Diagnostic> {
    let text = name.get_ref();
    if text.is_empty() || text.starts_with('-') || text.contains(is_odd) {
        let expected = "one without white space that does not begin with -";
        return Err(Diagnostic::error(name.span(), format!("{text:?} is no host's name"), expected));
    }
    Ok(())
}

/// TOML takes `[server.example.org]` for a table in a table in a table.
fn dotted(host: &Key<'_>, key: &Key<'_>, value: &Value<'_>) -> Diagnostic {
    let mut name = format!("{}.{}", host.get_ref(), key.get_ref());
    let mut inner = value.get_ref().as_table();
    while let Some((key, value)) = inner.and_then(|table| table.iter().next()) {
        inner = value.get_ref().as_table();
        if inner.is_some() {
            name = format!("{name}.{}", key.get_ref());
        }
    }
    let found = "a table within a host's";
    Diagnostic::error(key.span(), found, format!("quotes round a name with dots, [\"{name}\"]"))
}

fn unknown(key: &Key<'_>, known: &[&str]) -> Diagnostic {
    let name = key.get_ref().as_ref();
    let diagnostic = Diagnostic::error(
        key.span(),
        format!("unknown key {name:?}"),
        format!("one of {}", known.join(", ")),
    );
    match nearest(name, known.iter().copied()) {
        Some(near) => diagnostic.with_help(format!("did you mean {near}?")),
        None => diagnostic,
    }
}

fn text_of<'v>(value: &'v Value<'_>, expected: &str) -> Result<Cow<'v, str>, Diagnostic> {
    match value.get_ref() {
        DeValue::String(text) => Ok(Cow::Borrowed(text)),
        other => Err(Diagnostic::error(
            value.span(),
            format!("a value of the kind {}", other.type_str()),
            expected,
        )),
    }
}

/// A value that may be written as a number or as a text.
fn word_of<'v>(value: &'v Value<'_>) -> Result<Cow<'v, str>, Diagnostic> {
    match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => Ok(Cow::Borrowed(number.as_str())),
        DeValue::Float(number) => Ok(Cow::Borrowed(number.as_str())),
        _ => text_of(value, "a number or a text in quotes"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resolve::Family;

    const PATH: &str = "/home/me/.config/knock/config.toml";

    fn hosts(text: &str) -> Vec<Host> {
        read(Path::new(PATH), text.as_bytes()).unwrap()
    }

    fn mistakes(text: &str) -> Vec<String> {
        let told = read(Path::new(PATH), text.as_bytes()).unwrap_err();
        told.iter().map(|line| line.replace(PATH, "f")).collect()
    }

    #[test]
    fn reads_everything_there_is() {
        let hosts = hosts(
            "delay = 100\nretry = 2\n\
             [one]\nhost = \"192.0.2.1\"\nsequence = '7142, 8319:udp'\ndelay = 5\nfamily = 4\n\
             verify = \"22:tcp\"\ntimeout = 2.5\n\
             [\"two.example.org\"]\none_time = \"two.seq\"\nsource = \"::1\"\n",
        );
        let [one, two] = hosts.as_slice() else { panic!("{hosts:?}") };
        let settings = Settings {
            delay: Some(Duration::from_millis(5)),
            family: Some(Wanted::Only(Family::V4)),
            source: None,
            verify: Some(22),
            retry: Some(2),
            timeout: Some(Duration::from_millis(2500)),
        };
        assert_eq!((one.host.as_str(), &one.settings), ("192.0.2.1", &settings));
        let Method::Sequence(steps) = &one.method else { panic!("{one:?}") };
        assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["7142:tcp", "8319:udp"]);
        assert_eq!((two.name.as_str(), two.host.as_str()), ("two.example.org", "two.example.org"));
        assert_eq!(two.method, Method::OneTime("/home/me/.config/knock/two.seq".into()));
        assert_eq!(two.settings.delay, Some(Duration::from_millis(100)));
    }

    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

    #[test]
    fn reads_what_a_key_signs() {
        let fingerprint = format!("SHA256:{KEY}");
        let hosts = hosts(&format!(
            "[a]\nhost_key = \"{KEY}\"\ndoors = [\"ssh\", \"website\"]\nport = 5000\nidentity = \"{fingerprint}\"\n\
             agent = \"/run/agent\"\nopen_for = \"1h\"\naddress = \"own\"\nverify = 22\n\
             [b]\nhost_key = \"{KEY}\"\ndoor = \"ssh\"\nidentity = \"key\"\naddress = \"192.0.2.7\"\n\
             [c]\nhost_key = \"{KEY}\"\ndoors = \"ssh\"\n"
        ));
        let server = HostPublicKey::new([1; 32]);
        let signed = |door: &str| Signed {
            server: server.clone(),
            port: DEFAULT_PORT,
            door: door.into(),
            lasts: None,
            address: Whom::Seen,
            identity: Identity::Usual,
            agent: None,
        };
        let [a, b, c] = hosts.as_slice() else { panic!("{hosts:?}") };
        let expected = Signed {
            port: 5000,
            lasts: Some(Duration::from_secs(3600)),
            address: Whom::Own,
            identity: Identity::Fingerprint(fingerprint.parse().unwrap()),
            agent: Some("/run/agent".into()),
            ..signed("ssh")
        };
        assert_eq!(
            (&a.method, a.doors.as_slice()),
            (&Method::Signed(expected), &["ssh".into(), "website".into()][..])
        );
        let expected = Signed {
            address: Whom::Stated("192.0.2.7".parse().unwrap()),
            identity: Identity::File("/home/me/.config/knock/key".into()),
            ..signed("ssh")
        };
        assert_eq!(b.method, Method::Signed(expected));
        assert_eq!(c.method, Method::Signed(signed("ssh")));
        assert_eq!(a.door("website").unwrap(), "website");
        let refused = a.door("webiste").unwrap_err().to_string();
        assert!(
            refused.contains(
                "has no door \"webiste\" in the file, but ssh, website (did you mean \"website\"?)"
            ),
            "{refused}"
        );
    }

    #[test]
    fn refuses_what_no_key_can_sign() {
        let cases = [
            (
                "host_key = \"x\"\ndoor = \"a\"",
                "f:2:12: error: host_key cannot be \"x\": expected a key of 43",
            ),
            ("host_key = \"KEY\"", "f:1:2: error: host_key without a door to knock at; expected doors = "),
            ("host_key = \"KEY\"\ndoors = []", "f:3:9: error: no door at all; expected"),
            (
                "host_key = \"KEY\"\ndoors = [1]",
                "f:3:10: error: a value of the kind integer; expected the name",
            ),
            ("host_key = \"KEY\"\ndoor = \"\"", "f:3:8: error: \"\" is no door's name"),
            ("host_key = \"KEY\"\ndoor = \"a\"\ndoors = [\"b\"]", "f:4:1: error: both door and doors"),
            (
                "host_key = \"KEY\"\ndoor = \"a\"\nsequence = \"1\"",
                "f:1:2: error: both sequence and host_key",
            ),
            (
                "sequence = \"1\"\nport = 5000",
                "f:3:1: error: port in a host that has sequence; expected it beside",
            ),
            (
                "host_key = \"KEY\"\ndoor = \"a\"\nport = 0",
                "f:4:8: error: port cannot be \"0\": expected a whole",
            ),
            (
                "host_key = \"KEY\"\ndoor = \"a\"\nopen_for = \"soon\"",
                "f:4:12: error: open_for cannot be \"soon\": ",
            ),
            (
                "host_key = \"KEY\"\ndoor = \"a\"\naddress = \"me\"",
                "f:4:11: error: address cannot be \"me\": ",
            ),
            (
                "host_key = \"KEY\"\ndoor = \"a\"\nidentity = \"SHA256:x\"",
                "f:4:12: error: \"SHA256:x\": expected a fingerprint",
            ),
        ];
        for (text, begin) in cases {
            let told = mistakes(&format!("[a]\n{}\n", text.replace("KEY", KEY)));
            assert!(told[0].starts_with(begin), "{text}: {told:?}");
        }
    }

    #[test]
    fn a_home_and_a_place_of_its_own() {
        let hosts =
            hosts("[a]\none_time = \"~/a.seq\"\n[b]\none_time = \"/b.seq\"\n[c]\nrolling = \"c.key\"\n");
        assert_eq!(hosts[0].method, Method::OneTime(std::env::home_dir().unwrap().join("a.seq")));
        assert_eq!(hosts[1].method, Method::OneTime("/b.seq".into()));
        assert_eq!(hosts[2].method, Method::Rolling("/home/me/.config/knock/c.key".into()));
    }

    #[test]
    fn points_at_what_it_refuses() {
        let cases = [
            ("[a]\nsequence = \"1, 2x\"\n", "f:2:16: error: \"2x\" is no port; expected a port from"),
            ("[a]\nsequence = \"1\\u002c2x\"\n", "f:2:12: error: \"2x\" is no port"),
            (
                "[a]\nsequence = 7142\n",
                "f:2:12: error: a value of the kind integer; expected ports in quotes",
            ),
            ("[a]\nsequnce = \"1\"\n", "f:2:1: error: unknown key \"sequnce\"; expected one of host,"),
            ("[a]\nsequence = \"1\"\ndelay = -5\n", "f:3:9: error: delay cannot be \"-5\": a delay cannot"),
            (
                "[a]\nsequence = \"1\"\nverify = \"53:udp\"\n",
                "f:3:10: error: verify cannot be \"53:udp\": a UDP",
            ),
            (
                "[a]\nsequence = \"1\"\nfamily = true\n",
                "f:3:10: error: a value of the kind boolean; expected a",
            ),
            ("[a]\nsequence = \"1\"\nretry = 0x2\n", "f:3:9: error: a value of the kind integer"),
            (
                "[a]\nhost = \"h\"\n",
                "f:1:2: error: no sequence, one_time, rolling or host_key; expected one of",
            ),
            (
                "[a]\nsequence = \"1\"\none_time = \"f\"\n",
                "f:1:2: error: both sequence and one_time; expected one",
            ),
            ("[a.example.org]\nsequence = \"1\"\n", "f:1:4: error: a table within a host's; expected quotes"),
            (
                "dely = 100\n",
                "f:1:1: error: unknown key \"dely\"; expected one of delay, family, source, verify,",
            ),
            ("host = \"h\"\n", "f:1:1: error: host before any host; expected it below a host's [name]"),
            ("[\"a b\"]\nsequence = \"1\"\n", "f:1:2: error: \"a b\" is no host's name"),
            ("[a]\nhost = \"\"\nsequence = \"1\"\n", "f:2:8: error: \"\" is no host; expected a name"),
            ("[a]\nhost = \"\\u001b[2J\"\nsequence = \"1\"\n", "f:2:8: error: \"\\u{1b}[2J\" is no host"),
            ("[a]\nsequence = \"1\"\n[a]\n", "f:3:2: error: duplicate key"),
            ("[a]\nsequence = 1,2\n", "f:2:"),
            (
                "[a]\none_time = \"f\"\nfamily = \"both\"\n",
                "f:1:2: error: family = \"both\" with one_time, of which",
            ),
            (
                "family = 6\n[a]\nsequence = \"1\"\nsource = \"192.0.2.1\"\n",
                "f:2:2: error: source 192.0.2.1 is an",
            ),
        ];
        for (text, begin) in cases {
            let told = mistakes(text);
            assert!(told[0].starts_with(begin), "{text}: {told:?}");
        }
        assert!(mistakes("[a.example.org]\nsequence = \"1\"\n")[0].ends_with("[\"a.example.org\"]"));
        assert!(mistakes("[a]\nsequnce = \"1\"\n")[0].ends_with("(did you mean sequence?)"));
    }

    #[test]
    fn tells_all_mistakes_in_their_order() {
        let told = mistakes("x = 1\n[b]\ny = 1\n[a]\nz = 1\nsequence = \"q\"\n");
        let places: Vec<_> = told.iter().map(|line| &line[..5]).collect();
        assert_eq!(places, ["f:1:1", "f:3:1", "f:5:1", "f:6:1"]);
    }

    #[test]
    fn other_encodings_are_refused_where_they_begin() {
        let told = read(Path::new("f"), b"[a]\n# caf\xe9\n").unwrap_err();
        assert_eq!(told, ["f:2:6: error: a byte that is not UTF-8; expected text in UTF-8"]);
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in any::<Vec<u8>>()) {
            let _ = read(Path::new("f"), &text);
        }

        #[test]
        fn no_table_is_too_odd(text in "(\\[[a\".]{1,4}\\]|(host|sequence|one_time|delay|family|x)|[ =\n\"',.:0-9\\\\u-]){0,40}") {
            let _ = read(Path::new("f"), text.as_bytes());
        }
    }
}
