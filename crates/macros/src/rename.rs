//! Serde's rules for the case of a variant's name, as listed at
//! <https://serde.rs/container-attrs.html#rename_all>.

/// A value of `#[serde(rename_all = "…")]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

/// The rules with their names in the attribute, in serde's order.
const RULES: [(&str, Rule); 8] = [
    ("lowercase", Rule::Lower),
    ("UPPERCASE", Rule::Upper),
    ("PascalCase", Rule::Pascal),
    ("camelCase", Rule::Camel),
    ("snake_case", Rule::Snake),
    ("SCREAMING_SNAKE_CASE", Rule::ScreamingSnake),
    ("kebab-case", Rule::Kebab),
    ("SCREAMING-KEBAB-CASE", Rule::ScreamingKebab),
];

impl Rule {
    /// Returns the rule of this name, or `None` if serde refuses it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        RULES
            .iter()
            .find_map(|&(known, rule)| (known == name).then_some(rule))
    }

    /// Returns the name that serde writes for a variant. The variant's own name is in `PascalCase`
    /// by convention.
    pub(crate) fn apply(self, variant: &str) -> String {
        match self {
            Self::Pascal => variant.to_owned(),
            Self::Lower => variant.to_ascii_lowercase(),
            Self::Upper => variant.to_ascii_uppercase(),
            Self::Camel => {
                let mut letters = variant.chars();
                let first = letters.next().map(|letter| letter.to_ascii_lowercase());
                first.into_iter().chain(letters).collect()
            }
            Self::Snake => snake(variant),
            Self::ScreamingSnake => snake(variant).to_ascii_uppercase(),
            // Underscores in the variant's name become dashes too, as in serde.
            Self::Kebab => snake(variant).replace('_', "-"),
            Self::ScreamingKebab => snake(variant).to_ascii_uppercase().replace('_', "-"),
        }
    }
}

/// Returns the name in lower case with an underscore before every capital but the first. Only ASCII
/// letters change their case, as in serde.
fn snake(variant: &str) -> String {
    let mut snake = String::with_capacity(variant.len() + 4);
    for (index, letter) in variant.chars().enumerate() {
        if index > 0 && letter.is_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_produces_the_name_that_serde_documents() {
        let table = [
            // Variant, then lower, upper, Pascal, camel, snake, SCREAMING_SNAKE, kebab, SCREAMING-KEBAB.
            "Outcome outcome OUTCOME Outcome outcome outcome OUTCOME outcome OUTCOME",
            "VeryTasty verytasty VERYTASTY VeryTasty veryTasty very_tasty VERY_TASTY very-tasty VERY-TASTY",
            "A a A A a a A a A",
            "Z42 z42 Z42 Z42 z42 z42 Z42 z42 Z42",
            "HTTPUp httpup HTTPUP HTTPUp hTTPUp h_t_t_p_up H_T_T_P_UP h-t-t-p-up H-T-T-P-UP",
            "Old_Name old_name OLD_NAME Old_Name old_Name old__name OLD__NAME old--name OLD--NAME",
            "Écart Écart ÉCART Écart Écart Écart ÉCART Écart ÉCART",
        ];
        for row in table {
            let mut row = row.split(' ');
            let variant = row.next().unwrap_or_default();
            let expected: Vec<_> = row.collect();
            let names: Vec<_> = RULES.iter().map(|(_, rule)| rule.apply(variant)).collect();
            assert_eq!(names, expected, "{variant}");
        }
    }

    #[test]
    fn a_rule_is_found_only_by_its_exact_name() {
        assert_eq!(Rule::named("kebab-case"), Some(Rule::Kebab));
        assert_eq!(
            Rule::named("SCREAMING-KEBAB-CASE"),
            Some(Rule::ScreamingKebab)
        );
        for unknown in ["Kebab-case", "none", "", "snake-case"] {
            assert_eq!(Rule::named(unknown), None, "{unknown}");
        }
    }
}
