//! `knockd.conf`: bytes to checked doors, and everything there is to say about them.
//!
//! ```text
//! bytes ─► lines (sections, directives) ─► directives (names, places) ─► doors and options (values) ─► advice
//! ```
//!
//! The grammar is knockd 0.8's. What knockd would have guessed at is an error here, with its place.

pub mod advice;
mod close;
mod diagnostic;
mod directive;
mod door;
mod draft;
mod interfaces;
mod lines;
mod native;
mod native_draft;
pub mod nearest;
mod options;
mod ports;
mod secret;
mod strict;
mod time;
mod value;

use std::collections::BTreeSet;

pub use diagnostic::{Diagnostic, Severity, Source};
pub use door::{Commands, Door, DoorKey};
pub use interfaces::Interfaces;
pub use native::{AcceptRule, DEFAULT_MARK, Established, Native, PortRange, Widen};
pub use options::{JournalFields, LogFormat, Options};
pub use secret::Secret;
pub use time::duration;
pub use value::FlagRule;

use directive::{OptionName, Place};
use draft::Draft;
use lines::{Line, Spanned};

/// After so many errors the rest of a file is not read: it is no configuration at all.
pub const MAX_ERRORS: usize = 1000;

/// A whole configuration that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The `[options]`.
    pub options: Options,
    /// The doors, in the file's order.
    pub doors: Vec<Door>,
}

/// What came out of reading a file.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The configuration, where there was no error.
    pub config: Option<Config>,
    /// All errors and warnings, in the file's order.
    pub diagnostics: Vec<Diagnostic>,
    /// The text, to show the diagnostics in.
    pub source: Source,
}

/// Reads a configuration. `name` is the file's, for messages.
pub fn parse(name: &str, bytes: &[u8]) -> Parsed {
    let source = Source::new(name, String::from_utf8_lossy(bytes));
    let mut reader = Reader::default();
    match lines::text(bytes) {
        Ok(text) => reader.read(text),
        Err(diagnostic) => reader.diagnostics.push(diagnostic),
    }
    let Reader { options, mut doors, mut diagnostics, .. } = reader;
    diagnostics.extend(strict::apply(options.strict, &mut doors));
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    let config = (!failed).then_some(Config { options, doors });
    if let Some(config) = &config {
        diagnostics.extend(advice::on_sequences(&config.doors));
        diagnostics.extend(advice::on_commands(&config.doors));
        diagnostics.extend(advice::on_native(&config.doors));
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    Parsed { config, diagnostics, source }
}

#[derive(Default)]
struct Reader {
    options: Options,
    doors: Vec<Door>,
    /// The names of all doors' sections, of those with mistakes too.
    names: BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
    /// How many of them have been looked at, and how many of these were errors.
    counted: usize,
    errors: usize,
    section: Section,
}

/// What the lines that follow belong to.
#[derive(Default)]
enum Section {
    #[default]
    None,
    Options,
    Door(Box<Draft>),
}

impl Reader {
    fn read(&mut self, text: &str) {
        for line in lines::split(text) {
            if let Err(diagnostic) = line.and_then(|line| self.line(&line)) {
                self.diagnostics.push(diagnostic);
            }
            if self.errors() >= MAX_ERRORS {
                let at = self.diagnostics.last().map_or(0..0, |last| last.span.clone());
                let found = format!("{} errors: the rest of the file is not read", self.errors);
                self.diagnostics.push(Diagnostic::error(at, found, "a configuration of knockd"));
                return;
            }
        }
        self.end_section();
        self.diagnostics.extend(close::mistakes(&self.doors, &self.names));
        self.diagnostics.extend(secret::namesakes(&self.doors));
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), Diagnostic> {
        match line {
            Line::Section(name) => {
                self.begin_section(name);
                Ok(())
            }
            Line::Directive { key, value } => self.directive(key, value.as_ref()),
        }
    }

    /// How many errors there are so far, wherever they were found.
    fn errors(&mut self) -> usize {
        let new = self.diagnostics.get(self.counted..).unwrap_or_default();
        self.errors += new.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
        self.counted = self.diagnostics.len();
        self.errors
    }

    fn begin_section(&mut self, name: &Spanned<'_>) {
        self.end_section();
        self.section =
            if name.text == "options" { Section::Options } else { Section::Door(Box::new(Draft::new(name))) };
    }

    fn end_section(&mut self) {
        if let Section::Door(draft) = std::mem::take(&mut self.section) {
            let namesakes = self.doors.iter().filter(|door| door.key.name == draft.name()).count();
            self.names.insert(draft.name().to_owned());
            if let Some(door) = draft.finish(namesakes, &mut self.diagnostics) {
                self.doors.push(door);
            }
        }
    }

    fn directive(&mut self, key: &Spanned<'_>, value: Option<&Spanned<'_>>) -> Result<(), Diagnostic> {
        let directive = directive::find(key)?;
        if let Section::None = self.section {
            return Err(Diagnostic::error(
                key.span(),
                "a directive before any section",
                "[options] or [a door's name]",
            ));
        }
        if directive.place == Place::Options(OptionName::UseSyslog) {
            return self.use_syslog(key, value);
        }
        let Some(value) = value else {
            let found = format!("{} has no value", directive.name);
            return Err(Diagnostic::error(key.span(), found, format!("{} = …", directive.name)));
        };
        match (&mut self.section, directive.place) {
            (Section::Options, Place::Options(which)) => {
                self.options.set(which, value, &mut self.diagnostics)
            }
            (Section::Door(draft), Place::Door(which)) => {
                draft.set(directive.name, which, key, value, &mut self.diagnostics)
            }
            (_, place) => {
                let found = format!("{} does not belong into this section", directive.name);
                Err(Diagnostic::error(key.span(), found, format!("it in {place}")))
            }
        }
    }

    fn use_syslog(&mut self, key: &Spanned<'_>, value: Option<&Spanned<'_>>) -> Result<(), Diagnostic> {
        if let Some(value) = value {
            return Err(Diagnostic::error(
                value.span(),
                "UseSyslog has a value",
                "UseSyslog alone on its line",
            ));
        }
        if let Section::Door(_) = self.section {
            let help = "it holds for the whole daemon: move it to [options]";
            self.diagnostics.push(Diagnostic::warning(key.span(), "UseSyslog inside a door", help));
        }
        self.options.use_syslog = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
