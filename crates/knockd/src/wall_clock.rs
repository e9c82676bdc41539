//! The time of day, which clients know as well.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, UTC; 0 before that.
pub(crate) fn nanoseconds() -> u64 {
    nanoseconds_of(SystemTime::now())
}

/// The same of another moment.
pub(crate) fn nanoseconds_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970, UTC; 0 before that.
pub(crate) fn milliseconds() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

/// Seconds since 1970, UTC; 0 before that.
pub(crate) fn seconds() -> u64 {
    since_1970().as_secs()
}

/// How long it is until the number of seconds since 1970 can next be divided by that of `span`.
pub(crate) fn until_next(span: Duration) -> Duration {
    let over = since_1970().as_nanos() % span.as_nanos().max(1);
    span.saturating_sub(Duration::from_nanos(u64::try_from(over).unwrap_or_default()))
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
