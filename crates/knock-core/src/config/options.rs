//! `[options]`: what holds for the whole daemon.

use std::ops::Range;
use std::path::PathBuf;

use super::diagnostic::Diagnostic;
use super::directive::OptionName;
use super::interfaces::Interfaces;
use super::lines::Spanned;
use super::native::{AcceptRule, DEFAULT_MARK};
use super::value;
use crate::sequence::Fault;

/// What `[options]` says; `None` where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `Interface`.
    pub interfaces: Option<Interfaces>,
    /// Where in the file `Interface` stands.
    pub interfaces_span: Option<Range<usize>>,
    /// `LogFile`.
    pub log_file: Option<PathBuf>,
    /// `log_format`.
    pub log_format: LogFormat,
    /// `journal_fields`.
    pub journal_fields: JournalFields,
    /// `metrics_file`.
    pub metrics_file: Option<PathBuf>,
    /// `PidFile`.
    pub pid_file: Option<PathBuf>,
    /// `UseSyslog`.
    pub use_syslog: bool,
    /// `guard`: native doors' ports are closed to all who have not knocked. `true` when unsaid.
    pub guard: bool,
    /// `strict`: any other port hit ends an attempt. Where it is unsaid, on doors that are new with this daemon only;
    /// see [`Door::strict`](super::Door::strict).
    pub strict: Option<bool>,
    /// `mark`: the one bit of the packet mark that is ours.
    pub mark: u32,
    /// `accept_rule`.
    pub accept_rule: AcceptRule,
    /// `state_directory`.
    pub state_directory: Option<PathBuf>,
    /// `control_socket`.
    pub control_socket: Option<PathBuf>,
    /// `host_key`.
    pub host_key: Option<PathBuf>,
}

/// The form of the log's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// As knockd writes them.
    #[default]
    Classic,
    /// A JSON object each.
    Json,
}

/// Whether the system's journal is sent what a line is about, beside the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalFields {
    /// Unless it passes the lines on to another log daemon, which would write them otherwise than knockd's.
    #[default]
    Auto,
    /// Wherever there is a journal.
    Yes,
    /// Nowhere.
    No,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interfaces: None,
            interfaces_span: None,
            log_file: None,
            log_format: LogFormat::default(),
            journal_fields: JournalFields::default(),
            metrics_file: None,
            pid_file: None,
            use_syslog: false,
            guard: true,
            strict: None,
            mark: DEFAULT_MARK,
            accept_rule: AcceptRule::default(),
            state_directory: None,
            control_socket: None,
            host_key: None,
        }
    }
}

impl Options {
    /// An empty name or path unsets, as knockd has it.
    pub(super) fn set(
        &mut self,
        which: OptionName,
        value: &Spanned<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), Diagnostic> {
        self.set_value(which, value, diagnostics).map_err(Diagnostic::from_fault)
    }

    fn set_value(
        &mut self,
        which: OptionName,
        value: &Spanned<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), Fault> {
        let path = (!value.text.is_empty()).then(|| PathBuf::from(value.text));
        match which {
            OptionName::UseSyslog => self.use_syslog = true,
            OptionName::LogFile => self.log_file = path,
            OptionName::LogFormat => {
                self.log_format = value::choice(&value.tidied(diagnostics), LOG_FORMATS)?;
            }
            OptionName::JournalFields => {
                self.journal_fields = value::choice(&value.tidied(diagnostics), JOURNAL_FIELDS)?;
            }
            OptionName::MetricsFile => self.metrics_file = path,
            OptionName::PidFile => self.pid_file = path,
            OptionName::Interface => {
                let parse = |text| Interfaces::parse(text).map_err(|fault| fault.shifted(value.start));
                let named = (!value.text.is_empty()).then_some(value.text);
                self.interfaces = named.map(parse).transpose()?;
                self.interfaces_span = self.interfaces.as_ref().map(|_| value.span());
            }
            OptionName::Guard => self.guard = value::choice(&value.tidied(diagnostics), YES_OR_NO)?,
            OptionName::Strict => {
                self.strict = Some(value::choice(&value.tidied(diagnostics), YES_OR_NO)?);
            }
            OptionName::Mark => self.mark = mark(&value.tidied(diagnostics))?,
            OptionName::AcceptRule => {
                self.accept_rule = value::choice(&value.tidied(diagnostics), ACCEPT_RULES)?;
            }
            OptionName::StateDirectory => self.state_directory = path,
            OptionName::ControlSocket => self.control_socket = path,
            OptionName::HostKey => self.host_key = path,
        }
        Ok(())
    }
}

const LOG_FORMATS: [(&str, LogFormat); 2] = [("classic", LogFormat::Classic), ("json", LogFormat::Json)];
const JOURNAL_FIELDS: [(&str, JournalFields); 3] =
    [("auto", JournalFields::Auto), ("yes", JournalFields::Yes), ("no", JournalFields::No)];
const YES_OR_NO: [(&str, bool); 2] = [("yes", true), ("no", false)];
const ACCEPT_RULES: [(&str, AcceptRule); 2] = [("auto", AcceptRule::Auto), ("none", AcceptRule::None)];

/// Reads one bit of the packet mark, in hexadecimal or decimal.
fn mark(value: &Spanned<'_>) -> Result<u32, Fault> {
    let fault = |found: String| {
        Fault::new(value.span(), found, "a number of 32 bits of which exactly one is set, such as 0x10000000")
    };
    let text = value.text;
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if text.is_empty() {
        return Err(fault("the number is missing".into()));
    }
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(fault(format!("\"{text}\" is no number")));
    }
    let mark = u32::from_str_radix(digits, radix).map_err(|_| fault(format!("{text} is too large")))?;
    match mark.count_ones() {
        0 => Err(fault(format!("{text} has no bit set"))),
        1 => Ok(mark),
        bits => Err(fault(format!("{text} has {bits} bits set"))),
    }
}
