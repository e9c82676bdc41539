//! The values of directives other than sequences.

use std::net::IpAddr;
use std::time::Duration;

use super::lines::Spanned;
use crate::knock::TcpFlags;
use crate::sequence::Fault;

/// The longest time that can be asked for, in seconds: knockd's, 68 years.
const MAX_SECONDS: u64 = i32::MAX as u64;

/// Which TCP flags a packet must have and must not have to count for a door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlagRule {
    /// All of these must be set.
    pub required: TcpFlags,
    /// None of these may be set.
    pub excluded: TcpFlags,
}

impl FlagRule {
    /// Whether a packet with `flags` counts.
    pub const fn fits(self, flags: TcpFlags) -> bool {
        flags.contains(self.required) && !flags.intersects(self.excluded)
    }
}

/// Reads a number of seconds, with a fraction down to milliseconds if need be.
pub(super) fn seconds(value: &Spanned<'_>) -> Result<Duration, Fault> {
    let expected = format!("a number of seconds up to {MAX_SECONDS}, such as 10 or 0.5");
    let fault = |found: String| Err(Fault::new(value.span(), found, expected.clone()));
    let (whole, fraction) = value.text.split_once('.').unwrap_or((value.text, "0"));
    if value.text.is_empty() {
        return fault("the number is missing".into());
    }
    if !is_digits(whole) || !is_digits(fraction) {
        return fault(format!("\"{}\" is no number", value.text));
    }
    if fraction.len() > 3 {
        return fault(format!("{} is finer than a millisecond", value.text));
    }
    let milliseconds = format!("{fraction:0<3}").parse().unwrap_or(0);
    match whole.parse::<u64>() {
        Ok(whole) if whole <= MAX_SECONDS => {
            Ok(Duration::from_secs(whole) + Duration::from_millis(milliseconds))
        }
        _ => fault(format!("{} is too large", value.text)),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

const FLAGS: [(&str, TcpFlags); 6] = [
    ("fin", TcpFlags::FIN),
    ("syn", TcpFlags::SYN),
    ("rst", TcpFlags::RST),
    ("psh", TcpFlags::PSH),
    ("ack", TcpFlags::ACK),
    ("urg", TcpFlags::URG),
];

/// Reads `syn,!ack`.
pub(super) fn flags(value: &Spanned<'_>) -> Result<FlagRule, Fault> {
    let mut rule = FlagRule::default();
    let mut start = value.start;
    for entry in value.text.split(',') {
        let word = Spanned { text: entry, start }.trimmed();
        start += entry.len() + 1;
        let (name, excluded) = match word.text.strip_prefix('!') {
            Some(name) => (name, true),
            None => (word.text, false),
        };
        let Some((_, flag)) = FLAGS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) else {
            let expected =
                "fin, syn, rst, psh, ack or urg, each with an optional ! before it and commas between them";
            return Err(Fault::new(word.span(), format!("unknown flag \"{}\"", word.text), expected));
        };
        let side = if excluded { &mut rule.excluded } else { &mut rule.required };
        *side = side.union(*flag);
        if rule.required.intersects(rule.excluded) {
            let found = format!("{} is both required and excluded", name.to_ascii_lowercase());
            return Err(Fault::new(word.span(), found, "each flag once"));
        }
    }
    Ok(rule)
}

/// Reads an IP address.
pub(super) fn address(value: &Spanned<'_>) -> Result<IpAddr, Fault> {
    value.text.parse().map_err(|_| {
        let found = format!("\"{}\" is no IP address", value.text);
        Fault::new(value.span(), found, "an address, such as 192.0.2.1 or 2001:db8::1")
    })
}

#[cfg(test)]
mod tests {
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
        for bad in ["", "5s", "-1", "+1", "five", "1e3", ".5", "5.", "1.2.3", "0.0001", "2147483648", " 5"] {
            let fault = seconds(&at(bad)).unwrap_err();
            assert!(fault.expected.contains("seconds"), "{bad}");
            assert_eq!(fault.span.start, 3, "{bad}");
        }
    }

    #[test]
    fn flags_in_any_case_and_with_spaces() {
        let rule = flags(&at("syn, !ACK")).unwrap();
        assert!(rule.fits(TcpFlags::SYN));
        assert!(rule.fits(TcpFlags::SYN.union(TcpFlags::PSH)));
        assert!(!rule.fits(TcpFlags::SYN.union(TcpFlags::ACK)));
        assert!(!rule.fits(TcpFlags::FIN));
        assert!(FlagRule::default().fits(TcpFlags::default()));
        for bad in ["", "sin", "syn,", "syn ack", "!!syn", "syn,!syn"] {
            assert!(flags(&at(bad)).is_err(), "{bad}");
        }
    }
}
