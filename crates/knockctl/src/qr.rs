//! A text as a QR code (ISO/IEC 18004) made of half blocks, two rows of it a line.

use std::io;

use qrcode::{Color, EcLevel, QrCode};

/// The margin that the standard asks for, in modules.
const QUIET_ZONE: usize = 4;
/// Black on white whatever the terminal's theme is.
const PAPER: &str = "\u{1b}[38;5;16;48;5;231m";
const RESET: &str = "\u{1b}[0m";

/// A text as a code behind a caption, as it fits on standard output.
pub(crate) fn shown(text: &str, caption: &str, is_terminal: bool) -> String {
    let plain = !is_terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let medium = if plain { Medium::Text } else { Medium::Terminal };
    let Some(picture) = Picture::of(text) else {
        return "\nThis is too long for a QR code.\n".into();
    };
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    if is_terminal && (1..picture.width()).contains(&columns) {
        return format!("\nThe QR code needs a terminal of {} columns.\n", picture.width());
    }
    format!("\n{caption}:\n\n{}", picture.text(medium))
}

/// A code, with its margin.
struct Picture {
    rows: Vec<Vec<bool>>,
}

/// What the code is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    /// A terminal that can be told its colours.
    Terminal,
    /// Whatever has light letters on dark ground.
    Text,
}

impl Picture {
    /// The code of a text; `None` where it is too long for one.
    fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let width = code.width();
        let dark = code.into_colors();
        let side = width + 2 * QUIET_ZONE;
        let mut rows = vec![vec![false; side]; side];
        for (row, modules) in rows.iter_mut().skip(QUIET_ZONE).zip(dark.chunks(width)) {
            for (cell, module) in row.iter_mut().skip(QUIET_ZONE).zip(modules) {
                *cell = *module == Color::Dark;
            }
        }
        Some(Self { rows })
    }

    /// How many columns it takes.
    fn width(&self) -> usize {
        self.rows.len()
    }

    /// The lines to print.
    fn text(&self, medium: Medium) -> String {
        self.rows.chunks(2).map(|pair| line(pair, medium)).collect()
    }
}

fn line(pair: &[Vec<bool>], medium: Medium) -> String {
    let light = Vec::new();
    let (upper, lower) = (pair.first().unwrap_or(&light), pair.get(1).unwrap_or(&light));
    let lower = lower.iter().copied().chain(std::iter::repeat(false));
    let cells = upper.iter().copied().zip(lower);
    match medium {
        Medium::Terminal => {
            let blocks: String = cells.map(|(upper, lower)| block(upper, lower)).collect();
            format!("{PAPER}{blocks}{RESET}\n")
        }
        // What is light is drawn.
        Medium::Text => cells.map(|(upper, lower)| block(!upper, !lower)).chain(['\n']).collect(),
    }
}

const fn block(upper: bool, lower: bool) -> char {
    match (upper, lower) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_its_margin_on_all_sides() {
        let picture = Picture::of("knock -d 100 192.0.2.1 7142 8319:udp 5623 9215:udp").unwrap();
        let side = picture.width();
        assert!(side <= 80, "{side} columns");
        for (y, row) in picture.rows.iter().enumerate() {
            for (x, dark) in row.iter().enumerate() {
                let inside = [x, y].iter().all(|at| (QUIET_ZONE..side - QUIET_ZONE).contains(at));
                assert!(inside || !dark, "{x} {y}");
            }
        }
        // The corner of a finder.
        assert!(picture.rows[QUIET_ZONE][QUIET_ZONE]);
    }

    #[test]
    fn lines_are_as_wide_as_they_say() {
        let picture = Picture::of("x").unwrap();
        let text = picture.text(Medium::Text);
        assert!(text.lines().all(|line| line.chars().count() == picture.width()));
        assert_eq!(text.lines().count(), picture.width().div_ceil(2));
        assert!(!text.contains('\u{1b}'));
        let coloured = picture.text(Medium::Terminal);
        assert!(coloured.lines().all(|line| line.starts_with(PAPER) && line.ends_with(RESET)));
    }

    #[test]
    fn what_is_too_long_has_none() {
        assert!(Picture::of(&"x".repeat(5000)).is_none());
    }
}
