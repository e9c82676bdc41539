//! The picture of the floods: `docs/floods.svg`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::Row;
use super::measure::Outcome;
use crate::sample::tell;

/// Everything is in pixels.
const WIDTH: f64 = 930.0;
const TOP: f64 = 92.0;
const ROW: f64 = 52.0;
const BAR: f64 = 11.0;
const BOTTOM: f64 = 34.0;
/// Where the bars begin and how long the longest is: of what a packet costs, and of who was let in.
const COST: (f64, f64) = (360.0, 250.0);
const LET_IN: (f64, f64) = (710.0, 150.0);
/// The decades of the costs' axis, in microseconds.
const DECADES: (i32, i32) = (-1, 3);

const STYLE: &str = "text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px } .title { font-weight: 600 } .grid { stroke: #d1d9e0 }
.bare { fill: #8c959f } .theirs { fill: #cf6f24 } .ours { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .grid { stroke: #3d444d }
  .bare { fill: #7d8590 } .theirs { fill: #e58c4a } .ours { fill: #3fb950 }
}";

/// Puts a picture where the documents are.
pub(super) fn keep(picture: &str) -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/floods.svg");
    fs::write(&path, picture)?;
    println!("docs/floods.svg has been drawn anew.\n");
    Ok(())
}

/// Draws what each packet cost and how many honest knocks were let in.
pub(super) fn draw(rows: &[Row]) -> String {
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"What a packet of a flood costs, and how many honest knocks are let in\">\n\
         <style>\n{STYLE}\n</style>\n"
    );
    draw_legend(&mut picture);
    draw_axes(&mut picture, height - BOTTOM);
    for (row, y) in rows.iter().zip((0..).map(|index| TOP + ROW * f64::from(index))) {
        draw_row(&mut picture, row, y);
    }
    picture + "</svg>\n"
}

fn draw_legend(picture: &mut String) {
    text(picture, 10.0, 24.0, "title", "Flooded with made-up packets");
    let names =
        [("bare", "a loop that only receives"), ("theirs", "Debian's knockd 0.8"), ("ours", "toctoc")];
    for ((class, name), x) in names.into_iter().zip([COST.0, 560.0, 730.0]) {
        bar(picture, class, x, 14.0, BAR);
        text(picture, x + 18.0, 24.0, "", name);
    }
    text(picture, COST.0, 56.0, "title", "Processor time for each packet taken");
    text(picture, LET_IN.0, 56.0, "title", "Honest knocks let in");
}

fn draw_axes(picture: &mut String, bottom: f64) {
    for decade in DECADES.0..=DECADES.1 {
        let micros = 10_f64.powi(decade);
        line(picture, COST.0 + along(micros), bottom);
        let name = if micros < 1000.0 { format!("{micros} µs") } else { format!("{} ms", micros / 1000.0) };
        text(picture, COST.0 + along(micros) - 12.0, 78.0, "small", &name);
    }
    for (part, name) in [(0.0, "0"), (0.5, "half"), (1.0, "all")] {
        line(picture, LET_IN.0 + LET_IN.1 * part, bottom);
        text(picture, LET_IN.0 + LET_IN.1 * part - 8.0, 78.0, "small", name);
    }
}

fn draw_row(picture: &mut String, row: &Row, y: f64) {
    text(picture, 10.0, y + 18.0, "", &row.scenario.name);
    text(picture, 10.0, y + 34.0, "small", &row.scenario.rate);
    let Row { bare, theirs, ours, .. } = row;
    let all = [("bare", bare), ("theirs", theirs), ("ours", ours)];
    for ((class, outcome), y) in
        all.into_iter().zip([0, 1, 2].map(|bar| y + 5.0 + (BAR + 2.0) * f64::from(bar)))
    {
        draw_cost(picture, class, outcome, y);
        if class != "bare" {
            draw_let_in(picture, class, outcome, y);
        }
    }
}

fn draw_cost(picture: &mut String, class: &str, outcome: &Outcome, y: f64) {
    let length = along(outcome.per_packet().as_secs_f64() * 1e6);
    bar(picture, class, COST.0, y, length);
    text(picture, COST.0 + length + 4.0, y + BAR - 1.0, "small", &tell(outcome.per_packet()));
}

fn draw_let_in(picture: &mut String, class: &str, outcome: &Outcome, y: f64) {
    let length = LET_IN.1 * outcome.honest.part();
    bar(picture, class, LET_IN.0, y, length);
    let count = outcome.honest.count();
    text(picture, LET_IN.0 + length + 4.0, y + BAR - 1.0, "small", &count);
}

/// How long the bar of so many microseconds is: a decade is as long as any other, and the first is the least.
fn along(micros: f64) -> f64 {
    let decades = f64::from(DECADES.1 - DECADES.0);
    let part = (micros.max(f64::MIN_POSITIVE).log10() - f64::from(DECADES.0)) / decades;
    part.clamp(0.0, 1.0) * COST.1
}

fn bar(picture: &mut String, class: &str, x: f64, y: f64, length: f64) {
    /// What is shorter stays away: not every program draws a bar without length.
    const LEAST: f64 = 0.1;
    if length < LEAST {
        return;
    }
    let _ = writeln!(
        picture,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\"/>"
    );
}

fn text(picture: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ = writeln!(picture, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

fn line(picture: &mut String, x: f64, bottom: f64) {
    let _ = writeln!(picture, "<line class=\"grid\" x1=\"{x:.1}\" y1=\"84\" x2=\"{x:.1}\" y2=\"{bottom}\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use lab::Sent;

    use super::super::honest::Honest;
    use super::super::scenario;

    /// A second of `count` packets that took so long in all.
    fn outcome(count: u64, busy: Duration) -> Outcome {
        let sent = Sent { packets: count, time: Duration::from_secs(1) };
        Outcome { sent, busy, taken: None, honest: Honest::default() }
    }

    #[test]
    fn each_decade_is_a_quarter() {
        let lengths = [0.0, 0.05, 0.1, 1.0, 10.0, 1000.0, 1e9].map(|micros| along(micros) / COST.1);
        assert_eq!(lengths, [0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn each_flood_has_its_bars() {
        let row = |scenario| Row {
            scenario,
            bare: outcome(1000, Duration::from_millis(1)),
            theirs: outcome(1000, Duration::from_millis(100)),
            ours: outcome(1000, Duration::from_micros(1500)),
        };
        let rows: Vec<_> = scenario::all().into_iter().map(row).collect();
        let picture = draw(&rows);
        // Three costs, beside the legend's three; nobody was let in.
        assert_eq!(picture.matches("<rect").count(), 3 * rows.len() + 3);
        assert_eq!(picture.matches(">0 of 0</text>").count(), 2 * rows.len());
        for row in &rows {
            assert!(picture.contains(&row.scenario.name) && picture.contains(&row.scenario.rate));
        }
        assert_eq!(picture.matches(">1.0 µs</text>").count(), rows.len());
        assert_eq!(picture.matches(">100 µs</text>").count(), rows.len() + 1, "and the axis");
        assert_eq!(picture, draw(&rows), "the same each time");
    }
}
