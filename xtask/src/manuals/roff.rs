//! Markdown to the macros of man(7), so that both groff and mandoc take them.
//!
//! Tables become lists of terms and what they mean, as readers of manual pages know them: a table does not fit a terminal.

use std::collections::BTreeSet;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::PAGES;

/// How wide the lines of the source become; nobody but a lint sees them.
const SOURCE_WIDTH: usize = 76;
/// The widest code that stands indented, that stands with the text, and that fits a terminal of 80 columns at all.
const INDENTED: usize = 69;
const WITH_THE_TEXT: usize = 73;
const ON_A_TERMINAL: usize = 80;

/// The line that every page begins with, and no hyphens: words are there to be searched for and copied.
pub(crate) fn head(name: &str, section: u8, date: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".TH \"{}\" \"{section}\" \"{date}\" \"toctoc {version}\"\n.nr HY 0\n.nh\n.ad l\n",
        name.to_uppercase()
    )
}

/// A section's heading. A title in brackets is a word of the configuration and stays as it is.
pub(crate) fn section(title: &str) -> String {
    let title = if title.starts_with('[') { title.into() } else { title.to_uppercase() };
    format!(".SH \"{}\"\n", text(&title))
}

/// What stands under NAME: `apropos` reads it.
pub(crate) fn name(name: &str, summary: &str) -> String {
    format!("{} \\- {}\n", code(name), text(summary))
}

/// What of the code of a page is to be replaced by the reader: it stands in italics, all other code in bold.
#[derive(Debug)]
pub(crate) struct Style {
    placeholders: BTreeSet<String>,
}

impl Style {
    /// Finds the placeholders: the words in capitals of code blocks without a language that are a synopsis, and of the
    /// terms of tables.
    pub(crate) fn of(texts: &[&str]) -> Self {
        let lines = texts.iter().flat_map(|text| text.lines());
        let terms = lines.filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        Self {
            placeholders: terms.flat_map(words).filter(|word| is_capitals(word)).map(Into::into).collect(),
        }
    }

    /// The lines of a synopsis, all words in capitals italic.
    pub(crate) fn synopsis(&self, text: &str) -> String {
        let lines = text.lines().filter(|line| !line.starts_with("```"));
        let lines = lines.map(|line| format!("{}\n", guarded(&styled(line, is_capitals))));
        format!(".nf\n{}.fi\n", lines.collect::<String>())
    }

    /// Running text, with its subsections, lists, tables and code.
    pub(crate) fn body(&self, markdown: &str) -> String {
        let mut writer = Writer::new(self);
        for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
            writer.take(event);
        }
        writer.page
    }

    fn code(&self, text: &str) -> String {
        if text.chars().all(|c| c.is_ascii_uppercase() || "/-:".contains(c)) {
            return styled(text, is_capitals);
        }
        styled(text, |word| self.placeholders.contains(word))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !is_of_word(c)).filter(|word| !word.is_empty())
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '%')
}

fn is_capitals(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_uppercase())
}

/// Code in bold, with the words in italics that are placeholders. An option of one capital letter is none.
fn styled(text: &str, is_placeholder: impl Fn(&str) -> bool) -> String {
    let (mut out, mut font) = (String::new(), 'R');
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| is_of_word(c) != is_of_word(first)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(length);
        let is_option = out.ends_with("\\-");
        let wanted = if is_of_word(first) && !is_option && is_placeholder(word) { 'I' } else { 'B' };
        if wanted != font {
            out += &format!("\\f{wanted}");
            font = wanted;
        }
        out += &code(word);
        rest = behind;
    }
    out + "\\fR"
}

/// Text as it is typed: quotes, hyphens and accents stay what they are when they are copied.
fn code(plain: &str) -> String {
    escape(plain, true)
}

fn text(plain: &str) -> String {
    escape(plain, false)
}

