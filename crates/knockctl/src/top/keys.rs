//! What is typed: a terminal's bytes to keys.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Control and C, or D.
    Interrupt,
    /// Control and Z.
    Suspend,
    /// Control and L.
    Redraw,
}

/// Bytes that have come and are no key yet.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    pending: Vec<u8>,
}

/// What begins a sequence of bytes for one key.
const ESCAPE: u8 = 0x1b;
/// Nothing that a key sends is longer.
const MAX_PENDING: usize = 16;

impl Keyboard {
    /// The keys that are complete with these bytes, in order. Those that have no meaning here are left out.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend(bytes);
        let mut keys = Vec::new();
        while let Some((key, length)) = first(&self.pending) {
            keys.extend(key);
            self.pending.drain(..length.min(self.pending.len()));
        }
        if self.pending.len() > MAX_PENDING {
            self.pending.clear();
        }
        keys
    }
}

/// The first key, if it has a meaning, and how many bytes it takes; `None` while more are to come.
fn first(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let (byte, rest) = bytes.split_first()?;
    match byte {
        &ESCAPE => escaped(rest),
        b'\r' | b'\n' => Some((Some(Key::Enter), 1)),
        0x7f | 0x08 => Some((Some(Key::Backspace), 1)),
        0x03 | 0x04 => Some((Some(Key::Interrupt), 1)),
        0x1a => Some((Some(Key::Suspend), 1)),
        0x0c => Some((Some(Key::Redraw), 1)),
        0x00..=0x1f => Some((None, 1)),
        _ => letter(bytes),
    }
}

/// What stands behind an escape: nothing where it is the key itself.
fn escaped(rest: &[u8]) -> Option<(Option<Key>, usize)> {
    match rest {
        [] => Some((Some(Key::Escape), 1)),
        [b'O', byte, ..] => Some((cursor(&[], *byte), 3)),
        [b'['] | [b'O'] => None,
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte))?;
            let (parameters, last) = (rest.get(..end)?, rest.get(end)?);
            Some((cursor(parameters, *last), end + 3))
        }
        // An escape, and then something else.
        _ => Some((Some(Key::Escape), 1)),
    }
}

/// The keys of a cursor block, as xterm and the Linux console send them.
fn cursor(parameters: &[u8], last: u8) -> Option<Key> {
    match (parameters, last) {
        (_, b'A') => Some(Key::Up),
        (_, b'B') => Some(Key::Down),
        (_, b'H') | (b"1" | b"7", b'~') => Some(Key::Home),
        (_, b'F') | (b"4" | b"8", b'~') => Some(Key::End),
        (b"5", b'~') => Some(Key::PageUp),
        (b"6", b'~') => Some(Key::PageDown),
        _ => None,
    }
}

fn letter(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?,
        // The rest of the letter is to come.
        Err(error) if error.error_len().is_none() => return None,
        Err(error) => return Some((None, error.error_len().unwrap_or(1))),
    };
    let letter = text.chars().next()?;
    let key = (!letter.is_control()).then_some(Key::Letter(letter));
    Some((key, letter.len_utf8()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Vec<Key> {
        Keyboard::default().read(bytes)
    }

    #[test]
    fn keys() {
        assert_eq!(read("qé\r".as_bytes()), [Key::Letter('q'), Key::Letter('é'), Key::Enter]);
        assert_eq!(
            read(b"\x1b[A\x1bOB\x1b[1;5A\x1b[5~\x1b[H"),
            [Key::Up, Key::Down, Key::Up, Key::PageUp, Key::Home]
        );
        assert_eq!(read(b"\x1b"), [Key::Escape]);
        assert_eq!(read(b"\x1bq"), [Key::Escape, Key::Letter('q')]);
        assert_eq!(read(b"\x1b[15~\x1b[200~\x01x\xffy"), [Key::Letter('x'), Key::Letter('y')]);
        assert_eq!(read(b"\x03\x1a\x0c\x7f"), [Key::Interrupt, Key::Suspend, Key::Redraw, Key::Backspace]);
    }

    #[test]
    fn a_key_may_come_in_pieces() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.read(b"\x1b["), []);
        assert_eq!(keyboard.read(b"B"), [Key::Down]);
        assert_eq!(keyboard.read(&[0xc3]), []);
        assert_eq!(keyboard.read(&[0xa9]), [Key::Letter('é')]);
    }

    proptest! {
        #[test]
        fn whatever_comes_what_is_typed_then_is_read(bytes: Vec<u8>) {
            let mut keyboard = Keyboard::default();
            keyboard.read(&bytes);
            prop_assert!(keyboard.pending.len() <= MAX_PENDING);
            keyboard.pending.clear();
            prop_assert_eq!(keyboard.read(b"q"), [Key::Letter('q')]);
        }
    }
}
