//! The configuration file itself, and the files that it names.

use crate::case::{Case, door, file, with_options};

use super::DOOR;

pub(crate) fn cases() -> Vec<Case> {
    [configuration(), named()].into_iter().flatten().collect()
}

fn configuration() -> Vec<Case> {
    let nul = format!("[door]\n{DOOR}# a\0b\n");
    vec![
        file("files: a missing configuration", "").command_line(&["-c", "{dir}/nothing"]).ends(),
        file("files: a configuration that is a directory", "")
            .command_line(&["-c", "{dir}", "-v"])
            .ends()
            .differs("D11", "exit 1"),
        file("files: an empty configuration", "").arguments(&["-v"]),
        file("files: a configuration of remarks", "# nothing\n\n").arguments(&["-v"]),
        file("files: options and no door", "[options]\nlogfile = {dir}/knockd.log\ninterface = eth0\n"),
        file("files: a NUL byte", with_options(&nul))
            .knock("7001,7002")
            .ran("open")
            .sentinel()
            .differs("D12", "exit 1"),
        door("files: a relative path to the configuration", DOOR)
            .command_line(&["-c", "knockd.conf"])
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        file("files: the default configuration", "")
            .command_line(&[])
            .in_place("/etc/knockd.conf", &with_options(&format!("[door]\n{DOOR}")))
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
    ]
}

fn named() -> Vec<Case> {
    let options = |lines: &str| {
        let text = with_options(&format!("[door]\n{DOOR}"));
        text.replacen("[options]\n", &format!("[options]\n{lines}\n"), 1)
    };
    vec![
        file(
            "files: a log that cannot be written",
            options("").replace("{dir}/knockd.log", "{dir}/nothing/log"),
        )
        .arguments(&["-v"])
        .knock("7001,7002")
        .ran("open")
        .sentinel()
        .shows_stdout(),
        file("files: a pid file that cannot be written", options("pidfile = {dir}/nothing/pid"))
            .arguments(&["-v"])
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        file("files: a relative path to the log", options("").replace("{dir}/knockd.log", "knockd.log"))
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        file("files: a log that exists is continued", options(""))
            .with_file("knockd.log", "[2020-01-02 03:04] what was there\n")
            .knock("7001,7002")
            .ran("open")
            .sentinel(),
        file("files: no pid file in the foreground", options("pidfile = {dir}/knockd.pid"))
            .sentinel()
            .shell("cd {dir}; ls | grep -c pid >files || true")
            .shows("files"),
    ]
}
