//! `kubectl mcp lint`: everything that can be said of manifests without a cluster.
//!
//! Each object is read strictly and checked against its definition, CEL rules included; when all are good, they are
//! translated together, and what translation refuses is told too.

use super::Failure;
use super::lint_world as world;
use super::manifests::{Loaded, load};
use super::secret_values::looks_secret;
use crate::api::pod::EnvVar;
use crate::translate::manifests::{Manifest, ManifestError, Object};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `kubectl mcp lint`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files with manifests; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print what is found
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// One line each, for people and editors
    Text,
    /// One JSON object, for programs
    Json,
}

/// One thing to know about the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the manifests must change.
    pub severity: Severity,
    /// Where, and what to do.
    pub mistake: ManifestError,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The API server or the operator would refuse it.
    Error,
    /// It would be taken, and is likely not what is meant.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Checks the files and prints what is found. Exit code 1 if anything is an error.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let findings = findings(load(&args.files).map_err(Failure::new)?);
    print(&findings, args.output, out).map_err(|error| Failure::new(format!("cannot print: {error}")))?;
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All there is to say about loaded manifests.
pub fn findings(loaded: Loaded) -> Vec<Finding> {
    let Loaded { manifests, mistakes } = loaded;
    let mut found: Vec<Finding> =
        mistakes.into_iter().map(|mistake| Finding { severity: Severity::Error, mistake }).collect();
    found.extend(manifests.iter().flat_map(inline_secrets));
    found.extend(manifests.iter().filter_map(whole_filesystem));
    // With a mistake in one object, every object that refers to it would be blamed too.
    if found.iter().all(|finding| finding.severity == Severity::Warning) {
        found.extend(world::findings(manifests));
    }
    found.sort_by(|left, right| {
        let key = |finding: &Finding| (finding.mistake.file.clone(), finding.mistake.line, finding.mistake.column);
        key(left).cmp(&key(right))
    });
    found
}

/// Environment variables whose value is in the manifest and looks like a secret. The value is not printed.
fn inline_secrets(manifest: &Manifest) -> Vec<Finding> {
    let Object::Backend(backend) = &manifest.object else { return Vec::new() };
    let spec = &backend.spec;
    let stdio = spec.stdio.iter().map(|server| ("spec.stdio", &server.env));
    let http = spec.http.iter().map(|server| ("spec.http", &server.env));
    let is_secret =
        |variable: &EnvVar| variable.value.as_deref().is_some_and(|value| looks_secret(&variable.name, value));
    stdio
        .chain(http)
        .flat_map(|(parent, env)| env.iter().enumerate().map(move |(index, variable)| (parent, index, variable)))
        .filter(|(_, _, variable)| is_secret(variable))
        .map(|(parent, index, variable)| Finding {
            severity: Severity::Warning,
            mistake: ManifestError {
                file: manifest.file.clone(),
                line: manifest.line,
                column: 0,
                field: format!("{parent}.env[{index}].value"),
                message: format!(
                    "{} looks like a secret, and everyone who may read this object sees it: put it into a Secret and name that in valueFrom.secretKeyRef",
                    variable.name
                ),
            },
        })
        .collect()
}

/// A server of files that is given all files there are: in a pod that is the image, on a laptop everything.
fn whole_filesystem(manifest: &Manifest) -> Option<Finding> {
    let Object::Backend(backend) = &manifest.object else { return None };
    let server = backend.spec.stdio.as_ref()?;
    let words = || server.command.iter().chain(&server.args);
    let serves_files = std::iter::once(&server.image).chain(words()).any(|word| word.contains("filesystem"));
    let mut roots =
        server.args.iter().enumerate().filter(|(_, word)| *word == "/").map(|(index, _)| format!("args[{index}]"));
    let in_command = || server.command.iter().position(|word| word == "/").map(|index| format!("command[{index}]"));
    let field = roots.next().or_else(in_command).filter(|_| serves_files)?;
    Some(Finding {
        severity: Severity::Warning,
        mistake: ManifestError {
            file: manifest.file.clone(),
            line: manifest.line,
            column: 0,
            field: format!("spec.stdio.{field}"),
            message: "gives a server of files the whole file system, HOME and credentials included: name the directory that clients are to see"
                .to_owned(),
        },
    })
}

fn print(findings: &[Finding], output: Output, out: &mut dyn Write) -> std::io::Result<()> {
    match output {
        Output::Text => {
            for Finding { severity, mistake } in findings {
                let place = ManifestError { field: String::new(), message: String::new(), ..mistake.clone() };
                let field = if mistake.field.is_empty() { String::new() } else { format!("{}: ", mistake.field) };
                writeln!(out, "{}{}: {field}{}", place, severity.as_str(), mistake.message)?;
            }
            Ok(())
        }
        Output::Json => {
            let findings: Vec<JsonFinding<'_>> = findings.iter().map(JsonFinding::from).collect();
            serde_json::to_writer_pretty(&mut *out, &serde_json::json!({ "findings": findings }))?;
            writeln!(out)
        }
    }
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    severity: Severity,
    file: &'a str,
    line: u64,
    column: u64,
    field: &'a str,
    message: &'a str,
}

impl<'a> From<&'a Finding> for JsonFinding<'a> {
    fn from(finding: &'a Finding) -> Self {
        let ManifestError { file, line, column, field, message } = &finding.mistake;
        Self { severity: finding.severity, file, line: *line, column: *column, field, message }
    }
}
