//! Which SSH key signs a knock, and its signature.
//!
//! ```text
//! identity ─► agent, files ─► found ─► signer ─► signature
//! ```
//!
//! An agent that has the key is preferred to a file, as with ssh: it needs no passphrase, and may hold what no file does.

mod agent;
mod file;
mod passphrase;
#[cfg(unix)]
mod terminal;

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use knock_core::spa::{self, Fingerprint, SshKey, Supported};
use ssh_key::PrivateKey;

use crate::output::tell;
use agent::{Agent, Held};
use file::KeyFile;

/// The files that are tried where nothing is said, below `~/.ssh`.
const USUAL: [&str; 4] = ["id_ed25519", "id_ecdsa", "id_ed25519_sk", "id_ecdsa_sk"];
/// How many files of `~/.ssh` are looked at.
const MOST_FILES: usize = 1000;
/// What makes a key that can knock.
const MAKE: &str = "ssh-keygen -t ed25519 makes a key";

/// Which key is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// One of the usual files, or the only one of the agent.
    Usual,
    /// The one with this fingerprint.
    Fingerprint(Fingerprint),
    /// The one in this file, of which it may be the public half.
    File(PathBuf),
}

/// Where a key is.
pub(crate) struct Found {
    key: SshKey,
    place: Place,
}

enum Place {
    Agent(Agent, String),
    File(Box<KeyFile>),
}

/// A key that can sign.
pub(crate) struct Signer {
    key: SshKey,
    by: By,
}

enum By {
    Agent(Agent, String),
    File(PathBuf, Box<PrivateKey>),
}

/// Where the key is that is meant; `agent` is the agent's socket, where it is not the user's own.
///
/// # Errors
/// Where it is not to be found, and what to do; in words.
pub(crate) fn find(identity: &Identity, agent: Option<&Path>) -> Result<Found, String> {
    let agent = Asked::new(agent);
    match identity {
        Identity::Usual => usual(&agent),
        Identity::Fingerprint(fingerprint) => by_fingerprint(*fingerprint, &agent),
        Identity::File(path) => by_file(KeyFile::read(path)?, &agent),
    }
}

/// The public half of the key in a file, be it the private or the public one.
///
/// # Errors
/// Where it has none that can knock; in words.
pub(crate) fn public_of(path: &Path) -> Result<SshKey, String> {
    KeyFile::read(path)?.public()
}

/// What an agent has answered, or why it has not.
struct Asked(Result<(Agent, Vec<Held>), String>);

impl Asked {
    fn new(socket: Option<&Path>) -> Self {
        Self(Agent::find(socket).and_then(|agent| agent.keys().map(|keys| (agent, keys))))
    }

    fn keys(&self) -> &[Held] {
        self.0.as_ref().map(|(_, keys)| keys.as_slice()).unwrap_or_default()
    }

    /// This key, where it has it.
    fn with(&self, fingerprint: Fingerprint) -> Option<Result<Found, String>> {
        let shown = fingerprint.to_string();
        self.first(|held| held.fingerprint.as_ref() == Some(&shown))
    }

    /// The first key of this kind.
    fn first(&self, is_meant: impl Fn(&Held) -> bool) -> Option<Result<Found, String>> {
        let (agent, keys) = self.0.as_ref().ok()?;
        let held = keys.iter().find(|held| is_meant(held))?;
        let place = Place::Agent(agent.clone(), held.remark.clone());
        Some(match &held.key {
            Ok(key) => Ok(Found { key: key.clone(), place }),
            Err(why) => Err(format!("{} in {agent}: {why}", held.remark)),
        })
    }

    /// Why the agent does not help.
    fn excuse(&self) -> String {
        match &self.0 {
            Err(why) => why.clone(),
            Ok((agent, keys)) if keys.is_empty() => format!("{agent} has no keys, or is locked"),
            Ok((agent, _)) => format!("{agent} does not have it"),
        }
    }
}

fn by_fingerprint(fingerprint: Fingerprint, agent: &Asked) -> Result<Found, String> {
    if let Some(found) = agent.with(fingerprint) {
        return found;
    }
    match in_ssh_directory(fingerprint) {
        Some(file) => by_file(file, agent),
        None => Err(format!(
            "the key {fingerprint} is not at hand: {}, and no file in ~/.ssh is of it; ssh-add FILE loads it, or \
             identity = \"FILE\" names its file",
            agent.excuse()
        )),
    }
}

fn by_file(file: KeyFile, agent: &Asked) -> Result<Found, String> {
    let key = file.public()?;
    if let Some(found) = agent.with(key.fingerprint()) {
        return found;
    }
    let (path, excuse) = (file.path.display(), agent.excuse());
    if needs_touch(&key) {
        return Err(format!(
            "{path} is a FIDO token's key, with which only an ssh-agent can sign: {excuse}; ssh-add {path} loads it"
        ));
    }
    if !file.is_whole() {
        let why = file.into_private().err().unwrap_or_default();
        return Err(format!("{why}, and {excuse}"));
    }
    Ok(Found { key, place: Place::File(Box::new(file)) })
}

