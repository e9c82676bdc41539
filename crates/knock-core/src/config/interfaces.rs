//! Which network interfaces the daemon listens on.

use crate::sequence::Fault;

/// The interfaces that `-i` or `Interface` name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// Nothing was named: those that the default routes use, and `eth0`, which knockd would have used.
    #[default]
    Default,
    /// `any`: all of them, loopback included.
    Any,
    /// Names and patterns.
    Matching(Vec<String>),
}

/// The longest name that Linux gives to an interface (`IFNAMSIZ` without the NUL), in bytes.
const MAX_NAME: usize = 15;

impl Interfaces {
    /// Reads names separated by commas; `*` stands for any characters, `?` for one, `any` for all interfaces.
    ///
    /// # Errors
    /// For an empty entry and for what cannot be an interface's name.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut patterns = Vec::new();
        let mut any = false;
        let mut start = 0;
        for entry in text.split(',') {
            let name = entry.trim();
            let indent = entry.len() - entry.trim_start().len();
            check_name(name).map_err(|fault| fault.shifted(start + indent))?;
            any |= name == "any";
            patterns.push(name.to_owned());
            start += entry.len() + 1;
        }
        Ok(if any { Self::Any } else { Self::Matching(patterns) })
    }

    /// Whether an interface of this name is meant, where `default` says if it is one of those that are used
    /// when nothing is named.
    pub fn matches(&self, name: &str, default: bool) -> bool {
        match self {
            Self::Default => default || name == "eth0",
            Self::Any => true,
            Self::Matching(patterns) => {
                patterns.iter().any(|pattern| glob(pattern.as_bytes(), name.as_bytes()))
            }
        }
    }

    /// The names without wildcards: interfaces that ought to exist.
    pub fn literal_names(&self) -> impl Iterator<Item = &str> {
        let patterns = match self {
            Self::Matching(patterns) => patterns.as_slice(),
            Self::Default | Self::Any => &[],
        };
        patterns.iter().map(String::as_str).filter(|name| !name.contains(['*', '?']))
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    let expected = "an interface's name, a pattern such as wg*, or any";
    let fault = |found: String| Err(Fault::new(0..name.len(), found, expected));
    if name.is_empty() {
        fault("the interface's name is empty".into())
    } else if name.len() > MAX_NAME {
        fault(format!("\"{name}\" is longer than the {MAX_NAME} bytes of a name"))
    } else if name.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '#')) {
        fault(format!("\"{name}\" cannot be an interface"))
    } else {
        Ok(())
    }
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skip| glob(rest, &name[skip..])),
        (Some((b'?', rest)), Some((_, name))) => glob(rest, name),
        (Some((expected, rest)), Some((found, name))) => expected == found && glob(rest, name),
        _ => false,
    }
}

impl std::fmt::Display for Interfaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("the default route's interface"),
            Self::Any => f.write_str("any"),
            Self::Matching(patterns) => f.write_str(&patterns.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lists_and_patterns() {
        let list = Interfaces::parse("eth0, wg*,tun?").unwrap();
        for (name, expected) in
            [("eth0", true), ("eth01", false), ("wg", true), ("wg17", true), ("tun", false), ("tun3", true)]
        {
            assert_eq!(list.matches(name, true), expected, "{name}");
        }
        assert_eq!(list.literal_names().collect::<Vec<_>>(), ["eth0"]);
        assert_eq!(Interfaces::parse("lo,any"), Ok(Interfaces::Any));
        assert!(Interfaces::Default.matches("ppp0", true));
        assert!(!Interfaces::Default.matches("lan0", false));
    }

    #[test]
    fn refuses_what_is_no_name() {
        for bad in ["", "eth0,", "eth0 eth1", "/dev/eth0", "eth0 # remark", "averyveryverylongname"] {
            assert!(Interfaces::parse(bad).is_err(), "{bad}");
        }
    }
}
