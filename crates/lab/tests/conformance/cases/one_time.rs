//! Sequences that are good for one knock.

use crate::case::{Case, door};

use super::COMMAND;

pub(crate) fn cases() -> Vec<Case> {
    let with = |name, list: &str| {
        let lines = format!("one_time_sequences = {{dir}}/list\n{COMMAND}");
        door(name, &lines).with_file("list", list).shows("list")
    };
    vec![
        with("one-time: the first is used", "7001,7002\n7003,7004\n")
            .knock("7001,7002")
            .ran("open")
            .file_has("list", "#")
            .sentinel(),
        with("one-time: then the second", "7001,7002\n7003,7004\n7005,7006\n")
            .knock("7001,7002")
            .ran("open")
            .file_has("list", "#")
            .knock("7003,7004")
            .ran_times(2, "open")
            .file_has("list", "\n#")
            .sentinel(),
        with("one-time: not twice", "7001,7002\n7003,7004\n")
            .knock("7001,7002")
            .ran("open")
            .knock("7001,7002")
            .sentinel(),
        with(
            "one-time: remarks, blank lines and used ones",
            "# mine\n\n#001,7002\n   \n 7003:udp,7004\n7005\n",
        )
        .knock("7003:udp,7004")
        .ran("open")
        .file_has("list", "\n#")
        .sentinel(),
        with("one-time: the last", "7001,7002\n")
            .knock("7001,7002")
            .ran("open")
            .line("no more")
            .sentinel()
            .differs("D35", "running + open 10.9.1.1"),
        with("one-time: none left", "#001,7002\n").sentinel().differs("D35", "running"),
        with("one-time: an empty list", "").sentinel().differs("D35", "running"),
        with("one-time: the last, a line without an end", "7001,7002")
            .knock("7001,7002")
            .ran("open")
            .line("no more")
            .sentinel()
            .differs("D35", "running + open 10.9.1.1"),
        with("one-time: a bad line", "7001,7002\nnonsense:x\n7003,7004\n")
            .knock("7001,7002")
            .ran("open")
            .sentinel()
            .differs("D29", "exit 1"),
        with("one-time: the tail of a longer one", "7001\n7001,7002,7003\n7005\n")
            .knock("7001")
            .ran("open")
            .file_has("list", "#")
            .knock("7002,7003")
            .sentinel()
            .differs("D36", "running + open 10.9.1.1"),
        door("one-time: no such list", &format!("one_time_sequences = {{dir}}/list\n{COMMAND}")).ends(),
    ]
}
