//! What `nft -j list ruleset` prints (libnftables-json(5)).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::{Action, Base, Chain, Condition, Family, Hook, Rule, What, flag};

/// The daemon's own table.
const OURS: (&str, &str) = ("inet", "knockd");

/// The rules of a listing as `nft -a list ruleset` writes them, by their handles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts(BTreeMap<(String, u64), String>);

impl Texts {
    /// Reads a listing with handles.
    pub(crate) fn parse(listing: &str) -> Self {
        let mut texts = BTreeMap::new();
        let mut table = String::new();
        for line in listing.lines() {
            let Some((text, handle)) = line.rsplit_once(" # handle ") else { continue };
            let Ok(handle) = handle.trim().parse() else { continue };
            match text.strip_prefix("table ") {
                Some(named) => named.trim_end_matches(" {").clone_into(&mut table),
                None => _ = texts.insert((table.clone(), handle), text.trim().to_owned()),
            }
        }
        Self(texts)
    }

    fn of(&self, family: &str, table: &str, handle: u64) -> Option<&String> {
        self.0.get(&(format!("{family} {table}"), handle))
    }
}

/// The ports in named sets, by table and name; of other sets nothing is known.
pub(crate) type Sets = BTreeMap<(String, String), Vec<RangeInclusive<u16>>>;

/// The objects of a listing.
fn objects(json: &str) -> Vec<Value> {
    let listing: Value = serde_json::from_str(json).unwrap_or_default();
    listing.get("nftables").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The named sets of ports that a listing declares: family, table, name.
pub(crate) fn sets_of_ports(json: &str) -> Vec<[String; 3]> {
    let objects = objects(json);
    let sets = objects.iter().filter_map(|object| object.get("set"));
    let of_ports = sets.filter(|set| text(set, "type") == "inet_service" && !is_ours(set));
    of_ports
        .map(|set| [text(set, "family"), text(set, "table"), text(set, "name")].map(str::to_owned))
        .collect()
}

/// The ports of the set that a listing shows.
pub(crate) fn ports_of_set(json: &str) -> Vec<RangeInclusive<u16>> {
    let objects = objects(json);
    let elements = objects.iter().filter_map(|object| object.get("set")?.get("elem")?.as_array());
    elements
        .flatten()
        .filter_map(|element| port_range(element.pointer("/elem/val").unwrap_or(element)))
        .collect()
}

/// Reads a listing; tables of families without incoming packets of IP, and the daemon's own, are passed over.
pub(crate) fn parse(json: &str, texts: &Texts, sets: &Sets) -> Vec<Chain> {
    let objects = objects(json);
    let declared = objects.iter().filter_map(|object| object.get("chain"));
    let mut chains: Vec<Chain> = declared.filter(|chain| !is_ours(chain)).filter_map(chain).collect();
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        let in_it = |chain: &&mut Chain| {
            chain.name == text(rule, "chain")
                && chain.table == text(rule, "table")
                && chain.family.to_string() == text(rule, "family")
        };
        if let Some(chain) = chains.iter_mut().find(in_it) {
            let shown = texts.of(text(rule, "family"), text(rule, "table"), number(rule, "handle"));
            chain.rules.extend(rules(rule, shown, sets));
        }
    }
    chains
}

fn is_ours(object: &Value) -> bool {
    (text(object, "family"), text(object, "table")) == OURS
}

fn chain(chain: &Value) -> Option<Chain> {
    let family = match text(chain, "family") {
        "ip" => Family::Ip,
        "ip6" => Family::Ip6,
        "inet" => Family::Inet,
        _ => return None,
    };
    let hook = chain.get("hook").and_then(Value::as_str);
    let base = hook.and_then(Hook::named).map(|hook| Base {
        hook,
        nat: text(chain, "type") == "nat",
        priority: chain
            .get("prio")
            .and_then(Value::as_i64)
            .and_then(|prio| prio.try_into().ok())
            .unwrap_or(0),
        drops: text(chain, "policy") == "drop",
    });
    let (table, name) = (text(chain, "table").to_owned(), text(chain, "name").to_owned());
    Some(Chain { tool: "nft", family, table, name, base, rules: Vec::new() })
}

