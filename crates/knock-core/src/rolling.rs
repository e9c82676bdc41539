//! Rolling sequences: another sequence every 30 seconds, which whoever has the key can work out.
//!
//! For clients that can send nothing but plain packets. Whoever sees one knocked cannot use it: the daemon takes each
//! step's sequence once (see [`crate::ledger`]), and does not take one that is two steps away.
//!
//! # How a sequence is made
//!
//! A client in any language has to do this and nothing else:
//!
//! 1. The step is the number of whole 30-second spans since 1970, UTC: `floor(unix_seconds / 30)`.
//! 2. 96 bytes come from HKDF-SHA256 (RFC 5869): the input keying material is the key's 32 bytes, there is no salt (so
//!    it is 32 zero bytes), and `info` is these 34 bytes: the 26 of `toctoc rolling sequence v1` in ASCII, without a
//!    zero behind them, and the step as 8 bytes, the highest first.
//! 3. The bytes are read as 32 groups of three, from the first on. The lowest bit of a group's first byte is the
//!    protocol: 0 for TCP, 1 for UDP; its other bits mean nothing. The second byte times 256 and the third are the port.
//! 4. A group whose port is below 1024 is passed over, and so is one with the port and the protocol of a group that was
//!    taken before. Otherwise it is taken, until there are four.
//!
//! The four that were taken are the knocks, in this order. That fewer than four of the 32 groups are good has a
//! probability below 2⁻¹⁶⁰; the sequence would be shorter then.
//!
//! A sequence is one of about 2⁶⁸, each as likely as any other.
//!
//! The key 00 01 02 … 1f, in base64 `AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=`, has these sequences:
//!
//! | step | bytes, first groups | sequence |
//! | --- | --- | --- |
//! | 0 | `17074d 545400 a51283 6e55a9` | 1869:udp,21504:tcp,4739:udp,21929:tcp |
//! | 1 | `2cf5c4 5cfb86 b42b30 98123c` | 62916:tcp,64390:tcp,11056:tcp,4668:tcp |
//! | 5, whose first port is too low | `f3018c 331491 1c1ae2 40d452 8df1af` | 5265:udp,6882:tcp,54354:tcp,61871:udp |
//! | 4883, whose fourth group is its second again | `2e9d81 0ef23d 44717e aef23d 0549c3` | 40321:tcp,62013:tcp,29054:tcp,18883:udp |
//! | 59851440, on 24 November 2026 at 18:00 | `e1542d 80f239 8b63ad 143483` | 21549:udp,62009:tcp,25517:udp,13443:tcp |

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::knock::Protocol;
use crate::ledger::Use;
use crate::sequence::{Sequence, Step};

/// How long a step is.
pub const STEP: Duration = Duration::from_secs(30);
/// How many knocks a sequence has.
pub const KNOCKS: usize = 4;

/// The lowest port that is knocked at: those below are often in use, and need privileges on the way.
const LOWEST_PORT: u16 = 1024;
/// What a port and a protocol are made of, in bytes.
const GROUP: usize = 3;
/// Enough groups for a sequence, however many of them are no good.
const GROUPS: usize = 32;
/// The number of characters of a key in base64.
const CHARACTERS: usize = 44;

const SEQUENCE_LABEL: &[u8] = b"toctoc rolling sequence v1";
const IDENTITY_LABEL: &[u8] = b"toctoc rolling key identity v1";

/// The secret that daemon and client share: 32 random bytes. It is wiped from memory when it is dropped.
#[derive(Clone)]
pub struct RollingKey(Zeroizing<[u8; 32]>);

/// What should be a key's file and is none. It never quotes what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    /// What is wrong, as the end of a sentence that begins with the file.
    found: String,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; expected one line with the base64 of 32 random bytes, as head -c 32 /dev/urandom | base64 makes it",
            self.found
        )
    }
}

impl std::error::Error for BadKey {}

