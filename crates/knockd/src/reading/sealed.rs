//! Single datagrams: opened here, judged by the acting half.
//!
//! This half has the keys with which they are opened, and none with which one is made that opens a door with
//! `authorized_keys`: whoever has taken it over can read who knocks, and no more.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::net::IpAddr;

#[cfg(feature = "fwknop")]
use knock_core::fwknop::{self, FwknopKeys};
use knock_core::spa::{Budget, HostKey, LENGTH, Refusal, encapsulated, open, passes_gate};
use knock_core::time::Timestamp;
#[cfg(feature = "fwknop")]
use knock_core::tracker::DoorIndex;
use serde::{Deserialize, Serialize};

use crate::channel::{Refused, Sealed, Word};

/// How many knocks that were handed over are known again, before anything is spent on them.
const REMEMBERED: usize = 4096;

/// What datagrams are looked at, and with which keys.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagrams {
    /// The key that knocks are sealed to.
    pub host_key: Option<HostKey>,
    /// The ports at which they arrive.
    pub ports: BTreeSet<u16>,
    /// The doors for fwknop's clients.
    #[cfg(feature = "fwknop")]
    pub fwknop: Vec<FwknopDoor>,
}

/// A door for fwknop's clients.
#[cfg(feature = "fwknop")]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FwknopDoor {
    /// Which door.
    pub door: DoorIndex,
    /// The port at which its packets arrive.
    pub port: u16,
    /// The content of `fwknop_key`'s file.
    pub key: Vec<u8>,
    /// The content of `fwknop_hmac`'s file.
    pub hmac: Vec<u8>,
}

/// The keys are not shown.
impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Datagrams {
    /// The ports of all.
    pub fn all_ports(&self) -> impl Iterator<Item = u16> {
        #[cfg(feature = "fwknop")]
        let fwknop = self.fwknop.iter().map(|door| door.port);
        #[cfg(not(feature = "fwknop"))]
        let fwknop = std::iter::empty();
        self.ports.iter().copied().chain(fwknop)
    }

    /// Whether datagrams to this port are looked at.
    pub fn arrive_at(&self, port: u16) -> bool {
        self.all_ports().any(|arriving| arriving == port)
    }
}

/// A datagram to one of these ports.
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// It went to an address that is listened at.
    pub(super) local: bool,
    pub(super) port: u16,
    pub(super) data: &'a [u8],
}

/// Opens what can be opened.
pub(super) struct Opener {
    datagrams: Datagrams,
    #[cfg(feature = "fwknop")]
    fwknop: Vec<(DoorIndex, u16, FwknopKeys)>,
    budget: Budget,
    /// By which knocks are known again that were handed over.
    known: Known,
}

/// The last that were handed over; [`REMEMBERED`] of them.
#[derive(Default)]
struct Known {
    ids: HashSet<[u8; 32]>,
    /// The same, the oldest first.
    order: VecDeque<[u8; 32]>,
}

impl Known {
    fn contains(&self, id: &[u8; 32]) -> bool {
        self.ids.contains(id)
    }

    /// Knows it again from now on; whether it did not before.
    fn insert(&mut self, id: [u8; 32]) -> bool {
        let is_new = self.ids.insert(id);
        if is_new {
            self.order.push_back(id);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        is_new
    }
}

impl Default for Opener {
    fn default() -> Self {
        Self {
            datagrams: Datagrams::default(),
            #[cfg(feature = "fwknop")]
            fwknop: Vec::new(),
            budget: Budget::of_seals(),
            known: Known::default(),
        }
    }
}

impl Opener {
    /// Looks at these from now on.
    pub(super) fn reconfigure(&mut self, datagrams: Datagrams) {
        #[cfg(feature = "fwknop")]
        {
            // The acting half has read them before.
            let keys = |door: &FwknopDoor| {
                let keys = FwknopKeys::parse(&door.key, &door.hmac).ok()?;
                Some((door.door, door.port, keys))
            };
            self.fwknop = datagrams.fwknop.iter().filter_map(keys).collect();
        }
        self.datagrams = datagrams;
    }

    /// Whether datagrams to this port are looked at.
    pub(super) fn arrive_at(&self, port: u16) -> bool {
        self.datagrams.arrive_at(port)
    }

    /// Notes that somebody there has made a good knock.
    pub(super) fn remember(&mut self, source: IpAddr) {
        self.budget.remember(source);
    }

    /// What there is to say of a datagram.
    pub(super) fn look(&mut self, datagram: &Datagram<'_>, now: Timestamp) -> Option<Word> {
        if datagram.data.len() == LENGTH && self.datagrams.ports.contains(&datagram.port) {
            return Some(match self.open(datagram, now) {
                Ok(sealed) => Word::Sealed(Box::new(sealed)),
                Err(refusal) => Word::Refused(Refused { source: datagram.source, reason: refusal }),
            });
        }
        #[cfg(feature = "fwknop")]
        return self.open_fwknop(datagram);
        #[cfg(not(feature = "fwknop"))]
        None
    }

    fn open(&mut self, datagram: &Datagram<'_>, now: Timestamp) -> Result<Sealed, Refusal> {
        let key = self.datagrams.host_key.as_ref().ok_or(Refusal::Unsealed)?;
        if !passes_gate(datagram.data, key.public()) {
            return Err(Refusal::Unsealed);
        }
        if encapsulated(datagram.data).is_some_and(|key| self.known.contains(key)) {
            return Err(Refusal::Used);
        }
        if !self.budget.admits(datagram.source, now) {
            return Err(Refusal::TooMany);
        }
        let opened = open(datagram.data, key).map_err(|_| Refusal::Unsealed)?;
        self.known.insert(opened.encapsulated);
        let Datagram { source, destination, local, .. } = *datagram;
        Ok(Sealed { source, destination, local, opened })
    }

