//! The document of a request: read, measured, and refused before anything is done with it.
//!
//! What the parser and the rules of validation would choke on is found here, in time linear in a
//! bound: brackets that nest, fragments that multiply or go in circles, aliases, directives.

mod root;

use std::collections::HashMap;
use std::convert::Infallible;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, FragmentDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Name, Positioned, ServerError, Value};

use crate::failure::Failure;
use crate::limits::{
    ALIASES_MAX, BRACKETS_MAX, DEPTH_MAX, DIRECTIVES_MAX, FRAGMENTS_MAX, INTROSPECTION_DEPTH_MAX,
    QUERY_BYTES_MAX, ROOT_FIELDS_MAX, SELECTIONS_MAX,
};
use crate::nul;

/// A document within its limits.
pub struct Document {
    /// The document.
    pub parsed: ExecutableDocument,
    /// What its operation does.
    pub operation: OperationType,
}

/// Reads a document.
///
/// # Errors
/// When it is none, or goes beyond a limit, asks for the schema where that is off, or has a text
/// with a NUL.
pub fn read(
    text: &str,
    operation_name: Option<&str>,
    introspection: bool,
) -> Result<Document, ServerError> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(bad(format!("the query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    if brackets(text).ok_or_else(|| bad("a string does not end"))? > BRACKETS_MAX {
        return Err(bad("the query nests too deep"));
    }
    let mut parsed = parse_query(text).map_err(|error| {
        let mut error = ServerError::from(error);
        error.extensions.get_or_insert_default().set("code", "BAD_REQUEST");
        error
    })?;
    let mut walk = Walk::new(&parsed.fragments, introspection);
    for (_, operation) in parsed.operations.iter() {
        let operation = &operation.node;
        let variables = operation.variable_definitions.iter();
        let of_variables = variables.map(|variable| variable.node.directives.len());
        walk.directives += operation.directives.len() + of_variables.sum::<usize>();
        let variables = operation.variable_definitions.iter();
        let defaults = variables.filter_map(|variable| variable.node.default_value.as_ref());
        defaults.map(|default| &default.node).try_for_each(nul::refuse)?;
        let root = &operation.selection_set.node;
        let root_fields_before = walk.root_fields;
        walk.set(root, Place { depth: 0, deepest: DEPTH_MAX, at_root: true })?;
        let root_fields = walk.root_fields - root_fields_before;
        if operation.ty == OperationType::Subscription && root_fields > 1 {
            let why = "a subscription has one field at its root".to_owned();
            return Err(Failure::Validation(why).into());
        }
    }
    // Also those that no operation uses; where one is used, its place says how deep it may be.
    for fragment in parsed.fragments.values() {
        let place = Place { depth: 0, deepest: INTROSPECTION_DEPTH_MAX, at_root: false };
        walk.directives += fragment.node.directives.len();
        walk.set(&fragment.node.selection_set.node, place)?;
    }
    root::put_fragments_in(&mut parsed)?;
    let operation = operation_type(&parsed, operation_name);
    Ok(Document { parsed, operation })
}

/// What the chosen operation does; a choice that fails is told of when it is carried out.
fn operation_type(document: &ExecutableDocument, name: Option<&str>) -> OperationType {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => operation.node.ty,
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name).map_or(OperationType::Query, |operation| operation.node.ty)
        }
        (DocumentOperations::Multiple(operations), None) => {
            operations.values().next().map_or(OperationType::Query, |operation| operation.node.ty)
        }
    }
}

fn bad(why: impl Into<String>) -> ServerError {
    Failure::BadRequest(why.into()).into()
}

/// Where in an operation a set of selections is.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    deepest: usize,
    at_root: bool,
}

/// Measures a document with its fragments put in.
struct Walk<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    introspection: bool,
    /// The fragments that the walk is in.
    inside: Vec<&'a str>,
    selections: usize,
    root_fields: usize,
    aliases: usize,
    directives: usize,
}

impl<'a> Walk<'a> {
    fn new(
        fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
        introspection: bool,
    ) -> Self {
        let inside = Vec::new();
        let (selections, root_fields, aliases, directives) = (0, 0, 0, 0);
        Self { fragments, introspection, inside, selections, root_fields, aliases, directives }
    }

