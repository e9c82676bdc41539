//! IPv6, and `-4`.

use std::net::SocketAddr;

use lab::{Extension, Frame};

use crate::case::{Case, Ends, door};

use super::{COMMAND, DOOR, SEQUENCE};

const FOUR: &str = "sequence = 7001,7002\ncommand = echo four %IP% >>{dir}/ran\n";

pub(crate) fn cases() -> Vec<Case> {
    let six = "command_6 = echo six %IP% >>{dir}/ran\n";
    vec![
        door("ipv6: the only command is for both", DOOR).knock6("7001,7002").ran("open").sentinel(),
        door("ipv6: a command of its own", &format!("{FOUR}{six}"))
            .knock6("7001,7002")
            .ran("six")
            .knock("7001,7002")
            .ran("four")
            .unordered()
            .sentinel(),
        door("ipv6: only its own command", &format!("{SEQUENCE}{six}"))
            .knock("7001,7002")
            .line("10.9.1.1: door: OPEN SESAME")
            .knock6("7001,7002")
            .ran("six")
            .sentinel(),
        door("ipv6: an empty command does nothing", &format!("{FOUR}command_6 =\n")).knock6("7001,7002").sentinel(),
        door("ipv6: stop commands of both", &format!("{FOUR}{six}cmd_timeout = 1\nstop_command = echo end four >>{{dir}}/ran\nstop_command_6 = echo end six >>{{dir}}/ran\n"))
            .knock6("7001,7002")
            .ran("end six")
            .sentinel(),
        door("ipv6: the only stop command is for both", &format!("{DOOR}cmd_timeout = 1\nstop_command = echo end %IP% >>{{dir}}/ran\n"))
            .knock6("7001,7002")
            .ran("end fd09::1:1")
            .sentinel(),
        door("ipv6: an empty stop command does nothing", &format!("{DOOR}cmd_timeout = 1\nstop_command = echo end >>{{dir}}/ran\nstop_command_6 =\n"))
            .knock6("7001,7002")
            .ran("open")
            .pause(1300)
            .sentinel()
            .differs("D33", "running + open fd09::1:1"),door("ipv6: TCP and UDP mixed", "sequence = 7001:udp,7002\ncommand = echo open >>{dir}/ran\n")
            .knock6("7001:udp,7002")
            .ran("open")
            .sentinel(),
        door("ipv6: one half by each family does not open", DOOR).knock("7001").knock6("7002").sentinel(),
        door("ipv6: not with -4", DOOR).arguments(&["-4"]).knock6("7001,7002").sentinel(),
        door("ipv6: a target", &format!("{DOOR}target = fd09::7\n"))
            .before("ip addr add fd09::7/64 dev eth0 nodad")
            .knock_at("fd09::7", "7001,7002")
            .ran("open")
            .knock6("7001,7002")
            .sentinel(),
        door("ipv6: a second address of the interface", DOOR)
            .before("ip addr add fd09::8/64 dev eth0 nodad")
            .knock_at("fd09::8", "7001,7002")
            .ran("open")
            .sentinel(),
        door("ipv6: from a link-local address", &format!("sequence = 7001\n{COMMAND}"))
            .frames(|ends| syn("[fe80::9]:1", ends))
            .ran("open")
            .sentinel(),
        from("ipv6: from the loopback address", |ends| syn("[::1]:1", ends)),
        from("ipv6: from a multicast address", |ends| syn("[ff02::1]:1", ends)),
        from("ipv6: from an IPv4 address", |ends| syn("[::ffff:10.9.1.1]:1", ends)),
        from("ipv6: from no address", |ends| syn("[::]:1", ends)),
        extension("ipv6: hop-by-hop options", |ends| vec![Frame::tcp(ends.from6(9), ends.to6(7001)).extension(Extension::HopByHop(1))]),
        extension("ipv6: destination options", |ends| {
            vec![Frame::tcp(ends.from6(9), ends.to6(7001)).extension(Extension::DestinationOptions(2))]
        }),
        extension("ipv6: a fragment that is all", |ends| {
            vec![Frame::tcp(ends.from6(9), ends.to6(7001)).extension(Extension::AtomicFragment)]
        }),
    ]
}

/// A knock from this address, which cannot be.
fn from(name: &'static str, frames: fn(&Ends<'_>) -> Vec<Frame>) -> Case {
    door(name, &format!("sequence = 7001\n{COMMAND}")).frames(frames).sentinel().differs("D21", "running")
}

fn syn(source: &str, ends: &Ends<'_>) -> Vec<Frame> {
    let source: SocketAddr = source.parse().unwrap_or_else(|_| panic!("{source} is no address"));
    vec![Frame::tcp(source, ends.to6(7001))]
}

fn extension(name: &'static str, frames: fn(&Ends<'_>) -> Vec<Frame>) -> Case {
    door(name, &format!("sequence = 7001\n{COMMAND}"))
        .frames(frames)
        .sentinel()
        .differs("D23", "running + open fd09::1:1")
}
