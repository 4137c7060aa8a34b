//! UIDs of objects, in 16 bytes instead of 36.

use std::fmt;

/// The UID of an object. Kubernetes generates UUIDs, but does not promise that a UID is one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    /// A UUID in its canonical form: 32 lowercase digits in groups of 8, 4, 4, 4 and 12.
    Uuid([u8; 16]),
    Other(Box<str>),
}

/// The number of bytes in each group of a UUID.
const GROUPS: [usize; 5] = [4, 2, 2, 2, 6];

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(uuid(text).map_or_else(|| Form::Other(text.into()), Form::Uuid))
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    let mut bytes = uuid.iter_mut();
    let mut groups = text.split('-');
    for length in GROUPS {
        let (digits, rest) = groups.next()?.as_bytes().as_chunks::<2>();
        if digits.len() != length || !rest.is_empty() {
            return None;
        }
        for [high, low] in digits {
            *bytes.next()? = digit(*high)? << 4 | digit(*low)?;
        }
    }
    groups.next().is_none().then_some(uuid)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Other(text) => f.write_str(text),
            Form::Uuid(bytes) => {
                let mut bytes = bytes.iter();
                for (number, length) in GROUPS.into_iter().enumerate() {
                    if number > 0 {
                        f.write_str("-")?;
                    }
                    for byte in bytes.by_ref().take(length) {
                        write!(f, "{byte:02x}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_kept() {
        let uuid = "5f0c9b1e-2222-4333-8444-0000000000af";
        assert!(matches!(Uid::from(uuid).0, Form::Uuid(_)));
        for other in [
            "",
            "uid-of-train",
            "5F0C9B1E-2222-4333-8444-0000000000AF",
            "5f0c9b1e222243338444000000000af0",
            "5f0c9b1e-2222-4333-8444-0000000000af-",
            "5f0c9b1-e2222-4333-8444-0000000000af",
            "5f0c9b1e-2222-4333-8444-0000000000ag",
            "5f0c9b1e-2222-4333-8444-0000000000a",
        ] {
            assert!(matches!(Uid::from(other).0, Form::Other(_)), "{other}");
            assert_eq!(Uid::from(other).to_string(), other);
        }
        assert_eq!(Uid::from(uuid).to_string(), uuid);
        assert_eq!(size_of::<Option<Uid>>(), 24);
    }
}