fn usual(agent: &Asked) -> Result<Found, String> {
    let mut refused = Vec::new();
    for name in USUAL {
        let Some(file) = ssh_directory().and_then(|directory| there(&directory.join(name))) else { continue };
        match file.and_then(|file| by_file(file, agent)) {
            Ok(found) => return Ok(found),
            Err(why) => refused.push(why),
        }
    }
    let able: Vec<_> = agent.keys().iter().filter(|held| held.key.is_ok()).collect();
    match (able.as_slice(), agent.first(|held| held.key.is_ok())) {
        ([_], Some(found)) => found,
        ([_, _, ..], _) => Err(which(&able)),
        _ => Err(no_key(agent, &refused)),
    }
}

/// The file at `path`, where there is one or its public half.
fn there(path: &Path) -> Option<Result<KeyFile, String>> {
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    (path.exists() || Path::new(&public).exists()).then(|| KeyFile::read(path))
}

fn no_key(agent: &Asked, refused: &[String]) -> String {
    if let Some(why) = refused.first() {
        return why.clone();
    }
    let no_file = format!("there is no key in ~/.ssh ({})", USUAL.join(", "));
    let rsa = ssh_directory().is_some_and(|directory| directory.join("id_rsa").exists());
    let held = agent.keys().first().map(|held| held.algorithm.as_str());
    match (held, rsa) {
        (Some(held), _) => {
            format!("{no_file}, and what the ssh-agent has cannot knock ({held}): {MAKE} that can")
        }
        (None, true) => format!(
            "{no_file}, but id_rsa: RSA keys cannot knock, their signatures are too long for one packet; {MAKE} that \
             can"
        ),
        (None, false) => {
            format!("{no_file}, and {}: {MAKE}, or ssh-add FILE loads one", agent.excuse())
        }
    }
}

fn which(several: &[&Held]) -> String {
    let shown =
        |held: &&Held| format!("\n  {} {}", held.fingerprint.as_deref().unwrap_or_default(), held.remark);
    let listed: String = several.iter().map(shown).collect();
    format!(
        "the ssh-agent has several keys that could knock: say which with identity = \"SHA256:...\"{listed}"
    )
}

/// A file of this key in `~/.ssh`; one with the private half before one without.
fn in_ssh_directory(fingerprint: Fingerprint) -> Option<KeyFile> {
    let entries = fs::read_dir(ssh_directory()?).ok()?;
    let mut paths: Vec<_> = entries.flatten().take(MOST_FILES).map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: &PathBuf| KeyFile::read(path).ok().filter(|file| file.is(fingerprint));
    let mut found: Vec<_> = paths.iter().filter_map(read).collect();
    found.sort_by_key(|file| !file.is_whole());
    found.into_iter().next()
}

fn ssh_directory() -> Option<PathBuf> {
    env::home_dir().map(|home| home.join(".ssh"))
}

fn needs_touch(key: &SshKey) -> bool {
    matches!(key.kind(), Supported::SkEd25519 | Supported::SkEcdsaP256)
}

impl Found {
    /// The key.
    pub(crate) const fn key(&self) -> &SshKey {
        &self.key
    }

    /// Makes it ready to sign; a passphrase may be asked for.
    ///
    /// # Errors
    /// Where its file cannot be used; in words.
    pub(crate) fn into_signer(self) -> Result<Signer, String> {
        let by = match self.place {
            Place::Agent(agent, remark) => By::Agent(agent, remark),
            Place::File(file) => By::File(file.path.clone(), Box::new(file.into_private()?)),
        };
        Ok(Signer { key: self.key, by })
    }
}

/// Where it is, as in "your key is …".
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Agent(agent, remark) => write!(f, "in {agent}{}", Remark(remark)),
            Place::File(file) => write!(f, "{}{}", file.path.display(), Remark(&file.remark())),
        }
    }
}

impl Signer {
    /// The key that signs.
    pub(crate) const fn key(&self) -> &SshKey {
        &self.key
    }

    /// Whether somebody has to touch a token for each signature.
    pub(crate) fn needs_touch(&self) -> bool {
        needs_touch(&self.key)
    }

    /// The signature of `text`, as SSH writes it, and right.
    ///
    /// # Errors
    /// Where there is none; in words.
    pub(crate) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let signature = match &self.by {
            By::Agent(agent, remark) => {
                if self.needs_touch() {
                    tell(format!("touch the token of {}{}", self.key.fingerprint(), Remark(remark)));
                }
                agent.sign(&self.key, text, || self.wait())?
            }
            By::File(path, key) => {
                spa::sign(key, text).map_err(|why| format!("{} does not sign: {why}", path.display()))?
            }
        };
        self.key.check(text, &signature).map_err(|why| format!("{self}: {why}"))?;
        Ok(signature)
    }

    fn wait(&self) {
        if !self.needs_touch() {
            tell("waiting for the ssh-agent to sign: it may ask you to confirm");
        }
    }
}

/// Who signs with which key.
impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.key.fingerprint();
        match &self.by {
            By::Agent(agent, remark) => write!(f, "{fingerprint}{} by {agent}", Remark(remark)),
            By::File(path, _) => write!(f, "{fingerprint} by {}", path.display()),
        }
    }
}

/// What is remarked on a key, where something is.
struct Remark<'a>(&'a str);

impl fmt::Display for Remark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}
