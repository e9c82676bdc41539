//! Whether somebody would be locked out: what a configuration leaves to an address.

use std::net::IpAddr;

use crate::config::Door;
use crate::doorkeeper::Opening;
use crate::knock::Protocol;

/// How an address can come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayIn {
    /// By the door of this name.
    Door(String),
    /// No door lets it in, but nothing that the daemon guards is in its way.
    Unguarded,
    /// No door lets it in, and the port is guarded.
    None,
}

/// Whether somebody at `address` can open a new connection to a TCP port, or to any port where it is not known which, by
/// knocking at one of `doors`; `guard` says whether native doors' ports are closed to all others.
///
/// What a command opens is not known: a door with a start command counts for every port that is not guarded. No command
/// gets anybody past the guard.
pub fn way_in<'a>(
    doors: impl IntoIterator<Item = &'a Door>,
    guard: bool,
    address: IpAddr,
    port: Option<u16>,
) -> WayIn {
    let (mut guarded, mut by_command) = (false, None);
    for door in doors {
        let opens_port = opens(door, port);
        guarded |= guard && opens_port;
        let Some(opening) = Opening::of(door, address).filter(|_| door.allows(address)) else { continue };
        if opening.native && opens_port {
            return WayIn::Door(door.key.name.clone());
        }
        if opening.start.is_some() {
            by_command.get_or_insert_with(|| door.key.name.clone());
        }
    }
    match by_command {
        // Where the port is not known, it may be one that is not guarded.
        Some(name) if !guarded || port.is_none() => WayIn::Door(name),
        _ if guarded => WayIn::None,
        _ => WayIn::Unguarded,
    }
}

/// Whether a native door opens the port.
fn opens(door: &Door, port: Option<u16>) -> bool {
    let Some(native) = &door.native else { return false };
    let Some(port) = port else { return true };
    let of_tcp = native.ports.iter().filter(|ports| ports.protocol == Protocol::Tcp);
    of_tcp.into_iter().any(|ports| (ports.first..=ports.last).contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Established, Native, PortRange, Widen, parse};

    fn doors(text: &str) -> Vec<Door> {
        parse("test", text.as_bytes()).config.unwrap().doors
    }

    fn native(mut door: Door, port: u16, allow_from: &[&str]) -> Door {
        door.native = Some(Native {
            ports: vec![PortRange { protocol: Protocol::Tcp, first: port, last: port }],
            open_for: None,
            established: Established::Keep,
            widen: Widen::default(),
        });
        door.allow_from = allow_from.iter().map(|network| network.parse().unwrap()).collect();
        door
    }

    #[test]
    fn a_guarded_port_needs_a_door() {
        let [plain]: [Door; 1] = doors("[ssh]\nsequence = 7142,8319,9623\n").try_into().unwrap();
        let here: IpAddr = "192.0.2.7".parse().unwrap();
        let ssh = native(plain.clone(), 22, &[]);
        let other = native(plain.clone(), 22, &["203.0.113.0/24"]);
        let by_door = WayIn::Door("ssh".into());
        let nothing = Vec::new();
        let [ssh, other, plain] = [ssh, other, plain].map(|door| vec![door]);
        for (doors, guard, port, expected) in [
            (&ssh, true, Some(22), by_door.clone()),
            (&ssh, true, Some(2222), WayIn::Unguarded),
            (&ssh, true, None, by_door),
            (&other, true, Some(22), WayIn::None),
            (&other, true, None, WayIn::None),
            (&other, false, Some(22), WayIn::Unguarded),
            (&plain, true, Some(22), WayIn::Unguarded),
            (&nothing, true, Some(22), WayIn::Unguarded),
        ] {
            assert_eq!(way_in(doors, guard, here, port), expected, "{doors:?} {guard} {port:?}");
        }
    }

    #[test]
    fn a_command_may_open_anything() {
        let doors = doors("[ssh]\nsequence = 7142,8319,9623\ncommand = let in %IP%\ncommand_6 = \n");
        let (v4, v6) = ("192.0.2.7".parse().unwrap(), "::1".parse().unwrap());
        assert_eq!(way_in(&doors, true, v4, Some(22)), WayIn::Door("ssh".into()));
        assert_eq!(way_in(&doors, true, v6, Some(22)), WayIn::Unguarded);
    }

    #[test]
    fn a_command_opens_nothing_that_is_guarded() {
        let by_command = doors("[old]\nsequence = 7142,8319,9623\ncommand = let in %IP%\n").remove(0);
        let plain = doors("[ssh]\nsequence = 7143,8319,9623\n").remove(0);
        let here: IpAddr = "192.0.2.7".parse().unwrap();
        let way = |ssh, port| way_in(&[by_command.clone(), ssh], true, here, port);
        assert_eq!(way(native(plain.clone(), 22, &[]), Some(22)), WayIn::Door("ssh".into()));
        let for_others = native(plain, 22, &["203.0.113.0/24"]);
        assert_eq!(way(for_others.clone(), Some(22)), WayIn::None);
        assert_eq!(way(for_others.clone(), Some(2222)), WayIn::Door("old".into()));
        assert_eq!(way(for_others, None), WayIn::Door("old".into()));
    }
}
