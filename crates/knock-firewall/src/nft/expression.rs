//! The expressions that rules are made of, one attribute list each. All work with one register.

use knock_linux::netlink::Attributes;

use super::attribute as nfta;

/// What a rule's expressions are written to.
pub(crate) struct Rule<'r, 'a>(pub(crate) &'r mut Attributes<'a>);

/// The register that a value is loaded into, and compared or taken from.
const REGISTER: u32 = libc::NFT_REG_1 as u32;
/// The register of verdicts.
const VERDICT: u32 = libc::NFT_REG_VERDICT as u32;

/// What is done with a packet that a rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    Accept,
    Drop,
    Return,
    Jump(&'a str),
}

/// Where in a packet a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    base: i32,
    offset: u32,
    length: u32,
}

impl Field {
    pub(crate) const IPV4_SOURCE: Self = Self::network(12, 4);
    pub(crate) const IPV4_DESTINATION: Self = Self::network(16, 4);
    pub(crate) const IPV6_SOURCE: Self = Self::network(8, 16);
    pub(crate) const IPV6_DESTINATION: Self = Self::network(24, 16);
    /// Of TCP and UDP alike.
    pub(crate) const DESTINATION_PORT: Self =
        Self { base: libc::NFT_PAYLOAD_TRANSPORT_HEADER, offset: 2, length: 2 };

    /// The byte with the control bits.
    pub(crate) const TCP_FLAGS: Self =
        Self { base: libc::NFT_PAYLOAD_TRANSPORT_HEADER, offset: 13, length: 1 };

    const fn network(offset: u32, length: u32) -> Self {
        Self { base: libc::NFT_PAYLOAD_NETWORK_HEADER, offset, length }
    }
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Unequal,
    AtLeast,
    AtMost,
}

impl Rule<'_, '_> {
    /// Something about the packet (`NFT_META_...`), compared.
    pub(crate) fn meta(&mut self, key: i32, compare: Compare, value: &[u8]) -> &mut Self {
        self.load_meta(key).compare(compare, value)
    }

    /// Something about its connection (`NFT_CT_...`), compared. Never fits a packet of no connection, but for its state.
    pub(crate) fn ct(&mut self, key: i32, compare: Compare, value: &[u8]) -> &mut Self {
        self.load_ct(key).compare(compare, value)
    }

    /// Some bit of the connection's state.
    pub(crate) fn ct_state(&mut self, bits: u32) -> &mut Self {
        self.load_ct(libc::NFT_CT_STATE).any_bit(bits)
    }

    /// Some bit of the connection's mark.
    pub(crate) fn ct_mark(&mut self, bits: u32) -> &mut Self {
        self.load_ct(libc::NFT_CT_MARK).any_bit(bits)
    }

    /// Some bit of the packet's mark.
    pub(crate) fn marked(&mut self, bits: u32) -> &mut Self {
        self.load_meta(libc::NFT_META_MARK).any_bit(bits)
    }

    /// All these bits of the packet's mark, written as the iptables family understands it, too.
    pub(crate) fn marked_all(&mut self, bits: u32) -> &mut Self {
        let bits = bits.to_ne_bytes();
        self.load_meta(libc::NFT_META_MARK).bitwise(&bits, &[0; 4]).compare(Compare::Equal, &bits)
    }

    /// No bit of the packet's mark.
    pub(crate) fn unmarked(&mut self, bits: u32) -> &mut Self {
        self.load_meta(libc::NFT_META_MARK).no_bit(bits)
    }

    /// A field of the packet, compared.
    pub(crate) fn field(&mut self, field: Field, compare: Compare, value: &[u8]) -> &mut Self {
        self.load_field(field).compare(compare, value)
    }

    /// A field's bits under a mask, of which the mask has as many bytes, equal to a value.
    pub(crate) fn masked(&mut self, field: Field, mask: &[u8], value: &[u8]) -> &mut Self {
        self.load_field(field).bitwise(mask, &vec![0; mask.len()]).compare(Compare::Equal, value)
    }

    /// A field of the packet, from one value to another.
    pub(crate) fn range(&mut self, field: Field, first: &[u8], last: &[u8]) -> &mut Self {
        self.load_field(field).compare(Compare::AtLeast, first).compare(Compare::AtMost, last)
    }

    /// The destination is no other machine's: this one's own, or a broadcast or multicast address.
    pub(crate) fn for_this_machine(&mut self) -> &mut Self {
        const DREG: u16 = 1;
        const RESULT: u16 = 2;
        const FLAGS: u16 = 3;
        const ADDRESS_TYPE: u32 = 3;
        const OF_DESTINATION: u32 = 1 << 1;
        self.add("fib", |fib| {
            fib.put_be32(FLAGS, OF_DESTINATION).put_be32(RESULT, ADDRESS_TYPE).put_be32(DREG, REGISTER);
        })
        .compare(Compare::Unequal, &u32::from(libc::RTN_UNICAST).to_ne_bytes())
    }

    /// A field's bits under a mask are an element of a set.
    pub(crate) fn in_set(&mut self, field: Field, mask: &[u8], set: &str) -> &mut Self {
        const SET: u16 = 1;
        const SREG: u16 = 2;
        self.load_field(field);
        if mask.iter().any(|byte| *byte != 0xff) {
            self.bitwise(mask, &vec![0; mask.len()]);
        }
        self.add("lookup", |lookup| {
            lookup.put_text(SET, set).put_be32(SREG, REGISTER);
        })
    }

