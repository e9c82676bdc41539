//! `knock add LINE`: what `knockctl enroll` prints on a server becomes a host of the file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use knock_core::spa::Enrolment;

use crate::error::Error;
use crate::hosts::{self, Added};
use crate::keys::{self, Identity};
use crate::output::{show, tell};

/// The longest line that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// What is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addition {
    /// The line; read from standard input where there is none.
    pub(crate) line: Option<Enrolment>,
    /// What the host is to be called; as it is called anyway when unsaid.
    pub(crate) name: Option<String>,
    /// The file of the key that is to sign.
    pub(crate) identity: Option<PathBuf>,
    /// The file of hosts, where it is not the user's own.
    pub(crate) config: Option<PathBuf>,
}

/// Adds it, and says what can be done then.
///
/// # Errors
/// Where it cannot be added.
pub(crate) fn add(addition: Addition) -> Result<(), Error> {
    let Addition { line, name, identity, config } = addition;
    let line = line.map_or_else(from_input, Ok)?;
    let identity = identity.map(|file| chosen(&file, &line)).transpose()?;
    let written = identity.as_deref().or(line.key.as_deref());
    let name = name.unwrap_or_else(|| line.host.clone());
    let (path, added) = hosts::add(config.clone(), &name, &line, written)?;
    let was = match added {
        Added::Now => "was added to",
        Added::Before => "is the same already in",
    };
    show(&format!("\"{name}\" {was} {}\n", path.display()));
    tell_of_key(written);
    // ssh need not be started where this was.
    let config = config.map(|file| std::path::absolute(&file).unwrap_or(file));
    show(&Next { name: &name, config: config.as_deref() }.to_string());
    Ok(())
}

fn from_input() -> Result<Enrolment, Error> {
    use io::{BufRead as _, IsTerminal as _, Read as _};
    let wrong = |why: &dyn fmt::Display| Error::Usage(format!("standard input: {why}"));
    let input = io::stdin();
    if input.is_terminal() {
        tell("paste the line that knockctl enroll has printed:");
    }
    let mut line = String::new();
    input.lock().take(LONGEST).read_line(&mut line).map_err(|error| wrong(&error))?;
    line.parse().map_err(|why: String| wrong(&why))
}

/// A key's file as the file of hosts names it, whose key must be the one that the server was told of.
fn chosen(file: &Path, line: &Enrolment) -> Result<String, Error> {
    let wrong = |why: String| Error::Usage(format!("--identity: {why}"));
    let key = keys::public_of(file).map_err(wrong)?.fingerprint().to_string();
    if let Some(enrolled) = line.key.as_ref().filter(|enrolled| **enrolled != key) {
        return Err(wrong(format!(
            "{} has the key {key}, but the line is for the key {enrolled}: leave --identity out to knock with that one, or \
             have this one enrolled on the server",
            file.display()
        )));
    }
    let file = std::path::absolute(file).map_err(|error| wrong(error.to_string()))?;
    file.to_str().map(str::to_owned).ok_or_else(|| wrong(format!("{} is not UTF-8", file.display())))
}

/// Whether the key is at hand: the first knock should not be the one to find out.
fn tell_of_key(written: Option<&str>) {
    let identity = match written.map(|written| (written, written.parse())) {
        None => Identity::Usual,
        Some((_, Ok(fingerprint))) => Identity::Fingerprint(fingerprint),
        Some((file, Err(_))) => Identity::File(file.into()),
    };
    match keys::find(&identity, None) {
        Ok(found) => show(&format!("it knocks with the key {}, {found}\n", found.key().fingerprint())),
        Err(why) => tell(format!("note: no key to knock with yet: {why}")),
    }
}

/// What can be done with a host that was added.
struct Next<'a> {
    name: &'a str,
    config: Option<&'a Path>,
}

impl fmt::Display for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        let config = self.config.map(|file| format!("--config {} ", word(&file.to_string_lossy())));
        let config = config.unwrap_or_default();
        write!(
            f,
            "\nKnock at it:\n    knock {config}{}\n\nssh knocks by itself with this in ~/.ssh/config:\n    Host {name}\n        \
             ProxyCommand knock {config}--proxy %h %p\n",
            word(name)
        )
    }
}

/// As a shell reads it.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:/@%+,=".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_can_be_typed() {
        let next = Next { name: "server", config: None }.to_string();
        assert!(next.contains("    knock server\n"), "{next}");
        assert!(next.ends_with("    Host server\n        ProxyCommand knock --proxy %h %p\n"), "{next}");
        let next = Next { name: "it's", config: Some(Path::new("my file")) }.to_string();
        assert!(next.contains(r"    knock --config 'my file' 'it'\''s'"), "{next}");
    }
}
