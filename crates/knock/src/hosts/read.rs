//! The bytes of a file of hosts become hosts, or everything that is wrong with them.
//!
//! A table is a host, and what stands before the tables holds for all of them.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use knock_core::config::nearest::nearest;
use knock_core::config::{Diagnostic, Severity, Source};
use knock_core::sequence::Sequence;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{Host, base, place};
use crate::request::Ports;
use crate::resolve::Wanted;
use crate::settings::{self, Settings};

/// What can be said for one host and for all of them.
const SETTINGS: [&str; 6] = ["delay", "family", "source", "verify", "retry", "timeout"];
/// What each host says for itself.
const OF_HOST: [&str; 3] = ["host", "sequence", "one_time"];

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
    settings: Settings,
    /// Something in it is wrong, and was told.
    is_wrong: bool,
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
            "sequence" => draft.sequence = Some(self.sequence(value)?),
            name if SETTINGS.contains(&name) => set(&mut draft.settings, name, value)?,
            _ => return Err(unknown(key, &[OF_HOST.as_slice(), &SETTINGS].concat())),
        }
        Ok(())
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
        let Draft { host, sequence, one_time, settings, .. } = draft;
        let wrong = |found: &str, expected| Diagnostic::error(name.span(), found, expected);
        let ports = match (sequence, one_time) {
            (Some(sequence), None) => Ports::Given(sequence.steps().to_vec()),
            (None, Some(file)) => Ports::OneTime(place::expand(&file, self.base)),
            (None, None) => return Err(wrong("neither sequence nor one_time", "one of them: what to knock")),
            (Some(_), Some(_)) => {
                return Err(wrong("both sequence and one_time", "one of them: what to knock"));
            }
        };
        let settings = settings.or(&self.defaults);
        match (settings.wanted(), &ports) {
            (Err(found), _) => return Err(wrong(&found, "one that fits the other")),
            (Ok(Wanted::Both), Ports::OneTime(_)) => {
                let found =
                    "family = \"both\" with a one-time file, of which the server takes each line once";
                return Err(wrong(found, "family = 4 or 6"));
            }
            _ => {}
        }
        let name = name.get_ref().to_string();
        Ok(Host { host: host.unwrap_or_else(|| name.clone()), name, ports, settings })
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

fn set(settings: &mut Settings, name: &str, value: &Value<'_>) -> Result<(), Diagnostic> {
    let text = word_of(value)?;
    let outcome = match name {
        "delay" => settings::milliseconds(&text).map(|value| settings.delay = Some(value)),
        "family" => settings::family(&text).map(|value| settings.family = Some(value)),
        "source" => settings::address(&text).map(|value| settings.source = Some(value)),
        "verify" => settings::tcp_port(&text).map(|value| settings.verify = Some(value)),
        "retry" => settings::retries(&text).map(|value| settings.retry = Some(value)),
        _ => settings::seconds(&text).map(|value| settings.timeout = Some(value)),
    };
    outcome.map_err(|why| {
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
    use std::time::Duration;

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
        let Ports::Given(steps) = &one.ports else { panic!("{one:?}") };
        assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["7142:tcp", "8319:udp"]);
        assert_eq!((two.name.as_str(), two.host.as_str()), ("two.example.org", "two.example.org"));
        assert_eq!(two.ports, Ports::OneTime("/home/me/.config/knock/two.seq".into()));
        assert_eq!(two.settings.delay, Some(Duration::from_millis(100)));
    }

    #[test]
    fn a_home_and_a_place_of_its_own() {
        let hosts = hosts("[a]\none_time = \"~/a.seq\"\n[b]\none_time = \"/b.seq\"\n");
        assert_eq!(hosts[0].ports, Ports::OneTime(std::env::home_dir().unwrap().join("a.seq")));
        assert_eq!(hosts[1].ports, Ports::OneTime("/b.seq".into()));
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
            ("[a]\nhost = \"h\"\n", "f:1:2: error: neither sequence nor one_time; expected one of them"),
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
                "f:1:2: error: family = \"both\" with a one-time file",
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
