//! Field errors with the texts of Kubernetes. Clients and their tests match these texts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;
use regex::Regex;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    io,
    sync::LazyLock,
};

/// Maximum length of a value in an error, as JSON, in bytes. Longer values are truncated.
const VALUE_MAX: usize = 16 * 1024;

/// The type of a field error (Kubernetes: `field.ErrorType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The value breaks a rule.
    Invalid,
    /// The value is valid at another time or in another object.
    Forbidden,
    /// The value is missing.
    Required,
    /// The value is too long. The text does not contain the value.
    TooLong,
    /// The list is too long. The text contains its length.
    TooMany,
    /// The cause is not the value, or not a single field.
    Internal,
}

impl ErrorType {
    fn text(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid value",
            Self::Forbidden => "Forbidden",
            Self::Required => "Required value",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    /// The machine-readable reason of a cause in a `metav1.Status`.
    fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "FieldValueInvalid",
            Self::Forbidden => "FieldValueForbidden",
            Self::Required => "FieldValueRequired",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
        }
    }
}

/// One error about one field. Displays as `<path>: <type>: <value>: <detail>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    error_type: ErrorType,
    field: String,
    value: Option<String>,
    detail: String,
}

impl FieldError {
    /// A string that breaks a rule. The error shows it in quotes.
    pub fn invalid_text(field: impl Into<String>, value: &str, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, field, Some(quote(value)), detail)
    }

    /// Another value that breaks a rule. The error shows it as JSON.
    pub fn invalid<T: Serialize + ?Sized>(
        field: impl Into<String>,
        value: &T,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(ErrorType::Invalid, field, Some(json(value)), detail)
    }

    /// A change that is not allowed now.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, field, None, detail)
    }

    /// A missing value.
    pub fn required(field: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, field, None, "")
    }

    /// A string of more than `max` bytes.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self::new(ErrorType::TooLong, field, None, format!("may not be more than {max} bytes"))
    }

    /// A list of `count` items, more than `max`.
    pub fn too_many(field: impl Into<String>, count: i64, max: i64) -> Self {
        let detail = format!("must have at most {max} items");
        Self::new(ErrorType::TooMany, field, Some(count.to_string()), detail)
    }

    /// An error that the field does not cause.
    pub fn internal(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Internal, field, None, detail)
    }

    /// An error without a field. For JobSet clients, these are internal errors with the path `<nil>`.
    pub fn plain(detail: impl Into<String>) -> Self {
        Self::internal("<nil>", detail)
    }

    fn new(
        error_type: ErrorType,
        field: impl Into<String>,
        value: Option<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { error_type, field: field.into(), value, detail: detail.into() }
    }

    /// Type of the error.
    pub fn error_type(&self) -> ErrorType {
        self.error_type
    }

    /// Path of the field, such as `spec.replicatedJobs[0].name`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The text without the path.
    pub fn body(&self) -> String {
        let mut text = self.error_type.text().to_owned();
        if let Some(value) = &self.value {
            let _ = write!(text, ": {value}");
        }
        if !self.detail.is_empty() {
            let _ = write!(text, ": {}", self.detail);
        }
        text
    }

    /// The error as a cause in the details of a `metav1.Status`.
    pub fn cause(&self) -> StatusCause {
        StatusCause {
            field: Some(self.field.clone()),
            message: Some(self.body()),
            reason: Some(self.error_type.reason().to_owned()),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

/// The text of several errors: the text of a single error, or `[a, b]`. Repeated texts occur once.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut seen = BTreeSet::new();
    let texts: Vec<String> =
        errors.iter().map(ToString::to_string).filter(|text| seen.insert(text.clone())).collect();
    match texts.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// A list as the value of an error: `null` if it is empty. Go clients omit an empty list of a JobSet, and Go shows an
/// omitted list as `null`.
pub(super) fn shown_list<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

/// A string in double quotes, with the escapes of Go's `%q`.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            ' ' => quoted.push(' '),
            c if is_graphic(c) => quoted.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0x7f => write!(quoted, "\\x{code:02x}"),
                    0x80..=0xffff => write!(quoted, "\\u{code:04x}"),
                    _ => write!(quoted, "\\U{code:08x}"),
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether Go's `%q` keeps the character: a letter, mark, number, punctuation or symbol.
fn is_graphic(c: char) -> bool {
    static GRAPHIC: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^[\p{L}\p{M}\p{N}\p{P}\p{S}]$").ok());
    if c.is_ascii() {
        return c.is_ascii_graphic();
    }
    GRAPHIC.as_ref().is_some_and(|graphic| graphic.is_match(c.encode_utf8(&mut [0; 4])))
}

/// A value in the format of Go's encoding/json, which escapes `<`, `>`, `&` and the two line separators. These occur
/// only inside strings, so it is safe to replace them in the whole text. A text of more than [`VALUE_MAX`] bytes is
/// truncated, because many errors can contain the same large value.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut head = Head(Vec::new());
    let complete = serde_json::to_writer(&mut head, value).is_ok();
    let mut text = String::from_utf8_lossy(&head.0)
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    if !complete {
        text.push_str("...");
    }
    text
}

/// Keeps the first [`VALUE_MAX`] bytes and rejects the rest.
struct Head(Vec<u8>);

impl io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let kept = bytes.len().min(VALUE_MAX - self.0.len());
        self.0.extend(bytes.iter().take(kept));
        Ok(kept) // On zero, `write_all` returns an error.
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_the_text_of_kubernetes() {
        for (error, text, reason) in [
            (
                FieldError::invalid_text("spec.managedBy", "a\"b", "no"),
                r#"spec.managedBy: Invalid value: "a\"b": no"#,
                "FieldValueInvalid",
            ),
            (FieldError::invalid("a.b[0]", &7, "no"), "a.b[0]: Invalid value: 7: no", "FieldValueInvalid"),
            (FieldError::invalid("a", &None::<i32>, "no"), "a: Invalid value: null: no", "FieldValueInvalid"),
            (
                FieldError::invalid("a", &["x<y>&"], "no"),
                r#"a: Invalid value: ["x\u003cy\u003e\u0026"]: no"#,
                "FieldValueInvalid",
            ),
            (FieldError::forbidden("a", "no"), "a: Forbidden: no", "FieldValueForbidden"),
            (FieldError::required("a"), "a: Required value", "FieldValueRequired"),
            (
                FieldError::too_long("a", 63),
                "a: Too long: may not be more than 63 bytes",
                "FieldValueTooLong",
            ),
            (
                FieldError::too_many("a", 9, 8),
                "a: Too many: 9: must have at most 8 items",
                "FieldValueTooMany",
            ),
            (FieldError::internal("a", "no"), "a: Internal error: no", "InternalError"),
            (FieldError::plain("no"), "<nil>: Internal error: no", "InternalError"),
        ] {
            assert_eq!(error.to_string(), text);
            let cause = error.cause();
            assert_eq!(cause.reason.as_deref(), Some(reason), "{text}");
            let rebuilt = format!("{}: {}", cause.field.unwrap(), cause.message.unwrap());
            assert_eq!(rebuilt, text);
        }
    }

    #[test]
    fn an_aggregate_lists_each_text_once() {
        let (a, b) = (FieldError::plain("a"), FieldError::plain("b"));
        for (errors, text) in [
            (vec![a.clone()], "<nil>: Internal error: a"),
            (vec![a.clone(), a.clone()], "<nil>: Internal error: a"),
            (vec![b.clone(), a, b], "[<nil>: Internal error: b, <nil>: Internal error: a]"),
        ] {
            assert_eq!(aggregate(&errors), text);
        }
    }

    #[test]
    fn quotes_have_the_escapes_of_go() {
        for (text, quoted) in [
            ("", r#""""#),
            ("it's \\", r#""it's \\""#),
            ("\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""\a\b\f\n\r\t\v""#),
            ("\u{0}\u{7f}", r#""\x00\x7f""#),
            ("ü日\u{301}🚀", "\"ü日\u{301}🚀\""),
            ("\u{a0}\u{200b}\u{e0001}", r#""\u00a0\u200b\U000e0001""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn a_large_value_is_truncated() {
        let small = vec!["x"; 100];
        assert!(FieldError::invalid("a", &small, "no").to_string().ends_with(r#""x","x"]: no"#));
        let large = vec!["\u{fc}"; 100_000];
        let text = FieldError::invalid("a", &large, "no").to_string();
        assert!(text.ends_with("...: no"), "{}", &text[text.len() - 40..]);
        assert!(text.len() < VALUE_MAX + 100, "{}", text.len());
    }
}
