//! `knockctl revoke`: a key that opens nothing any more.

use std::collections::BTreeMap;

use clap::Args;
use knock_core::config::nearest::nearest;
use knock_core::control::{Answer, Request};
use knock_core::spa::{AuthorizedKey, Fingerprint};
use serde::Serialize;

use super::entry::{fingerprint, is_called, without};
use super::pages::{self, Page};
use crate::client::ask;
use crate::commands::Context;
use crate::configuration;
use crate::failure::Failure;
use crate::output::{print, printable, printable_json, tell};

/// Which key.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Its name or its fingerprint, SHA256:..., as 'knockctl keys' lists them
    #[arg(value_name = "NAME")]
    who: String,
    /// Close its doors too, for everybody who has come in
    #[arg(long)]
    close: bool,
}

/// A line that is gone.
#[derive(Serialize)]
struct Gone {
    name: String,
    fingerprint: String,
    doors: Vec<String>,
    file: String,
    line: usize,
}

/// Takes the key out of every file, or changes none.
pub(crate) fn run(context: &Context, wish: &Wish) -> Result<(), Failure> {
    let config = configuration::read(context)?;
    let pages = pages::hold(&config, &[])?;
    pages.iter().for_each(Page::tell_mistakes);
    let key = find(&pages, &wish.who)?;
    let gone = remove(&pages, key)?;
    let doors = doors_of(&gone);
    // Whoever waits for these files may have them.
    drop(pages);
    match context.json {
        true => print(&format!("{}\n", printable_json(&serde_json::json!({ "revoked": gone }).to_string())))?,
        false => print(&text(&gone, wish.close, &doors))?,
    }
    if wish.close { doors.iter().try_for_each(|door| close(context, door)) } else { Ok(()) }
}

/// The one key that is meant.
fn find(pages: &[Page], who: &str) -> Result<Fingerprint, Failure> {
    let all = || pages.iter().flat_map(|page| &page.keys.keys);
    let called: BTreeMap<Fingerprint, &AuthorizedKey> =
        all().filter(|key| is_called(key, who)).map(|key| (key.key.fingerprint(), key)).collect();
    let mut keys = called.keys();
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(*key),
        (None, _) => {
            let near = nearest(who, all().map(|key| key.name.as_str()));
            let near = near.map_or_else(
                || "knockctl keys lists those that may knock".into(),
                |near| format!("did you mean \"{near}\"?"),
            );
            Err(Failure::Refused(format!("no key is called \"{who}\": nothing was changed; {near}")))
        }
        _ => {
            let which: Vec<_> = called.keys().map(ToString::to_string).collect();
            Err(Failure::Refused(format!(
                "{} keys are called \"{who}\": nothing was changed; say which: knockctl revoke {}",
                which.len(),
                which.join(" or ")
            )))
        }
    }
}

fn remove(pages: &[Page], key: Fingerprint) -> Result<Vec<Gone>, Failure> {
    let mut gone = Vec::new();
    let mut prepared = Vec::new();
    for page in pages {
        let (content, removed) = without(&page.found.bytes, key);
        if !removed.is_empty() {
            prepared.push(page.found.prepare(&content)?);
        }
        gone.extend(removed.iter().map(|key| of_line(page, key)));
    }
    prepared.into_iter().try_for_each(|prepared| prepared.put().map(drop))?;
    Ok(gone)
}

fn of_line(page: &Page, key: &AuthorizedKey) -> Gone {
    Gone {
        name: key.name.clone(),
        fingerprint: fingerprint(key),
        doors: page.doors_of(key),
        file: page.name.display().to_string(),
        line: key.line,
    }
}

fn doors_of(gone: &[Gone]) -> Vec<String> {
    let mut doors: Vec<_> = gone.iter().flat_map(|gone| gone.doors.clone()).collect();
    doors.sort_unstable();
    doors.dedup();
    doors
}

fn text(gone: &[Gone], closes: bool, doors: &[String]) -> String {
    let line = |gone: &Gone| {
        format!(
            "{} opens {} no more: {}:{}, {}\n",
            printable(&gone.name),
            match gone.doors.is_empty() {
                true => "nothing".into(),
                false => printable(&gone.doors.join(", ")),
            },
            printable(&gone.file),
            gone.line,
            gone.fingerprint
        )
    };
    let text: String = gone.iter().map(line).collect();
    if closes || doors.is_empty() {
        return text;
    }
    format!(
        "{text}What is open already stays open until its time is over: knockctl grants lists it, knockctl close DOOR ADDRESS \
         closes it.\n"
    )
}

fn close(context: &Context, door: &str) -> Result<(), Failure> {
    let request = Request::Close { door: Some(door.to_owned()), address: None };
    match ask(&context.socket, &request)?.answer {
        Answer::Done { message, .. } => {
            tell(&message);
            Ok(())
        }
        _ => Err(Failure::NotUnderstood("it belongs to another request".into())),
    }
}
