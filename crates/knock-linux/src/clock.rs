//! The clock that deadlines are kept by, and its alarm.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use knock_core::time::Timestamp;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// The time since the machine was booted, suspension included (`CLOCK_BOOTTIME`).
pub fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    Timestamp::from_nanos(seconds.saturating_mul(NANOSECONDS).saturating_add(nanoseconds))
}

const NANOSECONDS: u64 = 1_000_000_000;

/// A descriptor that becomes readable at a moment of that clock, also where the machine slept through it.
pub struct Alarm {
    timer: OwnedFd,
    set_for: Option<Timestamp>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { timer: timerfd_create(TimerfdClockId::Boottime, flags)?, set_for: None })
    }

    /// Sets the alarm for a moment, at once where it is past, or for never.
    ///
    /// # Errors
    /// None that a valid timer has.
    pub fn set(&mut self, moment: Option<Timestamp>) -> io::Result<()> {
        if moment == self.set_for {
            return Ok(());
        }
        // A value of zero would switch the timer off.
        let nanoseconds = moment.map_or(0, |moment| moment.as_nanos().max(1));
        let value = Timespec {
            tv_sec: i64::try_from(nanoseconds / NANOSECONDS).unwrap_or(i64::MAX),
            tv_nsec: (nanoseconds % NANOSECONDS) as _,
        };
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: once, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        self.set_for = moment;
        Ok(())
    }

    /// Notes that the alarm went off, so that it can be set for the same moment again.
    pub fn acknowledge(&mut self) {
        let mut expirations = [0_u8; 8];
        if rustix::io::read(&self.timer, &mut expirations).is_ok() {
            self.set_for = None;
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn goes_off_at_its_moment() {
        let mut alarm = Alarm::new().unwrap();
        let moment = now() + Duration::from_millis(20);
        alarm.set(Some(moment)).unwrap();
        let deadline = Timespec { tv_sec: 10, tv_nsec: 0 };
        let mut fds = [PollFd::new(&alarm, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&deadline)).unwrap(), 1);
        assert!(now() >= moment);
        alarm.acknowledge();
        alarm.set(Some(Timestamp::ZERO)).unwrap();
        let mut fds = [PollFd::new(&alarm, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&deadline)).unwrap(), 1, "a moment that is past is now");
    }
}
