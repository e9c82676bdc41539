//! Files of SSH keys: what is in them, and the private key once it can be used.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use knock_core::spa::{Fingerprint, SshKey, unsupported};
use ssh_key::{HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::passphrase;

/// The largest file that is read, in bytes: OpenSSH's own limit.
const LARGEST: u64 = 1024 * 1024;
/// How often a passphrase is asked for.
const TRIES: usize = 3;

/// A key that a file has, or of which it has the public half.
pub(super) struct KeyFile {
    /// The file of the private half, which may not be there.
    pub(super) path: PathBuf,
    public: PublicKey,
    private: Result<Box<Private>, String>,
}

/// A private key, which may be locked by a passphrase.
struct Private {
    key: PrivateKey,
    /// The rights of its file, where others have some.
    too_open: Option<u32>,
}

/// What is in a file.
enum Content {
    Private(Box<Private>),
    Public(PublicKey),
    /// A private key in a format that is not read here; what to do about it.
    Foreign(String),
}

impl KeyFile {
    /// The key in the file at `path`, which may be the private or the public one; the other half is beside it.
    ///
    /// # Errors
    /// Where there is none; in words.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        match content(path) {
            Ok(Content::Private(private)) => {
                let public = private.key.public_key().clone();
                Ok(Self { path: path.to_owned(), public, private: Ok(private) })
            }
            Ok(Content::Public(public)) => Ok(Self::of_public(path, public)),
            Ok(Content::Foreign(why)) => Self::beside(path, why),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::beside(path, format!("there is no key file {}", path.display()))
            }
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// The public half is in a file of its own, where the private one cannot be read.
    fn beside(path: &Path, why: String) -> Result<Self, String> {
        match content(&with_pub(path)) {
            Ok(Content::Public(public)) => Ok(Self { path: path.to_owned(), public, private: Err(why) }),
            _ => Err(why),
        }
    }

    fn of_public(path: &Path, public: PublicKey) -> Self {
        let private = match without_pub(path) {
            Some(private) => private,
            None => return Self { path: path.to_owned(), public, private: Err("it is a public key".into()) },
        };
        let shown = private.display();
        let found = match content(&private) {
            Ok(Content::Private(found)) if found.key.public_key().key_data() == public.key_data() => {
                Ok(found)
            }
            Ok(Content::Foreign(why)) => Err(why),
            Ok(_) => Err(format!("{shown} is another key than {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("there is no key file {shown}"))
            }
            Err(error) => Err(format!("{shown}: {error}")),
        };
        Self { path: private, public, private: found }
    }

    /// The public half, where it can knock.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn public(&self) -> Result<SshKey, String> {
        let refused = |why| format!("{}: {why}", self.path.display());
        SshKey::new(self.public.key_data().clone()).map_err(refused)
    }

    /// Whether it has this fingerprint, be it able to knock or not.
    pub(super) fn is(&self, fingerprint: Fingerprint) -> bool {
        self.public.fingerprint(HashAlg::Sha256).as_bytes() == fingerprint.0
    }

    /// Whether the private half is there.
    pub(super) fn is_whole(&self) -> bool {
        self.private.is_ok()
    }

    /// What is remarked on it.
    pub(super) fn remark(&self) -> String {
        self.public.comment().to_string().chars().filter(|c| !c.is_control()).collect()
    }

    /// The private half, for which a passphrase may be asked.
    ///
    /// # Errors
    /// Where it is not there, others can read it, or nobody knows the passphrase.
    pub(super) fn into_private(self) -> Result<PrivateKey, String> {
        let private = self.private?;
        let path = self.path.display();
        match private.too_open {
            Some(mode) => Err(format!(
                "others can read {path} (mode {mode:04o}), so that it is no secret: chmod 600 {path}"
            )),
            None if private.key.is_encrypted() => unlock(&private.key, &self.path),
            None => Ok(private.key),
        }
    }
}

/// `id_ed25519.pub` of `id_ed25519`.
fn with_pub(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn without_pub(path: &Path) -> Option<PathBuf> {
    path.extension().is_some_and(|end| end == "pub").then(|| path.with_extension(""))
}

fn unlock(key: &PrivateKey, path: &Path) -> Result<PrivateKey, String> {
    let path = path.display();
    let prompt = format!("Enter passphrase for key '{path}': ");
    let advice = format!("ssh-add {path} has the agent keep it unlocked");
    for _ in 0..TRIES {
        let passphrase =
            passphrase::ask(&prompt).map_err(|why| format!("{path} has a passphrase: {why}; {advice}"))?;
        if passphrase.is_empty() {
            return Err(format!("{path} has a passphrase, and none was given; {advice}"));
        }
        match key.decrypt(passphrase.as_bytes()) {
            Ok(key) => return Ok(key),
            Err(ssh_key::Error::Crypto) => {}
            Err(error) => return Err(format!("{path} cannot be unlocked: {error}")),
        }
    }
    Err(format!("that is not the passphrase of {path}, {TRIES} times"))
}

/// What a file holds; an error for what is no key, too.
fn content(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(no_key("it is no SSH key: no file, or too large for one"));
    }
    // Room for all of it from the start: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.by_ref().take(metadata.len()).read_to_end(&mut bytes)?;
    let text = str::from_utf8(&bytes).map_err(|_| no_key("it is no SSH key"))?.trim_start();
    if text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
        return match PrivateKey::from_openssh(text) {
            Ok(key) => Ok(Content::Private(Private { key, too_open: too_open(&metadata) }.into())),
            Err(error) => Err(no_key(&unreadable(&error))),
        };
    }
    if let Some(what) = foreign(text, path) {
        return Ok(Content::Foreign(what));
    }
    let line = text.lines().next().unwrap_or_default();
    PublicKey::from_openssh(line).map(Content::Public).map_err(|error| no_key(&unreadable(&error)))
}

fn no_key(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn unreadable(error: &ssh_key::Error) -> String {
    match error {
        ssh_key::Error::AlgorithmUnsupported { algorithm } => {
            unsupported(algorithm).unwrap_or_else(|| format!("it is no SSH key: {error}"))
        }
        _ => format!("it is no SSH key: {error}"),
    }
}

fn foreign(text: &str, path: &Path) -> Option<String> {
    let path = path.display();
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("-----BEGIN ") && first.contains("PRIVATE KEY") {
        return Some(format!("{path} is in an old format: ssh-keygen -p -f {path} writes it in OpenSSH's"));
    }
    first.starts_with("PuTTY-User-Key-File").then(|| {
        format!("{path} is in PuTTY's format: puttygen {path} -O private-openssh-new -o FILE writes it in OpenSSH's")
    })
}

/// As ssh judges it: a file of the user's own that others have rights to.
#[cfg(unix)]
fn too_open(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    const OTHERS: u32 = 0o077;
    let mode = metadata.mode() & 0o7777;
    let is_own = metadata.uid() == rustix::process::getuid().as_raw();
    (is_own && mode & OTHERS != 0).then_some(mode)
}

/// A user's files are their own there.
#[cfg(not(unix))]
const fn too_open(_: &fs::Metadata) -> Option<u32> {
    None
}
