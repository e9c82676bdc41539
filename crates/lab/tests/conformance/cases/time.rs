//! Where time passes.

use crate::case::{Case, door};

use super::{COMMAND, DOOR};

/// More than a second, as knockd counts them: it takes the difference of whole seconds.
const OVER_A_SECOND: u64 = 2100;
const STOPS: &str = "stop_command = echo end %IP% >>{dir}/ran\n";

pub(crate) fn cases() -> Vec<Case> {
    [sequences(), openings()].into_iter().flatten().collect()
}

fn sequences() -> Vec<Case> {
    let three = format!("sequence = 7001,7002,7003\n{COMMAND}seq_timeout = 1\n");
    vec![
        door("time: a sequence that takes too long", &three)
            .knock("7001,7002")
            .pause(OVER_A_SECOND)
            .knock("7003")
            .sentinel(),
        door("time: a new attempt after one that took too long", &three)
            .knock("7001,7002")
            .pause(OVER_A_SECOND)
            .knock("7001,7002,7003")
            .ran("open")
            .sentinel(),
        door("time: it counts from the first knock", &three.replace("seq_timeout = 1", "seq_timeout = 3"))
            .knock("7001")
            .pause(1500)
            .knock("7002")
            .pause(2600)
            .knock("7003")
            .sentinel(),
        door("time: enough of it", &three.replace("seq_timeout = 1", "seq_timeout = 4"))
            .knock("7001")
            .pause(1200)
            .knock("7002,7003")
            .ran("open")
            .sentinel(),
        door("time: a sequence is given up without another packet", &three)
            .knock("7001,7002")
            .pause(OVER_A_SECOND)
            .differs("D24", "running"),
        door(
            "time: the fraction of a sequence's time",
            &three.replace("seq_timeout = 1", "seq_timeout = 2.9"),
        )
        .knock("7001")
        .pause(OVER_A_SECOND)
        .knock("7002,7003")
        .sentinel()
        .differs("D25", "running + open 10.9.1.1"),
    ]
}

fn openings() -> Vec<Case> {
    let stopping = |name, timeout: &str| door(name, &format!("{DOOR}{STOPS}cmd_timeout = {timeout}\n"));
    vec![
        stopping("openings: start and stop", "1").knock("7001,7002").ran("open").ran("end").sentinel(),
        stopping("openings: stop at once", "0").knock("7001,7002").ran("end").sentinel(),
        stopping("openings: not yet stopped", "5").knock("7001,7002").ran("open").pause(700).sentinel(),
        stopping("openings: the fraction of a time", "0.8")
            .knock("7001,7002")
            .ran("open")
            .pause(300)
            .sentinel()
            .differs("D25", "running + open 10.9.1.1"),
        stopping("openings: two sources", "1")
            .knock("7001,7002")
            .ran("open 10.9.1.1")
            .knock_from(2, "7001,7002")
            .ran("end 10.9.2.2")
            .ran("end 10.9.1.1")
            .unordered()
            .sentinel(),
        stopping("openings: knocked again after the stop", "1")
            .knock("7001,7002")
            .ran("end")
            .knock("7001,7002")
            .ran_times(2, "end")
            .sentinel(),
        stopping("openings: knocked again while open", "2")
            .knock("7001,7002")
            .ran("open")
            .knock("7001,7002")
            .lines(2, "10.9.1.1: door: OPEN SESAME")
            .ran("end")
            .pause(300)
            .sentinel()
            .differs("D26", "running + open 10.9.1.1 + end 10.9.1.1"),
        door("openings: no stop without a start", &format!("sequence = 7001,7002\n{STOPS}cmd_timeout = 0\n"))
            .knock("7001,7002")
            .line("OPEN SESAME")
            .pause(300)
            .sentinel(),
        door(
            "openings: the stop waits for a slow start",
            &format!(
                "sequence = 7001,7002\ncommand = sleep 0.7; echo open >>{{dir}}/ran\n{STOPS}cmd_timeout = 0\n"
            ),
        )
        .knock("7001,7002")
        .ran("end")
        .sentinel(),
        door("openings: without a stop each knock runs the command", DOOR)
            .knock("7001,7002")
            .ran("open")
            .knock("7001,7002")
            .ran_times(2, "open")
            .sentinel(),
        door(
            "openings: a slow command keeps nobody waiting",
            "sequence = 7001,7002\ncommand = sleep 8; echo open %IP% >>{dir}/ran\n",
        )
        .knock("7001,7002")
        .line("running command")
        .knock_from(2, "7001,7002")
        .lines(2, "running command")
        .unordered()
        .sentinel(),
    ]
}
