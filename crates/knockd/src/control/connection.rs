//! One connection: a request comes in, an answer goes out. It never waits for the other side.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use knock_core::control::{MAX_REQUEST, Request};
use knock_core::time::Timestamp;
use rustix::event::PollFlags;

/// How long the other side may take for a request, and for taking some of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much may wait for somebody who watches, in bytes.
const MAX_UNREAD: usize = 256 << 10;

/// A connection and how far it has come.
pub(super) struct Connection {
    stream: UnixStream,
    stage: Stage,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// When it is given up, where it is for the other side to do something.
    deadline: Option<Timestamp>,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The request is not complete.
    Asking,
    /// The request waits for its answer, after which the connection is kept for this.
    Asked(Kept),
    /// It was answered and stays.
    Staying(Kept),
    /// What is left of the answer is sent, then it closes.
    Ending,
}

/// What a connection is for, once it has its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing more.
    Not,
    /// The events that follow.
    ToWatch,
    /// An interface that is listened on as long as it stays.
    ToListen,
}

/// What came in.
pub(super) enum Input {
    /// The request is not complete.
    More,
    /// A request.
    Request(Request),
    /// Something that is none; why it is none.
    Wrong(String),
    /// The other side is gone.
    Gone,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, now: Timestamp) -> Self {
        let deadline = Some(now + PATIENCE);
        Self { stream, stage: Stage::Asking, input: Vec::new(), output: VecDeque::new(), deadline }
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// What to wait for; that the other side is gone is told in any case.
    pub(super) fn interest(&self) -> PollFlags {
        let reading = if self.stage == Stage::Asking { PollFlags::IN } else { PollFlags::empty() };
        let writing = if self.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        reading | writing
    }

    /// Takes in what there is of the request.
    pub(super) fn read(&mut self) -> Input {
        let mut buffer = [0; 4096];
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Input::More,
                Err(_) => return Input::Gone,
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            self.input.extend(bytes.get(..end.unwrap_or(count)).unwrap_or_default());
            if self.input.len() > MAX_REQUEST {
                return Input::Wrong(format!(
                    "the request is too long: up to {MAX_REQUEST} bytes are possible"
                ));
            }
            if end.is_some() || count == 0 {
                return self.request();
            }
        }
    }

    /// The request, which ends with its line or with whatever the other side says.
    fn request(&mut self) -> Input {
        let input = std::mem::take(&mut self.input);
        if input.trim_ascii().is_empty() {
            return Input::Gone;
        }
        match serde_json::from_slice::<Request>(&input) {
            Ok(request) => {
                let kept = match request {
                    Request::Watch {} => Kept::ToWatch,
                    Request::Listen { .. } => Kept::ToListen,
                    _ => Kept::Not,
                };
                self.stage = Stage::Asked(kept);
                self.deadline = None;
                Input::Request(request)
            }
            Err(error) => Input::Wrong(format!(
                "{error}; expected one line of JSON, such as {{\"request\":\"status\"}}"
            )),
        }
    }

    /// Sends the answer, and goes on to what comes behind it.
    pub(super) fn answer(&mut self, line: &[u8], refused: bool, now: Timestamp) -> io::Result<()> {
        self.stage = match self.stage {
            Stage::Asked(kept) if kept != Kept::Not && !refused => Stage::Staying(kept),
            _ => Stage::Ending,
        };
        self.deadline = (self.stage == Stage::Ending).then_some(now + PATIENCE);
        self.output.extend(line);
        self.flush(now)
    }

    /// Tells of an event.
    ///
    /// # Errors
    /// Where it cannot be told, or where too much waits already.
    pub(super) fn publish(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        self.output.extend(line);
        self.flush(now)?;
        if self.output.len() > MAX_UNREAD {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    /// Sends what the other side takes at once.
    pub(super) fn flush(&mut self, now: Timestamp) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(self.output.as_slices().0) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.output.drain(..count.min(self.output.len()));
                    self.deadline = self.deadline.map(|_| now + PATIENCE);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How much waits to be sent, in bytes.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Ending && self.output.is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
