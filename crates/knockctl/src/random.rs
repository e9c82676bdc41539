//! Random numbers of the operating system.

use crate::failure::Failure;

/// A number from 0 to below `bound`, each as likely as any other. `bound` is not 0.
pub(crate) fn below(bound: u32, draw: &mut impl FnMut() -> Result<u32, Failure>) -> Result<u32, Failure> {
    // What does not fill a whole round would make the small numbers likelier.
    let rounds = u32::MAX - u32::MAX % bound;
    loop {
        let drawn = draw()?;
        if drawn < rounds {
            return Ok(drawn % bound);
        }
    }
}

/// Thirty-two random bits.
pub(crate) fn number() -> Result<u32, Failure> {
    let no_numbers = |error| Failure::Refused(format!("the system gives no random numbers: {error}"));
    getrandom::u32().map_err(no_numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_likelier_than_another() {
        // The first round of three, and the numbers at its end, of which the last does not count.
        let last = u32::MAX;
        for (drawn, number) in [(0, 0), (1, 1), (2, 2), (3, 0), (last - 1, 2)] {
            assert_eq!(below(3, &mut || Ok(drawn)).unwrap(), number, "{drawn}");
        }
        let mut drawn = [last, last, 5].into_iter();
        assert_eq!(below(3, &mut || Ok(drawn.next().unwrap())).unwrap(), 2);
        assert_eq!(drawn.next(), None);
    }
}
