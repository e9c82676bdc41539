//! First experiments.
use crate::case::*;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        door("a door opens", "sequence = 7001,7002\ncommand = echo open %IP% >>{dir}/ran\n")
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        run("help", &["-h"]),
    ]
}
