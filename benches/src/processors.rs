//! Which processors the two ends of the cable run on.
//!
//! The prober never rests, and a real one is another machine: where there are two processors, the server's programs
//! have one that the prober does not touch, and all contenders have the same.

use std::panic::resume_unwind;
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// An end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The first processor that this program may use.
    Client,
    /// The last.
    Server,
}

/// Does something on a thread that stays at this end, and so does what it starts.
pub(crate) fn at<T: Send>(end: End, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            stay_at(end);
            work()
        });
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Keeps the calling thread at this end, and what it starts.
pub(crate) fn stay_at(end: End) {
    // Where that is not allowed the figures are spread more widely, which they show.
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut numbers = (0..CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number));
    let chosen = match end {
        End::Client => numbers.next(),
        End::Server => numbers.next_back(),
    };
    let mut only = CpuSet::new();
    chosen.into_iter().for_each(|number| only.set(number));
    let _ = sched_setaffinity(None, &only);
}
