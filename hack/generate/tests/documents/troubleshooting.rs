//! Compares docs/troubleshooting.md with the code: the reasons of conditions and events, and the messages of denied
//! requests.
//!
//! A reason is a constant in a module named `reasons`. `not_reasons.txt` lists every other CamelCase word in the sources,
//! so that a reason outside such a module is found.

use crate::sources::{Sources, without_placeholders};
use crate::{first_column, has_extension, lines, pages, text};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = "docs/troubleshooting.md";
const NOT_REASONS: &str = "hack/generate/tests/documents/not_reasons.txt";

/// Examples of reasons with a part that varies.
const EXAMPLES: [&str; 3] = ["AvailableTrue", "DegradedFalse", "DeploymentCreated"];
/// Reasons, phases and feature gates of Kubernetes that only the pages name.
const OF_KUBERNETES: [&str; 6] = [
    "FailedCreate",
    "GenericWorkload",
    "MutablePodResourcesForSuspendedJobs",
    "Pending",
    "SchedulerError",
    "Unschedulable",
];

/// The files in which every sentence is the message of a denied request.
const REFUSALS: [&str; 13] = [
    "crates/jobset-controller/src/admission/mod.rs",
    "crates/jobset-controller/src/admission/review.rs",
    "crates/jobset-plan/src/pod_admission.rs",
    "crates/jobset-plan/src/validation/active_deadline.rs",
    "crates/jobset-plan/src/validation/coordinator.rs",
    "crates/jobset-plan/src/validation/create.rs",
    "crates/jobset-plan/src/validation/failure_policy.rs",
    "crates/jobset-plan/src/validation/field_error.rs",
    "crates/jobset-plan/src/validation/names.rs",
    "crates/jobset-plan/src/validation/scheduling/",
    "crates/jobset-plan/src/validation/update.rs",
    "crates/jobset-plan/src/validation/volume_claims.rs",
    "manifests/crds/",
];

/// A reason on the page without the part that varies, such as `<kind>` in `<kind>Created`.
fn fixed_part(reason: &str) -> String {
    let (before, rest) = reason.split_once('<').unwrap_or((reason, ""));
    let (_, after) = rest.split_once('>').unwrap_or(("", rest));
    format!("{before}{after}")
}

/// Whether a text can be a reason, or the fixed part of one: a CamelCase word.
fn can_be_reason(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.contains(|c: char| c.is_ascii_lowercase())
        && text.trim_end_matches('_').chars().all(|c| c.is_ascii_alphanumeric())
}

/// The words that are no reasons, by the list that contains them.
fn not_reasons() -> BTreeSet<String> {
    let list = text(NOT_REASONS);
    let entries = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.map(str::to_owned).collect()
}

/// The differences between the reasons of the sources and those of the page.
fn problems_of_reasons(sources: &Sources, page: &str, not_reasons: &BTreeSet<String>) -> Vec<String> {
    let declared: BTreeSet<&str> = sources.reasons.iter().map(|(_, value)| value.as_str()).collect();
    let listed: BTreeSet<String> =
        first_column(page, "reason").iter().map(|reason| fixed_part(reason)).collect();
    let mut problems = Vec::new();
    for (name, value) in &sources.reasons {
        if !sources.used.contains(name) {
            problems.push(format!("no code writes the reason {value}: delete reasons::{name}"));
        }
        if !listed.contains(value) {
            problems.push(format!("{PAGE} has no row for the reason {value}"));
        }
    }
    for reason in listed.iter().filter(|reason| !declared.contains(reason.as_str())) {
        problems.push(format!("{PAGE} has a row for {reason}, which no module `reasons` contains"));
    }
    let mut seen = BTreeSet::new();
    for (file, literal) in &sources.literals {
        let word = without_placeholders(literal).replace('…', "");
        if !can_be_reason(&word) {
            continue;
        }
        if declared.contains(word.as_str()) && !not_reasons.contains(&word) {
            problems.push(format!(
                "{file}: \"{literal}\" is a reason: take the constant of its module `reasons`"
            ));
        } else if !not_reasons.contains(&word) {
            problems.push(format!(
                "{file}: \"{literal}\" may be a reason: if it is, make it a constant of a module `reasons`, and add a row \
                 to {PAGE}; otherwise add it to {NOT_REASONS}"
            ));
        }
        seen.insert(word);
    }
    let unused = not_reasons.iter().filter(|word| !seen.contains(*word));
    problems.extend(unused.map(|word| format!("{NOT_REASONS}: no source contains {word}")));
    problems
}

