//! Reads the tables of `iptables-legacy`, which the kernel keeps apart from nftables.

use std::collections::BTreeMap;
use std::fs;

use super::{Base, Chain, Does, Hook, Maker, Rule, Table};
use crate::Error;
use crate::iptables::{Iptables, Kind, Version};

/// The table `filter`, where it is in use. Merely asking for it would put it in use.
pub(super) fn table(version: Version, iptables: &Iptables) -> Result<Option<Table>, Error> {
    if !is_in_use(version) {
        return Ok(None);
    }
    let listing = iptables
        .run(Kind::Legacy, version, &["-S"])
        .map_err(|error| Error::program("read the rules of iptables-legacy", error))?;
    let maker = match version {
        Version::V4 => Maker::Iptables,
        Version::V6 => Maker::Ip6tables,
    };
    Ok(Some(Table { maker, name: "filter".into(), chains: chains(&listing) }))
}

/// The thread's own file: other threads may be in other network namespaces.
fn is_in_use(version: Version) -> bool {
    let names = match version {
        Version::V4 => "ip_tables_names",
        Version::V6 => "ip6_tables_names",
    };
    let tables = fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
    tables.lines().any(|table| table == "filter")
}

fn chains(listing: &str) -> BTreeMap<String, Chain> {
    let mut chains = BTreeMap::<String, Chain>::new();
    for line in listing.lines() {
        let words = words(line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["-P", name, policy] => {
                chains.entry(name.into()).or_default().base = base(name, policy == "DROP");
            }
            ["-N", name] => {
                chains.entry(name.into()).or_default();
            }
            ["-A", name, ref conditions @ ..] => {
                let rules = &mut chains.entry(name.into()).or_default().rules;
                rules.push(rule(rules.len() as u64 + 1, conditions));
            }
            _ => {}
        }
    }
    chains
}

fn base(name: &str, drops: bool) -> Option<Base> {
    let hook = match name {
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Leaving,
        _ => return None,
    };
    Some(Base { hook, priority: 0, drops })
}

fn rule(handle: u64, mut words: &[&str]) -> Rule {
    let (mut does, mut looks_at_more, mut mark, mut comment) = (Does::Nothing, false, None, None);
    let mut established = false;
    loop {
        words = match *words {
            ["-m", "mark", "--mark", value, ref rest @ ..] => {
                mark = same_value_and_mask(value);
                looks_at_more |= mark.is_none();
                rest
            }
            ["-m", "comment", "--comment", text, ref rest @ ..] => {
                comment = Some(text.to_owned());
                rest
            }
            ["-j", target, ..] => {
                does = target_does(target);
                break;
            }
            ["-g", chain, ..] => {
                does = Does::Goto(chain.to_owned());
                break;
            }
            ["--ctstate" | "--state", states, ref rest @ ..] => {
                established |= states.split(',').any(|state| state == "ESTABLISHED");
                looks_at_more = true;
                rest
            }
            [_, ref rest @ ..] => {
                looks_at_more = true;
                rest
            }
            [] => break,
        };
    }
    let accepts = does == Does::Accept;
    Rule {
        handle,
        always: !looks_at_more && mark.is_none(),
        accepts_mark: mark.filter(|mark| *mark != 0 && accepts && !looks_at_more),
        accepts_established: accepts && established,
        comment,
        does,
    }
}

fn target_does(target: &str) -> Does {
    match target {
        "ACCEPT" => Does::Accept,
        "RETURN" => Does::Return,
        "DROP" | "REJECT" | "TARPIT" | "QUEUE" | "NFQUEUE" | "SYNPROXY" => Does::Drop,
        // An extension such as LOG is no chain, and going to none changes nothing.
        other => Does::Jump(other.into()),
    }
}

/// `0x1/0x1` is 1; another value than the mask asks for more than that some bit is set.
fn same_value_and_mask(text: &str) -> Option<u32> {
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let (value, mask) = text.split_once('/')?;
    number(value).filter(|value| number(mask) == Some(*value))
}

/// The words of a line; those in quotation marks may have spaces and `\"`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => (quoted, any) = (!quoted, true),
            '\\' if quoted => word.extend(characters.next()),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            other => word.push(other),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_iptables_lists() {
        let chains = chains(
            "-P INPUT DROP\n-P FORWARD ACCEPT\n-N DOCKER-USER\n\
             -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -A INPUT -m mark --mark 0x10000000/0x10000000 -m comment --comment knockd -j ACCEPT\n\
             -A INPUT -m mark --mark 0x1/0x3 -j ACCEPT\n\
             -A INPUT -s 192.0.2.7/32 -m comment --comment \"a \\\"b\\\" -j\" -j REJECT --reject-with icmp-port-unreachable\n\
             -A FORWARD -j DOCKER-USER\n-A FORWARD -i eth0 -g elsewhere\n",
        );
        let input = &chains["INPUT"];
        assert!(input.base.is_some_and(|base| base.drops && base.hook == Hook::Input));
        let [established, ours, other, reject] = &input.rules[..] else { panic!("{input:?}") };
        assert!(established.accepts_established && !established.always && !established.is_ours());
        assert_eq!((ours.accepts_mark, ours.is_ours(), ours.handle), (Some(0x1000_0000), true, 2));
        assert_eq!((other.accepts_mark, other.always), (None, false));
        assert_eq!((&reject.does, reject.comment.as_deref()), (&Does::Drop, Some("a \"b\" -j")));
        let [to_user, elsewhere] = &chains["FORWARD"].rules[..] else { panic!("{chains:?}") };
        assert_eq!((&to_user.does, to_user.always), (&Does::Jump("DOCKER-USER".into()), true));
        assert_eq!((&elsewhere.does, elsewhere.always), (&Does::Goto("elsewhere".into()), false));
    }

    proptest! {
        #[test]
        fn any_listing_is_read(listing in "(-[PNA] |[A-Z]{1,4} |-[mjg] |--mark |0x1/|[\"\\\\ \n!]){0,40}") {
            let _ = chains(&listing);
        }
    }
}
