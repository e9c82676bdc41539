//! Days and moments, as `expiry-time` has them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};
use knock_core::config;
use knock_core::spa::Civil;

/// How a moment is written to its second, and a day with its last second.
const MOMENT: &str = "%Y%m%d%H%M%SZ";
const LAST_SECOND: &str = "%Y%m%d235959";
/// The farthest day that is taken, in days from today: a century.
const MAX_DAYS: u32 = 36_525;

/// Seconds since 1970 of a time in this machine's time zone, or in UTC; `None` where there is no such time.
pub(crate) fn to_unix(civil: Civil) -> Option<i64> {
    let Civil { year, month, day, hour, minute, second, utc } = civil;
    let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    Some(time.to_zoned_datetime(zone).ok()?.timestamp().as_second())
}

/// A moment for people: `2027-01-01 23:59`, in this machine's time zone.
pub(crate) fn shown(unix: i64) -> String {
    let moment = Timestamp::from_second(unix).map(|moment| moment.to_zoned_datetime(TimeZone::system()));
    moment.map_or_else(|_| unix.to_string(), |moment| moment.strftime("%Y-%m-%d %H:%M").to_string())
}

/// The same for programs (RFC 3339).
pub(crate) fn rfc3339(unix: i64) -> String {
    Timestamp::from_second(unix).map_or_else(|_| unix.to_string(), |moment| moment.to_string())
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// What `--expires` says, as `expiry-time` says it: a last day, so many days from today, a shorter time from now, or a
/// moment as it is.
///
/// # Errors
/// For anything else, and for what is over already.
pub(crate) fn expiry(text: &str, now: &ZonedDateTime) -> Result<String, String> {
    let expected = "expected a last day such as 20271231 or 2027-12-31, or a time from now such as 30d or 8h";
    let digits = text.replace('-', "");
    let written =
        if digits.len() >= 8 && digits.starts_with(|c: char| c.is_ascii_digit()) && is_moment(&digits) {
            moment(&digits)
        } else {
            from_now(text, now)
        };
    let written = written.ok_or_else(|| format!("\"{text}\" is no day; {expected}"))?;
    let unix = read(&written).ok_or_else(|| format!("there is no such day as {text}; {expected}"))?;
    if unix <= now.timestamp().as_second() {
        return Err(format!("{text} is over already"));
    }
    Ok(written)
}

fn is_moment(text: &str) -> bool {
    text.trim_end_matches(['Z', 'z']).bytes().all(|byte| byte.is_ascii_digit())
}

fn moment(digits: &str) -> Option<String> {
    match digits.len() {
        8 => Some(format!("{digits}235959")),
        _ => Some(digits.to_owned()),
    }
}

fn from_now(text: &str, now: &ZonedDateTime) -> Option<String> {
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        let last = now.checked_add(Span::new().days(i64::from(days.min(MAX_DAYS)))).ok()?;
        return (1..=MAX_DAYS).contains(&days).then(|| last.strftime(LAST_SECOND).to_string());
    }
    // A number alone would be seconds, which nobody means.
    let time = config::duration(text).ok().filter(|_| text.ends_with(|c: char| c.is_ascii_alphabetic()))?;
    let end = now.timestamp().checked_add(time).ok()?;
    Some(end.strftime(MOMENT).to_string())
}

/// What the daemon makes of it: it reads a file with such a line.
pub(crate) fn read(written: &str) -> Option<i64> {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let line = format!("expiry-time=\"{written}\" {KEY}");
    knock_core::spa::read_keys(&line, &to_unix).keys.first()?.until
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiry_at(text: &str, now: &str) -> Result<String, String> {
        expiry(text, &now.parse().unwrap())
    }

    #[test]
    fn a_last_day_is_a_whole_day() {
        let now = "2026-11-24T18:30:00+00:00[UTC]";
        for (said, written) in [
            ("20270101", "20270101235959"),
            ("2027-01-01", "20270101235959"),
            ("202701011200", "202701011200"),
            ("20270101120000Z", "20270101120000Z"),
            ("30d", "20261224235959"),
            ("1d", "20261125235959"),
            ("8h", "20261125023000Z"),
            ("20261124", "20261124235959"),
        ] {
            assert_eq!(expiry_at(said, now).as_deref(), Ok(written), "{said}");
        }
        for (said, why) in [
            ("", "no day"),
            ("tomorrow", "no day"),
            ("0d", "no day"),
            ("99999999d", "no day"),
            ("20270230", "no such day"),
            ("2027013", "no day"),
            ("20200101", "over already"),
            ("20261123", "over already"),
        ] {
            let told = expiry_at(said, now).unwrap_err();
            assert!(told.contains(why), "{said}: {told}");
        }
    }

    #[test]
    fn times_that_are_none() {
        let civil = |month, day| Civil { year: 2027, month, day, hour: 0, minute: 0, second: 0, utc: true };
        assert_eq!(to_unix(civil(1, 1)), Some(1_798_761_600));
        assert_eq!(to_unix(civil(2, 30)), None);
        assert_eq!(to_unix(civil(13, 1)), None);
    }
}
