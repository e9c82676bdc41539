//! Signals: reading the file again, and the end.

use lab::Signal;

use super::{COMMAND, DOOR};
use crate::case::{Case, door, doors};

const OTHER: &str = "[other]\nsequence = 7003,7004\ncommand = echo other %IP% >>{dir}/ran\n";

pub(crate) fn cases() -> Vec<Case> {
    [reloading(), ending()].into_iter().flatten().collect()
}

fn reloading() -> Vec<Case> {
    let reloads = |name| door(name, DOOR);
    let reread = |case: Case| case.signal(Signal::HUP).line("re-reading config file").pause(300);
    let three = format!("[door]\nsequence = 7001,7002,7003\n{COMMAND}");
    vec![
        reread(reloads("SIGHUP: new doors").new_doors(OTHER)).knock("7003,7004").ran("other").sentinel(),
        reread(reloads("SIGHUP: old doors are gone").new_doors(OTHER)).knock("7001,7002").sentinel(),
        reread(reloads("SIGHUP: the same file")).knock("7001,7002").ran("open").sentinel(),
        reread(reloads("SIGHUP: twice").new_doors(OTHER))
            .signal(Signal::HUP)
            .lines(2, "re-reading")
            .pause(300)
            .knock("7003,7004")
            .ran("other")
            .sentinel(),
        reloads("SIGHUP: a rotated log")
            .shell("mv {dir}/knockd.log {dir}/old.log")
            .signal(Signal::HUP)
            .file_has("old.log", "re-reading config file")
            .pause(300)
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        reloads("SIGHUP: a bad file")
            .new_file("[door]\nnonsense\n")
            .signal(Signal::HUP)
            .line("re-reading config file")
            .pause(300)
            .knock("7001,7002")
            .ran("open")
            .differs("D16", "running + open 10.9.1.1"),
        reloads("SIGHUP: no file")
            .shell("rm {dir}/knockd.conf")
            .signal(Signal::HUP)
            .line("re-reading config file")
            .pause(300)
            .knock("7001,7002")
            .ran("open")
            .differs("D16", "running + open 10.9.1.1"),
        reread(reloads("SIGHUP: with -v").arguments(&["-v"]).shows_stdout())
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        reread(
            door("SIGHUP: in the middle of a sequence", &format!("sequence = 7001,7002,7003\n{COMMAND}"))
                .knock("7001,7002")
                .line("Stage 2")
                .new_doors(&three),
        )
        .knock("7003")
        .sentinel()
        .differs("D30", "running + open 10.9.1.1"),
        reread(
            door(
                "SIGHUP: while a door is open",
                &format!("{DOOR}cmd_timeout = 2\nstop_command = echo end %IP% >>{{dir}}/ran\n"),
            )
            .knock("7001,7002")
            .ran("open"),
        )
        .ran("end")
        .sentinel(),
    ]
}

fn ending() -> Vec<Case> {
    let stays = |number: u16, time| {
        format!(
            "[{number}]\nsequence = {number}\ncommand = echo open >>{{dir}}/ran\ncmd_timeout = {time}\n\
             stop_command = echo end {number} >>{{dir}}/ran\n"
        )
    };
    let three = [stays(7001, 1), stays(7002, 5), stays(7003, 5)].concat();
    let stopping = format!("{DOOR}cmd_timeout = 3\nstop_command = echo end %IP% >>{{dir}}/ran\n");
    vec![
        door("end: SIGTERM", DOOR).sentinel().signal(Signal::TERM).exit(),
        door("end: SIGINT", DOOR).sentinel().signal(Signal::INT).exit(),
        door("end: SIGTERM with -v", DOOR)
            .arguments(&["-v"])
            .sentinel()
            .signal(Signal::TERM)
            .exit()
            .shows_stdout(),
        door("end: SIGTERM after an opening", DOOR)
            .knock("7001,7002")
            .ran("open")
            .sentinel()
            .signal(Signal::TERM)
            .exit(),
        door("end: SIGTERM in the middle of a sequence", DOOR)
            .knock("7001")
            .sentinel()
            .signal(Signal::TERM)
            .exit(),
        door("end: SIGTERM while a door is open", &stopping)
            .knock("7001,7002")
            .ran("open")
            .signal(Signal::TERM)
            .exit()
            .differs("D31", "exit 15 + open 10.9.1.1 + end 10.9.1.1"),
        door("end: SIGINT while a door is open", &stopping)
            .knock("7001,7002")
            .ran("open")
            .signal(Signal::INT)
            .exit()
            .differs("D31", "exit 2 + open 10.9.1.1 + end 10.9.1.1"),
        doors("end: SIGTERM while three doors are open", &three)
            .knock("7001,7002,7003")
            .ran_times(3, "open")
            .signal(Signal::TERM)
            .exit()
            .unordered()
            .differs("D31", "exit 15 + end 7001 + end 7002 + end 7003 + open + open + open"),
        door("end: the interface goes", DOOR)
            .sentinel()
            .shell("ip link del eth0")
            .pause(500)
            .differs("D32", "running"),
        door("end: the interface is down for a moment", DOOR)
            .shell("ip link set eth0 down; sleep 0.2; ip link set eth0 up; ip route add default via 10.9.1.1")
            .pause(200)
            .knock("7001,7002")
            .ran("open"),
    ]
}
