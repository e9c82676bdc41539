//! This machine's clock, for knocks that are good for minutes only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Error;

/// 2025 in seconds since 1970: no clock that is right is behind it.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);

/// The time since 1970.
///
/// # Errors
/// Where the clock was obviously never set.
pub(crate) fn since_1970(now: SystemTime) -> Result<Duration, Error> {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    if since < EARLIEST {
        let text = "this machine's clock is wrong, it is before 2025: set it, since a knock is good for minutes only";
        return Err(Error::Key(text.into()));
    }
    Ok(since)
}

/// The same in nanoseconds.
///
/// # Errors
/// As [`since_1970`], and after 2554.
pub(crate) fn nanoseconds(now: SystemTime) -> Result<u64, Error> {
    let too_late = |_| Error::Key("this machine's clock is wrong, it is after 2554: set it".into());
    u64::try_from(since_1970(now)?.as_nanos()).map_err(too_late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_told() {
        let told = |now| nanoseconds(now).map_err(|error| error.to_string());
        let after = |seconds| told(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(after(1_795_000_000), Ok(1_795_000_000_000_000_000));
        assert!(after(0).unwrap_err().starts_with("this machine's clock is wrong, it is before 2025"));
        assert!(told(UNIX_EPOCH - Duration::from_secs(1)).unwrap_err().contains("before 2025"));
        assert!(after(20_000_000_000).unwrap_err().contains("after 2554"));
    }
}
