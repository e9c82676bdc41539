//! A system log of a case's own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;

use crate::case::SYSLOG;

/// Writes what arrives at `log` in the directory's `dev` to a file, one message a line.
pub(crate) fn start(directory: &Path) -> io::Result<()> {
    fs::create_dir(directory.join("dev"))?;
    let socket = UnixDatagram::bind(directory.join("dev/log"))?;
    let mut file = File::create(directory.join(SYSLOG))?;
    // Ends with the test's process: nobody can tell when the last message has come.
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            let message = [&buffer[..length], b"\n"].concat();
            if file.write_all(&message).is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// Makes that socket `/dev/log`.
pub(crate) fn script(directory: &Path) -> String {
    let dev = directory.join("dev").display().to_string();
    format!("touch {dev}/null\nmount --bind /dev/null {dev}/null\nmount --rbind {dev} /dev\n")
}

/// A message without what is different each time: `<13>Jan  1 00:00:00 knockd[123]: text` without time and number.
pub(crate) fn comparable(message: &str) -> String {
    const TIME: usize = "Jan  1 00:00:00 ".len();
    let Some((priority, rest)) = message.split_once('>') else { return message.to_owned() };
    let text: String = rest.chars().skip(TIME).collect();
    match (text.find('['), text.find(']')) {
        (Some(from), Some(to)) if from < to => format!("{priority}>{}[]{}", &text[..from], &text[to + 1..]),
        _ => format!("{priority}>{text}"),
    }
}
