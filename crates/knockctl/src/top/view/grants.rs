//! What is open.

use knock_core::control::{Grant, GrantState};

use super::{Frame, urgency, widest};
use crate::times;
use crate::top::model::GrantKey;
use crate::top::paint::{Line, Style, cell};

/// Columns for the bar.
const BAR: (usize, usize) = (6, 40);

/// The widths of a row's cells.
struct Widths {
    door: usize,
    network: usize,
    opens: usize,
    bar: usize,
    time: usize,
}

/// In so many rows at most.
pub(super) fn lines(frame: &Frame<'_>, rows: Option<usize>) -> Vec<Line> {
    let grants: Vec<_> = frame.session.grants(frame.model).collect();
    let mut lines = vec![frame.heading("Open", &frame.count(grants.len()))];
    let rows = rows.unwrap_or(usize::MAX);
    if grants.is_empty() {
        let nothing =
            if frame.session.filter.is_empty() { "nothing" } else { "nothing that fits the filter" };
        let nothing = if frame.model.gone.is_some() { "not known" } else { nothing };
        lines.extend((rows > 0).then(|| Line::of(Style::Dim, format!("   {nothing}"))));
        return lines;
    }
    let widths = widths(frame, &grants);
    let chosen = frame.session.chosen.as_ref();
    let at = grants.iter().position(|grant| Some(&GrantKey::of(grant)) == chosen);
    let fits = grants.len() <= rows;
    let shown = if fits { rows } else { rows.saturating_sub(1) };
    let first =
        at.unwrap_or(0).saturating_sub(shown.saturating_sub(1)).min(grants.len().saturating_sub(shown));
    for (index, grant) in grants.iter().enumerate().skip(first).take(shown) {
        lines.push(row(frame, grant, &widths, at == Some(index)));
    }
    if !fits && rows > 0 {
        lines.push(Line::of(Style::Dim, format!("   and {} more", grants.len() - shown)));
    }
    lines
}

fn widths(frame: &Frame<'_>, grants: &[&Grant]) -> Widths {
    let networks: Vec<_> = grants.iter().map(|grant| grant.network.to_string()).collect();
    let opens: Vec<_> = grants.iter().map(|grant| opens(grant)).collect();
    let times: Vec<_> = grants.iter().map(|grant| left(frame, grant).1).collect();
    let time = widest(times.iter().map(String::as_str), frame.columns);
    let columns = frame.columns;
    let door = widest(grants.iter().map(|grant| grant.door.as_str()), 16.min(columns / 4));
    let network = widest(networks.iter().map(String::as_str), 43.min(columns / 2));
    let left = columns.saturating_sub(3 + door + 2 + network + 2 + time + 2);
    let opens =
        if left > BAR.0 { widest(opens.iter().map(String::as_str), 24.min(left - BAR.0 - 1)) } else { 0 };
    let bar = left.saturating_sub(opens + 4);
    Widths { door, network, opens, bar: if bar < BAR.0 { 0 } else { bar.min(BAR.1) }, time }
}

fn row(frame: &Frame<'_>, grant: &Grant, widths: &Widths, is_chosen: bool) -> Line {
    let ellipsis = frame.glyphs.ellipsis;
    let pointer = if is_chosen { frame.glyphs.pointer } else { ' ' };
    let mut line = Line::of(Style::Plain, format!(" {pointer} "))
        .with(Style::Strong, cell(&grant.door, widths.door, ellipsis))
        .with(Style::Plain, format!("  {}", cell(&grant.network.to_string(), widths.network, ellipsis)));
    if widths.opens > 0 {
        line = line.with(Style::Dim, format!("  {}", cell(&opens(grant), widths.opens, ellipsis)));
    }
    time(frame, line, grant, widths).chosen(is_chosen)
}

fn time(frame: &Frame<'_>, line: Line, grant: &Grant, widths: &Widths) -> Line {
    let (part, text) = left(frame, grant);
    let style = part.map_or(Style::Plain, urgency);
    let line = match (widths.bar, part) {
        (0, _) => line,
        (columns, Some(part)) => {
            let [left, gone] = frame.glyphs.bar(part, columns);
            line.with(Style::Plain, "  ").with(style, left).with(Style::Dim, gone)
        }
        (columns, None) => {
            line.with(Style::Dim, format!("  {}", cell(remark(grant), columns, frame.glyphs.ellipsis)))
        }
    };
    line.with(style, format!("  {text:>0$}", widths.time))
}

/// Which part of its time a grant has left, and what is said of it.
fn left(frame: &Frame<'_>, grant: &Grant) -> (Option<f64>, String) {
    match (grant.state, frame.model.left(grant, frame.now)) {
        (GrantState::Opening, _) => (None, "opening".into()),
        (GrantState::Closing, _) => (None, "closing".into()),
        (GrantState::Open, Some((left, part))) => (Some(part), times::left(left.into())),
        (GrantState::Open, None) => (None, "until closed".into()),
    }
}

const fn remark(grant: &Grant) -> &'static str {
    match (grant.by_hand, grant.earlier_boot) {
        (true, _) => "opened by hand",
        (false, true) => "since before the last boot",
        (false, false) => "",
    }
}

/// A door of commands says nothing of what it opens.
fn opens(grant: &Grant) -> String {
    if grant.opens.is_empty() { "by command".into() } else { grant.opens.join(",") }
}
