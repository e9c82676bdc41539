//! The pages as their readers get them, from man and from mandoc.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use lab::{TempDir, has_tool};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::*;

fn pages() -> (TempDir, Vec<(&'static Page, PathBuf)>) {
    let directory = TempDir::new().unwrap();
    let write = |page: &'static Page| {
        let text = page.render(&document(page), "2026-11-24");
        (page, directory.write(&page.file(), text).unwrap())
    };
    let pages = PAGES.iter().map(write).collect();
    (directory, pages)
}

fn document(page: &Page) -> String {
    fs::read_to_string(root().join("docs").join(page.document)).unwrap()
}

/// What `man` shows on a terminal of so many columns, and what it complains of.
fn shown(page: &Path, columns: u32) -> (String, String) {
    let mut man = Command::new("man");
    man.args(["--warnings", "--encoding=UTF-8", "-l"]).arg(page);
    man.envs([
        ("MANWIDTH", columns.to_string()),
        ("LC_ALL", "C.UTF-8".into()),
        ("MAN_KEEP_FORMATTING", String::new()),
    ]);
    let output = man.output().unwrap();
    assert!(output.status.success(), "{}", page.display());
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn has_readers() -> bool {
    let missing: Vec<_> = ["man", "mandoc"].into_iter().filter(|tool| !has_tool(tool)).collect();
    if !missing.is_empty() {
        eprintln!("skipped: there is no {}", missing.join(", "));
    }
    missing.is_empty()
}

#[test]
fn man_and_mandoc_have_nothing_to_complain_of() {
    if !has_readers() {
        return;
    }
    let (_directory, pages) = pages();
    for (page, path) in &pages {
        for columns in [80, 100] {
            let (text, complaints) = shown(path, columns);
            assert_eq!(complaints, "", "{}", page.file());
            for line in text.lines() {
                assert!(line.chars().count() <= columns as usize, "{}: {line}", page.file());
            }
        }
        let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&lint.stdout), "", "{}", page.file());
    }
}

/// A text without what rendering may change: white space, and how an ellipsis is written.
fn squeezed(text: &str) -> String {
    text.replace('…', "...").split_whitespace().collect()
}

/// All texts of a document that its page must have: everything but the title, what is renamed, and tables' headings.
fn texts(markdown: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut is_heading = false;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. } | Tag::TableHead) => is_heading = true,
            Event::End(TagEnd::Heading(_) | TagEnd::TableHead) => is_heading = false,
            Event::Text(text) | Event::Code(text) if !is_heading => {
                texts.extend(text.lines().map(squeezed));
            }
            _ => {}
        }
    }
    texts
}

#[test]
fn nothing_in_the_documents_is_missing_in_the_pages() {
    if !has_readers() {
        return;
    }
    let (_directory, pages) = pages();
    for (page, path) in &pages {
        let page_text = squeezed(&shown(path, 100).0);
        let texts = texts(&document(page));
        assert!(texts.len() > 30, "{}: only {}", page.file(), texts.len());
        for text in texts {
            assert!(page_text.contains(&text), "{} does not say: {text}", page.file());
        }
    }
}

/// The options of a command and of all below it, as they are typed.
fn options(command: &clap::Command) -> BTreeSet<String> {
    let here = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let names = here.flat_map(|argument| {
        let long =
            argument.get_long().into_iter().chain(argument.get_visible_aliases().into_iter().flatten());
        let long = long.map(|name| format!("--{name}"));
        long.chain(argument.get_short().map(|name| format!("-{name}"))).collect::<Vec<_>>()
    });
    names.chain(command.get_subcommands().flat_map(options)).collect()
}

#[test]
fn every_option_and_command_stands_in_a_page() {
    if !has_readers() {
        return;
    }
    let (_directory, pages) = pages();
    let text_of = |name: &str| {
        let of_it = pages.iter().filter(|(page, _)| page.name.split('-').next() == Some(name));
        of_it.map(|(_, path)| shown(path, 100).0).collect::<String>()
    };
    for command in [knockd::command(), knock::command(), knockctl::command()] {
        let text = text_of(command.get_name());
        let words: BTreeSet<_> =
            text.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| !word.is_empty()).collect();
        let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set());
        let wanted =
            options(&command).into_iter().chain(subcommands.map(|command| command.get_name().into()));
        for word in wanted {
            assert!(words.contains(word.as_str()), "{}: {word}", command.get_name());
        }
    }
}

/// The sections of a page, in order.
fn headings(page: &Page) -> Vec<String> {
    let text = page.render(&document(page), "2026-11-24");
    let headings = text.lines().filter_map(|line| line.strip_prefix(".SH \"")?.strip_suffix('"'));
    headings.map(Into::into).collect()
}

#[test]
fn the_sections_are_in_the_customary_order() {
    let order = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "COMMANDS",
        "OPTIONS",
        "EXIT STATUS",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "SEE ALSO",
    ];
    for page in &PAGES {
        let headings = headings(page);
        let known: Vec<_> =
            headings.iter().filter_map(|heading| order.iter().position(|known| known == heading)).collect();
        assert!(known.is_sorted(), "{}: {headings:?}", page.file());
        let wanted = if page.section == 5 {
            &["NAME", "FILES", "EXAMPLES", "SEE ALSO"][..]
        } else {
            &["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"]
        };
        for wanted in wanted {
            assert!(headings.iter().any(|heading| heading == wanted), "{}: no {wanted}", page.file());
        }
    }
}

#[test]
fn the_day_is_that_of_the_release() {
    assert_eq!(day(OsStr::new("1795500000")).unwrap(), "2026-11-24");
    assert_eq!(day(OsStr::new("0")).unwrap(), "1970-01-01");
    assert!(day(OsStr::new("today")).unwrap_err().to_string().contains("SOURCE_DATE_EPOCH"));
}

#[test]
fn what_begins_like_a_request_is_none() {
    let page = Page {
        name: "a",
        section: 1,
        document: "a.md",
        summary: "b",
        frame: "## Notes\n\n'tis `.so` and\n.SH none, \\fBnot\\fR bold\n\n```\n.SH none\n'br\n\\\n```\n",
    };
    let text = page.render("# a\n", "unreleased");
    assert_eq!(text.lines().filter(|line| line.starts_with(".SH")).count(), 2, "{text}");
    for line in ["\\&.SH none", "\\(aqbr", "\\e"] {
        assert!(text.lines().any(|known| known == line), "{line}: {text}");
    }
    assert!(text.contains("\n\\&'tis "), "{text}");
    assert!(text.contains("\\efBnot\\efR"), "{text}");
}
