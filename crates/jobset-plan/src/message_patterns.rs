//! `onJobFailureMessagePatterns`: regular expressions in the syntax of RE2, found anywhere in a message.
//!
//! Users write for Go's engine. The `regex` crate reads nearly the same language, but for a few points, which
//! [`translate`] turns into its own:
//!
//! | RE2 | here |
//! |---|---|
//! | `\d \w \s \b` and their opposites mean ASCII | Unicode, unless told otherwise |
//! | a `{` that begins no repetition is a brace | an error |
//! | `\Q…\E` quotes | an error |
//! | `\<` and `\>` are characters | ends of a word |
//! | within `[…]`, `[`, `&&`, `--` and `~~` are characters | set operations |

use regex::bytes::Regex;

/// Whether any pattern is found in `message`, or there is none. One that does not compile matches nothing.
pub(crate) fn any_found(patterns: &[String], message: &str) -> bool {
    patterns.is_empty()
        || patterns
            .iter()
            .any(|pattern| compile(pattern).is_ok_and(|regex| regex.is_match(message.as_bytes())))
}

/// Compiles a pattern written for RE2.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&translate(pattern))
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(next) = rest.chars().next() {
        let after = rest.get(next.len_utf8()..).unwrap_or("");
        match next {
            '\\' => rest = escape(after, in_class, &mut out),
            '[' if in_class => {
                // A named class such as [:alpha:] is the same in both.
                let named = after.starts_with(':').then(|| after.find(":]")).flatten();
                if let Some(end) = named {
                    let length = end + 2;
                    out.push('[');
                    out.push_str(after.get(..length).unwrap_or(""));
                    rest = after.get(length..).unwrap_or("");
                } else {
                    out.push_str("\\[");
                    rest = after;
                }
            }
            '[' => {
                in_class = true;
                out.push('[');
                rest = after;
                if let Some(negated) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = negated;
                }
                if let Some(literal) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = literal;
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
                rest = after;
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(next);
                rest = after;
            }
            '-' if in_class && after.starts_with('-') => {
                out.push_str("\\-");
                rest = after;
            }
            '{' if !in_class && !is_repetition(after) => {
                out.push_str("\\{");
                rest = after;
            }
            _ => {
                out.push(next);
                rest = after;
            }
        }
    }
    out
}

/// Writes the escape that `rest`, behind a backslash, begins with. Returns what follows it.
fn escape<'a>(rest: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(next) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = rest.get(next.len_utf8()..).unwrap_or("");
    let meaning = match (next, in_class) {
        ('d', true) => "0-9",
        ('w', true) => "0-9A-Za-z_",
        ('s', true) => "\\t\\n\\x0C\\r ",
        ('d', false) => "[0-9]",
        ('w', false) => "[0-9A-Za-z_]",
        ('s', false) => "[\\t\\n\\x0C\\r ]",
        ('D', _) => "[^0-9]",
        ('W', _) => "[^0-9A-Za-z_]",
        ('S', _) => "[^\\t\\n\\x0C\\r ]",
        ('b', false) => "(?-u:\\b)",
        ('B', false) => "(?-u:\\B)",
        ('Q', false) => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        // Here `\<` and `\>` would be the ends of a word.
        ('<', _) => "<",
        ('>', _) => ">",
        _ => {
            out.push('\\');
            out.push(next);
            return after;
        }
    };
    out.push_str(meaning);
    after
}

/// Whether what follows a `{` makes it a repetition: `n}`, `n,}` or `n,m}`.
fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match inside.split_once(',') {
        None => number(inside),
        Some((from, to)) => number(from) && (to.is_empty() || number(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_re2() {
        for (pattern, message, found) in [
            ("exit code 1", "pod failed with exit code 1 on node", true),
            ("^exit", "pod exit", false),
            (r"code \d+$", "code 42", true),
            (r"code \d+$", "code ٤٢", false),
            (r"^\w+$", "größe", false),
            (r"^[\w-]+$", "a-b_1", true),
            (r"\bfail\b", "did fail here", true),
            ("a{", "a{", true),
            ("a{2}", "aa", true),
            ("{x}", "{x}", true),
            (r"\Qa.b\E.", "a.bc", true),
            (r"\Qa.b\E", "axb", false),
            ("[a&&b]+", "&&", true),
            ("[[]", "[", true),
            ("[]a]", "]", true),
            ("[^]a]", "b", true),
            ("[[:digit:]]{2}", "12", true),
            ("(?i)OOM", "oom killed", true),
            (r"[^\s]", " ", false),
            (r"[\D]", "7", false),
            (r"\Bail", "did fail", true),
            ("^größ.$", "größe", true),
            (r"\<none\>", "image <none>", true),
            (r"\<none\>", "image none", false),
            (r"[\<]", "<", true),
            (r"\_\ \%\/\-\#\'", "_ %/-#'", true),
            (r"a{,2}", "a{,2}", true),
            (r"[\s\S]", "\n", true),
            (r"^[^\W]$", "_", true),
            (r"(?s)^.$", "\n", true),
            ("^a.c$", "a\nc", false),
            ("(?m)^b$", "a\nb", true),
            (r"\x41\pL\A?", "Ab", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.is_match(message.as_bytes()), found, "{pattern:?} in {message:?}");
        }
    }

    #[test]
    fn what_does_not_compile_matches_nothing() {
        assert!(!any_found(&["(".to_owned()], "("));
        assert!(any_found(&["(".to_owned(), "b".to_owned()], "abc"));
        assert!(any_found(&[], "anything"));
    }
}
