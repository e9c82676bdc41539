//! What a mistyped name may have meant.

/// The name that is most like `text`, in any case, where one is like enough: where at most three letters in ten differ.
pub fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.7;
    let word = shortened(text).to_ascii_lowercase();
    let scored = names.map(|name| {
        let compared = shortened(name).to_ascii_lowercase();
        let longest = word.chars().count().max(compared.chars().count());
        (strsim::damerau_levenshtein(&word, &compared), longest, name)
    });
    let (distance, longest, name) = scored.min_by_key(|(distance, ..)| *distance)?;
    #[expect(clippy::cast_precision_loss, reason = "both are at most 40")]
    let likeness = 1.0 - distance as f64 / longest as f64;
    (likeness >= ALIKE).then_some(name)
}

/// A name can be as long as a line: what is shown and compared of it has a bound.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
