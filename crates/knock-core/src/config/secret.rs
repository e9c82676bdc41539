//! What must be known to open a door: a sequence, or a key that a datagram is made with.

use std::ops::Range;
use std::path::PathBuf;

use super::diagnostic::Diagnostic;
use super::directive::DoorName;
use super::door::Door;
use super::draft::Seen;
use super::lines::Spanned;
use super::value;
use crate::knock::Protocol;
use crate::sequence::{Fault, Sequence, Step};
use crate::spa::{DEFAULT_PORT, MAX_DOOR_NAME};

/// What must be known to open a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A sequence that stands in `knockd.conf`.
    Fixed(Sequence),
    /// `One_Time_Sequences`: the next unused line of this file.
    OneTime(PathBuf),
    /// `rolling_key`: the sequence of the moment, made of the key in this file.
    Rolling(PathBuf),
    /// `authorized_keys`: one of the SSH keys in this file, with which a datagram is signed.
    Keys(PathBuf),
    /// `fwknop_key` and `fwknop_hmac`: the keys in these files, with which fwknop makes a datagram.
    Fwknop {
        /// The key that it is encrypted with.
        key: PathBuf,
        /// The key that it is authenticated with.
        hmac: PathBuf,
    },
}

impl Secret {
    /// The sequence, where it stands in `knockd.conf`.
    pub const fn fixed(&self) -> Option<&Sequence> {
        match self {
            Self::Fixed(sequence) => Some(sequence),
            _ => None,
        }
    }

    /// Whether it is a key that a single datagram is made with.
    pub const fn is_spa(&self) -> bool {
        matches!(self, Self::Keys(_) | Self::Fwknop { .. })
    }

    /// The files that hold it, none of which is for everybody to read but that of public keys.
    pub fn files(&self) -> Vec<&PathBuf> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::OneTime(path) | Self::Rolling(path) | Self::Keys(path) => vec![path],
            Self::Fwknop { key, hmac } => vec![key, hmac],
        }
    }

    /// The name of its directive.
    pub const fn directive(&self) -> &'static str {
        match self {
            Self::Fixed(_) => "Sequence",
            Self::OneTime(_) => "One_Time_Sequences",
            Self::Rolling(_) => "rolling_key",
            Self::Keys(_) => "authorized_keys",
            Self::Fwknop { .. } => "fwknop_key",
        }
    }
}

/// The same while its section is still being read.
#[derive(Default)]
pub(super) struct SecretDraft {
    secret: Option<(Secret, Range<usize>)>,
    fwknop_key: Option<(PathBuf, Range<usize>)>,
    fwknop_hmac: Option<(PathBuf, Range<usize>)>,
    pub(super) spa_port: Option<u16>,
    pub(super) address_must_match: bool,
}

const ADDRESS: [(&str, bool); 2] = [("match", true), ("any", false)];

impl SecretDraft {
    pub(super) fn set_sequence(
        &mut self,
        value: &Spanned<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), Fault> {
        let (sequence, span) = fixed_sequence(value, diagnostics)?;
        self.set(Secret::Fixed(sequence), span, diagnostics)
    }

    /// A secret that stands in a file of its own; `expected` is what kind of file that is.
    pub(super) fn set_file(
        &mut self,
        make: fn(PathBuf) -> Secret,
        expected: &str,
        value: &Spanned<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), Fault> {
        let secret = make(file(value, expected)?);
        self.set(secret, value.span(), diagnostics)
    }

    pub(super) fn set_fwknop_key(&mut self, value: &Spanned<'_>) -> Result<(), Fault> {
        self.fwknop_key = Some((file(value, "a file with fwknop's KEY")?, value.span()));
        Ok(())
    }

    pub(super) fn set_fwknop_hmac(&mut self, value: &Spanned<'_>) -> Result<(), Fault> {
        self.fwknop_hmac = Some((file(value, "a file with fwknop's HMAC_KEY")?, value.span()));
        Ok(())
    }

    pub(super) fn set_port(&mut self, value: &Spanned<'_>) -> Result<(), Fault> {
        let text = value.text.strip_suffix("/udp").unwrap_or(value.text);
        let step = Step::parse(&format!("{text}:udp")).ok().filter(|step| step.protocol == Protocol::Udp);
        let step = step.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        self.spa_port = Some(step.map(|step| step.port).ok_or_else(|| {
            Fault::new(value.span(), format!("\"{}\" is no UDP port", value.text), "a port from 1 to 65535")
        })?);
        Ok(())
    }

    pub(super) fn set_address(&mut self, value: &Spanned<'_>) -> Result<(), Fault> {
        self.address_must_match = value::choice(value, ADDRESS)?;
        Ok(())
    }

    /// The last counts where knockd has both kinds; with the new kinds nobody could have meant two.
    fn set(
        &mut self,
        new: Secret,
        span: Range<usize>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), Fault> {
        match self.secret.as_ref().map(|(old, _)| old) {
            Some(old) if old.directive() == new.directive() => {}
            Some(Secret::Fixed(_) | Secret::OneTime(_))
                if !matches!(new, Secret::Fixed(_) | Secret::OneTime(_)) =>
            {
                return Err(two_ways(self.secret.as_ref(), &new, span));
            }
            Some(Secret::Fixed(_) | Secret::OneTime(_)) => {
                let found = "a door with both Sequence and One_Time_Sequences";
                let help = "the last one counts: delete the other";
                diagnostics.push(Diagnostic::warning(span.clone(), found, help));
            }
            Some(_) => return Err(two_ways(self.secret.as_ref(), &new, span)),
            None => {}
        }
        self.secret = Some((new, span));
        Ok(())
    }

