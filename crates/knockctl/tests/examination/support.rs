//! A server with its service, its daemon, and the program that looks at both.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Output};

use lab::{Daemon, Host, Lab, Service};
use serde_json::Value;

/// A door that the kernel opens.
pub(crate) const NATIVE: &str =
    "[ssh]\nsequence = 17142,8319:udp,15623,9214:udp\ntcpflags = syn\nopen = 22/tcp\nopen_for = 2s\n";

/// What every firewall for IPv6 must let through: neighbours.
pub(crate) const NEIGHBOURS: &str = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";

/// A server on a network, with a service at port 22 behind a firewall, and maybe a daemon.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    _service: Service,
    pub(crate) daemon: Option<Daemon>,
}

impl Scene {
    /// `firewall` is a script for the server's shell.
    pub(crate) fn new(firewall: &str, config: &str) -> io::Result<Self> {
        Self::with_arguments(firewall, config, &[])
    }

    /// The same, with more arguments for the daemon.
    pub(crate) fn with_arguments(firewall: &str, config: &str, arguments: &[&str]) -> io::Result<Self> {
        let lab = Lab::pair()?;
        let service = Service::start(lab.server(), 22)?;
        lab.server().sh(firewall)?;
        let config = format!("[options]\nInterface = eth0\n{}", config.trim_start_matches("[options]\n"));
        let daemon = Daemon::of(lab::binary("knockd")?).config(config).args(arguments).start(lab.server())?;
        Ok(Self { lab, _service: service, daemon: Some(daemon) })
    }

    pub(crate) fn server(&self) -> &Host {
        self.lab.server()
    }

    pub(crate) fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("it was started")
    }

    fn directory(&self) -> PathBuf {
        self.daemon.as_ref().expect("it was started").directory().path().to_owned()
    }

    /// The program's command line, ready to be run on the server.
    pub(crate) fn knockctl(&self, arguments: &str) -> Command {
        let directory = self.directory();
        let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
        command.arg("-c").arg(directory.join("knockd.conf")).arg("-s").arg(directory.join("knockd.sock"));
        command.args(arguments.split_whitespace());
        command
    }

    pub(crate) fn output(&self, arguments: &str) -> io::Result<Output> {
        self.server().output(&mut self.knockctl(arguments))
    }

    /// The doctor's findings.
    pub(crate) fn doctor(&self) -> io::Result<Vec<Finding>> {
        let output = self.output("doctor --json")?;
        let told: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| io::Error::other(format!("{error}: {output:?}")))?;
        let sections = told["sections"].as_array().expect("sections");
        let all = sections.iter().flat_map(|section| section["findings"].as_array().expect("findings"));
        let findings: Vec<_> = all.map(Finding::of).collect();
        let has_problem = findings.iter().any(|finding| finding.severity == "problem");
        assert_eq!(output.status.code(), Some(i32::from(has_problem)), "{findings:#?}");
        Ok(findings)
    }

    /// The names of the problems.
    pub(crate) fn problems(&self) -> io::Result<Vec<String>> {
        let findings = self.doctor()?;
        let problems = findings.iter().filter(|finding| finding.severity == "problem");
        let mut names: Vec<_> = problems.map(|finding| finding.name.clone()).collect();
        names.dedup();
        Ok(names)
    }

    /// The one finding of a name.
    pub(crate) fn finding(&self, name: &str) -> io::Result<Finding> {
        let findings = self.doctor()?;
        let found = findings.iter().find(|finding| finding.name == name).cloned();
        found.ok_or_else(|| io::Error::other(format!("no {name} in {findings:#?}")))
    }

    /// Does what the doctor says, and sees that the finding is gone.
    pub(crate) fn cure(&self, name: &str) -> io::Result<()> {
        for _ in 0..2 {
            let Some(finding) = self.doctor()?.into_iter().find(|finding| finding.name == name) else {
                return Ok(());
            };
            // IPv4 first, then maybe IPv6.
            self.server().sh(&finding.remedy[0])?;
        }
        let left = self.doctor()?.into_iter().find(|finding| finding.name == name);
        left.map_or(Ok(()), |left| Err(io::Error::other(format!("still there: {left:#?}"))))
    }

    /// The last word of a trial for people, and whether it is a good one.
    pub(crate) fn verdict(&self, door: &str) -> io::Result<(bool, String)> {
        let output = self.output(&format!("try {door}"))?;
        let told = String::from_utf8_lossy(&output.stdout);
        Ok((output.status.success(), told.lines().last().unwrap_or_default().to_owned()))
    }

    /// The steps of a trial, and whether the door works.
    pub(crate) fn trial(&self, arguments: &str) -> io::Result<(bool, Vec<String>)> {
        let output = self.output(&format!("try --json {arguments}"))?;
        let told: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| io::Error::other(format!("{error}: {output:?}")))?;
        let works = told["works"].as_bool().expect("a verdict");
        assert_eq!(output.status.success(), works, "{told}");
        let step = |step: &Value| {
            let word = |key: &str| step[key].as_str().expect("a word").to_owned();
            format!("{} {}: {}", word("family"), word("outcome"), word("message"))
        };
        Ok((works, told["steps"].as_array().expect("steps").iter().map(step).collect()))
    }

    /// Sees that nothing of a trial is left.
    pub(crate) fn assert_clean(&self) -> io::Result<()> {
        lab::wait_until("the trial's interface is gone", SOON, || {
            self.server().ip("link show").is_ok_and(|links| !links.contains("knocktry"))
        })?;
        lab::wait_until("the trial's grants are gone", SOON, || {
            self.output("grants").is_ok_and(|output| output.stdout == b"Nothing is open.\n")
        })
    }
}

/// How long anything may take that ought to happen at once.
pub(crate) const SOON: std::time::Duration = std::time::Duration::from_secs(20);

/// What the doctor found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) severity: String,
    pub(crate) found: String,
    pub(crate) remedy: Vec<String>,
}

impl Finding {
    fn of(value: &Value) -> Self {
        let word = |key: &str| value[key].as_str().expect("a word").to_owned();
        let remedy = value["remedy"].as_array().expect("a list").iter();
        let remedy = remedy.map(|line| line.as_str().expect("a word").to_owned()).collect();
        Self { name: word("name"), severity: word("severity"), found: word("found"), remedy }
    }
}
