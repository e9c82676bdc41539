//! How lines, sections and directives are written.

use crate::case::{Case, door, doors, file, with_options};

use super::{COMMAND, DOOR, SEQUENCE};

pub(crate) fn cases() -> Vec<Case> {
    [lines(), sections(), directives(), refused()].into_iter().flatten().collect()
}

/// The door of these lines opens by 7001, 7002.
fn opens(name: &'static str, lines: &str) -> Case {
    opening(door(name, lines))
}

fn opening(case: Case) -> Case {
    case.knock("7001,7002").ran("open").sentinel()
}

fn lines() -> Vec<Case> {
    let spaced = "\t sequence\t=  7001,7002 \t\n \n\t\n   command   =\techo open %IP% >>{dir}/ran  \n";
    let remarks = format!("# one\n{SEQUENCE}   # two = 2\n\t#[three]\n{COMMAND}#\n");
    let crlf = with_options(&format!("[door]\n{DOOR}")).replace('\n', "\r\n");
    let no_end = with_options(&format!("[door]\n{DOOR}"));
    let marked = format!("\u{feff}{}", with_options(&format!("[door]\n{DOOR}")));
    vec![
        opens("lines: white space around everything", spaced),
        opens("lines: remarks at their beginnings", &remarks),
        opening(file("lines: as Windows ends them", crlf)),
        opening(file("lines: no newline at the end", no_end.trim_end())),
        opening(file("lines: a byte order mark", marked)).differs("D1", "running + open 10.9.1.1"),
        opens("lines: a remark in another character set", &format!("{DOOR}# caf{{latin1}}\n"))
            .differs("D38", "exit 1"),
        opens("lines: a remark in UTF-8", &format!("# café\n{DOOR}")),
        opens(
            "lines: a # inside a command",
            &format!("{SEQUENCE}command = echo 'open # %IP%' >>{{dir}}/ran\n"),
        ),
        opens(
            "lines: a # behind a command",
            &format!("{SEQUENCE}command = echo open >>{{dir}}/ran # %IP%\n"),
        ),
        opens(
            "lines: a # without space in a command",
            &format!("{SEQUENCE}command = echo open#%IP% >>{{dir}}/ran\n"),
        ),
        opens(
            "lines: a = inside a command",
            &format!("{SEQUENCE}command = a=open; echo $a=%IP% >>{{dir}}/ran\n"),
        ),
        opens(
            "lines: quotes in a command",
            &format!("{SEQUENCE}command = echo \"open  '%IP%'\" '\"$HOME\"' >>{{dir}}/ran\n"),
        ),
        door(
            "lines: a command in quotes",
            &format!(
                "{SEQUENCE}command = \"echo open\" 2>/dev/null
"
            ),
        )
        .knock("7001,7002")
        .line("status code (127)")
        .sentinel(),
        opens(
            "lines: backslashes and brackets in a command",
            &format!("{SEQUENCE}command = echo '[open\\x]' >>{{dir}}/ran\n"),
        ),
        opens("lines: a command of 900 characters", &long_command(900)),
        opens("lines: a command of 4,000 characters", &long_command(4000)).differs("D2", "running + open"),
        opens("lines: a command of 6,000 characters", &long_command(6000)).differs("D2", "running + open"),
    ]
}

fn long_command(length: usize) -> String {
    let filler = "x".repeat(length - 60);
    format!("{SEQUENCE}command = echo open >>{{dir}}/ran; : {filler}\n")
}

