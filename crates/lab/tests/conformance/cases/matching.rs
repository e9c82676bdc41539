//! Which knocks open which doors.

use crate::case::{Case, door, doors};

use super::{COMMAND, DOOR, SEQUENCE};

pub(crate) fn cases() -> Vec<Case> {
    [order(), addresses(), several_doors()].into_iter().flatten().collect()
}

fn of(name: &'static str, sequence: &str) -> Case {
    door(name, &format!("sequence = {sequence}\n{COMMAND}"))
}

fn order() -> Vec<Case> {
    vec![
        of("matching: a single port", "7001").knock("7001").ran("open").sentinel(),
        of("matching: four ports", "7001,7002,7003,7004").knock("7001,7002,7003,7004").ran("open").sentinel(),
        of("matching: TCP and UDP mixed", "7001,7002:udp,7003,7004:udp")
            .knock("7001,7002:udp,7003,7004:udp")
            .ran("open")
            .sentinel(),
        of("matching: one port by both protocols", "7001,7001:udp")
            .knock("7001,7001:udp")
            .ran("open")
            .sentinel(),
        of("matching: only half", "7001,7002,7003").knock("7001,7002").sentinel(),
        of("matching: the wrong order", "7001,7002,7003").knock("7001,7003,7002").sentinel(),
        of("matching: the second port alone", "7001,7002").knock("7002").sentinel(),
        of("matching: backwards", "7001,7002").knock("7002,7001").sentinel(),
        of("matching: backwards and then on", "7001,7002").knock("7002,7001,7002").ran("open").sentinel(),
        of("matching: a wrong port ends the attempt", "7001,7002,7003")
            .knock("7001,7003,7002,7003")
            .sentinel(),
        of("matching: a new attempt after a wrong port", "7001,7002,7003")
            .knock("7001,7003,7001,7002,7003")
            .ran("open")
            .sentinel(),
        of("matching: ports that no door has do not count", "7001,7002,7003")
            .knock("7001,9999,7002,9998:udp,22,7003")
            .ran("open")
            .sentinel(),
        of("matching: the wrong protocol does not count", "7001,7002:udp,7003")
            .knock("7001,7002,7001:udp,7002:udp,7003")
            .ran("open")
            .sentinel(),
        of("matching: twice", "7001,7002")
            .knock("7001,7002")
            .ran("open")
            .knock("7001,7002")
            .ran_times(2, "open")
            .sentinel(),
        of("matching: one port twice in a row", "7001,7001,7002")
            .knock("7001,7001,7002")
            .ran("open")
            .sentinel(),
        of("matching: the first port again at the end", "7001,7002,7001")
            .knock("7001,7002,7001")
            .ran("open")
            .sentinel(),
        of("matching: the first port instead of the second", "7001,7002,7003")
            .knock("7001,7001,7002,7003")
            .sentinel()
            .differs("D17", "running + open 10.9.1.1"),
        of("matching: the first port instead of the third", "7001,7002,7003")
            .knock("7001,7002,7001,7002,7003")
            .sentinel()
            .differs("D18", "running + open 10.9.1.1"),
        of("matching: a port again by another packet", "7001,7002,7003")
            .knock("7001,7002,7002,7003")
            .sentinel()
            .differs("D17", "running + open 10.9.1.1"),
    ]
}

fn addresses() -> Vec<Case> {
    let with_second = |name| door(name, DOOR).before("ip addr add 10.9.3.3/16 dev eth0");
    vec![
        with_second("addresses: a second one of the interface")
            .knock_at("10.9.3.3", "7001,7002")
            .ran("open")
            .sentinel(),
        with_second("addresses: one half each")
            .knock("7001")
            .knock_at("10.9.3.3", "7002")
            .ran("open")
            .sentinel(),
        door("addresses: one of another interface", DOOR)
            .before("ip link add other type veth peer name end; ip addr add 10.8.0.1/24 dev other; ip link set other up")
            .knock_at("10.8.0.1", "7001,7002")
            .sentinel(),
        door("addresses: nobody's", DOOR).knock_at("10.8.0.1", "7001,7002").sentinel(),
        door("addresses: the target", &format!("{DOOR}target = 10.8.0.1\n"))
            .knock_at("10.8.0.1", "7001,7002")
            .ran("open")
            .sentinel(),
        door("addresses: not the target", &format!("{DOOR}target = 10.8.0.1\n"))
            .knock("7001,7002")
            .sentinel(),
        door("addresses: the broadcast address", "sequence = 7001:udp\n")
            .frames(|ends| {
                let to = "10.9.255.255:7001".parse().unwrap_or_else(|_| unreachable!("an address"));
                vec![lab::Frame::udp(ends.from(40_001), to).to_hardware([0xff; 6])]
            })
            .sentinel(),
    ]
}

fn several_doors() -> Vec<Case> {
    let pair = |one: &str, two: &str| {
        format!(
            "[one]\nsequence = {one}\ncommand = echo one %IP% >>{{dir}}/ran\n\
             [two]\nsequence = {two}\ncommand = echo two %IP% >>{{dir}}/ran\n"
        )
    };
    vec![
        doors("doors: one after the other", &pair("7001,7002", "7003,7004"))
            .knock("7001,7002")
            .ran("one")
            .knock("7003,7004")
            .ran("two")
            .unordered()
            .sentinel(),
        doors("doors: the same sequence", &pair("7001,7002", "7001,7002"))
            .knock("7001,7002")
            .ran("one")
            .ran("two")
            .unordered()
            .sentinel(),
        doors("doors: the same beginning", &pair("7001,7002,7003", "7001,7002,7004"))
            .knock("7001,7002,7004")
            .ran("two")
            .unordered()
            .sentinel(),
        doors("doors: one is the beginning of the other", &pair("7001,7002", "7001,7002,7003"))
            .knock("7001,7002")
            .line("one: OPEN SESAME")
            .knock("7003")
            .ran("one")
            .unordered()
            .sentinel()
            .differs("D22", "running + one 10.9.1.1 + two 10.9.1.1"),
        doors("doors: another door's port is a wrong one only there", &pair("7001,7002,7003", "7005,7002"))
            .knock("7001,7005,7002,7003")
            .sentinel()
            .differs("D19", "running + two 10.9.1.1"),
        doors("doors: begun on one, finished on another", &pair("7001,7002", "7003,7004"))
            .knock("7001,7003,7004")
            .sentinel()
            .differs("D19", "running + two 10.9.1.1"),
        doors(
            "doors: a port of two doors in the middle",
            &format!("[none]\n{SEQUENCE}{}", pair("7003,7002,7004", "7002,7004")),
        )
        .knock("7003,7002,7004")
        .ran("one")
        .unordered()
        .sentinel()
        .differs("D19", "running + one 10.9.1.1 + two 10.9.1.1"),
    ]
}