fn escape(plain: &str, is_code: bool) -> String {
    let mut out = String::new();
    for c in plain.chars() {
        match c {
            '\\' => out += "\\e",
            '-' if is_code => out += "\\-",
            '\'' if is_code => out += "\\(aq",
            '"' => out += "\\(dq",
            '`' => out += "\\(ga",
            '^' => out += "\\(ha",
            '~' => out += "\\(ti",
            '…' => out += "...",
            c if c.is_ascii() => out.push(c),
            c => out += &format!("\\[u{:04X}]", u32::from(c)),
        }
    }
    out
}

/// A line that begins like a request is kept from being one.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.into() }
}

/// Breaks a paragraph into lines, and never behind what may be the end of a sentence: some programs put two spaces there.
fn wrapped(paragraph: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split([' ', '\n']).filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= SOURCE_WIDTH || ends_sentence(line) => {
                *line += " ";
                *line += word;
            }
            _ => lines.push(word.into()),
        }
    }
    lines.iter().map(|line| format!("{}\n", guarded(line))).collect()
}

fn ends_sentence(line: &str) -> bool {
    line.replace("\\fR", "").trim_end_matches([')', '"', '\'']).ends_with(['.', '!', '?'])
}

/// A code block as it is, as far to the left as it needs to be to fit.
fn code_block(block: &str) -> String {
    let widest = block.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    let lines: String = block.lines().map(|line| format!("{}\n", guarded(&code(line)))).collect();
    let lines = format!(".EX\n{lines}.EE\n");
    if widest <= INDENTED {
        format!(".RS 4\n{lines}.RE\n")
    } else if widest <= WITH_THE_TEXT {
        lines
    } else if widest <= ON_A_TERMINAL {
        format!(".in {}n\n{lines}.in\n", ON_A_TERMINAL - widest)
    } else {
        broken(block)
    }
}

/// A code block with lines that fit no terminal: these are broken behind commas and spaces, and go on indented.
fn broken(block: &str) -> String {
    let line = |line: &str| match line.chars().count() {
        ..=WITH_THE_TEXT => format!(".ti -2n\n{}\n", guarded(&code(line))),
        _ => format!(".fi\n.ti -2n\n{}\n.nf\n", guarded(&code(line).replace(',', ",\\:"))),
    };
    format!(".in +2n\n.nf\n{}.fi\n.in\n", block.lines().map(line).collect::<String>())
}

/// Takes what the parser reads.
struct Writer<'a> {
    style: &'a Style,
    page: String,
    /// The paragraph or cell under way.
    line: String,
    /// Whether the last macro begins a paragraph already.
    is_begun: bool,
    /// The code block under way.
    block: Option<String>,
    /// Where in `line` a link begins, and where it leads.
    link: Option<(usize, String)>,
    /// How deep in lists.
    depth: usize,
    table: Table,
}

#[derive(Default)]
struct Table {
    headings: Vec<String>,
    cells: Vec<String>,
    is_under_way: bool,
}