fn sections() -> Vec<Case> {
    let namesakes = format!("[door]\n{DOOR}[door]\nsequence = 7003\ncommand = echo second >>{{dir}}/ran\n");
    let options_last = format!(
        "[door]\n{DOOR}[sentinel]\nsequence = 60999:udp\n[options]\nlogfile = {{dir}}/knockd.log\ninterface = eth0\n"
    );
    let options_twice = with_options(&format!("[door]\n{DOOR}")) + "[options]\ninterface = eth0\n";
    vec![
        doors("sections: two of one name are two doors", &namesakes)
            .knock("7001,7002")
            .ran("open")
            .knock_from(2, "7003")
            .ran("second")
            .sentinel(),
        opening(file("sections: options behind the doors", options_last)),
        opening(file("sections: options twice", options_twice)),
        opening(doors("sections: a name with spaces", &format!("[my own door]\n{DOOR}"))),
        opening(doors("sections: a name with spaces at its ends", &format!("[ door ]\n{DOOR}"))),
        opening(doors("sections: a name with brackets", &format!("[a[b]\n{DOOR}"))),
        opening(doors("sections: indented", &format!("  \t[door]\n{DOOR}"))),
        opening(doors("sections: a name with a colon and UTF-8", &format!("[Tür: 1]\n{DOOR}"))),
        file("sections: [Options] is a door, without a sequence", "[Options]\n").ends(),
        file("sections: [Options] is no place for options", "[Options]\nlogfile = {dir}/knockd.log\n").ends(),
        file("sections: a bracket that is not closed", with_options(&format!("[door\n{DOOR}"))).ends(),
        file("sections: text behind the bracket", with_options(&format!("[door] x\n{DOOR}"))).ends(),
        file("sections: a remark behind the bracket", with_options(&format!("[door] # x\n{DOOR}"))).ends(),
        file("sections: no name", with_options(&format!("[]\n{DOOR}"))).ends(),
        file("sections: a door without a sequence", with_options(&format!("[door]\n{COMMAND}"))).ends(),
        file("sections: an empty door", with_options("[door]\n")).ends(),
    ]
}

fn directives() -> Vec<Case> {
    vec![
        opens(
            "directives: names in any case",
            "SEQUENCE = 7001,7002\nsEq_TimeOut = 9\ncOMMAND = echo open >>{dir}/ran\n",
        ),
        opens(
            "directives: aliases",
            "sequence = 7001,7002\ntimeout = 9\ncommand = echo open >>{dir}/ran\ncommand_6 = x\n",
        ),
        opens(
            "directives: full names",
            "Sequence = 7001,7002\nSeq_Timeout = 9\nTCPFlags = syn\nStart_Command = echo open >>{dir}/ran\n\
             Start_Command_6 = x\nCmd_Timeout = 1\n",
        ),
        opens("directives: the last of a name counts", &format!("sequence = 7005\ncommand = false\n{DOOR}")),
        opens("directives: an alias is the same directive", &format!("start_command = false\n{DOOR}")),
        opens("directives: UseSyslog inside a door", &format!("{DOOR}UseSyslog\n")),
        door("directives: an empty command runs nothing", &format!("{SEQUENCE}command =\n"))
            .knock("7001,7002")
            .sentinel(),
        door(
            "directives: an empty stop command runs nothing",
            &format!("{DOOR}cmd_timeout = 0\nstop_command =\n"),
        )
        .knock("7001,7002")
        .ran("open")
        .pause(300)
        .sentinel()
        .differs("D33", "running + open 10.9.1.1"),
        door("directives: a door without a command", SEQUENCE).knock("7001,7002").sentinel(),
        opening(file(
            "directives: an empty option",
            format!("[options]\npidfile =\n{}", with_options(&format!("[door]\n{DOOR}"))),
        )),
    ]
}

fn refused() -> Vec<Case> {
    let with = |line: &str| with_options(&format!("[door]\n{DOOR}{line}\n"));
    vec![
        file("refused: a directive that does not exist", with("colour = red")).ends(),
        file("refused: an option that does not exist", "[options]\ncolour = red\n").ends(),
        file("refused: a directive before any section", format!("{SEQUENCE}{}", with(""))).ends(),
        file("refused: a remark after a semicolon", with("; remark")).ends(),
        file("refused: a directive without a value", with("command")).ends(),
        file("refused: an option without a value", "[options]\nlogfile\n").ends(),
        file("refused: a line of words", with("just some words")).ends(),
        file("refused: a value without a name", with("= 5")).ends(),
        file("refused: an option inside a door", with("logfile = {dir}/knockd.log")).ends(),
        file("refused: a door's directive among the options", "[options]\nsequence = 1,2\n").ends(),
        file("refused: UseSyslog with a value", "[options]\nUseSyslog = yes\n[door]\nsequence = 7001\n")
            .ends(),
    ]
}
