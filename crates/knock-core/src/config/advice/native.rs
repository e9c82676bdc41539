//! What can be said of native doors.

use std::collections::BTreeSet;

use crate::config::diagnostic::Diagnostic;
use crate::config::door::Door;
use crate::config::native::{Established, Native, PortRange};

/// What can be said of the native doors.
pub fn on_native(doors: &[Door]) -> Vec<Diagnostic> {
    let closed: BTreeSet<_> = doors.iter().filter_map(|door| door.closes.as_deref()).collect();
    let native = || doors.iter().filter_map(|door| Some((door, door.native.as_ref()?)));
    let single = native().flat_map(|(door, native)| {
        let advice = [
            never_closed(door, native, &closed),
            knocked_at_what_it_opens(door, native),
            opens_very_much(door, native),
        ];
        advice.into_iter().flatten()
    });
    single.chain(differing(native())).collect()
}

fn never_closed(door: &Door, native: &Native, closed: &BTreeSet<&str>) -> Option<Diagnostic> {
    let name = door.key.name.as_str();
    if native.open_for.is_some() || closed.contains(name) {
        return None;
    }
    let found = format!("door \"{name}\" has no open_for and no door that closes it");
    let help = format!(
        "it stays open until \"knockctl close\" or until the door is removed: write open_for = 10s, or close = {name} \
         in another door"
    );
    Some(Diagnostic::warning(door.open_span.clone()?, found, help))
}

fn opens_very_much(door: &Door, native: &Native) -> Option<Diagnostic> {
    const MANY: u32 = 10_000;
    let count = |range: &PortRange| u32::from(range.last - range.first) + 1;
    let ports: u32 = native.ports.iter().map(count).sum();
    if ports <= MANY {
        return None;
    }
    let found = format!("the door opens {ports} ports");
    let help = "they are closed to everybody else, as long as guard is yes: name those that are in use";
    Some(Diagnostic::warning(door.open_span.clone()?, found, help))
}

fn knocked_at_what_it_opens(door: &Door, native: &Native) -> Option<Diagnostic> {
    let sequence = door.secret.fixed()?;
    let opened = |protocol, port| native.ports.iter().any(|range| range.contains(protocol, port));
    let step = sequence.steps().iter().find(|step| opened(step.protocol, step.port))?;
    let found = format!("the sequence has {step}, which the door opens");
    let help = "connections to a port that is knocked count as knocks: choose other ports for the sequence";
    Some(Diagnostic::warning(door.secret_span.clone(), found, help))
}

/// Doors that open the same port of the same host, of which one keeps and the other cuts.
///
/// Sorted ranges meet those that overlap with them without a look at every pair.
fn differing<'a>(native: impl Iterator<Item = (&'a Door, &'a Native)>) -> Vec<Diagnostic> {
    let mut openings: Vec<_> = native
        .flat_map(|(door, native)| native.ports.iter().map(move |range| (*range, door, native.established)))
        .collect();
    openings.sort_by_key(|(range, door, _)| (door.target, *range));
    let mut furthest: [Option<(PortRange, &Door)>; 2] = [None; 2];
    let [keeping, cutting] = &mut furthest;
    let mut told = BTreeSet::new();
    let mut advice = Vec::new();
    for (range, door, established) in openings {
        let (own, other) = match established {
            Established::Keep => (&mut *keeping, &*cutting),
            Established::Cut => (&mut *cutting, &*keeping),
        };
        if let Some((met, other)) = other
            && other.target == door.target
            && met.overlaps(range)
            && told.insert(&door.key)
        {
            let common = PortRange { last: met.last.min(range.last), ..range };
            advice.extend(differ(door, other, common));
        }
        let reaches_further = own.is_none_or(|(old, before)| {
            before.target != door.target || old.protocol != range.protocol || old.last < range.last
        });
        if reaches_further {
            *own = Some((range, door));
        }
    }
    advice
}

fn differ(one: &Door, other: &Door, common: PortRange) -> Option<Diagnostic> {
    let at = |door: &Door| door.open_span.as_ref().map(|span| span.start);
    let (first, second) = if at(one) < at(other) { (one, other) } else { (other, one) };
    let found = format!(
        "doors \"{}\" and \"{}\" both open {common}, but one keeps established connections and the other cuts them",
        first.key, second.key
    );
    let help = "connections may be cut that the other door keeps: give both the same";
    Some(Diagnostic::warning(second.open_span.clone()?, found, help))
}
