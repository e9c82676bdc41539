//! The one channel between the two halves: messages behind each other, each with its length before it.
//!
//! The reading half may be in a stranger's hands. So the acting half never waits for it without an end, holds no more of
//! what it says than one message of the greatest length, and takes what is no message for the end of trust.

mod messages;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "fwknop")]
pub use messages::FwknopKnock;
pub use messages::{Answer, Heard, Order, Refused, Sealed, Untold, Word};

/// The greatest length of an order in bytes, without the length itself: the doors of the largest file fit.
const LONGEST_ORDER: usize = 32 << 20;
/// The greatest length of a word: all attempts that there can be fit.
const LONGEST_WORD: usize = 2 << 20;
/// How long the length before a message is, in bytes.
const LENGTH: usize = 4;
/// How much is read at once.
const PIECE: usize = 64 << 10;

/// What has come in.
#[derive(Debug)]
pub struct Incoming {
    /// The greatest length of a message.
    longest: usize,
    bytes: Vec<u8>,
    /// So many of them were handed out.
    taken: usize,
}

impl Incoming {
    /// For words.
    pub const fn of_words() -> Self {
        Self::new(LONGEST_WORD)
    }

    const fn new(longest: usize) -> Self {
        Self { longest, bytes: Vec::new(), taken: 0 }
    }

    /// Makes room for more; returns all bytes, and how many of them came before.
    fn make_room(&mut self) -> (&mut Vec<u8>, usize) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let length = self.bytes.len();
        self.bytes.resize(length + PIECE, 0);
        (&mut self.bytes, length)
    }

    /// Takes these bytes for what comes next.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next message, if all of it has come.
    ///
    /// # Errors
    /// `InvalidData` where this is none.
    pub fn message<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let length = u32::from_ne_bytes(*length) as usize;
        if length > self.longest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        self.taken += LENGTH + length;
        match postcard::take_from_bytes(message) {
            Ok((message, [])) => Ok(Some(message)),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a message with more behind it")),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("no message: {error}"))),
        }
    }
}

/// One end.
pub struct Channel<F> {
    stream: F,
    incoming: Incoming,
    /// What is still to be sent.
    outgoing: Vec<u8>,
}

impl Channel<OwnedFd> {
    /// The acting half's end, and the other, for another process.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = UnixStream::pair()?;
        for end in [&own, &other] {
            end.set_nonblocking(true)?;
        }
        Ok((Self::with(own.into(), Incoming::of_words()), other.into()))
    }
}

impl<F: AsFd> Channel<F> {
    /// The reading half's end behind this descriptor, which [`Channel::pair`] made.
    pub fn new(stream: F) -> Self {
        Self::with(stream, Incoming::new(LONGEST_ORDER))
    }

    fn with(stream: F, incoming: Incoming) -> Self {
        Self { stream, incoming, outgoing: Vec::new() }
    }

    /// Says something, as soon as the other end takes it; see [`Channel::flush`].
    pub fn say(&mut self, message: &impl Serialize) {
        let start = self.outgoing.len();
        self.outgoing.extend([0; LENGTH]);
        // Writing to memory fails for no message of ours.
        let written = postcard::to_extend(message, std::mem::take(&mut self.outgoing));
        self.outgoing = written.unwrap_or_default();
        let length = self.outgoing.len().saturating_sub(start + LENGTH);
        if let (Some(place), Ok(length)) =
            (self.outgoing.get_mut(start..start + LENGTH), u32::try_from(length))
        {
            place.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// Sends what the other end takes now.
    ///
    /// # Errors
    /// Where the other end is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        let outcome = loop {
            let rest = self.outgoing.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match rustix::io::write(&self.stream, rest) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        self.outgoing.drain(..sent);
        if self.outgoing.is_empty() {
            self.outgoing.shrink_to(PIECE);
        }
        outcome
    }

    /// Sends all of it, and waits as long as that takes.
    ///
    /// # Errors
    /// Where the other end is gone.
    pub fn flush_all(&mut self) -> io::Result<()> {
        self.flush()?;
        while self.owes() {
            self.wait(PollFlags::OUT, None)?;
            self.flush()?;
        }
        Ok(())
    }

    /// Whether so much is still to be sent as nobody has to say who is listened to.
    pub fn owes_too_much(&self) -> bool {
        self.outgoing.len() > 2 * LONGEST_ORDER
    }

    /// Whether something is still to be sent.
    pub fn owes(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Takes in what has come, so much as one piece; whether the other end is still there.
    ///
    /// # Errors
    /// What `read(2)` says; that nothing has come is no error.
    pub fn take_in(&mut self) -> io::Result<bool> {
        let (bytes, before) = self.incoming.make_room();
        let outcome = rustix::io::read(&self.stream, bytes.get_mut(before..).unwrap_or_default());
        bytes.truncate(before + outcome.unwrap_or_default());
        match outcome {
            Ok(count) => Ok(count > 0),
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The next message, if all of it has come.
    ///
    /// # Errors
    /// As [`Incoming::message`].
    pub fn message<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        self.incoming.message()
    }

    /// Waits until the other end has said something, or takes what is owed, or for this long.
    ///
    /// # Errors
    /// What `poll(2)` says.
    pub fn wait(&self, flags: PollFlags, at_most: Option<Timespec>) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.stream, flags)], at_most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<F: AsFd> AsFd for Channel<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends() -> (Channel<OwnedFd>, Channel<OwnedFd>) {
        let (one, other) = Channel::pair().unwrap();
        (one, Channel::new(other))
    }

    proptest! {
        /// Whatever the pieces are in which they arrive.
        #[test]
        fn messages_arrive_as_they_were_sent(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u16>(), 0..5000), 1..40),
        ) {
            let (mut one, mut other) = ends();
            for message in &messages {
                one.say(message);
            }
            let mut arrived: Vec<Vec<u16>> = Vec::new();
            while arrived.len() < messages.len() {
                one.flush().unwrap();
                prop_assert!(other.take_in().unwrap());
                while let Some(message) = other.message().unwrap() {
                    arrived.push(message);
                }
            }
            prop_assert_eq!(arrived, messages);
            prop_assert!(!one.owes());
        }

        #[test]
        fn rubbish_is_an_error_or_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (one, mut other) = ends();
            rustix::io::write(&one.stream, &bytes).unwrap();
            drop(one);
            while other.take_in().unwrap() {}
            while let Ok(Some(_)) = other.message::<Word>() {}
        }
    }

    #[test]
    fn what_is_too_long_is_no_message() {
        let (one, mut other) = ends();
        rustix::io::write(&one.stream, &u32::MAX.to_ne_bytes()).unwrap();
        assert!(other.take_in().unwrap());
        assert_eq!(other.message::<Word>().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_end_is_noticed() {
        let (one, mut other) = ends();
        drop(one);
        assert!(!other.take_in().unwrap());
        other.say(&1_u8);
        assert!(other.flush().is_err());
    }
}
