//! Two behind one address.

use std::io;
use std::net::SocketAddr;

use lab::{Daemon, Frame, Lab, Sender};

use crate::support::{SOON, count, start};

const PORTS: [u16; 3] = [7142, 8319, 9623];
const DOORS: &str = "[options]
[door]
sequence = 7142,8319,9623
tcpflags = syn
[sentinel]
sequence = 5555:udp
";

struct Shared {
    lab: Lab,
    daemon: Daemon,
    sender: Sender,
}

impl Shared {
    /// One of the two knocks, from a port of their own.
    fn knock(&self, own: u16, port: u16) -> io::Result<()> {
        let from = SocketAddr::new(self.lab.client().ip4(), own + port);
        let frame = Frame::tcp(from, self.lab.server().at4(port)).numbers(u32::from(own) << 16, 0);
        self.sender.send(&frame)
    }

    /// How often the door has opened, once all that was sent has been looked at.
    fn openings(&self) -> io::Result<usize> {
        let mark = self.daemon.mark();
        self.lab.client().knock(self.lab.server().ip4(), "5555:udp")?;
        self.daemon.wait_for_line_after(mark, ": sentinel: OPEN SESAME", SOON)?;
        Ok(count(&self.daemon, ": door: OPEN SESAME"))
    }
}

/// They are one to the door: in step they open it together, and out of step one ends what the other has begun.
#[test]
fn two_behind_one_address() -> io::Result<()> {
    const ONE: u16 = 20_000;
    const OTHER: u16 = 40_000;
    let lab = Lab::pair()?;
    let daemon = start(lab.server(), DOORS)?;
    let sender = Sender::open(lab.client(), "eth0", lab.server(), "eth0")?;
    let shared = Shared { lab, daemon, sender };

    for port in PORTS {
        shared.knock(ONE, port)?;
        shared.knock(OTHER, port)?;
    }
    assert_eq!(shared.openings()?, 1, "in step: {}", shared.daemon.text());

    let (again, other) = (ONE + 1, OTHER + 1);
    shared.knock(again, PORTS[0])?;
    shared.knock(again, PORTS[1])?;
    shared.knock(other, PORTS[0])?;
    shared.knock(again, PORTS[2])?;
    assert_eq!(shared.openings()?, 1, "out of step: {}", shared.daemon.text());
    for port in PORTS {
        shared.knock(other + 1, port)?;
    }
    assert_eq!(shared.openings()?, 2, "alone: {}", shared.daemon.text());
    Ok(())
}
