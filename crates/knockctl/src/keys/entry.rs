//! A line of `authorized_keys`: what is asked for, checked and written.

use knock_core::network::Network;
use knock_core::spa::{AuthorizedKey, Fingerprint, read_keys};

use super::calendar::to_unix;
use super::public_key::PublicKey;

/// How long a name may be, in characters.
const MAX_NAME: usize = 64;
/// What a fingerprint begins with.
const FINGERPRINT: &str = "SHA256:";

/// What a key may do, beside the doors.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    /// `expiry-time`.
    pub(super) expiry: Option<String>,
    /// `from`.
    pub(super) from: Option<String>,
    /// `max-open`.
    pub(super) most: Option<String>,
}

/// The line for a key of this name at these doors.
///
/// # Errors
/// Where a door's name cannot stand in such a line.
pub(super) fn line(name: &str, key: &PublicKey, doors: &[String], limits: &Limits) -> Result<String, String> {
    let doors_option = ("doors", Some(doors.join(",")));
    let limits = [
        ("expiry-time", limits.expiry.clone()),
        ("from", limits.from.clone()),
        ("max-open", limits.most.clone()),
    ];
    let options = std::iter::once(doors_option).chain(limits);
    let options = options.filter_map(|(name, value)| value.map(|value| format!("{name}=\"{value}\"")));
    let line = format!("{} {} {name}\n", options.collect::<Vec<_>>().join(","), key.text);
    let read = read_keys(&line, &to_unix);
    match read.keys.first() {
        Some(read) if is_meant(read, name, key, doors) => Ok(line),
        _ => Err(format!(
            "the doors' names {} cannot stand in a line of authorized_keys: name doors without commas, quotes and backslashes",
            doors.join(" ")
        )),
    }
}

/// Whether the daemon reads what was meant.
fn is_meant(read: &AuthorizedKey, name: &str, key: &PublicKey, doors: &[String]) -> bool {
    read.key == key.key && read.name == name && read.doors.as_deref() == Some(doors)
}

/// A name that stands behind a key and can be typed again.
pub(super) fn name(text: &str) -> Result<String, String> {
    let found = match text {
        "" => "the name is empty",
        _ if text.chars().count() > MAX_NAME => "the name has more than 64 characters",
        _ if text.contains(is_unseen) => "a character in the name that nobody sees",
        _ if text.split_whitespace().collect::<Vec<_>>().join(" ") != text => {
            "white space at an end of the name, or more than one space in it"
        }
        _ if text.starts_with('-') => "the name begins with a dash",
        _ if text.starts_with(FINGERPRINT) => "the name looks like a fingerprint",
        _ => return Ok(text.to_owned()),
    };
    Err(format!("{found}; expected a name for the key, such as alice or alice-laptop"))
}

/// Control characters, and those that turn or hide what stands beside them.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The networks of `from`, as they are written.
pub(super) fn networks(text: &str) -> Result<String, String> {
    let entries: Vec<_> = text.split(',').map(str::trim).collect();
    let is_network = |entry: &&str| entry.strip_prefix('!').unwrap_or(entry).parse::<Network>().is_ok();
    if let Some(wrong) = entries.iter().find(|entry| !is_network(entry)) {
        return Err(format!("\"{wrong}\" is no network; expected such as 192.0.2.0/24,2001:db8::/32"));
    }
    if entries.iter().all(|entry| entry.starts_with('!')) {
        return Err(
            "all of these are denied: the key could knock from nowhere; expected one without ! too".into()
        );
    }
    Ok(entries.join(","))
}

/// Whether somebody means this key by what they typed.
pub(super) fn is_called(key: &AuthorizedKey, what: &str) -> bool {
    key.name == what || fingerprint(key) == what
}

pub(super) fn fingerprint(key: &AuthorizedKey) -> String {
    key.key.fingerprint().to_string()
}

/// A file's bytes with a line more.
pub(super) fn with_line(before: &[u8], line: &str) -> Vec<u8> {
    let gap: &[u8] = if before.is_empty() || before.ends_with(b"\n") { b"" } else { b"\n" };
    [before, gap, line.as_bytes()].concat()
}