impl RollingKey {
    /// The key of these bytes, which nobody else may know.
    ///
    /// # Errors
    /// Where all of them are the same: that was not drawn at random.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        let [first, rest @ ..] = bytes;
        if rest.iter().all(|byte| byte == first) {
            return Err(bad("it holds 32 times the same byte, which is no secret"));
        }
        Ok(Self(Zeroizing::new(*bytes)))
    }

    /// Reads a key's file: one line, 44 characters of base64 (RFC 4648, section 4). White space around it, blank lines
    /// and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// Where it holds anything else.
    pub fn from_text(text: &str) -> Result<Self, BadKey> {
        let is_content = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let mut lines = text.lines().map(str::trim).filter(is_content);
        let line = lines.next().ok_or_else(|| bad("it holds no key"))?;
        let further = lines.count();
        if further > 0 {
            return Err(bad(format!("it holds {} lines that are no remarks, not one", 1 + further)));
        }
        Self::from_bytes(&*decoded(line)?)
    }

    /// What is to be knocked in a step.
    pub fn sequence(&self, step: u64) -> Sequence {
        let mut bytes = Zeroizing::new([0; GROUPS * GROUP]);
        let info = [SEQUENCE_LABEL, &step.to_be_bytes()];
        // It refuses nothing shorter than 255 hashes.
        let _ = Hkdf::<Sha256>::new(None, self.0.as_ref()).expand_multi_info(&info, bytes.as_mut());
        let mut steps = Vec::with_capacity(KNOCKS);
        let (groups, _) = bytes.as_chunks::<GROUP>();
        for knock in groups.iter().filter_map(knock) {
            if steps.len() < KNOCKS && !steps.contains(&knock) {
                steps.push(knock);
            }
        }
        Sequence::new(steps)
    }

    /// By what the ledger knows the key. It tells nothing about the key, and is the same for the same key only.
    pub fn identity(&self) -> [u8; 32] {
        Sha256::new().chain_update(IDENTITY_LABEL).chain_update(self.0.as_ref()).finalize().into()
    }
}

/// A secret is not shown.
impl fmt::Debug for RollingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollingKey").finish_non_exhaustive()
    }
}

fn bad(found: impl Into<String>) -> BadKey {
    BadKey { found: found.into() }
}

fn decoded(line: &str) -> Result<Zeroizing<[u8; 32]>, BadKey> {
    let characters = line.chars().count();
    if characters != CHARACTERS {
        return Err(bad(format!("its line has {characters} characters, not {CHARACTERS}")));
    }
    let mut bytes = Zeroizing::new([0; 32]);
    match Base64::decode(line, bytes.as_mut()) {
        Ok(key) if key.len() == 32 => Ok(bytes),
        // 44 characters without a "=" at the end, or with two, are another number of bytes.
        _ => Err(bad("its line is not the base64 of 32 bytes")),
    }
}

/// The knock that a group stands for, where it stands for one.
fn knock(&[protocol, high, low]: &[u8; GROUP]) -> Option<Step> {
    let port = u16::from_be_bytes([high, low]);
    let protocol = if protocol & 1 == 0 { Protocol::Tcp } else { Protocol::Udp };
    (port >= LOWEST_PORT).then_some(Step { port, protocol })
}

/// The step at a time of day, in seconds since 1970, UTC.
pub const fn step_at(unix_seconds: u64) -> u64 {
    unix_seconds / STEP.as_secs()
}

/// The steps whose sequences are taken while `step` is the present one: it, the one before and the next, so that clocks
/// may differ by half a minute, and a knock may take as long.
pub const fn accepted(step: u64) -> RangeInclusive<u64> {
    step.saturating_sub(1)..=step.saturating_add(1)
}

/// What the ledger is to remember of a step whose sequence was knocked: its beginning and its number.
pub fn use_of(step: u64) -> Use {
    const NANOSECONDS: u64 = 1_000_000_000;
    let time = step.saturating_mul(STEP.as_secs()).saturating_mul(NANOSECONDS);
    Use { time, id: u128::from(step).to_be_bytes() }
}

#[cfg(test)]
mod tests;
