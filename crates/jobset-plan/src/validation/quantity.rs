//! Quantities (`500m`, `1Gi`, `1e3`) as numbers, for comparison. Crates that parse quantities depend on another version
//! of k8s-openapi, so this module implements the small part that equality needs.

use serde_json::Value;

/// A quantity in billionths. Kubernetes keeps no more digits and rounds away from zero. Returns `None` for an invalid
/// quantity, and for one that is too large to compare as a number.
fn billionths(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let mut value: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let (decimal, binary) = exponents(suffix)?;
    value = value.checked_mul(1_i128.checked_shl(binary)?)?;
    let shift = decimal.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = |exponent: i32| 10_i128.checked_pow(exponent.unsigned_abs());
    value = match power(shift) {
        _ if value == 0 => 0,
        Some(power) if shift >= 0 => value.checked_mul(power)?,
        Some(power) => value / power + i128::from(value % power != 0),
        None if shift < 0 => 1, // Less than a billionth, but not zero.
        None => return None,
    };
    Some(if negative { -value } else { value })
}

/// The powers of ten and of two that a suffix represents.
fn exponents(suffix: &str) -> Option<(i32, u32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        exponent => (exponent.strip_prefix(['e', 'E'])?.parse().ok()?, 0),
    })
}

/// The normal form of a quantity: equal quantities have the same normal form. Other values stay unchanged.
pub(super) fn normal_form(value: Value) -> Value {
    match value.as_str().and_then(billionths) {
        Some(number) => Value::String(number.to_string()),
        None => value,
    }
}

/// Whether a normal form is zero.
pub(super) fn is_zero(normal_form: &str) -> bool {
    normal_form == "0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_quantities_have_the_same_number() {
        for (a, b) in [
            ("1", "1000m"),
            ("1", "1.0"),
            ("1", "+1"),
            ("0", "0Gi"),
            ("0", "-0"),
            ("0", ".0"),
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("1k", "1e3"),
            ("1k", "1E3"),
            ("1E", "1e18"),
            ("100m", "0.1"),
            ("5.", "5"),
            ("0.5Ki", "512"),
            ("1n", "0.0000000001"),
            ("-2n", "-0.0000000011"),
            ("1n", "1e-99"),
        ] {
            assert!(billionths(a).is_some(), "{a}");
            assert_eq!(billionths(a), billionths(b), "{a} {b}");
        }
    }

    #[test]
    fn different_quantities_have_different_numbers() {
        for (a, b) in [
            ("1", "-1"),
            ("1", "1m"),
            ("1G", "1Gi"),
            ("1M", "1m"),
            ("9223372036854775807", "9223372036854775806"),
        ] {
            assert_ne!(billionths(a), billionths(b), "{a} {b}");
        }
    }

    #[test]
    fn invalid_quantities_have_no_number() {
        for text in
            ["", "-", ".", "x", "1x", "1 ", "1..2", "1.2.3", "1Kii", "1e", "1e1.5", "ä", "1ä", "--1", "+-1"]
        {
            assert_eq!(billionths(text), None, "{text}");
        }
        let huge = "9".repeat(60);
        for text in [huge.as_str(), "1e999999999", "1e2147483647", "1e99999999999", "999999999999Ei"] {
            assert_eq!(billionths(text), None, "{text}");
            assert_eq!(normal_form(Value::from(text)), Value::from(text));
        }
    }
}
