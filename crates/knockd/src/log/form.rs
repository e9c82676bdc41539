//! The forms that a line of the log is written in.

use std::fmt::Write as _;

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

use super::facts::Facts;

/// The version of what [`json`] writes; `docs/log.schema.json` says what that is.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Object<'a> {
    schema: u32,
    time: String,
    #[serde(flatten)]
    facts: &'a Facts,
    // Last: it may contain words of others.
    message: &'a str,
}

/// A line of JSON, harmless to a terminal.
pub(super) fn json(time: &ZonedDateTime, facts: &Facts, message: &str) -> String {
    let time = time.with_time_zone(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    // Strings and numbers can always be written.
    let line = serde_json::to_string(&Object { schema: SCHEMA, time, facts, message }).unwrap_or_default();
    without_controls(line)
}

/// What JSON would let stand: such characters are in strings only, and mean there what they meant.
fn without_controls(line: String) -> String {
    if !line.contains(char::is_control) {
        return line;
    }
    line.chars().fold(String::new(), |mut line, c| {
        // Writing to a string does not fail.
        let _ = if c.is_control() { write!(line, "\\u{:04x}", u32::from(c)) } else { line.write_char(c) };
        line
    })
}

/// The message on one line, whatever a stranger or a command put into it.
pub(super) fn printable(message: &str) -> String {
    if !message.contains(char::is_control) {
        return message.to_owned();
    }
    let show =
        |c: char| if c.is_control() && c != '\t' { c.escape_default().to_string() } else { c.to_string() };
    message.chars().map(show).collect()
}

/// What the system's journal is sent: the line, and a field for each fact; "Native Journal Protocol" of systemd.io.
pub(super) fn journal(facts: &Facts, line: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    field(&mut entry, "MESSAGE", line);
    field(&mut entry, "PRIORITY", &(facts.level as u8).to_string());
    field(&mut entry, "SYSLOG_IDENTIFIER", "knockd");
    field(&mut entry, "SYSLOG_FACILITY", "3");
    let facts = serde_json::to_value(facts).unwrap_or_default();
    for (name, value) in facts.as_object().into_iter().flatten() {
        field(&mut entry, &format!("KNOCK_{}", name.to_ascii_uppercase()), &text(value));
    }
    entry
}

fn field(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::facts::Topic;
    use super::*;

    #[test]
    fn nothing_breaks_a_line() {
        assert_eq!(printable("a\tb"), "a\tb");
        assert_eq!(printable("a\nb\u{1b}[2J\r"), "a\\nb\\u{1b}[2J\\r");
    }

    /// The fields of an entry, read as the protocol says.
    fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields = Vec::new();
        while let Some(end) = entry.iter().position(|byte| *byte == b'=' || *byte == b'\n') {
            let (name, rest) = (text(&entry[..end]), &entry[end + 1..]);
            let (from, length) = match entry[end] {
                b'=' => (0, rest.iter().position(|byte| *byte == b'\n').unwrap()),
                _ => (8, u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize),
            };
            fields.push((name, text(&rest[from..from + length])));
            assert_eq!(rest[from + length], b'\n');
            entry = &rest[from + length + 1..];
        }
        assert!(entry.is_empty());
        fields
    }

    proptest! {
        #[test]
        fn json_holds_whatever_is_said_on_one_harmless_line(message: String, door: String) {
            let facts = Facts::about(&door, Topic::CommandOutput);
            let line = json(&ZonedDateTime::now(), &facts, &message);
            prop_assert!(!line.contains(char::is_control));
            let read: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&read["message"], &Value::from(message));
            prop_assert_eq!(&read["door"], &Value::from(door));
        }

        #[test]
        fn the_journal_reads_what_was_said_and_no_other_field(message: String, door: String) {
            let facts = Facts::about(&door, Topic::CommandOutput);
            let read = fields(&journal(&facts, &message));
            let expected = [
                ("MESSAGE", &*message),
                ("PRIORITY", "5"),
                ("SYSLOG_IDENTIFIER", "knockd"),
                ("SYSLOG_FACILITY", "3"),
                ("KNOCK_DOOR", &*door),
                ("KNOCK_EVENT", "command_output"),
                ("KNOCK_LEVEL", "notice"),
            ];
            prop_assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
    }
}
