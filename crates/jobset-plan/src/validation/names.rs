//! The rules of Kubernetes for names, with the messages of its libraries. Lengths are in bytes.

use super::FieldError;

/// Maximum length of a DNS label and of a label value (Kubernetes).
pub(crate) const LABEL_MAX: usize = 63;
/// Maximum length of a DNS subdomain (Kubernetes).
const SUBDOMAIN_MAX: usize = 253;
/// Maximum length of a generated name before its random suffix (Kubernetes: 63 minus the suffix).
const GENERATE_NAME_MAX: usize = 58;
/// Placeholder for the random suffix. Only its length matters.
const GENERATED_SUFFIX: &str = "xxxxx";

const DNS_1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
     with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
     regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const DNS_1123_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
     characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex \
     used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', \
     '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or \
     '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const DOMAIN_PREFIXED_PATH: &str = "must be a domain-prefixed path (such as \"acme.io/foo\")";
const HTTP_PATH: &str = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";

/// The name of an object, or a name with the length that the API server will generate. With `generateName`, the random
/// suffix is a placeholder.
pub(crate) fn name_or_generated(name: Option<&str>, generate_name: Option<&str>) -> String {
    match (name.unwrap_or(""), generate_name.unwrap_or("")) {
        ("", "") => String::new(),
        ("", base) => {
            let base = base.get(..base.floor_char_boundary(GENERATE_NAME_MAX)).unwrap_or(base);
            format!("{base}{GENERATED_SUFFIX}")
        }
        (name, _) => name.to_owned(),
    }
}

/// Checks that a text is an RFC 1035 DNS label, the rule for names of Services, Jobs and host names. `too_long` is the
/// message for more than 63 bytes, because JobSet has its own messages.
pub fn dns_1035_label<'a>(text: &str, too_long: &'a str) -> Vec<&'a str> {
    let bytes = text.as_bytes();
    let well_formed = bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last() != Some(&b'-')
        && bytes.iter().all(|byte| is_lower_alphanumeric(*byte) || *byte == b'-');
    let mut messages = Vec::new();
    if bytes.len() > LABEL_MAX {
        messages.push(too_long);
    }
    if !well_formed {
        messages.push(DNS_1035_LABEL);
    }
    messages
}

/// Checks that a text is an RFC 1123 DNS subdomain, the rule for most names in Kubernetes.
pub fn dns_1123_subdomain(text: &str) -> Vec<&'static str> {
    let well_formed = text.split('.').all(|label| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(is_lower_alphanumeric)
            && bytes.last().copied().is_some_and(is_lower_alphanumeric)
            && bytes.iter().all(|byte| is_lower_alphanumeric(*byte) || *byte == b'-')
    });
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        messages.push("must be no more than 253 characters");
    }
    if !well_formed {
        messages.push(DNS_1123_SUBDOMAIN);
    }
    messages
}

/// Checks that a text is a valid label value.
pub(crate) fn label_value(text: &str) -> Vec<&'static str> {
    let bytes = text.as_bytes();
    let well_formed = bytes.first().is_none_or(u8::is_ascii_alphanumeric)
        && bytes.last().is_none_or(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let mut messages = Vec::new();
    if bytes.len() > LABEL_MAX {
        messages.push("must be no more than 63 bytes");
    }
    if !well_formed {
        messages.push(LABEL_VALUE);
    }
    messages
}

