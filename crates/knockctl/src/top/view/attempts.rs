//! Who is knocking.

use knock_core::control::{Attempt, AttemptState};

use super::{Frame, widest};
use crate::times;
use crate::top::paint::{Line, Style, cell};

/// More steps than this are told by numbers alone.
const MAX_DOTS: usize = 10;
const TIME: usize = 7;
const BAR: (usize, usize) = (6, 40);

/// In so many rows at most.
pub(super) fn lines(frame: &Frame<'_>, rows: Option<usize>) -> Vec<Line> {
    let attempts: Vec<_> = frame.session.attempts(frame.model).collect();
    let mut lines = vec![frame.heading("Knocking", &frame.count(attempts.len()))];
    let rows = rows.unwrap_or(usize::MAX);
    if attempts.is_empty() {
        let nobody = if frame.session.filter.is_empty() { "nobody" } else { "nobody who fits the filter" };
        let nobody = if frame.model.gone.is_some() { "not known" } else { nobody };
        lines.extend((rows > 0).then(|| Line::of(Style::Dim, format!("   {nobody}"))));
        return lines;
    }
    let fits = attempts.len() <= rows;
    let shown = if fits { rows } else { rows.saturating_sub(1) };
    let sources: Vec<_> = attempts.iter().take(shown).map(|attempt| attempt.source.to_string()).collect();
    let source = widest(sources.iter().map(String::as_str), 39.min(frame.columns / 2));
    let names = attempts.iter().take(shown).map(|attempt| attempt.door.as_str());
    let door = widest(names, 16.min(frame.columns / 4));
    let steps = attempts.iter().take(shown).map(|attempt| attempt.of.min(MAX_DOTS)).max().unwrap_or(0);
    lines.extend(attempts.iter().take(shown).map(|attempt| row(frame, attempt, [door, source, steps])));
    if !fits && rows > 0 {
        lines.push(Line::of(Style::Dim, format!("   and {} more", attempts.len() - shown)));
    }
    lines
}

fn row(frame: &Frame<'_>, attempt: &Attempt, [door, source, steps]: [usize; 3]) -> Line {
    let ellipsis = frame.glyphs.ellipsis;
    let [right, to_come] = frame.glyphs.dots;
    let dots = |dot, count: usize| std::iter::repeat_n(dot, count).collect::<String>();
    let has_dots = attempt.of <= MAX_DOTS;
    let (done, open) =
        if has_dots { (attempt.stage, attempt.of.saturating_sub(attempt.stage)) } else { (0, 0) };
    let gap = steps.saturating_sub(done + open);
    let line = Line::of(Style::Strong, format!("   {}", cell(&attempt.door, door, ellipsis)))
        .with(Style::Plain, format!("  {}  ", cell(&attempt.source.to_string(), source, ellipsis)))
        .with(Style::Accent, dots(right, done))
        .with(Style::Dim, format!("{}{}", dots(to_come, open), " ".repeat(gap)))
        .with(Style::Plain, format!("  {:<5}", format!("{}/{}", attempt.stage, attempt.of)));
    let left = frame.model.still(attempt.left, frame.now);
    let whole = (attempt.age.0 + attempt.left.0).as_secs_f64();
    let part = if whole > 0.0 { left.as_secs_f64() / whole } else { 0.0 };
    let columns = frame.columns.saturating_sub(line.width() + 2 + TIME + 2 + 2).min(BAR.1);
    let line = if columns < BAR.0 { line } else { line.and(rest(frame, attempt, part, columns)) };
    line.with(Style::Plain, format!("  {:>TIME$}", times::left(left.into())))
}

fn rest(frame: &Frame<'_>, attempt: &Attempt, part: f64, columns: usize) -> Line {
    match attempt.state {
        AttemptState::CoolingDown => {
            Line::of(Style::Dim, format!("  {}", cell("cooling down", columns, frame.glyphs.ellipsis)))
        }
        AttemptState::UnderWay => {
            let [left, gone] = frame.glyphs.bar(part, columns);
            Line::of(Style::Plain, "  ").with(Style::Accent, left).with(Style::Dim, gone)
        }
    }
}
