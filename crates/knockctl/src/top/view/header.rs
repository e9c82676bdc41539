//! Whose picture this is, and what is not as it should be.

use knock_core::control::{Interface, Status};

use super::Frame;
use crate::times;
use crate::top::paint::{Line, Style};

/// So many warnings are shown.
const MAX_WARNINGS: usize = 2;

pub(super) fn lines(frame: &Frame<'_>) -> Vec<Line> {
    let status = &frame.model.snapshot.status;
    let mut lines = vec![first(frame, status), numbers(status)];
    lines.extend(warnings(frame, status));
    lines
}

fn first(frame: &Frame<'_>, status: &Status) -> Line {
    let line = Line::of(Style::Strong, format!(" knockd {}", status.version));
    if let Some(why) = &frame.model.gone {
        return line.with(Style::Bad, "  is gone, waiting for it").with(Style::Dim, format!("  ({why})"));
    }
    let uptime = times::past(
        (status.uptime.0 + (frame.now.saturating_duration_since(frame.model.snapshot.taken))).into(),
    );
    let line = line.with(Style::Plain, format!("  up {uptime}"));
    let interfaces = interfaces(&status.interfaces);
    let gap = frame.columns.saturating_sub(line.width() + interfaces.width() + 1).max(2);
    line.with(Style::Plain, " ".repeat(gap)).and(interfaces)
}

fn interfaces(interfaces: &[Interface]) -> Line {
    if interfaces.is_empty() {
        return Line::of(Style::Bad, "listens nowhere");
    }
    let add = |line: Line, (index, interface): (usize, &Interface)| {
        let gap = if index == 0 { "" } else { "  " };
        let (style, state) = if interface.up { (Style::Good, "up") } else { (Style::Bad, "down") };
        line.with(Style::Plain, format!("{gap}{} ", interface.name)).with(style, state)
    };
    interfaces.iter().enumerate().fold(Line::default(), add)
}

fn numbers(status: &Status) -> Line {
    let overload = &status.overload;
    let lost = overload.packets_lost + overload.attempts_lost + overload.attempts_over_budget;
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let line = Line::of(Style::Dim, format!(" {}", count(status.doors, "door")));
    let line = line.with(Style::Dim, format!(", process {}", status.pid));
    let line = match status.pending_confirmation {
        None => line,
        Some(left) => line.with(Style::Warn, format!("  not confirmed, goes back in {}", times::left(left))),
    };
    match lost {
        0 => line,
        _ => line.with(Style::Warn, format!("  overload: {lost} packets or attempts lost")),
    }
}

fn warnings(frame: &Frame<'_>, status: &Status) -> Vec<Line> {
    if frame.model.gone.is_some() {
        return Vec::new();
    }
    let shown = status.warnings.iter().take(MAX_WARNINGS);
    let mut lines: Vec<_> = shown.map(|warning| Line::of(Style::Warn, format!(" ! {warning}"))).collect();
    let more = status.warnings.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        lines.push(Line::of(Style::Warn, format!(" ! and {more} more: knockctl status")));
    }
    lines
}
