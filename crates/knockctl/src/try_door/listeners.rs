//! Who listens at a TCP port of this machine (`/proc/net/tcp`, proc(5)).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The state `TCP_LISTEN`.
const LISTEN: &str = "0A";

/// The addresses at which somebody listens at a port.
pub(crate) fn at(port: u16) -> Vec<IpAddr> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(listener)
        .filter(|(_, at)| *at == port)
        .map(|(address, _)| address)
        .collect()
}

/// Whether a connection to `address` meets one of them.
pub(crate) fn serve(listeners: &[IpAddr], address: IpAddr) -> bool {
    listeners.iter().any(|listener| match listener {
        // A socket of IPv6 takes IPv4 too, unless it was told otherwise; that cannot be seen.
        IpAddr::V6(any) if any.is_unspecified() => true,
        any if any.is_unspecified() => address.is_ipv4(),
        one => *one == address,
    })
}

fn listener(line: &str) -> Option<(IpAddr, u16)> {
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    let (address, port) = local.split_once(':')?;
    (state == LISTEN).then_some(())?;
    Some((address_of(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// Each 32 bits are written as a number of this machine.
fn address_of(digits: &str) -> Option<IpAddr> {
    let words: Option<Vec<[u8; 4]>> = (0..digits.len() / 8)
        .map(|word| Some(u32::from_str_radix(digits.get(word * 8..word * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    match words?.as_slice() {
        [v4] => Some(Ipv4Addr::from(*v4).into()),
        v6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(v6.concat()).ok()?).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn reads_lines_of_proc() {
        let line =
            "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1";
        assert_eq!(listener(line), Some((Ipv4Addr::LOCALHOST.into(), 22)));
        assert_eq!(listener(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[test]
    fn finds_a_listener() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = TcpListener::bind(address) else { continue };
            let local = socket.local_addr().unwrap();
            assert_eq!(at(local.port()), [local.ip()]);
            assert!(serve(&at(local.port()), local.ip()));
        }
        assert!(!serve(&[Ipv4Addr::LOCALHOST.into()], Ipv4Addr::new(198, 18, 0, 1).into()));
    }
}
