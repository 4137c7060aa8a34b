//! `onJobFailureMessagePatterns`: regular expressions in RE2 syntax that match anywhere in a message.
//!
//! The JobSet API specifies Go's syntax. The syntax of the `regex` crate differs in some points, so this module parses
//! a pattern like Go's package regexp and translates it for the crate:
//!
//! | RE2 | `regex` crate |
//! |---|---|
//! | `\d \w \s \b` and their negations match ASCII | match Unicode by default |
//! | a `{` that starts no repetition is a literal | an error |
//! | `\Q…\E` quotes | an error |
//! | `\<` and `\>` are literals | word boundaries |
//! | `\012` and `\0` are octal escapes | errors |
//! | `\p{^Greek}` means `\P{Greek}` | an error |
//! | within `[…]`, `[`, `&&`, `--` and `~~` are literals | set operations |
//! | `a**`, `a{1001}`, `(?x)`, `\u0061` are errors | valid |
//!
//! Some differences remain. Only this module rejects a repetition directly after flags, such as `a(?i)*`, flags without
//! a letter, and two groups with the same name. Only Go rejects nested repetitions that multiply to more than 1000, and
//! classes that are not scripts, such as `\p{Alphabetic}`.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use std::fmt::Write;

/// The number of patterns of one JobSet that the controller uses. The limit bounds the compile time per JobSet.
pub(crate) const MAX_PATTERNS: usize = 1000;
/// The maximum size of a compiled pattern. `.{1000}` needs a third of it. Larger patterns, such as `\pL{1000}`, take
/// too long to compile.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// The patterns of one rule, compiled once for all failed Jobs.
pub(crate) struct Patterns<'a> {
    compiled: Vec<Regex>,
    /// Valid patterns that are too large to compile. They never match. Invalid patterns never match either, but
    /// admission warns about those.
    pub(crate) too_large: Vec<&'a str>,
}

impl<'a> Patterns<'a> {
    /// Compiles the patterns.
    pub(crate) fn of(patterns: impl IntoIterator<Item = &'a String>) -> Self {
        let (mut compiled, mut too_large) = (Vec::new(), Vec::new());
        for pattern in patterns {
            match compile(pattern) {
                Some(regex) => compiled.push(regex),
                None if is_valid(pattern) => too_large.push(pattern.as_str()),
                None => {}
            }
        }
        Self { compiled, too_large }
    }

    /// Whether any of the patterns matches in `message`.
    pub(crate) fn found_in(&self, message: &str) -> bool {
        self.compiled.iter().any(|regex| regex.is_match(message.as_bytes()))
    }
}

/// Whether this is a valid RE2 pattern. This check is fast even for patterns that take long to compile.
pub(crate) fn is_valid(pattern: &str) -> bool {
    translate(pattern)
        .is_some_and(|translation| ParserBuilder::new().utf8(false).build().parse(&translation).is_ok())
}

/// Compiles an RE2 pattern, unless it is invalid or too large.
fn compile(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(&translate(pattern)?).size_limit(MAX_COMPILED_BYTES).build().ok()
}

/// Translates an RE2 pattern into an equivalent pattern for the crate.
fn translate(pattern: &str) -> Option<String> {
    let mut translation = Translation { rest: pattern, out: String::with_capacity(pattern.len() * 2) };
    translation.pattern()?;
    Some(translation.out)
}

/// Names of POSIX classes, such as `[[:alpha:]]`.
const NAMED_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];
/// The maximum repetition count in RE2.
const MAX_REPETITIONS: u32 = 1000;

/// A pattern during translation. Methods return `None` if the pattern is invalid.
struct Translation<'a> {
    rest: &'a str,
    out: String,
}

