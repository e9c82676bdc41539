//! What has happened.

use knock_core::control::{Event, EventKind};

use super::{Frame, widest};
use crate::top::paint::{Line, Style, cell};

/// The newest in so many rows, and at the bottom.
pub(super) fn lines(frame: &Frame<'_>, rows: usize) -> Vec<Line> {
    let mut lines = vec![frame.heading("Events", "")];
    let events: Vec<_> = frame.session.events(&frame.model.events).take(rows).collect();
    if events.is_empty() {
        lines.extend((rows > 0).then(|| Line::of(Style::Dim, "   none since this picture is looked at")));
    }
    let sources: Vec<_> = events
        .iter()
        .map(|event| event.source.map_or_else(String::new, |source| source.to_string()))
        .collect();
    let source = widest(sources.iter().map(String::as_str), 39.min(frame.columns / 3));
    let doors = events.iter().map(|event| event.door.as_deref().unwrap_or_default());
    let door = widest(doors, 16.min(frame.columns / 6));
    lines.extend(
        events.iter().zip(&sources).rev().map(|(event, from)| row(frame, event, from, [source, door])),
    );
    lines
}

fn row(frame: &Frame<'_>, event: &Event, from: &str, [source, door]: [usize; 2]) -> Line {
    let ellipsis = frame.glyphs.ellipsis;
    let line = Line::of(Style::Dim, format!("   {}", time(&event.time)));
    // What is about the daemon has the whole line.
    if event.source.is_none() && event.door.is_none() {
        return line.with(style(event.event), format!("  {}", event.message));
    }
    line.with(Style::Plain, format!("  {}", cell(from, source, ellipsis)))
        .with(Style::Strong, format!("  {}", cell(event.door.as_deref().unwrap_or_default(), door, ellipsis)))
        .with(style(event.event), format!("  {}", event.message))
}

/// The time of day in RFC 3339.
fn time(text: &str) -> &str {
    text.get(11..19).unwrap_or(text)
}

const fn style(kind: EventKind) -> Style {
    match kind {
        EventKind::Opened | EventKind::Extended => Style::Good,
        EventKind::Stage | EventKind::Opening => Style::Accent,
        EventKind::Refused | EventKind::NotAllowed | EventKind::Spoiled => Style::Bad,
        EventKind::Warning | EventKind::Reloaded | EventKind::TimedOut => Style::Warn,
        EventKind::Closed
        | EventKind::CoolingDown
        | EventKind::Unfit
        | EventKind::Elsewhere
        | EventKind::Unbegun
        | EventKind::Other => Style::Dim,
    }
}
