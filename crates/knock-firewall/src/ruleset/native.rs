//! Reads nftables' tables, whoever made them.

use std::collections::BTreeMap;

use knock_linux::netlink::{attribute, attributes, text, u16_at, u32_at};

use super::{Base, Chain, Does, Hook, Maker, Rule, Table};
use crate::nft::{self, Family, Link, attribute as nfta};
use crate::{Error, TABLE};

const DOING: &str = "read the machine's firewall";
/// Flags of tables.
const DORMANT: u32 = 1;
const OWNER: u32 = 2;

/// A table's family and name.
type Id = (Family, String);

pub(super) fn tables(link: &mut Link) -> Result<Vec<Table>, Error> {
    let mut tables = read_tables(link)?;
    for (id, name, base) in read_chains(link)? {
        if let Some(table) = tables.get_mut(&id) {
            table.chains.insert(name, Chain { base, rules: Vec::new() });
        }
    }
    for (id, chain, rule) in read_rules(link)? {
        if let Some(chain) = tables.get_mut(&id).and_then(|table| table.chains.get_mut(&chain)) {
            chain.rules.push(rule);
        }
    }
    let filters = |table: &Table| table.chains.values().any(|chain| chain.base.is_some());
    Ok(tables.into_values().filter(filters).collect())
}

fn read_tables(link: &mut Link) -> Result<BTreeMap<Id, Table>, Error> {
    let request = (libc::NFT_MSG_GETTABLE, Family::ANY);
    link.list(
        DOING,
        request,
        |_| {},
        |found: &mut BTreeMap<Id, Table>, family, table| {
            let flags = number(table, nfta::TABLE_FLAGS).unwrap_or_default();
            let Some(id) = id(family, table).filter(|_| flags & DORMANT == 0) else { return };
            let maker = Maker::Nftables { family: family.0, owned: flags & OWNER != 0 };
            found.insert(id.clone(), Table { maker, name: id.1, chains: BTreeMap::new() });
        },
    )
}

fn read_chains(link: &mut Link) -> Result<Vec<(Id, String, Option<Base>)>, Error> {
    let request = (libc::NFT_MSG_GETCHAIN, Family::ANY);
    link.list(
        DOING,
        request,
        |_| {},
        |found: &mut Vec<_>, family, chain| {
            if let (Some(id), Some(name)) = (id(family, chain), word(chain, nfta::CHAIN_NAME)) {
                found.push((id, name, base(family, chain)));
            }
        },
    )
}

fn read_rules(link: &mut Link) -> Result<Vec<(Id, String, Rule)>, Error> {
    let request = (libc::NFT_MSG_GETRULE, Family::ANY);
    link.list(
        DOING,
        request,
        |_| {},
        |found: &mut Vec<_>, family, entry| {
            if let (Some(id), Some(chain)) = (id(family, entry), word(entry, nfta::RULE_CHAIN)) {
                found.push((id, chain, rule(entry)));
            }
        },
    )
}

/// Of those that concern us, and not our own.
fn id(family: Family, object: &[u8]) -> Option<Id> {
    let name = word(object, nfta::TABLE)?;
    let ours = family == Family::INET && name == TABLE;
    (family.is_met() && !ours).then_some((family, name))
}

fn base(family: Family, chain: &[u8]) -> Option<Base> {
    const NF_DROP: u32 = 0;
    let hook = attribute(chain, nfta::CHAIN_HOOK)?;
    if word(chain, nfta::CHAIN_TYPE).as_deref() != Some("filter") {
        return None;
    }
    Some(Base {
        hook: match number(hook, nfta::HOOK_NUMBER)? as i32 {
            _ if family == Family::NETDEV => Hook::Ingress,
            libc::NF_INET_PRE_ROUTING => Hook::Prerouting,
            libc::NF_INET_LOCAL_IN => Hook::Input,
            libc::NF_INET_FORWARD => Hook::Forward,
            libc::NF_INET_LOCAL_OUT | libc::NF_INET_POST_ROUTING => Hook::Leaving,
            _ => Hook::Ingress,
        },
        priority: number(hook, nfta::HOOK_PRIORITY)? as i32,
        drops: number(chain, nfta::CHAIN_POLICY) == Some(NF_DROP),
    })
}

fn rule(entry: &[u8]) -> Rule {
    let list = attribute(entry, nfta::RULE_EXPRESSIONS).unwrap_or_default();
    let mut reading = Reading::default();
    for (_, expression) in attributes(list) {
        let name = word(expression, nfta::EXPR_NAME).unwrap_or_default();
        reading.take(&name, attribute(expression, nfta::EXPR_DATA).unwrap_or_default());
    }
    let handle = attribute(entry, nfta::RULE_HANDLE).and_then(nft::be64).unwrap_or_default();
    let comment = attribute(entry, nfta::RULE_USERDATA).and_then(nft::comment);
    reading.finish(handle, comment)
}

/// What has been read of a rule.
#[derive(Default)]
struct Reading {
    does: Option<Does>,
    /// Whether a condition other than the mark has been met.
    looks_at_more: bool,
    /// What was loaded last.
    loaded: Loaded,
    mark: Option<u32>,
    established: bool,
    comment: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Loaded {
    #[default]
    Other,
    /// The packet's mark, under a mask.
    Mark(u32),
    State(u32),
}

impl Reading {
    fn take(&mut self, name: &str, data: &[u8]) {
        match name {
            "counter" | "log" => {}
            "meta" => self.load(data, libc::NFT_META_MARK, Loaded::Mark(u32::MAX)),
            "ct" => self.load(data, libc::NFT_CT_STATE, Loaded::State(0)),
            "bitwise" => self.mask(data),
            "cmp" => self.compare(data),
            "lookup" => self.look_up(data),
            "immediate" => self.decide(data),
            "reject" | "queue" => self.does = Some(Does::Drop),
            "target" => self.target(data),
            "match" => self.extension(data),
            _ => self.looks_at_more = true,
        }
    }