    /// What it comes to, and where it stands; `None` where nothing was said, or half of it, which is told.
    pub(super) fn finish(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<(Secret, Range<usize>)> {
        let (key, hmac) = match (self.fwknop_key.take(), self.fwknop_hmac.take()) {
            (None, None) => return self.secret.take(),
            (Some((key, span)), Some((hmac, _))) => ((key, span), hmac),
            (Some((_, span)), None) => {
                let help = "packets without HMAC are not taken: they could be changed and sent again";
                let error = Diagnostic::error(span, "fwknop_key without fwknop_hmac", "both of them");
                diagnostics.push(error.with_help(help));
                return None;
            }
            (None, Some((_, span))) => {
                let found = "fwknop_hmac without fwknop_key";
                diagnostics.push(Diagnostic::error(span, found, "both of them"));
                return None;
            }
        };
        let (key, span) = key;
        let secret = Secret::Fwknop { key, hmac };
        if self.secret.is_some() {
            let fault = two_ways(self.secret.as_ref(), &secret, span);
            diagnostics.push(Diagnostic::from_fault(fault));
            return None;
        }
        Some((secret, span))
    }
}

fn two_ways(old: Option<&(Secret, Range<usize>)>, new: &Secret, span: Range<usize>) -> Fault {
    let old = old.map_or("another", |(old, _)| old.directive());
    let found = format!("a door with both {old} and {}", new.directive());
    Fault::new(span, found, "one of them; another door may open the same")
}

/// Tells which directives mean nothing beside a door's secret.
pub(super) fn check(door: &Door, seen: &Seen, diagnostics: &mut Vec<Diagnostic>) {
    let is_spa = door.secret.is_spa();
    let lacks = |which| (!is_spa).then(|| seen.key(which)).flatten();
    if let Some(key) = lacks(DoorName::SpaPort) {
        let expected = "authorized_keys or fwknop_key in the same section";
        diagnostics.push(Diagnostic::error(key, "spa_port in a door with a sequence", expected));
    }
    if let Some(key) = seen.key(DoorName::Address)
        && !matches!(door.secret, Secret::Keys(_))
    {
        let expected = "authorized_keys in the same section";
        diagnostics.push(Diagnostic::error(key, "address in a door without authorized_keys", expected));
    }
    let of_sequences = [
        ("Seq_Timeout", DoorName::SeqTimeout),
        ("Seq_Cooldown", DoorName::SeqCooldown),
        ("TCPFlags", DoorName::TcpFlags),
    ];
    for (name, key) in of_sequences.into_iter().filter_map(|(name, which)| Some((name, seen.key(which)?))) {
        if is_spa {
            let found = format!("{name} in a door without a sequence");
            diagnostics.push(Diagnostic::warning(key, found, "it means nothing there: delete it"));
        }
    }
    if matches!(door.secret, Secret::Keys(_)) && door.key.name.len() > MAX_DOOR_NAME {
        let found = format!("the name of a door with authorized_keys, of {} bytes", door.key.name.len());
        let expected = format!("at most {MAX_DOOR_NAME} bytes: it has to fit into a knock");
        diagnostics.push(Diagnostic::error(door.secret_span.clone(), found, expected));
    }
}

/// Doors with keys are called by their names, which must be one door's alone.
pub(super) fn namesakes(doors: &[Door]) -> Vec<Diagnostic> {
    let with_keys = doors.iter().filter(|door| matches!(door.secret, Secret::Keys(_)));
    let mut names = std::collections::BTreeSet::new();
    let again = with_keys.filter(|door| !names.insert(door.key.name.as_str()));
    let mistake = |door: &Door| {
        let found = format!("another door with authorized_keys is called \"{}\"", door.key);
        Diagnostic::error(door.secret_span.clone(), found, "a name of its own: knocks call the door by it")
    };
    again.map(mistake).collect()
}

/// The UDP port of a door's datagrams, where it says nothing.
pub(super) const fn port(said: Option<u16>) -> u16 {
    match said {
        Some(port) => port,
        None => DEFAULT_PORT,
    }
}

fn fixed_sequence(
    value: &Spanned<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<(Sequence, Range<usize>), Fault> {
    let ports = value.tidied(diagnostics);
    let sequence = Sequence::parse(ports.text).map_err(|fault| fault.shifted(ports.start))?;
    if let Some(at) = ports.text.find(char::is_whitespace) {
        let at = ports.start + at;
        diagnostics.push(Diagnostic::warning(
            at..at + 1,
            "white space in a sequence",
            "write PORT,PORT:udp,PORT",
        ));
    }
    Ok((sequence, ports.span()))
}

fn file(value: &Spanned<'_>, expected: &str) -> Result<PathBuf, Fault> {
    if value.text.is_empty() {
        return Err(Fault::new(value.span(), "the file's name is missing", expected));
    }
    Ok(PathBuf::from(value.text))
}
