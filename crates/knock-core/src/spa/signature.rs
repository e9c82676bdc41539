//! SSH keys and their signatures (`PROTOCOL.sshsig`, RFC 8709, RFC 5656, `PROTOCOL.u2f`).

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64Unpadded, Encoding as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use signature::{Signer as _, Verifier as _};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey, Signature, SshSig};

/// The namespace of our signatures: no other program takes them for its own.
pub const NAMESPACE: &str = "knock@toctoc";

/// SHA-256 of a public key as SSH writes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(
    /// The hash.
    pub [u8; 32],
);

/// As `ssh-keygen -l` shows it.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", Base64Unpadded::encode_string(&self.0))
    }
}

/// What is shown; the error says what was expected.
impl FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a fingerprint as ssh-keygen -l shows it: SHA256: and 43 characters";
        let hash = text.strip_prefix("SHA256:").ok_or(EXPECTED)?;
        let mut bytes = [0; 32];
        let decoded = Base64Unpadded::decode(hash, &mut bytes).map_err(|_| EXPECTED)?;
        if decoded.len() == 32 { Ok(Self(bytes)) } else { Err(EXPECTED) }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A public key that can sign a knock.
#[derive(Clone, PartialEq, Eq)]
pub struct SshKey {
    data: KeyData,
    fingerprint: Fingerprint,
}

