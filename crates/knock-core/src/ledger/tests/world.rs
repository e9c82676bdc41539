//! A daemon, its clock, its disk and whoever has heard every packet.

use super::*;

const HOLDERS: u8 = 3;

#[derive(Clone, Debug)]
enum Event {
    /// Someone makes a packet, by a clock that differs by so many seconds, and sends it.
    Fresh { holder: u8, skew: i64 },
    /// So many, one after the other.
    Many { holder: u8, count: u8 },
    /// A packet that was sent before is sent again.
    Again(Index),
    /// The clock goes so many seconds further, or back.
    Clock(i64),
    /// A packet is sent again, and the daemon is killed while it writes: so much of the line is there.
    Killed { which: Index, cut: Index },
    /// A packet is sent again, and the disk fails when it is written: it may be there or not.
    Failed { which: Index, is_there: bool },
    /// The daemon is started anew.
    Restart,
    /// It writes its file anew.
    Rewrite,
    /// These keys are configured.
    Configure(u8),
    /// A bit of the file turns.
    Rot { at: Index, bit: u8 },
}

fn events() -> impl Strategy<Value = Event> {
    let seconds = prop_oneof![-200_i64..200, -3_i64..4, Just(-1_000_000), Just(1_000_000)];
    prop_oneof![
        6 => (0..HOLDERS, -121_i64..122).prop_map(|(holder, skew)| Event::Fresh { holder, skew }),
        1 => (0..HOLDERS, 1_u8..80).prop_map(|(holder, count)| Event::Many { holder, count }),
        10 => any::<Index>().prop_map(Event::Again),
        4 => seconds.prop_map(Event::Clock),
        2 => any::<(Index, Index)>().prop_map(|(which, cut)| Event::Killed { which, cut }),
        2 => any::<(Index, bool)>().prop_map(|(which, is_there)| Event::Failed { which, is_there }),
        1 => Just(Event::Restart),
        1 => Just(Event::Rewrite),
        2 => (0_u8..1 << HOLDERS).prop_map(Event::Configure),
        1 => (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Event::Rot { at, bit }),
    ]
}

struct World {
    clock: u64,
    /// The latest that the clock has ever shown.
    latest: u64,
    disk: Vec<u8>,
    lacking: bool,
    ledger: Ledger,
    configured: u8,
    packets: Vec<(Holder, Use)>,
    accepted: HashSet<(Holder, Use)>,
}

impl World {
    fn new() -> Self {
        Self {
            clock: NOW,
            latest: NOW,
            disk: header(),
            lacking: false,
            ledger: Ledger::default(),
            configured: u8::MAX,
            packets: Vec::new(),
            accepted: HashSet::new(),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fresh { holder, skew } => self.send_fresh(holder, skew),
            Event::Many { holder, count } => {
                (0..count).for_each(|number| self.send_fresh(holder, number.into()))
            }
            Event::Again(which) => self.with_packet(which, Self::send),
            Event::Clock(seconds) => self.set_clock(seconds),
            Event::Killed { which, cut } => self.with_packet(which, |world, packet| {
                let Some(record) = world.admit(packet) else { return };
                let mut line = Vec::new();
                encode(&record, &mut line);
                world.disk.extend(&line[..cut.index(LINE)]);
                world.restart();
            }),
            Event::Failed { which, is_there } => self.with_packet(which, |world, packet| {
                let Some(record) = world.admit(packet) else { return };
                if is_there {
                    encode(&record, &mut world.disk);
                }
                world.lacking = true;
            }),
            Event::Restart => self.restart(),
            Event::Rewrite => self.rewrite(),
            Event::Configure(mask) => {
                self.configured = mask;
                self.ledger.retain(|holder| 1 << holder.0[0] & mask != 0, self.clock);
                self.rewrite();
            }
            Event::Rot { at, bit } => {
                let at = at.index(self.disk.len());
                self.disk[at] ^= 1 << bit;
                self.restart();
            }
        }
    }

    fn set_clock(&mut self, seconds: i64) {
        self.clock = self.clock.saturating_add_signed(seconds * SECOND as i64);
        self.latest = self.latest.max(self.clock);
    }

    fn send_fresh(&mut self, holder: u8, skew: i64) {
        let id = (self.packets.len() as u128).to_be_bytes();
        let packet =
            (self::holder(holder), Use { time: self.clock.saturating_add_signed(skew * SECOND as i64), id });
        self.packets.push(packet);
        self.send(packet);
    }

    fn with_packet(&mut self, which: Index, happen: impl FnOnce(&mut Self, (Holder, Use))) {
        if !self.packets.is_empty() {
            happen(self, *which.get(&self.packets));
        }
    }

    /// The checks of a packet, up to when it is written down.
    fn admit(&mut self, (holder, used): (Holder, Use)) -> Option<Record> {
        let is_configured = 1 << holder.0[0] & self.configured != 0;
        if !is_configured || used.time.abs_diff(self.clock) > WINDOW_NS {
            return None;
        }
        let record = self.ledger.check(holder, used).ok()?;
        if self.lacking {
            self.rewrite();
        }
        Some(record)
    }

    fn send(&mut self, packet: (Holder, Use)) {
        let Some(record) = self.admit(packet) else { return };
        encode(&record, &mut self.disk);
        self.ledger.add(record);
        assert!(self.accepted.insert(packet), "{packet:?} was good twice");
    }

    fn restart(&mut self) {
        let read = replay(&self.disk);
        self.ledger = read.ledger;
        if read.fault.is_some() {
            self.ledger.raise_all(self.latest);
        }
        self.lacking = read.fault.is_some() || read.torn.is_some();
    }

    fn rewrite(&mut self) {
        self.disk = file(&self.ledger);
        self.lacking = false;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_is_good_twice(events in proptest::collection::vec(events(), 0..120)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        prop_assert!(world.ledger.windows.len() <= usize::from(HOLDERS));
    }
}
