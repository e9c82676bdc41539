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
            .differs("D22"),
        door("sources: who began last finishes first", DOOR)
            .knock("7001")
            .knock_from(2, "7001,7002")
            .knock("7002")
            .ran("open 10.9.2.2")
            .sentinel()
            .unordered()
            .differs("D22"),
        door("sources: a stranger's wrong port", &three)
            .knock("7001,7002")
            .knock_from(2, "7001,7003")
            .knock("7003")
            .sentinel()
            .differs("D22"),
        doors("sources: another door", &format!("[a]\n{three}[b]\nsequence = 7004\n"))
            .knock("7001,7002")
            .knock_from(2, "7004")
            .knock("7003")
            .sentinel()
            .differs("D22"),
    ]
}
