//! The directives of a native door while its section is still being read.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::directive::{DoorName, NativeName};
use super::draft::Seen;
use super::lines::Spanned;
use super::native::{Established, Native, PortRange, Widen};
use super::ports::ports;
use super::{time, value};
use crate::sequence::Fault;

/// What has been said so far of what a door opens.
#[derive(Default)]
pub(super) struct NativeDraft {
    ports: Vec<PortRange>,
    open_for: Option<Duration>,
    established: Established,
    widen: Widen,
}

const ESTABLISHED: [(&str, Established); 2] = [("keep", Established::Keep), ("cut", Established::Cut)];

impl NativeDraft {
    pub(super) fn set(
        &mut self,
        which: NativeName,
        value: &Spanned<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), Fault> {
        match which {
            NativeName::Open => self.ports = ports(value, diagnostics)?,
            NativeName::OpenFor => {
                let time = time::duration(value.text).map_err(|fault| fault.shifted(value.start))?;
                self.open_for = Some(time);
            }
            NativeName::Established => self.established = value::choice(value, ESTABLISHED)?,
            NativeName::Widen => self.widen = widen(value, diagnostics)?,
        }
        Ok(())
    }

    /// What the door opens, if anything.
    pub(super) fn finish(self) -> Option<Native> {
        let Self { ports, open_for, established, widen } = self;
        (!ports.is_empty()).then_some(Native { ports, open_for, established, widen })
    }
}

/// Tells what does not go together in one door.
pub(super) fn check(seen: &Seen, diagnostics: &mut Vec<Diagnostic>) {
    if seen.key(DoorName::Native(NativeName::Open)).is_some() {
        if let Some(key) = seen.key(DoorName::CmdTimeout) {
            let help = "open_for counts: the stop command runs when the door closes";
            diagnostics.push(Diagnostic::warning(key, "Cmd_Timeout in a door with open", help));
        }
        return;
    }
    for (name, which) in [
        ("open_for", NativeName::OpenFor),
        ("established", NativeName::Established),
        ("widen", NativeName::Widen),
    ] {
        if let Some(key) = seen.key(DoorName::Native(which)) {
            let found = format!("{name} in a door without open");
            diagnostics.push(Diagnostic::error(key, found, "open = PORT/PROTOCOL in the same section"));
        }
    }
}

/// Reads `24/56`, or `24` for IPv4 alone.
fn widen(value: &Spanned<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Widen, Fault> {
    let (v4, v6) = value.text.split_once('/').map_or((value.text, None), |(v4, v6)| (v4, Some(v6)));
    let v4 = prefix(&Spanned { text: v4, start: value.start }, "IPv4", 32)?;
    let v6 = match v6 {
        None => Widen::default().v6,
        Some(text) => {
            let start = value.span().end - text.len();
            prefix(&Spanned { text, start }, "IPv6", 128)?
        }
    };
    let mut warn = |found: String| {
        let help = "24/56 is as wide as most providers need";
        diagnostics.push(Diagnostic::warning(value.span(), found, help));
    };
    if v4 < 16 {
        warn(format!("whoever knocks with IPv4 lets in {} addresses", 1_u64 << (32 - v4)));
    }
    if v6 < 32 {
        warn(format!("whoever knocks with IPv6 lets in 2^{} addresses", 128 - v6));
    }
    Ok(Widen { v4, v6 })
}

fn prefix(value: &Spanned<'_>, family: &str, bits: u8) -> Result<u8, Fault> {
    let value = value.trimmed();
    let digits = value.text.bytes().all(|byte| byte.is_ascii_digit());
    match value.text.parse() {
        Ok(prefix) if digits && (1..=bits).contains(&prefix) => Ok(prefix),
        _ => {
            let found = match value.text {
                "" => format!("the length of the {family} prefix is missing"),
                text => format!("\"{text}\" is no length of an {family} prefix"),
            };
            let expected = format!("1 to {bits}, all in all such as 24/56, or 24 for IPv4 alone");
            Err(Fault::new(value.span(), found, expected))
        }
    }
}
