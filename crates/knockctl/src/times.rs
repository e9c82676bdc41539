//! Times in words: `9 s`, `2 min 5 s`, `3 d 4 h`.

use std::time::Duration;

use knock_core::control::Seconds;

const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];

/// A time that somebody has set, as it is.
pub(crate) fn exact(Seconds(time): Seconds) -> String {
    match time.subsec_millis() {
        0 => all(time.as_secs()),
        _ if time.as_secs() < 60 => format!("{} s", Seconds(time)),
        milliseconds => format!("{} {milliseconds} ms", all(time.as_secs())),
    }
}

/// A time that is still to come, rounded up: it is not over before.
pub(crate) fn left(Seconds(time): Seconds) -> String {
    whole((time + Duration::from_nanos(999_999_999)).as_secs())
}

/// A time that has gone by, rounded down.
pub(crate) fn past(Seconds(time): Seconds) -> String {
    whole(time.as_secs())
}

/// Its two largest units.
fn whole(seconds: u64) -> String {
    in_units(seconds, 2)
}

/// All its units.
fn all(seconds: u64) -> String {
    in_units(seconds, UNITS.len())
}

fn in_units(seconds: u64, most: usize) -> String {
    let mut rest = seconds;
    let mut words = Vec::new();
    for (size, unit) in UNITS {
        let (count, behind) = (rest / size, rest % size);
        rest = behind;
        words.push((count, unit));
    }
    let first = words.iter().position(|(count, _)| *count > 0);
    let Some(words) = first.and_then(|first| words.get(first..)) else { return "0 s".into() };
    let shown = words.iter().take(most).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// A moment as in RFC 3339, for people: the day and the time, without the zone, which is this machine's.
pub(crate) fn moment(text: &str) -> String {
    match (text.get(..10), text.get(10..11), text.get(11..19)) {
        (Some(day), Some("T"), Some(time)) => format!("{day} {time}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words() {
        let seconds = |milliseconds| Seconds(Duration::from_millis(milliseconds));
        for (milliseconds, shown) in [
            (0, "0 s"),
            (9_000, "9 s"),
            (60_000, "1 min"),
            (125_000, "2 min 5 s"),
            (3_600_000, "1 h"),
            (3_605_000, "1 h"),
            (277_200_000, "3 d 5 h"),
        ] {
            assert_eq!(past(seconds(milliseconds)), shown);
            assert_eq!(left(seconds(milliseconds)), shown);
        }
        assert_eq!((past(seconds(8_999)), left(seconds(8_001))), ("8 s".into(), "9 s".into()));
        assert_eq!((exact(seconds(500)), exact(seconds(1_025))), ("0.5 s".into(), "1.025 s".into()));
        assert_eq!(
            (exact(seconds(90_500)), exact(seconds(90_000))),
            ("1 min 30 s 500 ms".into(), "1 min 30 s".into())
        );
        assert_eq!(left(Seconds(Duration::from_secs(i32::MAX as u64))), "24855 d 3 h");
    }

    #[test]
    fn exact_times_leave_nothing_out() {
        let seconds = |seconds| exact(Seconds(Duration::from_secs(seconds)));
        assert_eq!(seconds(3_605), "1 h 5 s");
        assert_eq!(seconds(90_061), "1 d 1 h 1 min 1 s");
    }

    #[test]
    fn moments_for_people() {
        assert_eq!(moment("2026-11-24T08:23:01.5+01:00"), "2026-11-24 08:23:01");
        for odd in ["", "yesterday", "2026-11-24", "ééééééééééééééé"] {
            assert_eq!(moment(odd), odd);
        }
    }
}
