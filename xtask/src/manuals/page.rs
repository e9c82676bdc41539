//! One page: the sections of its document and of its frame, in the order that readers of manual pages know.

use super::roff::{self, Style};

/// What a manual page is made of.
pub(crate) struct Page {
    /// Its name, as `man` is asked for it.
    pub(crate) name: &'static str,
    /// The section of the manual.
    pub(crate) section: u8,
    /// The file in `docs/`.
    pub(crate) document: &'static str,
    /// What stands behind its name, and in `apropos`.
    pub(crate) summary: &'static str,
    /// The sections that only the manual page has, in Markdown. What has a title that the document has too comes before.
    pub(crate) frame: &'static str,
}

/// A title, and Markdown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    title: String,
    text: String,
}

/// Those that come first, and those that come last; between them stand the others as they are in the document.
const FIRST: [&str; 6] = ["Name", "Synopsis", "Description", "Commands", "Options", "Configuration"];
const LAST: [&str; 9] = [
    "Exit status",
    "Environment",
    "Files",
    "History",
    "Notes",
    "Security notes",
    "Caveats",
    "Examples",
    "See also",
];

/// What the documents call otherwise.
const CUSTOMARY: [(&str, &str); 3] =
    [("Exit codes", "Exit status"), ("Recipes", "Examples"), ("What it does not do", "Caveats")];

impl Page {
    /// The file's name.
    pub(crate) fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    /// The page, of the man(7) macros.
    pub(crate) fn render(&self, document: &str, date: &str) -> String {
        let sections = self.sections(document);
        let style = Style::of(&sections.iter().map(|section| section.text.as_str()).collect::<Vec<_>>());
        let mut page = roff::head(self.name, self.section, date);
        for section in &sections {
            page += &roff::section(&section.title);
            page += &match section.title.as_str() {
                "Name" => roff::name(self.name, self.summary),
                "Synopsis" => style.synopsis(&section.text),
                _ => style.body(&section.text),
            };
        }
        page
    }

    fn sections(&self, document: &str) -> Vec<Section> {
        let mut sections = vec![Section { title: "Name".into(), text: String::new() }];
        for section in split(self.frame).into_iter().chain(split(document)) {
            add(&mut sections, &section.title, &section.text);
        }
        sections.sort_by_key(|section| rank(&section.title));
        sections
    }
}

/// Sorting by it keeps the order of what has no place of its own.
fn rank(title: &str) -> usize {
    let place = |titles: &[&str]| titles.iter().position(|known| *known == title);
    match (place(&FIRST), place(&LAST)) {
        (Some(first), _) => first,
        (_, Some(last)) => FIRST.len() + 1 + last,
        (None, None) => FIRST.len(),
    }
}

/// The sections of a document. What stands before its first heading of the second level is told apart by what it is: the
/// first code block is the synopsis, and a table of options or commands begins a section of its own.
fn split(document: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut title = "Description";
    let mut leads = true;
    for block in blocks(document) {
        let first = block.lines().next().unwrap_or_default();
        match first.split_once(' ') {
            Some(("#", _)) => continue,
            Some(("##", heading)) => {
                (title, leads) = (customary(heading.trim()), false);
                continue;
            }
            Some(("|", rest)) if leads && rest.starts_with("option ") => title = "Options",
            Some(("|", rest)) if leads && rest.starts_with("command ") => title = "Commands",
            _ => {}
        }
        let is_synopsis = leads && first.starts_with("```") && title == "Description";
        add(&mut sections, if is_synopsis { "Synopsis" } else { title }, block);
    }
    sections
}

fn customary(title: &str) -> &str {
    CUSTOMARY.iter().find(|(ours, _)| *ours == title).map_or(title, |(_, theirs)| theirs)
}

fn add(sections: &mut Vec<Section>, title: &str, text: &str) {
    match sections.iter_mut().find(|known| known.title == title) {
        Some(known) => known.text = format!("{}\n\n{text}", known.text),
        None => sections.push(Section { title: title.into(), text: text.into() }),
    }
}

/// What blank lines part, those in code blocks left aside.
fn blocks(document: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let (mut begin, mut end, mut is_code) = (0, 0, false);
    for line in document.split_inclusive('\n') {
        is_code ^= line.starts_with("```");
        end += line.len();
        if line.trim().is_empty() && !is_code {
            blocks.extend(document.get(begin..end - line.len()));
            begin = end;
        }
    }
    blocks.extend(document.get(begin..));
    blocks.retain(|block| !block.trim().is_empty());
    blocks
}
