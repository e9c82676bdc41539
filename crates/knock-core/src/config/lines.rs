//! Bytes of a file to sections and directives, with the place of each.

use std::ops::Range;

use super::diagnostic::Diagnostic;

/// The longest line that is read, in bytes.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// A piece of the file's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spanned<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl<'a> Spanned<'a> {
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// Without white space at its ends.
    pub(super) fn trimmed(&self) -> Self {
        let front = self.text.len() - self.text.trim_start().len();
        Self { text: self.text.trim(), start: self.start + front }
    }

    /// Without a remark (`#` or `;` behind white space) at its end, and whether there was one.
    pub(super) fn without_remark(&self) -> (Self, bool) {
        let remark = self
            .text
            .char_indices()
            .zip(self.text.chars().skip(1))
            .find_map(|((at, c), next)| (c.is_whitespace() && matches!(next, '#' | ';')).then_some(at));
        match remark {
            None => (self.clone(), false),
            Some(at) => {
                let before = Self { text: &self.text[..at], start: self.start };
                (before.trimmed(), true)
            }
        }
    }

    /// The entries of a list with commas, without white space around them.
    pub(super) fn entries(&self) -> impl Iterator<Item = Spanned<'a>> {
        let mut start = self.start;
        self.text.split(',').map(move |entry| {
            let spanned = Spanned { text: entry, start }.trimmed();
            start += entry.len() + 1;
            spanned
        })
    }

    /// The value without the remark behind it, which knockd reads over too.
    pub(super) fn tidied(&self, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let (tidied, had_remark) = self.without_remark();
        if had_remark {
            let remark = tidied.span().end..self.span().end;
            let help = "a remark stands on a line of its own, after #";
            diagnostics.push(Diagnostic::warning(remark, "a remark behind a value", help));
        }
        tidied
    }
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `[name]`
    Section(Spanned<'a>),
    /// `key = value`, or a key alone.
    Directive { key: Spanned<'a>, value: Option<Spanned<'a>> },
}

/// Checks that the bytes are text, and takes a byte order mark off.
///
/// # Errors
/// Says where the first byte stands that is not UTF-8, or that no configuration can hold.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Diagnostic> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        Diagnostic::error(at..at, format!("the byte 0x{byte:02x} is not UTF-8"), "text in UTF-8")
            .with_help("convert it, such as by: iconv -f ISO-8859-1 -t UTF-8 FILE")
    })?;
    match text.find('\0') {
        Some(at) => Err(Diagnostic::error(at..at + 1, "a NUL byte", "text")),
        None => Ok(text),
    }
}

/// What the text's lines say, or what is wrong with them; comments and blank lines are left out.
pub(super) fn split(text: &str) -> impl Iterator<Item = Result<Line<'_>, Diagnostic>> {
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut start = mark;
    text[mark..].split_inclusive('\n').filter_map(move |with_end| {
        let line = Spanned { text: with_end, start };
        start += with_end.len();
        read_line(&line).transpose()
    })
}

fn read_line<'a>(line: &Spanned<'a>) -> Result<Option<Line<'a>>, Diagnostic> {
    let line = line.trimmed();
    if line.text.len() > MAX_LINE {
        let found = format!("a line of {} bytes", line.text.len());
        return Err(Diagnostic::error(line.start..line.start, found, format!("at most {MAX_LINE}")));
    }
    if line.text.is_empty() || line.text.starts_with('#') {
        return Ok(None);
    }
    if line.text.starts_with('[') { section(&line).map(Some) } else { Ok(Some(directive(&line))) }
}

fn section<'a>(line: &Spanned<'a>) -> Result<Line<'a>, Diagnostic> {
    let inner = Spanned { text: &line.text[1..], start: line.start + 1 };
    match inner.text.find(']') {
        None => Err(Diagnostic::error(line.span(), "the bracket is not closed", "[name]")),
        Some(_) if !inner.text.ends_with(']') => {
            let end = inner.text.rfind(']').unwrap_or_default() + 1;
            let rest = inner.start + end..inner.span().end;
            Err(Diagnostic::error(rest, "text behind the section's name", "nothing behind the bracket")
                .with_help("a remark stands on a line of its own"))
        }
        Some(_) => {
            let name = Spanned { text: &inner.text[..inner.text.len() - 1], start: inner.start };
            match name.text.find(char::is_control) {
                _ if name.text.is_empty() => {
                    Err(Diagnostic::error(line.span(), "the section has no name", "[name]"))
                }
                Some(at) => {
                    let at = name.start + at;
                    Err(Diagnostic::error(at..at + 1, "a control character in a name", "a printable name"))
                }
                None => Ok(Line::Section(name)),
            }
        }
    }
}

fn directive<'a>(line: &Spanned<'a>) -> Line<'a> {
    match line.text.split_once('=') {
        None => Line::Directive { key: line.clone(), value: None },
        Some((key, value)) => {
            let value = Spanned { text: value, start: line.start + key.len() + 1 };
            let key = Spanned { text: key, start: line.start };
            Line::Directive { key: key.trimmed(), value: Some(value.trimmed()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_place_of_everything() {
        let text = "\u{feff}  [door] \r\n# remark\n\tkey =  a = b # c \r\nalone\n";
        let lines: Vec<_> = split(text).collect::<Result<_, _>>().unwrap();
        let Line::Section(name) = &lines[0] else { panic!("{lines:?}") };
        assert_eq!((name.text, &text[name.span()]), ("door", "door"));
        let Line::Directive { key, value: Some(value) } = &lines[1] else { panic!("{lines:?}") };
        assert_eq!((key.text, &text[key.span()]), ("key", "key"));
        assert_eq!((value.text, &text[value.span()]), ("a = b # c", "a = b # c"));
        assert!(matches!(&lines[2], Line::Directive { key, value: None } if key.text == "alone"));
    }

    #[test]
    fn a_remark_needs_white_space_before_it() {
        let remark = |text| {
            let (rest, found) = Spanned { text, start: 7 }.without_remark();
            (rest.text.to_owned(), found)
        };
        assert_eq!(remark("5 # x"), ("5".into(), true));
        assert_eq!(remark("5\t;x"), ("5".into(), true));
        assert_eq!(remark("5#x"), ("5#x".into(), false));
        assert_eq!(remark("é #"), ("é".into(), true));
    }
}
