//! What the doctor finds.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Something to know.
    Note,
    /// It works, but not in every case.
    Warning,
    /// It does not work, or lets strangers in.
    Problem,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Which kind it is: docs/doctor.md has a section of this name.
    pub(crate) name: &'static str,
    /// What was found.
    pub(crate) found: String,
    /// Why that matters.
    pub(crate) why: String,
    /// What to type, or to write where.
    pub(crate) remedy: Vec<String>,
}

impl Finding {
    pub(crate) fn problem(name: &'static str, found: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, name, found: found.into(), why: why.into(), remedy: Vec::new() }
    }

    pub(crate) fn warning(name: &'static str, found: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::problem(name, found, why) }
    }

    pub(crate) fn note(name: &'static str, found: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::problem(name, found, why) }
    }

    /// Adds something to do.
    pub(crate) fn with(mut self, remedy: impl Into<String>) -> Self {
        self.remedy.push(remedy.into());
        self
    }
}

/// A part of the examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// What is told where nothing was found.
    pub(crate) well: String,
    pub(crate) findings: Vec<Finding>,
}
