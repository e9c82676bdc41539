//! The values of directives: flags, addresses, networks, words.

use std::net::IpAddr;

use super::diagnostic::Diagnostic;
use super::lines::Spanned;
use serde::{Deserialize, Serialize};

use crate::knock::TcpFlags;
use crate::network::{Network, NoNetwork};
use crate::sequence::Fault;

/// Which TCP flags a packet must have and must not have to count for a door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// Reads `syn,!ack`.
pub(super) fn flags(value: &Spanned<'_>) -> Result<FlagRule, Fault> {
    let mut rule = FlagRule::default();
    for word in value.entries() {
        let (name, excluded) = match word.text.strip_prefix('!') {
            Some(name) => (name, true),
            None => (word.text, false),
        };
        let Some((_, flag)) = TcpFlags::NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known))
        else {
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

/// Reads a list of addresses and networks.
pub(super) fn networks(
    value: &Spanned<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<Network>, Fault> {
    value.entries().map(|entry| network(&entry, diagnostics)).collect()
}

fn network(entry: &Spanned<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Network, Fault> {
    let text = entry.text;
    let network: Network = text.parse().map_err(|NoNetwork| {
        let found = match text {
            "" => "a network is missing".to_owned(),
            text => format!("\"{text}\" is no network"),
        };
        Fault::new(entry.span(), found, "addresses and networks, such as 192.0.2.0/24, 2001:db8::/32")
    })?;
    let address = text.split('/').next().and_then(|address| address.parse().ok());
    if address.is_some_and(|address: IpAddr| address != network.address()) {
        let found = format!("{text} has bits behind its prefix");
        diagnostics.push(Diagnostic::warning(entry.span(), found, format!("{network} is meant: write that")));
    }
    Ok(network)
}

/// Reads one of some words, in any case.
pub(super) fn choice<T: Copy, const N: usize>(
    value: &Spanned<'_>,
    choices: [(&str, T); N],
) -> Result<T, Fault> {
    let chosen = choices.iter().find(|(word, _)| value.text.eq_ignore_ascii_case(word));
    chosen.map(|(_, choice)| *choice).ok_or_else(|| {
        let found = match value.text {
            "" => "the value is missing".to_owned(),
            text => format!("unknown value \"{text}\""),
        };
        Fault::new(value.span(), found, choices.map(|(word, _)| word).join(" or "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Spanned<'_> {
        Spanned { text, start: 3 }
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
