//! Journals as a daemon would have left them.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use knock_core::config::DoorKey;
use knock_core::journal::{Clocks, Entry, HEADER, Record, encode};
use knock_core::network::Network;
use knock_linux::clock;

/// The journal's name in its directory.
const JOURNAL: &str = "grants";
/// The door of all grants.
const DOOR: &str = "door";
/// How long they last: longer than any bench.
pub(crate) const LASTS: Duration = Duration::from_secs(24 * 60 * 60);

/// The key of the door that all benches use.
pub(crate) fn door() -> DoorKey {
    DoorKey { name: DOOR.into(), namesake: 0 }
}

/// The addresses of grants: none is of the lab's own.
pub(crate) fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() + number).into()
}

/// Writes a journal of so many grants into a state directory.
pub(crate) fn write(directory: &Path, count: u32) -> io::Result<()> {
    let clocks = clocks()?;
    let mut bytes = HEADER.as_bytes().to_vec();
    for address in (0..count).map(address) {
        encode(&Record::Grant(entry(address, &clocks)), &clocks, &mut bytes);
    }
    fs::write(directory.join(JOURNAL), bytes)
}

/// How long the journal is, in bytes.
pub(crate) fn length(directory: &Path) -> io::Result<u64> {
    Ok(fs::metadata(directory.join(JOURNAL))?.len())
}

fn clocks() -> io::Result<Clocks> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(Clocks { boot, now: clock::now(), wall: i64::try_from(wall).unwrap_or_default() })
}

fn entry(address: IpAddr, clocks: &Clocks) -> Entry {
    Entry {
        door: door(),
        network: Network::host(address),
        source: address,
        native: true,
        stop: None,
        by_hand: false,
        opened: clocks.now,
        until: Some(clocks.now + LASTS),
    }
}
