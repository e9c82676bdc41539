//! What is wrong or doubtful in a file, shown so that its writer can mend it.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::sequence::Fault;

/// Whether a file can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but perhaps not as its writer meant, or less safely than it could.
    Warning,
    /// The file cannot be used.
    Error,
}

impl Severity {
    /// The word that begins a message.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing to say about one place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The bytes that it is about, from the file's beginning.
    pub span: Range<usize>,
    /// What was found there.
    pub found: String,
    /// What was expected instead.
    pub expected: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// The file cannot be used: `found` where `expected` should stand.
    pub fn error(span: Range<usize>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        let (found, expected) = (found.into(), Some(expected.into()));
        Self { severity: Severity::Error, span, found, expected, help: None }
    }

    /// The file can be used, but its writer should know of `found`.
    pub fn warning(span: Range<usize>, found: impl Into<String>, help: impl Into<String>) -> Self {
        let (found, help) = (found.into(), Some(help.into()));
        Self { severity: Severity::Warning, span, found, expected: None, help }
    }

    /// A value's fault as an error.
    pub fn from_fault(fault: Fault) -> Self {
        Self::error(fault.span, fault.found, fault.expected)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A file's name and text, to show diagnostics in.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Source {
    /// `name` as the user wrote it, and the whole text; bytes that are not UTF-8 are to be replaced.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let (name, text) = (name.into(), text.into());
        let ends = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        Self { name, text, lines }
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Line and column of a byte offset, both counted from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let end = self.floor(offset);
        let line = self.lines.partition_point(|start| *start <= end);
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied().unwrap_or_default();
        (line, self.text[start..end].chars().count() + 1)
    }

    /// `FILE:LINE:COLUMN: error: FOUND; expected EXPECTED (HELP)`: one line, for a log.
    pub fn line(&self, diagnostic: &Diagnostic) -> String {
        let (line, column) = self.position(diagnostic.span.start);
        let word = diagnostic.severity.word();
        let mut text = format!("{}:{line}:{column}: {word}: {}", self.name, diagnostic.found);
        if let Some(expected) = &diagnostic.expected {
            let _ = write!(text, "; expected {expected}");
        }
        if let Some(help) = &diagnostic.help {
            let _ = write!(text, " ({help})");
        }
        text
    }

    /// The diagnostic with the lines that it is about, for a terminal; `colour` adds ANSI sequences.
    pub fn snippet(&self, diagnostic: &Diagnostic, colour: bool) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let label = diagnostic.expected.as_ref().map(|expected| format!("expected {expected}"));
        // Only the lines in question: the renderer would walk the whole file for each message.
        let lines = self.lines_around(&diagnostic.span);
        let in_lines = |offset: usize| self.floor(offset.clamp(lines.start, lines.end)) - lines.start;
        let annotation = AnnotationKind::Primary
            .span(in_lines(diagnostic.span.start)..in_lines(diagnostic.span.end))
            .label(label.as_deref());
        let snippet = Snippet::source(&self.text[lines.clone()])
            .path(self.name.as_str())
            .line_start(self.position(lines.start).0)
            .annotation(annotation);
        let mut group: Group<'_> = level.primary_title(diagnostic.found.as_str()).element(snippet);
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.term_width(100).render(&[group])
    }

    fn lines_around(&self, span: &Range<usize>) -> Range<usize> {
        let (start, end) = (self.floor(span.start), self.floor(span.end.max(span.start)));
        let first = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let last = self.text[end..].find('\n').map_or(self.text.len(), |newline| end + newline);
        first..last
    }

    /// The nearest character boundary at or before `offset`.
    fn floor(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("knockd.conf", text)
    }

    #[test]
    fn positions_count_from_one_in_characters() {
        let source = source("a\néé=x\n");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(2), (2, 1));
        assert_eq!(source.position(7), (2, 4));
        assert_eq!(source.position(999), (3, 1));
    }

    #[test]
    fn says_it_in_one_line_and_in_many() {
        let source = source("[a]\nsequence = 1,x\n");
        let diagnostic = Diagnostic::error(17..18, "\"x\" is no port", "a port").with_help("do so");
        assert_eq!(
            source.line(&diagnostic),
            "knockd.conf:2:14: error: \"x\" is no port; expected a port (do so)"
        );
        let shown = source.snippet(&diagnostic, false);
        for part in
            ["error: \"x\" is no port", "knockd.conf:2:14", "sequence = 1,x", "^ expected a port", "do so"]
        {
            assert!(shown.contains(part), "{part} is missing in\n{shown}");
        }
    }
}