/// Checks that a text is a path with a domain prefix, such as `acme.io/foo`.
pub(crate) fn domain_prefixed_path(field: &str, text: &str) -> Vec<FieldError> {
    if text.is_empty() {
        return vec![FieldError::required(field)];
    }
    let (host, path) = match text.split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => (host, path),
        _ => return vec![FieldError::invalid_text(field, text, DOMAIN_PREFIXED_PATH)],
    };
    let mut errors: Vec<FieldError> = dns_1123_subdomain(host)
        .into_iter()
        .map(|message| FieldError::invalid_text(field, host, message))
        .collect();
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)) {
        errors.push(FieldError::invalid_text(field, path, HTTP_PATH));
    }
    errors
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL_TOO_LONG: &str = "the label is too long";

    #[test]
    fn dns_1035_labels() {
        for good in ["a", "a1", "a-1", "js-w-0", &"a".repeat(63)] {
            assert!(dns_1035_label(good, LABEL_TOO_LONG).is_empty(), "{good}");
        }
        for bad in ["", "1a", "-a", "a-", "A", "a.b", "a_b", "ä", "a\n"] {
            assert_eq!(dns_1035_label(bad, LABEL_TOO_LONG), [DNS_1035_LABEL], "{bad}");
        }
        assert_eq!(dns_1035_label(&"a".repeat(64), LABEL_TOO_LONG), [LABEL_TOO_LONG]);
        assert_eq!(dns_1035_label(&"A".repeat(64), "custom message"), ["custom message", DNS_1035_LABEL]);
        assert!(DNS_1035_LABEL.ends_with(
            "end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
             '[a-z]([-a-z0-9]*[a-z0-9])?')"
        ));
    }

    #[test]
    fn dns_1123_subdomains() {
        for good in ["a", "1", "a.b", "example.com", "1-1.x", &"a".repeat(253)] {
            assert!(dns_1123_subdomain(good).is_empty(), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a-.b", "-a", "A", "a_b", "é"] {
            assert_eq!(dns_1123_subdomain(bad), [DNS_1123_SUBDOMAIN], "{bad}");
        }
        assert_eq!(dns_1123_subdomain(&"a".repeat(254)), ["must be no more than 253 characters"]);
        assert!(DNS_1123_SUBDOMAIN.ends_with(
            "(e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ));
    }

    #[test]
    fn label_values() {
        for good in ["", "A", "a.b_c-d", "12345", &"a".repeat(63)] {
            assert!(label_value(good).is_empty(), "{good}");
        }
        for bad in ["-a", "a.", "_", "a b", "ä"] {
            assert_eq!(label_value(bad), [LABEL_VALUE], "{bad}");
        }
        assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(label_value(&"-".repeat(64)), ["must be no more than 63 bytes", LABEL_VALUE]);
        assert!(LABEL_VALUE.ends_with(
            "(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        ));
    }

    #[test]
    fn domain_prefixed_paths() {
        for good in ["acme.io/foo", "kueue.x-k8s.io/multikueue", "a/b/c", "a/%20!$&'()*+,;=:~"] {
            assert!(domain_prefixed_path("f", good).is_empty(), "{good}");
        }
        for (bad, error) in [
            ("", "f: Required value".to_owned()),
            (
                "foo",
                r#"f: Invalid value: "foo": must be a domain-prefixed path (such as "acme.io/foo")"#
                    .to_owned(),
            ),
            (
                "/foo",
                r#"f: Invalid value: "/foo": must be a domain-prefixed path (such as "acme.io/foo")"#
                    .to_owned(),
            ),
            (
                "foo/",
                r#"f: Invalid value: "foo/": must be a domain-prefixed path (such as "acme.io/foo")"#
                    .to_owned(),
            ),
            ("A.io/foo", format!("f: Invalid value: \"A.io\": {DNS_1123_SUBDOMAIN}")),
            (
                "a.io/f oo",
                "f: Invalid value: \"f oo\": Invalid path (regex used for validation is \
                 '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"
                    .to_owned(),
            ),
        ] {
            let errors: Vec<String> =
                domain_prefixed_path("f", bad).iter().map(ToString::to_string).collect();
            assert_eq!(errors, [error], "{bad}");
        }
        assert_eq!(domain_prefixed_path("f", "A/ ").len(), 2, "host and path are both reported");
    }

    #[test]
    fn a_generated_name_includes_a_suffix_of_five_characters() {
        assert_eq!(name_or_generated(Some("js"), Some("other-")), "js");
        assert_eq!(name_or_generated(Some(""), Some("js-")).len(), 8);
        assert_eq!(name_or_generated(None, Some(&"a".repeat(70))).len(), 63);
        assert_eq!(name_or_generated(None, Some(&"ä".repeat(40))).len(), 63);
        assert_eq!(name_or_generated(None, None), "");
    }
}