#[test]
fn the_page_has_a_row_for_each_reason() {
    let problems = problems_of_reasons(&Sources::of_programs(), &text(PAGE), &not_reasons());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn each_difference_of_reasons_is_found() {
    let page = "| reason | remedy |\n|---|---|\n| `Red` | x |\n| `<kind>Made`, `Blue` | `Other` |\n";
    let code = "mod reasons { const RED: &str = \"Red\"; const MADE: &str = \"Made\"; const BLUE: &str = \"Blue\"; }\n\
                fn f() { (reasons::RED, reasons::MADE, reasons::BLUE, \"Pod\", \"a\") }";
    let not_reasons = BTreeSet::from(["Pod".to_owned()]);
    let check = |code: &str, page: &str| {
        let mut sources = Sources::default();
        sources.add("a.rs", code);
        problems_of_reasons(&sources, page, &not_reasons)
    };
    assert_eq!(check(code, page), [""; 0]);
    for (code, page, problem) in [
        (code.to_owned(), page.replace("| `Red` | x |\n", ""), "no row for the reason Red"),
        (code.to_owned(), page.replace(", `Blue`", ""), "no row for the reason Blue"),
        (code.to_owned(), page.replace("`Red`", "`Red`, `Green`"), "has a row for Green"),
        (code.replace("\"a\"", "\"Green\""), page.to_owned(), "\"Green\" may be a reason"),
        (
            code.replace("\"a\"", "format!(\"{kind}Green\")"),
            page.to_owned(),
            "\"{kind}Green\" may be a reason",
        ),
        (code.replace("\"a\"", "json!({\"reason\": \"Red\"})"), page.to_owned(), "\"Red\" is a reason"),
        (code.replace("(reasons::RED, ", "("), page.to_owned(), "no code writes the reason Red"),
        (code.replace("\"Pod\"", "1"), page.to_owned(), "no source contains Pod"),
    ] {
        let problems = check(&code, &page);
        assert!(problems.iter().any(|found| found.contains(problem)), "{problem}: {problems:?}");
    }
}

/// A reason that the code no longer has is not in the text of the page, nor in a table of another page.
#[test]
fn every_reason_that_the_pages_name_exists() {
    let sources = Sources::of_programs();
    let mut known = not_reasons();
    known.extend(sources.reasons.iter().map(|(_, value)| value.clone()));
    known.extend(EXAMPLES.iter().chain(&OF_KUBERNETES).map(|word| (*word).to_owned()));
    let page = text(PAGE);
    // The messages below contain other words.
    let before_messages = page.split_once("\n## Messages of denied JobSets\n").unwrap().0;
    let prose = lines(before_messages).into_iter().filter(|(_, in_code)| !in_code);
    let of_page = prose.flat_map(|(line, _)| line.split('`').skip(1).step_by(2));
    let of_page = of_page.map(|word| (PAGE.to_owned(), word.to_owned()));
    let of_tables = pages().into_iter().flat_map(|page| {
        let reasons = first_column(&text(&page), "reason");
        reasons.into_iter().map(move |reason| (page.clone(), reason))
    });
    let of_tables: Vec<_> = of_tables.collect();
    assert!(of_tables.iter().any(|(page, _)| page == "docs/gang-scheduling.md"));
    let unknown = |word: &str| can_be_reason(word) && !known.contains(word);
    let problems: Vec<_> = of_page
        .chain(of_tables)
        .map(|(page, word)| (page, fixed_part(&word)))
        .filter(|(_, word)| unknown(word))
        .map(|(page, word)| format!("{page}: no source contains {word}"))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A failure policy accepts these reasons, and `jobset_restarts_total` has them as label.
#[test]
fn the_page_has_a_row_for_each_reason_of_a_failed_job() {
    let file = "crates/jobset-plan/src/validation/failure_policy.rs";
    let mut sources = Sources::default();
    sources.add(file, &text(file));
    let literals = sources.literals.into_iter().map(|(_, literal)| literal);
    let accepted: BTreeSet<String> = literals.filter(|literal| can_be_reason(literal)).collect();
    let listed = first_column(&text(PAGE), "reason of the Job").into_iter().collect();
    assert_eq!(accepted, listed);
}

/// The page refers to the runbook for remedies.
#[test]
fn the_runbook_has_a_remedy_for_each_reason_of_degraded() {
    let (page, runbook) = (text(PAGE), text("docs/runbooks/JobSetOperatorDegraded.md"));
    let of_degraded =
        page.split_once("\nReasons of `Degraded` True.").unwrap().1.split_once("\n## ").unwrap().0;
    let mut reasons: BTreeSet<String> = first_column(of_degraded, "reason").into_iter().collect();
    assert!(reasons.len() > 10, "{reasons:?}");
    // Also the reason of the two part conditions.
    reasons.insert("SyncError".to_owned());
    assert_eq!(first_column(&runbook, "reason").into_iter().collect::<BTreeSet<_>>(), reasons);
}

/// The page names every type of a condition.
#[test]
fn the_page_names_each_condition() {
    let page = text(PAGE);
    for file in
        ["crates/jobset-api/src/conditions.rs", "crates/jobset-operator/src/desired/condition_types.rs"]
    {
        let mut sources = Sources::default();
        sources.add(file, &text(file));
        assert!(!sources.literals.is_empty(), "{file}");
        for (_, condition) in sources.literals.iter().filter(|(_, literal)| can_be_reason(literal)) {
            assert!(page.contains(&format!("`{condition}`")) || is_status(condition), "{PAGE}: {condition}");
        }
    }
}

fn is_status(word: &str) -> bool {
    ["True", "False"].contains(&word)
}

/// The sentences with which requests are denied: file, and text with `…` for each placeholder.
fn refusals(sources: &Sources) -> Vec<(String, String)> {
    // A text with a space before it continues another one.
    let is_sentence = |text: &str| text.split_whitespace().count() > 2 && !text.starts_with(' ');
    let in_code =
        sources.literals.iter().filter(|(file, _)| REFUSALS.iter().any(|prefix| file.starts_with(prefix)));
    let in_code = in_code.map(|(file, text)| (file.clone(), without_placeholders(text)));
    in_code.chain(rules_of_crds()).filter(|(_, text)| is_sentence(text)).collect()
}

/// The messages of the validation rules in the CRDs.
fn rules_of_crds() -> Vec<(String, String)> {
    fn walk(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        let rules = value.get("x-kubernetes-validations").and_then(serde_json::Value::as_array);
        for rule in rules.into_iter().flatten() {
            found.extend(rule["message"].as_str().map(str::to_owned));
        }
        match value {
            serde_json::Value::Object(fields) => fields.values().for_each(|value| walk(value, found)),
            serde_json::Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut all = BTreeMap::new();
    for file in crate::files("manifests/crds").into_iter().filter(|file| has_extension(file, "yaml")) {
        let mut found = BTreeSet::new();
        walk(&serde_yaml::from_str(&text(&file)).unwrap(), &mut found);
        all.extend(found.into_iter().map(|message| (message, file.clone())));
    }
    assert!(!all.is_empty());
    all.into_iter().map(|(message, file)| (file, message)).collect()
}

/// Whether a message on the page, in which `…` replaces any text, is part of a sentence.
fn is_part(message: &str, sentence: &str) -> bool {
    let mut rest = sentence;
    message.split('…').all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[test]
fn the_page_has_a_row_for_each_message_of_a_denied_request() {
    let sources = Sources::of_programs();
    let (page, refusals) = (text(PAGE), refusals(&sources));
    let listed = first_column(&page, "message");
    let mut problems = Vec::new();
    for (file, sentence) in &refusals {
        if !listed.iter().any(|message| is_part(message, sentence)) {
            problems.push(format!("{PAGE} has no row for this message of {file}: {sentence}"));
        }
    }
    let all: Vec<_> = sources.literals.iter().map(|(_, text)| without_placeholders(text)).collect();
    for message in &listed {
        let is_written =
            all.iter().chain(refusals.iter().map(|(_, text)| text)).any(|it| is_part(message, it));
        if !is_written {
            problems.push(format!("{PAGE} has a row for this message, which no source contains: {message}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));

    for file in REFUSALS {
        assert!(refusals.iter().any(|(found, _)| found.starts_with(file)), "{file}");
    }
    assert!(is_part("too long: … bytes", "it is too long: … bytes, at most"));
    assert!(!is_part("too long: … bytes", "bytes too long: …"));
}
