//! The daemon's journal, read and written by somebody else.

use std::fs;
use std::io;

use lab::Daemon;
use serde_json::Value;

const HEADER: &str = "knockd journal 1\n";

/// The journal's bytes; the daemon should not run.
pub(crate) fn bytes(daemon: &Daemon) -> io::Result<Vec<u8>> {
    fs::read(daemon.directory().path().join("state/grants"))
}

/// Puts other bytes in its place.
pub(crate) fn put(daemon: &Daemon, bytes: &[u8]) -> io::Result<()> {
    fs::write(daemon.directory().path().join("state/grants"), bytes)
}

/// The whole records in these bytes, in order.
pub(crate) fn records(bytes: &[u8]) -> io::Result<Vec<Value>> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').skip(1).filter(|line| line.ends_with(b"\n"));
    // Behind the checksum.
    lines.map(|line| Ok(serde_json::from_slice(line.get(9..).unwrap_or_default())?)).collect()
}

/// A journal of these records.
pub(crate) fn encode(records: &[Value]) -> Vec<u8> {
    let line = |record: &Value| {
        let json = record.to_string();
        format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
    };
    let lines: String = records.iter().map(line).collect();
    format!("{HEADER}{lines}").into_bytes()
}

/// Changes the grants in the journal; the daemon must not run.
pub(crate) fn rewrite(daemon: &Daemon, change: impl Fn(&mut Value)) -> io::Result<()> {
    let mut records = records(&bytes(daemon)?)?;
    records.iter_mut().filter_map(|record| record.get_mut("grant")).for_each(change);
    put(daemon, &encode(&records))
}