    fn set(&mut self, set: &'a SelectionSet, place: Place) -> Result<(), ServerError> {
        for selection in &set.items {
            self.selections += 1;
            self.directives += selection.node.directives().len();
            self.check()?;
            match &selection.node {
                Selection::Field(field) => {
                    refuse_nul(&field.node)?;
                    self.aliases += usize::from(field.node.alias.is_some());
                    self.root_fields += usize::from(place.at_root);
                    let name = field.node.name.node.as_str();
                    let asks_for_schema = place.at_root && matches!(name, "__schema" | "__type");
                    if asks_for_schema && !self.introspection {
                        return Err(bad("the schema is not told here"));
                    }
                    let deepest =
                        if asks_for_schema { INTROSPECTION_DEPTH_MAX } else { place.deepest };
                    let depth = place.depth + 1;
                    if depth > deepest {
                        return Err(bad(format!("the query is deeper than {deepest} fields")));
                    }
                    let place = Place { depth, deepest, at_root: false };
                    self.set(&field.node.selection_set.node, place)?;
                }
                Selection::InlineFragment(fragment) => {
                    self.set(&fragment.node.selection_set.node, place)?;
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment(spread.node.fragment_name.node.as_str(), place)?;
                }
            }
        }
        Ok(())
    }

    fn fragment(&mut self, name: &'a str, place: Place) -> Result<(), ServerError> {
        // One that is not there is told of by the rules of validation.
        let Some(fragment) = self.fragments.get(name) else {
            return Ok(());
        };
        if self.inside.contains(&name) {
            return Err(bad(format!("the fragment {name} lies in itself")));
        }
        if self.inside.len() >= FRAGMENTS_MAX {
            return Err(bad("too many fragments lie in each other"));
        }
        self.inside.push(name);
        self.set(&fragment.node.selection_set.node, place)?;
        self.inside.pop();
        Ok(())
    }

    fn check(&self) -> Result<(), ServerError> {
        let counts = [
            (self.selections, SELECTIONS_MAX, "selections"),
            (self.root_fields, ROOT_FIELDS_MAX, "fields at the root"),
            (self.aliases, ALIASES_MAX, "aliases"),
            (self.directives, DIRECTIVES_MAX, "directives"),
        ];
        match counts.into_iter().find(|(count, most, _)| count > most) {
            Some((_, most, what)) => Err(bad(format!("the query has more than {most} {what}"))),
            None => Ok(()),
        }
    }
}

/// Refuses a field whose arguments have a NUL in a text; variables are looked at on their own.
fn refuse_nul(field: &Field) -> Result<(), ServerError> {
    field.arguments.iter().try_for_each(|(_, argument)| {
        let without_variables = argument.node.clone().into_const_with(|_| Ok(Value::Null));
        let Ok::<_, Infallible>(value) = without_variables;
        nul::refuse(&value)
    })
}

/// How deep brackets nest outside of strings and comments; `None` when a block string does not end:
/// the parser would take its quotes for other strings, and find brackets where none are.
fn brackets(text: &str) -> Option<usize> {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match first {
            b'{' | b'[' | b'(' => {
                depth += 1;
                deepest = deepest.max(depth);
                tail
            }
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                tail
            }
            b'#' => after_line(tail),
            b'"' if rest.starts_with(b"\"\"\"") => after_block_string(&rest[3..])?,
            b'"' => after_string(tail),
            _ => tail,
        };
    }
    Some(deepest)
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len());
    &text[end..]
}

/// Behind the quote that ends a string; a string that is not ended ends with its line.
fn after_string(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [] | [b'\n' | b'\r', ..] => return text,
            [b'"', after @ ..] => return after,
            [b'\\', _, after @ ..] => after,
            [_, after @ ..] => after,
        };
    }
}

fn after_block_string(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = match text {
            [] => return None,
            [b'"', b'"', b'"', after @ ..] => return Some(after),
            [b'\\', b'"', b'"', b'"', after @ ..] => after,
            [_, after @ ..] => after,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let cases = [
            ("{a}", 1),
            ("{a(b: [{c: 1}])}", 4),
            (r#"{a(b: "[[[[")}"#, 2),
            (r#"{a(b: "\"[[[[")}"#, 2),
            ("{a(b: \"\"\"[[[[ \\\"\"\" [[\"\"\")}", 2),
            ("{a # [[[[\n}", 1),
            // A string that is not ended ends with its line.
            ("{a(b: \"x\n [[[[", 6),
        ];
        for (text, deepest) in cases {
            assert_eq!(brackets(text), Some(deepest), "{text}");
        }
        assert_eq!(brackets("{a(b: [\"\"\"c\" [[[[ \""), None);
    }
}
