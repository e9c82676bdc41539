//! A transaction: changes that the kernel makes all at once or not at all.

use std::net::IpAddr;
use std::time::Duration;

use knock_linux::netlink::{Attributes, Messages};

use super::attribute as nfta;
use super::expression::Rule;
use super::{Family, header, kind};

/// The longest time that the kernel takes, in milliseconds.
const MAX_TIMEOUT: u64 = u64::MAX / 1_000_000;
/// The longest comment that `nft` shows, in bytes.
const MAX_COMMENT: usize = 127;

/// Messages that are about to become one transaction, on tables of one name and family.
pub(crate) struct Transaction<'a> {
    family: Family,
    table: &'a str,
    messages: Messages,
    sequence: u32,
    first: u32,
}

/// A chain that the kernel calls by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// `NF_INET_...`.
    pub(crate) hook: i32,
    pub(crate) priority: i32,
}

/// A set of addresses, each of which may have its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: Key,
}

/// What a set is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Ipv4,
    Ipv6,
}

impl Key {
    /// The number of the type, which is `nft`'s own, and the length in bytes.
    const fn kind_and_length(self) -> (u32, u32) {
        match self {
            Self::Ipv4 => (7, 4),
            Self::Ipv6 => (8, 16),
        }
    }
}

impl<'a> Transaction<'a> {
    /// Begins one, whose messages are numbered from `sequence`.
    pub(crate) fn new(family: Family, table: &'a str, sequence: u32) -> Self {
        let mut transaction =
            Self { family, table, messages: Messages::new(), sequence, first: sequence.wrapping_add(1) };
        transaction.boundary(libc::NFNL_MSG_BATCH_BEGIN);
        transaction
    }

    /// Ends it and asks for word of its success: the messages, and the number that the word will have.
    pub(crate) fn finish(mut self) -> (Messages, u32) {
        // Only the last change asks: its word comes when all are made. Kernels before 6.8 give none for the end.
        self.messages.ask_for_word();
        let last = self.sequence.wrapping_sub(1);
        self.boundary(libc::NFNL_MSG_BATCH_END);
        (self.messages, last)
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.sequence == self.first
    }

    fn boundary(&mut self, which: i32) {
        let sequence = self.next();
        let header = header(Family(libc::AF_UNSPEC as u8), libc::NFNL_SUBSYS_NFTABLES);
        self.messages.add((which as u16, 0, sequence), &header, |_| {});
    }

