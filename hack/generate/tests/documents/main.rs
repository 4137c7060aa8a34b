//! Tests of the documents: the files, sections, suites and packages that they name exist.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod operator_fields;
mod sources;
mod troubleshooting;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of files that no longer exist, as an example of names.
const PAGE_WITH_OLD_NAMES: &str = "docs/contributors/language.md";
/// Folders of the repository. A word that begins with one of them is a path.
const FOLDERS: [&str; 9] =
    [".ci", ".github", "bundle", "crates", "deploy", "docs", "hack", "manifests", "tests"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// All files below a folder, relative to the root of the repository.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The pages in the root of the repository, and those in docs/.
fn pages() -> Vec<String> {
    let in_docs = files("docs").into_iter().filter(|path| has_extension(path, "md"));
    let in_root = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(str::to_owned);
    in_root.into_iter().chain(in_docs).collect()
}

/// The lines of a page, and whether each is in a block of code.
fn lines(text: &str) -> Vec<(&str, bool)> {
    let mut in_code = false;
    let mut all = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else {
            all.push((line, in_code));
        }
    }
    all
}

/// The targets of the links in a page.
fn links(text: &str) -> Vec<String> {
    let lines = lines(text);
    let prose = lines.iter().filter(|(_, in_code)| !in_code);
    prose
        .flat_map(|(line, _)| line.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// The anchors of a page's headings, as GitHub forms them.
fn anchors(text: &str) -> BTreeSet<String> {
    let lines = lines(text);
    let headings = lines.iter().filter(|(line, in_code)| !in_code && line.starts_with('#'));
    headings
        .map(|(line, _)| {
            let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            heading.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
        })
        .collect()
}

/// The problem of a link in a page, if it has one.
fn problem_of_link(page: &str, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file =
        if path.is_empty() { root().join(page) } else { root().join(page).parent().unwrap().join(path) };
    if !file.exists() {
        return Some(format!("{page}: {target} does not exist"));
    }
    let has_anchor = || anchors(&fs::read_to_string(&file).unwrap()).contains(anchor);
    (!anchor.is_empty() && !has_anchor()).then(|| format!("{page}: {target} has no such heading"))
}

/// The words of a page that are code: those in backticks, and those in blocks of code.
fn code_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (line, in_code) in lines(text) {
        if in_code {
            words.extend(line.split_whitespace().map(str::to_owned));
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            words.extend(spans.flat_map(str::split_whitespace).map(str::to_owned));
        }
    }
    words
}

/// The code spans in the first column of the tables whose first heading is this one.
fn first_column(page: &str, heading: &str) -> Vec<String> {
    let cell = |line: &str| line.strip_prefix("| ")?.split(" | ").next().map(str::to_owned);
    let mut is_in_table = false;
    let mut found = Vec::new();
    for (line, _) in lines(page) {
        match cell(line) {
            None => is_in_table = line.starts_with("|-") && is_in_table,
            Some(first) if first == heading => is_in_table = true,
            Some(first) if is_in_table => {
                found.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
            }
            Some(_) => {}
        }
    }
    found
}

/// The problem of a word, if it is a path or the name of a source file.
fn problem_of_word(page: &str, word: &str, sources: &[String]) -> Option<String> {
    let path = word.trim_end_matches([',', ':', ';', '.', '/']);
    if path.contains(['<', '*', '…', '{', '$', '"', '=', '(']) {
        return None;
    }
    let (folder, rest) = path.split_once('/').unwrap_or((path, ""));
    let is_path = FOLDERS.contains(&folder) && (!rest.is_empty() || word.ends_with('/'));
    if is_path {
        return (!root().join(path).exists()).then(|| format!("{page}: {path} does not exist"));
    }
    let is_source = has_extension(path, "rs") && page != PAGE_WITH_OLD_NAMES;
    let exists = || sources.iter().any(|source| source.ends_with(&format!("/{path}")));
    (is_source && !exists()).then(|| format!("{page}: no source file is named {path}"))
}

#[test]
fn links_lead_to_files_and_headings() {
    let problems: Vec<_> = pages()
        .iter()
        .flat_map(|page| {
            links(&text(page)).into_iter().filter_map(move |target| problem_of_link(page, &target))
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));

    assert_eq!(problem_of_link("docs/README.md", "jobsets.md#failure-policy"), None);
    assert!(problem_of_link("docs/README.md", "jobset.md").is_some());
    assert!(problem_of_link("docs/README.md", "jobsets.md#failures").is_some());
    assert_eq!(links("see [a](b.md) and `x` [c](d.md#e)"), ["b.md", "d.md#e"]);
}

#[test]
fn code_in_the_first_column_of_a_table_is_found() {
    let page = "| message | a |\n|---|---|\n| `one …`<br>`two` | `no` |\n\n| other | a |\n|---|---|\n| `three` | b |\n";
    assert_eq!(first_column(page, "message"), ["one …", "two"]);
}

/// docs/README.md lists every page for users, and the folders of the others.
#[test]
fn the_index_lists_every_page() {
    let index = text("docs/README.md");
    let listed: BTreeSet<String> = links(&index).into_iter().collect();
    for page in
        pages().iter().filter_map(|page| page.strip_prefix("docs/")).filter(|page| *page != "README.md")
    {
        let folder = page.split_once('/').map(|(folder, _)| folder);
        let is_listed = listed.contains(page) || folder.is_some_and(|folder| listed.contains(folder));
        assert!(is_listed, "docs/README.md has no link to {page}");
    }
}

#[test]
fn paths_and_source_files_exist() {
    let sources: Vec<_> = ["crates", "hack", "tests"].into_iter().flat_map(files).collect();
    let problems: Vec<_> = pages()
        .iter()
        .flat_map(|page| {
            let sources = &sources;
            let words = code_words(&text(page)).into_iter();
            words.filter_map(move |word| problem_of_word(page, &word, sources))
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));

    for existing in ["hack/test", "deploy/", "docs/examples/ttl.yaml,", "act/operation.rs", "manifests"] {
        assert_eq!(problem_of_word("README.md", existing, &sources), None, "{existing}");
    }
    for missing in ["crates/jobset-operator/src/rbac.rs", "deploy/missing.yaml", "turns.rs"] {
        assert!(problem_of_word("README.md", missing, &sources).is_some(), "{missing}");
    }
}

#[test]
fn packages_in_commands_exist() {
    for page in pages() {
        let words = code_words(&text(&page));
        for pair in words.windows(2).filter(|pair| ["-p", "--package"].contains(&pair[0].as_str())) {
            let name = &pair[1];
            let folders = [format!("crates/{name}"), format!("hack/{name}"), "tests".to_owned()];
            let exists = folders.iter().any(|folder| {
                let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap_or_default();
                manifest.contains(&format!("name = \"{name}\"\n"))
            });
            assert!(exists, "{page}: the workspace has no package {name}");
        }
    }
}

/// The versions after this text in a document.
fn versions_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let rest = text.split(before).skip(1);
    rest.map(|rest| rest.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default())
        .collect()
}

/// Commands and examples that a reader copies name this version.
#[test]
fn versions_in_commands_are_current() {
    let examples = files("docs/examples").into_iter();
    for file in pages().into_iter().chain(examples).chain(["Containerfile".to_owned()]) {
        let text = text(&file);
        for before in ["csv/jobset-operator.v", "localhost/jobset-operator:v"] {
            for version in versions_after(&text, before) {
                assert_eq!(version.trim_end_matches('.'), env!("CARGO_PKG_VERSION"), "{file}: {before}");
            }
        }
    }
    assert_eq!(versions_after("a:v1.2.3 b a:v4.5.6`", "a:v"), ["1.2.3", "4.5.6"]);
}

/// `hack/test --help` describes each suite once, in the order in which the suites run.
#[test]
fn help_of_the_tests_describes_each_suite_once() {
    let script = text("hack/test");
    let suites = script.split_once("all_suites=(").unwrap().1.split_once(')').unwrap().0;
    let help = script.split_once("\nSuites:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let described: Vec<_> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(described, suites.split_whitespace().collect::<Vec<_>>());
}
