//! From where the administrator is connected to this machine.

use std::env;
use std::fs;
use std::net::IpAddr;

/// What sshd leaves in the environment: client's address and port, server's address and port (ssh(1)).
const VARIABLE: &str = "SSH_CONNECTION";
/// How many parents are asked: enough for any honest chain of shells.
const MAX_PARENTS: usize = 64;

/// The administrator's end of the connection, and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Administrator {
    /// The address that they come from.
    pub(crate) address: IpAddr,
    /// The address of this machine that they are connected to.
    pub(crate) server: IpAddr,
    /// The port of this machine that they are connected to.
    pub(crate) port: u16,
}

impl Administrator {
    /// Who has this terminal, if it is somebody from elsewhere. `sudo` removes the variable: then the processes that
    /// started this one still have it.
    pub(crate) fn find() -> Option<Self> {
        let ours = env::var(VARIABLE).ok();
        ours.as_deref().map_or_else(|| parents().find_map(of_process), Self::parse)
    }

    fn parse(connection: &str) -> Option<Self> {
        let mut words = connection.split_ascii_whitespace();
        let (address, _, server, port) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some(Self { address: address_of(address)?, server: address_of(server)?, port: port.parse().ok()? })
    }
}

/// An address; a link-local one has its interface behind it.
fn address_of(text: &str) -> Option<IpAddr> {
    Some(text.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical())
}

/// This process's parent, its parent, and so on.
fn parents() -> impl Iterator<Item = u32> {
    let next = |process: &u32| parent(*process).filter(|parent| *parent > 0);
    std::iter::successors(Some(std::process::id()), next).skip(1).take(MAX_PARENTS)
}

fn parent(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The variable as a process was started with it (proc(5), `environ`).
fn of_process(process: u32) -> Option<Administrator> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    let of_variable = |entry: &[u8]| {
        let (name, value) = str::from_utf8(entry).ok()?.split_once('=')?;
        (name == VARIABLE).then(|| Administrator::parse(value)).flatten()
    };
    environment.split(|byte| *byte == 0).find_map(of_variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_sshd_says() {
        let read =
            |text| Administrator::parse(text).map(|it| format!("{} {} {}", it.address, it.server, it.port));
        assert_eq!(read("192.0.2.7 50000 192.0.2.1 22").unwrap(), "192.0.2.7 192.0.2.1 22");
        assert_eq!(read("fe80::1%eth0 50000 fe80::2%eth0 2222").unwrap(), "fe80::1 fe80::2 2222");
        assert_eq!(read("::ffff:192.0.2.7 50000 ::ffff:192.0.2.1 22").unwrap(), "192.0.2.7 192.0.2.1 22");
        for nothing in ["", "192.0.2.7 50000", "UNKNOWN 65535 UNKNOWN 65535", "192.0.2.7 1 192.0.2.1 x"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }
}
