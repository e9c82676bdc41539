//! Several cases of one scenario at the same time.

use std::io;
use std::panic::resume_unwind;
use std::thread;

/// Plays a scenario with each of `cases` at the same time.
///
/// # Errors
/// The first error in the cases' order, once all have ended.
pub fn side_by_side<C: Send>(
    cases: impl IntoIterator<Item = C>,
    play: impl Fn(C) -> io::Result<()> + Sync,
) -> io::Result<()> {
    let play = &play;
    thread::scope(|scope| {
        let threads: Vec<_> = cases.into_iter().map(|case| scope.spawn(move || play(case))).collect();
        // A panic goes on in the caller, where the test's harness sees it.
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        threads.into_iter().map(join).fold(Ok(()), io::Result::and)
    })
}
