//! Responsible for YAML's merge key: `<<: *shared` and `<<: [*one, *other]`, as YAML 1.1 defines it
//! and conda's YAML parser follows it.

use std::collections::HashMap;

use saphyr_parser::{Event, ScalarStyle};

use super::{Node, Value};
use crate::spec::problem::Problem;

/// Returns true if an event is a merge key. In quotes, `<<` is an ordinary key.
pub(super) fn is_key(event: &Event) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
}

/// Returns the merged pairs followed by the mapping's own pairs. If several pairs have the same
/// key, the mapping's own pair is used, or else the pair of the first mapping in the list.
pub(super) fn into(own: Vec<(Node, Node)>, merged: Node) -> Result<Vec<(Node, Node)>, Problem> {
    let mappings = match merged.value {
        Value::Sequence(items) => items,
        _ => vec![merged],
    };
    let mut pairs: Vec<(Node, Node)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut set = |(key, value): (Node, Node)| {
        let name = key.as_scalar().map(str::to_owned);
        if let Some(place) = name.as_ref().and_then(|name| places.get(name)) {
            pairs[*place] = (key, value);
        } else {
            places.extend(name.map(|name| (name, pairs.len())));
            pairs.push((key, value));
        }
    };
    for mapping in mappings.into_iter().rev() {
        let kind = mapping.kind();
        let problem = mapping.problem(format!(
            "`<<:` takes a mapping or a list of them, found {kind}"
        ));
        let Value::Mapping(more) = mapping.value else {
            return Err(problem);
        };
        more.into_iter().for_each(&mut set);
    }
    own.into_iter().for_each(set);
    Ok(pairs)
}