    fn change(&mut self, message: i32, flags: i32, fill: impl FnOnce(&mut Attributes<'_>)) {
        let sequence = self.next();
        let table = self.table;
        self.messages.add((kind(message), flags, sequence), &header(self.family, 0), |attributes| {
            attributes.put_text(nfta::TABLE, table);
            fill(attributes);
        });
    }

    fn next(&mut self) -> u32 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    /// Makes the table if there is none.
    pub(crate) fn add_table(&mut self) {
        self.change(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, |table| {
            table.put_be32(nfta::TABLE_FLAGS, 0);
        });
    }

    /// Deletes the table and all that is in it.
    pub(crate) fn delete_table(&mut self) {
        self.change(libc::NFT_MSG_DELTABLE, 0, |_| {});
    }

    /// Makes a chain that rules jump to.
    pub(crate) fn add_chain(&mut self, name: &str) {
        self.change(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, |chain| {
            chain.put_text(nfta::CHAIN_NAME, name);
        });
    }

    /// Makes a chain that the kernel calls, if there is none.
    pub(crate) fn add_base_chain(&mut self, name: &str, Chain { hook, priority }: Chain) {
        const NF_ACCEPT: u32 = 1;
        self.change(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, |chain| {
            chain.put_text(nfta::CHAIN_NAME, name).put_text(nfta::CHAIN_TYPE, "filter");
            chain.put_be32(nfta::CHAIN_POLICY, NF_ACCEPT).nest(nfta::CHAIN_HOOK, |place| {
                place.put_be32(nfta::HOOK_NUMBER, hook as u32);
                place.put_be32(nfta::HOOK_PRIORITY, priority as u32);
            });
        });
    }

    /// Deletes a chain, which has no rules and is jumped to from nowhere.
    pub(crate) fn delete_chain(&mut self, name: &str) {
        self.change(libc::NFT_MSG_DELCHAIN, 0, |chain| {
            chain.put_text(nfta::CHAIN_NAME, name);
        });
    }

    /// Adds a rule at a chain's end. The comment may be empty.
    pub(crate) fn append_rule(&mut self, chain: &str, comment: &str, fill: impl FnOnce(&mut Rule<'_, '_>)) {
        self.rule(chain, libc::NLM_F_APPEND, comment, fill);
    }

    /// Puts a rule before all others of a chain.
    pub(crate) fn insert_rule(&mut self, chain: &str, comment: &str, fill: impl FnOnce(&mut Rule<'_, '_>)) {
        self.rule(chain, 0, comment, fill);
    }

    /// Deletes a rule.
    pub(crate) fn delete_rule(&mut self, chain: &str, handle: u64) {
        self.change(libc::NFT_MSG_DELRULE, 0, |rule| {
            rule.put_text(nfta::RULE_CHAIN, chain).put_be64(nfta::RULE_HANDLE, handle);
        });
    }

    fn rule(&mut self, chain: &str, flags: i32, comment: &str, fill: impl FnOnce(&mut Rule<'_, '_>)) {
        self.change(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | flags, |rule| {
            rule.put_text(nfta::RULE_CHAIN, chain);
            rule.nest(nfta::RULE_EXPRESSIONS, |list| fill(&mut Rule(list)));
            if !comment.is_empty() {
                rule.put(nfta::RULE_USERDATA, &comment_data(comment));
            }
        });
    }

    /// Deletes all rules of all chains.
    pub(crate) fn delete_rules(&mut self) {
        self.change(libc::NFT_MSG_DELRULE, 0, |_| {});
    }

    /// Makes a set. `id` is another one for each set of the transaction.
    pub(crate) fn add_set(&mut self, set: &Set<'_>, id: u32) {
        let (key, length) = set.key.kind_and_length();
        self.change(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE, |message| {
            message.put_text(nfta::SET_NAME, set.name);
            message.put_be32(nfta::SET_FLAGS, libc::NFT_SET_TIMEOUT as u32);
            message.put_be32(nfta::SET_KEY_TYPE, key).put_be32(nfta::SET_KEY_LENGTH, length);
            message.put_be32(nfta::SET_ID, id);
        });
    }

    /// Deletes a set, which no rule looks at.
    pub(crate) fn delete_set(&mut self, name: &str) {
        self.change(libc::NFT_MSG_DELSET, 0, |set| {
            set.put_text(nfta::SET_NAME, name);
        });
    }

    /// Adds elements, each with the time until the kernel takes it away again, if it does. One that is there stays as
    /// it is, or gets the new time: that depends on the kernel. The list is short enough for one message.
    pub(crate) fn add_elements(
        &mut self,
        set: &str,
        elements: impl IntoIterator<Item = (IpAddr, Option<Duration>)>,
    ) {
        self.change(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, |message| {
            message.put_text(nfta::ELEMENTS_SET, set).nest(nfta::ELEMENTS, |list| {
                for (address, left) in elements {
                    element(list, address, left);
                }
            });
        });
    }

    /// Deletes an element, which is there.
    pub(crate) fn delete_element(&mut self, set: &str, address: IpAddr) {
        self.change(libc::NFT_MSG_DELSETELEM, 0, |message| {
            message.put_text(nfta::ELEMENTS_SET, set);
            message.nest(nfta::ELEMENTS, |list| element(list, address, None));
        });
    }
}

fn element(list: &mut Attributes<'_>, address: IpAddr, left: Option<Duration>) {
    list.nest(nfta::LIST_ELEM, |element| {
        element.nest(nfta::ELEMENT_KEY, |key| {
            match address {
                IpAddr::V4(v4) => key.put(nfta::DATA_VALUE, &v4.octets()),
                IpAddr::V6(v6) => key.put(nfta::DATA_VALUE, &v6.octets()),
            };
        });
        if let Some(left) = left {
            element.put_be64(nfta::ELEMENT_TIMEOUT, milliseconds(left));
        }
    });
}

/// Rounded up, and never 0, which would be without end.
fn milliseconds(left: Duration) -> u64 {
    let rounded = u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    rounded.clamp(1, MAX_TIMEOUT)
}

/// A comment as `nft` keeps them: a type, a length, and the text with a zero behind it.
fn comment_data(comment: &str) -> Vec<u8> {
    const COMMENT: u8 = 0;
    let mut text = String::with_capacity(MAX_COMMENT);
    for character in comment.chars() {
        // `nft` shows comments in quotation marks and knows no way to write one inside.
        let shown = if character.is_control() || character == '"' { '_' } else { character };
        if text.len() + shown.len_utf8() > MAX_COMMENT {
            break;
        }
        text.push(shown);
    }
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[COMMENT, length], text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_never_endless() {
        for (left, expected) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_micros(1_001), 2),
            (Duration::from_secs(10), 10_000),
            (Duration::MAX, MAX_TIMEOUT),
        ] {
            assert_eq!(milliseconds(left), expected, "{left:?}");
        }
    }

    #[test]
    fn a_comment_fits_and_is_whole() {
        assert_eq!(comment_data("ssh"), b"\0\x04ssh\0");
        assert_eq!(comment_data("a\"b\nc"), b"\0\x06a_b_c\0");
        let long = comment_data(&"ü".repeat(1000));
        assert_eq!((long[1], long.len()), (127, 129));
    }
}
