//! What commands are given, and what becomes of what they say.

use crate::case::{Case, door};

use super::SEQUENCE;

pub(crate) fn cases() -> Vec<Case> {
    let command = |name, command: &str| {
        door(name, &format!("{SEQUENCE}command = {command}\n")).knock("7001,7002").ran("\n").sentinel()
    };
    vec![
        command("commands: %IP% is replaced everywhere", "echo %IP% %IP%,x%IP%y '%IP%' >>{dir}/ran"),
        command("commands: %ip% and %% are not", "echo %ip% %% %IP %P% 100% >>{dir}/ran"),
        command(
            "commands: run by a shell",
            "for i in 1 2; do echo $i; done >>{dir}/ran; test -e {dir} && echo yes >>{dir}/ran",
        )
        .ran("yes"),
        command(
            "commands: in a session of their own",
            "test $(ps -o sid= -p $$) = $(ps -o sid= -p 1) || echo other >>{dir}/ran",
        ),
        command("commands: /bin/sh -c", "echo \"$0 $-\" >>{dir}/ran"),
        command("commands: their working directory", "pwd >>{dir}/ran"),
        command("commands: their environment", "echo \"$HOME $SECRET\" >>{dir}/ran"),
        command("commands: their signals", "grep -h -e SigBlk -e SigIgn /proc/self/status >>{dir}/ran"),
        command("commands: their umask", "umask >>{dir}/ran"),
        command("commands: their standard input", "readlink /proc/$$/fd/0 >>{dir}/ran; :"),
        command("commands: the descriptors they inherit", "test -e /proc/$$/fd/3; echo $? >>{dir}/ran")
            .differs("D27", "running + 1"),
        door("commands: a failing one", &format!("{SEQUENCE}command = echo open >>{{dir}}/ran; exit 3\n"))
            .knock("7001,7002")
            .line("command returned non-zero status code (3)")
            .sentinel(),
        door(
            "commands: one that does not exist",
            &format!("{SEQUENCE}command = /no/such/program 2>/dev/null\n"),
        )
        .knock("7001,7002")
        .line("command returned non-zero status code (127)")
        .sentinel(),
        door(
            "commands: one that a signal ends",
            &format!("{SEQUENCE}command = echo open >>{{dir}}/ran; kill -9 $$\n"),
        )
        .knock("7001,7002")
        .ran("open")
        .pause(300)
        .sentinel()
        .differs("D34", "running + open"),
        door(
            "commands: a failing start is still followed by the stop",
            &format!(
                "{SEQUENCE}command = exit 5\ncmd_timeout = 1\nstop_command = echo end >>{{dir}}/ran; exit 6\n"
            ),
        )
        .knock("7001,7002")
        .line("command returned non-zero status code (6)")
        .sentinel(),
        door("commands: what they say", &format!("{SEQUENCE}command = echo said; echo open >>{{dir}}/ran\n"))
            .arguments(&["-v"])
            .knock("7001,7002")
            .ran("open")
            .pause(300)
            .sentinel()
            .differs("D28", "running + open"),
        door(
            "commands: what they complain",
            &format!("{SEQUENCE}command = echo said >&2; echo open >>{{dir}}/ran\n"),
        )
        .knock("7001,7002")
        .ran("open")
        .pause(300)
        .sentinel()
        .differs("D28", "running + open"),
        door(
            "commands: one that leaves a process behind",
            &format!("{SEQUENCE}command = sleep 2 & echo open >>{{dir}}/ran\n"),
        )
        .knock("7001,7002")
        .ran("open")
        .knock("7001,7002")
        .ran_times(2, "open")
        .sentinel(),
    ]
}