impl<'a> Translation<'a> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = self.rest.get(next.len_utf8()..).unwrap_or("");
        Some(next)
    }

    /// Consumes `prefix`, if the rest starts with it.
    fn skip(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Consumes the rest up to and including `end`, and returns the text before `end`.
    fn until(&mut self, end: &str) -> Option<&'a str> {
        let (before, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(before)
    }

    /// Writes a literal character.
    fn literal(&mut self, character: char) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "\\x{{{:x}}}", u32::from(character));
    }

    fn pattern(&mut self) -> Option<()> {
        let mut after_repetition = false;
        while let Some(next) = self.next() {
            let is_repetition = match next {
                '*' | '+' | '?' => {
                    self.out.push(next);
                    true
                }
                '{' => self.counted_repetition()?,
                _ => false,
            };
            if is_repetition {
                if after_repetition {
                    return None;
                }
                if self.skip("?") {
                    self.out.push('?');
                }
                after_repetition = true;
                continue;
            }
            after_repetition = false;
            match next {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' | '}' => self.literal(next),
                _ => self.out.push(next),
            }
        }
        Some(())
    }

    /// Translates the rest of `{n}`, `{n,}` or `{n,m}` after the `{`. Returns false if the brace is a literal.
    fn counted_repetition(&mut self) -> Option<bool> {
        let Some((inside, rest)) = self.rest.split_once('}') else { return Some(false) };
        let is_number = |text: &&str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits && (text.len() == 1 || !text.starts_with('0'))
        };
        let (from, to) = inside.split_once(',').unwrap_or((inside, inside));
        if !is_number(&from) || !(to.is_empty() || is_number(&to)) {
            return Some(false);
        }
        self.rest = rest;
        let count = |text: &str| text.parse().ok().filter(|count: &u32| *count <= MAX_REPETITIONS);
        let (least, most) = (count(from)?, if to.is_empty() { MAX_REPETITIONS } else { count(to)? });
        let _ = write!(self.out, "{{{inside}}}");
        (least <= most).then_some(true)
    }

    /// Translates a group after its `(`, up to its flags.
    fn group(&mut self) -> Option<()> {
        self.out.push('(');
        if self.skip("?") {
            self.out.push('?');
            if !self.rest.starts_with(['P', '<']) {
                let end = self.rest.find([':', ')'])?;
                let (flags, rest) = self.rest.split_at_checked(end)?;
                if !flags.chars().all(|flag| "imsU-".contains(flag)) {
                    return None;
                }
                self.out.push_str(flags);
                self.rest = rest;
            }
        }
        Some(())
    }

    /// Translates an escape outside of `[…]`, after the backslash.
    fn escape(&mut self) -> Option<()> {
        if self.class_escape()? {
            return Some(());
        }
        let known = [("A", "\\A"), ("z", "\\z"), ("b", "(?-u:\\b)"), ("B", "(?-u:\\B)")];
        if let Some((_, meaning)) = known.into_iter().find(|(short, _)| self.skip(short)) {
            self.out.push_str(meaning);
        } else if self.skip("Q") {
            let quoted = self.until("\\E").unwrap_or_else(|| std::mem::take(&mut self.rest));
            quoted.chars().for_each(|character| self.literal(character));
        } else {
            let character = self.escaped_character()?;
            self.literal(character);
        }
        Some(())
    }

    /// Translates a class after a backslash, such as `d` or `p{Greek}`. Returns false if the escape is not a class.
    fn class_escape(&mut self) -> Option<bool> {
        const SHORT: [(&str, &str); 6] = [
            ("d", "[0-9]"),
            ("D", "[^0-9]"),
            ("w", "[0-9A-Za-z_]"),
            ("W", "[^0-9A-Za-z_]"),
            ("s", "[\\t\\n\\x0C\\r ]"),
            ("S", "[^\\t\\n\\x0C\\r ]"),
        ];
        if let Some((_, meaning)) = SHORT.into_iter().find(|(short, _)| self.skip(short)) {
            self.out.push_str(meaning);
            return Some(true);
        }
        let mut negated = self.rest.starts_with('P');
        if !self.skip("P") && !self.skip("p") {
            return Some(false);
        }
        let name = if self.skip("{") {
            let name = self.until("}")?;
            negated ^= name.starts_with('^');
            name.strip_prefix('^').unwrap_or(name).to_owned()
        } else {
            self.next()?.to_string()
        };
        if !name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') {
            return None;
        }
        let _ = write!(self.out, "\\{}{{{name}}}", if negated { 'P' } else { 'p' });
        Some(true)
    }

    /// Parses the character after a backslash.
    fn escaped_character(&mut self) -> Option<char> {
        if let Some(character) = self.octal_character() {
            return Some(character);
        }
        match self.next()? {
            'a' => Some('\x07'),
            'f' => Some('\x0C'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0B'),
            'x' => {
                let digits = if self.skip("{") {
                    self.until("}")?
                } else {
                    let (digits, rest) = self.rest.split_at_checked(2)?;
                    self.rest = rest;
                    digits
                };
                let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let number = u32::from_str_radix(digits, 16).ok().filter(|_| hexadecimal)?;
                char::from_u32(number)
            }
            other => (other.is_ascii() && !other.is_ascii_alphanumeric()).then_some(other),
        }
    }

    /// Parses an octal escape of up to three digits. A single digit other than 0 is not an escape: it would be a
    /// backreference, and RE2 has no backreferences.
    fn octal_character(&mut self) -> Option<char> {
        let digits: Vec<u32> = self.rest.chars().map_while(|next| next.to_digit(8)).take(3).collect();
        if digits.len() < 2 && digits != [0] {
            return None;
        }
        self.rest = self.rest.get(digits.len()..).unwrap_or("");
        char::from_u32(digits.iter().fold(0, |number, digit| number * 8 + digit))
    }

    /// Translates a class after its `[`.
    fn class(&mut self) -> Option<()> {
        self.out.push('[');
        if self.skip("^") {
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.skip("]") {
            first = false;
            if !self.named_class()? && !self.class_escape_in_class()? {
                let from = self.class_character()?;
                self.literal(from);
                // A dash at the end of a class is a literal.
                if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                    self.next();
                    let to = self.class_character()?;
                    self.out.push('-');
                    self.literal(to);
                }
            }
        }
        self.out.push(']');
        Some(())
    }

    /// Translates a POSIX class such as `[:alpha:]` within a class. Returns false if none follows.
    fn named_class(&mut self) -> Option<bool> {
        let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Some(false);
        };
        if !NAMED_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return None;
        }
        let _ = write!(self.out, "[:{name}:]");
        self.rest = rest;
        Some(true)
    }

    fn class_escape_in_class(&mut self) -> Option<bool> {
        let before = self.rest;
        let found = self.skip("\\") && self.class_escape()?;
        if !found {
            self.rest = before;
        }
        Some(found)
    }

    fn class_character(&mut self) -> Option<char> {
        if self.skip("\\") { self.escaped_character() } else { self.next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_re2() {
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
            (r"^a\012b$", "a\nb", true),
            (r"^\0$", "\0", true),
            (r"^\08$", "\08", true),
            (r"^\1018$", "A8", true),
            (r"^[\60-\62]+$", "012", true),
            (r"^\377$", "ÿ", true),
            (r"^\p{Greek}\P{Greek}\p{^Greek}\x{e9}\x41$", "αbcéA", true),
            (r"^\P{^Greek}\p{Old_Italic}$", "α𐌀", true),
            ("^[ --]+$", "&- ", true),
            ("^[+--a-]+$", ",a-", true),
            ("^a{01}$", "a{01}", true),
            (r"^a{1000}?$", "a", false),
            (r"^\Qa*\E+$", "a***", true),
            ("(?i:A)(?-s).", "a\n", false),
            ("^[^[:^alpha:]]$", "x", true),
        ] {
            assert!(is_valid(pattern), "{pattern}");
            let regex = compile(pattern).unwrap_or_else(|| panic!("{pattern} does not compile"));
            assert_eq!(regex.is_match(message.as_bytes()), found, "{pattern:?} in {message:?}");
        }
    }

    #[test]
    fn patterns_that_re2_rejects_are_invalid() {
        for pattern in [
            "(",
            ")",
            "[a",
            "*",
            "a**",
            "a*+",
            "a{2}{3}",
            "a{1001}",
            "a{2,1}",
            "(?x)a",
            "(?R)a",
            r"\u0061",
            r"\1",
            r"\8",
            r"\C",
            r"\Z",
            r"\é",
            r"\p{NoSuchScript}",
            r"\p{Greek",
            r"\p{sc=Greek}",
            r"\x{110000}",
            r"\x{}",
            r"\x4",
            "[[:foo:]]",
            r"[a-\d]",
            "[b-a]",
            r"[\b]",
            "\\",
            r"(?=a)",
        ] {
            assert!(!is_valid(pattern) && compile(pattern).is_none(), "{pattern}");
        }
    }

    #[test]
    fn invalid_patterns_never_match() {
        let found = |patterns: &[&str], message| {
            let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            Patterns::of(&patterns).found_in(message)
        };
        assert!(!found(&["("], "("));
        assert!(found(&["(", "b"], "abc"));
        assert!(!found(&[], "anything"));
    }

    #[test]
    fn large_patterns_do_not_compile() {
        assert!(compile(".{1000}").is_some());
        assert!(compile(r"(?:\pL{50}){49}").is_none());
        assert!(compile("((((a{1000}){1000}){1000}){1000}){1000}").is_none());
    }
}
