//! Users with keys of each kind, and their knocks.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use knock_core::spa::{Address, HostPublicKey, LENGTH, Request, Sealing, SshKey, Supported, sign};
use p256::SecretKey;
use sha2::{Digest as _, Sha256};
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, KeypairData};
use ssh_key::public::{EcdsaPublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{PrivateKey, PublicKey, Signature};

/// What tokens call SSH.
const APPLICATION: &str = "ssh:";
/// What a token says beside its signature: it was touched, and has signed five times.
const SAID: [u8; 5] = [1, 0, 0, 0, 5];

/// A user with a key of their own; of a token what is in it.
pub(super) struct User {
    key: PrivateKey,
    public: PublicKey,
    known: SshKey,
}

impl User {
    /// With a key of this kind, another one for each number.
    pub(super) fn new(kind: Supported, number: u16) -> io::Result<Self> {
        let [high, low] = number.to_be_bytes();
        let mut seed = [0x11; 32];
        [seed[30], seed[31]] = [high, low];
        let name = format!("user{number}");
        let key = PrivateKey::new(pair(kind, &seed)?, name.as_str()).map_err(io::Error::other)?;
        let data = match (kind, key.public_key().key_data().clone()) {
            (Supported::SkEd25519, KeyData::Ed25519(key)) => {
                KeyData::SkEd25519(SkEd25519::new(key, APPLICATION))
            }
            (Supported::SkEcdsaP256, KeyData::Ecdsa(EcdsaPublicKey::NistP256(point))) => {
                KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(point, APPLICATION))
            }
            (_, data) => data,
        };
        let known = SshKey::new(data.clone()).map_err(io::Error::other)?;
        Ok(Self { key, public: PublicKey::new(data, name), known })
    }

    /// The line in a file of keys.
    pub(super) fn line(&self) -> io::Result<String> {
        Ok(self.public.to_openssh().map_err(io::Error::other)? + "\n")
    }

    /// What the user asks for at the door, now.
    pub(super) fn request(&self, door: &str) -> Request {
        let address = Address::Source;
        Request { time: now(), lasts: None, address, door: door.into(), key: self.known.fingerprint() }
    }

    /// A knock at the door, now.
    pub(super) fn knock(&self, door: &str, host: &HostPublicKey) -> io::Result<[u8; LENGTH]> {
        let sealing = Sealing::begin(&self.request(door), host, random()).map_err(io::Error::other)?;
        let signature = self.sign(&sealing.to_sign())?;
        sealing.finish(&signature).map_err(io::Error::other)
    }

    /// A knock at the door that is signed by somebody else.
    pub(super) fn forged(
        &self,
        door: &str,
        host: &HostPublicKey,
        signature: &[u8],
    ) -> io::Result<[u8; LENGTH]> {
        let sealing = Sealing::begin(&self.request(door), host, random()).map_err(io::Error::other)?;
        sealing.finish(signature).map_err(io::Error::other)
    }

    /// A signature of this text, as SSH writes it.
    pub(super) fn sign(&self, text: &[u8]) -> io::Result<Vec<u8>> {
        if !matches!(self.known.kind(), Supported::SkEd25519 | Supported::SkEcdsaP256) {
            return sign(&self.key, text).map_err(io::Error::other);
        }
        let signed = [&Sha256::digest(APPLICATION)[..], &SAID, &Sha256::digest(text)].concat();
        let signature = sign(&self.key, &signed).map_err(io::Error::other)?;
        let inner = Signature::try_from(&signature[..]).map_err(io::Error::other)?;
        let algorithm = self.public.algorithm();
        let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
        Ok([&string(algorithm.as_str().as_bytes())[..], &string(inner.as_bytes()), &SAID].concat())
    }
}

fn pair(kind: Supported, seed: &[u8; 32]) -> io::Result<KeypairData> {
    Ok(match kind {
        Supported::EcdsaP256 | Supported::SkEcdsaP256 => {
            let private = SecretKey::from_slice(seed).map_err(io::Error::other)?;
            let public = private.public_key().into();
            KeypairData::Ecdsa(EcdsaKeypair::NistP256 { public, private: private.into() })
        }
        _ => KeypairData::Ed25519(Ed25519Keypair::from_seed(seed)),
    })
}

/// Nanoseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that no knock before had: nobody else is to be surprised by them here.
fn random() -> [u8; 32] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Sha256::new().chain_update(now().to_be_bytes()).chain_update(number).finalize().into()
}
