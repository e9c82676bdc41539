//! Several clients at the same time.

use crate::case::{Case, door, doors};

use super::{COMMAND, DOOR};

pub(crate) fn cases() -> Vec<Case> {
    let three = format!("sequence = 7001,7002,7003\n{COMMAND}");
    vec![
        door("sources: one after the other", DOOR)
            .knock("7001,7002")
            .ran("open 10.9.1.1")
            .knock_from(2, "7001,7002")
            .ran("open 10.9.2.2")
            .unordered()
            .sentinel(),
        door("sources: two in turns", &three)
            .knock("7001")
            .knock_from(2, "7001")
            .knock("7002")
            .knock_from(2, "7002")
            .line("10.9.2.2: door: Stage 2")
            .sentinel(),
        door("sources: each its half does not open", DOOR).knock("7001").knock_from(2, "7002").sentinel(),
        door("sources: two in turns to the end", DOOR)
            .knock("7001")
            .knock_from(2, "7001")
            .knock("7002")
            .knock_from(2, "7002")
            .ran("open")
            .sentinel()
            .unordered()
            .differs("D22", "running + open 10.9.1.1 + open 10.9.2.2"),
        door("sources: who began last finishes first", DOOR)
            .knock("7001")
            .knock_from(2, "7001,7002")
            .knock("7002")
            .ran("open 10.9.2.2")
            .ran("open 10.9.1.1")
            .sentinel()
            .unordered(),
        door("sources: a stranger's wrong port", &three)
            .knock_from(2, "7001")
            .knock("7001,7002")
            .knock_from(2, "7003")
            .knock("7003")
            .sentinel()
            .differs("D22", "running + open 10.9.1.1"),
        doors("sources: a stranger at another door", &format!("[a]\n{three}[b]\nsequence = 7004,7005\n"))
            .knock_from(2, "7004")
            .knock("7001,7002")
            .knock_from(2, "7005")
            .knock("7003")
            .sentinel()
            .differs("D22", "running + open 10.9.1.1"),
        doors(
            "sources: a stranger's time is over",
            &format!("[a]\n{three}[b]\nsequence = 7004,7005\nseq_timeout = 1\n"),
        )
        .knock_from(2, "7004")
        .knock("7001,7002")
        .pause(2100)
        .knock("7003")
        .sentinel()
        .differs("D22", "running + open 10.9.1.1"),
    ]
}
