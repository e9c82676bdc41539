//! The server's knock key: what knocks are sealed to.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use blake2::{Blake2s256, Digest as _};
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, Serializable as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::datagram::check_public;

/// What the file's one line begins with.
const WORD: &str = "toctoc-knock-key";
/// Makes a gate's key of a public key.
const GATE_LABEL: &[u8] = b"toctoc gate v1";

/// The private half: whoever has it can read who knocks and what for, and can open nothing with that.
#[derive(Clone)]
pub struct HostKey {
    private: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: HostPublicKey,
}

/// The public half, which clients have. It is no secret, but whoever does not have it costs the server no more than a
/// hash: it need not be published.
#[derive(Clone, PartialEq, Eq)]
pub struct HostPublicKey {
    bytes: [u8; 32],
    gate: [u8; 32],
}

/// What should be a key and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKey(
    /// What was found and what was expected.
    pub &'static str,
);

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadKey {}

impl HostKey {
    /// The key made of 32 random bytes (`DeriveKeyPair` of RFC 9180, section 7.1.3).
    pub fn from_random(random: &[u8; 32]) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(random);
        Self { public: HostPublicKey::new(public.to_bytes().into()), private }
    }

    /// The key of these 32 bytes, a scalar of X25519 (RFC 7748).
    ///
    /// # Errors
    /// Where these are no key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(bytes)
            .map_err(|_| BadKey("these 32 bytes are no X25519 key"))?;
        let public = X25519HkdfSha256::sk_to_pk(&private);
        Ok(Self { public: HostPublicKey::new(public.to_bytes().into()), private })
    }

    /// Reads the key's file: one line, `toctoc-knock-key` and the key in base64url; remarks begin with `#`.
    ///
    /// # Errors
    /// Where it holds anything else. No message quotes what is in it.
    pub fn from_text(text: &str) -> Result<Self, BadKey> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(BadKey("expected one line with the word toctoc-knock-key and a key"));
        };
        let key = line.strip_prefix(WORD).filter(|rest| rest.starts_with(char::is_whitespace));
        let Some(key) = key else { return Err(BadKey("expected a line that begins with toctoc-knock-key")) };
        let key = decoded(key.trim())?;
        Self::from_bytes(&key)
    }

    /// What [`HostKey::from_text`] reads.
    pub fn to_text(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(Base64UrlUnpadded::encode_string(&*self.to_bytes()));
        Zeroizing::new(format!("{WORD} {}\n", *key))
    }

    /// The private key's bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.private.to_bytes().into())
    }

    /// The public half.
    pub const fn public(&self) -> &HostPublicKey {
        &self.public
    }

    pub(super) const fn private(&self) -> &<X25519HkdfSha256 as Kem>::PrivateKey {
        &self.private
    }
}

/// The private half is not shown.
impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostKey").field(&self.public).finish_non_exhaustive()
    }
}

impl PartialEq for HostKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for HostKey {}

/// Its private bytes, for the process that opens knocks.
impl Serialize for HostKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HostKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Zeroizing::new(<[u8; 32]>::deserialize(deserializer)?);
        Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

impl HostPublicKey {
    /// The key of these bytes (RFC 7748).
    pub fn new(bytes: [u8; 32]) -> Self {
        let gate = Blake2s256::new().chain_update(GATE_LABEL).chain_update(bytes).finalize().into();
        Self { bytes, gate }
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The key of the gate that stands before all knocks to this server.
    pub(super) const fn gate_key(&self) -> &[u8; 32] {
        &self.gate
    }
}

/// 43 characters of base64url (RFC 4648, section 5).
impl fmt::Display for HostPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64UrlUnpadded::encode_string(&self.bytes))
    }
}

impl fmt::Debug for HostPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostPublicKey({self})")
    }
}

impl FromStr for HostPublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let key = decoded(text)?;
        check_public(&key)?;
        Ok(Self::new(*key))
    }
}

fn decoded(text: &str) -> Result<Zeroizing<[u8; 32]>, BadKey> {
    const EXPECTED: BadKey = BadKey("expected a key of 43 characters: letters, digits, - and _");
    let mut bytes = Zeroizing::new([0; 32]);
    let decoded = Base64UrlUnpadded::decode(text, bytes.as_mut()).map_err(|_| EXPECTED)?;
    if decoded.len() != 32 {
        return Err(EXPECTED);
    }
    Ok(bytes)
}