/// What a knock can be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supported {
    /// `ssh-ed25519`.
    Ed25519,
    /// `ecdsa-sha2-nistp256`.
    EcdsaP256,
    /// `sk-ssh-ed25519@openssh.com`: a FIDO token has it.
    SkEd25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`: likewise.
    SkEcdsaP256,
}

/// Why a key of this algorithm cannot sign knocks, and what to do instead; `None` where it can.
pub fn unsupported(algorithm: &Algorithm) -> Option<String> {
    let what = match algorithm {
        Algorithm::Ed25519 | Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => return None,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => return None,
        Algorithm::Rsa { .. } => "RSA keys cannot knock, their signatures are too long for one packet".into(),
        other => format!("{} keys cannot knock", other.as_str()),
    };
    Some(format!("{what}: make another with ssh-keygen -t ed25519"))
}

/// That it is a key with which somebody, and not everybody, can sign.
fn check_point(data: &KeyData) -> Result<(), String> {
    let usable = match data {
        KeyData::Ed25519(key) => is_strong(&key.0),
        KeyData::SkEd25519(key) => is_strong(&key.public_key().0),
        KeyData::Ecdsa(key) => is_on_curve(key.as_sec1_bytes()),
        KeyData::SkEcdsaSha2NistP256(key) => is_on_curve(key.ec_point().as_bytes()),
        _ => false,
    };
    if usable { Ok(()) } else { Err("its numbers are no key that ssh-keygen makes".into()) }
}

/// A key of small order has signatures that anybody can make.
fn is_strong(key: &[u8; 32]) -> bool {
    ed25519_dalek::VerifyingKey::from_bytes(key).is_ok_and(|key| !key.is_weak())
}

/// The same point can be written shorter: it would be the same key with another fingerprint, which SSH does not know.
fn is_on_curve(point: &[u8]) -> bool {
    point.first() == Some(&4) && p256::PublicKey::from_sec1_bytes(point).is_ok()
}

impl SshKey {
    /// This key.
    ///
    /// # Errors
    /// Where it cannot sign knocks; in words.
    pub fn new(data: KeyData) -> Result<Self, String> {
        if data.is_certificate() {
            return Err("certificates cannot knock: name the key itself".into());
        }
        if let Some(why) = unsupported(&data.algorithm()) {
            return Err(why);
        }
        check_point(&data)?;
        let bytes = PublicKey::from(data.clone()).to_bytes().map_err(|error| error.to_string())?;
        Ok(Self { data, fingerprint: Fingerprint(Sha256::digest(bytes).into()) })
    }

    /// The key in SSH's binary form (RFC 4253, section 6.6).
    ///
    /// # Errors
    /// As [`SshKey::new`], and where it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let key = PublicKey::from_bytes(bytes).map_err(|error| error.to_string())?;
        Self::new(KeyData::from(key))
    }

    /// SSH's binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        // It was encoded before.
        PublicKey::from(self.data.clone()).to_bytes().unwrap_or_default()
    }

    /// Its hash.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Which kind it is.
    pub const fn kind(&self) -> Supported {
        match &self.data {
            KeyData::SkEd25519(_) => Supported::SkEd25519,
            KeyData::SkEcdsaSha2NistP256(_) => Supported::SkEcdsaP256,
            KeyData::Ecdsa(_) => Supported::EcdsaP256,
            _ => Supported::Ed25519,
        }
    }

    /// Whether a knock with this signature of this text would be taken for this key's: to be asked before it is sent.
    ///
    /// # Errors
    /// What is wrong with the signature, in words.
    pub fn check(&self, text: &[u8], signature: &[u8]) -> Result<(), String> {
        let read = Signature::try_from(signature)
            .map_err(|error| format!("the signature is not written as SSH writes one: {error}"))?;
        let (found, expected) = (read.algorithm(), self.data.algorithm());
        if found != expected {
            let (found, expected) = (found.as_str(), expected.as_str());
            return Err(format!("it was signed as {found}, but the key signs as {expected}"));
        }
        match self.has_signed(text, signature) {
            Some(_) => Ok(()),
            None => Err("the signature is not one of this key".into()),
        }
    }

    /// Whether this key has made this signature of this text; what a token says beside it.
    pub(super) fn has_signed(&self, text: &[u8], signature: &[u8]) -> Option<Token> {
        let read = Signature::try_from(signature).ok()?;
        // One signature is written in one way only.
        if Vec::try_from(read.clone()).ok()? != signature || read.algorithm() != self.data.algorithm() {
            return None;
        }
        self.data.verify(text, &read).ok()?;
        Some(match self.kind() {
            Supported::SkEd25519 | Supported::SkEcdsaP256 => Token::of(&read),
            Supported::Ed25519 | Supported::EcdsaP256 => Token { touched: true, verified: true },
        })
    }
}

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshKey({})", self.fingerprint)
    }
}

impl Serialize for SshKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SshKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(&Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What a FIDO token says of how it came to sign (`PROTOCOL.u2f`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// Somebody touched it.
    pub(super) touched: bool,
    /// It knew whom by: a PIN or a finger.
    pub(super) verified: bool,
}

impl Token {
    fn of(signature: &Signature) -> Self {
        const TOUCHED: u8 = 0x01;
        const VERIFIED: u8 = 0x04;
        const TRAILER: usize = 5;
        let bytes = signature.as_bytes();
        let flags = bytes.len().checked_sub(TRAILER).and_then(|at| bytes.get(at)).copied().unwrap_or(0);
        Self { touched: flags & TOUCHED != 0, verified: flags & VERIFIED != 0 }
    }
}

/// Signs what [`Sealing::to_sign`](super::Sealing::to_sign) says with a key at hand, as an agent would.
///
/// # Errors
/// Where the key cannot: a token's cannot sign by itself. In words.
pub fn sign(key: &PrivateKey, text: &[u8]) -> Result<Vec<u8>, String> {
    let signature = key.try_sign(text).map_err(|error| error.to_string())?;
    Vec::try_from(signature).map_err(|error| error.to_string())
}

/// The blob that SSH signs for a text (`PROTOCOL.sshsig`).
pub(super) fn enveloped(namespace: &str, text: &[u8]) -> Vec<u8> {
    // It fails without a namespace only.
    SshSig::signed_data_for_prehash(namespace, HashAlg::Sha512, &Sha512::digest(text)).unwrap_or_default()
}
