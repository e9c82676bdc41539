//! So much at once, and then so much in a time: for what strangers can bring about.

use std::time::Duration;

use crate::time::Timestamp;

/// So much at once, and then one each time that so long has passed.
#[derive(Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) at_once: u32,
    pub(crate) pace: Duration,
}

impl Allowance {
    pub(crate) fn times(self, count: u32) -> Self {
        Self { at_once: self.at_once * count, pace: self.pace / count }
    }
}

/// How much of an allowance is spent: all that came before would have been in time at its pace alone by this moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent(Timestamp);

impl Spent {
    pub(crate) fn has_left(self, allowance: Allowance, now: Timestamp) -> bool {
        self.0.since(now) < allowance.pace * allowance.at_once
    }

    pub(crate) fn spend(&mut self, allowance: Allowance, now: Timestamp) -> bool {
        let has_left = self.has_left(allowance, now);
        if has_left {
            self.0 = self.0.max(now) + allowance.pace;
        }
        has_left
    }
}
