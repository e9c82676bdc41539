//! The picture: what is known, as lines.

mod attempts;
mod events;
mod footer;
mod grants;
mod header;
mod rates;

use std::time::Instant;

use super::glyphs::Glyphs;
use super::model::Model;
use super::paint::{Line, Style};
use super::session::{Mode, Session};

/// What a picture is made with.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) model: &'a Model,
    pub(super) session: &'a Session,
    pub(super) glyphs: Glyphs,
    pub(super) columns: usize,
    /// The moment that is shown.
    pub(super) now: Instant,
}

/// The rows that each part may take.
struct Shares {
    grants: usize,
    attempts: usize,
    events: usize,
}

impl Frame<'_> {
    /// The picture for a screen of so many rows.
    pub(super) fn screen(&self, rows: usize) -> Vec<Line> {
        let mut lines = header::lines(self);
        let footer = footer::line(self);
        // Three headings, the rates, the last line.
        let left = rows.saturating_sub(lines.len() + 5);
        if self.session.mode == Mode::Helping {
            lines.extend(footer::help(self));
        } else {
            let shares = self.shares(left);
            lines.extend(grants::lines(self, Some(shares.grants)));
            lines.extend(attempts::lines(self, Some(shares.attempts)));
            lines.push(rates::line(self));
            lines.extend(events::lines(self, shares.events));
        }
        lines.resize(rows.saturating_sub(1), Line::default());
        lines.push(footer);
        lines
    }

    /// All that is at this moment, for a printer.
    pub(super) fn page(&self) -> Vec<Line> {
        let parts = [header::lines(self), grants::lines(self, None), attempts::lines(self, None)];
        parts.concat()
    }

    /// A third for what happens, at least; of the rest, what is open goes before who knocks.
    fn shares(&self, rows: usize) -> Shares {
        let wanted = |count: usize| count.max(1);
        let (open, knocking) = (
            wanted(self.session.grants(self.model).count()),
            wanted(self.session.attempts(self.model).count()),
        );
        let rest = rows - rows / 3;
        let attempts = knocking.min(rest.saturating_sub(open).max(rest / 3));
        let grants = open.min(rest.saturating_sub(attempts));
        Shares { grants, attempts, events: rows.saturating_sub(grants + attempts) }
    }

    /// A part's heading, drawn out to the right.
    fn heading(&self, title: &str, remark: &str) -> Line {
        let rule = |count| std::iter::repeat_n(self.glyphs.rule, count).collect::<String>();
        let line = Line::of(Style::Dim, rule(2))
            .with(Style::Accent, format!(" {title} "))
            .with(Style::Plain, remark);
        let gap = if remark.is_empty() { "" } else { " " };
        let line = line.with(Style::Dim, gap);
        let rest = self.columns.saturating_sub(line.width());
        line.with(Style::Dim, rule(rest))
    }
}

impl Frame<'_> {
    /// A number for a heading; none where it is not known.
    fn count(&self, number: usize) -> String {
        if self.model.gone.is_some() { String::new() } else { number.to_string() }
    }
}

/// How wide a column has to be for these, so many columns at most.
fn widest<'a>(texts: impl Iterator<Item = &'a str>, most: usize) -> usize {
    use unicode_width::UnicodeWidthStr as _;
    texts.map(|text| crate::output::printable(text).width()).max().unwrap_or(0).min(most)
}

/// How what is left of a time is shown.
const fn urgency(part: f64) -> Style {
    if part > 0.5 {
        Style::Good
    } else if part > 0.2 {
        Style::Warn
    } else {
        Style::Bad
    }
}

#[cfg(test)]
mod tests;
