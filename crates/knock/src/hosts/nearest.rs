//! What a mistyped name may have meant.

/// The longest name that is compared: longer ones are no mistyped names.
const LONGEST: usize = 40;

/// The name that is most like `text`, in any case, where at most one letter in three differs.
pub(super) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = shortened(text);
    let scored = names.map(|name| {
        let compared = shortened(name);
        let longest = text.chars().count().max(compared.chars().count());
        (strsim::damerau_levenshtein(&text, &compared), longest, name)
    });
    let (distance, longest, name) = scored.min_by_key(|(distance, ..)| *distance)?;
    (distance * 3 <= longest).then_some(name)
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_like_enough_or_none() {
        let names = || ["delay", "family", "verify"].into_iter();
        for (typed, meant) in
            [("Dealy", Some("delay")), ("verfy", Some("verify")), ("port", None), ("", None)]
        {
            assert_eq!(nearest(typed, names()), meant, "{typed}");
        }
    }
}
