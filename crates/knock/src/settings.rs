//! What can be said of a knock on the command line and in the file of hosts alike, and how each value is written.

use std::net::IpAddr;
use std::time::Duration;

use knock_core::knock::Protocol;
use knock_core::sequence::Step;

use crate::request::Whom;
use crate::resolve::{Family, Wanted};

/// The most often that a knock is sent again: the pauses double, so that more would take hours.
const MOST_RETRIES: u8 = 10;
/// The longest that a port is waited for, in seconds.
const LONGEST_WAIT: f64 = 3600.0;
/// The shortest, in seconds: less than a connection takes on any network.
const SHORTEST_WAIT: f64 = 0.1;

/// What has been said; the rest is left to whoever speaks next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The pause between knocks.
    pub(crate) delay: Option<Duration>,
    /// Which of the host's addresses to knock at.
    pub(crate) family: Option<Wanted>,
    /// The address to send from.
    pub(crate) source: Option<IpAddr>,
    /// The TCP port that the knock is to open.
    pub(crate) verify: Option<u16>,
    /// How often to knock again while it is not open.
    pub(crate) retry: Option<u8>,
    /// How long to wait for it in all.
    pub(crate) timeout: Option<Duration>,
}

impl Settings {
    /// These, and where they say nothing those of `other`.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self {
            delay: self.delay.or(other.delay),
            family: self.family.or(other.family),
            source: self.source.or(other.source),
            verify: self.verify.or(other.verify),
            retry: self.retry.or(other.retry),
            timeout: self.timeout.or(other.timeout),
        }
    }

    /// Which addresses are knocked at. An address to send from asks for targets of its own family.
    ///
    /// # Errors
    /// Where family and source exclude each other.
    pub(crate) fn wanted(&self) -> Result<Wanted, String> {
        match (self.family, self.source.map(|source| (source, Family::of(source)))) {
            (Some(Wanted::Only(asked)), Some((source, family))) if asked != family => {
                Err(format!("source {source} is an {family} address, but {asked} is asked for"))
            }
            (Some(Wanted::Both), Some((source, family))) => {
                Err(format!("source {source} is an {family} address, but both families are asked for"))
            }
            (_, Some((_, family))) => Ok(Wanted::Only(family)),
            (Some(wanted), None) => Ok(wanted),
            (None, None) => Ok(Wanted::First),
        }
    }
}

/// Milliseconds of a delay.
///
/// # Errors
/// For anything but a whole number from 0 to 4294967295.
pub(crate) fn milliseconds(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    match text.parse::<u32>() {
        Ok(milliseconds) => Ok(Duration::from_millis(milliseconds.into())),
        Err(_) if text.parse::<f64>().is_ok_and(|number| number < 0.0) => {
            Err("a delay cannot be negative".into())
        }
        Err(_) => Err(format!("expected whole milliseconds, 0 to {}", u32::MAX)),
    }
}

/// An address of this machine.
///
/// # Errors
/// For anything but an IP address in digits.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address of this machine, such as 192.0.2.7 or 2001:db8::7".into())
}

/// `4`, `6` or `both`.
///
/// # Errors
/// For anything else.
pub(crate) fn family(text: &str) -> Result<Wanted, String> {
    match text {
        "4" => Ok(Wanted::Only(Family::V4)),
        "6" => Ok(Wanted::Only(Family::V6)),
        "both" => Ok(Wanted::Both),
        _ => Err("expected 4, 6 or \"both\"".into()),
    }
}

/// A TCP port to connect to: `22` or `22:tcp`.
///
/// # Errors
/// For anything else, with a word of its own on UDP.
pub(crate) fn tcp_port(text: &str) -> Result<u16, String> {
    match Step::parse(text) {
        Ok(Step { port, protocol: Protocol::Tcp }) => Ok(port),
        Ok(_) => Err("a UDP port cannot be verified, since an open one need not answer; \
            expected a TCP port, or nothing to be verified"
            .into()),
        Err(fault) => Err(fault.to_string()),
    }
}

/// A UDP port that knocks go to.
///
/// # Errors
/// For anything but a whole number from 1 to 65535.
pub(crate) fn udp_port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| "expected a whole number, 1 to 65535".into())
}

/// For how long a door is to be open.
///
/// # Errors
/// For anything but a time in whole seconds.
pub(crate) fn open_for(text: &str) -> Result<Duration, String> {
    let time = knock_core::config::duration(text).map_err(|fault| fault.to_string())?;
    if time.subsec_nanos() == 0 { Ok(time) } else { Err("expected whole seconds".into()) }
}

/// Whom a door is to be opened for.
///
/// # Errors
/// For anything but `source`, `own` or an IP address in digits.
pub(crate) fn whom(text: &str) -> Result<Whom, String> {
    match text {
        "source" => Ok(Whom::Seen),
        "own" => Ok(Whom::Own),
        _ => text.parse().map(Whom::Stated).map_err(|_| {
            "expected \"source\" for the address that the server sees, \"own\" for the one that this machine sends \
             from, or an address such as 192.0.2.7"
                .into()
        }),
    }
}

/// How often to knock again.
///
/// # Errors
/// For anything but a whole number from 0 to 10.
pub(crate) fn retries(text: &str) -> Result<u8, String> {
    let retries = text.parse().ok().filter(|retries| *retries <= MOST_RETRIES);
    retries.ok_or_else(|| format!("expected a whole number, 0 to {MOST_RETRIES}"))
}

/// How long to wait, in seconds, with a fraction or without.
///
/// # Errors
/// For anything but a number from 0.1 to 3600.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let within = |seconds: &f64| (SHORTEST_WAIT..=LONGEST_WAIT).contains(seconds);
    let seconds = text.parse().ok().filter(within);
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("expected seconds, {SHORTEST_WAIT} to {LONGEST_WAIT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_first_is_heard() {
        let first = Settings { retry: Some(1), ..Settings::default() };
        let second = Settings { retry: Some(2), verify: Some(22), ..Settings::default() };
        assert_eq!(first.or(&second), Settings { retry: Some(1), verify: Some(22), ..Settings::default() });
    }

    #[test]
    fn times_have_bounds() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(seconds("3600"), Ok(Duration::from_secs(3600)));
        for wrong in ["0", "-1", "3601", "NaN", "inf", "1e400", "5s", ""] {
            assert_eq!(seconds(wrong), Err("expected seconds, 0.1 to 3600".into()), "{wrong}");
        }
        for wrong in ["-1", "11", "256", "1.5", ""] {
            assert_eq!(retries(wrong), Err("expected a whole number, 0 to 10".into()), "{wrong}");
        }
        assert_eq!(retries("10"), Ok(10));
    }

    #[test]
    fn a_door_is_asked_for_in_whole_seconds() {
        assert_eq!(open_for("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(open_for("0.5s"), Err("expected whole seconds".into()));
        assert!(open_for("soon").unwrap_err().contains("a time, such as"));
    }

    #[test]
    fn an_address_is_named_or_stated() {
        assert_eq!((whom("source"), whom("own")), (Ok(Whom::Seen), Ok(Whom::Own)));
        assert_eq!(whom("2001:db8::7"), Ok(Whom::Stated("2001:db8::7".parse().unwrap())));
        assert!(whom("eth0").is_err());
    }

    #[test]
    fn only_tcp_can_be_verified() {
        assert_eq!((tcp_port("22"), tcp_port("22:TCP")), (Ok(22), Ok(22)));
        assert!(tcp_port("53:udp").unwrap_err().starts_with("a UDP port cannot be verified"));
        assert!(tcp_port("ssh").unwrap_err().contains("\"ssh\" is no port"));
    }
}
