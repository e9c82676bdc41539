//! What was heard of a source, in sentences for the administrator: why its knocks did or did not open a door.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Entry, Recorded};
use crate::config::FlagRule;
use crate::knock::TcpFlags;
use crate::time::Timestamp;
use crate::tracker::What;

/// Where nothing is known of a source.
const NOTHING_HEARD: [&str; 7] = [
    "nothing was heard from this address, or it was so long ago that it is forgotten; what may be the reason:",
    "other ports: a packet to a port of no door's sequence, or with TCP flags that no door takes, is never heard of; \
     compare the client's ports and protocols with the sequence in knockd.conf",
    "another address: behind network address translation or a VPN the knock comes from an address that the client \
     does not know of; watch what comes in while it knocks",
    "IPv6 instead of IPv4, or the other way round: where the server's name has both, knock with -4 or -6 and ask for \
     that address",
    "another interface: only those that the daemon listens on are heard",
    "a firewall on the way, such as the provider's: it drops the knock before it is here; the firewall of this machine \
     does not keep it from being heard",
    "the daemon was started after the knock",
];

/// Says of each event how long before `now` it was and what it means, the oldest first; of no events, what there is
/// to check. Ports, which are secret, are named only with `secrets`.
pub fn explanation<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    now: Timestamp,
    secrets: bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut last_of_door = BTreeMap::new();
    for entry in entries {
        lines.push(line(entry, now, secrets));
        last_of_door.insert(&*entry.door, entry);
    }
    if lines.is_empty() {
        return NOTHING_HEARD.map(str::to_owned).into();
    }
    let latest = last_of_door.values().map(|entry| entry.at).max();
    lines.extend(last_of_door.into_values().filter_map(missing));
    lines.extend(latest.and_then(|latest| silence(latest, now)));
    lines
}

fn line(entry: &Entry, now: Timestamp, secrets: bool) -> String {
    let Entry { at, door, what, times } = entry;
    let ago = shown(now.since(*at));
    let again = if *times > 1 { format!(" (the last of {times} times)") } else { String::new() };
    format!("{ago} ago{again}: {door}: {}", what.sentence(secrets))
}

/// What would have had to follow this, the last that was heard.
fn missing(last: &Entry) -> Option<String> {
    let door = &last.door;
    match last.what {
        Recorded::Knock { what: What::Stage(stage), of, .. } if stage < of => {
            let next = stage.saturating_add(1);
            Some(format!("{door}: knock {next} of {of} was not heard since; {UNHEARD}"))
        }
        Recorded::Opened { .. } | Recorded::Extended { .. } => Some(format!(
            "{door}: the door did its part; where no connection comes through, knockctl doctor says what is in its way"
        )),
        _ => None,
    }
}

/// That nothing has come lately, so that what was long ago is not taken for the last attempt.
fn silence(latest: Timestamp, now: Timestamp) -> Option<String> {
    let ago = now.since(latest);
    (ago >= LONG_AGO).then(|| format!("nothing was heard from this address in the last {}", shown(ago)))
}

/// After so long somebody is not knocking any more.
const LONG_AGO: Duration = Duration::from_secs(30);

/// Why a knock may not have been heard.
const UNHEARD: &str = "it was not sent, got lost on the way, or went to a port of no door";

impl Recorded {
    /// What it was and what it means, as a sentence without a full stop. Ports are named only with `secrets`.
    pub fn sentence(&self, secrets: bool) -> String {
        match self {
            Self::Knock { what, of, within } => of_knock(*what, *of, *within, secrets),
            Self::Admitted(user) => format!("a good knock with the key of {user}"),
            Self::Opened { lasts: Some(lasts) } => format!("opened for {}", shown(*lasts)),
            Self::Opened { lasts: None } => "opened until it is closed".into(),
            Self::Extended { lasts: Some(lasts) } => {
                format!("was open already, stays open for another {}", shown(*lasts))
            }
            Self::Extended { lasts: None } => "was open already, stays open until it is closed".into(),
            Self::Refused(reason) => format!("not opened: {reason}"),
            Self::Closed(reason) => format!("closed: {reason}"),
        }
    }
}

fn of_knock(what: What, of: usize, within: Duration, secrets: bool) -> String {
    let within = shown(within);
    match what {
        What::Stage(stage) => format!("knock {stage} of {of} was right"),
        What::Opening => "the sequence was complete".into(),
        What::TimedOut(stage) => format!(
            "too late: {stage} of {of} knocks came within the {within} that the door gives from the first to the last \
             (seq_timeout); the next came later, or {UNHEARD}"
        ),
        What::Spoiled { stage, hit, expected, named } => {
            let ports = match (secrets, named) {
                (true, _) => format!("{hit} was hit, {expected} expected"),
                (false, true) => "it is in some door's sequence, but was not the next".into(),
                (false, false) => format!("{hit} was hit, which is no door's, and the door is strict"),
            };
            let advice = match named {
                true => {
                    "knocks that overtake each other on their way do so too, then wait between them (knock -d 100)"
                }
                false => "something else at the knocker's address has sent it, then knock without a pause",
            };
            format!("a wrong port behind knock {stage} of {of} ended the attempt: {ports}; {advice}")
        }
        What::CoolingDown => format!(
            "passed over: the door was opened for this address less than {within} before (seq_cooldown)"
        ),
        What::Unfit { knock, flags, rule } => format!(
            "knock {knock} of {of} did not count: its TCP flags were {}, the door asks for {} (tcpflags)",
            names(flags),
            asked(rule),
        ),
        What::Elsewhere { knock, destination, target } => {
            format!("knock {knock} of {of} did not count: it went to {destination}, {}", listening(target))
        }
        What::Unbegun(knock) => format!(
            "knock {knock} of {of} did not count: knock 1 was not heard before it; it was not sent, got lost, came \
             later, or went to another port or protocol"
        ),
        What::NotAllowed => {
            "not allowed: the address is in none of the networks that may knock here (allow_from)".into()
        }
    }
}

fn listening(target: Option<IpAddr>) -> String {
    match target {
        Some(target) => format!("but the door is knocked at {target} (target)"),
        None => "which is no address of the interfaces that the daemon listens on".into(),
    }
}

fn names(flags: TcpFlags) -> String {
    let names: Vec<_> = flags.names().collect();
    if names.is_empty() { "none".into() } else { names.join(",") }
}

/// As `tcpflags` writes it.
fn asked(rule: FlagRule) -> String {
    let required = rule.required.names().map(str::to_owned);
    let excluded = rule.excluded.names().map(|name| format!("!{name}"));
    required.chain(excluded).collect::<Vec<_>>().join(",")
}

/// The two largest units of a time: `2 min 5 s`. Parts of a second are told below ten of them.
fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    let (large, small) = match seconds {
        0..10 => return below_ten_seconds(time),
        10..60 => return format!("{seconds} s"),
        60..3600 => ((seconds / 60, "min"), (seconds % 60, "s")),
        3600..86_400 => ((seconds / 3600, "h"), (seconds / 60 % 60, "min")),
        _ => ((seconds / 86_400, "d"), (seconds / 3600 % 24, "h")),
    };
    match small.0 {
        0 => format!("{} {}", large.0, large.1),
        _ => format!("{} {} {} {}", large.0, large.1, small.0, small.1),
    }
}

fn below_ten_seconds(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", time.as_secs()),
        milliseconds if time.as_secs() == 0 => format!("{milliseconds} ms"),
        milliseconds => format!("{}.{} s", time.as_secs(), milliseconds / 100),
    }
}
