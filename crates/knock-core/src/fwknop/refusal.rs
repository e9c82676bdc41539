//! Why a packet is not accepted.

use std::fmt;

/// Why a packet is not accepted. As text, it is in words for the log; nothing secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its length, in bytes, is none that a packet can have.
    Length(usize),
    /// It has a byte that is not of base64's alphabet; here is its place, from zero.
    Alphabet(usize),
    /// It begins with what clients leave out. It may be an accepted packet with that put back, so that it looks new.
    Prefixed,
    /// It does not begin as AES does in fwknop's packets; with GnuPG it would begin so.
    Gpg,
    /// Its length is that of a packet with an HMAC of SHA-1, and of no other.
    Sha1Hmac,
    /// Its HMAC fits, but is one of MD5.
    Md5Hmac,
    /// No HMAC with the door's key fits.
    NotAuthentic {
        /// Whether its length is also that of a packet without HMAC.
        without: bool,
    },
    /// The HMAC fits, but decrypted with the door's key it is no text of fwknop's.
    Undecipherable,
    /// The digest in it is of this kind, which is too weak.
    WeakDigest(&'static str),
    /// The digest in it is not that of the text.
    WrongDigest,
    /// It is of another version of the protocol: this one, as far as it is readable.
    Version(String),
    /// It is a command to run.
    Command,
    /// It asks for a way through to another host or another port.
    Nat,
    /// It has the password of a server, which fwknop's own clients never send.
    ServerAuth,
    /// It asks for something else than a port of TCP or UDP.
    Protocol(String),
    /// This field has something in it that fwknop's clients do not write there.
    Malformed(Field),
}

/// A field of the decrypted text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The random number of 16 digits.
    Random,
    /// Who the client says that it is.
    User,
    /// Seconds since 1970.
    Time,
    /// What kind of message it is.
    Type,
    /// The address and the ports.
    Message,
    /// For how long, in seconds.
    Timeout,
    /// The hash of what is before it.
    Digest,
}

impl Refusal {
    /// Whether an HMAC with the door's key is over the packet: then somebody who has the key means well, and wants to
    /// read why nothing opens; otherwise anybody in the world may have sent it.
    pub const fn is_authentic(&self) -> bool {
        !matches!(
            self,
            Self::Length(_)
                | Self::Alphabet(_)
                | Self::Prefixed
                | Self::Gpg
                | Self::Sha1Hmac
                | Self::NotAuthentic { .. }
        )
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(found) => write!(f, "{found} bytes are no packet of fwknop's"),
            Self::Alphabet(at) => write!(f, "byte {at} is not base64, so it is no packet of fwknop's"),
            Self::Prefixed => f.write_str(
                "it begins with what fwknop's clients leave out: an older packet may have been made to look new",
            ),
            Self::Gpg => f.write_str("it is not encrypted with AES, perhaps with GnuPG: set USE_GPG to N in ~/.fwknoprc"),
            Self::Sha1Hmac => f.write_str("its HMAC is of SHA-1 by its length: set HMAC_DIGEST_TYPE to sha256 in ~/.fwknoprc"),
            Self::Md5Hmac => f.write_str("its HMAC is of MD5: set HMAC_DIGEST_TYPE to sha256 in ~/.fwknoprc"),
            Self::NotAuthentic { without } => not_authentic(*without, f),
            Self::Undecipherable => f.write_str(
                "its HMAC fits, but not its encryption: either KEY is another one here than in ~/.fwknoprc, or \
                 ENCRYPTION_MODE is not CBC there",
            ),
            Self::WeakDigest(found) => write!(f, "its digest is of {found}: set DIGEST_TYPE to sha256 in ~/.fwknoprc"),
            Self::WrongDigest => f.write_str(
                "its digest fits neither as SHA-256 nor as SHA-384 or SHA-512; if DIGEST_TYPE is sha3 in ~/.fwknoprc, \
                 set it to sha256",
            ),
            Self::Version(found) => write!(f, "it is of fwknop's protocol {found}; 2.0 and 3.0 are understood"),
            Self::Command => f.write_str("it is a command to run (fwknop -C), and this daemon runs none that is sent"),
            Self::Nat => f.write_str(
                "it asks for a way to another host or port (fwknop -N, --nat-local), and doors open only ports of their own",
            ),
            Self::ServerAuth => f.write_str("it has a server's password in it, which is not understood"),
            Self::Protocol(found) => write!(f, "it asks for {found:?}, and only tcp and udp ports can be opened"),
            Self::Malformed(field) => write!(f, "its {field} is not as fwknop's clients write it"),
        }
    }
}

fn not_authentic(without: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("no HMAC with this door's key fits: HMAC_KEY is another one in ~/.fwknoprc, ")?;
    if without {
        f.write_str("USE_HMAC is not Y there, ")?;
    }
    f.write_str("HMAC_DIGEST_TYPE is none of sha256, sha384, sha512, or the packet was changed")
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "random number",
            Self::User => "user's name",
            Self::Time => "time",
            Self::Type => "message type",
            Self::Message => "list of address and ports",
            Self::Timeout => "time-out",
            Self::Digest => "digest",
        })
    }
}
