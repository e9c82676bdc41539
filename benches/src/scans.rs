//! Whether a scan over all ports opens a door by chance.

mod simulated;
mod wire;

use std::io;

use lab::Random;

/// The door of knockd's man page.
const WELL_KNOWN: [u16; 3] = [7000, 8000, 9000];

/// The ports of a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    WellKnown,
    /// So many, all different, in any order.
    Random(usize),
}

impl Ports {
    const ALL: [Self; 4] = [Self::WellKnown, Self::Random(3), Self::Random(4), Self::Random(6)];

    fn choose(self, random: &mut Random) -> Vec<u16> {
        match self {
            Self::WellKnown => WELL_KNOWN.to_vec(),
            Self::Random(count) => {
                let mut ports = Vec::new();
                while ports.len() < count {
                    let port = random.below(usize::from(u16::MAX)) as u16 + 1;
                    if !ports.contains(&port) {
                        ports.push(port);
                    }
                }
                ports
            }
        }
    }

    fn describe(self) -> String {
        match self {
            Self::WellKnown => WELL_KNOWN.map(|port| port.to_string()).join(", "),
            Self::Random(count) => format!("{count} random ports"),
        }
    }
}

/// The order in which a scanner goes through the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Shuffled,
}

impl Order {
    const ALL: [Self; 2] = [Self::Ascending, Self::Shuffled];

    /// All ports in this order; in another each time where it is shuffled.
    fn arrange(self, random: &mut Random) -> Vec<u16> {
        let mut ports: Vec<_> = (1..=u16::MAX).collect();
        if self == Self::Shuffled {
            random.shuffle(&mut ports);
        }
        ports
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ascending => "ascending",
            Self::Shuffled => "shuffled",
        }
    }
}

/// Measures and prints.
pub(crate) fn run(quick: bool) -> io::Result<()> {
    simulated::run(quick);
    wire::run(quick)
}
