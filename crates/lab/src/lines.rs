//! The lines that a process writes, as they come.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One line that a process wrote.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where.
    pub stream: Stream,
    /// When it arrived here.
    pub at: Instant,
    /// Without its end.
    pub text: String,
}

/// The lines of one process, filled in by a thread for each of its streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    /// How many streams are still being read.
    open: usize,
}

impl Lines {
    /// Reads `source` to its end, in the background.
    ///
    /// Nobody waits for that thread: a grandchild may hold the pipe open for longer than the test is there.
    pub(crate) fn collect(&self, stream: Stream, source: impl Read + Send + 'static) {
        self.change(|state| state.open += 1);
        let lines = self.clone();
        thread::spawn(move || {
            for bytes in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                lines.change(|state| state.lines.push(Line { stream, at: Instant::now(), text }));
            }
            lines.change(|state| state.open -= 1);
        });
    }

    /// All lines so far.
    pub(crate) fn all(&self) -> Vec<Line> {
        self.lock().lines.clone()
    }

    /// How many lines there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().lines.len()
    }

    /// Waits until `find` finds something in the lines, asked again whenever there is one more.
    pub(crate) fn wait<T>(&self, within: Duration, find: impl Fn(&[Line]) -> Option<T>) -> Option<T> {
        self.watch(within, |state| find(&state.lines))
    }

    /// Waits until the streams have ended, as they do with the process, so that there will be no more lines. Whether
    /// they have `within` this time does not matter to anyone: where they have not, something else holds them open.
    pub(crate) fn finish(&self, within: Duration) {
        self.watch(within, |state| (state.open == 0).then_some(()));
    }

    fn watch<T>(&self, within: Duration, look: impl Fn(&State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.0.more.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
