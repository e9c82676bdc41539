//! The 320 bytes: a gate, an encapsulated key, and what is sealed with it.

use std::convert::Infallible;
use std::fmt;

use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput as _, KeyInit as _, Update as _};
use hpke::aead::{AeadCtxS, AeadTag, ChaCha20Poly1305};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::host_key::{BadKey, HostKey, HostPublicKey};
use super::request::{self, CONTENT, Malformed, Request, SIGNED};
use super::signature::{NAMESPACE, enveloped};

/// How long every knock is, in bytes.
pub const LENGTH: usize = GATE + ENCAPSULATED + CONTENT + TAG;
const GATE: usize = 16;
const ENCAPSULATED: usize = 32;
const TAG: usize = 16;

/// What the sealing is bound to (`info` of RFC 9180).
const INFO: &[u8] = b"toctoc knock v1";
/// What every signed text begins with.
const LABEL: &[u8] = b"toctoc knock v1";

/// Whether this may be a knock at this server: it is as long as one, and its gate is right. It costs one hash, and
/// whoever does not know the server's public key does not get past.
pub fn passes_gate(datagram: &[u8], host: &HostPublicKey) -> bool {
    let Some((written, rest)) = datagram.split_first_chunk::<GATE>() else { return false };
    datagram.len() == LENGTH && bool::from(gate(rest, host).ct_eq(written))
}

/// The gate before these bytes: BLAKE2s of 16 bytes, keyed (RFC 7693).
pub fn gate(rest: &[u8], host: &HostPublicKey) -> [u8; GATE] {
    // A key of 32 bytes is one that BLAKE2s takes.
    let Ok(mut mac) = Blake2sMac::<U16>::new_from_slice(host.gate_key()) else { return [0; GATE] };
    mac.update(rest);
    mac.finalize_fixed().into()
}

/// What was sealed, opened: nobody knows yet who has sealed it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The encapsulated key, another one in each knock.
    pub encapsulated: [u8; ENCAPSULATED],
    content: Vec<u8>,
}

/// Who knocks, and what for, stands in it.
impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened(..)")
    }
}

/// It passes the gate but was not sealed to this server, or was changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsealed;

/// The encapsulated key of a knock, by which it is known again before it is opened.
pub fn encapsulated(datagram: &[u8]) -> Option<&[u8; ENCAPSULATED]> {
    datagram.get(GATE..)?.first_chunk()
}

/// Opens what has passed the gate.
///
/// # Errors
/// Where it was not sealed to this key, or not like this.
pub fn open(datagram: &[u8], host: &HostKey) -> Result<Opened, Unsealed> {
    let datagram: &[u8; LENGTH] = datagram.try_into().map_err(|_| Unsealed)?;
    let (_, rest) = datagram.split_first_chunk::<GATE>().ok_or(Unsealed)?;
    let (encapsulated, sealed) = rest.split_first_chunk::<ENCAPSULATED>().ok_or(Unsealed)?;
    let (sealed, tag) = sealed.split_last_chunk::<TAG>().ok_or(Unsealed)?;
    let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| Unsealed)?;
    let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(tag).map_err(|_| Unsealed)?;
    let mut content = sealed.to_vec();
    hpke::single_shot_open_inout_detached::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        host.private(),
        &key,
        INFO,
        InOutBuf::from(content.as_mut_slice()),
        &[],
        &tag,
    )
    .map_err(|_| Unsealed)?;
    Ok(Opened { encapsulated: *encapsulated, content })
}

impl Opened {
    /// What somebody claims to want, and the signature under it.
    ///
    /// # Errors
    /// Where it is nothing that a client writes.
    pub fn read(&self) -> Result<(Request, &[u8]), Malformed> {
        request::read(&self.content)
    }

    /// What the signature is of.
    pub(super) fn signed(&self, host: &HostPublicKey) -> Vec<u8> {
        let request = self.content.get(..SIGNED).unwrap_or_default();
        signed(host, &self.encapsulated, request)
    }

    /// As if it had been made by a client and opened: to try what is behind the seal.
    #[doc(hidden)]
    pub fn of(
        encapsulated: [u8; ENCAPSULATED],
        request: &Request,
        signature: &[u8],
    ) -> Result<Self, Malformed> {
        let content = request::content(&request.to_bytes()?, signature)?;
        Ok(Self { encapsulated, content: content.to_vec() })
    }

