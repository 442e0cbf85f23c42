//! Numbers that GraphQL's `Int` is too small for.

use async_graphql::{Description, InputValueError, InputValueResult, Scalar, ScalarType, Value};

/// A whole number from 0 to 2^63 - 1, written as a JSON number. JavaScript's numbers are exact up
/// to 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Description)]
pub struct Long(pub u64);

#[Scalar(use_type_description)]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => {
                number.as_u64().map(Self).ok_or_else(|| InputValueError::expected_type(value))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}
