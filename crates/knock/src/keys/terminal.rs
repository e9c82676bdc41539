//! A line is read from the terminal and not shown there.
//!
//! The terminal is silent before anything is asked, so that what answers at once is not shown either. It passes on every
//! byte and obeys none: an interrupted question must not leave a terminal behind that shows nothing.

use std::fs::File;
use std::io::{self, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The longest line, in bytes; what is typed behind it counts for nothing.
const LONGEST: usize = 1024;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// Asks on the terminal of this process; none where there is no terminal.
///
/// # Errors
/// Where it breaks, the question is interrupted, or the answer is not UTF-8.
pub(super) fn ask(prompt: &str) -> io::Result<Option<Zeroizing<String>>> {
    let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else { return Ok(None) };
    let mut silent = Silent::new(terminal)?;
    silent.terminal.write_all(prompt.as_bytes())?;
    let line = read(&mut silent.terminal);
    // The end of the line was not shown.
    silent.terminal.write_all(b"\n")?;
    let line = line?;
    let text =
        str::from_utf8(&line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &modes)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// What is typed until the line ends, with what was taken back left out.
fn read(terminal: &mut impl io::Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it from the start: what grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    loop {
        let mut byte = [0];
        terminal.read_exact(&mut byte)?;
        let [byte] = byte;
        match byte {
            b'\n' | b'\r' => return Ok(line),
            INTERRUPT => return Err(io::ErrorKind::Interrupted.into()),
            END if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            END => {}
            BACKSPACE | DELETE => take_back(&mut line),
            KILL => line.clear(),
            _ if line.len() < LONGEST => line.push(byte),
            _ => {}
        }
    }
}

/// The last character, of however many bytes.
fn take_back(line: &mut Vec<u8>) {
    const CONTINUES: u8 = 0b1000_0000;
    const MASK: u8 = 0b1100_0000;
    while line.pop().is_some_and(|byte| byte & MASK == CONTINUES) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Result<String, io::ErrorKind> {
        let line = read(&mut &*bytes).map_err(|error| error.kind())?;
        Ok(String::from_utf8(line.to_vec()).unwrap())
    }

    #[test]
    fn a_line_can_be_mended() {
        assert_eq!(typed(b"open sesame\nmore"), Ok("open sesame".into()));
        assert_eq!(typed("oé\x7f\x08x\r".as_bytes()), Ok("x".into()));
        assert_eq!(typed(b"wrong\x15right\x04\n"), Ok("right".into()));
        assert_eq!(typed(b"\n"), Ok(String::new()));
        assert_eq!(typed(b"half\x03\n"), Err(io::ErrorKind::Interrupted));
        assert_eq!(typed(b"\x04"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(typed(b"half"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(typed(&[vec![b'x'; 5000], vec![b'\n']].concat()).map(|line| line.len()), Ok(LONGEST));
    }
}