impl<'a> Writer<'a> {
    fn new(style: &'a Style) -> Self {
        let (page, line) = (String::new(), String::new());
        Self { style, page, line, is_begun: true, block: None, link: None, depth: 0, table: Table::default() }
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(plain) => match &mut self.block {
                Some(block) => *block += &plain,
                None => self.line += &text(&plain),
            },
            Event::Code(plain) if self.is_term() => self.line += &styled(&plain, is_capitals),
            Event::Code(plain) => self.line += &self.style.code(&plain),
            Event::SoftBreak | Event::HardBreak => self.line += " ",
            _ => {}
        }
    }

    /// Whether what is read is the first cell of a row.
    fn is_term(&self) -> bool {
        self.table.is_under_way && self.table.cells.is_empty()
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => self.begin_paragraph(),
            Tag::List(_) => self.begin_list(),
            Tag::Item => self.begin_macro(".IP \\(bu 2\n"),
            Tag::Strong => self.line += "\\fB",
            Tag::Emphasis => self.line += "\\fI",
            Tag::Link { dest_url, .. } => self.link = Some((self.line.len(), dest_url.into_string())),
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.flush();
                self.block = Some(String::new());
            }
            Tag::Table(_) => self.table = Table { is_under_way: true, ..Table::default() },
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Item => self.flush(),
            TagEnd::List(_) => self.end_list(),
            TagEnd::Strong | TagEnd::Emphasis => self.line += "\\fR",
            TagEnd::Link => self.end_link(),
            TagEnd::Heading(level) => self.end_heading(level),
            TagEnd::CodeBlock => self.end_code_block(),
            TagEnd::TableCell => self.table.cells.push(std::mem::take(&mut self.line)),
            TagEnd::TableHead => self.table.headings = std::mem::take(&mut self.table.cells),
            TagEnd::TableRow => self.end_row(),
            TagEnd::Table => self.table.is_under_way = false,
            _ => {}
        }
    }

    fn begin_paragraph(&mut self) {
        if !self.is_begun {
            self.page += if self.depth > 0 { ".IP \"\" 2\n" } else { ".PP\n" };
        }
    }

    fn begin_macro(&mut self, line: &str) {
        self.flush();
        self.page += line;
        self.is_begun = true;
    }

    fn begin_list(&mut self) {
        self.flush();
        if self.depth > 0 {
            self.page += ".RS 2\n";
        }
        self.depth += 1;
    }

    fn end_list(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 {
            self.page += ".RE\n";
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.page += &wrapped(&line);
            self.is_begun = false;
        }
    }

    fn end_heading(&mut self, _: HeadingLevel) {
        let title = std::mem::take(&mut self.line);
        self.begin_macro(&format!(".SS \"{title}\"\n"));
    }

    fn end_code_block(&mut self) {
        let block = self.block.take().unwrap_or_default();
        if !self.is_begun {
            self.page += ".sp\n";
        }
        self.page += &code_block(&block);
        self.is_begun = false;
    }

    /// A page of ours is named as manual pages are. Of another document the file is named; a place on the web is told.
    fn end_link(&mut self) {
        let Some((begin, target)) = self.link.take() else {
            return;
        };
        let (file, _) = target.split_once('#').unwrap_or((&target, ""));
        let shown = self.line.get(begin..).unwrap_or_default().to_owned();
        let page = PAGES.iter().find(|page| page.document == file);
        match page {
            Some(page) if shown == text(page.name) => {
                self.line.truncate(begin);
                self.line += &format!("\\fB{}\\fR({})", code(page.name), page.section);
            }
            Some(_) => {}
            None if file.is_empty() => {}
            None => self.line += &format!(" ({})", text(file)),
        }
    }

    fn end_row(&mut self) {
        let cells = std::mem::take(&mut self.table.cells);
        let Some((term, meaning)) = cells.split_first() else {
            return;
        };
        let mut told: Vec<String> = Vec::new();
        for (column, cell) in meaning.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            let heading = self.table.headings.get(column + 1).map_or("", String::as_str);
            told.push(if column == 0 { cell.clone() } else { format!("{}: {cell}", capitalised(heading)) });
        }
        // A term without a meaning is a paragraph of its own: a list has no place for it.
        self.page += if told.is_empty() { ".PP\n" } else { ".TP\n" };
        self.page += &format!("{}\n", guarded(&each_on_its_line(term)));
        self.page += &told.iter().map(|part| wrapped(part)).collect::<Vec<_>>().join(".br\n");
        self.is_begun = false;
    }
}

/// Several lines of a log that mean the same stand below each other; an option's two names stand side by side.
fn each_on_its_line(term: &str) -> String {
    let is_long = term.len() > SOURCE_WIDTH;
    if is_long { term.replace("\\fR, \\f", "\\fR\n.TQ\n\\f") } else { term.into() }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
