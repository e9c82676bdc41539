//! Sequences of ports, as `Sequence`, one-time files and the client's command line write them.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::knock::Protocol;

/// The most ports that a sequence can have.
pub const MAX_STEPS: usize = 32;

/// One port of a sequence and the protocol that it is knocked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Step {
    /// 1 to 65535.
    pub port: u16,
    /// TCP where nothing else is said.
    pub protocol: Protocol,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.port, self.protocol)
    }
}

/// What is wrong with a value, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The offending bytes, from the value's beginning.
    pub span: Range<usize>,
    /// What was found, as a sentence without a full stop.
    pub found: String,
    /// What would have been right.
    pub expected: String,
}

impl Fault {
    /// `found` at `span` where `expected` should stand.
    pub fn new(span: Range<usize>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { span, found: found.into(), expected: expected.into() }
    }

    /// The same fault in a text in which the value begins `offset` bytes later.
    #[must_use]
    pub fn shifted(mut self, offset: usize) -> Self {
        self.span = self.span.start + offset..self.span.end + offset;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected {}", self.found, self.expected)
    }
}

impl std::error::Error for Fault {}

const PORT: &str = "a port from 1 to 65535, such as 7142 or 7142:udp";
const PROTOCOL: &str = "tcp or udp";

impl Step {
    /// Reads `PORT` or `PORT:PROTOCOL`, the protocol in any case and TCP when unsaid.
    ///
    /// # Errors
    /// For anything but a port from 1 to 65535 in decimal digits and one of the two protocols.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        match text.split_once(':') {
            None => Ok(Self { port: parse_port(text)?, protocol: Protocol::Tcp }),
            Some((port, protocol)) => Ok(Self {
                port: parse_port(port)?,
                protocol: parse_protocol(protocol).map_err(|fault| fault.shifted(port.len() + 1))?,
            }),
        }
    }
}

fn parse_port(text: &str) -> Result<u16, Fault> {
    let trimmed = text.trim();
    let start = text.len() - text.trim_start().len();
    let fault = |found: String| Fault::new(start..start + trimmed.len(), found, PORT);
    if trimmed.is_empty() {
        return Err(Fault::new(0..text.len(), "a port is missing", PORT));
    }
    if let Some(bad) = trimmed.find(|c: char| !c.is_ascii_digit()) {
        return Err(if trimmed[bad..].starts_with(char::is_whitespace) {
            let at = start + bad;
            let rest = trimmed[bad..].trim_start();
            let span = at..start + trimmed.len();
            Fault::new(span, format!("\"{rest}\" behind the port"), "a comma between ports")
        } else {
            fault(format!("\"{trimmed}\" is no port"))
        });
    }
    match trimmed.parse::<u16>() {
        Ok(0) => Err(fault("port 0 cannot be knocked".into())),
        Ok(port) => Ok(port),
        Err(_) => Err(fault(format!("{trimmed} is larger than any port"))),
    }
}

fn parse_protocol(text: &str) -> Result<Protocol, Fault> {
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case("tcp") {
        Ok(Protocol::Tcp)
    } else if trimmed.eq_ignore_ascii_case("udp") {
        Ok(Protocol::Udp)
    } else if trimmed.is_empty() {
        Err(Fault::new(0..text.len(), "the protocol is missing", PROTOCOL))
    } else {
        let start = text.len() - text.trim_start().len();
        Err(Fault::new(start..start + trimmed.len(), format!("unknown protocol \"{trimmed}\""), PROTOCOL))
    }
}

/// The ordered ports of a door: at least one, at most [`MAX_STEPS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sequence(Vec<Step>);

impl Sequence {
    /// Reads `PORT[:PROTOCOL],…`; white space around a port or a protocol is passed over.
    ///
    /// # Errors
    /// For an empty sequence, an entry that [`Step::parse`] refuses, and more than [`MAX_STEPS`] entries.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.trim().is_empty() {
            return Err(Fault::new(
                0..text.len(),
                "the sequence is empty",
                "ports, such as 7142,8319:udp,9623",
            ));
        }
        let mut steps = Vec::new();
        let mut start = 0;
        for entry in text.split(',') {
            if steps.len() == MAX_STEPS {
                return Err(Fault::new(
                    start..text.len(),
                    "the sequence is too long",
                    format!("at most {MAX_STEPS} ports"),
                ));
            }
            steps.push(Step::parse(entry).map_err(|fault| fault.shifted(start))?);
            start += entry.len() + 1;
        }
        Ok(Self(steps))
    }

    /// The sequence of these ports: at least one, at most [`MAX_STEPS`].
    pub(crate) const fn new(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    /// The ports, first to last.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether an attempt that reached `stage` steps of `other` has made the same steps here.
    pub fn shares_beginning(&self, other: &Self, stage: usize) -> bool {
        self.0.len() > stage && other.0.len() >= stage && self.0[..stage] == other.0[..stage]
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{step}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(text: &str) -> String {
        Sequence::parse(text).unwrap().to_string()
    }

    fn fault(text: &str) -> (String, String) {
        let fault = Sequence::parse(text).unwrap_err();
        (text[fault.span.clone()].to_owned(), fault.to_string())
    }

    #[test]
    fn reads_what_knockd_reads() {
        assert_eq!(sequence("7000"), "7000:tcp");
        assert_eq!(sequence("7000,8000:UDP,9000:tcp"), "7000:tcp,8000:udp,9000:tcp");
        assert_eq!(sequence(" 7000 , 8000 : udp "), "7000:tcp,8000:udp");
        assert_eq!(sequence("1,65535,007"), "1:tcp,65535:tcp,7:tcp");
    }

    #[test]
    fn points_at_what_it_refuses() {
        let cases = [
            ("", "", "the sequence is empty"),
            ("7000,ssh", "ssh", "\"ssh\" is no port"),
            ("7000,,9000", "", "a port is missing"),
            ("7000,", "", "a port is missing"),
            ("7000,0", "0", "port 0"),
            ("65536", "65536", "larger than any port"),
            ("99999999999999999999", "99999999999999999999", "larger than any port"),
            ("-1", "-1", "is no port"),
            ("7000 8000 9000", " 8000 9000", "behind the port"),
            ("7000:icmp", "icmp", "unknown protocol"),
            ("7000: ,1", " ", "protocol is missing"),
            ("9000:tcp:zz", "tcp:zz", "unknown protocol"),
        ];
        for (text, span, message) in cases {
            let (found_span, found) = fault(text);
            assert_eq!(found_span, span, "{text}");
            assert!(found.contains(message), "{text}: {found}");
            assert!(found.contains("expected"), "{text}: {found}");
        }
    }

    #[test]
    fn holds_32_ports_and_no_more() {
        let ports = |n| vec!["7"; n].join(",");
        assert_eq!(Sequence::parse(&ports(32)).unwrap().steps().len(), 32);
        assert!(fault(&ports(33)).1.contains("at most 32"));
    }
}
