//! `strict`: which doors it holds for, and what counts as a knock there.

use super::MAX_ERRORS;
use super::diagnostic::Diagnostic;
use super::door::Door;
use super::secret::Secret;
use super::value::FlagRule;
use crate::knock::{Protocol, TcpFlags};

/// What begins a TCP connection. Nothing else counts on a strict door, as nothing else that goes to a wrong port spoils:
/// a scan by other packets would find the door as if it were not strict.
const BEGINS: FlagRule =
    FlagRule { required: TcpFlags::SYN, excluded: TcpFlags::ACK.union(TcpFlags::RST).union(TcpFlags::FIN) };

/// Makes the doors strict for which the option says so; where it is unsaid, those that knockd could not have. Tells which
/// of them no TCP packet can knock at.
pub(super) fn apply(option: Option<bool>, doors: &mut [Door]) -> Vec<Diagnostic> {
    for door in doors.iter_mut() {
        let is_new = door.native.is_some() || door.closes.is_some();
        door.strict = option.unwrap_or(is_new);
    }
    doors.iter_mut().filter(|door| door.strict).filter_map(restrict).take(MAX_ERRORS).collect()
}

fn restrict(door: &mut Door) -> Option<Diagnostic> {
    let FlagRule { required, excluded } = door.flags;
    let flags =
        FlagRule { required: required.union(BEGINS.required), excluded: excluded.union(BEGINS.excluded) };
    if flags.required.intersects(flags.excluded) && takes_tcp(&door.secret) {
        let found = "a strict door whose tcpflags fit no packet that begins a connection";
        let error = Diagnostic::error(door.secret_span.clone(), found, "tcpflags = syn, or no tcpflags");
        return Some(error.with_help("with strict = no in [options] other packets are knocks as well"));
    }
    door.flags = flags;
    None
}

fn takes_tcp(secret: &Secret) -> bool {
    match secret {
        Secret::Fixed(sequence) => sequence.steps().iter().any(|step| step.protocol == Protocol::Tcp),
        Secret::OneTime(_) | Secret::Rolling(_) => true,
        Secret::Keys(_) | Secret::Fwknop { .. } => false,
    }
}
