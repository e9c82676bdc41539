//! The public key that somebody has sent: one line of a `.pub` file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use knock_core::spa::{SshKey, read_keys};

use super::calendar::to_unix;
use crate::failure::Failure;

/// More than any such file has.
const MAX_FILE: u64 = 64 << 10;

/// A key as it is to stand in a file.
#[derive(Debug)]
pub(super) struct PublicKey {
    /// Its type and its data, as OpenSSH writes them.
    pub(super) text: String,
    /// What that is.
    pub(super) key: SshKey,
}

/// Reads a file with one key; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<PublicKey, Failure> {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let text = content(path).map_err(|error| Failure::Refused(cannot_be_read(&name, path, &error)))?;
    parse(&text).map_err(|why| Failure::Refused(format!("{name}: {why}")))
}

fn cannot_be_read(name: &str, path: &Path, error: &io::Error) -> String {
    let is_of_a_service = path.to_str().is_some_and(|name| name.contains(':') && !name.contains('/'));
    if is_of_a_service {
        return format!(
            "{name} cannot be read: {error}. Keys are not fetched from anywhere: save the key into a file, and look at it"
        );
    }
    format!("{name} cannot be read: {error}; expected the file of a public key, such as id_ed25519.pub")
}

fn content(path: &Path) -> io::Result<String> {
    let source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path)?),
    };
    let mut bytes = Vec::new();
    source.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str) -> Result<PublicKey, String> {
    if let Some(why) = another_format(text) {
        return Err(why.into());
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line =
        lines.next().ok_or("there is no key in it; expected a line such as ssh-ed25519 AAAA... name")?;
    let more = lines.count();
    if more > 0 {
        return Err(format!(
            "{} keys; expected one: enroll them one after the other, each with a name",
            more + 1
        ));
    }
    let mut words = line.split_whitespace();
    let (kind, data) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if kind.contains("-cert-v01@") {
        return Err("certificates cannot knock: expected the key itself, the .pub file without -cert".into());
    }
    let read = read_keys(&format!("{kind} {data}"), &to_unix);
    match (read.keys.into_iter().next(), read.mistakes.first()) {
        (Some(key), None) => Ok(PublicKey { text: format!("{kind} {data}"), key: key.key }),
        (_, Some(mistake)) => Err(match &mistake.expected {
            Some(expected) => format!("{}; expected {expected}", mistake.found),
            None => mistake.found.clone(),
        }),
        _ => Err("no public key; expected a line such as ssh-ed25519 AAAA... name".into()),
    }
}

/// What is often given instead.
fn another_format(text: &str) -> Option<&'static str> {
    if text.contains("PRIVATE KEY-----") || text.starts_with("PuTTY-User-Key-File") {
        return Some(
            "this is a private key, which nobody but its owner should have: expected the public one, the file of the same \
             name with .pub (ssh-keygen -y -f KEY > KEY.pub makes it)",
        );
    }
    if text.contains("---- BEGIN SSH2 PUBLIC KEY") || text.contains("-----BEGIN") {
        return Some(
            "a key in another format than OpenSSH's: ssh-keygen -i -f FILE (for PEM: -m PKCS8) converts it",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn the_comment_does_not_count() {
        for text in
            [KEY.to_owned(), format!("{KEY} alice@home\n"), format!("# hers\r\n\r\n  {KEY}  x y \r\n")]
        {
            let read = parse(&text).unwrap();
            assert_eq!(read.text, KEY);
        }
    }

    #[test]
    fn what_is_none_says_what_to_do() {
        for (text, why) in [
            ("", "no key in it"),
            ("# nothing\n", "no key in it"),
            ("ssh-ed25519", "no public key"),
            ("ssh-ed25519 AAAA", "no public key"),
            ("hello world", "no public key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "private key"),
            ("PuTTY-User-Key-File-3: ssh-ed25519\n", "private key"),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "ssh-keygen -i"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA x", "certificates cannot knock"),
            (&format!("{KEY}\n{KEY}\n"), "2 keys; expected one"),
            (&format!("from=\"*\" {KEY}\n"), ""),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
