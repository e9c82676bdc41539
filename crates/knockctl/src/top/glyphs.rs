//! The characters that pictures are made of.

use std::env;

/// A set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glyphs {
    /// A part of a bar that is left, the half of one, and one that is gone.
    bar: [char; 3],
    /// A knock that was right, and one that is to come.
    pub(super) dots: [char; 2],
    /// What a heading is drawn out with.
    pub(super) rule: char,
    /// The chosen line.
    pub(super) pointer: char,
    /// What stands for what does not fit.
    pub(super) ellipsis: char,
    /// From nothing to the most.
    levels: [char; 8],
}

impl Glyphs {
    /// What most terminals have.
    pub(super) const UNICODE: Self = Self {
        bar: ['━', '╸', '─'],
        dots: ['●', '○'],
        rule: '─',
        pointer: '▶',
        ellipsis: '…',
        levels: ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    };

    /// What all have.
    const ASCII: Self = Self {
        bar: ['=', '-', ' '],
        dots: ['#', '.'],
        rule: '-',
        pointer: '>',
        ellipsis: '~',
        levels: ['_', '.', ':', '-', '=', '+', '*', '#'],
    };

    /// Those that this terminal's locale has (locale(7)).
    pub(super) fn of_locale() -> Self {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self::of(["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).as_deref())
    }

    fn of(locale: Option<&str>) -> Self {
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        if locale.ends_with("utf-8") || locale.ends_with("utf8") { Self::UNICODE } else { Self::ASCII }
    }

    /// A bar of so many columns of which a part, from 0 to 1, is left: the part that is, and the rest.
    pub(super) fn bar(&self, part: f64, columns: usize) -> [String; 2] {
        let [full, half, gone] = self.bar;
        let halves = (part.clamp(0.0, 1.0) * columns as f64 * 2.0).round() as usize;
        let is_half = halves % 2 == 1;
        let mut left: String = std::iter::repeat_n(full, halves / 2).collect();
        left.extend(is_half.then_some(half));
        let rest = columns.saturating_sub(halves / 2 + usize::from(is_half));
        [left, std::iter::repeat_n(gone, rest).collect()]
    }

    /// Numbers as heights; what is not nothing can be seen.
    pub(super) fn heights(&self, numbers: &[u32]) -> String {
        let most = numbers.iter().copied().max().unwrap_or(0).max(1);
        let top = (self.levels.len() - 1) as u64;
        let level = |number: &u32| (u64::from(*number) * top).div_ceil(u64::from(most)) as usize;
        numbers.iter().filter_map(|number| self.levels.get(level(number))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_shrink() {
        let bar = |part| Glyphs::UNICODE.bar(part, 4).concat();
        assert_eq!(
            [bar(1.0), bar(0.8), bar(0.6), bar(0.1), bar(0.0)],
            ["━━━━", "━━━─", "━━╸─", "╸───", "────"]
        );
        assert_eq!((bar(7.0), bar(f64::NAN)), ("━━━━".into(), "────".into()));
        assert_eq!(Glyphs::ASCII.bar(0.5, 4), ["==", "  "]);
    }

    #[test]
    fn heights_show_what_is_there() {
        assert_eq!(Glyphs::UNICODE.heights(&[0, 1, 50, 100]), "▁▂▅█");
        assert_eq!(Glyphs::UNICODE.heights(&[0, 0]), "▁▁");
        assert_eq!(Glyphs::UNICODE.heights(&[u32::MAX]), "█");
    }

    #[test]
    fn the_locale_says_what_can_be_shown() {
        assert_eq!(Glyphs::of(Some("de_DE.UTF-8")), Glyphs::UNICODE);
        assert_eq!(Glyphs::of(Some("C.utf8")), Glyphs::UNICODE);
        assert_eq!((Glyphs::of(Some("C")), Glyphs::of(None)), (Glyphs::ASCII, Glyphs::ASCII));
    }
}
