//! A door whose section is still being read: directives to a checked door.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::directive::{DoorName, NativeName};
use super::door::{Commands, Door, DoorKey};
use super::lines::Spanned;
use super::native_draft::{self, NativeDraft};
use super::secret::{self, Secret, SecretDraft};
use super::time;
use super::value::{self, FlagRule};
use crate::network::Network;
use crate::sequence::Fault;

/// How long a sequence may take when its door says nothing.
const SEQ_TIMEOUT: Duration = Duration::from_secs(25);
/// How long after the start command the stop command runs when its door says nothing.
const CMD_TIMEOUT: Duration = Duration::from_secs(10);

/// Which directives a door's section has so far, and where; of a name that is given twice the last.
#[derive(Default)]
pub(super) struct Seen(Vec<(DoorName, [Range<usize>; 2])>);

impl Seen {
    fn add(&mut self, which: DoorName, key: Range<usize>, value: Range<usize>) {
        self.0.retain(|(seen, _)| *seen != which);
        self.0.push((which, [key, value]));
    }

    fn find(&self, which: DoorName) -> Option<&[Range<usize>; 2]> {
        self.0.iter().find(|(seen, _)| *seen == which).map(|(_, spans)| spans)
    }

    /// Where the directive's name stands.
    pub(super) fn key(&self, which: DoorName) -> Option<Range<usize>> {
        self.find(which).map(|[key, _]| key.clone())
    }

    /// Where its value stands.
    pub(super) fn value(&self, which: DoorName) -> Option<Range<usize>> {
        self.find(which).map(|[_, value]| value.clone())
    }
}

/// A door whose section is still being read.
pub(super) struct Draft {
    name: String,
    name_span: Range<usize>,
    secret: SecretDraft,
    seq_timeout: Duration,
    seq_cooldown: Duration,
    flags: FlagRule,
    target: Option<IpAddr>,
    allow_from: Vec<Network>,
    native: NativeDraft,
    closes: Option<String>,
    commands: Commands,
    start_span: Option<Range<usize>>,
    start_6_span: Option<Range<usize>>,
    /// The directives seen so far.
    seen: Seen,
    /// Some directive was refused: what is missing may be what was meant by it.
    faulty: bool,
}

impl Draft {
    pub(super) fn new(name: &Spanned<'_>) -> Self {
        Self {
            name: name.text.to_owned(),
            name_span: name.span(),
            secret: SecretDraft::default(),
            seq_timeout: SEQ_TIMEOUT,
            seq_cooldown: Duration::ZERO,
            flags: FlagRule::default(),
            target: None,
            allow_from: Vec::new(),
            native: NativeDraft::default(),
            closes: None,
            commands: Commands { timeout: CMD_TIMEOUT, ..Commands::default() },
            start_span: None,
            start_6_span: None,
            seen: Seen::default(),
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
        if self.seen.key(which).is_some() {
            let found = format!("{name} is given twice in this door");
            diagnostics.push(Diagnostic::warning(key.span(), found, "the last one counts: delete the other"));
        }
        self.seen.add(which, key.span(), value.span());
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
            DoorName::Sequence => self.secret.set_sequence(value, diagnostics)?,
            DoorName::OneTimeSequences => {
                self.secret.set_file(Secret::OneTime, "a file of sequences", value, diagnostics)?
            }
            DoorName::RollingKey => {
                self.secret.set_file(Secret::Rolling, "a file with a key", value, diagnostics)?
            }
            DoorName::AuthorizedKeys => {
                self.secret.set_file(Secret::Keys, "a file of public keys", value, diagnostics)?
            }
            DoorName::FwknopKey => self.secret.set_fwknop_key(value)?,
            DoorName::FwknopHmac => self.secret.set_fwknop_hmac(value)?,
            DoorName::SpaPort => self.secret.set_port(&value.tidied(diagnostics))?,
            DoorName::Address => self.secret.set_address(&value.tidied(diagnostics))?,
            DoorName::SeqTimeout => self.seq_timeout = sequence_timeout(value, diagnostics)?,
            DoorName::SeqCooldown => self.seq_cooldown = seconds(value, diagnostics)?,
            DoorName::CmdTimeout => self.commands.timeout = seconds(value, diagnostics)?,
            DoorName::TcpFlags => self.flags = value::flags(&value.tidied(diagnostics))?,
            DoorName::Target => self.target = Some(value::address(value)?),
            DoorName::AllowFrom => {
                self.allow_from = value::networks(&value.tidied(diagnostics), diagnostics)?;
            }
            DoorName::Native(which) => self.native.set(which, &value.tidied(diagnostics), diagnostics)?,
            DoorName::Close => self.closes = Some(closed_door(value)?),
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

    /// The finished door, unless it lacks what every door needs.
    pub(super) fn finish(mut self, namesake: usize, diagnostics: &mut Vec<Diagnostic>) -> Option<Door> {
        native_draft::check(&self.seen, diagnostics);
        let mistakes = diagnostics.len();
        let Some((secret, secret_span)) = self.secret.finish(diagnostics) else {
            if !self.faulty && diagnostics.len() == mistakes {
                diagnostics.push(no_secret(&self.name, self.name_span));
            }
            return None;
        };
        let door = Door {
            key: DoorKey { name: self.name, namesake },
            secret,
            secret_span,
            spa_port: secret::port(self.secret.spa_port),
            address_must_match: self.secret.address_must_match,
            seq_timeout: self.seq_timeout,
            seq_cooldown: self.seq_cooldown,
            flags: self.flags,
            strict: false,
            target: self.target,
            allow_from: self.allow_from,
            native: self.native.finish(),
            open_span: self.seen.value(DoorName::Native(NativeName::Open)),
            closes: self.closes,
            close_span: self.seen.value(DoorName::Close),
            commands: self.commands,
            start_span: self.start_span,
            start_6_span: self.start_6_span,
        };
        secret::check(&door, &self.seen, diagnostics);
        Some(door)
    }
}

fn no_secret(door: &str, span: Range<usize>) -> Diagnostic {
    let error = Diagnostic::error(
        span,
        format!("door \"{door}\" has no sequence"),
        "Sequence or One_Time_Sequences in its section, or a key: rolling_key, authorized_keys or fwknop_key",
    );
    if door.trim().eq_ignore_ascii_case("options") {
        return error.with_help("the global section is written [options], in lower case and without spaces");
    }
    error
}

fn closed_door(value: &Spanned<'_>) -> Result<String, Fault> {
    if value.text.is_empty() {
        return Err(Fault::new(value.span(), "the door's name is missing", "another door's name"));
    }
    Ok(value.text.to_owned())
}

fn sequence_timeout(value: &Spanned<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Duration, Fault> {
    let timeout = seconds(value, diagnostics)?;
    if timeout.is_zero() {
        return Err(Fault::new(value.span(), "no sequence can be knocked in no time", "more than 0 seconds"));
    }
    Ok(timeout)
}

fn seconds(value: &Spanned<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Duration, Fault> {
    let tidied = value.tidied(diagnostics);
    let number = match tidied.text.split_once(char::is_whitespace) {
        Some((number, unit)) if names_seconds(unit.trim()) => {
            let number = Spanned { text: number, start: tidied.start };
            let unit = number.span().end..tidied.span().end;
            diagnostics.push(Diagnostic::warning(unit, "a unit behind a number", "times are in seconds"));
            number
        }
        _ => tidied,
    };
    time::seconds(&number)
}

fn names_seconds(unit: &str) -> bool {
    ["s", "sec", "secs", "second", "seconds"].iter().any(|name| unit.eq_ignore_ascii_case(name))
}
