//! The generation of schemas from Rust types. It has a single definition, so that documents and
//! checks agree.

use schemars::{
    Schema,
    generate::{Contract, SchemaSettings},
    transform::RecursiveTransform,
};
use serde_json::Value;

/// Returns the settings for draft 2020-12 with which all schemas of Rust types are generated.
///
/// The OpenAPI document uses them with its own `definitions_path` and `meta_schema`.
pub fn settings(contract: Contract) -> SchemaSettings {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.contract = contract)
        .with_transform(RecursiveTransform(bound_integer))
}

/// Adds the bounds of the integer type that `format` names.
///
/// schemars adds them for 8 and 16 bits, and a minimum of 0 for the larger unsigned types. Without
/// the others, a value could pass the check and then fail to deserialise.
fn bound_integer(schema: &mut Schema) {
    let integer = match schema.get("type") {
        Some(Value::String(name)) => name == "integer",
        Some(Value::Array(names)) => names.iter().any(|name| name == "integer"),
        _ => false,
    };
    let Some(Value::String(format)) = schema.get("format").filter(|_| integer) else {
        return;
    };
    let (minimum, maximum): (Value, Value) = match format.as_str() {
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" => (i64::MIN.into(), i64::MAX.into()),
        "int" => (isize::MIN.into(), isize::MAX.into()),
        "uint8" => (u8::MIN.into(), u8::MAX.into()),
        "uint16" => (u16::MIN.into(), u16::MAX.into()),
        "uint32" => (u32::MIN.into(), u32::MAX.into()),
        "uint64" => (u64::MIN.into(), u64::MAX.into()),
        "uint" => (usize::MIN.into(), usize::MAX.into()),
        // A `Value` can't contain bounds of 128 bits.
        _ => return,
    };
    for (bound, exclusive, value) in [
        ("minimum", "exclusiveMinimum", minimum),
        ("maximum", "exclusiveMaximum", maximum),
    ] {
        if schema.get(bound).is_none() && schema.get(exclusive).is_none() {
            schema.insert(bound.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use schemars::{JsonSchema, generate::Contract};
    use serde_json::{Value, json};

    use super::settings;

    #[track_caller]
    fn check<T: JsonSchema>(expected: &Value) {
        let schema = settings(Contract::Deserialize)
            .into_generator()
            .into_root_schema_for::<T>();
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(schema.get(key), Some(value), "{key} of {schema:?}");
        }
    }

    #[test]
    fn every_integer_type_has_its_bounds() {
        check::<i8>(&json!({"minimum": -128, "maximum": 127}));
        check::<u16>(&json!({"minimum": 0, "maximum": 65535}));
        check::<i32>(&json!({"minimum": i32::MIN, "maximum": i32::MAX}));
        check::<u32>(&json!({"minimum": 0, "maximum": u32::MAX}));
        check::<i64>(&json!({"minimum": i64::MIN, "maximum": i64::MAX}));
        check::<u64>(&json!({"minimum": 0, "maximum": u64::MAX}));
        check::<usize>(&json!({"minimum": 0, "maximum": usize::MAX}));
        check::<Option<u32>>(&json!({"type": ["integer", "null"], "maximum": u32::MAX}));
    }

    #[test]
    fn a_bound_that_the_type_has_is_kept_at_any_depth() {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is used")]
        struct Page {
            #[schemars(range(max = 1000))]
            size: u32,
        }
        let bounds = json!({"size": {
            "type": "integer", "format": "uint32", "minimum": 0, "maximum": 1000,
        }});
        check::<Page>(&json!({"properties": bounds}));
        check::<Vec<Page>>(&json!({"$defs": {"Page": {
            "type": "object", "required": ["size"], "properties": bounds,
        }}}));
    }
}
