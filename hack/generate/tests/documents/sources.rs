//! The string literals in the sources of the programs, without tests, attributes and comments.

use crate::{files, has_extension, text};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::iter::Peekable;

/// What tests need to know about source files.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// File and text of every string literal, except those of constants in modules named `reasons`.
    pub(crate) literals: Vec<(String, String)>,
    /// Name and value of every constant in a module named `reasons`.
    pub(crate) reasons: Vec<(String, String)>,
    /// The constants that code refers to as `reasons::NAME`.
    pub(crate) used: BTreeSet<String>,
}

impl Sources {
    /// The sources of the crates, except the plugin for kubectl, which writes no objects and shows reasons of others.
    pub(crate) fn of_programs() -> Self {
        let is_test = |path: &str| {
            path.contains("/tests/") || path.ends_with("_test.rs") || path.ends_with("/tests.rs")
        };
        let mut sources = Self::default();
        for path in files("crates") {
            let is_plugin = path.starts_with("crates/kubectl-jobset/");
            if has_extension(&path, "rs") && path.contains("/src/") && !is_test(&path) && !is_plugin {
                sources.add(&path, &text(&path));
            }
        }
        sources
    }

    /// Adds a file.
    pub(crate) fn add(&mut self, path: &str, source: &str) {
        let tokens: TokenStream = source.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        if path.ends_with("/reasons.rs") { self.declare(tokens) } else { self.walk(path, tokens) }
    }

    fn walk(&mut self, path: &str, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        let (mut is_module, mut is_reasons) = (false, false);
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if is_for_tests(attribute(&mut tokens)) {
                        skip_item(&mut tokens);
                    }
                }
                TokenTree::Ident(ident) if ident == "mod" => is_module = true,
                TokenTree::Ident(ident) if ident == "reasons" => {
                    is_reasons = is_module;
                    self.used.extend(path_end(&mut tokens));
                }
                TokenTree::Group(group) => {
                    if is_reasons {
                        self.declare(group.stream());
                    } else {
                        self.walk(path, group.stream());
                    }
                    (is_module, is_reasons) = (false, false);
                }
                TokenTree::Literal(literal) => {
                    self.literals.extend(string(&literal.to_string()).map(|text| (path.to_owned(), text)));
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => is_module = false,
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    /// Adds the constants of a module `reasons`.
    fn declare(&mut self, tokens: TokenStream) {
        let mut name = None;
        let mut is_constant = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if ident == "const" => is_constant = true,
                TokenTree::Ident(ident) if is_constant => {
                    name = Some(ident.to_string());
                    is_constant = false;
                }
                TokenTree::Literal(literal) => {
                    self.reasons.extend(name.take().zip(string(&literal.to_string())));
                }
                _ => {}
            }
        }
    }
}

type Tokens = Peekable<proc_macro2::token_stream::IntoIter>;

/// The attribute after `#` or `#!`.
fn attribute(tokens: &mut Tokens) -> Option<Group> {
    tokens.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
    match tokens.next_if(|next| matches!(next, TokenTree::Group(_))) {
        Some(TokenTree::Group(group)) => Some(group),
        _ => None,
    }
}

fn is_for_tests(attribute: Option<Group>) -> bool {
    let text = attribute.map(|attribute| attribute.stream().to_string()).unwrap_or_default();
    let text = text.replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// Skips an item: up to its block, or to a semicolon.
fn skip_item(tokens: &mut Tokens) {
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(punct) if punct.as_char() == ';' => return,
            _ => {}
        }
    }
}

/// The identifier after `::`.
fn path_end(tokens: &mut Tokens) -> Option<String> {
    for _ in 0..2 {
        tokens.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == ':'))?;
    }
    match tokens.next_if(|next| matches!(next, TokenTree::Ident(_))) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

/// The text of a string literal, or None for another literal.
fn string(source: &str) -> Option<String> {
    if let Some(raw) = source.strip_prefix('r') {
        let text = raw.trim_matches('#');
        return text.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    }
    let inner = source.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                // A line that continues.
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some('n') => text.push('\n'),
                Some(escaped) => text.push(escaped),
                None => {}
            },
            c => text.push(c),
        }
    }
    Some(text)
}

/// A text of `format!` with `…` instead of each placeholder.
pub(crate) fn without_placeholders(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.next_if_eq(&c).is_some() => out.push(c),
            '{' => {
                while chars.next_if(|c| *c != '}').is_some() {}
                chars.next();
                out.push('…');
            }
            c => out.push(c),
        }
    }
    out
}

#[test]
fn literals_and_reasons_are_found() {
    let mut sources = Sources::default();
    let source = r#"
        //! "Comment"
        #[serde(rename = "Attribute")]
        fn f() { g(reasons::RED, "One\" \
            two", b"Bytes", json!({"kind": "Macro"}), 'c') }
        mod reasons { /// Doc
            pub const RED: &str = "Red"; }
        #[cfg(test)]
        const ONLY: &str = "Test";
        mod other { const BLUE: &str = "Blue"; }
        #[cfg(test)]
        mod tests { fn f() { "Test" } }
        const LAST: &str = "Last";
    "#;
    sources.add("a.rs", source);
    let literals: Vec<_> = sources.literals.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(literals, ["One\" two", "kind", "Macro", "Blue", "Last"]);
    assert_eq!(sources.reasons, [("RED".to_owned(), "Red".to_owned())]);
    assert!(sources.used.contains("RED"));
    sources.add("a/reasons.rs", "pub const GREEN: &str = \"Green\";");
    assert_eq!(sources.reasons.len(), 2);
    assert_eq!(without_placeholders("a {b} {{c}} {}{d:?}"), "a … {c} ……");
}
