//! The value of `open`: ports and ranges of ports.

use super::diagnostic::Diagnostic;
use super::lines::Spanned;
use super::native::PortRange;
use crate::knock::Protocol;
use crate::sequence::Fault;

/// The most entries of a list.
const MAX_ENTRIES: usize = 64;

const ENTRY: &str = "ports with their protocol, such as 22/tcp, 60000-61000/udp";

/// Reads `22/tcp, 60000-61000/udp`; entries that overlap become one.
pub(super) fn ports(value: &Spanned<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Vec<PortRange>, Fault> {
    let mut ports = Vec::new();
    for (count, entry) in value.entries().enumerate() {
        if count == MAX_ENTRIES {
            let expected = format!("at most {MAX_ENTRIES} ports and ranges of ports");
            return Err(Fault::new(entry.span(), "the list of ports is too long", expected));
        }
        let range = range(&entry)?;
        if let Some((found, joined)) = join(&mut ports, range) {
            let help = format!("write {joined} alone");
            diagnostics.push(Diagnostic::warning(entry.span(), found, help));
        }
    }
    Ok(ports)
}

/// Adds a range; where it overlaps with others, the answer is what is to say and the range that they became.
fn join(ports: &mut Vec<PortRange>, new: PortRange) -> Option<(String, PortRange)> {
    let overlapping: Vec<_> = ports.extract_if(.., |old| old.overlaps(new)).collect();
    let joined = overlapping.iter().fold(new, |joined, old| PortRange {
        first: joined.first.min(old.first),
        last: joined.last.max(old.last),
        ..joined
    });
    ports.push(joined);
    let old = overlapping.first()?;
    let found =
        if *old == new { format!("{new} is given twice") } else { format!("{new} overlaps with {old}") };
    Some((found, joined))
}

fn range(entry: &Spanned<'_>) -> Result<PortRange, Fault> {
    if entry.text.contains(':') {
        return Err(with_colon(entry));
    }
    let (ports, protocol) = match split(entry, '/') {
        Some((ports, name)) => (ports, protocol(&name)?),
        None => (entry.clone(), Protocol::Tcp),
    };
    let (first, last) = match split(&ports, '-') {
        Some((first, last)) => (port(&first)?, port(&last)?),
        None => (port(&ports)?, port(&ports)?),
    };
    if first > last {
        let swapped = PortRange { protocol, first: last, last: first };
        return Err(Fault::new(ports.span(), format!("{first} is larger than {last}"), swapped.to_string()));
    }
    Ok(PortRange { protocol, first, last })
}

fn split<'a>(text: &Spanned<'a>, separator: char) -> Option<(Spanned<'a>, Spanned<'a>)> {
    let (before, behind) = text.text.split_once(separator)?;
    let start = text.start + before.len() + separator.len_utf8();
    let before = Spanned { text: before, start: text.start };
    Some((before.trimmed(), Spanned { text: behind, start }.trimmed()))
}

fn port(text: &Spanned<'_>) -> Result<u16, Fault> {
    let fault = |found: String| Err(Fault::new(text.span(), found, ENTRY));
    if text.text.is_empty() {
        return fault("a port is missing".into());
    }
    if !text.text.bytes().all(|byte| byte.is_ascii_digit()) {
        return fault(format!("\"{}\" is no port", text.text));
    }
    match text.text.parse() {
        Ok(0) => fault("port 0 cannot be opened".into()),
        Ok(port) => Ok(port),
        Err(_) => fault(format!("{} is larger than any port", text.text)),
    }
}

fn protocol(name: &Spanned<'_>) -> Result<Protocol, Fault> {
    if name.text.eq_ignore_ascii_case("tcp") {
        Ok(Protocol::Tcp)
    } else if name.text.eq_ignore_ascii_case("udp") {
        Ok(Protocol::Udp)
    } else {
        let found = match name.text {
            "" => "the protocol is missing".to_owned(),
            name => format!("unknown protocol \"{name}\""),
        };
        Err(Fault::new(name.span(), found, "tcp or udp"))
    }
}

/// Who is used to sequences writes `22:tcp`, who is used to iptables `6000:6100/tcp`.
fn with_colon(entry: &Spanned<'_>) -> Fault {
    let (before, behind) = entry.text.split_once(':').unwrap_or((entry.text, ""));
    let separator = if behind.starts_with(|c: char| c.is_ascii_digit()) { '-' } else { '/' };
    let meant = format!("{before}{separator}{behind}");
    let is_possible = !behind.contains(':') && range(&Spanned { text: &meant, start: 0 }).is_ok();
    let expected = if is_possible { meant } else { ENTRY.to_owned() };
    Fault::new(entry.span(), format!("a colon in \"{}\"", entry.text), expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (String, Vec<String>) {
        let mut diagnostics = Vec::new();
        let ports = ports(&Spanned { text, start: 7 }, &mut diagnostics).unwrap();
        let told = diagnostics.into_iter().map(|told| format!("{}: {}", told.span.start, told.found));
        (ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(","), told.collect())
    }

    #[test]
    fn lists_of_ports_and_ranges() {
        for (text, meant) in [
            ("22", "22/tcp"),
            ("22/TCP", "22/tcp"),
            ("22/tcp, 60000-61000/udp", "22/tcp,60000-61000/udp"),
            ("1 - 65535 / udp", "1-65535/udp"),
            ("53/tcp,53/udp", "53/tcp,53/udp"),
            ("20-21,22", "20-21/tcp,22/tcp"),
        ] {
            assert_eq!(read(text), (meant.to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn overlapping_entries_become_one() {
        assert_eq!(read("22,22/tcp"), ("22/tcp".into(), vec!["10: 22/tcp is given twice".into()]));
        let (ports, told) = read("10-20/udp,30-40/udp,5/udp,15-35/udp");
        assert_eq!(ports, "5/udp,10-40/udp");
        assert_eq!(told, ["33: 15-35/udp overlaps with 10-20/udp"]);
    }

    proptest! {
        #[test]
        fn none_lies_in_another(
            entries in proptest::collection::vec((1..300_u16, 0..100_u16, any::<bool>()), 1..=MAX_ENTRIES)
        ) {
            let name = |udp: bool| if udp { "udp" } else { "tcp" };
            let written: Vec<_> =
                entries.iter().map(|(first, more, udp)| format!("{first}-{}/{}", first + more, name(*udp))).collect();
            let text = written.join(",");
            let read = ports(&Spanned { text: &text, start: 0 }, &mut Vec::new()).unwrap();
            for (index, range) in read.iter().enumerate() {
                prop_assert!(range.first <= range.last);
                prop_assert!(!read[index + 1..].iter().any(|other| other.overlaps(*range)));
            }
            for port in 1..=400 {
                for (udp, protocol) in [(false, Protocol::Tcp), (true, Protocol::Udp)] {
                    let asked = entries.iter().any(|(first, more, u)| *u == udp && (*first..=first + more).contains(&port));
                    prop_assert_eq!(read.iter().any(|range| range.contains(protocol, port)), asked);
                }
            }
        }
    }
}
