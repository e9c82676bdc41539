//! Times: a number of seconds, and for `open_for` also numbers with units.

use std::time::Duration;

use super::lines::Spanned;
use crate::sequence::Fault;

/// The longest time that can be asked for, in seconds: knockd's, 68 years.
const MAX_SECONDS: u64 = i32::MAX as u64;
const MAX: Duration = Duration::from_millis(MAX_SECONDS * 1000 + 999);

/// The units, the largest first, and how many seconds each has.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// Reads a number of seconds, with a fraction down to milliseconds if need be.
pub(super) fn seconds(value: &Spanned<'_>) -> Result<Duration, Fault> {
    let expected = format!("a number of seconds up to {MAX_SECONDS}, such as 10 or 0.5");
    let fault = |found: String| Fault::new(value.span(), found, expected);
    match value.text {
        "" => Err(fault("the number is missing".into())),
        text => multiple(text, 1).map_err(fault),
    }
}

/// Reads a time with units, as `open_for` has it: `10s`, `5m`, `2h`, `1d`, `1h30m`. A number alone is of seconds; each
/// number may have three decimals: `0.5`, `1.5h`.
///
/// # Errors
/// For anything else, for no time at all, and for more than 68 years. The place is counted from the text's beginning.
pub fn duration(text: &str) -> Result<Duration, Fault> {
    let fault =
        |found: String| Fault::new(0..text.len(), found, "a time, such as 10s, 0.5s, 5m, 2h, 1d or 1h30m");
    if text.is_empty() {
        return Err(fault("the time is missing".into()));
    }
    if text.contains(char::is_whitespace) {
        return Err(fault(format!("white space in \"{text}\"")));
    }
    let mut total = Duration::ZERO;
    let mut last = None;
    let mut rest = Spanned { text, start: 0 };
    while !rest.text.is_empty() {
        let (number, unit, behind) = first_part(&rest);
        if number.text.is_empty() {
            return Err(fault(format!("\"{text}\" is no time")));
        }
        let (rank, seconds) = size(&number, &unit, last)?;
        let part = multiple(number.text, seconds).map_err(&fault)?;
        total =
            total.checked_add(part).filter(|total| *total <= MAX).ok_or_else(|| fault(too_large(text)))?;
        (last, rest) = (Some(rank), behind);
    }
    if total.is_zero() {
        return Err(Fault::new(0..text.len(), format!("{text} is no time at all"), "more than 0 seconds"));
    }
    Ok(total)
}

/// A number, what stands behind it up to the next one, and the rest.
fn first_part<'a>(text: &Spanned<'a>) -> (Spanned<'a>, Spanned<'a>, Spanned<'a>) {
    let cut = |text: &Spanned<'a>, end: fn(char) -> bool| {
        let (before, behind) = text.text.split_at(text.text.find(end).unwrap_or(text.text.len()));
        let start = text.start + before.len();
        (Spanned { text: before, start: text.start }, Spanned { text: behind, start })
    };
    let (number, behind) = cut(text, |c| !c.is_ascii_digit() && c != '.');
    let (unit, rest) = cut(&behind, |c| c.is_ascii_digit());
    (number, unit, rest)
}

/// Where among the units this one stands, and its seconds.
fn size(number: &Spanned<'_>, unit: &Spanned<'_>, last: Option<usize>) -> Result<(usize, u64), Fault> {
    let units = "d, h, m or s, the largest first and each once";
    if unit.text.is_empty() && last.is_some() {
        return Err(Fault::new(number.span(), format!("{} has no unit", number.text), units));
    }
    let name = if unit.text.is_empty() { "s" } else { unit.text };
    let Some((rank, (_, seconds))) = UNITS.iter().enumerate().find(|(_, (known, _))| *known == name) else {
        return Err(Fault::new(unit.span(), format!("unknown unit \"{name}\""), units));
    };
    if last.is_some_and(|last| last >= rank) {
        return Err(Fault::new(unit.span(), format!("\"{name}\" behind a unit that is not larger"), units));
    }
    Ok((rank, *seconds))
}

/// A decimal number of so many seconds each, or what is wrong with it.
fn multiple(number: &str, seconds: u64) -> Result<Duration, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(format!("\"{number}\" is no number"));
    }
    if fraction.len() > 3 {
        return Err(format!("{number} has more than three decimals"));
    }
    let thousandths = format!("{fraction:0<3}").parse().unwrap_or(0);
    let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(1000));
    let milliseconds =
        whole.and_then(|whole| whole.checked_add(thousandths)).and_then(|all| all.checked_mul(seconds));
    let time = milliseconds.map(Duration::from_millis).filter(|time| *time <= MAX);
    time.ok_or_else(|| too_large(number))
}

fn too_large(text: &str) -> String {
    format!("{text} is too large")
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Spanned<'_> {
        Spanned { text, start: 3 }
    }

    #[test]
    fn seconds_are_numbers_and_nothing_else() {
        assert_eq!(seconds(&at("25")), Ok(Duration::from_secs(25)));
        assert_eq!(seconds(&at("0")), Ok(Duration::ZERO));
        assert_eq!(seconds(&at("1.5")), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds(&at("0.025")), Ok(Duration::from_millis(25)));
        assert_eq!(seconds(&at("2147483647.999")), Ok(MAX));
        for bad in ["", "5s", "-1", "+1", "five", "1e3", ".5", "5.", "1.2.3", "0.0001", "2147483648", " 5"] {
            let fault = seconds(&at(bad)).unwrap_err();
            assert!(fault.expected.contains("seconds"), "{bad}");
            assert_eq!(fault.span.start, 3, "{bad}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, milliseconds) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("0.5", 500),
            ("0.025s", 25),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1.5h", 5_400_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4.5s", 93_784_500),
            ("0h1s", 1000),
            ("24855d3h14m7s", MAX_SECONDS * 1000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_with_its_place() {
        for (text, place, found) in [
            ("", 0, "the time is missing"),
            ("0", 0, "0 is no time at all"),
            ("0h0m", 0, "0h0m is no time at all"),
            ("10 s", 0, "white space in \"10 s\""),
            ("ten", 0, "\"ten\" is no time"),
            ("-1", 0, "\"-1\" is no time"),
            ("10min", 2, "unknown unit \"min\""),
            ("10S", 2, "unknown unit \"S\""),
            ("5é", 1, "unknown unit \"é\""),
            ("1h30", 2, "30 has no unit"),
            ("30m1h", 4, "\"h\" behind a unit that is not larger"),
            ("1m1m", 3, "\"m\" behind a unit that is not larger"),
            ("1.2.3s", 0, "\"1.2.3\" is no number"),
            (".5s", 0, "\".5\" is no number"),
            ("0.0001h", 0, "0.0001 has more than three decimals"),
            ("24856d", 0, "24856 is too large"),
            ("24855d4h", 0, "24855d4h is too large"),
            ("99999999999999999999999d", 0, "99999999999999999999999 is too large"),
        ] {
            let fault = duration(text).unwrap_err();
            assert_eq!((fault.span.start, fault.found.as_str()), (place, found), "{text}");
            assert!(text.get(fault.span.clone()).is_some(), "{text}: {fault:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_a_fault_within_it(text in "[0-9.]{0,21}[dhms]?\\PC{0,8}") {
            match duration(&text) {
                Ok(time) => prop_assert!(!time.is_zero() && time <= MAX),
                Err(fault) => prop_assert!(text.get(fault.span).is_some()),
            }
        }
    }
}
