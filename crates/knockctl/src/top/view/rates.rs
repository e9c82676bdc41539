//! How much has happened lately.

use super::Frame;
use crate::top::model::{COLUMNS, Rate};
use crate::top::paint::{Line, Style};

const RATES: [(Rate, &str, Style); 3] = [
    (Rate::Knocks, "knocks", Style::Accent),
    (Rate::Openings, "openings", Style::Good),
    (Rate::Refusals, "refused", Style::Bad),
];
/// Columns that a number with its name takes.
const NUMBER: usize = 17;

/// A curve of the last minutes for each, and how many there were in the last.
pub(super) fn line(frame: &Frame<'_>) -> Line {
    let share = frame.columns.saturating_sub(1) / RATES.len();
    let columns = share.saturating_sub(NUMBER).min(COLUMNS);
    RATES.iter().fold(Line::of(Style::Plain, " "), |line, (rate, name, style)| {
        let count = frame.model.rates.minute(*rate);
        let label = format!("{name} {count}/min ");
        let curve = frame.glyphs.heights(&frame.model.rates.last(*rate, columns));
        let gap = share.saturating_sub(label.len() + columns);
        let is_quiet = count == 0 && frame.model.rates.last(*rate, columns).iter().all(|count| *count == 0);
        let style = if is_quiet { Style::Dim } else { *style };
        line.with(Style::Plain, label).with(style, curve).with(Style::Plain, " ".repeat(gap))
    })
}
