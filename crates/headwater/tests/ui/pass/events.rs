//! The derived event names, compared with the names that serde writes.

use headwater::Events;
use serde::Serialize;
use serde_json::Value;

/// Returns the event's name, after checking that serde writes the same tag.
fn name<T: Events + Serialize>(item: &T) -> &'static str {
    let tag = match serde_json::to_value(item).expect("the item is serialisable") {
        Value::String(tag) => tag,
        Value::Object(members) => members.into_iter().next().expect("one member").0,
        other => panic!("no tag in {other}"),
    };
    assert_eq!(item.event(), tag);
    item.event()
}

macro_rules! rules {
    ($($module:ident $rule:literal),*) => {$(
        mod $module {
            #[derive(serde::Serialize, headwater::Events)]
            #[serde(rename_all = $rule)]
            pub(super) enum Names {
                A,
                VeryTasty(u8),
                HTTPUp { port: u16 },
                Old_Name,
                r#As,
                #[serde(rename = "kept As-Is")]
                Renamed,
            }
        }

        #[test]
        fn $module() {
            use $module::Names::*;
            let items = [A, VeryTasty(1), HTTPUp { port: 80 }, Old_Name, As, Renamed];
            let names: Vec<_> = items.iter().map(name).collect();
            assert_eq!($module::Names::NAMES, names);
        }
    )*};
}

#[allow(non_camel_case_types)]
mod each_rule_names_events_as_serde_does {
    use super::*;

    rules!(
        lowercase "lowercase",
        uppercase "UPPERCASE",
        pascal_case "PascalCase",
        camel_case "camelCase",
        snake_case "snake_case",
        screaming_snake_case "SCREAMING_SNAKE_CASE",
        kebab_case "kebab-case",
        screaming_kebab_case "SCREAMING-KEBAB-CASE"
    );
}

#[derive(Serialize, Events)]
#[serde(
    rename_all(serialize = "snake_case"),
    bound(serialize = "T: Serialize"),
    rename_all_fields = "camelCase"
)]
enum Generic<'a, T, const N: usize>
where
    T: Copy,
{
    Borrowed(&'a str),
    #[serde(rename(serialize = "typed", deserialize = "other"))]
    Value {
        the_value: T,
    },
    #[serde(skip)]
    #[expect(dead_code, reason = "nothing makes it")]
    Hidden([u8; N]),
    #[serde(skip_serializing)]
    Secret,
}

type Bytes<'a> = Generic<'a, u8, 2>;

#[test]
fn generics_and_skipped_variants_are_as_in_serde() {
    assert_eq!(Bytes::NAMES, ["borrowed", "typed"]);
    assert_eq!(name(&Bytes::Borrowed("a")), "borrowed");
    assert_eq!(name(&Bytes::Value { the_value: 1 }), "typed");
    assert!(serde_json::to_string(&Bytes::Secret).is_err());
}
