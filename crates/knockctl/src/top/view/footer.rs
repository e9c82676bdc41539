//! The last line: what the keys do, or what is asked.

use super::Frame;
use crate::top::paint::{Line, Style};
use crate::top::session::Mode;

const KEYS: [(&str, &str); 6] =
    [("q", "quit"), ("p", "pause"), ("arrows", "choose"), ("c", "close"), ("/", "filter"), ("?", "help")];

const HELP: [(&str, &str); 9] = [
    ("arrows", "choose what is open, also page up and down, home and end, j and k"),
    ("c", "close the chosen one; you are asked first"),
    ("/", "show only addresses with this in them, or the network that an address is in"),
    ("escape", "show all again"),
    ("p", "let the picture stand still, and go on"),
    ("control-L", "draw everything anew"),
    ("control-Z", "stop; fg goes on"),
    ("q", "quit"),
    ("any key", "back to the picture"),
];

pub(super) fn line(frame: &Frame<'_>) -> Line {
    match (&frame.session.mode, &frame.session.word) {
        (Mode::Asking(grant), _) => Line::of(
            Style::Warn,
            format!(" Close {} for {}? y closes it, any other key does not ", grant.door, grant.network),
        ),
        (Mode::Filtering(_), _) => Line::of(Style::Accent, " filter: ")
            .with(Style::Strong, &frame.session.filter)
            .with(Style::Plain, "_  ")
            .with(Style::Dim, "enter keeps it, escape does not"),
        (_, Some(Ok(done))) => Line::of(Style::Good, format!(" {done}")),
        (_, Some(Err(why))) => Line::of(Style::Bad, format!(" {why}")),
        _ => keys(frame),
    }
}

fn keys(frame: &Frame<'_>) -> Line {
    let mut line = Line::default();
    if frame.session.paused.is_some() {
        line = line.with(Style::Warn, " PAUSED, p goes on");
    }
    if !frame.session.filter.is_empty() {
        line = line.with(Style::Warn, format!(" only {}", frame.session.filter));
    }
    KEYS.iter().fold(line, |line, (key, what)| {
        line.with(Style::Strong, format!(" {key}")).with(Style::Dim, format!(" {what} "))
    })
}

/// What the keys do, in full.
pub(super) fn help(frame: &Frame<'_>) -> Vec<Line> {
    let row = |(key, what): &(&str, &str)| {
        Line::of(Style::Strong, format!("   {key:<11}")).with(Style::Plain, *what)
    };
    std::iter::once(frame.heading("Keys", "")).chain(HELP.iter().map(row)).collect()
}
