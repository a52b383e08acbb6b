//! The state of everything on one screen.

use super::kinds::{Entry, Section};
use super::layout::{Heading, ago, table, wrap};
use super::state::{Level, Problem};
use k8s_openapi::jiff::Timestamp;

/// Rows of each table where there is no height to fit into.
const DEFAULT_ROWS: usize = 10;

/// Rows of each table however low the screen.
const MIN_ROWS: usize = 3;

/// Lines of one message: what is longer is a case for `--full`.
const MESSAGE_LINES: usize = 3;

/// Narrower than this, nothing can be read any more.
const MIN_WIDTH: usize = 40;

/// Before the lines of a message.
const INDENT: &str = "    ";

/// What to print on.
pub(super) struct Screen {
    /// In columns.
    pub(super) width: usize,
    /// In lines, if there is an end of them.
    pub(super) height: Option<usize>,
    /// Print all, however long.
    pub(super) full: bool,
}

/// One table per kind, and what is wrong. There are as many rows as fit on the screen, of the worst.
pub(super) fn overview(sections: &[Section], namespace: Option<&str>, now: Timestamp, screen: &Screen) -> String {
    if sections.iter().all(|section| section.entries.is_empty()) {
        return format!("There are no MCP gateways, routes, backends or policies {}.\n", place(namespace));
    }
    let with_rows = |rows: usize| {
        let lines = if screen.full { usize::MAX } else { MESSAGE_LINES };
        let width = screen.width.max(MIN_WIDTH);
        Page { now, width, rows, lines, has_namespaces: namespace.is_none() }.print(sections)
    };
    // The last line is for the prompt.
    let fits = |text: &String| screen.height.is_none_or(|height| text.lines().count() < height);
    match screen.height {
        _ if screen.full => with_rows(usize::MAX),
        None => with_rows(DEFAULT_ROWS),
        Some(height) => (MIN_ROWS..height).rev().map(with_rows).find(fits).unwrap_or_else(|| with_rows(MIN_ROWS)),
    }
}

/// `in namespace a`, or `in any namespace`.
pub(super) fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "in any namespace".to_owned(), |namespace| format!("in namespace {namespace}"))
}

struct Page {
    now: Timestamp,
    width: usize,
    /// The most rows of a table.
    rows: usize,
    /// The most lines of a message.
    lines: usize,
    has_namespaces: bool,
}

impl Page {
    fn print(&self, sections: &[Section]) -> String {
        let filled = sections.iter().filter(|section| !section.entries.is_empty());
        let mut blocks: Vec<String> = filled.map(|section| self.section(section)).collect();
        blocks.push(self.problems(sections));
        blocks.join("\n")
    }

    fn section(&self, section: &Section) -> String {
        let needed = |text| Heading { text, optional: false };
        let mut headings = self.namespace_heading();
        headings.push(needed(section.heading));
        headings.extend(section.columns.iter().map(|text| Heading { text, optional: true }));
        headings.extend(["SINCE", "STATUS"].map(needed));
        let row = |entry: &Entry| {
            let mut row = self.namespace_cell(entry);
            row.push(entry.id.name.clone());
            row.extend(entry.cells.iter().cloned());
            row.extend([ago(entry.state.since, self.now), entry.state.sentence.clone()]);
            row
        };
        let (shown, hidden) = section.entries.split_at(section.entries.len().min(self.rows));
        let mut lines = table(&headings, &shown.iter().map(row).collect::<Vec<_>>(), self.width);
        if !hidden.is_empty() {
            let bad = hidden.iter().filter(|entry| entry.state.level != Level::Good).count();
            lines.push(match bad {
                0 => format!("… and {} more, all as they should be", hidden.len()),
                _ => format!("… and {} more, {bad} of them not as they should be (--full)", hidden.len()),
            });
        }
        lines.join("\n") + "\n"
    }

    fn problems(&self, sections: &[Section]) -> String {
        let mut problems: Vec<(&Section, &Entry, &Problem)> = sections
            .iter()
            .flat_map(|section| section.entries.iter().map(move |entry| (section, entry)))
            .flat_map(|(section, entry)| entry.state.problems.iter().map(move |problem| (section, entry, problem)))
            .collect();
        if problems.is_empty() {
            return "Nothing is wrong.\n".to_owned();
        }
        problems.sort_by_key(|(_, _, problem)| problem.level);
        let (shown, hidden) = problems.split_at(problems.len().min(self.rows));
        let mut headings = self.namespace_heading();
        headings.extend(["WHAT IS WRONG", "SINCE", "REASON"].map(|text| Heading { text, optional: false }));
        let row = |(section, entry, problem): &(&Section, &Entry, &Problem)| {
            let mut row = self.namespace_cell(entry);
            row.extend([
                format!("{}/{}", section.kind.to_lowercase(), entry.id.name),
                ago(problem.since, self.now),
                reason(problem),
            ]);
            row
        };
        let mut rows = table(&headings, &shown.iter().map(row).collect::<Vec<_>>(), self.width).into_iter();
        let mut lines: Vec<String> = rows.next().into_iter().collect();
        for (line, (_, _, problem)) in rows.zip(shown) {
            lines.push(line);
            let message = wrap(&message(problem), self.width - INDENT.len(), self.lines);
            lines.extend(message.iter().filter(|line| !line.is_empty()).map(|line| format!("{INDENT}{line}")));
        }
        if !hidden.is_empty() {
            lines.push(format!("… and {} more (--full)", hidden.len()));
        }
        lines.join("\n") + "\n"
    }

    fn namespace_heading(&self) -> Vec<Heading> {
        Vec::from_iter(self.has_namespaces.then_some(Heading { text: "NAMESPACE", optional: false }))
    }

    fn namespace_cell(&self, entry: &Entry) -> Vec<String> {
        Vec::from_iter(self.has_namespaces.then(|| entry.id.namespace.clone()))
    }
}

/// With the gateways where it is so, if it is not so everywhere.
fn message(problem: &Problem) -> String {
    let place = if problem.at.is_empty() { String::new() } else { format!("at {}: ", problem.at.join(", ")) };
    format!("{place}{}", problem.message)
}

/// `NoEndpoints (Available, Ready: False)`
fn reason(problem: &Problem) -> String {
    match problem.conditions.as_slice() {
        [] => problem.reason.clone(),
        conditions => format!("{} ({}: {})", problem.reason, conditions.join(", "), problem.status),
    }
}
