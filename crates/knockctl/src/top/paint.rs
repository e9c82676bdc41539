//! Lines of styled text, and what a terminal is told to show them.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::output::printable;

/// What a piece of text is, not how it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    /// What is looked for first.
    Strong,
    /// What may be passed over.
    Dim,
    /// Names of what is shown.
    Accent,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Not as it should be.
    Bad,
}

/// How much a terminal can do, or is wanted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Colours,
    /// Bold and reverse, but no colours.
    Attributes,
    /// Text alone.
    Text,
}

impl Style {
    /// The parameters of SGR (ECMA-48), from the terminal's own sixteen colours: they fit its theme.
    const fn parameters(self, ink: Ink) -> &'static str {
        match (ink, self) {
            (Ink::Text, _) | (_, Self::Plain) => "",
            (_, Self::Strong) => "1",
            (_, Self::Dim) => "2",
            (Ink::Attributes, Self::Bad) => "1",
            (Ink::Attributes, _) => "",
            (Ink::Colours, Self::Accent) => "36",
            (Ink::Colours, Self::Good) => "32",
            (Ink::Colours, Self::Warn) => "33",
            (Ink::Colours, Self::Bad) => "31",
        }
    }
}

/// One line of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    spans: Vec<(Style, String)>,
    /// The whole line is shown in reverse.
    chosen: bool,
}

impl Line {
    /// A line with this at its beginning.
    pub(super) fn of(style: Style, text: impl AsRef<str>) -> Self {
        Self::default().with(style, text)
    }

    /// Adds a piece. What would do something to the terminal is shown instead.
    #[must_use]
    pub(super) fn with(mut self, style: Style, text: impl AsRef<str>) -> Self {
        self.spans.push((style, printable(text.as_ref())));
        self
    }

    /// Adds another line's pieces.
    #[must_use]
    pub(super) fn and(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self
    }

    /// The line that is chosen.
    #[must_use]
    pub(super) fn chosen(mut self, chosen: bool) -> Self {
        self.chosen = chosen;
        self
    }

    /// How many columns it takes.
    pub(super) fn width(&self) -> usize {
        self.spans.iter().map(|(_, text)| text.width()).sum()
    }

    /// What is to be written for it, in so many columns at most.
    pub(super) fn written(&self, columns: usize, ink: Ink) -> String {
        let reverse = self.chosen && ink != Ink::Text;
        let (mut written, mut used) = (String::new(), 0);
        for (style, text) in &self.spans {
            let kept = clipped(text, columns - used);
            used += kept.width();
            written += &styled(&kept, style.parameters(ink), reverse);
            // What follows must not close up.
            if kept.len() < text.len() {
                break;
            }
        }
        if reverse {
            written += &styled(&" ".repeat(columns - used), "", reverse);
        }
        written
    }
}

/// A text with the parameters of SGR before it and none behind it.
fn styled(text: &str, parameters: &str, reverse: bool) -> String {
    let parameters = match (reverse, parameters) {
        (true, "") => "7".to_owned(),
        (true, parameters) => format!("7;{parameters}"),
        (false, parameters) => parameters.to_owned(),
    };
    if text.is_empty() || parameters.is_empty() {
        return text.to_owned();
    }
    format!("\u{1b}[{parameters}m{text}\u{1b}[0m")
}

/// The text in so many columns at most.
pub(super) fn clipped(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut left = columns;
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    text.chars().take_while(fits).collect()
}

/// The text in exactly so many columns; an ellipsis stands for what does not fit.
pub(super) fn cell(text: &str, columns: usize, ellipsis: char) -> String {
    let text = printable(text);
    let width = text.width();
    if width <= columns {
        return text + &" ".repeat(columns - width);
    }
    let kept = clipped(&text, columns.saturating_sub(1));
    let gap = columns.saturating_sub(1 + kept.width());
    clipped(&format!("{kept}{ellipsis}{}", " ".repeat(gap)), columns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_as_wide_as_the_screen_at_most() {
        let line = Line::of(Style::Bad, "ab").with(Style::Plain, "日本").with(Style::Dim, "c");
        assert_eq!(line.width(), 7);
        assert_eq!(line.written(80, Ink::Colours), "\u{1b}[31mab\u{1b}[0m日本\u{1b}[2mc\u{1b}[0m");
        assert_eq!(line.written(80, Ink::Text), "ab日本c");
        assert_eq!(line.written(5, Ink::Text), "ab日");
        assert_eq!(
            line.clone().chosen(true).written(3, Ink::Attributes),
            "\u{1b}[7;1mab\u{1b}[0m\u{1b}[7m \u{1b}[0m"
        );
    }

    #[test]
    fn cells() {
        assert_eq!(cell("ssh", 5, '…'), "ssh  ");
        assert_eq!(cell("a-long-name", 5, '…'), "a-lo…");
        assert_eq!(cell("日本語", 4, '…'), "日… ");
        assert_eq!((cell("abc", 1, '…'), cell("abc", 0, '…')), ("…".into(), String::new()));
    }

    proptest! {
        #[test]
        fn nothing_breaks_out_of_its_place(text: String, columns in 0..40_usize) {
            let line = Line::of(Style::Plain, &text);
            let written = line.written(columns, Ink::Text);
            prop_assert!(written.width() <= columns && !written.contains(char::is_control));
            prop_assert_eq!(cell(&text, columns, '…').width(), columns);
        }
    }
}
