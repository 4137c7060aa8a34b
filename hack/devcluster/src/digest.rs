//! Digests as short names.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The first `bytes` bytes of the SHA-256 digest of the concatenated parts, in hexadecimal.
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
    fn the_digest_covers_all_parts() {
        // SHA-256 of "abc", from FIPS 180-2.
        assert_eq!(super::short(["a", "bc"], 4), "ba7816bf");
    }
}
