//! The two keys of a door for fwknop's clients, as fwknop writes them.

use std::fmt;

use base64ct::{Base64Unpadded, Encoding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What libfko takes at most, in bytes.
const LONGEST_KEY: usize = 32;
const LONGEST_HMAC_KEY: usize = 128;
/// What access.conf says as long as nobody has put a key there.
const PLACEHOLDER: &str = "__CHANGEME__";

/// The keys that one door shares with its clients: that of the cipher and that of the HMAC. They are wiped from memory
/// when they are dropped, and are in no debug output.
pub struct FwknopKeys {
    cipher: Zeroizing<Vec<u8>>,
    hmac: Zeroizing<Vec<u8>>,
}

impl FwknopKeys {
    /// Reads the keys from the content of two files, that of `fwknop_key` and that of `fwknop_hmac`.
    ///
    /// A key stands as fwknop itself writes it in `access.conf` and `~/.fwknoprc`: `KEY_BASE64: …` or `KEY: …` in the one
    /// file, `HMAC_KEY_BASE64: …` or `HMAC_KEY: …` in the other; the colon may be missing. Lines of the other file's key
    /// are passed over, so that both may be the one file that `fwknop --key-gen-file` makes; so are empty lines and
    /// those that begin with `#`. What follows `KEY:` is the passphrase itself, in UTF-8. Where fwknop's client and
    /// fwknopd read a passphrase differently (after white space, `;` or `#`), it must be given in base64.
    ///
    /// # Errors
    /// Whatever else stands there, no key, two keys, and a key that is longer than fwknop's clients can have (32 bytes;
    /// of the HMAC 128).
    pub fn parse(key_file: &[u8], hmac_file: &[u8]) -> Result<Self, KeyFault> {
        Ok(Self {
            cipher: find(key_file, KeyFile::Key, LONGEST_KEY)?,
            hmac: find(hmac_file, KeyFile::Hmac, LONGEST_HMAC_KEY)?,
        })
    }

    /// Names this pair of keys where it must be told from others, without being them.
    ///
    /// Who reads it can try out passphrases against it, as with any packet: it is not for everybody's eyes.
    pub fn identity(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(b"toctoc fwknop keys v1\0");
        for key in [&self.cipher, &self.hmac] {
            hash.update((key.len() as u64).to_be_bytes());
            hash.update(key.as_slice());
        }
        hash.finalize().into()
    }

    pub(super) fn cipher(&self) -> &[u8] {
        &self.cipher
    }

    pub(super) fn hmac(&self) -> &[u8] {
        &self.hmac
    }
}

impl fmt::Debug for FwknopKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FwknopKeys").finish_non_exhaustive()
    }
}

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFile {
    /// That of `fwknop_key`.
    Key,
    /// That of `fwknop_hmac`.
    Hmac,
}

impl KeyFile {
    /// The directive of knockd.conf that names it.
    pub const fn directive(self) -> &'static str {
        match self {
            Self::Key => "fwknop_key",
            Self::Hmac => "fwknop_hmac",
        }
    }

    /// What its key is called in fwknop's files; with `_BASE64` behind it when it is in base64.
    const fn name(self) -> &'static str {
        match self {
            Self::Key => "KEY",
            Self::Hmac => "HMAC_KEY",
        }
    }
}

/// Why a file has no key that can be used. Nothing of the file's content is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFault {
    /// Which file it is.
    pub file: KeyFile,
    /// The line, counted from one, where one line is to blame.
    pub line: Option<usize>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NotText,
    Other,
    Missing,
    Twice,
    Empty,
    Placeholder,
    Ambiguous,
    NotBase64,
    TooLong { found: usize, longest: usize },
}

impl std::error::Error for KeyFault {}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        let name = self.file.name();
        match self.fault {
            Fault::NotText => {
                f.write_str("found bytes that are not UTF-8, expected a line of text as below: ")?
            }
            Fault::Other => f.write_str("found something else than a key: ")?,
            Fault::Missing => f.write_str("found no key: ")?,
            Fault::Twice => {
                return write!(f, "found a second key, expected one: remove all but one {name} line");
            }
            Fault::Empty => f.write_str("found no key behind the name: ")?,
            Fault::Placeholder => {
                write!(f, "found {PLACEHOLDER}, which stands for a key that is yet to be made: ")?;
            }
            Fault::Ambiguous => {
                return write!(
                    f,
                    "found white space, ';' or '#' in the passphrase, which fwknop and fwknopd read differently: \
                     write \"{name}_BASE64: \" and what \"base64 -w0\" makes of the passphrase, here and in ~/.fwknoprc"
                );
            }
            Fault::NotBase64 => {
                return write!(
                    f,
                    "what is behind {name}_BASE64 is not base64: copy the whole line again, or, if it is a passphrase, \
                     call it {name}"
                );
            }
            Fault::TooLong { found, longest } => {
                return write!(f, "found a key of {found} bytes, expected at most {longest}, as fwknop does");
            }
        }
        write!(f, "expected \"{name}_BASE64: \" or \"{name}: \" and the key; \"fwknop --key-gen\" makes one")
    }
}

fn find(content: &[u8], file: KeyFile, longest: usize) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let fault = |line, fault| KeyFault { file, line, fault };
    let text = str::from_utf8(content).map_err(|_| fault(None, Fault::NotText))?;
    let mut found = None;
    for (number, line) in (1..).zip(text.lines()) {
        let fault = |kind| fault(Some(number), kind);
        let Some((name, value)) = assignment(line) else { continue };
        let Some((of, base64)) = meaning(name) else { return Err(fault(Fault::Other)) };
        if of == file {
            let key = value_of(value, base64, longest).map_err(fault)?;
            if found.replace(key).is_some() {
                return Err(fault(Fault::Twice));
            }
        }
    }
    found.ok_or(fault(None, Fault::Missing))
}

/// A line's name, without the colon, and what is behind it; nothing of empty lines and remarks.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (name, value) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((line, ""));
    Some((name.strip_suffix(':').unwrap_or(name), value.trim_ascii_start()))
}

/// Whose key it is, and whether it is in base64.
fn meaning(name: &str) -> Option<(KeyFile, bool)> {
    let (plain, base64) = name.strip_suffix("_BASE64").map_or((name, false), |plain| (plain, true));
    let file = [KeyFile::Key, KeyFile::Hmac].into_iter().find(|file| file.name() == plain)?;
    Some((file, base64))
}

fn value_of(value: &str, base64: bool, longest: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    match value {
        "" => return Err(Fault::Empty),
        PLACEHOLDER => return Err(Fault::Placeholder),
        _ => {}
    }
    let key = Zeroizing::new(if base64 { from_base64(value)? } else { from_passphrase(value)? });
    match key.len() {
        0 => Err(Fault::Empty),
        found if found > longest => Err(Fault::TooLong { found, longest }),
        _ => Ok(key),
    }
}

fn from_base64(value: &str) -> Result<Vec<u8>, Fault> {
    Base64Unpadded::decode_vec(value.trim_end_matches('=')).map_err(|_| Fault::NotBase64)
}

fn from_passphrase(value: &str) -> Result<Vec<u8>, Fault> {
    let ends_it = |c: char| c.is_ascii_whitespace() || c.is_control() || c == ';' || c == '#';
    if value.contains(ends_it) {
        return Err(Fault::Ambiguous);
    }
    Ok(value.as_bytes().to_vec())
}
