//! JSON as the protocol carries it: values, not text.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use tonic::Status;

/// A state or a result; one that is not there is an empty object.
pub(super) fn value(json: Option<&str>) -> Result<Value, Status> {
    let Some(json) = json else {
        return Ok(Value { kind: Some(Kind::StructValue(Struct::default())) });
    };
    let read: serde_json::Value = serde_json::from_str(json)
        .map_err(|error| Status::internal(format!("it can't be told: {error}")))?;
    Ok(carried(read))
}

fn carried(read: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match read {
        Json::Null => Kind::NullValue(0),
        Json::Bool(it) => Kind::BoolValue(it),
        Json::Number(it) => Kind::NumberValue(it.as_f64().unwrap_or(f64::NAN)),
        Json::String(it) => Kind::StringValue(it),
        Json::Array(all) => {
            Kind::ListValue(ListValue { values: all.into_iter().map(carried).collect() })
        }
        Json::Object(all) => {
            let fields = all.into_iter().map(|(name, it)| (name, carried(it))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_carried_as_values() {
        let told = value(Some(r#"{"a": [null, true, 1.5, "x"]}"#)).unwrap();
        let Some(Kind::StructValue(told)) = told.kind else { panic!("{told:?}") };
        let Some(Kind::ListValue(list)) = &told.fields["a"].kind else { panic!("{told:?}") };
        let kinds: Vec<_> = list.values.iter().map(|it| it.kind.clone().unwrap()).collect();
        let (number, text) = (Kind::NumberValue(1.5), Kind::StringValue("x".to_owned()));
        assert_eq!(kinds, [Kind::NullValue(0), Kind::BoolValue(true), number, text]);
        let nothing = Some(Kind::StructValue(Struct::default()));
        assert_eq!(value(None).unwrap().kind, nothing);
        assert!(value(Some(&"[".repeat(1000))).is_err());
    }
}
