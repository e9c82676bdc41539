//! The outside of a packet: its HMAC and its encryption.
//!
//! The cheap comes first. Of a stranger's packet nothing but the HMACs that its length allows is ever calculated: three at
//! most, and one of MD5 only to be able to say so.

use std::ops::RangeInclusive;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use base64ct::{Base64Unpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::{FwknopKeys, Refusal};

/// What clients leave out at the beginning: the base64 of `Salted_` and of the first bits of the second `_`.
const PREFIX: &[u8] = b"U2FsdGVkX1";
/// How many bytes a packet can have; fwknopd's own bounds.
const LENGTHS: RangeInclusive<usize> = 140..=1500;
const BLOCK: usize = 16;
/// The characters of an HMAC in base64.
const MD5: usize = 22;
const SHA1: usize = 27;
const SHA256: usize = 43;
const SHA384: usize = 64;
const SHA512: usize = 86;

/// The text in a packet.
pub(super) fn open(packet: &[u8], keys: &FwknopKeys) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    looks_right(packet)?;
    let text = authentic(packet, keys.hmac())?;
    decrypt(text, keys.cipher()).ok_or(Refusal::Undecipherable)
}

fn looks_right(packet: &[u8]) -> Result<(), Refusal> {
    if !LENGTHS.contains(&packet.len()) {
        return Err(Refusal::Length(packet.len()));
    }
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if let Some(at) = packet.iter().position(|byte| !is_base64(byte)) {
        return Err(Refusal::Alphabet(at));
    }
    if packet.starts_with(PREFIX) {
        return Err(Refusal::Prefixed);
    }
    // The last bits of `_` and the first of the salt; a packet of GnuPG's has the length of a key there.
    if !matches!(packet.first(), Some(b'8' | b'9' | b'+' | b'/')) {
        return Err(Refusal::Gpg);
    }
    Ok(())
}

/// The part of the packet that its HMAC is over.
fn authentic<'a>(packet: &'a [u8], key: &[u8]) -> Result<&'a [u8], Refusal> {
    let fitting = [
        (SHA256, is_over::<Hmac<Sha256>> as fn(&[u8], &[u8], &[u8]) -> bool),
        (SHA384, is_over::<Hmac<Sha384>>),
        (SHA512, is_over::<Hmac<Sha512>>),
    ];
    for (length, is_over) in fitting {
        if let Some((text, hmac)) = split(packet, length)
            && is_over(key, text, hmac)
        {
            return Ok(text);
        }
    }
    Err(why_not_authentic(packet, key))
}

fn why_not_authentic(packet: &[u8], key: &[u8]) -> Refusal {
    if split(packet, SHA1).is_some() {
        return Refusal::Sha1Hmac;
    }
    if split(packet, MD5).is_some_and(|(text, hmac)| is_over::<Hmac<Md5>>(key, text, hmac)) {
        return Refusal::Md5Hmac;
    }
    Refusal::NotAuthentic { without: split(packet, 0).is_some() }
}

/// The packet without its last characters, if what is before them can be whole blocks, and these.
fn split(packet: &[u8], hmac: usize) -> Option<(&[u8], &[u8])> {
    let (text, hmac) = packet.split_at_checked(packet.len().checked_sub(hmac)?)?;
    let characters = PREFIX.len() + text.len();
    let bytes = characters * 3 / 4;
    (bytes.is_multiple_of(BLOCK) && (bytes * 4).div_ceil(3) == characters).then_some((text, hmac))
}

/// Whether this HMAC is that of the text. It takes as long whatever is in it. Bits of its last character that mean
/// nothing must be zero: otherwise the same packet could come in several forms.
fn is_over<M: Mac + KeyInit>(key: &[u8], text: &[u8], hmac: &[u8]) -> bool {
    let mut bytes = [0; SHA512];
    let Ok(hmac) = Base64Unpadded::decode(hmac, &mut bytes) else { return false };
    let Ok(mac) = <M as KeyInit>::new_from_slice(key) else { return false };
    mac.chain_update(PREFIX).chain_update(text).verify_slice(hmac).is_ok()
}

fn decrypt(text: &[u8], key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let whole = str::from_utf8(PREFIX).ok()?.to_owned() + str::from_utf8(text).ok()?;
    let bytes = Base64Unpadded::decode_vec(&whole).ok()?;
    let (salt, blocks) = bytes.strip_prefix(b"Salted__")?.split_first_chunk()?;
    let (key, vector) = key_and_vector(key, salt);
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(&key, &vector).ok()?;
    let mut blocks = Zeroizing::new(blocks.to_vec());
    let length = cipher.decrypt_padded::<Pkcs7>(&mut blocks).ok()?.len();
    blocks.truncate(length);
    Some(blocks)
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round: each hash is over the one before, the key and the salt.
fn key_and_vector(key: &[u8], salt: &[u8; 8]) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
    let next = |before: &[u8]| -> Zeroizing<Vec<u8>> {
        let hash = Md5::new_with_prefix(before).chain_update(key).chain_update(salt);
        Zeroizing::new(hash.finalize().to_vec())
    };
    let first = next(&[]);
    let second = next(&first);
    let vector = next(&second);
    (Zeroizing::new([first.as_slice(), second.as_slice()].concat()), vector)
}
