//! Ports, times, flags and addresses.

use lab::TcpFlags;

use crate::case::{Case, door, doors};

use super::{COMMAND, DOOR, SEQUENCE};

pub(crate) fn cases() -> Vec<Case> {
    [ports(), times(), flags(), targets()].into_iter().flatten().collect()
}

/// A door with this sequence opens by 7001, 7002.
fn opens(name: &'static str, sequence: &str) -> Case {
    door(name, &format!("sequence = {sequence}\n{COMMAND}")).knock("7001,7002").ran("open").sentinel()
}

/// Whether a door with these lines is accepted at all.
fn accepted(name: &'static str, lines: &str) -> Case {
    door(name, &format!("{COMMAND}{lines}\n")).sentinel()
}

fn ports() -> Vec<Case> {
    let sequence = |count: u16| {
        let ports: Vec<_> = (0..count).map(|index| (7001 + index % 2).to_string()).collect();
        ports.join(",")
    };
    vec![
        opens("ports: tcp said, in any case", "7001:tcp,7002:TCP"),
        door("ports: udp in any case", &format!("sequence = 7001:UDP,7002:Udp,7003:udp\n{COMMAND}"))
            .knock("7001:udp,7002:udp,7003:udp")
            .ran("open")
            .sentinel(),
        opens("ports: spaces around them", " 7001 ,\t7002 "),
        opens("ports: spaces around the colon", "7001 : tcp,7002"),
        opens("ports: a remark behind them", "7001,7002 # mine"),
        opens("ports: a leading zero", "07001,7002"),
        door("ports: the least and the greatest", &format!("sequence = 1,65535,65535:udp\n{COMMAND}"))
            .knock("1,65535,65535:udp")
            .ran("open")
            .sentinel(),
        door("ports: 32 of them", &format!("sequence = {}\n{COMMAND}", sequence(32)))
            .knock(&sequence(32))
            .ran("open")
            .sentinel(),
        accepted("ports: 33 of them", &format!("sequence = {}", sequence(33))).ends(),
        accepted("ports: 65536", "sequence = 65536").ends(),
        accepted("ports: a protocol that knockd does not know", "sequence = 7001:icmp").ends(),
        accepted("ports: a missing protocol", "sequence = 7001:,7002").ends(),
        accepted("ports: a word", "sequence = 7001,ssh").differs("D3", "exit 1"),
        accepted("ports: none between commas", "sequence = 7001,,7002").differs("D3", "exit 1"),
        accepted("ports: none at the end", "sequence = 7001,7002,").differs("D3", "exit 1"),
        accepted("ports: zero", "sequence = 7001,0").differs("D3", "exit 1"),
        accepted("ports: less than zero", "sequence = 7001,-1").differs("D3", "exit 1"),
        accepted("ports: hexadecimal", "sequence = 0x1b59").differs("D3", "exit 1"),
        accepted("ports: a range", "sequence = 7001-7003").differs("D3", "exit 1"),
        accepted("ports: spaces instead of commas", "sequence = 7001 7002 7003").differs("D3", "exit 1"),
        accepted("ports: semicolons instead of commas", "sequence = 7001;7002").differs("D3", "exit 1"),
        accepted("ports: an empty sequence", "sequence =").differs("D3", "exit 1"),
        accepted("ports: more behind the protocol", "sequence = 7001:tcp:zz").differs("D4", "exit 1"),
    ]
}

fn times() -> Vec<Case> {
    let time = |name, line: &str| accepted(name, &format!("{SEQUENCE}{line}"));
    vec![
        time("times: a remark behind a number", "seq_timeout = 5 # seconds"),
        time("times: a unit behind a number", "seq_timeout = 5 seconds\ncmd_timeout = 10 s"),
        time("times: a great number", "seq_timeout = 2147483647\ncmd_timeout = 2147483647"),
        time("times: a leading zero", "seq_timeout = 05"),
        time("times: a unit at a number", "seq_timeout = 5s").differs("D5", "exit 1"),
        time("times: a word", "seq_timeout = five").differs("D5", "exit 1"),
        time("times: nothing", "seq_timeout =").differs("D5", "exit 1"),
        time("times: less than nothing", "cmd_timeout = -1").differs("D5", "exit 1"),
        time("times: too great a number", "cmd_timeout = 99999999999999999999").differs("D5", "exit 1"),
        time("times: no time for a sequence", "seq_timeout = 0").differs("D6", "exit 1"),
        time("times: a cool-down", "seq_cooldown = 5").differs("D7", "running"),
    ]
}

fn flags() -> Vec<Case> {
    let flags = |name, value: &str| accepted(name, &format!("{SEQUENCE}tcpflags = {value}"));
    vec![
        door("flags: all names, in any case", &format!("{DOOR}tcpflags = FIN,syn,Rst,PSH,ack,urg\n"))
            .frames(|ends| {
                let all = TcpFlags(0x3f);
                ends.segments(&[(7001, all), (7002, all)])
            })
            .ran("open")
            .sentinel(),
        flags("flags: one that does not exist", "syn,foo").ends(),
        flags("flags: none", "").ends(),
        flags("flags: none between commas", "syn,,ack").ends(),
        flags("flags: none at the end", "syn,").ends(),
        flags("flags: a space before the comma", "syn ,ack").differs("D8", "running"),
        flags("flags: a space after the comma", "syn, ack").differs("D8", "running"),
        flags("flags: a remark behind them", "syn # only").differs("D8", "running"),
        flags("flags: one twice", "syn,syn"),
        flags("flags: both wanted and unwanted", "syn,!syn").differs("D9", "exit 1"),
        flags("flags: a space behind the exclamation mark", "syn,! ack").ends(),
    ]
}

fn targets() -> Vec<Case> {
    let target = |name, value: &str| accepted(name, &format!("{SEQUENCE}target = {value}"));
    vec![
        target("targets: a name", "localhost").differs("D10", "exit 1"),
        target("targets: nothing", "").differs("D10", "exit 1"),
        doors("targets: one of two doors", &format!(
            "[near]\n{DOOR}[far]\nsequence = 7001,7002\ntarget = 10.8.0.1\ncommand = echo far %IP% >>{{dir}}/ran\n"
        ))
        .knock("7001,7002")
        .ran("open")
        .knock_at("10.8.0.1", "7001,7002")
        .ran("far")
        .unordered()
        .sentinel(),
    ]
}
