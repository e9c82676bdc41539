//! `cargo xtask manuals`: the manual pages, made from `docs/`, which stays what is written and read.
//!
//! ```text
//! docs/*.md, manuals/*.md ─► page (sections, in the order of man-pages(7)) ─► roff ─► DIR/*.1, *.5
//! ```

mod page;
mod roff;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use crate::cargo::root;
use page::Page;

/// The pages: which document each is made from, and what a manual page has beside.
pub(crate) const PAGES: [Page; 5] = [
    Page {
        name: "knockd",
        section: 1,
        document: "knockd.md",
        summary: "port-knock server",
        frame: include_str!("manuals/knockd.md"),
    },
    Page {
        name: "knock",
        section: 1,
        document: "knock.md",
        summary: "port-knock client",
        frame: include_str!("manuals/knock.md"),
    },
    Page {
        name: "knockctl",
        section: 1,
        document: "knockctl.md",
        summary: "show and change what knockd has open",
        frame: include_str!("manuals/knockctl.md"),
    },
    Page {
        name: "knockctl-doctor",
        section: 1,
        document: "doctor.md",
        summary: "find out why a door of knockd does not work",
        frame: include_str!("manuals/knockctl-doctor.md"),
    },
    Page {
        name: "knockd.conf",
        section: 5,
        document: "knockd.conf.md",
        summary: "configuration of the port-knock server",
        frame: include_str!("manuals/knockd.conf.md"),
    },
];

/// Writes all pages into `directory`, which is made where it is missing.
pub(crate) fn run(directory: &Path) -> io::Result<()> {
    let date = date()?;
    fs::create_dir_all(directory)?;
    for page in &PAGES {
        let document = fs::read_to_string(root().join("docs").join(page.document))?;
        fs::write(directory.join(page.file()), page.render(&document, &date))?;
    }
    Ok(())
}

/// The day that the pages bear: the same for everybody who builds the same release, so never today.
fn date() -> io::Result<String> {
    env::var_os("SOURCE_DATE_EPOCH").map_or_else(|| Ok("unreleased".into()), |seconds| day(&seconds))
}

fn day(seconds: &OsStr) -> io::Result<String> {
    let seconds = seconds.to_str().and_then(|text| text.parse().ok());
    let at = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let wrong = || io::Error::other("SOURCE_DATE_EPOCH is no number of seconds since 1970");
    Ok(at.ok_or_else(wrong)?.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests;
