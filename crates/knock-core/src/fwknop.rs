//! What fwknop's clients send: one UDP datagram that asks for ports, encrypted and with an HMAC over it.
//!
//! ```text
//! datagram      = base64("Salted__", salt, AES-256-CBC(text)), its first ten characters left out; base64(HMAC)
//! text          = random ":" user ":" time ":" version ":" type ":" message [":" timeout] ":" digest
//! ```
//!
//! All base64 is without `=`. Key and initial vector come from `KEY` and the salt as `openssl enc -md md5` makes them. The
//! HMAC is over the characters before it, those that are left out included; which one it is the datagram does not say,
//! only its length.
//!
//! Nothing is decrypted that is not authentic, and only what the clients of fwknop 2.6 send when they are told nothing
//! unusual is accepted: CBC, an HMAC of SHA-256 or longer, a request to open ports.

mod keys;
mod refusal;
mod sealed;
mod text;

#[cfg(test)]
mod sealing;
#[cfg(test)]
mod tests;

pub use keys::{FwknopKeys, KeyFault, KeyFile};
pub use refusal::{Field, Refusal};
pub use text::{Allow, Knock, decode_text};

/// Reads the payload of a UDP datagram.
///
/// What it says of time, address and ports is not judged: whether the time is near, whether the door gives what is asked
/// for, and whether the same was accepted before ([`Knock::identity`]) are the caller's questions.
///
/// # Errors
/// Why it is not accepted, in words for the log. [`Refusal::is_authentic`] tells whether the sender has the HMAC's key.
pub fn decode(packet: &[u8], keys: &FwknopKeys) -> Result<Knock, Refusal> {
    decode_text(&sealed::open(packet, keys)?)
}
