//! Amounts as users write them.

/// Parses a whole number, which may have one of the units `KiB`, `MiB` and `GiB`. Returns `None` for anything else, and if it
/// is larger than `u64::MAX`.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let unit = UNITS
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)));
    let (number, unit) = unit.unwrap_or((text, 1));
    // The standard library accepts a sign.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.then(|| number.parse().ok())??;
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_whole_number_with_or_without_a_unit() {
        for (text, expected) in [
            ("0", 0),
            ("1000", 1000),
            ("64KiB", 65_536),
            ("1GiB", 1 << 30),
            ("17179869183GiB", u64::MAX - (1 << 30) + 1),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "1MB",
            "1.5MiB",
            "-1",
            "+1",
            " 1",
            "17179869184GiB",
            "99999999999999999999",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
