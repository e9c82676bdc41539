//! Waiting for a condition instead of for a while.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PACE: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, looking every few milliseconds.
///
/// # Errors
/// `TimedOut`, naming `what` was waited for, when it does not hold `within` this time.
pub fn wait_until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> io::Result<()> {
    let deadline = Instant::now() + within;
    while !condition() {
        if Instant::now() >= deadline {
            return Err(timed_out(&format!("{what}: not within {within:?}")));
        }
        thread::sleep(PACE);
    }
    Ok(())
}

/// The error of everything here that waits.
pub(crate) fn timed_out(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, message)
}
