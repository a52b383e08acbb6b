//! Which of a server's offers a route shows, and under what names.

use super::item::ListKind;
use crate::ir::snapshot::{CallMatch, Server, ToolOverride};
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::borrow::Cow;

/// The longest name that clients accept (`^[A-Za-z0-9_.-]{1,128}$`).
const MAX_NAME: usize = 128;

/// A server's rules, compiled.
pub(super) struct Naming<'a> {
    prefix: Option<&'a str>,
    include: Option<Globs>,
    exclude: Option<Globs>,
    overrides: &'a [ToolOverride],
    pub(super) calls: CallFilter,
}

/// What becomes of an offer.
pub(super) enum Named<'a> {
    /// It is shown under this name.
    Shown(Cow<'a, str>),
    /// The route does not want it.
    Hidden,
    /// Prefix or rename makes a name that clients refuse.
    Unfit(Cow<'a, str>),
}

impl<'a> Naming<'a> {
    pub(super) fn new(server: &'a Server) -> Self {
        let some_globs = |patterns: &[String]| (!patterns.is_empty()).then(|| Globs::new(patterns));
        Self {
            prefix: server.prefix.as_deref().filter(|prefix| !prefix.is_empty()),
            include: some_globs(&server.tools.include),
            exclude: some_globs(&server.tools.exclude),
            overrides: &server.tools.overrides,
            calls: CallFilter::new(&server.matches),
        }
    }

    pub(super) fn name<'n>(&self, kind: ListKind, own: &'n str) -> Named<'n>
    where
        'a: 'n,
    {
        let visible = match kind {
            ListKind::Tools if !self.offers_tool(own) => return Named::Hidden,
            ListKind::Tools => self.prefixed(self.renamed(own)),
            ListKind::Prompts => self.prefixed(own),
            ListKind::Resources | ListKind::Templates => Cow::Borrowed(own),
        };
        let tool = (kind == ListKind::Tools).then_some(&*visible);
        if !self.calls.takes(kind.use_method(), tool) {
            return Named::Hidden;
        }
        if visible == own || is_fit(&visible) { Named::Shown(visible) } else { Named::Unfit(visible) }
    }

    /// The description that replaces a tool's own.
    pub(super) fn description(&self, own: &str) -> Option<&'a str> {
        self.overrides.iter().find(|change| change.name == own)?.description.as_deref()
    }

    fn offers_tool(&self, own: &str) -> bool {
        // A list with a pattern that does not compile shows nothing and hides everything: fail closed.
        let included = self.include.as_ref().is_none_or(|globs| globs.matches(own).unwrap_or(false));
        let excluded = self.exclude.as_ref().is_some_and(|globs| globs.matches(own).unwrap_or(true));
        included && !excluded
    }

    fn renamed<'n>(&self, own: &'n str) -> &'n str
    where
        'a: 'n,
    {
        let change = self.overrides.iter().find(|change| change.name == own);
        change.and_then(|change| change.rename.as_deref()).unwrap_or(own)
    }

    fn prefixed<'n>(&self, name: &'n str) -> Cow<'n, str> {
        self.prefix.map_or(Cow::Borrowed(name), |prefix| Cow::Owned(format!("{prefix}{name}")))
    }
}

fn is_fit(name: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fit)
}

/// Patterns, if all of them compiled; translation refuses the ones that do not.
struct Globs(Option<GlobSet>);

impl Globs {
    fn new(patterns: &[String]) -> Self {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let Ok(glob) = Glob::new(pattern) else { return Self(None) };
            set.add(glob);
        }
        Self(set.build().ok())
    }

    fn matches(&self, name: &str) -> Option<bool> {
        Some(self.0.as_ref()?.is_match(name))
    }
}

/// Which calls a server takes.
pub(super) struct CallFilter {
    matches: Vec<(Vec<String>, Option<Globs>)>,
}

impl CallFilter {
    fn new(matches: &[CallMatch]) -> Self {
        let compile =
            |found: &CallMatch| (found.methods.clone(), (!found.tools.is_empty()).then(|| Globs::new(&found.tools)));
        Self { matches: matches.iter().map(compile).collect() }
    }

    /// Whether a call of `method`, about the tool clients see as `tool`, is taken. A match on tools never holds for calls that
    /// are about none.
    pub(super) fn takes(&self, method: &str, tool: Option<&str>) -> bool {
        self.matches.is_empty()
            || self.matches.iter().any(|(methods, tools)| {
                let about =
                    tools.as_ref().is_none_or(|globs| tool.and_then(|tool| globs.matches(tool)).unwrap_or(false));
                about && (methods.is_empty() || methods.iter().any(|known| known == method))
            })
    }

    /// Whether any call of `method` may be taken.
    pub(super) fn may_take(&self, method: &str) -> bool {
        let named = |methods: &[String]| methods.is_empty() || methods.iter().any(|known| known == method);
        let about_tools = method == "tools/call";
        self.matches.is_empty()
            || self.matches.iter().any(|(methods, tools)| named(methods) && (tools.is_none() || about_tools))
    }
}
