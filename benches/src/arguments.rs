//! The command line.

use std::env;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bench {
    Opening,
    Grants,
    Restart,
    Idle,
    Floods,
    Scans,
    Keys,
}

impl Bench {
    const ALL: [(&'static str, Self); 7] = [
        ("opening", Self::Opening),
        ("grants", Self::Grants),
        ("restart", Self::Restart),
        ("idle", Self::Idle),
        ("floods", Self::Floods),
        ("scans", Self::Scans),
        ("keys", Self::Keys),
    ];

    /// The heading of its results.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Opening => "Last knock to open port",
            Self::Grants => "Many grants in force",
            Self::Restart => "Starting again with what is open",
            Self::Idle => "Other people's traffic",
            Self::Floods => "Floods",
            Self::Scans => "Scans",
            Self::Keys => "Doors with keys",
        }
    }
}

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// In this order.
    pub(crate) benches: Vec<Bench>,
    /// So few samples that the figures say nothing: to see that the benches run.
    pub(crate) quick: bool,
}

impl Arguments {
    /// Those of this process.
    ///
    /// # Errors
    /// Where they name no bench; in words.
    pub(crate) fn read() -> Result<Self, String> {
        let mut arguments = Self { benches: Vec::new(), quick: false };
        for argument in env::args().skip(1) {
            match Bench::ALL.into_iter().find(|(name, _)| *name == argument) {
                Some((_, bench)) => arguments.benches.push(bench),
                None if argument == "--quick" => arguments.quick = true,
                None => return Err(unknown(&argument)),
            }
        }
        if arguments.benches.is_empty() {
            arguments.benches = Bench::ALL.map(|(_, bench)| bench).into();
        }
        Ok(arguments)
    }
}

fn unknown(argument: &str) -> String {
    let names = Bench::ALL.map(|(name, _)| name).join(", ");
    format!("\"{argument}\" is no bench; there are {names}, and the option --quick")
}
