//! Packets as fwknop's clients make them, for tests and for the fuzzer: not compiled into any program.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeEncrypt, KeyIvInit};
use base64ct::{Base64Unpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

/// What clients leave out.
pub(super) const PREFIX: &str = "U2FsdGVkX1";

/// The text with its SHA-256.
pub(super) fn digested(content: &str) -> String {
    format!("{content}:{}", Base64Unpadded::encode_string(&Sha256::digest(content)))
}

/// A packet without HMAC that has this text in it.
pub(super) fn encrypted(text: &[u8], key: &[u8], salt: [u8; 8]) -> String {
    let mut material = Vec::new();
    let mut last = Vec::new();
    while material.len() < 48 {
        last = Md5::new().chain_update(&last).chain_update(key).chain_update(salt).finalize().to_vec();
        material.extend(&last);
    }
    let cipher = cbc::Encryptor::<Aes256>::new_from_slices(&material[..32], &material[32..]).unwrap();
    let mut blocks = [text, &[0; 16]].concat();
    let blocks = cipher.encrypt_padded::<Pkcs7>(&mut blocks, text.len()).unwrap();
    let whole = Base64Unpadded::encode_string(&[&b"Salted__"[..], &salt, blocks].concat());
    whole.strip_prefix(PREFIX).unwrap().to_owned()
}

/// The packet with its HMAC.
pub(super) fn authenticated<M: Mac + KeyInit>(packet: &str, key: &[u8]) -> String {
    let mac = <M as KeyInit>::new_from_slice(key).unwrap().chain_update(PREFIX).chain_update(packet);
    packet.to_owned() + &Base64Unpadded::encode_string(&mac.finalize().into_bytes())
}

/// A whole packet, with an HMAC of SHA-256.
pub(super) fn sealed(text: &[u8], key: &[u8], hmac_key: &[u8]) -> String {
    authenticated::<Hmac<Sha256>>(&encrypted(text, key, *b"saltsalt"), hmac_key)
}
