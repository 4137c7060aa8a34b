//! Texts that many records contain, each stored once.

use std::{collections::HashSet, sync::Arc};

/// Short texts, such as the names of topology domains.
#[derive(Default)]
pub(super) struct SharedTexts {
    texts: HashSet<Arc<str>>,
    /// The number of texts after which unused ones are removed.
    limit: usize,
}

impl SharedTexts {
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        if self.texts.len() >= self.limit {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.limit = self.texts.len() * 2 + 64;
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }

    /// The texts, and the number that fits without another allocation.
    #[cfg(test)]
    pub(super) fn stored(&self) -> (impl Iterator<Item = &Arc<str>>, usize) {
        (self.texts.iter(), self.texts.capacity())
    }
}