    #[cfg(feature = "fwknop")]
    fn open_fwknop(&mut self, datagram: &Datagram<'_>) -> Option<Word> {
        let Datagram { source, destination, local, port, data } = *datagram;
        let mut reason = None;
        for (door, _, keys) in self.fwknop.iter().filter(|(_, of, _)| *of == port) {
            match fwknop::decode(data, keys) {
                Ok(knock) => {
                    // Whoever has seen it can send it again as often as they like.
                    if !self.known.insert(known_fwknop(*door, &knock)) {
                        return Some(Word::Refused(Refused { source, reason: Refusal::Used }));
                    }
                    let request =
                        crate::channel::FwknopKnock { door: *door, source, destination, local, knock };
                    return Some(Word::Fwknop(Box::new(request)));
                }
                // That of the door whose key it was made with says most.
                Err(refusal) if reason.as_ref().is_none_or(|_| refusal.is_authentic()) => {
                    reason = Some(refusal);
                }
                Err(_) => {}
            }
        }
        let reason = Refusal::Fwknop { authentic: reason.as_ref()?.is_authentic(), why: reason?.to_string() };
        Some(Word::Refused(Refused { source, reason }))
    }
}

/// By which a packet of fwknop's is known again at its door: the same keys may open another as well.
#[cfg(feature = "fwknop")]
fn known_fwknop(door: DoorIndex, knock: &fwknop::Knock) -> [u8; 32] {
    let mut id = [0; 32];
    let parts = [&knock.identity[..], &door.to_be_bytes()].concat();
    id.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_core::spa::{Address, Fingerprint, Request, Sealing};

    const NOW: Timestamp = Timestamp::from_millis(5000);

    fn knock(key: &HostKey, random: u8) -> [u8; LENGTH] {
        let request = Request {
            time: 1,
            lasts: None,
            address: Address::Source,
            door: "a".into(),
            key: Fingerprint([1; 32]),
        };
        Sealing::begin(&request, key.public(), [random; 32]).unwrap().finish(&[1, 2, 3]).unwrap()
    }

    fn opener(key: &HostKey) -> Opener {
        let mut opener = Opener::default();
        opener.reconfigure(Datagrams {
            host_key: Some(key.clone()),
            ports: [7].into(),
            ..Datagrams::default()
        });
        opener
    }

    fn look(opener: &mut Opener, source: &str, port: u16, data: &[u8]) -> Option<Word> {
        let source = source.parse().unwrap();
        opener.look(&Datagram { source, destination: source, local: true, port, data }, NOW)
    }

    fn refused(word: Option<Word>) -> Option<Refusal> {
        match word {
            Some(Word::Refused(refused)) => Some(refused.reason),
            _ => None,
        }
    }

    #[test]
    fn hands_over_what_was_sealed_to_it_once() {
        let key = HostKey::from_random(&[3; 32]);
        let (mut opener, datagram) = (opener(&key), knock(&key, 1));
        assert!(look(&mut opener, "192.0.2.1", 8, &datagram).is_none(), "another port");
        assert!(look(&mut opener, "192.0.2.1", 7, &datagram[1..]).is_none(), "another length");
        assert!(matches!(look(&mut opener, "192.0.2.1", 7, &datagram), Some(Word::Sealed(_))));
        assert_eq!(refused(look(&mut opener, "192.0.2.2", 7, &datagram)), Some(Refusal::Used));
        assert_eq!(refused(look(&mut opener, "192.0.2.1", 7, &[0; LENGTH])), Some(Refusal::Unsealed));
    }

    #[test]
    fn opens_so_many_from_one_source() {
        let key = HostKey::from_random(&[3; 32]);
        let mut opener = opener(&key);
        let outcomes: Vec<_> =
            (0..30).map(|random| refused(look(&mut opener, "192.0.2.1", 7, &knock(&key, random)))).collect();
        assert_eq!(outcomes.iter().filter(|refusal| refusal.is_none()).count(), 20);
        assert_eq!(outcomes.last(), Some(&Some(Refusal::TooMany)));
        assert!(matches!(look(&mut opener, "192.0.2.2", 7, &knock(&key, 99)), Some(Word::Sealed(_))));
    }

    #[cfg(feature = "fwknop")]
    #[test]
    fn a_packet_of_fwknop_s_is_handed_over_once() {
        // By fwknop 2.6.10.
        const PACKET: &str = "90SSi2sAhaCz38sTXLYCsFSGyG0FsD5p6rR5XN8UvgN5RjZpS9QJpW4LS+DLTRnXxYLPF6GIDJ6KjKmpg9Mg41q09zYIRYJ76cGnOGkG\
                              L7WPKwvfH+EnbT7O3JY8jNPef/AdTVXjJ+XaTGFJk0lXjuNneLR08vmwo6DvRRi1lUIAwOhOnNksIP09LaiOkJ1oGgpRHDbIIYAo";
        let door = FwknopDoor { door: 3, port: 9, key: b"KEY my\n".into(), hmac: b"HMAC_KEY hmac\n".into() };
        let mut opener = Opener::default();
        opener.reconfigure(Datagrams { fwknop: vec![door], ..Datagrams::default() });
        let word = look(&mut opener, "192.0.2.1", 9, PACKET.as_bytes());
        assert!(matches!(word, Some(Word::Fwknop(request)) if request.door == 3));
        assert_eq!(refused(look(&mut opener, "192.0.2.2", 9, PACKET.as_bytes())), Some(Refusal::Used));
    }
}
