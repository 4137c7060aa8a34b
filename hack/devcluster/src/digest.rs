//! Short names made of digests.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The first hexadecimal digits, two for each of `bytes`, of the SHA-256 digest over these parts.
pub(crate) fn short<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>, bytes: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().take(bytes).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_digest_is_that_of_all_parts() {
        // sha256("abc") as FIPS 180-2 gives it.
        assert_eq!(super::short(["a", "bc"], 4), "ba7816bf");
    }
}
