//! What the kernel has, and what the daemon may do.

use std::fs;
use std::io;
use std::path::Path;

use knock_linux::netlink::{Messages, Netlink, attribute, text};

/// `NETLINK_NETFILTER` (`linux/netlink.h`).
const NETFILTER: i32 = 12;
/// `NFT_MSG_GETTABLE` of `NFNL_SUBSYS_NFTABLES` (`linux/netfilter/nf_tables.h`).
const GET_TABLE: u16 = 10 << 8 | 1;
/// `NLM_F_DUMP` (`linux/netlink.h`).
const DUMP: i32 = 0x300;
/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// Where connection tracking shows that it is there.
const CONNTRACK: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// What the daemon needs (capabilities(7)), with its number.
const CAPABILITIES: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13)];

/// Whether the table `inet knockd` is there.
///
/// # Errors
/// Where the kernel has no nf_tables, or this process may not ask.
pub(crate) fn has_our_table() -> io::Result<bool> {
    let socket = Netlink::open(NETFILTER)?;
    let mut request = Messages::new();
    request.add((GET_TABLE, DUMP, 1), &[0; 4], |_| {});
    let mut found = false;
    let dumped = socket.dump(&request, |message| {
        let family = message.body.first().copied();
        let name = message.body.get(4..).and_then(|list| attribute(list, TABLE_NAME)).map(text);
        found |= family == Some(INET) && name.as_deref() == Some("knockd");
    });
    match dumped {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(found),
    }
}

/// What is lacking, and what to do.
pub(crate) fn lacking(
    daemon: Option<u32>,
    has_native_doors: bool,
    table: &io::Result<bool>,
) -> Vec<(String, String)> {
    let mut lacking = Vec::new();
    if let Err(error) = table {
        lacking.push((
            format!("nf_tables cannot be asked: {error}"),
            "modprobe -a nf_tables nft_ct nft_fib_inet, or a kernel that has them (Linux 5.2 or later)"
                .to_owned(),
        ));
    }
    if daemon.is_some() && has_native_doors && !Path::new(CONNTRACK).exists() {
        lacking.push((
            format!("connection tracking is not there ({CONNTRACK})"),
            "modprobe nf_conntrack".into(),
        ));
    }
    if let Some(effective) = daemon.and_then(capabilities_of) {
        let needed = CAPABILITIES.iter().filter(|(name, _)| has_native_doors || *name != "CAP_NET_ADMIN");
        lacking.extend(needed.filter(|(_, bit)| effective & (1 << bit) == 0).map(|(name, _)| {
            let unit = format!(
                "in its unit: CapabilityBoundingSet= and AmbientCapabilities= with {name}, or User=root"
            );
            (format!("knockd runs without {name}"), unit)
        }));
    }
    lacking
}

fn capabilities_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(effective.trim(), 16).ok()
}
