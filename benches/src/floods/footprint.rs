//! What a daemon takes that nobody knocks at.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::doors::start_time;
use super::{OPEN_FOR, start_ours, start_theirs};
use crate::THEIRS;
use crate::sample::tell;
use crate::server::{self, Server};

/// What of the libraries belongs to the C library, which every machine has.
const C_LIBRARY: [&str; 6] = ["ld-linux", "libc.so.", "libm.so.", "libpthread.so.", "libdl.so.", "librt.so."];

/// Measures and prints.
pub(super) fn run(quick: bool) -> io::Result<()> {
    println!(
        "| at rest | start | resident memory | wake-ups in 10 s | program | with its libraries | and the C library |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let (theirs, ours) = (server::commands(), server::native(OPEN_FOR));
    measure("Debian's knockd", Path::new(THEIRS), &start_theirs(&theirs)?, &theirs, quick)?;
    measure("ours", &lab::binary("knockd")?, &start_ours(&ours)?, &ours, quick)?;
    println!();
    Ok(())
}

fn measure(name: &str, program: &Path, server: &Server, doors: &str, quick: bool) -> io::Result<()> {
    let (starts, time) = if quick { (1, 300) } else { (20, 10_000) };
    let start = start_time(server.is_ours, doors, starts)?;
    let (resident, before) = (server.resident()?, server.wakes()?);
    thread::sleep(Duration::from_millis(time));
    let wakes = server.wakes()? - before;
    let (size, libraries) = (fs::metadata(program)?.len(), libraries(program)?);
    let sizes = [size, size + libraries.others, size + libraries.others + libraries.of_c];
    let sizes = sizes.map(|size| format!("{} KiB", size.div_ceil(1024))).join(" | ");
    println!("| {name} | {} | {resident} KiB | {wakes} | {sizes} |", tell(start));
    Ok(())
}

/// How large the libraries are that a program is linked with, in bytes.
#[derive(Default)]
struct Libraries {
    of_c: u64,
    others: u64,
}

fn libraries(program: &Path) -> io::Result<Libraries> {
    let output = Command::new("ldd").arg(program).output()?;
    let mut libraries = Libraries::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // As in "libc.so.6 => /lib/libc.so.6 (0x7f00)", or the path alone.
        let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        let size = fs::metadata(path)?.len();
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_of_c = C_LIBRARY.iter().any(|known| name.starts_with(known));
        *if is_of_c { &mut libraries.of_c } else { &mut libraries.others } += size;
    }
    Ok(libraries)
}