    fn load(&mut self, data: &[u8], wanted: i32, loaded: Loaded) {
        const KEY: u16 = 2;
        let is_wanted = number(data, KEY) == Some(wanted as u32);
        self.loaded = if is_wanted { loaded } else { Loaded::Other };
    }

    fn mask(&mut self, data: &[u8]) {
        const MASK: u16 = 4;
        let mask = value(data, MASK).and_then(|mask| u32_at(mask, 0)).unwrap_or_default();
        self.loaded = match self.loaded {
            Loaded::Mark(_) => Loaded::Mark(mask),
            Loaded::State(_) => Loaded::State(mask),
            Loaded::Other => Loaded::Other,
        };
    }

    fn compare(&mut self, data: &[u8]) {
        const OPERATION: u16 = 2;
        const DATA: u16 = 3;
        let equal = number(data, OPERATION) == Some(libc::NFT_CMP_EQ as u32);
        let unequal = number(data, OPERATION) == Some(libc::NFT_CMP_NEQ as u32);
        let compared = value(data, DATA).and_then(|value| u32_at(value, 0));
        match (self.loaded, compared) {
            (Loaded::Mark(mask), Some(bits)) if equal && bits == mask || unequal && bits == 0 => {
                self.mark = Some(mask);
            }
            (Loaded::State(mask), Some(0)) if unequal => {
                self.established |= mask & ESTABLISHED != 0;
                self.looks_at_more = true;
            }
            _ => self.looks_at_more = true,
        }
    }

    /// A map of verdicts is not read: it may drop.
    fn look_up(&mut self, data: &[u8]) {
        const DREG: u16 = 3;
        self.looks_at_more = true;
        if number(data, DREG) == Some(libc::NFT_REG_VERDICT as u32) {
            self.does = Some(Does::Drop);
        }
    }

    fn decide(&mut self, data: &[u8]) {
        const DATA: u16 = 2;
        let Some(verdict) = attribute(data, DATA).and_then(|data| attribute(data, nfta::DATA_VERDICT)) else {
            return;
        };
        let chain = || word(verdict, nfta::VERDICT_CHAIN).unwrap_or_default();
        self.does = match number(verdict, nfta::VERDICT_CODE).unwrap_or_default() as i32 {
            libc::NFT_JUMP => Some(Does::Jump(chain())),
            libc::NFT_GOTO => Some(Does::Goto(chain())),
            libc::NFT_RETURN => Some(Does::Return),
            libc::NFT_CONTINUE | libc::NFT_BREAK => None,
            1 => Some(Does::Accept),
            _ => Some(Does::Drop),
        };
    }

    /// What the iptables family has no word of nftables for.
    fn target(&mut self, data: &[u8]) {
        const NAME: u16 = 1;
        let name = word(data, NAME).unwrap_or_default();
        if matches!(name.as_str(), "REJECT" | "DROP" | "TARPIT" | "QUEUE" | "NFQUEUE" | "SYNPROXY") {
            self.does = Some(Does::Drop);
        }
    }

    fn extension(&mut self, data: &[u8]) {
        const NAME: u16 = 1;
        const INFO: u16 = 3;
        let info = attribute(data, INFO).unwrap_or_default();
        match word(data, NAME).unwrap_or_default().as_str() {
            "comment" => self.comment = Some(text(info)),
            // `xt_mark_mtinfo1`: value, mask, whether it is inverted.
            "mark" if u32_at(info, 0) == u32_at(info, 4) && info.get(8) == Some(&0) => {
                self.mark = u32_at(info, 0);
            }
            // `xt_state_info` and `state_mask` of `xt_conntrack_mtinfo3`, with the same bits.
            "state" => self.state_of(u32_at(info, 0)),
            "conntrack" => self.state_of(u16_at(info, 150).map(u32::from)),
            _ => self.looks_at_more = true,
        }
    }

    fn state_of(&mut self, mask: Option<u32>) {
        self.established |= mask.is_some_and(|mask| mask & ESTABLISHED != 0);
        self.looks_at_more = true;
    }

    fn finish(self, handle: u64, comment: Option<String>) -> Rule {
        let does = self.does.unwrap_or(Does::Nothing);
        let accepts = does == Does::Accept;
        Rule {
            handle,
            always: !self.looks_at_more && self.mark.is_none(),
            accepts_mark: self.mark.filter(|mark| *mark != 0 && accepts && !self.looks_at_more),
            accepts_established: accepts && self.established,
            comment: comment.or(self.comment),
            does,
        }
    }
}

/// The bit of a connection's state.
const ESTABLISHED: u32 = 1 << 1;

fn number(list: &[u8], kind: u16) -> Option<u32> {
    attribute(list, kind).and_then(nft::be32)
}

fn word(list: &[u8], kind: u16) -> Option<String> {
    attribute(list, kind).map(text)
}

fn value(list: &[u8], kind: u16) -> Option<&[u8]> {
    attribute(attribute(list, kind)?, nfta::DATA_VALUE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_some_rule(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (rule(&bytes), base(Family::INET, &bytes), id(Family::INET, &bytes), nft::comment(&bytes));
            for name in ["meta", "ct", "bitwise", "cmp", "lookup", "immediate", "target", "match"] {
                Reading::default().take(name, &bytes);
            }
        }
    }
}
