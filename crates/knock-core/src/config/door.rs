//! A door: what must be knocked, and what is run then.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::directive::DoorName;
use super::lines::Spanned;
use super::value::{self, FlagRule};
use crate::sequence::{Fault, Sequence};

/// How long a sequence may take when its door says nothing.
const SEQ_TIMEOUT: Duration = Duration::from_secs(25);
/// How long after the start command the stop command runs when its door says nothing.
const CMD_TIMEOUT: Duration = Duration::from_secs(10);

/// What tells a door from all others, also across a change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DoorKey {
    /// The section's name.
    pub name: String,
    /// How many sections of this name stand before it: two sections of one name are two doors.
    pub namesake: usize,
}

impl fmt::Display for DoorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A section of `knockd.conf` other than `[options]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Which door this is.
    pub key: DoorKey,
    /// `Sequence` or `One_Time_Sequences`.
    pub sequence: SequenceSource,
    /// Where in the file the sequence stands.
    pub sequence_span: Range<usize>,
    /// `Seq_Timeout`: how long after the first knock the last may come. Never zero.
    pub seq_timeout: Duration,
    /// `Seq_Cooldown`: how long after an opening the same source's knocks are passed over.
    pub seq_cooldown: Duration,
    /// `TCPFlags`.
    pub flags: FlagRule,
    /// `Target`: the address to knock at, instead of the interface's.
    pub target: Option<IpAddr>,
    /// What runs for a source.
    pub commands: Commands,
    /// Where in the file `Start_Command` stands.
    pub start_span: Option<Range<usize>>,
    /// Where in the file `Start_Command_6` stands.
    pub start_6_span: Option<Range<usize>>,
}

impl Door {
    /// The start commands as they are written, with their places in the file.
    pub fn start_commands(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        let commands =
            [(&self.commands.start, &self.start_span), (&self.commands.start_6, &self.start_6_span)];
        commands.into_iter().filter_map(|(command, span)| Some((command.as_deref()?, span.clone()?)))
    }
}

/// Where a door's sequence comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceSource {
    /// It stands in `knockd.conf`.
    Fixed(Sequence),
    /// The next unused line of this file.
    OneTime(PathBuf),
}

/// A door's commands, each for `/bin/sh -c`, with `%IP%` still in them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Commands {
    /// For IPv4 sources.
    pub start: Option<String>,
    /// For IPv6 sources; `Some("")` does nothing, `None` falls back to `start`.
    pub start_6: Option<String>,
    /// For IPv4 sources, `timeout` after the start command ended.
    pub stop: Option<String>,
    /// For IPv6 sources; `Some("")` does nothing, `None` falls back to `stop`.
    pub stop_6: Option<String>,
    /// `Cmd_Timeout`.
    pub timeout: Duration,
}

impl Commands {
    /// The start and stop command for a source, `%IP%` replaced; no stop command without a start command.
    pub fn for_source(&self, source: IpAddr) -> Option<(String, Option<String>)> {
        let (start, stop) = match source {
            IpAddr::V4(_) => (self.start.as_ref(), self.stop.as_ref()),
            IpAddr::V6(_) => {
                (self.start_6.as_ref().or(self.start.as_ref()), self.stop_6.as_ref().or(self.stop.as_ref()))
            }
        };
        let filled =
            |command: &String| (!command.is_empty()).then(|| command.replace("%IP%", &source.to_string()));
        start.and_then(filled).map(|start| (start, stop.and_then(filled)))
    }
}

/// A door whose section is still being read.
pub(super) struct Draft {
    name: String,
    name_span: Range<usize>,
    sequence: Option<(SequenceSource, Range<usize>)>,
    seq_timeout: Duration,
    seq_cooldown: Duration,
    flags: FlagRule,
    target: Option<IpAddr>,
    commands: Commands,
    start_span: Option<Range<usize>>,
    start_6_span: Option<Range<usize>>,
    /// The directives seen so far.
    seen: Vec<DoorName>,
    /// Some directive was refused: what is missing may be what was meant by it.
    faulty: bool,
}

impl Draft {
    pub(super) fn new(name: &Spanned<'_>) -> Self {
        Self {
            name: name.text.to_owned(),
            name_span: name.span(),
            sequence: None,
            seq_timeout: SEQ_TIMEOUT,
            seq_cooldown: Duration::ZERO,
            flags: FlagRule::default(),
            target: None,
            commands: Commands { timeout: CMD_TIMEOUT, ..Commands::default() },
            start_span: None,
            start_6_span: None,
            seen: Vec::new(),
            faulty: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes a directive; the last of a name wins.
    pub(super) fn set(
        &mut self,
        name: &str,
        which: DoorName,
        key: &Spanned<'_>,
        value: &Spanned<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), Diagnostic> {
        if self.seen.contains(&which) {
            let found = format!("{name} is given twice in this door");
            diagnostics.push(Diagnostic::warning(key.span(), found, "the last one counts: delete the other"));
        }
        self.seen.push(which);
        let outcome = self.set_value(which, value, diagnostics);
        self.faulty |= outcome.is_err();
        outcome.map_err(Diagnostic::from_fault)
    }

    fn set_value(
        &mut self,
        which: DoorName,
        value: &Spanned<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), Fault> {
        match which {
            DoorName::Sequence => {
                let sequence = fixed_sequence(value, diagnostics)?;
                self.set_sequence(sequence, diagnostics);
            }
            DoorName::OneTimeSequences => self.set_sequence(one_time_sequences(value)?, diagnostics),
            DoorName::SeqTimeout => self.seq_timeout = sequence_timeout(value, diagnostics)?,
            DoorName::SeqCooldown => self.seq_cooldown = seconds(value, diagnostics)?,
            DoorName::CmdTimeout => self.commands.timeout = seconds(value, diagnostics)?,
            DoorName::TcpFlags => self.flags = value::flags(&tidied(value, diagnostics))?,
            DoorName::Target => self.target = Some(value::address(value)?),
            DoorName::StartCommand => {
                self.start_span = Some(value.span());
                self.commands.start = Some(value.text.to_owned());
            }
            DoorName::StartCommand6 => {
                self.start_6_span = Some(value.span());
                self.commands.start_6 = Some(value.text.to_owned());
            }
            DoorName::StopCommand => self.commands.stop = Some(value.text.to_owned()),
            DoorName::StopCommand6 => self.commands.stop_6 = Some(value.text.to_owned()),
        }
        Ok(())
    }

    fn set_sequence(&mut self, new: (SequenceSource, Range<usize>), diagnostics: &mut Vec<Diagnostic>) {
        let kinds = (&new.0, self.sequence.as_ref().map(|(old, _)| old));
        if let (SequenceSource::OneTime(_), Some(SequenceSource::Fixed(_)))
        | (SequenceSource::Fixed(_), Some(SequenceSource::OneTime(_))) = kinds
        {
            let found = "a door with both Sequence and One_Time_Sequences";
            let help = "the last one counts: delete the other";
            diagnostics.push(Diagnostic::warning(new.1.clone(), found, help));
        }
        self.sequence = Some(new);
    }

    /// The finished door, unless it lacks what every door needs.
    pub(super) fn finish(self, namesake: usize, diagnostics: &mut Vec<Diagnostic>) -> Option<Door> {
        let Some((sequence, sequence_span)) = self.sequence else {
            if !self.faulty {
                diagnostics.push(no_sequence(&self.name, self.name_span));
            }
            return None;
        };
        Some(Door {
            key: DoorKey { name: self.name, namesake },
            sequence,
            sequence_span,
            seq_timeout: self.seq_timeout,
            seq_cooldown: self.seq_cooldown,
            flags: self.flags,
            target: self.target,
            commands: self.commands,
            start_span: self.start_span,
            start_6_span: self.start_6_span,
        })
    }
}

fn no_sequence(door: &str, span: Range<usize>) -> Diagnostic {
    let error = Diagnostic::error(
        span,
        format!("door \"{door}\" has no sequence"),
        "Sequence or One_Time_Sequences in its section",
    );
    if door.trim().eq_ignore_ascii_case("options") {
        return error.with_help("the global section is written [options], in lower case and without spaces");
    }
    error
}

fn fixed_sequence(
    value: &Spanned<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<(SequenceSource, Range<usize>), Fault> {
    let ports = tidied(value, diagnostics);
    let sequence = Sequence::parse(ports.text).map_err(|fault| fault.shifted(ports.start))?;
    if let Some(at) = ports.text.find(char::is_whitespace) {
        let at = ports.start + at;
        diagnostics.push(Diagnostic::warning(
            at..at + 1,
            "white space in a sequence",
            "write PORT,PORT:udp,PORT",
        ));
    }
    Ok((SequenceSource::Fixed(sequence), ports.span()))
}

fn one_time_sequences(value: &Spanned<'_>) -> Result<(SequenceSource, Range<usize>), Fault> {
    if value.text.is_empty() {
        return Err(Fault::new(value.span(), "the file's name is missing", "a file of sequences"));
    }
    Ok((SequenceSource::OneTime(PathBuf::from(value.text)), value.span()))
}

fn sequence_timeout(value: &Spanned<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Duration, Fault> {
    let timeout = seconds(value, diagnostics)?;
    if timeout.is_zero() {
        return Err(Fault::new(value.span(), "no sequence can be knocked in no time", "more than 0 seconds"));
    }
    Ok(timeout)
}

fn seconds(value: &Spanned<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Duration, Fault> {
    let tidied = tidied(value, diagnostics);
    let number = match tidied.text.split_once(char::is_whitespace) {
        Some((number, unit)) if names_seconds(unit.trim()) => {
            let number = Spanned { text: number, start: tidied.start };
            let unit = number.span().end..tidied.span().end;
            diagnostics.push(Diagnostic::warning(unit, "a unit behind a number", "times are in seconds"));
            number
        }
        _ => tidied,
    };
    value::seconds(&number)
}

fn names_seconds(unit: &str) -> bool {
    ["s", "sec", "secs", "second", "seconds"].iter().any(|name| unit.eq_ignore_ascii_case(name))
}

/// The value without the remark behind it, which knockd reads over too.
fn tidied<'a>(value: &Spanned<'a>, diagnostics: &mut Vec<Diagnostic>) -> Spanned<'a> {
    let (tidied, had_remark) = value.without_remark();
    if had_remark {
        let remark = tidied.span().end..value.span().end;
        let help = "a remark stands on a line of its own, after #";
        diagnostics.push(Diagnostic::warning(remark, "a remark behind a value", help));
    }
    tidied
}
