//! Generators of this project's own text: pre-training documents for the embedded models and the example corpora.
//!
//! Everything follows from a seed and the phrase library (`text/`): no clock, no hash order, no global generator. Documents never
//! use a held-out template; the shipped example's evaluation split uses nothing else.

mod corpora;
mod document;
mod grammar;
mod random;
mod text;

pub use corpora::files;
pub use document::Document;

use grammar::Library;

/// Writes `count` pre-training documents: plain texts and labelled texts of the four sectors.
pub fn documents(seed: u64, count: usize) -> Vec<Document> {
    let library = Library::load();
    (0..count as u64).map(|index| document::labelled_or_plain(&library, seed, index)).collect()
}

/// Writes `count` plain texts (no label inside), for the encoder's objective.
pub fn texts(seed: u64, count: usize) -> Vec<Document> {
    let library = Library::load();
    (0..count as u64).map(|index| document::plain(&library, seed, index)).collect()
}

/// Counts the classes over all sectors; a document's class is below it.
pub fn class_count() -> usize {
    Library::load().sectors.iter().map(|sector| sector.classes.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn documents_repeat_and_a_prefix_is_a_prefix() {
        let few = documents(7, 50);
        let many = documents(7, 200);
        assert_eq!(few, many[..50]);
        assert_ne!(documents(8, 50), few);
    }

    #[test]
    fn documents_cover_every_class_and_vary() {
        let documents = documents(1, 4000);
        let classes: BTreeSet<u32> = documents.iter().map(|document| document.class).collect();
        assert_eq!(classes.len(), class_count());
        let distinct: BTreeSet<&str> = documents.iter().map(|document| document.text.as_str()).collect();
        assert!(distinct.len() > 3950, "{}", distinct.len());
    }
}
