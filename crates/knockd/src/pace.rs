//! Doing at once what comes singly, and what comes in a flood once in a while.

use std::time::Duration;

use knock_core::time::Timestamp;

/// Says when something may be done again: so many times without a pause, and one more time for each pause that passes.
pub(crate) struct Pace {
    pause: Duration,
    at_once: u32,
    /// When all that was done so far would be over, with a pause behind each time.
    busy_until: Timestamp,
}

impl Pace {
    pub(crate) fn new(pause: Duration, at_once: u32) -> Self {
        Self { pause, at_once, busy_until: Timestamp::ZERO }
    }

    /// Notes that it is done.
    pub(crate) fn done(&mut self, now: Timestamp) {
        self.busy_until = self.busy_until.max(now) + self.pause;
    }

    /// How long it has to wait; `None` where it has not.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let ahead = self.busy_until.since(now);
        ahead.checked_sub(self.pause * self.at_once.saturating_sub(1)).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(1);

    #[test]
    fn what_comes_singly_is_done_at_once() {
        let mut pace = Pace::new(PAUSE, 200);
        let mut now = Timestamp::from_millis(1000);
        for _ in 0..100_000 {
            assert_eq!(pace.wait(now), None);
            pace.done(now);
            now = now + PAUSE;
        }
    }

    #[test]
    fn a_flood_is_met_once_in_a_while() {
        let mut pace = Pace::new(PAUSE, 200);
        let start = Timestamp::from_millis(1000);
        let (mut now, mut times) = (start, 0);
        while now.since(start) < Duration::from_secs(10) {
            match pace.wait(now) {
                Some(wait) => {
                    assert!(wait <= PAUSE);
                    now = now + wait;
                }
                None => now = now + Duration::from_micros(10),
            }
            pace.done(now);
            times += 1;
        }
        assert!((10_000..10_300).contains(&times), "{times}");
        assert_eq!(pace.wait(now + Duration::from_secs(1)), None);
    }
}