/// A file's bytes without any line with this key, and what these lines said: one that counted for nothing because the key
/// stood before it would count now, so it goes too.
pub(super) fn without(before: &[u8], key: Fingerprint) -> (Vec<u8>, Vec<AuthorizedKey>) {
    let mut lines: Vec<(usize, &[u8])> = (1..).zip(before.split_inclusive(|byte| *byte == b'\n')).collect();
    let mut removed = Vec::new();
    loop {
        let bytes: Vec<u8> = lines.iter().flat_map(|(_, line)| line.iter().copied()).collect();
        let read = read_keys(&String::from_utf8_lossy(&bytes), &to_unix);
        let Some(found) = read.keys.into_iter().find(|other| other.key.fingerprint() == key) else {
            return (bytes, removed);
        };
        let Some(at) = found.line.checked_sub(1).filter(|at| *at < lines.len()) else {
            return (bytes, removed);
        };
        let (line, _) = lines.remove(at);
        removed.push(AuthorizedKey { line, ..found });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    fn key(text: &str) -> PublicKey {
        let key = read_keys(text, &to_unix).keys.remove(0).key;
        PublicKey { text: text.to_owned(), key }
    }

    #[test]
    fn a_line_says_all_that_was_asked() {
        let limits = Limits {
            expiry: Some("20270101235959".into()),
            from: Some("192.0.2.0/24".into()),
            most: Some("1h".into()),
        };
        let doors = ["ssh".to_owned(), "web".to_owned()];
        assert_eq!(
            line("alice", &key(ONE), &doors, &limits).unwrap(),
            format!(
                "doors=\"ssh,web\",expiry-time=\"20270101235959\",from=\"192.0.2.0/24\",max-open=\"1h\" {ONE} alice\n"
            )
        );
        assert_eq!(
            line("Émile Z", &key(ONE), &doors[..1], &Limits::default()).unwrap(),
            format!("doors=\"ssh\" {ONE} Émile Z\n")
        );
        for door in ["a,b", "a\"b", "a\\", " a"] {
            assert!(line("x", &key(ONE), &[door.into()], &Limits::default()).is_err(), "{door}");
        }
    }

    #[test]
    fn names_that_are_none() {
        let long = "x".repeat(65);
        for bad in ["", " a", "a ", "a  b", "a\nb", "a\tb", "a\u{202e}b", "-a", "SHA256:x", &long] {
            assert!(name(bad).is_err_and(|why| why.contains("; expected ")), "{bad:?}");
        }
        for good in ["alice", "Alice Z.", "é", "alice@home", "#1"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn networks_are_checked() {
        assert_eq!(networks("192.0.2.0/24, !192.0.2.9").as_deref(), Ok("192.0.2.0/24,!192.0.2.9"));
        for bad in ["", "a", "192.0.2.0/24,", "*.example.org", "!192.0.2.1", "192.0.2.0/24\""] {
            assert!(networks(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_that_stands_there_twice_goes_wholly() {
        let text = format!("# mine\r\n{ONE} a\r\n\n{OTHER} b\nfrom=\"192.0.2.1\" {ONE} c\n  {ONE}");
        let (left, removed) = without(text.as_bytes(), key(ONE).key.fingerprint());
        assert_eq!(String::from_utf8(left).unwrap(), format!("# mine\r\n\n{OTHER} b\n"));
        let lines: Vec<_> = removed.iter().map(|key| (key.line, key.name.as_str())).collect();
        assert_eq!(lines[..2], [(2, "a"), (5, "c")]);
        assert_eq!(lines[2].0, 6);
    }

    proptest! {
        #[test]
        fn all_else_stays_byte_for_byte(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8), at in 0_usize..8) {
            let before: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
            let at = at.min(lines.len());
            let cut: usize = before.split_inclusive(|byte| *byte == b'\n').take(at).map(<[u8]>::len).sum();
            let with = [&before[..cut], format!("{ONE} x\n").as_bytes(), &before[cut..]].concat();
            let (left, removed) = without(&with, key(ONE).key.fingerprint());
            prop_assert_eq!(left, before);
            prop_assert_eq!(removed.len(), 1);
        }
    }
}