/// One rule, or as many as its verdict map has entries.
fn rules(rule: &Value, shown: Option<&String>, sets: &Sets) -> Vec<Rule> {
    let statements = rule.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = shown.cloned().unwrap_or_else(|| statements.iter().map(Value::to_string).collect());
    let mut conditions = Vec::new();
    for statement in &statements {
        let Some((name, value)) = statement.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let one = |action| vec![Rule { text: text.clone(), conditions: conditions.clone(), action }];
        match name.as_str() {
            "match" => conditions.extend(matched(value, self::text(rule, "table"), sets)),
            "vmap" => return mapped(value, &text, &conditions),
            "limit" | "quota" | "connlimit" | "ct count" => conditions.push(What::Other.holds()),
            "xt" if self::text(value, "type") == "match" => conditions.push(What::Other.holds()),
            "dnat" | "redirect" => return one(forward(value)),
            _ => match action(name, value) {
                Action::Pass => {}
                action => return one(action),
            },
        }
    }
    vec![Rule { text, conditions, action: Action::Pass }]
}

fn action(name: &str, value: &Value) -> Action {
    let target = || text(value, "target").to_owned();
    match name {
        "accept" => Action::Accept,
        "drop" => Action::Drop,
        "reject" => Action::Reject,
        "return" => Action::Return,
        "jump" => Action::Jump(target()),
        "goto" => Action::Goto(target()),
        "queue" | "synproxy" => Action::Other,
        "xt" if text(value, "name") == "REJECT" => Action::Reject,
        _ => Action::Pass,
    }
}

fn forward(value: &Value) -> Action {
    let address = value.get("addr").map(|address| address.as_str().unwrap_or("elsewhere").to_owned());
    let port = value.get("port").and_then(port_range).map(|range| *range.start());
    Action::Forward { address, port }
}

fn mapped(value: &Value, text: &str, before: &[Condition]) -> Vec<Rule> {
    let key = value.get("key").unwrap_or(&Value::Null);
    let entries = value.pointer("/data/set").and_then(Value::as_array).cloned().unwrap_or_default();
    let rule = |entry: &Value| {
        let (wanted, verdict) = (entry.get(0)?, entry.get(1)?.as_object()?);
        let (name, value) = verdict.iter().next()?;
        let mut conditions = before.to_vec();
        conditions.extend(question(key, wanted, &Sets::new(), ""));
        Some(Rule { text: text.to_owned(), conditions, action: action(name, value) })
    };
    let rules: Vec<_> = entries.iter().filter_map(rule).collect();
    match rules.is_empty() {
        // A named map: what it holds is not known.
        true => vec![Rule { text: text.to_owned(), conditions: before.to_vec(), action: Action::Other }],
        false => rules,
    }
}

fn matched(value: &Value, table: &str, sets: &Sets) -> Vec<Condition> {
    let null = &Value::Null;
    let (left, right) = (value.get("left").unwrap_or(null), value.get("right").unwrap_or(null));
    let mut conditions = question(left, right, sets, table);
    match (text(value, "op"), conditions.last_mut()) {
        ("==" | "in", _) => {}
        // The last is what is asked; what it presupposes stands before it.
        ("!=", Some(last)) => last.negated = true,
        (_, Some(last)) => last.what = What::Other,
        _ => {}
    }
    conditions
}

/// What is asked, and before it what must be so that it can be asked.
fn question(left: &Value, right: &Value, sets: &Sets, table: &str) -> Vec<Condition> {
    if let Some(parts) = left.get("&").and_then(Value::as_array) {
        return masked(parts, right);
    }
    if let Some(payload) = left.get("payload") {
        return of_payload(text(payload, "protocol"), text(payload, "field"), right, sets, table);
    }
    let what = match (
        left.pointer("/meta/key").and_then(Value::as_str),
        left.pointer("/ct/key").and_then(Value::as_str),
    ) {
        (Some("iifname" | "iif"), _) => What::Interface(names(right)),
        (Some("l4proto"), _) => What::Protocol(names(right)),
        (Some("nfproto"), _) => What::Ipv6(names(right).iter().any(|name| name == "ipv6")),
        (Some("protocol"), _) => What::Ipv6(names(right).iter().any(|name| name == "ip6")),
        (Some("mark"), _) => whole_mark(right),
        (Some("pkttype"), _) => {
            What::Always(names(right).iter().any(|name| name == "host" || name == "unicast"))
        }
        (_, Some("state")) => What::State(names(right)),
        _ if text(left.get("fib").unwrap_or(&Value::Null), "result") == "type" => match names(right)
            .as_slice()
        {
            [name] if name == "local" => What::Always(true),
            [name] if name == "broadcast" || name == "multicast" || name == "anycast" => What::Always(false),
            _ => What::Other,
        },
        _ => What::Other,
    };
    vec![what.holds()]
}