    /// Counts packets and bytes.
    pub(crate) fn counter(&mut self) -> &mut Self {
        self.add("counter", |_| {})
    }

    /// Sets bits of the packet's mark.
    pub(crate) fn mark(&mut self, bits: u32) -> &mut Self {
        self.load_meta(libc::NFT_META_MARK).set_bits(bits).store("meta", libc::NFT_META_MARK, 3)
    }

    /// Clears bits of the packet's mark.
    pub(crate) fn clear_mark(&mut self, bits: u32) -> &mut Self {
        let kept = (!bits).to_ne_bytes();
        self.load_meta(libc::NFT_META_MARK).bitwise(&kept, &[0; 4]).store("meta", libc::NFT_META_MARK, 3)
    }

    /// Sets bits of the connection's mark.
    pub(crate) fn mark_connection(&mut self, bits: u32) -> &mut Self {
        self.load_ct(libc::NFT_CT_MARK).set_bits(bits).store("ct", libc::NFT_CT_MARK, 4)
    }

    /// Ends the rule.
    pub(crate) fn verdict(&mut self, verdict: Verdict<'_>) -> &mut Self {
        const DREG: u16 = 1;
        const DATA: u16 = 2;
        self.add("immediate", |immediate| {
            immediate.put_be32(DREG, VERDICT).nest(DATA, |data| {
                data.nest(nfta::DATA_VERDICT, |inner| {
                    inner.put_be32(nfta::VERDICT_CODE, code(verdict) as u32);
                    if let Verdict::Jump(chain) = verdict {
                        inner.put_text(nfta::VERDICT_CHAIN, chain);
                    }
                });
            });
        })
    }

    fn load_meta(&mut self, key: i32) -> &mut Self {
        self.load("meta", key)
    }

    fn load_ct(&mut self, key: i32) -> &mut Self {
        self.load("ct", key)
    }

    fn load(&mut self, name: &str, key: i32) -> &mut Self {
        const DREG: u16 = 1;
        const KEY: u16 = 2;
        self.add(name, |expression| {
            expression.put_be32(KEY, key as u32).put_be32(DREG, REGISTER);
        })
    }

    fn store(&mut self, name: &str, key: i32, sreg: u16) -> &mut Self {
        const KEY: u16 = 2;
        self.add(name, |expression| {
            expression.put_be32(KEY, key as u32).put_be32(sreg, REGISTER);
        })
    }

    fn load_field(&mut self, field: Field) -> &mut Self {
        const DREG: u16 = 1;
        const BASE: u16 = 2;
        const OFFSET: u16 = 3;
        const LENGTH: u16 = 4;
        self.add("payload", |payload| {
            payload.put_be32(DREG, REGISTER).put_be32(BASE, field.base as u32);
            payload.put_be32(OFFSET, field.offset).put_be32(LENGTH, field.length);
        })
    }

    fn any_bit(&mut self, bits: u32) -> &mut Self {
        self.bitwise(&bits.to_ne_bytes(), &[0; 4]).compare(Compare::Unequal, &[0; 4])
    }

    fn no_bit(&mut self, bits: u32) -> &mut Self {
        self.bitwise(&bits.to_ne_bytes(), &[0; 4]).compare(Compare::Equal, &[0; 4])
    }

    fn set_bits(&mut self, bits: u32) -> &mut Self {
        self.bitwise(&(!bits).to_ne_bytes(), &bits.to_ne_bytes())
    }

    /// (value & mask) ^ xor.
    fn bitwise(&mut self, mask: &[u8], xor: &[u8]) -> &mut Self {
        const SREG: u16 = 1;
        const DREG: u16 = 2;
        const LENGTH: u16 = 3;
        const MASK: u16 = 4;
        const XOR: u16 = 5;
        self.add("bitwise", |bitwise| {
            bitwise.put_be32(SREG, REGISTER).put_be32(DREG, REGISTER).put_be32(LENGTH, mask.len() as u32);
            data(bitwise, MASK, mask);
            data(bitwise, XOR, xor);
        })
    }

    fn compare(&mut self, compare: Compare, value: &[u8]) -> &mut Self {
        const SREG: u16 = 1;
        const OPERATION: u16 = 2;
        const DATA: u16 = 3;
        let operation = match compare {
            Compare::Equal => libc::NFT_CMP_EQ,
            Compare::Unequal => libc::NFT_CMP_NEQ,
            Compare::AtLeast => libc::NFT_CMP_GTE,
            Compare::AtMost => libc::NFT_CMP_LTE,
        };
        self.add("cmp", |cmp| {
            cmp.put_be32(SREG, REGISTER).put_be32(OPERATION, operation as u32);
            data(cmp, DATA, value);
        })
    }

    fn add(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.0.nest(nfta::LIST_ELEM, |expression| {
            expression.put_text(nfta::EXPR_NAME, name).nest(nfta::EXPR_DATA, fill);
        });
        self
    }
}

fn data(attributes: &mut Attributes<'_>, kind: u16, value: &[u8]) {
    attributes.nest(kind, |data| {
        data.put(nfta::DATA_VALUE, value);
    });
}

fn code(verdict: Verdict<'_>) -> i32 {
    const NF_DROP: i32 = 0;
    const NF_ACCEPT: i32 = 1;
    match verdict {
        Verdict::Drop => NF_DROP,
        Verdict::Accept => NF_ACCEPT,
        Verdict::Return => libc::NFT_RETURN,
        Verdict::Jump(_) => libc::NFT_JUMP,
    }
}
