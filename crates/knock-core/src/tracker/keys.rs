//! Addresses as numbers that nobody outside can foresee, so that nobody can choose addresses that fall together.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::net::IpAddr;

/// A source, and who counts as one with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) source: u64,
    /// The address itself where it is of IPv4; the network of 64 bits, which is one host's as often as not, where it
    /// is of IPv6.
    pub(super) party: u64,
}

/// Makes keys, which are the same as long as this is.
#[derive(Debug, Default)]
pub(super) struct Keys {
    state: RandomState,
    salts: u64,
}

impl Keys {
    pub(super) fn of(&self, source: IpAddr) -> Key {
        match source {
            IpAddr::V4(address) => {
                let source = self.state.hash_one(address.to_bits());
                Key { source, party: source }
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                let network = (bits >> 64) as u64;
                Key { source: self.state.hash_one(bits), party: self.state.hash_one(network) }
            }
        }
    }

    /// Another number each time.
    pub(super) fn salt(&mut self) -> u64 {
        self.salts += 1;
        self.state.hash_one([self.salts; 3])
    }
}

/// For maps whose keys are such numbers, or spread as well, and need no hash.
pub(super) type Spread = BuildHasherDefault<AsItIs>;

/// Takes the number for its own hash.
#[derive(Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
