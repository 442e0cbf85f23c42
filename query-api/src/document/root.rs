//! The root of a subscription with its fragments put in. The engine begins what is asked for by
//! name at the root, and nothing of a fragment there, without a word.

use std::collections::HashMap;

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, FragmentDefinition, OperationType, Selection,
    TypeCondition,
};
use async_graphql::{Name, Positioned, ServerError};

use crate::failure::Failure;

/// The type at the root of subscriptions.
const ROOT: &str = "Subscription";

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// Puts fragments at the root of subscriptions in their place. Those that can't stand there stay
/// for the rules of validation to tell of.
///
/// # Errors
/// When a directive leaves something out there: of one field none would be left.
pub fn put_fragments_in(document: &mut ExecutableDocument) -> Result<(), ServerError> {
    let ExecutableDocument { operations, fragments } = document;
    let operations: Vec<_> = match operations {
        DocumentOperations::Single(only) => vec![only],
        DocumentOperations::Multiple(several) => several.values_mut().collect(),
    };
    let mut put_in = Vec::new();
    for operation in operations {
        if operation.node.ty == OperationType::Subscription {
            let items = &mut operation.node.selection_set.node.items;
            *items = flat(std::mem::take(items), fragments, &mut put_in)?;
        }
    }
    // What is put in is used no more, which the rules of validation would refuse. It is of the root
    // of subscriptions, so it has no other place.
    for name in put_in {
        fragments.remove(&name);
    }
    Ok(())
}

fn flat(
    items: Vec<Positioned<Selection>>,
    fragments: &Fragments,
    put_in: &mut Vec<Name>,
) -> Result<Vec<Positioned<Selection>>, ServerError> {
    let mut fields = Vec::new();
    for item in items {
        let directives = item.node.directives();
        if directives.iter().any(|each| matches!(&*each.node.name.node, "skip" | "include")) {
            let why = "the field at the root of a subscription is always followed: `@skip` and \
                       `@include` have no place there";
            return Err(Failure::Validation(why.to_owned()).into());
        }
        // No directive is for fragments but those two.
        let is_plain = directives.is_empty();
        match item.node {
            Selection::InlineFragment(fragment)
                if is_plain && fragment.node.type_condition.as_ref().is_none_or(is_root) =>
            {
                let inner = fragment.node.selection_set.node.items;
                fields.extend(flat(inner, fragments, put_in)?);
            }
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                let known = fragments.get(name).filter(|known| {
                    let known = &known.node;
                    is_plain && known.directives.is_empty() && is_root(&known.type_condition)
                });
                if let Some(fragment) = known {
                    put_in.push(name.clone());
                    let inner = fragment.node.selection_set.node.items.clone();
                    fields.extend(flat(inner, fragments, put_in)?);
                } else {
                    fields.push(Positioned::new(Selection::FragmentSpread(spread), item.pos));
                }
            }
            other => fields.push(Positioned::new(other, item.pos)),
        }
    }
    Ok(fields)
}

fn is_root(condition: &Positioned<TypeCondition>) -> bool {
    condition.node.on.node == ROOT
}