fn of_payload(protocol: &str, field: &str, right: &Value, sets: &Sets, table: &str) -> Vec<Condition> {
    let family = |ipv6| What::Ipv6(ipv6).holds();
    let kind = || What::Protocol(vec![protocol.to_owned()]).holds();
    match (protocol, field) {
        ("tcp" | "udp", "dport") => vec![kind(), ports(right, sets, table).holds()],
        ("th", "dport") => vec![ports(right, sets, table).holds()],
        ("tcp", "flags") => {
            // Without a mask, any of these flags.
            let mask = names(right).iter().filter_map(|name| flag(name)).fold(0, |flags, flag| flags | flag);
            vec![kind(), What::Flags { mask, value: None }.holds()]
        }
        ("ip", "protocol") => vec![family(false), What::Protocol(names(right)).holds()],
        ("ip6", "nexthdr") => vec![family(true), What::Protocol(names(right)).holds()],
        ("ip", _) => vec![family(false), What::Other.holds()],
        ("ip6", _) => vec![family(true), What::Other.holds()],
        ("tcp" | "udp" | "sctp" | "dccp" | "udplite", _) => vec![kind(), What::Other.holds()],
        ("icmp" | "icmpv6", _) => {
            vec![What::Protocol(vec![protocol.to_owned()]).holds(), What::Other.holds()]
        }
        _ => vec![What::Other.holds()],
    }
}

/// `left & mask == value`.
fn masked(parts: &[Value], right: &Value) -> Vec<Condition> {
    let [left, mask] = parts else { return vec![What::Other.holds()] };
    let is_mark = left.pointer("/meta/key").and_then(Value::as_str) == Some("mark");
    let is_flags = left.pointer("/payload/field").and_then(Value::as_str) == Some("flags");
    if is_mark && let (Some(mask), Some(value)) = (bits(mask), bits(right)) {
        return vec![What::Mark { mask, value }.holds()];
    }
    if is_flags {
        let fold = |value: &Value| match value.as_u64() {
            Some(bits) => u8::try_from(bits).unwrap_or(0),
            None => names(value).iter().filter_map(|name| flag(name)).fold(0, |flags, flag| flags | flag),
        };
        let what = What::Flags { mask: fold(mask), value: Some(fold(right)) };
        return vec![What::Protocol(vec!["tcp".into()]).holds(), what.holds()];
    }
    vec![What::Other.holds()]
}

fn whole_mark(right: &Value) -> What {
    bits(right).map_or(What::Other, |value| What::Mark { mask: u32::MAX, value })
}

fn bits(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

fn ports(right: &Value, sets: &Sets, table: &str) -> What {
    if let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) {
        let set = sets.get(&(table.to_owned(), name.to_owned()));
        return set.map_or(What::Other, |ranges| What::Port(ranges.clone()));
    }
    let several = right.get("set").and_then(Value::as_array).or(right.as_array());
    let ranges: Option<Vec<_>> = match several {
        Some(several) => several.iter().map(port_range).collect(),
        None => port_range(right).map(|range| vec![range]),
    };
    ranges.map_or(What::Other, What::Port)
}

fn port_range(value: &Value) -> Option<RangeInclusive<u16>> {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    match value.get("range") {
        Some(range) => Some(port(range.get(0)?)?..=port(range.get(1)?)?),
        None => port(value).map(|port| port..=port),
    }
}

/// A word, or a list or set of words.
fn names(value: &Value) -> Vec<String> {
    let several = value.get("set").and_then(Value::as_array).or(value.as_array());
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    several.map_or_else(|| vec![word(value)], |several| several.iter().map(word).collect())
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, key: &str) -> u64 {
    object.get(key).and_then(Value::as_u64).unwrap_or_default()
}