    /// As if it had been opened: likewise.
    #[doc(hidden)]
    pub fn unchecked(encapsulated: [u8; ENCAPSULATED], content: Vec<u8>) -> Self {
        Self { encapsulated, content }
    }
}

/// What is signed: the request, bound to this server and to this one datagram.
fn signed(host: &HostPublicKey, encapsulated: &[u8; ENCAPSULATED], request: &[u8]) -> Vec<u8> {
    let message = [LABEL, host.bytes(), encapsulated, request].concat();
    enveloped(NAMESPACE, &message)
}

type Sender = AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;

const UNUSABLE: &str = "nothing can be sealed to the server's key: it is no X25519 key";

/// A secret for the owner of this public key, and what tells it to them; `None` where everybody could work it out.
fn encapsulate(host: &[u8; 32], random: [u8; 32]) -> Option<([u8; ENCAPSULATED], Sender)> {
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(host).ok()?;
    let mut random = Once(random);
    let (encapsulated, context) =
        hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &key,
            INFO,
            &mut random,
        )
        .ok()?;
    Some((encapsulated.to_bytes().into(), context))
}

/// That something can be sealed to this public key, and that it is written as its owner writes it: otherwise they could
/// not open it.
pub(super) fn check_public(key: &[u8; 32]) -> Result<(), BadKey> {
    let [first, middle @ .., last] = key;
    let is_reduced =
        *last < 0x7f || *last == 0x7f && (*first < 0xed || middle.iter().any(|byte| *byte != 0xff));
    let usable = is_reduced && encapsulate(key, [1; 32]).is_some();
    if usable { Ok(()) } else { Err(BadKey(UNUSABLE)) }
}

/// A knock that is being made: its key is chosen, and the request is to be signed.
pub struct Sealing<'a> {
    host: &'a HostPublicKey,
    encapsulated: [u8; ENCAPSULATED],
    context: Sender,
    request: [u8; SIGNED],
}

impl<'a> Sealing<'a> {
    /// Begins a knock with this request, with 32 random bytes that are never used again.
    ///
    /// # Errors
    /// Where the request is one that no server reads as it is meant, or nothing can be sealed to the server's key.
    pub fn begin(request: &Request, host: &'a HostPublicKey, random: [u8; 32]) -> Result<Self, Malformed> {
        let request = request.to_bytes()?;
        let (encapsulated, context) = encapsulate(host.bytes(), random).ok_or(Malformed(UNUSABLE))?;
        Ok(Self { host, encapsulated, context, request })
    }

    /// What the user's SSH key is to sign: the blob of `PROTOCOL.sshsig`, ready for `ssh-agent`.
    pub fn to_sign(&self) -> Vec<u8> {
        signed(self.host, &self.encapsulated, &self.request)
    }

    /// The knock, with the signature as SSH writes it: a string with the algorithm, and what belongs to it.
    ///
    /// # Errors
    /// Where the signature does not fit: RSA's do not.
    pub fn finish(self, signature: &[u8]) -> Result<[u8; LENGTH], Malformed> {
        let content = request::content(&self.request, signature)?;
        self.seal(content)
    }

    pub(super) fn seal(mut self, mut content: [u8; CONTENT]) -> Result<[u8; LENGTH], Malformed> {
        let buffer = InOutBuf::from(content.as_mut_slice());
        let tag =
            self.context.seal_inout_detached(buffer, &[]).map_err(|_| Malformed("it cannot be sealed"))?;
        let rest = [&self.encapsulated[..], &content, &tag.to_bytes()].concat();
        let datagram = [&gate(&rest, self.host)[..], &rest].concat();
        datagram.try_into().map_err(|_| Malformed("it is not as long as it should be"))
    }
}

/// Random bytes that were drawn before, handed out once.
struct Once([u8; 32]);

impl TryRng for Once {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for (byte, random) in out.iter_mut().zip(&mut self.0) {
            *byte = std::mem::take(random);
        }
        Ok(())
    }
}

impl TryCryptoRng for Once {}
