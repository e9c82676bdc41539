//! One-time sequence files: one sequence a line, each good for one knock.
//!
//! A used line is marked by writing `#` over its first byte, so that it becomes a comment and the next line
//! takes over. Daemon and client read the same file by the same rules, so their copies stay in step.

use std::ops::Range;

use crate::sequence::{Fault, Sequence};

/// A sequence that has not been used yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// What is to be knocked.
    pub sequence: Sequence,
    /// Where its line begins, in bytes from the file's beginning: the byte that becomes `#` after use.
    pub offset: usize,
}

/// A line that is neither a sequence nor a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The line's bytes in the file, without its end.
    pub line: Range<usize>,
    /// What is wrong; its span counts from the file's beginning.
    pub fault: Fault,
}

/// Reads a one-time file: the unused sequences and the lines that cannot be read, both in order.
///
/// White space at a line's ends is passed over. Blank lines and those whose first character is `#` are skipped,
/// so that a line that begins with a space loses no digit when it is marked.
pub fn read(text: &str) -> (Vec<Unused>, Vec<BadLine>) {
    let (mut unused, mut bad) = (Vec::new(), Vec::new());
    let mut offset = 0;
    for with_end in text.split_inclusive('\n') {
        let line = with_end.trim_end();
        let indent = line.len() - line.trim_start().len();
        let content = &line[indent..];
        if !content.is_empty() && !content.starts_with('#') {
            let parsed = Sequence::parse(content).map_err(|fault| fault.shifted(indent));
            match markable(line).and(parsed) {
                Ok(sequence) => unused.push(Unused { sequence, offset }),
                Err(fault) => {
                    bad.push(BadLine { line: offset..offset + line.len(), fault: fault.shifted(offset) });
                }
            }
        }
        offset += with_end.len();
    }
    (unused, bad)
}

/// Refuses a beginning of more than one byte, such as a no-break space or a byte order mark: the mark over its
/// first byte would leave half a character, and the file would be text no more.
fn markable(line: &str) -> Result<(), Fault> {
    match line.chars().next() {
        Some(first) if !first.is_ascii() => {
            let found = format!("the line begins with U+{:04X}", u32::from(first));
            Err(Fault::new(0..first.len_utf8(), found, "a digit, a plain space or #"))
        }
        _ => Ok(()),
    }
}

/// The byte that marks a line as used.
pub const USED: u8 = b'#';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_lines_that_are_left() {
        let text = "#1,2\n\n 3,4:udp\n   # remark\n5\r\n6";
        let (unused, bad) = read(text);
        let found: Vec<_> = unused.iter().map(|u| (u.offset, u.sequence.to_string())).collect();
        let expected = [(6, "3:tcp,4:udp"), (27, "5:tcp"), (30, "6:tcp")]
            .map(|(at, sequence)| (at, sequence.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(bad, []);
    }

    #[test]
    fn a_marked_line_is_gone() {
        let mut text = b" 3,4\n5,6\n".to_vec();
        let first = read(str::from_utf8(&text).unwrap()).0[0].offset;
        text[first] = USED;
        let (left, _) = read(str::from_utf8(&text).unwrap());
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].sequence.to_string(), "5:tcp,6:tcp");
    }

    #[test]
    fn tells_where_a_line_is_bad() {
        let text = "1,2\n 3,x\n4\n";
        let (unused, bad) = read(text);
        assert_eq!(unused.len(), 2);
        assert_eq!(&text[bad[0].line.clone()], " 3,x");
        assert_eq!(&text[bad[0].fault.span.clone()], "x");
    }

    #[test]
    fn a_line_whose_mark_would_break_a_character_is_bad() {
        for first in ["\u{a0}", "\u{feff}"] {
            let text = format!("1,2\n{first}3,4\n");
            let (unused, bad) = read(&text);
            assert_eq!((unused.len(), bad.len()), (1, 1), "{first:?}");
            assert_eq!(&text[bad[0].fault.span.clone()], first);
        }
    }
}
