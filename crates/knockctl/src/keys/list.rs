//! `knockctl keys`: who may knock where.

use serde::Serialize;

use super::calendar;
use super::entry::fingerprint;
use super::pages::{self, Page};
use crate::commands::Context;
use crate::configuration;
use crate::failure::Failure;
use crate::output::{print, printable_json};
use crate::table::table;
use crate::times;
use knock_core::control::Seconds;
use knock_core::spa::AuthorizedKey;

/// A key, for people and for programs.
#[derive(Serialize)]
struct Listed {
    name: String,
    fingerprint: String,
    doors: Vec<String>,
    /// RFC 3339.
    expires: Option<String>,
    expired: bool,
    from: Vec<String>,
    max_open_seconds: Option<Seconds>,
    file: String,
    line: usize,
    #[serde(skip)]
    until: Option<i64>,
}

/// Lists the keys of all files.
pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let config = configuration::read(context)?;
    let pages = pages::read(&config)?;
    let keys: Vec<_> =
        pages.iter().flat_map(|page| page.keys.keys.iter().map(|key| listed(page, key))).collect();
    if context.json {
        let mistakes: Vec<_> = pages.iter().flat_map(Page::mistakes).collect();
        let told = serde_json::json!({ "keys": keys, "mistakes": mistakes });
        return print(&format!("{}\n", printable_json(&told.to_string())));
    }
    pages.iter().for_each(Page::tell_mistakes);
    print(&text(&keys, pages.is_empty()))
}

fn listed(page: &Page, key: &AuthorizedKey) -> Listed {
    let from =
        |from: &knock_core::spa::From| format!("{}{}", if from.denied { "!" } else { "" }, from.network);
    Listed {
        name: key.name.clone(),
        fingerprint: fingerprint(key),
        doors: page.doors_of(key),
        expires: key.until.map(calendar::rfc3339),
        expired: key.until.is_some_and(|until| until <= calendar::now()),
        from: key.from.iter().map(from).collect(),
        max_open_seconds: key.max_open.map(Seconds),
        file: page.name.display().to_string(),
        line: key.line,
        until: key.until,
    }
}

fn text(keys: &[Listed], no_doors: bool) -> String {
    match (keys, no_doors) {
        ([], true) => return "No door has authorized_keys.\n".into(),
        ([], false) => return "No key may knock: knockctl enroll NAME KEYFILE lets one.\n".into(),
        _ => {}
    }
    let headings = ["NAME", "DOORS", "EXPIRES", "FROM", "FOR", "PLACE", "FINGERPRINT"];
    table(headings, &keys.iter().map(row).collect::<Vec<_>>())
}

fn row(key: &Listed) -> [String; 7] {
    let expires = key.until.map(calendar::shown).unwrap_or_default();
    [
        key.name.clone(),
        if key.doors.is_empty() { "none".into() } else { key.doors.join(", ") },
        if key.expired { format!("{expires} (over)") } else { expires },
        key.from.join(" "),
        key.max_open_seconds.map(times::exact).unwrap_or_default(),
        format!("{}:{}", key.file, key.line),
        key.fingerprint.clone(),
    ]
}
