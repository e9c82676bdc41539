//! The findings, for people and for programs.

use serde_json::json;

use super::finding::{Finding, Section, Severity};
use crate::output::printable;

/// How wide the first column is.
const WIDTH: usize = 12;

/// For people: a line for what is well, and what is not with what to do.
pub(crate) fn text(sections: &[Section]) -> String {
    let mut text: String = sections.iter().map(section).collect();
    text += &format!("\n{}\n", summary(sections));
    text
}

fn section(section: &Section) -> String {
    let Section { title, well, findings } = section;
    let worst = findings.iter().map(|finding| finding.severity).max();
    let mut text = match worst {
        None | Some(Severity::Note) => format!("{title:WIDTH$}ok: {}\n", printable(well)),
        Some(_) => format!("{title}\n"),
    };
    let mut findings: Vec<_> = findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    text.extend(findings.into_iter().map(finding));
    text
}

fn finding(finding: &Finding) -> String {
    let severity = word(finding.severity);
    let remedies = finding.remedy.iter().map(|remedy| format!("{:WIDTH$}> {}\n", "", printable(remedy)));
    format!(
        "  {severity:<width$}{}\n{:WIDTH$}{}\n{}",
        printable(&finding.found),
        "",
        printable(&finding.why),
        remedies.collect::<String>(),
        width = WIDTH - 2,
    )
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Problem => "problem",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// How many findings there are of a severity.
pub(crate) fn count(sections: &[Section], severity: Severity) -> usize {
    let findings = sections.iter().flat_map(|section| &section.findings);
    findings.filter(|finding| finding.severity == severity).count()
}

fn summary(sections: &[Section]) -> String {
    let of = |severity| match count(sections, severity) {
        1 => format!("1 {}", word(severity)),
        count => format!("{count} {}s", word(severity)),
    };
    format!("{}, {}, {}", of(Severity::Problem), of(Severity::Warning), of(Severity::Note))
}

/// For programs: one line.
pub(crate) fn json(sections: &[Section]) -> String {
    let summary = json!({
        "problems": count(sections, Severity::Problem),
        "warnings": count(sections, Severity::Warning),
        "notes": count(sections, Severity::Note),
        "sections": sections,
    });
    format!("{summary}\n")
}
