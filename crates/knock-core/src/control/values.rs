//! How values stand in JSON that serde does not know of itself.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::network::Network;

/// The longest time in seconds, the configuration's: 68 years.
const MAX_SECONDS: f64 = i32::MAX as f64;

/// A length of time. In JSON it is a number of seconds, with a fraction down to milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// To the millisecond.
    fn to_f64(self) -> f64 {
        self.0.as_millis() as f64 / 1000.0
    }
}

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

/// Seconds as a number, such as `9` or `0.5`.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_f64().fmt(f)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_millis() {
            0 => serializer.serialize_u64(self.0.as_secs()),
            _ => serializer.serialize_f64(self.to_f64()),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..=MAX_SECONDS).contains(&seconds) {
            let message = format_args!("{seconds} seconds are no time, expected 0 to {MAX_SECONDS}");
            return Err(D::Error::custom(message));
        }
        Ok(Self(Duration::from_millis((seconds * 1000.0).round() as u64)))
    }
}

/// As it is displayed: `192.0.2.7`, `2001:db8::/56`.
impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| D::Error::custom(format_args!("\"{text}\" is {error}")))
    }
}
