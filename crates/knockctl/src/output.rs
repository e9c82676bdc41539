//! What goes to the terminal, a pipe or a file.

use std::io::{self, Write as _};

use crate::failure::Failure;

/// Writes a text to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::Output(error),
    })
}

/// Says something on standard error.
pub(crate) fn tell(message: &str) {
    // There is no better place to tell of it.
    let _ = writeln!(io::stderr(), "knockctl: {}", printable(message));
}

/// The text on one line, and harmless to a terminal.
pub(crate) fn printable(text: &str) -> String {
    let show = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}

/// The same for a line of JSON, which goes on to mean what it meant: there are such characters in strings only.
pub(crate) fn printable_json(line: &str) -> String {
    let show = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    line.trim().chars().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_unseen() {
        assert_eq!(printable("a\tb\n\u{1b}[2J\u{9b}é"), "a\\tb\\n\\u{1b}[2J\\u{9b}é");
        let json = printable_json("{\"message\":\"\u{7f}\u{9b}é\\u001b\"}\n");
        assert_eq!(json, "{\"message\":\"\\u007f\\u009bé\\u001b\"}");
    }
}
