//! Options and arguments.

use lab::Signal;

use crate::case::{Case, door, file, run, with_options};

use super::DOOR;

pub(crate) fn cases() -> Vec<Case> {
    [answers(), refused(), spellings(), overruled(), background()].into_iter().flatten().collect()
}

fn answers() -> Vec<Case> {
    vec![
        run("arguments: -h", &["-h"]),
        run("arguments: --help", &["--help"]),
        run("arguments: --he", &["--he"]),
        run("arguments: -V", &["-V"]),
        run("arguments: --version", &["--version"]),
        run("arguments: -h goes before a missing file", &["-c", "{dir}/nothing", "-h"]),
        run("arguments: the first answer counts", &["-hV"]),
    ]
}

fn refused() -> Vec<Case> {
    vec![
        run("arguments: an option that does not exist", &["--bogus"]).differs("D13", "exit 1"),
        run("arguments: a letter that does not exist", &["-x"]).differs("D13", "exit 1"),
        run("arguments: -c without a file", &["-c"]).differs("D13", "exit 1"),
        run("arguments: --config without a file", &["--config"]).differs("D13", "exit 1"),
        run("arguments: a value for a switch", &["--verbose=yes"]).differs("D13", "exit 1"),
        run("arguments: an ambiguous abbreviation", &["--ver"]).differs("D13", "exit 1"),
        run("arguments: another ambiguous abbreviation", &["--lo"]).differs("D13", "exit 1"),
    ]
}

/// A door that opens when the daemon is started like this.
fn starts(name: &'static str, arguments: &[&'static str]) -> Case {
    door(name, DOOR).command_line(arguments).knock("7001,7002").ran("open").sentinel()
}

fn spellings() -> Vec<Case> {
    vec![
        starts("arguments: --config FILE", &["--config", "{dir}/knockd.conf"]),
        starts("arguments: --config=FILE", &["--config={dir}/knockd.conf"]),
        starts("arguments: --conf FILE", &["--conf", "{dir}/knockd.conf"]),
        starts("arguments: --c=FILE", &["--c={dir}/knockd.conf"]),
        starts("arguments: -cFILE", &["-c{dir}/knockd.conf"]),
        starts("arguments: -vc FILE", &["-vc", "{dir}/knockd.conf"]),
        starts("arguments: -v4lcFILE", &["-v4lc{dir}/knockd.conf"])
            .in_place("/etc/hosts", "10.9.1.1 client.lab\n"),
        starts("arguments: the last of a kind counts", &["-c", "{dir}/nothing", "-c", "{dir}/knockd.conf"]),
        starts("arguments: further words", &["-c", "{dir}/knockd.conf", "further", "words"]),
        starts("arguments: words before options", &["further", "-c", "{dir}/knockd.conf"]),
        starts("arguments: -- ends the options", &["-c", "{dir}/knockd.conf", "--", "-x"]),
        starts("arguments: --only-ip-v4", &["--only-ip-v4", "-c", "{dir}/knockd.conf"]),
        starts("arguments: --debug", &["-D", "-c", "{dir}/knockd.conf"]),
        starts("arguments: --verbose twice", &["-v", "--verbose", "-c", "{dir}/knockd.conf"]),
        starts("arguments: --save-mem", &["--save-mem", "-c", "{dir}/knockd.conf"])
            .differs("D14", "running + open 10.9.1.1"),
        starts("arguments: -s", &["-s", "-c", "{dir}/knockd.conf"]).differs("D14", "running + open 10.9.1.1"),
    ]
}

fn overruled() -> Vec<Case> {
    let text = with_options(&format!("[door]\n{DOOR}"));
    let no_log = text.replace("logfile = {dir}/knockd.log\n", "");
    let opens = |case: Case| case.knock("7001,7002").ran("open").sentinel();
    vec![
        opens(
            file("arguments: -i goes before the file's interface", text.replace("eth0", "lo"))
                .arguments(&["-i", "eth0"]),
        ),
        opens(
            file("arguments: --interface=IF", text.replace("interface = eth0\n", ""))
                .arguments(&["--interface=eth0"]),
        ),
        opens(file("arguments: eth0 where nothing is said", text.replace("interface = eth0\n", ""))),
        file("arguments: an interface that does not exist", text.replace("eth0", "eth7"))
            .differs("D15", "running"),
        opens(file("arguments: -g", no_log.clone()).arguments(&["-g", "{dir}/knockd.log"])),
        opens(
            file("arguments: the file's log goes before -g", text.clone())
                .arguments(&["-g", "{dir}/other.log"])
                .shows("other.log"),
        ),
        opens(file("arguments: no log at all", no_log).arguments(&["-v"]).shows_stdout()),
    ]
}

fn background() -> Vec<Case> {
    let text = with_options(&format!("[door]\n{DOOR}"));
    let with_pid = text.replacen("[options]\n", "[options]\npidfile = {dir}/knockd.pid\n", 1);
    let opens = |case: Case| case.daemonises().knock("7001,7002").ran("open").sentinel();
    vec![
        opens(file("background: -d with the file's pid file", with_pid.clone()).arguments(&["-d"])),
        opens(file("background: -d -p", text.clone()).arguments(&["-d", "-p", "{dir}/knockd.pid"])),
        opens(
            file("background: the file's pid file goes before -p", with_pid.clone())
                .arguments(&["-d", "-p", "{dir}/other.pid"])
                .shows("other.pid"),
        ),
        opens(
            file("background: the default pid file", text.clone()).arguments(&["-d"]).in_place("/run/", ""),
        ),
        opens(file("background: -d with a relative path", with_pid.clone()).command_line(&[
            "-d",
            "-c",
            "knockd.conf",
        ])),
        file("background: SIGTERM takes the pid file away", with_pid.clone())
            .arguments(&["-d"])
            .daemonises()
            .sentinel()
            .signal(Signal::TERM)
            .line("shutting down")
            .shell("cd {dir}; for i in $(seq 50); do test -e knockd.pid || break; sleep 0.1; done")
            .shell("cd {dir}; ls | grep -c pid >files || true")
            .shows("files"),
        file("background: SIGHUP with a relative path", with_pid.clone())
            .command_line(&["-d", "-c", "knockd.conf"])
            .daemonises()
            .sentinel()
            .signal(Signal::HUP)
            .line("re-reading")
            .pause(300)
            .knock("7001,7002")
            .ran("open")
            .differs("D16", "exit 0, running in the background + open 10.9.1.1"),
        file("background: -d with a bad file", "[door]\n").arguments(&["-d"]).ends(),
        file("background: -d with a missing interface", with_pid.replace("eth0", "eth7"))
            .arguments(&["-d"])
            .ends()
            .differs("D15", "exit 0, running in the background"),
        file("background: a stale pid file", with_pid)
            .with_file("knockd.pid", "1999999999\n")
            .arguments(&["-d"])
            .daemonises()
            .sentinel(),
    ]
}
