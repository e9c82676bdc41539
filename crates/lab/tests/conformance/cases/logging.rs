//! Where the daemon says what.

use std::net::SocketAddr;

use lab::{Frame, Signal, TcpFlags};

use crate::case::{Case, door, doors, file, with_options};

use super::{COMMAND, DOOR};

pub(crate) fn cases() -> Vec<Case> {
    let text = with_options(&format!("[door]\n{DOOR}"));
    let failing = format!("{DOOR}cmd_timeout = 1\nstop_command = echo end >>{{dir}}/ran; exit 4\n");
    vec![
        door("log: every line of an opening", &failing).knock("7001,7002").line("status code (4)").sentinel(),
        door("log: a stage of each door", &format!("{DOOR}[b]\nsequence = 7001,7003\n"))
            .knock("7001")
            .sentinel(),
        file("log: standard output with -v", text.clone())
            .arguments(&["-v"])
            .knock("7001,7002")
            .ran("open")
            .sentinel()
            .shows_stdout(),
        file("log: nothing on standard output without", text.clone())
            .knock("7001,7002")
            .ran("open")
            .sentinel()
            .shows_stdout(),
        file("log: standard error", text.clone())
            .arguments(&["-v"])
            .knock("7001,7002")
            .ran("open")
            .sentinel()
            .shows("stderr"),
        file(
            "log: syslog",
            text.replacen("[options]\n", "[options]\nUseSyslog\n", 1)
                .replace("logfile = {dir}/knockd.log\n", ""),
        )
        .syslog()
        .knock("7001,7002")
        .ran("open")
        .sentinel(),
        file("log: syslog and a file", text.replacen("[options]\n", "[options]\nUseSyslog\n", 1))
            .syslog()
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        file("log: syslog at a reload", text.replacen("[options]\n", "[options]\nUseSyslog\n", 1))
            .syslog()
            .signal(Signal::HUP)
            .line("re-reading")
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        file("log: no syslog unless asked for", text.clone())
            .syslog()
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        door("log: names with -l", &format!("sequence = 7001,7002,7003\n{COMMAND}"))
            .arguments(&["-l"])
            .in_place("/etc/hosts", "10.9.1.1 client.lab\n")
            .knock("7001")
            .line("Stage 1")
            .knock("7002,7003")
            .ran("open")
            .sentinel(),
        door("log: %IP% is no name with -l", DOOR)
            .arguments(&["--lookup"])
            .in_place("/etc/hosts", "10.9.1.1 client.lab\n")
            .knock("7001,7002")
            .ran("open 10.9.1.1")
            .sentinel(),
        door("log: an answer that does not come with -l", DOOR)
            .arguments(&["-l"])
            .in_place("/etc/resolv.conf", "nameserver 10.8.0.9\noptions timeout:4 attempts:1\n")
            .knock("7001,7002")
            .pause(1500)
            .differs("D37", "running + open 10.9.1.1"),
        door("log: a flood of first knocks", DOOR)
            .frames(|ends| {
                let from =
                    |host: u16| SocketAddr::from(([10, 7, (host / 250) as u8, (host % 250) as u8 + 1], 4000));
                let knock = |host| Frame::tcp(from(host), ends.to(7001)).flags(TcpFlags::SYN);
                (0..700).map(knock).collect()
            })
            .sentinel()
            .differs("D39", "running"),
        doors("log: the interface's name", "").sentinel(),
    ]
}
